// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Spans of time as people write them in configuration files.
//!
//! A plain number of seconds, units (`1 day, 2 hours`), or a clock (`1:30`, `2 days 1:00:00`).

/// Reads a span, in seconds; negative spans are possible.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest.trim_start()),
        None => (1.0, text),
    };
    if let Some((number, "")) = number(rest) {
        return finite(sign * number);
    }
    let span = clock(rest).or_else(|| units(rest, &UNITS).map(|(span, _)| span))?;
    finite(sign * span)
}

fn finite(span: f64) -> Option<f64> {
    span.is_finite().then_some(span)
}

/// Unit names with their length in seconds, in the order in which they may follow each other.
const UNITS: [(&[&str], f64); 4] = [
    (&["d", "dy", "dys", "day", "days"], 86_400.0),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600.0),
    (&["m", "min", "mins", "minute", "minutes"], 60.0),
    (&["s", "sec", "secs", "second", "seconds"], 1.0),
];

/// Splits an unsigned decimal number with an optional fraction off the front.
fn number(text: &str) -> Option<(f64, &str)> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let plain = digits.starts_with(|c: char| c.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| plain)?, rest))
}

/// Sums `number unit` parts whose units follow the order of `allowed`; all of the text, at least
/// one part. Also tells whether the last part ended in a separator.
fn units(text: &str, mut allowed: &[(&[&str], f64)]) -> Option<(f64, bool)> {
    let (mut rest, mut sum, mut separated) = (text, 0.0, false);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let unit = unit.to_ascii_lowercase();
        let position = allowed.iter().position(|(names, _)| names.contains(&unit.as_str()))?;
        let (_, seconds) = allowed.get(position)?;
        sum += value * seconds;
        allowed = allowed.get(position + 1..)?;
        let after = after.trim_start();
        let cut = after.strip_prefix([',', '/']);
        separated = cut.is_some();
        rest = cut.unwrap_or(after).trim_start();
    }
    Some((sum, separated))
}

/// Reads `M:SS`, `H:MM:SS`, `D:HH:MM:SS`, `:SS[.f]`, and days in words before a clock.
fn clock(text: &str) -> Option<f64> {
    let start = text.rfind(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
    let (words, clock) = match start {
        Some(at) => text.split_at_checked(at + text.get(at..)?.chars().next()?.len_utf8())?,
        None => ("", text),
    };
    let days = match words.trim() {
        "" => 0.0,
        words => units(words, UNITS.get(..1)?)?.0,
    };
    let mut parts = clock.split(':').rev();
    let seconds = parts.next().filter(|part| !part.is_empty())?;
    let seconds = two_digits(seconds, true)?;
    let minutes = parts.next()?; // without a colon this is no clock
    let rest: Vec<&str> = parts.collect();
    let above = match (minutes, rest.as_slice()) {
        ("", []) if days == 0.0 => 0.0,
        (minutes, []) => two_digits(minutes, false)? * 60.0,
        (minutes, [hours]) => {
            two_digits(minutes, false)? * 60.0 + two_digits(hours, false)? * 3600.0
        }
        (minutes, [hours, whole]) if days == 0.0 => {
            let whole = number(whole).filter(|(_, rest)| rest.is_empty())?.0;
            whole * 86_400.0
                + two_digits(hours, false)? * 3600.0
                + two_digits(minutes, false)? * 60.0
        }
        _ => return None,
    };
    Some(days + above + seconds)
}

/// One or two digits, with a fraction where allowed.
fn two_digits(text: &str, fraction: bool) -> Option<f64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if whole.is_empty() || whole.len() > 2 || (whole.len() < text.len() && !fraction) {
        return None;
    }
    number(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}
