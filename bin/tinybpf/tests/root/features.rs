// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel is found to be able to, against what the other tests do with it.

use bpf::features::{map_types, probe, probe_one, program_types};
use bpf::host::Host;
use bpf::kinds::{MapType, ProgType};
use bpf::object::Object;

use crate::support::{isolated, object};

#[test]
fn root_features_agree_with_what_loads() {
    isolated(module_path!(), "root_features_agree_with_what_loads", || {
        let kernel = Host::system().kernel();
        let found = probe();
        let has = |name: &str| found.iter().any(|feature| feature.name == name && feature.present);
        for (feature, fixture) in [
            ("fentry", "fentry"),
            ("lsm", "lsm"),
            ("iter", "iter"),
            ("ringbuf", "ring"),
            ("user_ringbuf", "user_ring"),
            ("netfilter", "netfilter"),
            ("tcx", "tcx"),
            ("arena", "arena"),
        ] {
            let loads = Object::load(&object(fixture)).is_ok();
            assert_eq!(has(feature), loads, "{feature}: {:?}", probe_one(feature));
        }
        for name in ["btf", "global_data", "batch", "tp_btf", "tracefs", "perf_link", "memcg"] {
            assert!(has(name), "{name}: {:?}", probe_one(name));
        }
        for feature in &found {
            assert!(!feature.present || feature.since <= kernel, "{feature:?} on {kernel:?}");
        }
        assert!(program_types().contains(&(ProgType::TRACING, true)), "whatever libbpf says");
        assert!(program_types().contains(&(ProgType::XDP, true)));
        assert!(map_types().contains(&(MapType::HASH, true)));
    });
}
