// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs a test in network and mount namespaces of its own.
//!
//! For tests whose names contain `root_`. Namespaces belong to a process, so that the test binary
//! starts itself anew below `unshare(1)` and runs the one test there.

use std::process::Command;

/// Says to the inner run that it is the inner run.
const MARK: &str = "PLINTH_TEST_ISOLATED";

/// `true` inside of the namespaces; outside runs the test named `module::test` there and returns
/// `false` when it passed.
///
/// # Panics
/// The inner run failed, or there is no privilege to make namespaces.
pub(crate) fn isolated(module: &str, test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("a test knows its own binary");
    let path = module.split_once("::").map_or(module, |(_, inner)| inner);
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(program)
        .args(["--exact", &format!("{path}::{test}"), "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("cannot start unshare(1)");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "the isolated run failed (without root, skip `root_`): {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    false
}
