// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Deriving the host's NQN and ID from what identifies the machine.
//!
//! Owns the derivations as pure functions of file contents. They must give the same result for ever:
//! storage arrays know the host by it. Reading the files and rolling dice is left to the callers.

/// The UUID inside an NQN of the form `nqn.2014-08.org.nvmexpress:uuid:<UUID>`, in lower case.
#[must_use]
pub fn uuid_of_nqn(nqn: &str) -> Option<String> {
    let uuid = nqn.strip_prefix(NQN_PREFIX)?;
    is_uuid(uuid).then(|| uuid.to_ascii_lowercase())
}

/// What every host NQN of the UUID form begins with.
pub const NQN_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";

/// Whether `text` is a UUID: 32 hexadecimal digits in five groups.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let good = |group: &str, length| {
        group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    lengths.into_iter().all(|length| groups.next().is_some_and(|group| good(group, length)))
        && groups.next().is_none()
}
