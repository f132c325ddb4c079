//! Several syncs in one daemon.

use std::{fmt::Write as _, fs, net::TcpListener, path::PathBuf};

use crate::support::{Churn, Mode, Sandbox, free_port, in_both_modes, needs};

in_both_modes!(two_targets_are_equal, twenty_targets_are_equal, nested_sources_each_get_theirs);

fn two_targets_are_equal(mode: Mode) {
    targets_are_equal(mode, 2);
}

fn twenty_targets_are_equal(mode: Mode) {
    targets_are_equal(mode, 20);
}

fn targets_are_equal(mode: Mode, number: usize) {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("source");
    let targets: Vec<PathBuf> =
        (0..number).map(|number| sandbox.directory(&format!("target{number}"))).collect();
    let mut churn = Churn::new(&source, 11);
    churn.change(50);
    let start =
        targets.iter().fold(sandbox.daemon(), |start, target| start.mirror(mode, &source, target));
    let daemon = start.start();
    let expect_mirrored =
        || targets.iter().for_each(|target| daemon.wait_mirrored(mode, &source, target));
    expect_mirrored();
    churn.change(100);
    expect_mirrored();
}

#[test]
fn a_target_that_is_away_and_one_that_hangs_hold_up_no_other() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let source = sandbox.directory("source");
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut text = "settings{ insist = true }".to_owned();
    for port in [free_port(), mute.local_addr().unwrap().port()] {
        let target = format!("rsync://127.0.0.1:{port}/mirror");
        writeln!(text, "sync{{ default.rsync, source = '@/source', target = '{target}' }}")
            .unwrap();
    }
    let names: Vec<String> = (0..18).map(|number| format!("target{number}")).collect();
    for name in &names {
        writeln!(
            text,
            "sync{{ default.rsync, source = '@/source', target = '@/{name}'
                  , rsync = {{ archive = true, hard_links = true }} }}"
        )
        .unwrap();
    }
    let targets: Vec<PathBuf> = names.iter().map(|name| sandbox.directory(name)).collect();
    let mut churn = Churn::new(&source, 12);
    churn.change(50);
    let daemon = sandbox.daemon().config(&text, 20).start();
    for changes in [50, 0] {
        for target in &targets {
            daemon.wait_mirrored(Mode::Rsync, &source, target);
        }
        churn.change(changes);
    }
    daemon.wait_for_log("Retrying startup");
}

#[test]
fn a_target_with_several_transfers_at_once_is_equal() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let text = "sync{ default.rsync, source = '@/source', target = '@/target', delay = 0
                    , maxProcesses = 4, batchSizeLimit = 100
                    , rsync = { archive = true, hard_links = true } }";
    let mut churn = Churn::new(&source, 13);
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    for _ in 0..5 {
        // All of it goes on while transfers run.
        (0..20).for_each(|_| churn.change(10));
        daemon.wait_mirrored(Mode::Rsync, &source, &target);
    }
}

fn nested_sources_each_get_theirs(mode: Mode) {
    let sandbox = Sandbox::new();
    let outer = sandbox.directory("source");
    let inner = sandbox.directory("source/inner");
    let [all, part] = ["all", "part"].map(|name| sandbox.directory(name));
    fs::write(inner.join("file"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &outer, &all).mirror(mode, &inner, &part).start();
    daemon.wait_live();
    fs::write(outer.join("outside"), "").unwrap();
    fs::create_dir(inner.join("deep")).unwrap();
    fs::write(inner.join("deep/file"), "inside").unwrap();
    daemon.wait_mirrored(mode, &outer, &all);
    daemon.wait_mirrored(mode, &inner, &part);
    // A move from one source into the other is a delete here and a new file there.
    fs::rename(outer.join("outside"), inner.join("deep/moved")).unwrap();
    daemon.wait_mirrored(mode, &outer, &all);
    daemon.wait_mirrored(mode, &inner, &part);
}
