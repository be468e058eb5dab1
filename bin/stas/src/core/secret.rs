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

    /// Replaces a place by the secret kept there. `read` returns the text of the place, or `None`
    /// when the place is out of reach for now.
    ///
    /// # Errors
    /// Why there is no secret; afterwards this is [`Secret::Invalid`].
    pub fn resolve(&mut self, read: &mut Read<'_>) -> Result<(), String> {
        if !matches!(self, Self::File(_) | Self::Credential(_)) {
            return Ok(());
        }
        let found = match read(self) {
            Ok(None) => return Ok(()),
            Ok(Some(text)) => {
                let word = text.split_whitespace().next().unwrap_or_default().to_owned();
                check(&word).map(|()| word).map_err(|error| error.to_string())
            }
            Err(error) => Err(error),
        };
        let (secret, result) = match found {
            Ok(word) => (Self::Text(word), Ok(())),
            Err(error) => (Self::Invalid, Err(error)),
        };
        *self = secret;
        result
    }
}

/// Reads the place where a secret is kept: its text, or why there is none.
pub type Read<'a> = dyn FnMut(&Secret) -> Result<Option<String>, String> + 'a;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A well-formed secret with a key of `length` bytes (checksum included in the text's length).
    fn secret(hash: &str, length: usize) -> String {
        let bytes = length + CHECKSUM_LEN;
        let padding = (3 - bytes % 3) % 3;
        let digits = (bytes * 4).div_ceil(3);
        format!("DHHC-1:{hash}:{}{}:", "A".repeat(digits), "=".repeat(padding))
    }

    // R199
    #[test]
    fn well_formed_secrets_are_accepted() {
        let real = "DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:";
        assert_eq!(
            Secret::parse(real).map(|s| s.expose().map(str::to_owned)),
            Ok(Some(real.into()))
        );
        for (hash, length) in
            [("00", 32), ("00", 48), ("00", 64), ("01", 32), ("02", 48), ("03", 64)]
        {
            let text = secret(hash, length);
            assert!(Secret::parse(&text).is_ok(), "{text}");
        }
    }

    // R199
    #[test]
    fn malformed_secrets_are_told_apart() {
        for (text, error) in [
            ("super-secret".to_owned(), SecretError::Form),
            (String::new(), SecretError::Form),
            ("DHHC-2:00:AAAA:".to_owned(), SecretError::Form),
            (secret("00", 32).trim_end_matches(':').to_owned(), SecretError::Form),
            (secret("00", 32) + "x", SecretError::Form),
            (secret("00", 32) + ":", SecretError::Form),
            (secret("04", 32), SecretError::Hash),
            (secret("1", 32), SecretError::Hash),
            (secret("00", 33), SecretError::Key),
            (secret("01", 48), SecretError::Key),
            (secret("02", 32), SecretError::Key),
            (secret("00", 32).replacen(":A", ":-", 1), SecretError::Key),
            (secret("00", 32).replacen(":A", ":,", 1), SecretError::Key),
            ("DHHC-1:00:AA===:".to_owned(), SecretError::Key),
        ] {
            assert_eq!(Secret::parse(&text).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let text = secret("00", 32);
        let secrets = [Secret::parse(&text).expect("well formed"), Secret::File("/a".to_owned())];
        for secret in secrets {
            assert_eq!(secret.to_string(), "***");
            assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        }
    }

    // R058
    #[test]
    fn a_secret_kept_elsewhere_is_fetched_once() {
        let text = secret("01", 32);
        let mut secret = Secret::parse("file:///etc/nvme/key").expect("a place");
        assert_eq!(secret.expose(), None);
        let mut places = Vec::new();
        let mut read = |place: &Secret| {
            places.push(place.clone());
            Ok(Some(format!("  {text} trailing\n")))
        };
        assert_eq!(secret.resolve(&mut read), Ok(()));
        assert_eq!(secret.resolve(&mut read), Ok(()));
        assert_eq!(secret.expose(), Some(text.as_str()));
        assert_eq!(places, [Secret::File("/etc/nvme/key".to_owned())]);
    }

    // R058, R171
    #[test]
    fn a_secret_that_cannot_be_fetched_is_invalid() {
        let texts = [Err("no such file".to_owned()), Ok(String::new()), Ok("junk".to_owned())];
        for answer in texts.map(|text| text.map(Some)) {
            let mut secret = Secret::parse("credential:key").expect("a place");
            assert_eq!(secret, Secret::Credential("key".to_owned()));
            assert!(secret.resolve(&mut |_| answer.clone()).is_err());
            assert_eq!(secret, Secret::Invalid);
            assert_eq!(secret.expose(), None);
        }
    }

    // R058
    #[test]
    fn a_place_out_of_reach_is_kept() {
        let mut secret = Secret::Credential("key".to_owned());
        assert_eq!(secret.resolve(&mut |_| Ok(None)), Ok(()));
        assert_eq!(secret, Secret::Credential("key".to_owned()));
    }
}
