// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What clients ask of a daemon, whichever way they came.
//!
//! The bus and the control socket both turn their requests into an [`Ask`]; most are questions to
//! the core, the rest is carried out by the shell.

use crate::core::api::Request;
use crate::core::tid::Fields;

/// One wish of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A question to the core, or the trace switch.
    Core(Request),
    /// Read the configuration again.
    Reload,
    /// Distrust everything known of the kernel, and look again.
    Rescan,
}

/// The seven strings that name a controller, in the order that the interfaces have.
#[must_use]
pub fn fields(seven: [String; 7]) -> Fields {
    let [transport, traddr, trsvcid, subsysnqn, host_traddr, host_iface, host_nqn] = seven;
    Fields { transport, traddr, trsvcid, subsysnqn, host_traddr, host_iface, host_nqn }
}

/// The reverse of [`fields`].
#[must_use]
pub fn seven(fields: &Fields) -> [String; 7] {
    fields.pairs().map(|(_, text)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_strings_and_fields_are_the_same_thing() {
        let strings = ["tcp", "192.0.2.1", "8009", "nqn", "192.0.2.2", "eth0", "host"];
        let fields = fields(strings.map(str::to_owned));
        assert_eq!((fields.trsvcid.as_str(), fields.host_nqn.as_str()), ("8009", "host"));
        assert_eq!(seven(&fields), strings);
    }
}
