// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DH-HMAC-CHAP secrets: their form, and a type that never shows them.
//!
//! Owns the check of the form (prefix, length, alphabet; NVM Express Base Specification, "Secret
//! representation"). The checksum inside is left to the kernel, which verifies it at connect time.

use std::fmt;

/// A secret, or the place where it is kept. `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret itself, in its text representation.
    Text(String),
    /// A file whose first word is the secret.
    File(String),
    /// A credential handed over by the service manager.
    Credential(String),
    /// Something was configured that is no secret: nothing may be connected without one.
    Invalid,
}

/// Why a text is no secret. Does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// It does not read `DHHC-1:<hash>:<base64>:`.
    Form,
    /// The hash is none of 00, 01, 02, 03.
    Hash,
    /// The key is not base64, or of a length that the hash does not use.
    Key,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "secret is not of the form DHHC-1:<hash>:<base64>:",
            Self::Hash => "secret names an unknown hash",
            Self::Key => "secret has a key of the wrong length or encoding",
        })
    }
}

impl std::error::Error for SecretError {}

impl Secret {
    /// Reads a setting's value: a secret, `file://PATH` or `credential:NAME`.
    ///
    /// # Errors
    /// A text that is none of these.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::File(path.to_owned()));
        }
        if let Some(name) = text.strip_prefix("credential:") {
            return Ok(Self::Credential(name.to_owned()));
        }
        check(text)?;
        Ok(Self::Text(text.to_owned()))
    }

    /// The secret itself, where it is known already.
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::File(_) | Self::Credential(_) | Self::Invalid => None,
        }
    }

    /// Replaces a place by the secret kept there. `read` returns the text of the place.
    ///
    /// # Errors
    /// Why there is no secret; afterwards this is [`Secret::Invalid`].
    pub fn resolve(
        &mut self,
        read: &mut dyn FnMut(&Self) -> Result<String, String>,
    ) -> Result<(), String> {
        if !matches!(self, Self::File(_) | Self::Credential(_)) {
            return Ok(());
        }
        let found = read(self).and_then(|text| {
            let word = text.split_whitespace().next().unwrap_or_default().to_owned();
            check(&word).map(|()| word).map_err(|error| error.to_string())
        });
        let (secret, result) = match found {
            Ok(word) => (Self::Text(word), Ok(())),
            Err(error) => (Self::Invalid, Err(error)),
        };
        *self = secret;
        result
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Checks the form of a secret.
fn check(text: &str) -> Result<(), SecretError> {
    let mut parts = text.split(':');
    let (prefix, hash, key) = (parts.next(), parts.next(), parts.next());
    let (Some("DHHC-1"), Some(hash), Some(key), Some(""), None) =
        (prefix, hash, key, parts.next(), parts.next())
    else {
        return Err(SecretError::Form);
    };
    let lengths: &[usize] = match hash {
        "00" => &[32, 48, 64],
        "01" => &[32],
        "02" => &[48],
        "03" => &[64],
        _ => return Err(SecretError::Hash),
    };
    let length = base64_length(key).and_then(|length| length.checked_sub(CHECKSUM_LEN));
    match length {
        Some(length) if lengths.contains(&length) => Ok(()),
        _ => Err(SecretError::Key),
    }
}

/// Bytes of the checksum that follows the key.
const CHECKSUM_LEN: usize = 4;

/// How many bytes a padded base64 text stands for.
fn base64_length(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let valid = text.len() % 4 == 0 && padding <= 2 && digits.bytes().all(is_digit);
    valid.then(|| digits.len() * 3 / 4)
}
