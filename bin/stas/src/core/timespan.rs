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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // R046
    #[test]
    fn spans_are_read() {
        for (text, seconds) in [
            ("1", 1.0),
            ("1s", 1.0),
            ("1 sec", 1.0),
            ("1 second", 1.0),
            ("1 seconds", 1.0),
            ("1:01", 61.0),
            ("1 day", 86_400.0),
            ("1 hour", 3_600.0),
            ("1 min", 60.0),
            ("0.5", 0.5),
            ("-1", -1.0),
            (":22", 22.0),
            (":22.5", 22.5),
            ("1 minute, 24 secs", 84.0),
            ("1m24s", 84.0),
            ("1:24", 84.0),
            ("1.2 minutes", 72.0),
            ("1.2 seconds", 1.2),
            ("- 1 minute", -60.0),
            ("+ 1 minute", 60.0),
            ("72hours", 259_200.0),
            ("10 seconds", 10.0),
            ("2:00:00", 7_200.0),
            ("1:00:00:00", 86_400.0),
            ("2 days 1:00:00", 176_400.0),
            ("2 days, 0:01:30", 172_890.0),
            ("1 DAY / 2 HRS", 93_600.0),
            ("  5 dys 4 hr 3 mins 2 s ", 446_582.0),
        ] {
            let parsed = parse(text).unwrap_or_else(|| panic!("{text:?} is a span"));
            assert!((parsed - seconds).abs() < 1e-9, "{text:?}: {parsed}");
        }
    }

    // R047
    #[test]
    fn anything_else_is_no_span() {
        for text in [
            "",
            "  ",
            "blah",
            "-",
            "1 blah",
            "1 s 1 m",
            "1 s 1 s",
            "1:2:3:4:5",
            "1:",
            ":",
            "::1",
            "123:00",
            "1:001",
            "1.5:00",
            "1,",
            "minutes",
            "--1",
            "1e3",
            "inf",
            "nan",
            ".",
            "1..2",
            "1 2",
            "1 hour 1:00",
            "9".repeat(400).as_str(),
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[-+:., /0-9a-zé]{0,16}") {
            prop_assert!(parse(&text).is_none_or(f64::is_finite));
        }
    }
}
