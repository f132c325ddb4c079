//! Examples that only configure a default.

use std::{fs, path::Path};

use super::RunningExample;
use crate::support::{Requirement, Sandbox, TestDaemon, TestServer, TransferMode, needs};

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn an_rsync_daemon_is_reached_through_a_tunnel_pool() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    fs::write(sandbox.create_dir("src").join("first"), "").unwrap();
    let (rsyncd, sshd) =
        (TestServer::rsync(&sandbox, &sandbox.create_dir("dst")), TestServer::ssh(&sandbox));
    let (ssh, port) = (sshd.remote_shell(), rsyncd.port().to_string());
    let variables = [
        ("SSH", &*ssh),
        ("HOST", "root@127.0.0.1"),
        ("PORT", &port),
        ("TARGET", "mirror"),
        ("DELAY", "0"),
    ];
    let example = RunningExample::start(&sandbox, "tunnel.lua", &variables);
    example.daemon.wait_mirrored(TransferMode::Rsync, &example.source, &example.target);
    fs::write(example.source.join("second"), "").unwrap();
    example.daemon.wait_mirrored(TransferMode::Rsync, &example.source, &example.target);
}

#[test]
fn each_host_has_its_own_excludes() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    for name in ["pages", "cache", "drafts"] {
        fs::create_dir(source.join(name)).unwrap();
        fs::write(source.join(name).join("file"), name).unwrap();
    }
    for host in ["web1", "a%1b", "web3"] {
        sandbox.create_dir(&format!("dst/{host}"));
    }
    let target = format!("{}/HOST", sandbox.path("dst").display());
    let variables = [("HOSTS", "web1 a%1b web3"), ("TARGET", &*target), ("DELAY", "0")];
    let example = RunningExample::start(&sandbox, "many-hosts.lua", &variables);
    fs::write(source.join("later"), "").unwrap();
    fs::write(source.join("later.tmp"), "").unwrap();
    fs::write(source.join("last"), "").unwrap();
    let has = |host: &str, name: &str| example.target.join(host).join(name).exists();
    for host in ["web1", "a%1b", "web3"] {
        let all = ["pages/file", "later", "last"];
        example.daemon.wait_until(host, || all.iter().all(|name| has(host, name)));
        assert!(!has(host, "cache") && !has(host, "later.tmp"), "{host}");
        assert_eq!(has(host, "drafts/file"), host != "web3", "{host}");
    }
}

#[test]
fn a_command_gets_the_transferred_names() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let names = sandbox.path("names");
    let command = format!("tr '\\0' '|' >> '{}'", names.display());
    let variables = [("DELAY", "0"), ("COMMAND", &*command)];
    let example = RunningExample::start(&sandbox, "on-synced.lua", &variables);
    let wait_for = |daemon: &TestDaemon, text: &str| {
        daemon.wait_until(&format!("{text} has arrived"), || content(&names).contains(text));
    };
    wait_for(&example.daemon, "./|");
    fs::write(example.source.join("a b\n"), "").unwrap();
    wait_for(&example.daemon, "a b\n|");
    assert!(example.target.join("a b\n").exists());
}
