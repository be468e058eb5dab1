// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the library of tinybpf needs, for what is measured inside one process.
//!
//! `load OBJECT DIRECTORY [BTF]`, `consume OBJECT ROUNDS` and `elements OBJECT ROUNDS` as the peers
//! do; `detach OBJECT ROUNDS`: ten tracepoints, one by one and all at once; `wakes OBJECT COUNT`:
//! an edge-triggered reader against a producer that sends the next record as soon as the one
//! before was seen. They report `@val KEY VALUE` lines.
//!
//! What prepares and checks: `table OBJECT PIN` fills and pins a table, `pin OBJECT DIRECTORY` pins
//! the ring and its program, `fill PIN` runs that until standard input ends, `json FILE` judges a
//! command's output, `programs DIRECTORY` prints the identifiers of pinned programs.

use std::error::Error;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use bpf::link::Link;
use bpf::map::Flags;
use bpf::object::{Object, OpenOptions};
use bpf::program::{Program, TestRun};
use bpf::ring::{BUDGET, RingReader};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Entries of the table that is looked up.
const ENTRIES: u32 = 100_000;
/// Rings that are emptied for one value.
const FILLS: u32 = 50;
/// Data that nobody was woken for after this time will never be read.
const STALL: Duration = Duration::from_millis(100);
/// What is attached to at once.
const TRACEPOINTS: [&str; 10] = [
    "getpgid",
    "getsid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getpriority",
    "sched_getparam",
    "sched_getscheduler",
];

type Outcome = Result<(), Box<dyn Error>>;

fn main() {
    if let Err(error) = run(&env::args().skip(1).collect::<Vec<String>>()) {
        eprintln!("ours: {error}");
        process::exit(1);
    }
}

fn run(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        ["load", object, pins] => load(Path::new(object), Path::new(pins), None),
        ["load", object, pins, btf] => load(Path::new(object), Path::new(pins), Some(btf)),
        ["elements", object, rounds] => elements(Path::new(object), rounds.parse()?),
        ["consume", object, rounds] => consume(Path::new(object), rounds.parse()?),
        ["wakes", object, count] => wakes(Path::new(object), count.parse()?),
        ["table", object, pin] => table(Path::new(object), Path::new(pin)),
        ["pin", object, pins] => pin(Path::new(object), Path::new(pins)),
        ["fill", pin] => fill(Path::new(pin)),
        ["json", file] => json(Path::new(file)),
        ["programs", pins] => programs(Path::new(pins)),
        ["detach", object, rounds] => detach(Path::new(object), rounds.parse()?),
        _ => Err("no such command".into()),
    }
}

fn load(object: &Path, pins: &Path, btf: Option<&str>) -> Outcome {
    let begun = Instant::now();
    let mut options = OpenOptions::new();
    if let Some(btf) = btf {
        options = options.kernel_btf(Path::new(btf));
    }
    let object = options.open(object)?.load()?;
    let program = object.programs().next().ok_or("the object has no program")?;
    let mut link = program.attach()?;
    let time = begun.elapsed();
    program.pin(&pins.join("program"))?;
    link.pin(&pins.join("link"))?;
    println!("@val load_us {}", time.as_secs_f64() * 1e6);
    Ok(())
}

fn elements(object: &Path, rounds: u32) -> Outcome {
    let object = Object::load(object)?;
    let table = object.map("table")?;
    for round in 0..rounds {
        let begun = worked();
        for key in 0..ENTRIES {
            let value = u64::from(key) + u64::from(round);
            table.set(&key.to_ne_bytes(), &value.to_ne_bytes(), Flags::ANY)?;
        }
        let updates = worked() - begun;
        let (mut sum, mut value) = (0, [0; 8]);
        let begun = worked();
        for key in 0..ENTRIES {
            if table.get_into(&key.to_ne_bytes(), &mut value)? {
                sum += u64::from_ne_bytes(value);
            }
        }
        let lookups = worked() - begun;
        let wanted = u64::from(ENTRIES) * (u64::from(ENTRIES - 1) / 2 + u64::from(round));
        if sum.abs_diff(wanted) > u64::from(ENTRIES) {
            return Err(format!("the table holds {sum}, not {wanted}").into());
        }
        println!("@val update_ns {}", updates.as_secs_f64() * 1e9 / f64::from(ENTRIES));
        println!("@val lookup_ns {}", lookups.as_secs_f64() * 1e9 / f64::from(ENTRIES));
    }
    Ok(())
}

