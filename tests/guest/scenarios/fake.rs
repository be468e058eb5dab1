// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rig itself: the fake discovery controller convinces the kernel and the foreign command.

use std::time::Duration;

use super::{Guest, Kernel, Needs, Scenario};
use crate::fakedc::{Entry, Fake, Fault, Persona};
use crate::inside::controllers::DISCOVERY_NQN;
use crate::inside::uevents::Recorder;
use crate::inside::{Outcome, controllers, ensure, ensure_eq, process, say, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// The kernel accepts the fake as a central discovery controller.
pub const FAKE_DC: Scenario = Scenario {
    name: "fake-dc",
    about: "the rig: the fake discovery controller against the kernel and nvme-cli",
    needs: Needs { nvme_cli: true, ..Needs::BARE },
    kernels: &Kernel::ALL,
    seconds: 90,
    run: fake_dc,
};

fn events(recorder: &Recorder) -> usize {
    recorder.count(|event| event.property("NVME_AEN") == "0x70f002")
}

fn fake_dc(_: &Guest) -> Outcome {
    let recorder = Recorder::start()?;
    let persona = Persona { dctype: 2, ..Persona::default() };
    let many: Vec<Entry> =
        (0..9).map(|n| Entry::storage(&format!("nqn.x:{n}"), "192.0.2.1", 4420)).collect();
    let fake = Fake::start("127.0.0.1:8009", persona, many)?;
    let options =
        format!("nqn={DISCOVERY_NQN},transport=tcp,traddr=127.0.0.1,trsvcid=8009,keep_alive_tmo=5");
    let name = controllers::connect(&options)?;
    controllers::await_discovery(1, LIMIT)?;
    let found = controllers::all();
    ensure_eq("the controller type", found[0].kind.as_str(), "discovery")?;
    ensure_eq("the type of discovery controller", found[0].dctype.as_str(), "cdc")?;
    ensure_eq("the host name", fake.seen().hosts[0].as_str(), controllers::HOST_NQN)?;
    say::step("connected");

    let read = ["nvme", "discover", "-t", "tcp", "-a", "127.0.0.1", "-s", "8009"];
    let log = process::output(&read)?;
    ensure(log.contains("192.0.2.1") && log.contains("nqn.x:8"), format_args!("log: {log}"))?;
    fake.misbehave(Fault::RecordCount(0));
    let log = process::output(&read)?;
    ensure(!log.contains("nqn.x"), format_args!("an empty log was wanted: {log}"))?;
    fake.misbehave(Fault::LogStatus(0x4002));
    ensure(process::run(&read)?.code != 0, "the status of the log read did not arrive")?;
    fake.misbehave(Fault::None);
    say::step("the log was read");

    fake.announce(vec![Entry::referral("192.0.2.2", 8009)]);
    wait::until("the event of the change", LIMIT, || events(&recorder) == 1)?;
    fake.raise_event();
    let quiet = Duration::from_millis(500);
    wait::throughout("no event before the log was read", quiet, || events(&recorder) == 1)?;

    wait::until("the host keeps itself alive", LIMIT, || fake.seen().keep_alives > 0)?;
    fake.hang_up();
    wait::until("the controller is missed", LIMIT, || {
        recorder.count(|event| event.property("NVME_EVENT") == "rediscover") == 1
    })?;
    controllers::await_discovery(1, LIMIT)?;
    controllers::delete(&name)?;
    wait::until("no controller is left", LIMIT, || controllers::all().is_empty())?;
    ensure(!recorder.lost_some(), "the recorder lost events")
}
