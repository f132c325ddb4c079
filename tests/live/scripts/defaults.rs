//! Examples that give settings to a default, and do no more.

use std::{fs, path::Path};

use super::Example;
use crate::support::{Daemon, Mode, Need, Sandbox, Server, needs};

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_pool_of_tunnels_leads_to_an_rsync_daemon() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    fs::write(sandbox.directory("src").join("first"), "").unwrap();
    let (rsyncd, sshd) =
        (Server::rsync(&sandbox, &sandbox.directory("dst")), Server::ssh(&sandbox));
    let (ssh, port) = (sshd.remote_shell(), rsyncd.port().to_string());
    let variables = [
        ("SSH", &*ssh),
        ("HOST", "root@127.0.0.1"),
        ("PORT", &port),
        ("TARGET", "mirror"),
        ("DELAY", "0"),
    ];
    let example = Example::start(&sandbox, "tunnel.lua", &variables);
    example.daemon.wait_mirrored(Mode::Rsync, &example.source, &example.target);
    fs::write(example.source.join("second"), "").unwrap();
    example.daemon.wait_mirrored(Mode::Rsync, &example.source, &example.target);
}

#[test]
fn each_host_gets_all_but_what_is_left_out_for_it() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    for name in ["pages", "cache", "drafts"] {
        fs::create_dir(source.join(name)).unwrap();
        fs::write(source.join(name).join("file"), name).unwrap();
    }
    for host in ["web1", "a%1b", "web3"] {
        sandbox.directory(&format!("dst/{host}"));
    }
    let target = format!("{}/HOST", sandbox.path("dst").display());
    let variables = [("HOSTS", "web1 a%1b web3"), ("TARGET", &*target), ("DELAY", "0")];
    let example = Example::start(&sandbox, "many-hosts.lua", &variables);
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
fn a_command_gets_the_names_of_what_has_arrived() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    let names = sandbox.path("names");
    let command = format!("tr '\\0' '|' >> '{}'", names.display());
    let variables = [("DELAY", "0"), ("COMMAND", &*command)];
    let example = Example::start(&sandbox, "on-synced.lua", &variables);
    let wait_for = |daemon: &Daemon, text: &str| {
        daemon.wait_until(&format!("{text} has arrived"), || content(&names).contains(text));
    };
    wait_for(&example.daemon, "./|");
    fs::write(example.source.join("a b\n"), "").unwrap();
    wait_for(&example.daemon, "a b\n|");
    assert!(example.target.join("a b\n").exists());
}
