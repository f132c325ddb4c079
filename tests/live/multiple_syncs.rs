//! Several syncs in one daemon.

use std::{fmt::Write as _, fs, net::TcpListener, path::PathBuf};

use crate::support::{LiveChurn, Sandbox, TransferMode, free_port, in_both_modes, needs};

in_both_modes!(
    two_targets_converge,
    twenty_targets_converge,
    nested_sources_are_mirrored_separately
);

fn two_targets_converge(mode: TransferMode) {
    targets_converge(mode, 2);
}

fn twenty_targets_converge(mode: TransferMode) {
    targets_converge(mode, 20);
}

fn targets_converge(mode: TransferMode, number: usize) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    let targets: Vec<PathBuf> =
        (0..number).map(|number| sandbox.create_dir(&format!("target{number}"))).collect();
    let mut churn = LiveChurn::new(&source, 11);
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
fn unavailable_and_hanging_targets_do_not_block_others() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
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
    let targets: Vec<PathBuf> = names.iter().map(|name| sandbox.create_dir(name)).collect();
    let mut churn = LiveChurn::new(&source, 12);
    churn.change(50);
    let daemon = sandbox.daemon().config(&text, 20).start();
    for changes in [50, 0] {
        for target in &targets {
            daemon.wait_mirrored(TransferMode::Rsync, &source, target);
        }
        churn.change(changes);
    }
    daemon.wait_for_log("Retrying startup");
}

#[test]
fn concurrent_transfers_to_one_target_converge() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let text = "sync{ default.rsync, source = '@/source', target = '@/target', delay = 0
                    , maxProcesses = 4, batchSizeLimit = 100
                    , rsync = { archive = true, hard_links = true } }";
    let mut churn = LiveChurn::new(&source, 13);
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    for _ in 0..5 {
        // The changes overlap with running transfers.
        (0..20).for_each(|_| churn.change(10));
        daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    }
}

fn nested_sources_are_mirrored_separately(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let outer = sandbox.create_dir("source");
    let inner = sandbox.create_dir("source/inner");
    let [all, part] = ["all", "part"].map(|name| sandbox.create_dir(name));
    fs::write(inner.join("file"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &outer, &all).mirror(mode, &inner, &part).start();
    daemon.wait_live();
    fs::write(outer.join("outside"), "").unwrap();
    fs::create_dir(inner.join("deep")).unwrap();
    fs::write(inner.join("deep/file"), "inside").unwrap();
    daemon.wait_mirrored(mode, &outer, &all);
    daemon.wait_mirrored(mode, &inner, &part);
    // A rename from one source to the other is a deletion in one and a creation in the other.
    fs::rename(outer.join("outside"), inner.join("deep/moved")).unwrap();
    daemon.wait_mirrored(mode, &outer, &all);
    daemon.wait_mirrored(mode, &inner, &part);
}
