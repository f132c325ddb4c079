//! Many random changes: what was missed at any moment shows in the end.

use std::{fs, thread};

use crate::support::{Churn, Live, Mode, Need, Sandbox, in_both_modes, needs};

in_both_modes!(
    random_changes_converge_with_inotify,
    random_changes_converge_with_fanotify,
    changes_during_the_startup_converge,
    files_that_vanish_at_once_do_no_harm,
);

/// How many rounds there are, and how many changes in each.
const ROUNDS: (usize, usize) = (6, 150);

fn random_changes_converge_with_inotify(mode: Mode) {
    random_changes_converge(Sandbox::new(), mode, "inotify", 1);
}

fn random_changes_converge_with_fanotify(mode: Mode) {
    needs!(Need::Fanotify);
    random_changes_converge(Sandbox::for_fanotify(), mode, "fanotify", 2);
}

#[track_caller]
fn random_changes_converge(sandbox: Sandbox, mode: Mode, watch: &str, seed: u64) {
    let live = Live::start_with(sandbox, mode, &["-watch", watch]);
    let mut churn = Churn::new(&live.source, seed);
    for _ in 0..ROUNDS.0 {
        churn.change(ROUNDS.1);
        // Every other round meets a daemon that is still at work.
        live.expect_mirrored();
        churn.change(ROUNDS.1);
    }
    live.expect_mirrored();
}

fn changes_during_the_startup_converge(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let mut churn = Churn::new(&source, 3);
    churn.change(500);
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    while !daemon.log().contains("Startup of") {
        churn.change(20);
    }
    daemon.wait_mirrored(mode, &source, &target);
}

fn files_that_vanish_at_once_do_no_harm(mode: Mode) {
    let live = Live::start(mode);
    thread::scope(|scope| {
        for number in 0..2 {
            let directory = live.at(&format!("busy{number}"));
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
    fs::write(live.at("last"), "").unwrap();
    live.expect_mirrored();
    assert!(!live.daemon.log().contains("Error"), "{}", live.daemon.log());
}
