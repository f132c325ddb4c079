//! Several syncs in one daemon.

use std::{fs, path::PathBuf};

use crate::support::{Churn, Mode, Sandbox, in_both_modes};

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