fn detach(object: &Path, rounds: u32) -> Outcome {
    let object = Object::load(object)?;
    let program = object.program("hit")?;
    let attached = || -> Result<Vec<Link>, Box<dyn Error>> {
        let names = TRACEPOINTS.iter().map(|name| format!("sys_enter_{name}"));
        Ok(names
            .map(|name| program.attach_tracepoint("syscalls", &name, 0))
            .collect::<Result<_, _>>()?)
    };
    for _ in 0..rounds {
        let links = attached()?;
        let begun = Instant::now();
        for link in links {
            link.detach()?;
        }
        println!("@val serial_ms {}", begun.elapsed().as_secs_f64() * 1e3);
        let links = attached()?;
        let begun = Instant::now();
        Link::detach_all(links)?;
        println!("@val parallel_ms {}", begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn consume(object: &Path, rounds: u32) -> Outcome {
    let object = Object::load(object)?;
    let fill = object.program("fill")?;
    let mut ring = RingReader::new()?;
    ring.add(&object.map("ring")?)?;
    for _ in 0..rounds {
        let (mut events, mut bytes, mut time) = (0_u64, 0_u64, Duration::ZERO);
        for _ in 0..FILLS {
            fill.test_run(&TestRun::default())?;
            let begun = worked();
            ring.drain(usize::MAX, |sample| {
                events += 1;
                bytes += sample.data.len() as u64;
                ControlFlow::Continue(())
            });
            time += worked() - begun;
        }
        if events == 0 || bytes != events * 64 {
            return Err("the ring holds something else".into());
        }
        println!("@val consume_ns {}", time.as_secs_f64() * 1e9 / events as f64);
    }
    Ok(())
}

/// The processor time of this thread: what other work on the machine adds nothing to.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::from_secs(time.tv_sec as u64) + Duration::from_nanos(time.tv_nsec as u64)
}

/// Counts the times that data lay unread and nobody was woken, and checks that all arrives.
fn wakes(object: &Path, count: u64) -> Outcome {
    let object = Object::load(object)?;
    let one = object.program("one")?;
    let mut ring = RingReader::new()?;
    ring.add(&object.map("ring")?)?;
    let mut poll = Poll::new()?;
    let fd = ring.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
    let (sent, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    let (mut stalls, mut out_of_order) = (0_u64, 0_u64);
    thread::scope(|scope| -> Outcome {
        let producer = scope.spawn(|| {
            for number in 0..count {
                one.test_run(&TestRun::default())?;
                sent.store(number + 1, Ordering::Release);
                while seen.load(Ordering::Acquire) <= number {
                    std::hint::spin_loop();
                }
            }
            Ok::<(), bpf::error::Error>(())
        });
        let mut events = Events::with_capacity(4);
        while seen.load(Ordering::Relaxed) < count && !producer.is_finished() {
            match poll.poll(&mut events, Some(STALL)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.is_empty() {
                // The producer may not have run; what it sent by now has to wake us by now.
                let waiting = sent.load(Ordering::Acquire) > seen.load(Ordering::Relaxed);
                poll.poll(&mut events, Some(Duration::ZERO))?;
                stalls += u64::from(waiting && events.is_empty());
            }
            while ring
                .drain(BUDGET, |sample| {
                    let number = seen.load(Ordering::Relaxed);
                    let sequence =
                        sample.data.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                    out_of_order += u64::from(sequence != Some(number));
                    seen.store(number + 1, Ordering::Release);
                    ControlFlow::Continue(())
                })
                .more
            {}
        }
        seen.store(u64::MAX, Ordering::Release); // a producer that still waits may end
        producer.join().map_err(|_| "the producer panicked")??;
        Ok(())
    })?;
    if out_of_order > 0 {
        return Err(format!("{out_of_order} records were not those that were sent").into());
    }
    println!("@val stalls {}", stalls as f64 * 1e6 / count as f64);
    Ok(())
}

fn table(object: &Path, pin: &Path) -> Outcome {
    let object = Object::load(object)?;
    let map = object.map("table")?;
    let keys: Vec<u8> = (0..ENTRIES).flat_map(u32::to_ne_bytes).collect();
    let values: Vec<u8> = (0..u64::from(ENTRIES)).flat_map(u64::to_ne_bytes).collect();
    map.set_many(&keys, &values, Flags::ANY)?;
    Ok(map.pin(pin)?)
}

fn pin(object: &Path, pins: &Path) -> Outcome {
    let object = Object::load(object)?;
    object.map("ring")?.pin(&pins.join("ring"))?;
    Ok(object.program("fill")?.pin(&pins.join("fill"))?)
}

fn fill(pin: &Path) -> Outcome {
    let program = Program::from_pin(pin)?;
    thread::scope(|scope| {
        let end = scope.spawn(|| io::copy(&mut io::stdin(), &mut io::sink()));
        while !end.is_finished() {
            program.test_run(&TestRun::default())?;
        }
        Ok(())
    })
}

/// One document of as many entries as the table has, or one document a line.
fn json(file: &Path) -> Outcome {
    let text = fs::read_to_string(file)?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Array(entries)) if entries.len() == ENTRIES as usize => return Ok(()),
        Ok(_) => return Err("the document is something else than the table".into()),
        Err(_) => {}
    }
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        if value["data"]["bytes"] != 4096 {
            return Err(format!("not a record: {line}").into());
        }
    }
    Ok(())
}

fn programs(pins: &Path) -> Outcome {
    for entry in fs::read_dir(pins)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            programs(&entry.path())?;
        } else if let Ok(program) = Program::from_pin(&entry.path()) {
            println!("{}", program.info()?.id);
        }
    }
    Ok(())
}
