// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How fast a server of Valkey's protocol answers: some clients at once, each of which waits for an
//! answer before it asks again. What `valkey-benchmark` measures, for hosts that lack it.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use plinth::time::Time;

use super::TrialError;
use super::check::{command, is_whole_reply};
use super::probe::{ask, connect};

/// The commands, and how their answers begin.
const COMMANDS: [(&[&str], &str); 3] =
    [(&["PING"], "+PONG"), (&["SET", "key:1", "abc"], "+OK"), (&["GET", "key:1"], "$3\r\nabc")];

/// Sends each command `requests` times over `clients` connections to `port` of this host, each
/// answered within `time`; a line for each command.
///
/// # Errors
/// A client was not answered, or wrongly.
pub fn benchmark(
    port: u16,
    requests: usize,
    clients: usize,
    time: Duration,
) -> Result<Vec<String>, TrialError> {
    let mut lines = Vec::new();
    for (words, wanted) in COMMANDS {
        let start = Time::monotonic();
        let mut threads = Vec::new();
        for client in 0..clients {
            let share = requests / clients + usize::from(client < requests % clients);
            threads.push(thread::spawn(move || talk(port, words, wanted, share, time)));
        }
        let mut times = Vec::with_capacity(requests);
        for thread in threads {
            let broke_off = |_| TrialError::Package("a client broke off".to_owned());
            times.extend(thread.join().map_err(broke_off)??);
        }
        let whole = Time::monotonic().since(start);
        times.sort_unstable();
        lines.push(line(words.first().copied().unwrap_or_default(), &times, whole));
    }
    Ok(lines)
}

/// One client: the times of its answers.
fn talk(
    port: u16,
    words: &[&str],
    wanted: &str,
    requests: usize,
    time: Duration,
) -> Result<Vec<Duration>, TrialError> {
    let request = command(words);
    let failed = |error| TrialError::Io(format!("ask port {port} for {}", words.concat()), error);
    let mut stream: TcpStream = connect(port, time).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Time::monotonic();
        let answer = ask(&mut stream, &request, start + time, &is_whole_reply).map_err(failed)?;
        if !answer.starts_with(wanted.as_bytes()) {
            let answer = plinth::text::quote(&String::from_utf8_lossy(&answer));
            return Err(TrialError::Answer(format!("{}: {answer}", words.concat())));
        }
        times.push(Time::monotonic().since(start));
    }
    Ok(times)
}

/// What is said of one command; `sorted` are the times of its answers.
fn line(name: &str, sorted: &[Duration], whole: Duration) -> String {
    let at = |percent: usize| {
        let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    let micros = whole.as_micros().max(1);
    let rate = u128::try_from(sorted.len()).unwrap_or(0) * 1_000_000 / micros;
    format!(
        "{name}: {rate} requests per second, half within {:.3} ms, 99 % within {:.3} ms",
        at(50),
        at(99)
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers every request of `count` connections with what `answer` makes of it.
    fn server(count: usize, answer: fn(&str) -> &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        drop(thread::spawn(move || {
            for _ in 0..count {
                let (mut peer, _) = listener.accept().expect("somebody asks");
                drop(thread::spawn(move || {
                    let mut bytes = [0; 512];
                    while let Ok(count @ 1..) = peer.read(&mut bytes) {
                        let said = answer(&String::from_utf8_lossy(&bytes[..count]));
                        peer.write_all(said.as_bytes()).expect("an answer");
                    }
                }));
            }
        }));
        port
    }

    const TIME: Duration = Duration::from_secs(60);

    fn right(request: &str) -> &'static str {
        match request.lines().nth(2) {
            Some("PING") => "+PONG\r\n",
            Some("SET") => "+OK\r\n",
            _ => "$3\r\nabc\r\n",
        }
    }

    #[test]
    fn every_command_is_measured() {
        let lines = benchmark(server(9, right), 20, 3, TIME).expect("answers");
        let names: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names, ["PING", "SET", "GET"]);
    }

    #[test]
    fn a_wrong_answer_ends_it() {
        let error = benchmark(server(3, |_| "-ERR no\r\n"), 20, 3, TIME).expect_err("an error");
        assert!(error.to_string().contains("-ERR no"), "{error}");
    }

    #[test]
    fn a_line_tells_rate_and_times() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let said = line("PING", &times, Duration::from_secs(2));
        let wanted =
            "PING: 100 requests per second, half within 100.000 ms, 99 % within 198.000 ms";
        assert_eq!(said, wanted);
    }
}
