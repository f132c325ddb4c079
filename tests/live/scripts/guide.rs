//! The guide to scripts: its examples do what it says.

use std::fs;

use crate::support::{Daemon, Mode, Need, Sandbox, needs};

/// Starts the example of the guide that has this text, with the sandbox in the place of `/srv`.
#[track_caller]
fn start(sandbox: &Sandbox, wanted: &str) -> Daemon {
    let page = include_str!("../../../docs/scripts.md");
    let blocks = page.split("\n\n").filter(|block| block.starts_with("    "));
    let mut found = blocks.filter(|block| block.contains(wanted));
    let block = found.next().expect("the guide has it");
    assert!(found.next().is_none(), "it is there once");
    let top = sandbox.top().to_str().unwrap();
    let file = sandbox.path("conf.lua");
    fs::write(&file, block.replace("/srv", top)).unwrap();
    let places = [(sandbox.directory("www"), sandbox.directory("copies"))];
    let daemon = sandbox.daemon().with(["-log", "Inotify"]).configured(&file, &places).start();
    daemon.wait_watched();
    daemon
}

#[test]
fn texts() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "echo new: ^path");
    let file = sandbox.path("www/it's $(a)");
    let told = || fs::read_to_string(sandbox.path("changes")).unwrap_or_default();
    let told_of = |what: &str| told().contains(&format!("{what}: it's $(a)\n"));
    fs::write(&file, "first").unwrap();
    daemon.wait_until("it is new and changed", || told_of("new") && told_of("changed"));
    fs::remove_file(&file).unwrap();
    daemon.wait_until("it is gone", || told_of("gone"));
}

#[test]
fn exit_codes() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "[1] = \"again\"");
    fs::remove_dir(sandbox.path("copies")).unwrap();
    fs::write(sandbox.path("www/file"), "").unwrap();
    daemon.wait_for_log("cp: ");
    sandbox.directory("copies");
    daemon.wait_until("it is tried again", || sandbox.path("copies/file").exists());
}

#[test]
fn functions() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "if event.isdir then return end");
    fs::create_dir(sandbox.path("www/directory")).unwrap();
    fs::write(sandbox.path("www/directory/file"), "").unwrap();
    daemon.wait_until("it is copied", || sandbox.path("copies/file").exists());
    assert!(!sandbox.path("copies/directory").exists());
}

#[test]
fn an_action() {
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "inlet.getEvents()");
    fs::create_dir(sandbox.path("www/a")).unwrap();
    fs::create_dir(sandbox.path("www/b")).unwrap();
    let told = || fs::read_to_string(sandbox.path("changes")).unwrap_or_default();
    daemon.wait_until("both are told", || told() == "Create /a/\nCreate /b/\n");
}

#[test]
fn on_top_of_a_default() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    let daemon = start(&sandbox, "rsync brought");
    daemon.wait_live();
    let source = sandbox.path("www");
    fs::create_dir(source.join("directory")).unwrap();
    daemon.wait_for_log("rsync brought 1 changes, and ended with 0");
    daemon.wait_mirrored(Mode::Rsync, &source, &sandbox.path("mirror"));
}
