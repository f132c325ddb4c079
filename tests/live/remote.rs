//! Targets behind rsync's own protocol and behind ssh.

use std::fs;

use rustix::process::Signal;

use crate::support::{Churn, Mode, Need, Sandbox, Server, exit_code, needs};

#[test]
fn a_module_of_an_rsync_daemon_is_a_target() {
    needs!(Mode::Rsync.need(), Need::Root);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let server = Server::rsync(&sandbox, &target);
    let port = server.port();
    let mut churn = Churn::new(&source, 21);
    churn.change(50);
    let to = format!("rsync://127.0.0.1:{port}/mirror");
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    churn.change(100);
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
    fs::remove_dir_all(source.join("a")).or_else(|_| fs::remove_file(source.join("a"))).ok();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn a_server_that_was_down_gets_everything_when_it_is_up() {
    needs!(Mode::Rsync.need(), Need::Root);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    let server = Server::rsync(&sandbox, &target);
    let to = format!("rsync://127.0.0.1:{}/mirror", server.port());
    fs::write(source.join("first"), "").unwrap();
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    let stopped = server.stop();
    fs::write(source.join("second"), "").unwrap();
    daemon.wait_for_log("Retrying a list");
    fs::write(source.join("third"), "").unwrap();
    let _server = stopped.start();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn a_directory_behind_ssh_is_a_target() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target with blank"));
    let server = Server::ssh(&sandbox);
    let mut churn = Churn::new(&source, 22);
    churn.change(50);
    let to = format!("root@127.0.0.1:{}", target.display());
    let daemon = sandbox
        .daemon()
        .mirror_to_server(&source, &to)
        .environment("RSYNC_RSH", server.remote_shell())
        .start();
    daemon.wait_live();
    churn.change(100);
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn a_sync_behind_ssh_takes_the_words_for_ssh() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("first"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let text = server.sync_to_it("");
    let run = sandbox.directory("run");
    let start = sandbox.daemon().config(&text, 1);
    let mut daemon = start.environment("RUNTIME_DIRECTORY", &run).start();
    daemon.wait_live();
    daemon.wait_for_log(&format!("Startup of \"{}/\" finished: 0", source.display()));
    let sockets = run.join(format!("lsyncd-{}-0", daemon.pid()));
    assert_eq!(fs::read_dir(&sockets).unwrap().count(), 1, "there is a master");
    fs::rename(source.join("first"), source.join("second")).unwrap();
    let target = sandbox.path("dst");
    daemon.wait_until("a rename is mirrored", || {
        target.join("second").exists() && !target.join("first").exists()
    });
    daemon.wait_for_log("Finished (list): 0");
    assert_eq!(server.logins(), 1, "all goes through one connection");
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_end()), 143);
    assert!(!sockets.exists(), "the connection ends with the daemon");
}

#[test]
fn a_connection_that_breaks_is_made_anew() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let server = Server::ssh(&sandbox);
    let daemon = sandbox.daemon().config(&server.sync_to_it(""), 1).start();
    daemon.wait_live();
    server.cut_connections();
    fs::write(source.join("file"), "").unwrap();
    let file = sandbox.path("dst/file");
    daemon.wait_until("it is mirrored all the same", || file.exists());
    assert_eq!(server.logins(), 2);
}

#[test]
fn a_key_that_is_not_let_in_any_more_is_told_with_the_target_and_a_remedy() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("src"), sandbox.path("dst"));
    let server = Server::ssh(&sandbox);
    let daemon = sandbox.daemon().config(&server.sync_to_it(""), 1).start();
    daemon.wait_live();
    let keys = sandbox.path("sshd/user.pub");
    let allowed = fs::read(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    server.cut_connections();
    fs::write(source.join("file"), "").unwrap();
    let start =
        format!("root@127.0.0.1:{}/: root@127.0.0.1: Permission denied (", target.display());
    daemon.wait_until("it is told", || {
        let log = daemon.log();
        log.lines().any(|line| {
            line.contains(&start) && line.contains(": have the key in authorized_keys there")
        })
    });
    assert!(!daemon.log().contains("\\r"), "{}", daemon.log());
    fs::write(&keys, allowed).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}

#[test]
fn connections_are_not_shared_if_that_is_not_wanted() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let server = Server::ssh(&sandbox);
    let text = format!("settings{{ shareConnections = false }} {}", server.sync_to_it(""));
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    fs::write(source.join("file"), "").unwrap();
    let file = sandbox.path("dst/file");
    daemon.wait_until("it is mirrored", || file.exists());
    assert_eq!(server.logins(), 2);
}

#[test]
fn the_calendar_brings_a_full_transfer_to_a_target_behind_ssh() {
    needs!(
        Mode::Rsync.need(),
        Need::Root,
        Need::Program("sshd"),
        Need::Program("ssh"),
        Need::Program("ssh-keygen"),
    );
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("before"), "").unwrap();
    let server = Server::ssh(&sandbox);
    let text = server.sync_to_it("init = false, crontab = { '* * * * * *' }");
    let daemon = sandbox.daemon().config(&text, 1).start();
    let target = sandbox.path("dst/before");
    daemon.wait_until("all is mirrored", || target.exists());
}
