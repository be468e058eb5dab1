// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The headers that BPF programs are compiled with, by name: see `build.rs`.

/// Name and text of each.
pub(super) static HEADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/headers.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wanted: &str) -> &'static str {
        HEADERS.iter().find(|(name, _)| *name == wanted).map_or("", |(_, text)| text)
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
    fn comments_are_gone() {
        let all: usize = HEADERS.iter().map(|(_, text)| text.len()).sum();
        assert!(all < 160_000, "{all} bytes");
    }
}
