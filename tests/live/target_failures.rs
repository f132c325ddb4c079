//! Targets that are full, read-only or unavailable.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use crate::support::{
    LiveMirror, MountedTmpfs, Requirement, Sandbox, TestDaemon, TestServer, TransferMode,
    free_port, in_both_modes, needs, with_private_mounts,
};

in_both_modes!(
    a_transfer_to_a_full_target_succeeds_once_there_is_space,
    a_read_only_target_is_retried_until_it_is_writable,
    a_deleted_target_is_fully_resynced,
    a_replaced_target_is_fully_resynced,
    an_unmounted_target_is_waited_for,
    a_target_that_is_back_is_noticed_long_before_the_retry,
    held_deletions_are_carried_out_once_permitted,
    observed_deletions_stay_held_through_renames_and_full_transfers,
    deletions_are_held_no_longer_when_the_target_is_replaced,
    other_rules_do_not_make_a_foreign_target_ours,
);

/// A mirror whose configuration can be changed while its daemon runs.
struct HeldDeletionTest {
    sandbox: Sandbox,
    source: PathBuf,
    target: PathBuf,
    mode: TransferMode,
}

impl HeldDeletionTest {
    fn new(mode: TransferMode) -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        Self { sandbox, source, target, mode }
    }

    fn config(&self, settings: &str) -> String {
        let kind = if self.mode == TransferMode::Direct { "direct" } else { "rsync" };
        format!(
            "settings{{ statusFile = '@/status', statusInterval = 0 }}
             sync{{ default.{kind}, source = '@/source', target = '@/target', {settings} }}"
        )
    }

    fn start(&self, settings: &str) -> TestDaemon {
        let daemon = self.sandbox.daemon().config(&self.config(settings), 1).start();
        daemon.wait_live();
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        daemon
    }

    /// Starts the daemon, and deletes a directory whose deletion is held.
    fn start_and_hold(&self) -> TestDaemon {
        fill(&self.source, &["big/in", "other"], 40);
        fs::write(self.source.join("big/beside"), "").unwrap();
        let daemon = self.start("maxDeleteSeen = 30");
        fs::remove_dir_all(self.source.join("big/in")).unwrap();
        daemon.wait_until("they are held", || self.status().contains("41 deletions held"));
        daemon
    }

    fn reload(&self, daemon: &TestDaemon, settings: &str) {
        self.sandbox.write_config(&self.config(settings));
        daemon.signal(Signal::HUP);
    }

    fn status(&self) -> String {
        fs::read_to_string(self.sandbox.path("status")).unwrap_or_default()
    }

    fn listed(&self, directory: &str) -> usize {
        fs::read_dir(self.target.join(directory)).map_or(0, Iterator::count)
    }
}

/// Creates directories with this number of files each.
fn fill(top: &Path, directories: &[&str], files: usize) {
    for name in directories {
        fs::create_dir_all(top.join(name)).unwrap();
        (0..files).for_each(|n| fs::write(top.join(format!("{name}/{n}")), "").unwrap());
    }
}

fn observed_deletions_stay_held_through_renames_and_full_transfers(mode: TransferMode) {
    needs!(mode.requirement());
    let test = HeldDeletionTest::new(mode);
    let daemon = test.start_and_hold();
    fs::rename(test.source.join("big"), test.source.join("huge")).unwrap();
    let kept = || test.listed("big/in") + test.listed("huge/in");
    let arrived = test.target.join("huge/beside");
    daemon.wait_until("the new name arrives", || arrived.exists());
    daemon.wait_until("they are held again", || {
        let status = test.status();
        status.contains("deletions held") && !status.contains("not on the target")
    });
    assert_eq!(kept(), 40, "{}", daemon.log());
    // Other rules replace the sync: everything is compared.
    fs::write(test.source.join("later"), "").unwrap();
    test.reload(&daemon, "maxDeleteSeen = 30, exclude = { 'later' }");
    daemon.wait_for_log("begins anew");
    daemon.wait_until("everything is compared", || {
        daemon.log().matches("Startup of").count() > 1 && test.status().contains("deletions held")
    });
    assert_eq!(kept(), 40, "{}", daemon.log());
    test.reload(&daemon, "maxDeleteSeen = 100, exclude = { 'later' }");
    daemon.wait_until("they are made", || kept() == 0);
    daemon.wait_for_log("no deletions are held any more: they were released");
}

