// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways in which programs take their options apart, written from what they document and not
//! from what the product writes.

/// One part of a value: a key with its value, or a word alone.
pub(crate) type Part = (Option<String>, String);

/// A way to take a value apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// The separator ends a part, whatever stands there.
    Plain,
    /// A doubled comma is one.
    Doubled,
    /// Double quotes and brackets hold together; a doubled quote inside quotes is one.
    QuotesDoubled,
    /// A value may be quoted as a whole, with backslashes inside.
    QuotesEscaped,
    /// Double quotes hold together, and fall away where they surround a value.
    QuotesWhole,
}

impl Syntax {
    pub(crate) fn by_name(name: &str) -> Self {
        match name {
            "plain" => Self::Plain,
            "quotes-doubled" => Self::QuotesDoubled,
            "quotes-escaped" => Self::QuotesEscaped,
            "quotes-whole" => Self::QuotesWhole,
            other => panic!("no syntax {other}"),
        }
    }

    /// The parts of a value; an error says why the program would refuse it.
    pub(crate) fn parts(self, value: &str, separator: char) -> Result<Vec<Part>, String> {
        if value.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Plain => Ok(value.split(separator).map(pair).collect()),
            Self::Doubled => Ok(doubled(value).iter().map(|part| pair(part)).collect()),
            Self::QuotesDoubled => quotes_doubled(value),
            Self::QuotesWhole => quotes_whole(value),
            Self::QuotesEscaped if separator != ',' => {
                Ok(value.split(separator).map(pair).collect())
            }
            Self::QuotesEscaped => quotes_escaped(value),
        }
    }
}

fn pair(part: &str) -> Part {
    match part.split_once('=') {
        Some((key, value)) => (Some(key.to_owned()), value.to_owned()),
        None => (None, part.to_owned()),
    }
}

fn doubled(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.last_mut().expect("a part");
        match c {
            ',' if chars.next_if_eq(&',').is_some() => last.push(','),
            ',' => parts.push(String::new()),
            c => last.push(c),
        }
    }
    parts
}

fn quotes_doubled(value: &str) -> Result<Vec<Part>, String> {
    let (mut depth, mut quoted, mut part) = (0, false, String::new());
    let mut parts = Vec::new();
    for c in value.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    if quoted || depth != 0 {
        return Err(format!("quotes or brackets do not match in {value}"));
    }
    parts.push(part);
    let unquoted = |part: &String| {
        let (key, text) = pair(part);
        let text = text.trim();
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        (key, inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\"\"", "\"")))
    };
    Ok(parts.iter().map(unquoted).collect())
}

fn quotes_whole(value: &str) -> Result<Vec<Part>, String> {
    let (mut quoted, mut part) = (false, String::new());
    let mut parts = Vec::new();
    for c in value.chars() {
        match c {
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            c => {
                quoted ^= c == '"';
                part.push(c);
            }
        }
    }
    if quoted {
        return Err(format!("a quote is missing in {value}"));
    }
    parts.push(part);
    let bare = |text: &str| {
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        inner.unwrap_or(text).to_owned()
    };
    Ok(parts.iter().map(|part| pair(&bare(part))).map(|(key, text)| (key, bare(&text))).collect())
}

fn quotes_escaped(value: &str) -> Result<Vec<Part>, String> {
    let mut rest = value;
    let mut parts = Vec::new();
    loop {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let (key, from) = match behind.strip_prefix('=') {
            Some(behind) if !name.is_empty() => (Some(name.to_owned()), behind),
            _ => (None, rest),
        };
        let (text, behind) = escaped(from)?;
        parts.push((key, text));
        match behind.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if behind.is_empty() => return Ok(parts),
            None => return Err(format!("{behind} follows a value in {value}")),
        }
    }
}

/// A value, and what stands behind it.
fn escaped(text: &str) -> Result<(String, &str), String> {
    let Some(inner) = text.strip_prefix('"') else {
        let ends = |c: char| ",\"'[]".contains(c);
        let (value, behind) = text.split_at(text.find(ends).unwrap_or(text.len()));
        return match value {
            "" => Err(format!("no value before {text}")),
            _ => Ok((value.to_owned(), behind)),
        };
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &inner[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                _ => return Err(format!("a backslash escapes nothing in {text}")),
            },
            c => value.push(c),
        }
    }
    Err(format!("a quote is missing in {text}"))
}
