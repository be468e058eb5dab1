// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The long texts that the command carries, packed by `build.rs`: its manual page, and the headers
//! that BPF programs are compiled with.

use crate::errno::Errno;
use crate::sys::unpack::unpack;

/// Name and length of each text, and all of them, one behind the other, packed. The page comes
/// first and has no name.
static TEXTS: (&[(&str, usize)], &[u8]) = include!(concat!(env!("OUT_DIR"), "/texts.rs"));

/// The texts, unpacked.
pub(super) struct Texts(String);

impl Texts {
    /// # Errors
    /// What prevented unpacking: in practice a lack of memory or descriptors.
    pub(super) fn new() -> Result<Self, Errno> {
        let (names, packed) = TEXTS;
        let bytes = unpack(packed, names.iter().map(|(_, len)| len).sum())?;
        String::from_utf8(bytes).map(Self).map_err(|_| Errno(libc::EBADMSG))
    }

    /// The manual page, as it is installed.
    pub(super) fn page(&self) -> &str {
        self.all().next().map_or("", |(_, text)| text)
    }

    /// Name and text of each header.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.all().skip(1)
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut rest = self.0.as_str();
        TEXTS.0.iter().map_while(move |(name, len)| {
            let (text, behind) = rest.split_at_checked(*len)?;
            rest = behind;
            Some((*name, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wanted: &str) -> String {
        let texts = Texts::new().expect("unpacked");
        let found = texts.headers().find(|(name, _)| *name == wanted);
        found.map(|(_, text)| text.to_owned()).unwrap_or_default()
    }

    #[test]
    fn none_is_missing_and_code_and_licence_stay() {
        for (name, original) in libbpf_sys::API_HEADERS {
            let kept = text(name);
            assert!(kept.contains("SPDX-License-Identifier") || name == "bpf_helper_defs.h");
            for line in original.lines().filter(|line| line.starts_with('#')) {
                let code = line.split("/*").next().unwrap_or_default().trim_end();
                assert!(kept.contains(code), "{name}: {code}");
            }
        }
        assert!(text("bpf_helper_defs.h").contains("bpf_map_lookup_elem"));
        assert!(text("usdt.bpf.h").contains("BPF_USDT"));
    }

    #[test]
    fn the_page_is_the_one_that_is_installed() {
        let texts = Texts::new().expect("unpacked");
        assert_eq!(texts.page(), include_str!("../../../../man/tinybpf.8"));
    }

    #[test]
    fn comments_are_gone_and_the_rest_is_packed() {
        let texts = Texts::new().expect("unpacked");
        let all: usize = texts.headers().map(|(_, text)| text.len()).sum();
        assert!(all < 160_000, "{all} bytes");
        assert!(TEXTS.1.len() < 45_000, "{} bytes", TEXTS.1.len());
    }
}
