//! Runs every target for a moment, always with the same inputs.

use fuzz_harness::{
    runner::{FuzzRun, RunLimit, fuzz},
    targets::FuzzTarget,
};

/// Runs the seeds of a target and some mutations of them.
fn check(name: &str, executions: u64) {
    let target = FuzzTarget::find(name).expect("the target is in the table");
    let limit = RunLimit::Executions(executions);
    if let Err(error) = fuzz(target, &FuzzRun { seed: 1, start: 0, limit, record: false }) {
        panic!("{error}");
    }
}

#[test]
fn kernel_events_hold_their_invariants() {
    check("kernel_events", 5000);
}

#[test]
fn filter_rules_hold_their_invariants() {
    check("filter_rules", 3000);
}

#[test]
fn rsync_messages_hold_their_invariants() {
    check("rsync_messages", 300);
}

#[test]
fn shell_quoting_holds_its_invariants() {
    check("shell_quoting", 5000);
}

#[test]
fn cron_rules_hold_their_invariants() {
    check("cron_rules", 3000);
}

#[test]
fn lua_config_holds_its_invariants() {
    check("lua_config", 200);
}

#[test]
fn control_requests_hold_their_invariants() {
    check("control_requests", 3000);
}