fn deletions_are_held_no_longer_when_the_target_is_replaced(mode: TransferMode) {
    needs!(mode.requirement());
    let test = HeldDeletionTest::new(mode);
    let daemon = test.start_and_hold();
    fs::rename(&test.target, test.sandbox.path("aside")).unwrap();
    fs::create_dir(&test.target).unwrap();
    fs::write(test.source.join("new"), "").unwrap();
    daemon.wait_mirrored(mode, &test.source, &test.target);
    daemon.wait_until("none are held", || test.status().contains("in sync"));
    daemon.wait_for_log("no deletions are held any more");
}

fn other_rules_do_not_make_a_foreign_target_ours(mode: TransferMode) {
    needs!(mode.requirement());
    let test = HeldDeletionTest::new(mode);
    fill(&test.source, &["a"], 10);
    let daemon = test.start("maxDelete = 30");
    fs::rename(&test.target, test.sandbox.path("aside")).unwrap();
    fill(&test.target, &["foreign"], 4);
    fs::write(test.source.join("new"), "").unwrap();
    daemon.wait_until("they are held", || test.status().contains("5 deletions held"));
    test.reload(&daemon, "maxDelete = 30, exclude = { 'later' }");
    daemon.wait_for_log("begins anew");
    daemon.wait_until("everything is compared", || {
        daemon.log().matches("Startup of").count() > 1 && test.status().contains("deletions held")
    });
    assert_eq!(test.listed("foreign"), 4, "{}", daemon.log());
}

/// Holds deletions of several batches, with several paths in one of them, observed and unobserved.
fn held_deletions_are_carried_out_once_permitted(mode: TransferMode) {
    needs!(mode.requirement());
    let test = HeldDeletionTest::new(mode);
    fill(&test.source, &["a", "b", "c", "d"], 10);
    let daemon = test.start("maxDelete = 5, maxDeleteSeen = 5");
    let is_held = |number: u64| test.status().contains(&format!("{number} deletions held"));
    for name in ["a", "b"] {
        fs::remove_dir_all(test.source.join(name)).unwrap();
    }
    daemon.wait_until("two are held", || is_held(22));
    fs::remove_dir_all(test.source.join("c")).unwrap();
    daemon.wait_until("three are held", || is_held(33));
    // Unobserved deletions are counted when the new directory is scanned.
    fill(&test.target, &["x", "y"], 10);
    let aside = test.sandbox.create_dir("aside");
    for name in ["x", "y"] {
        fs::create_dir(aside.join(name)).unwrap();
        fs::rename(aside.join(name), test.source.join(name)).unwrap();
    }
    daemon.wait_until("all are held", || is_held(53));
    test.reload(&daemon, "maxDelete = false, maxDeleteSeen = false");
    daemon.wait_mirrored(mode, &test.source, &test.target);
    daemon.wait_for_log("no deletions are held any more: they were released");
}

