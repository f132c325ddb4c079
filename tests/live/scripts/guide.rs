//! The examples of the guide to scripts.

use std::fs;

use crate::support::{Requirement, Sandbox, TestDaemon, TransferMode, needs};

/// Starts the example of the guide that contains this text, with `/srv` replaced by the sandbox.
#[track_caller]
fn start(sandbox: &Sandbox, wanted: &str) -> TestDaemon {
    let page = include_str!("../../../docs/scripts.md");
    let blocks = page.split("\n\n").filter(|block| block.starts_with("    "));
    let mut found = blocks.filter(|block| block.contains(wanted));
    let block = found.next().expect("the guide has it");
    assert!(found.next().is_none(), "it is there once");
    let top = sandbox.top().to_str().unwrap();
    let file = sandbox.path("conf.lua");
    fs::write(&file, block.replace("/srv", top)).unwrap();
    let syncs = [(sandbox.create_dir("www"), sandbox.create_dir("copies"))];
    let daemon = sandbox.daemon().args(["-log", "Inotify"]).config_file(&file, &syncs).start();
    daemon.wait_watched();
    daemon
}

#[test]
fn commands_of_the_guide() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "echo new: ^path");
    let file = sandbox.path("www/it's $(a)");
    let output = || fs::read_to_string(sandbox.path("changes")).unwrap_or_default();
    let has_line = |event: &str| output().contains(&format!("{event}: it's $(a)\n"));
    fs::write(&file, "first").unwrap();
    daemon.wait_until("it is new and changed", || has_line("new") && has_line("changed"));
    fs::remove_file(&file).unwrap();
    daemon.wait_until("it is gone", || has_line("gone"));
}

#[test]
fn the_exit_codes_of_the_guide() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "[1] = \"again\"");
    fs::remove_dir(sandbox.path("copies")).unwrap();
    fs::write(sandbox.path("www/file"), "").unwrap();
    daemon.wait_for_log("cp: ");
    sandbox.create_dir("copies");
    daemon.wait_until("it is tried again", || sandbox.path("copies/file").exists());
}

#[test]
fn the_functions_of_the_guide() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "if event.isdir then return end");
    fs::create_dir(sandbox.path("www/directory")).unwrap();
    fs::write(sandbox.path("www/directory/file"), "").unwrap();
    daemon.wait_until("it is copied", || sandbox.path("copies/file").exists());
    assert!(!sandbox.path("copies/directory").exists());
}

#[test]
fn the_action_of_the_guide() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "inlet.getEvents()");
    fs::create_dir(sandbox.path("www/a")).unwrap();
    fs::create_dir(sandbox.path("www/b")).unwrap();
    let output = || fs::read_to_string(sandbox.path("changes")).unwrap_or_default();
    daemon.wait_until("both are listed", || output() == "Create /a/\nCreate /b/\n");
}

#[test]
fn the_extended_default_of_the_guide() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "rsync brought");
    daemon.wait_live();
    let source = sandbox.path("www");
    fs::create_dir(source.join("directory")).unwrap();
    daemon.wait_for_log("rsync brought 1 changes, and ended with 0");
    daemon.wait_mirrored(TransferMode::Rsync, &source, &sandbox.path("mirror"));
}
