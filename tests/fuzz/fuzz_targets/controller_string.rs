// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `controller=` and `exclude=` entries, up to the option list for the kernel.
//!
//! Whatever an entry says, it sets each option once, and none but those that the kernel knows.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use stas::core::fabrics::{self, Support};
use stas::core::identity::Identity;
use stas::core::settings::{Role, Settings};
use stas::core::tid::{Tid, TidDefaults};

const NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
const OPTIONS: &str = "transport traddr trsvcid nqn queue_size nr_io_queues reconnect_delay \
    ctrl_loss_tmo keep_alive_tmo hostnqn host_traddr host_iface hostid duplicate_connect \
    disable_sqflow hdr_digest data_digest nr_write_queues nr_poll_queues tos fast_io_fail_tmo \
    discovery dhchap_secret dhchap_ctrl_secret tls keyring tls_key concat";

fuzz_target!(|entry: &str| {
    if entry.contains(['\n', '\r']) {
        return;
    }
    let text = format!("[Controllers]\ncontroller={entry}\nexclude={entry}\n");
    let listing: String = OPTIONS.split(' ').map(|name| format!("{name}=%s,")).collect();
    let identity = Identity {
        nqn: NQN.to_owned(),
        id: "11111111-2222-3333-4444-555555555555".to_owned(),
        ..Identity::default()
    };
    for role in [Role::Finder, Role::Connector] {
        let (settings, _) = Settings::parse(role, &[("fuzz.conf", &text)]);
        for controller in &settings.controllers {
            let defaults = TidDefaults { host_nqn: NQN, ignore_iface: false };
            let tid = Tid::new(&controller.wanted(role), &defaults);
            assert_eq!(Tid::new(tid.fields(), &defaults), tid);
            let parameters = controller.overrides.over(&settings.parameters);
            let is_dc = role == Role::Finder;
            let support = Support::from_listing(&listing);
            let Ok(list) = fabrics::options(&tid, &identity, &parameters, is_dc, &support) else {
                continue;
            };
            assert!(!list.contains(|it: char| it.is_control()), "{list:?}");
            let mut seen = BTreeSet::new();
            for item in list.split(',') {
                let name = item.split_once('=').map_or(item, |(name, _)| name);
                assert!(OPTIONS.split(' ').any(|it| it == name), "{name:?} in {list:?}");
                assert!(seen.insert(name), "{name:?} twice in {list:?}");
            }
        }
    }
});
