//! Random changes: any missed change leaves a difference in the end.

use std::{fs, thread};

use crate::support::{
    LiveChurn, LiveMirror, Requirement, Sandbox, TransferMode, in_both_modes, needs,
};

in_both_modes!(
    random_changes_converge_with_inotify,
    random_changes_converge_with_fanotify,
    changes_during_the_startup_converge,
    short_lived_files_cause_no_errors,
);

/// Number of rounds, and of changes in each half round.
const ROUNDS: (usize, usize) = (6, 150);

fn random_changes_converge_with_inotify(mode: TransferMode) {
    random_changes_converge(Sandbox::new(), mode, "inotify", 1);
}

fn random_changes_converge_with_fanotify(mode: TransferMode) {
    needs!(Requirement::Fanotify);
    random_changes_converge(Sandbox::for_fanotify(), mode, "fanotify", 2);
}

#[track_caller]
fn random_changes_converge(sandbox: Sandbox, mode: TransferMode, watch: &str, seed: u64) {
    let live = LiveMirror::start_with(sandbox, mode, &["-watch", watch]);
    let mut churn = LiveChurn::new(&live.source, seed);
    for _ in 0..ROUNDS.0 {
        churn.change(ROUNDS.1);
        // In the second half of each round the daemon is still active.
        live.expect_mirrored();
        churn.change(ROUNDS.1);
    }
    live.expect_mirrored();
}

fn changes_during_the_startup_converge(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let mut churn = LiveChurn::new(&source, 3);
    churn.change(500);
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    while !daemon.log().contains("Startup of") {
        churn.change(20);
    }
    daemon.wait_mirrored(mode, &source, &target);
}

fn short_lived_files_cause_no_errors(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    thread::scope(|scope| {
        for number in 0..2 {
            let directory = live.source_path(&format!("busy{number}"));
            scope.spawn(move || {
                fs::create_dir(&directory).unwrap();
                for file in 0..3000 {
                    let path = directory.join(file.to_string());
                    fs::write(&path, "short-lived").unwrap();
                    fs::remove_file(&path).unwrap();
                }
            });
        }
    });
    fs::write(live.source_path("last"), "").unwrap();
    live.expect_mirrored();
    assert!(!live.daemon.log().contains("Error"), "{}", live.daemon.log());
}
