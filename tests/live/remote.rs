//! Targets by rsync's own protocol and over ssh.

use std::fs;

use rustix::process::Signal;

use crate::support::{LiveChurn, Requirement, Sandbox, TestServer, TransferMode, exit_code, needs};

#[test]
fn changes_are_mirrored_to_a_module() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let server = TestServer::rsync(&sandbox, &target);
    let port = server.port();
    let mut churn = LiveChurn::new(&source, 21);
    churn.change(50);
    let to = format!("rsync://127.0.0.1:{port}/mirror");
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    churn.change(100);
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    fs::remove_dir_all(source.join("a")).or_else(|_| fs::remove_file(source.join("a"))).ok();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn pending_changes_are_sent_once_a_server_is_up() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let server = TestServer::rsync(&sandbox, &target);
    let to = format!("rsync://127.0.0.1:{}/mirror", server.port());
    fs::write(source.join("first"), "").unwrap();
    let daemon = sandbox.daemon().mirror_to_server(&source, &to).start();
    daemon.wait_live();
    let stopped = server.stop();
    fs::write(source.join("second"), "").unwrap();
    daemon.wait_for_log("Retrying a list");
    fs::write(source.join("third"), "").unwrap();
    let _server = stopped.start();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn changes_are_mirrored_over_ssh() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target with blank"));
    let server = TestServer::ssh(&sandbox);
    let mut churn = LiveChurn::new(&source, 22);
    churn.change(50);
    let to = format!("root@127.0.0.1:{}", target.display());
    let daemon = sandbox
        .daemon()
        .mirror_to_server(&source, &to)
        .env("RSYNC_RSH", server.remote_shell())
        .start();
    daemon.wait_live();
    churn.change(100);
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn rsyncssh_uses_the_ssh_options() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("first"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let text = server.rsyncssh_config("");
    let run = sandbox.create_dir("run");
    let start = sandbox.daemon().config(&text, 1);
    let mut daemon = start.env("RUNTIME_DIRECTORY", &run).start();
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
    assert_eq!(exit_code(daemon.wait_exit()), 143);
    assert!(!sockets.exists(), "the connection ends with the daemon");
}

#[test]
fn a_broken_connection_is_replaced() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let daemon = sandbox.daemon().config(&server.rsyncssh_config(""), 1).start();
    daemon.wait_live();
    server.cut_connections();
    fs::write(source.join("file"), "").unwrap();
    let file = sandbox.path("dst/file");
    daemon.wait_until("it is mirrored all the same", || file.exists());
    assert_eq!(server.logins(), 2);
}

#[test]
fn a_rejected_key_is_reported_with_target_and_remedy() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.path("dst"));
    let server = TestServer::ssh(&sandbox);
    let daemon = sandbox.daemon().config(&server.rsyncssh_config(""), 1).start();
    daemon.wait_live();
    let keys = sandbox.path("sshd/user.pub");
    let allowed = fs::read(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    server.cut_connections();
    fs::write(source.join("file"), "").unwrap();
    let start =
        format!("root@127.0.0.1:{}/: root@127.0.0.1: Permission denied (", target.display());
    daemon.wait_until("the rejected key is reported", || {
        let log = daemon.log();
        log.lines().any(|line| {
            line.contains(&start) && line.contains(": add the public key to authorized_keys there")
        })
    });
    assert!(!daemon.log().contains("\\r"), "{}", daemon.log());
    fs::write(&keys, allowed).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

#[test]
fn share_connections_false_logs_in_each_time() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let server = TestServer::ssh(&sandbox);
    let text = format!("settings{{ shareConnections = false }} {}", server.rsyncssh_config(""));
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    fs::write(source.join("file"), "").unwrap();
    let file = sandbox.path("dst/file");
    daemon.wait_until("it is mirrored", || file.exists());
    assert_eq!(server.logins(), 2);
}

#[test]
fn crontab_runs_a_full_transfer_over_ssh() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("before"), "").unwrap();
    let server = TestServer::ssh(&sandbox);
    let text = server.rsyncssh_config("init = false, crontab = { '* * * * * *' }");
    let daemon = sandbox.daemon().config(&text, 1).start();
    let target = sandbox.path("dst/before");
    daemon.wait_until("all is mirrored", || target.exists());
}
