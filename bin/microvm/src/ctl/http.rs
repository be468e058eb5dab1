// SPDX-License-Identifier: Apache-2.0 OR MIT
//! HTTP/1.1 over a Unix socket, as far as the interfaces of hypervisors need it (RFC 9112).
//!
//! Owns one exchange per connection: a request with a JSON body, an answer with a status and at
//! most a short text. Of an answer, the body counts only when its length is said; it explains a
//! refusal.

use std::path::Path;

use plinth::text::escape_control;
use plinth::time::Time;
use rustix::process::Pid;
use serde_json::Value;

use super::CtlError;
use super::peer::Peer;

/// The longest head of an answer, in bytes.
pub const HEAD_MAX: usize = 16 << 10;
/// The longest body of an answer, in bytes.
pub const BODY_MAX: usize = 64 << 10;
/// How much of a reason is told, in characters.
const REASON_MAX: usize = 400;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 204.
    pub status: u16,
    /// The body, when its length was said.
    pub body: Vec<u8>,
}

impl Response {
    /// Understands what has arrived so far; `None` when more is to come.
    ///
    /// # Errors
    /// [`CtlError::Malformed`], [`CtlError::TooLong`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, CtlError> {
        let mut rest = bytes;
        loop {
            let Some(end) = rest.windows(4).position(|it| it == b"\r\n\r\n") else {
                let long = rest.len() > HEAD_MAX;
                return if long { Err(CtlError::TooLong) } else { Ok(None) };
            };
            let (head, behind) = rest.split_at(end + 4);
            if head.len() > HEAD_MAX {
                return Err(CtlError::TooLong);
            }
            let (status, len) = parse_head(head)?;
            if (100..200).contains(&status) {
                rest = behind; // the real answer follows
                continue;
            }
            if len > BODY_MAX {
                return Err(CtlError::TooLong);
            }
            let body = behind.get(..len).map(<[u8]>::to_vec);
            return Ok(body.map(|body| Self { status, body }));
        }
    }

    /// Nothing, when the request was carried out.
    ///
    /// # Errors
    /// [`CtlError::Refused`] with what the body says.
    pub fn check(&self) -> Result<(), CtlError> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.body);
        let said = serde_json::from_slice::<Value>(&self.body).ok();
        let member = |name| said.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let reason = member("fault_message").or_else(|| member("error"));
        let reason: String =
            reason.unwrap_or_else(|| text.trim().to_owned()).chars().take(REASON_MAX).collect();
        let reason = escape_control(&reason).into_owned();
        let status = self.status;
        Err(CtlError::Refused(if reason.is_empty() {
            format!("HTTP status {status}")
        } else {
            format!("HTTP status {status}: {reason}")
        }))
    }
}

/// The status, and the length of the body; zero when it is not said.
fn parse_head(head: &[u8]) -> Result<(u16, usize), CtlError> {
    const ODD: CtlError = CtlError::Malformed("an HTTP response");
    let text = std::str::from_utf8(head).map_err(|_| ODD)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let rest = first.strip_prefix("HTTP/1.").ok_or(ODD)?;
    let code = rest.split(' ').nth(1).ok_or(ODD)?;
    let status = code.parse().ok().filter(|status| (100..=599).contains(status)).ok_or(ODD)?;
    let mut len = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(ODD)?;
        if name.eq_ignore_ascii_case("content-length") {
            len = value.trim().parse().map_err(|_| ODD)?;
        }
    }
    // These have none, whatever is said.
    Ok((status, if matches!(status, 100..=199 | 204 | 304) { 0 } else { len }))
}

/// A request as it is sent.
#[must_use]
pub fn request(method: &str, target: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n{kind}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// What an exchange left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The answer.
    pub response: Response,
    /// The process that listens, when it can be named.
    pub process: Option<Pid>,
}

/// Sends one request over a connection of its own, and takes the answer.
///
/// # Errors
/// Whatever goes wrong, as a [`CtlError`]; a status that means a refusal is an answer.
pub fn exchange(path: &Path, message: &[u8], deadline: Time) -> Result<Exchange, CtlError> {
    let mut peer = Peer::connect(path, deadline)?;
    let process = peer.process();
    peer.send(message)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = peer.receive(&mut buffer)?;
        if count == 0 {
            return Err(CtlError::Closed);
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(response) = Response::parse(&bytes)? {
            return Ok(Exchange { response, process });
        }
        if bytes.len() > 2 * HEAD_MAX + BODY_MAX {
            return Err(CtlError::TooLong); // one interim answer after the other
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_have_the_form_of_the_standard() {
        let text = request("PUT", "/api/v1/vm.power-button", None);
        assert_eq!(
            String::from_utf8_lossy(&text),
            "PUT /api/v1/vm.power-button HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\
             \r\nContent-Length: 0\r\n\r\n"
        );
        let text = request("POST", "/vm/state", Some(&json!({"state": "Stop"})));
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("\r\nContent-Type: application/json\r\nContent-Length: 16\r\n"));
        assert!(text.ends_with("\r\n\r\n{\"state\":\"Stop\"}"), "{text}");
    }

    #[test]
    fn answers_are_taken_whole() {
        let short = b"HTTP/1.1 204 No Content\r\nServer: API\r\nConnection: keep-alive\r\n\r\n";
        for cut in 0..short.len() {
            assert_eq!(Response::parse(&short[..cut]).expect("a prefix"), None, "{cut}");
        }
        let response = Response::parse(short).expect("whole").expect("complete");
        assert_eq!((response.status, response.body.len()), (204, 0));
        response.check().expect("a success");
        let long = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad\r\ncontent-length: 21\r\n\r\n\
                     {\"fault_message\":\"x\"}";
        assert_eq!(Response::parse(&long[..long.len() - 1]).expect("a prefix"), None);
        let response = Response::parse(long).expect("whole").expect("complete");
        let error = response.check().expect_err("a refusal");
        assert_eq!(error.to_string(), "the hypervisor refused: HTTP status 400: x");
    }

    #[test]
    fn a_refusal_without_words_has_its_status() {
        let response = Response { status: 500, body: Vec::new() };
        let error = response.check().expect_err("a refusal").to_string();
        assert!(error.ends_with("HTTP status 500"), "{error}");
    }

    #[test]
    fn limits_hold() {
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'x'; HEAD_MAX]].concat();
        assert!(matches!(Response::parse(&endless), Err(CtlError::TooLong)));
        for (len, good) in [(BODY_MAX, true), (BODY_MAX + 1, false)] {
            let text = format!("HTTP/1.1 400 x\r\nContent-Length: {len}\r\n\r\n");
            assert_eq!(Response::parse(text.as_bytes()).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for odd in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 999 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert!(
                matches!(Response::parse(odd.as_bytes()), Err(CtlError::Malformed(_))),
                "{odd}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            tail in "(\r\n|Content-Length: [0-9]{1,3}\r\n|[a-z: ]{0,9}){0,9}",
        ) {
            drop(Response::parse(&bytes));
            drop(Response::parse(format!("HTTP/1.1 200 OK\r\n{tail}").as_bytes()));
        }
    }
}
