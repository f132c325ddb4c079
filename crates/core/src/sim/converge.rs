//! Convergence: after any history, once everything is quiet, every target equals its source. In
//! between, nothing is deleted that the source has, no two jobs work on overlapping paths of a
//! target, and no mirror claims to be in sync when it is not.

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::{ops::Range, panic::AssertUnwindSafe};

use crate::sim::{lossy_source::Loss, scenario::Scenario, world::play};

/// Returns the failure of a scenario, including panics.
fn wrong(scenario: &Scenario, loss: Loss) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| play(scenario, loss))) {
        Ok(Ok(_)) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("it panicked".into()),
    }
}

/// Returns the failure of the shortest scenario that still fails, and the scenario, as input for
/// [`replay`].
fn shortest(scenario: Scenario, loss: Loss) -> String {
    let short = scenario.shorten(|scenario| wrong(scenario, loss).is_some());
    let why = wrong(&short, loss).unwrap_or_default();
    format!("{why}\n{short}")
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let scenario = Scenario::random(seed);
        let why = wrong(&scenario, Loss::Reported);
        assert!(why.is_none(), "history {seed}: {}", shortest(scenario, Loss::Reported));
    }
}

#[test]
fn a_flush_is_complete_only_if_the_target_has_everything() {
    let flushes = |seed| play(&Scenario::random(seed), Loss::Reported).unwrap();
    let complete: usize = (0..1_000).map(flushes).sum();
    // Each is checked when it is answered.
    assert!(complete > 500, "{complete}");
}

/// Replays a scenario that a failing test printed.
fn replay(text: &str) {
    let scenario = Scenario::parse(text);
    assert_eq!(wrong(&scenario, Loss::Reported), None, "\n{scenario}");
}

#[test]
fn targets_converge_to_their_source() {
    check(0..10_000);
}

#[test]
fn targets_converge_to_their_source_in_further_scenarios() {
    check(10_000..20_000);
}

/// Long run: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn targets_converge_to_their_source_in_many_scenarios() {
    check(20_000..1_000_000);
}

#[test]
fn silent_event_loss_is_detected() {
    let scenario = (0..100).map(Scenario::random);
    let scenario =
        scenario.into_iter().find(|scenario| wrong(scenario, Loss::Silent).is_some()).unwrap();
    let all = scenario.steps.len();
    let short = scenario.shorten(|scenario| wrong(scenario, Loss::Silent).is_some());
    assert!(short.steps.len() <= 6, "not short:\n{short}");
    assert!(short.steps.len() < all);
    assert_eq!(Scenario::parse(&short.to_string()), short);
}

#[test]
fn random_scenarios_round_trip_as_text() {
    for seed in 0..200 {
        let scenario = Scenario::random(seed);
        assert_eq!(Scenario::parse(&scenario.to_string()), scenario);
    }
}

#[test]
fn a_directory_renamed_during_its_copy_converges() {
    replay(
        "mirrors 1 jobs any per-mirror 1 init true
         work 9
         move-in /a 2
         deliver 5
         wait 200
         work 3
         mv /a /b
         deliver 5
         work 3
         mv /b /a
         deliver 5
         wait 1000
         work 20",
    );
}

#[test]
fn unmounting_the_source_during_a_job_deletes_nothing() {
    replay(
        "mirrors 2 jobs 1 per-mirror 1 init true
         work 9
         move-in /a 2
         deliver 5
         wait 200
         work 3
         unmount
         work 3
         wait 5000
         deliver 5
         mount
         write /a/f0 7
         wait 5000
         work 3",
    );
}

#[test]
fn a_file_replaced_by_a_directory_converges_despite_failures() {
    replay(
        "mirrors 1 jobs any per-mirror 1 init true
         work 9
         write /a 1
         deliver 1
         wait 200
         work 9
         fault partly 4
         fault again 1
         rm /a
         move-in /a 2
         deliver 2
         wait 5000
         work 9
         swap /a/b /a/f0
         deliver 3
         wait 1000
         work 9",
    );
}

#[test]
fn a_replaced_source_disk_is_not_transferred_until_accepted() {
    // The other disk is written to, SIGHUP arrives, a mirror is replaced, and a full transfer is
    // due.
    let other = "disk 1
         write /b 2
         wait 5000
         deliver 5
         hup
         work 9
         replace 1
         full
         work 9
         wait 5000
         work 9";
    for end in ["mount", "accept", "disk 2\nhup\naccept\nwrite /c 1"] {
        replay(&format!(
            "mirrors 2 jobs any per-mirror 1 init true
             work 9
             write /a 1
             deliver 5
             wait 1000
             work 9
             {other}
             {end}
             wait 5000
             work 9"
        ));
    }
}

#[test]
fn a_source_replaced_during_a_job_is_transferred_completely() {
    replay(
        "mirrors 1 jobs any per-mirror 1 init true
         work 9
         move-in /a 2
         deliver 5
         wait 1000
         work 2
         exchange 7
         work 9
         wait 5000
         work 9
         deliver 5
         wait 5000
         work 9",
    );
}
