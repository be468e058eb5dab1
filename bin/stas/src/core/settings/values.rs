// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The types of values in the daemons' files: each reads a text or says what it should have been.

use std::fmt::Display;
use std::str::FromStr;

/// `true` or `false`, in any letter case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    either(text, "true", "false")
}

/// `enabled` or `disabled`, in any letter case.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    either(text, "enabled", "disabled")
}

/// `yes` or `no`, in any letter case.
pub(super) fn yes_no(text: &str) -> Result<bool, String> {
    either(text, "yes", "no")
}

fn either(text: &str, yes: &str, no: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case(yes) {
        Ok(true)
    } else if text.eq_ignore_ascii_case(no) {
        Ok(false)
    } else {
        Err(format!("expected {yes} or {no}"))
    }
}

/// A decimal number with an optional sign, within `least..=most`.
pub(super) fn number<N>(text: &str, least: N, most: N) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display + Copy,
{
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value: Option<N> = text.parse().ok().filter(|_| is_number);
    value
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

/// A serial number of the kernel's key management, decimal or hexadecimal with `0x`.
pub(super) fn serial(text: &str) -> Result<u32, String> {
    let value = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    value.filter(|&serial| serial != 0).ok_or_else(|| "expected the serial number of a key".into())
}
