// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keeps secrets out of what is printed.
//!
//! Our daemons do not tell secrets; the reference's do, to everybody who asks. Whatever a daemon
//! says passes here before it is printed: keys by name, and keys by their form wherever they stand
//! in a text (DH-HMAC-CHAP secrets and TLS pre-shared keys in the interchange formats of the NVM
//! Express Base Specification and of the TCP Transport Specification).

use serde_json::Value;

/// What stands for a secret.
const MASK: &str = "***";

/// Keys of dictionaries whose values are secrets.
const NAMES: [&str; 4] = ["hostkey", "dhchap-secret", "dhchap-ctrl-secret", "tls-key"];

/// What a secret begins with.
const FORMS: [&str; 2] = ["DHHC-1:", "NVMeTLSkey-1:"];

/// Replaces every secret in `value`. What tells only that there is one stays.
pub fn mask(value: &mut Value) {
    match value {
        Value::String(text) => mask_text(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                let is_secret = NAMES.contains(&key.replace('_', "-").as_str());
                match item {
                    Value::String(text) if is_secret && !text.is_empty() => {
                        MASK.clone_into(text);
                    }
                    item => mask(item),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces what follows the beginning of a secret, as long as it can be part of one.
fn mask_text(text: &mut String) {
    for form in FORMS {
        if !text.contains(form) {
            continue;
        }
        let mut out = String::with_capacity(text.len());
        for (number, part) in text.split(form).enumerate() {
            if number == 0 {
                out.push_str(part);
                continue;
            }
            out.push_str(MASK);
            out.push_str(part.trim_start_matches(is_part));
        }
        *text = out;
    }
}

/// Base64 with padding (RFC 4648), and the colons between the parts.
const fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | ':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_by_name_and_by_form() {
        let mut value = json!({
            "hostkey": "whatever form",
            "controllers": [{ "dhchap-secret": "x", "dhchap_ctrl_secret": "y", "traddr": "::1" }],
            "terminator.controller.(tcp)":
                "{'dhchap-secret': 'DHHC-1:00:ab+/cd==:', 'device': 'nvme1'}",
            "note": ["psk NVMeTLSkey-1:01:VRLbtnN9/Wdwf=:, and DHHC-1:00:x and more"],
        });
        mask(&mut value);
        let stars = "***";
        let expected = json!({
            "hostkey": stars,
            "controllers": [
                { "dhchap-secret": stars, "dhchap_ctrl_secret": stars, "traddr": "::1" },
            ],
            "terminator.controller.(tcp)": "{'dhchap-secret': '***', 'device': 'nvme1'}",
            "note": ["psk ***, and *** and more"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_tells_only_that_there_is_a_secret_stays() {
        for plain in [
            json!({ "hostkey": null, "tron": true }),
            json!({ "hostkey": "***" }),
            json!({ "dhchap-secret": "" }),
            json!(["DHHC", "dhchap-secret", 7]),
        ] {
            let mut value = plain.clone();
            mask(&mut value);
            assert_eq!(value, plain);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_secret_is_left(
            before in "[a-z' ]{0,9}", form in 0_usize..2, secret in "[A-Za-z0-9+/]{20,60}={0,2}",
            after in "[,' }]{1,9}",
        ) {
            let mut value = json!([format!("{before}{}00:{secret}:{after}", FORMS[form])]);
            mask(&mut value);
            prop_assert_eq!(value, json!([format!("{before}***{after}")]));
        }

        #[test]
        fn masking_twice_is_masking_once(text in "(DHHC-1:|NVMeTLSkey-1:|[a-z: ]){0,8}") {
            let mut value = json!({ "k": text });
            mask(&mut value);
            let once = value.clone();
            mask(&mut value);
            prop_assert_eq!(value, once);
        }
    }
}
