//! Finding the daemon, and the rights to use its socket.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::Command,
};

use lsyncd::control::{location::find_sockets, status::SyncState};

use crate::{
    documents::{status, sync},
    fake_daemon::{FakeDaemon, Reaction, serve},
    tool::{CtlResult, command, finish, run},
};

/// Runs `status` with a runtime directory.
fn run_in(runtime_directory: &Path) -> CtlResult {
    let mut command = command(&["status"]);
    command.env("XDG_RUNTIME_DIR", runtime_directory);
    finish(command)
}

/// Serves a status at `NAME.sock`, as a daemon of the user.
fn serve_user(runtime_directory: &Path, name: &str) {
    let directory = runtime_directory.join("lsyncd");
    fs::create_dir_all(&directory).unwrap();
    let document = status(vec![sync("web", SyncState::InSync)]);
    serve(&directory.join(format!("{name}.sock")), move |_| Reaction::ok(&document));
}

#[test]
fn the_only_running_daemon_is_found() {
    if !find_sockets(None).is_empty() {
        println!("skipped: this needs a machine without a running lsyncd");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    run_in(directory.path()).fails(2, "no running lsyncd was found: there is no socket in /run, ");
    fs::create_dir(directory.path().join("lsyncd")).unwrap();
    drop(UnixListener::bind(directory.path().join("lsyncd/1.sock")).unwrap());
    run_in(directory.path()).fails(2, "lsyncd/1.sock: it died and left its socket behind");
    serve_user(directory.path(), "2");
    let result = run_in(directory.path());
    assert_eq!(result.code, Some(0), "{result:?}");
}

#[test]
fn several_daemons_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["1", "2"] {
        serve_user(directory.path(), name);
    }
    let result = run_in(directory.path());
    result.fails(3, "several daemons run; select one with --socket:\n");
    for name in ["1", "2"] {
        let socket = directory.path().join(format!("lsyncd/{name}.sock"));
        let line = format!("  {} (pid 4711, /etc/lsyncd.conf)\n", socket.display());
        assert!(result.stderr.contains(&line), "{line}: {result:?}");
        assert_eq!(run(&socket, &["status"]).code, Some(0));
    }
}

#[test]
fn a_closed_socket_names_those_who_may_use_it() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: this needs the rights of root");
        return;
    }
    let daemon = FakeDaemon::start(Reaction::ok(status(Vec::new())));
    let directory = daemon.directory.path();
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    // The program may be where only root may look. It is copied by another process: a child of
    // another test could inherit a descriptor that is open for writing, and a program that is open
    // for writing cannot be run.
    let program = directory.join("lsyncctl");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lsyncctl")).arg(&program).status();
    assert!(copied.unwrap().success());
    let run_as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--socket").arg(&daemon.socket);
        command.uid(65_534).gid(65_534).current_dir("/");
        finish(command)
    };
    for (mode, text) in [
        (0o600, "only root, the user root may use it"),
        (0o660, "only root, the user root and the members of the group root may use it"),
    ] {
        fs::set_permissions(&daemon.socket, Permissions::from_mode(mode)).unwrap();
        run_as_nobody(&["status"]).fails(3, text);
    }
    let read_only = directory.join("lsyncd.status.sock");
    serve(&read_only, |_| Reaction::ok(status(Vec::new())));
    fs::set_permissions(&read_only, Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run_as_nobody(&["status"]).code, Some(0));
    run_as_nobody(&["pause"]).fails(3, "may use it");
    fs::set_permissions(directory, Permissions::from_mode(0o711)).unwrap();
    let hidden = directory.join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(&program);
    command.arg("status").arg("--socket").arg(hidden.join("lsyncd.sock"));
    command.uid(65_534).gid(65_534).current_dir("/");
    finish(command).fails(3, "hidden is open only to root, the user root");
}
