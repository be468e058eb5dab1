// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms of output: for programs as JSON, and by which names machines are called there.

use serde_json::Value;

use super::Ground;

#[test]
fn a_machine_of_this_host_has_its_own_name() {
    let ground = Ground::new("called");
    let path = ground.write("x.toml", "hostName = \"inside\"\nkernel = \"/vmlinuz\"\n");
    ground.said(&["create", "web1", &path]);
    let units = ground.said(&["show", "web1", "--units"]);
    assert!(units.starts_with("# microvm@web1.service.d/10-microvm.conf\n"), "{units}");
    let all: Value = serde_json::from_str(&ground.said(&["--json", "show", "web1"])).expect("JSON");
    assert_eq!(all["web1"]["config"]["hostName"], "inside", "{all}");
}
