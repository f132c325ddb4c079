//! Restarts with snapshots: whatever happens to the source and to the daemon, and however often it
//! is killed, once everything is quiet, every target equals its source.
//!
//! A walk through the source reads one entry after the other while everything goes on, as in the
//! daemon. The order of the snapshots is that of `src/engine/snapshots/`, and the comparison is
//! that of `src/snapshot/walk.rs`. Files of different content look equal, as in
//! [`guarded`](super::guarded).

mod disk;
mod scenario;
mod snapshots;
mod walk;
mod world;

use alloc::string::{String, ToString as _};
use core::{ops::Range, panic::AssertUnwindSafe};

use scenario::{RestartScenario, report};
use snapshots::Omission;
use world::{RestartCounts, play};

/// Returns the failure of a scenario, including panics.
fn wrong(scenario: &RestartScenario, omission: Omission) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| play(scenario, omission))) {
        Ok(Ok(_)) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("it panicked".into()),
    }
}

fn shortest(scenario: RestartScenario, omission: Omission) -> String {
    let short = scenario.shorten(|scenario| wrong(scenario, omission).is_some());
    report(&short, &wrong(&short, omission).unwrap_or_default())
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let scenario = RestartScenario::random(seed);
        let why = wrong(&scenario, Omission::Nothing);
        assert!(why.is_none(), "history {seed}: {}", shortest(scenario, Omission::Nothing));
    }
}

#[test]
fn targets_converge_after_restarts() {
    check(0..3_000);
}

/// Long run: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn targets_converge_after_restarts_in_many_scenarios() {
    check(3_000..1_000_000);
}

#[test]
fn most_restarts_are_reduced_to_differences() {
    let mut total = RestartCounts::default();
    for seed in 0..500 {
        let counts = play(&RestartScenario::random(seed), Omission::Nothing).unwrap();
        total.reduced += counts.reduced;
        total.full += counts.full;
    }
    assert!(total.reduced > total.full, "{total:?}");
}

#[test]
fn each_omission_is_found() {
    // Each with the first seed to try, to save time.
    for (omission, first) in [
        (Omission::Journal, 500),
        (Omission::JournalOfEntries, 700),
        (Omission::JournalOfTrees, 500),
        (Omission::TouchedSinceComparison, 1_700),
        (Omission::RecentJournal, 500),
        (Omission::Barrier, 0),
        (Omission::Unconfirmed, 0),
    ] {
        let is_found = |seed| wrong(&RestartScenario::random(seed), omission).is_some();
        assert!((first..first + 3_000).any(is_found), "{omission:?}");
    }
}

#[test]
fn random_scenarios_with_restarts_round_trip_as_text() {
    for seed in 0..200 {
        let scenario = RestartScenario::random(seed);
        assert_eq!(RestartScenario::parse(&scenario.to_string()), scenario);
    }
}
