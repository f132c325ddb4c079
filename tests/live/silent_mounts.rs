//! File systems that do not answer, because their server hangs.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::support::{
    MountedBySshfs, MountedTmpfs, Requirement, Sandbox, TransferMode, in_both_modes, needs,
    with_private_mounts,
};

in_both_modes!(
    a_silent_target_holds_up_only_its_own_sync,
    a_silent_mount_inside_a_source_holds_up_only_its_own_sync,
    a_silent_source_is_not_in_sync
);

/// Returns a configuration with these syncs: a name of each source, and its target.
fn config(mode: TransferMode, syncs: &[(&str, &str)]) -> String {
    let kind = &mode.option()[1..];
    let sync = |(source, target): &(&str, &str)| {
        format!(
            "sync{{ default.{kind}, source = '@/{source}', target = '@/{target}', delay = 0 }}\n"
        )
    };
    format!("settings{{ stateDir = '@/state' }}\n{}", syncs.iter().map(sync).collect::<String>())
}

fn a_silent_target_holds_up_only_its_own_sync(mode: TransferMode) {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let dirs = ["a", "b", "served", "mnt", "to-a", "to-b"].map(|name| sandbox.create_dir(name));
        let [a, b, served, mount, to_a, to_b] = &dirs;
        fs::create_dir(served.join("target")).unwrap();
        fs::write(a.join("first"), "1").unwrap();
        fs::write(b.join("first"), "1").unwrap();
        let mounted = MountedBySshfs::mount(&sandbox, served, mount);
        mounted.pause();
        let both = config(mode, &[("a", "to-a"), ("a", "mnt/target")]);
        let mut daemon = sandbox.daemon().config(&both, 2).start();
        daemon.wait_for_log("does not answer: it is validated before its first transfer");
        let exists = |directory: &Path, name: &str| directory.join(name).exists();
        daemon.wait_until("the other sync starts", || exists(to_a, "first"));

        sandbox.write_config(&config(mode, &[("a", "to-a"), ("a", "mnt/target"), ("b", "to-b")]));
        daemon.signal(Signal::HUP);
        daemon.wait_until("a sync is added", || exists(to_b, "first"));

        sandbox.write_config(&config(mode, &[("a", "to-a"), ("mnt/target", "to-b")]));
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("its server or its FUSE program hangs");
        daemon.wait_for_log("reload failed: keeping the running configuration");

        sandbox.write_config(&config(mode, &[("a", "to-a")]));
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("is gone and ends");
        fs::write(a.join("second"), "1").unwrap();
        daemon.wait_until("a change arrives", || exists(to_a, "second"));

        sandbox.write_config(&both);
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("1 sync is new or changed: it starts");
        mounted.resume();
        daemon.wait_until("the target is filled", || exists(&served.join("target"), "first"));
        daemon.signal(Signal::TERM);
        daemon.wait_exit();
    });
}

fn a_silent_mount_inside_a_source_holds_up_only_its_own_sync(mode: TransferMode) {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let names = ["a", "a/mnt", "b", "served", "to-a", "to-b"];
        let [a, mount, b, served, to_a, to_b] = names.map(|name| sandbox.create_dir(name));
        for directory in [&a, &b, &served] {
            fs::write(directory.join("first"), "1").unwrap();
        }
        let mounted = MountedBySshfs::mount(&sandbox, &served, &mount);
        mounted.pause();
        let text = config(mode, &[("a", "to-a"), ("b", "to-b")]);
        let daemon = sandbox.daemon().config(&text, 2).args(["-insist"]).start();
        daemon.wait_for_log("a file system that is mounted inside, does not answer");
        fs::write(b.join("second"), "1").unwrap();
        daemon.wait_until("the other sync goes on", || to_b.join("second").exists());
        daemon.signal(Signal::HUP);
        fs::write(b.join("third"), "1").unwrap();
        daemon.wait_until("the other sync goes on", || to_b.join("third").exists());
        mounted.resume();
        daemon.wait_until("the source is back", || to_a.join("mnt/first").exists());
        assert!(to_a.join("first").exists());
    });
}