fn a_deleted_target_is_fully_resynced(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(source.join("old"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    fs::remove_dir_all(&target).unwrap();
    fs::write(source.join("new"), "").unwrap();
    daemon.wait_mirrored(mode, &source, &target);
    daemon.wait_for_log("disappeared: full resync scheduled");
}

fn a_replaced_target_is_fully_resynced(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let older = sandbox.create_dir("older");
    fs::write(older.join("deleted since"), "").unwrap();
    fs::write(source.join("changed since"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &source, &target);
    fs::rename(&target, sandbox.path("aside")).unwrap();
    fs::rename(&older, &target).unwrap();
    fs::write(source.join("new"), "").unwrap();
    let is_there = |name: &str| target.join(name).exists();
    daemon.wait_until("all is there", || is_there("new") && is_there("changed since"));
    daemon.wait_for_log("is another directory than before: full resync scheduled");
    // Surplus files are not deleted without confirmation.
    daemon.wait_for_log("deletions held");
    assert!(is_there("deleted since"));
}

/// The file system under the mount may be too small for a full resync.
fn an_unmounted_target_is_waited_for(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.create_dir("target");
        let disk = MountedTmpfs::mount(&sandbox, &target, 4 << 20);
        let live = LiveMirror::start_with(sandbox, mode, &[]);
        drop(disk);
        fs::write(live.source_path("file"), "").unwrap();
        live.daemon.wait_for_log("no file system is mounted on");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        let _disk = MountedTmpfs::mount(&live.sandbox, &target, 4 << 20);
        live.daemon.signal(Signal::HUP);
        live.expect_mirrored();
        live.daemon.wait_for_log("is another directory than before");
    });
}

/// The first retry comes after the delay of the sync.
const MINUTES: &str = "delay = 600";

fn a_target_that_is_back_is_noticed_long_before_the_retry(mode: TransferMode) {
    let test = HeldDeletionTest::new(mode);
    fs::write(test.source.join("file"), "").unwrap();
    fs::remove_dir(&test.target).unwrap();
    fs::write(&test.target, "").unwrap();
    let config = test.config(MINUTES).replace("@/target", "@/target/in");
    let daemon = test.sandbox.daemon().config(&config, 1).args(["-insist"]).start();
    daemon.wait_for_log("Retrying startup of");
    fs::remove_file(&test.target).unwrap();
    fs::create_dir(&test.target).unwrap();
    daemon.wait_mirrored(mode, &test.source, &test.target.join("in"));
}

#[test]
fn a_server_that_is_back_is_noticed_long_before_the_retry() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(source.join("file"), "").unwrap();
    let server = TestServer::rsync(&sandbox, &target);
    let url = format!("rsync://127.0.0.1:{}/mirror/", server.port());
    let server = server.stop();
    let text = format!("sync{{ default.rsync, source = '@/source', target = '{url}', {MINUTES} }}");
    let daemon = sandbox.daemon().config(&text, 1).args(["-insist"]).start();
    daemon.wait_for_log("Retrying startup of");
    let _server = server.start();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}

fn a_transfer_to_a_full_target_succeeds_once_there_is_space(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let disk = sandbox.create_dir("target");
        let _disk = MountedTmpfs::mount(&sandbox, &disk, 12 << 20);
        let inner = sandbox.create_dir("target/inner");
        fs::write(disk.join("ballast"), vec![b'x'; 8 << 20]).unwrap();
        let source = sandbox.create_dir("source");
        let daemon = sandbox.daemon().mirror(mode, &source, &inner).start();
        daemon.wait_live();
        fs::write(source.join("large"), vec![b'y'; 6 << 20]).unwrap();
        fs::write(source.join("other"), "").unwrap();
        daemon.wait_for_log("No space left");
        fs::remove_file(disk.join("ballast")).unwrap();
        daemon.wait_mirrored(mode, &source, &inner);
    });
}

fn a_read_only_target_is_retried_until_it_is_writable(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let target = sandbox.create_dir("target");
        let disk = MountedTmpfs::mount(&sandbox, &target, 4 << 20);
        let live = LiveMirror::start_with(sandbox, mode, &[]);
        disk.set_read_only(true);
        fs::write(live.source_path("file"), "").unwrap();
        fs::remove_dir_all(live.source_path("old")).unwrap();
        live.daemon.wait_for_log("Read-only file system");
        disk.set_read_only(false);
        live.expect_mirrored();
    });
}

#[test]
fn an_unavailable_target_does_not_affect_another() {
    needs!(TransferMode::Rsync.requirement(), TransferMode::Direct.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    let dead = format!("rsync://127.0.0.1:{}/nobody/listens", free_port());
    let daemon = sandbox
        .daemon()
        .mirror_to_server(&source, &dead)
        .mirror(TransferMode::Direct, &source, &target)
        .args(["-insist"])
        .start();
    daemon.wait_for_log("Retrying startup of");
    for content in ["one", "two", "three"] {
        fs::write(source.join("file"), content).unwrap();
        daemon.wait_mirrored(TransferMode::Direct, &source, &target);
    }
}
