//! Convergence: whatever happens, once all is quiet, every target equals its source. And on the
//! way nothing is deleted that the source has, no target is worked on by two jobs at once, and
//! nobody is told that all is well when it is not.

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::{ops::Range, panic::AssertUnwindSafe};

use crate::sim::{script::Script, witness::Loss, world::play};

/// What goes wrong in a history, panics included.
fn wrong(script: &Script, loss: Loss) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| play(script, loss))) {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("it panicked".into()),
    }
}

/// The shortest part of a history that still goes wrong, and how; to be given to [`replay`].
fn shortest(script: Script, loss: Loss) -> String {
    let short = script.shorten(|script| wrong(script, loss).is_some());
    let why = wrong(&short, loss).unwrap_or_default();
    format!("{why}\n{short}")
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let script = Script::random(seed);
        let why = wrong(&script, Loss::Told);
        assert!(why.is_none(), "history {seed}: {}", shortest(script, Loss::Told));
    }
}

/// Plays a history again that was printed by a failing test.
fn replay(text: &str) {
    let script = Script::parse(text);
    assert_eq!(wrong(&script, Loss::Told), None, "\n{script}");
}

#[test]
fn targets_become_equal_to_their_source() {
    check(0..10_000);
}

#[test]
fn targets_become_equal_to_their_source_in_other_histories() {
    check(10_000..20_000);
}

/// For a night: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn targets_become_equal_to_their_source_in_many_histories() {
    check(20_000..1_000_000);
}

#[test]
fn a_witness_that_loses_in_silence_is_found_out() {
    let script = (0..100).map(Script::random);
    let script = script.into_iter().find(|script| wrong(script, Loss::Silent).is_some()).unwrap();
    let all = script.steps.len();
    let short = script.shorten(|script| wrong(script, Loss::Silent).is_some());
    assert!(short.steps.len() <= 6, "not short:\n{short}");
    assert!(short.steps.len() < all);
    assert_eq!(Script::parse(&short.to_string()), short);
}

#[test]
fn a_random_history_can_be_written_and_read() {
    for seed in 0..200 {
        let script = Script::random(seed);
        assert_eq!(Script::parse(&script.to_string()), script);
    }
}

#[test]
fn a_directory_that_is_renamed_while_it_is_copied() {
    replay(
        "mirrors 1 jobs any hands 1 init true
         work 9
         move-in /a 2
         tell 5
         wait 200
         work 3
         mv /a /b
         tell 5
         work 3
         mv /b /a
         tell 5
         wait 1000
         work 20",
    );
}

#[test]
fn a_source_that_is_unmounted_during_a_job_empties_nothing() {
    replay(
        "mirrors 2 jobs 1 hands 1 init true
         work 9
         move-in /a 2
         tell 5
         wait 200
         work 3
         unmount
         work 3
         wait 5000
         tell 5
         mount
         write /a/f0 7
         wait 5000
         work 3",
    );
}

#[test]
fn a_file_that_becomes_a_directory_in_a_target_that_fails() {
    replay(
        "mirrors 1 jobs any hands 1 init true
         work 9
         write /a 1
         tell 1
         wait 200
         work 9
         fate partly 4
         fate again 1
         rm /a
         move-in /a 2
         tell 2
         wait 5000
         work 9
         swap /a/b /a/f0
         tell 3
         wait 1000
         work 9",
    );
}

#[test]
fn another_disk_in_the_place_of_the_source_brings_nothing_until_it_is_accepted() {
    // It is written to, SIGHUP comes, a mirror is replaced, and the time for a full transfer comes.
    let other = "disk 1
         write /b 2
         wait 5000
         tell 5
         hup
         work 9
         replace 1
         full
         work 9
         wait 5000
         work 9";
    for end in ["mount", "accept", "disk 2\nhup\naccept\nwrite /c 1"] {
        replay(&format!(
            "mirrors 2 jobs any hands 1 init true
             work 9
             write /a 1
             tell 5
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
fn a_source_that_is_exchanged_during_a_job_is_brought_whole() {
    replay(
        "mirrors 1 jobs any hands 1 init true
         work 9
         move-in /a 2
         tell 5
         wait 1000
         work 2
         exchange 7
         work 9
         wait 5000
         work 9
         tell 5
         wait 5000
         work 9",
    );
}