fn a_silent_source_is_not_in_sync(mode: TransferMode) {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let names = ["mnt", "a", "a/mnt", "served", "to-mnt", "to-a"];
        let [mount, a, inner, served, to_mnt, to_a] = names.map(|name| sandbox.create_dir(name));
        fs::write(a.join("first"), "1").unwrap();
        fs::write(served.join("first"), "1").unwrap();
        let mounts = [&mount, &inner].map(|point| MountedBySshfs::mount(&sandbox, &served, point));
        let text = config(mode, &[("mnt", "to-mnt"), ("a", "to-a")]).replace(
            "settings{",
            "settings{ socket = '@/control.sock', statusFile = '@/status', statusInterval = 1, ",
        );
        let daemon = sandbox.daemon().config(&text, 2).start();
        daemon.wait_live();
        let states = || {
            let status = crate::lsyncctl::call(&sandbox, &["status", "--json"]).1;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let state = |sync: &serde_json::Value| sync["state"].as_str().unwrap().to_owned();
            let syncs = status["syncs"].as_array().unwrap();
            syncs.iter().map(state).collect::<Vec<_>>()
        };
        daemon.wait_until("both are in sync", || states() == ["in_sync", "in_sync"]);
        mounts.iter().for_each(MountedBySshfs::pause);
        daemon.wait_until("neither is", || states() == ["source_unavailable"; 2]);
        daemon.wait_for_log("does not answer: changes are found when");
        let (code, said) = crate::lsyncctl::call(&sandbox, &["flush"]);
        assert!(code != 0 && said.contains("source unavailable: it does not answer"), "{said}");
        daemon.wait_until("the status file says so", || {
            let text = fs::read_to_string(sandbox.path("status")).unwrap_or_default();
            text.matches("source unavailable: it does not answer").count() == 2
        });
        fs::write(served.join("second"), "2").unwrap();
        mounts.iter().for_each(MountedBySshfs::resume);
        daemon.wait_until("both are again", || states() == ["in_sync", "in_sync"]);
        daemon.wait_until("what was missed arrives", || {
            to_mnt.join("second").exists() && to_a.join("mnt/second").exists()
        });
    });
}

#[test]
fn a_change_of_the_mount_table_stops_nothing_while_a_source_is_silent() {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let names = ["mnt", "b", "served", "to-a", "to-b", "other"];
        let [mount, b, served, to_a, to_b, other] = names.map(|name| sandbox.create_dir(name));
        fs::create_dir(served.join("a")).unwrap();
        fs::write(served.join("a/first"), "1").unwrap();
        let mounted = MountedBySshfs::mount(&sandbox, &served, &mount);
        let text = config(TransferMode::Direct, &[("mnt/a", "to-a"), ("b", "to-b")]);
        let daemon = sandbox.daemon().config(&text, 2).start();
        daemon.wait_until("the first sync starts", || to_a.join("first").exists());
        daemon.wait_live();
        mounted.pause();
        let tmpfs = MountedTmpfs::mount(&sandbox, &other, 1 << 20);
        fs::write(b.join("second"), "1").unwrap();
        daemon.wait_until("a change arrives", || to_b.join("second").exists());
        drop(tmpfs);
        fs::write(b.join("third"), "1").unwrap();
        daemon.wait_until("a change arrives", || to_b.join("third").exists());
        mounted.resume();
    });
}

#[test]
fn a_silent_source_leaves_the_others_polled() {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let names = ["a", "b", "served-a", "served-b", "to-a", "to-b"];
        let [a, b, served_a, served_b, to_a, to_b] = names.map(|name| sandbox.create_dir(name));
        let mounted = MountedBySshfs::mount(&sandbox, &served_a, &a);
        let _other = MountedBySshfs::mount(&sandbox, &served_b, &b);
        let text = config(TransferMode::Direct, &[("a", "to-a"), ("b", "to-b")]);
        let daemon = sandbox.daemon().config(&text, 2).start();
        daemon.wait_live();
        mounted.pause();
        for name in ["first", "second"] {
            // Made on the server, so that only a poll finds it.
            fs::write(served_b.join(name), "1").unwrap();
            daemon.wait_until("a change arrives", || to_b.join(name).exists());
        }
        fs::write(served_a.join("first"), "1").unwrap();
        mounted.resume();
        daemon.wait_until("a change arrives", || to_a.join("first").exists());
    });
}
