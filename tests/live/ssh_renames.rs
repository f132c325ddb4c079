//! Renames by `default.rsyncssh`.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::support::{
    LiveChurn, Requirement, Sandbox, TestDaemon, TestServer, TransferMode, needs,
};

/// A source and its mirror over ssh, which is on this machine and so can be inspected.
struct SshMirror {
    daemon: TestDaemon,
    source: PathBuf,
    target: PathBuf,
    server: TestServer,
}

impl SshMirror {
    /// Starts with a source that `fill` populates.
    #[track_caller]
    fn start(sandbox: &Sandbox, more: &str, fill: impl FnOnce(&Path)) -> Self {
        Self::start_with(sandbox, TestServer::ssh(sandbox), more, fill)
    }

    #[track_caller]
    fn start_with(
        sandbox: &Sandbox,
        server: TestServer,
        more: &str,
        fill: impl FnOnce(&Path),
    ) -> Self {
        let source = sandbox.create_dir("src");
        fill(&source);
        let daemon = sandbox.daemon().config(&server.rsyncssh_config(more), 1).start();
        daemon.wait_live();
        Self { daemon, source, target: sandbox.path("dst"), server }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.source.join(from), self.source.join(to)).unwrap();
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(TransferMode::Rsync, &self.source, &self.target);
    }

    fn inode(&self, path: &str) -> u64 {
        fs::symlink_metadata(self.target.join(path)).unwrap().ino()
    }
}

fn write(root: &Path, names: &str) {
    for name in names.split(' ') {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

#[test]
fn renames_are_not_transferred_again() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = SshMirror::start(&sandbox, "", |source| {
        write(source, "file it's d/deep/one d/two chain over there old/x new/er/x");
    });
    let all = ["file", "it's", "d/deep/one", "chain", "over", "old/x"];
    let before = all.map(|name| mirror.inode(name));
    mirror.daemon.while_stopped(|| {
        mirror.rename("file", "$(touch x) `y` \"\n*");
        mirror.rename("it's", "d/-it'''s");
        mirror.rename("d", "e");
        mirror.rename("chain", "chain 2");
        mirror.rename("chain 2", "chain 3");
        mirror.rename("over", "there");
        mirror.rename("old", "new/er/old");
    });
    mirror.expect_mirrored();
    let all =
        ["$(touch x) `y` \"\n*", "e/-it'''s", "e/deep/one", "chain 3", "there", "new/er/old/x"];
    assert_eq!(all.map(|name| mirror.inode(name)), before, "{}", mirror.daemon.log());
    mirror.daemon.wait_for_log("Moving old -> new/er/old");
    assert_eq!(mirror.server.logins(), 1, "all goes through one connection");
}

#[test]
fn without_deletion_a_renamed_file_keeps_its_old_name() {
    needs!(Requirement::Ssh);
    for delete in ["false", "'startup'"] {
        let sandbox = Sandbox::new();
        let more = format!("delete = {delete}");
        let mirror = SshMirror::start(&sandbox, &more, |source| write(source, "file d/one"));
        mirror.rename("file", "other");
        mirror.rename("d", "e");
        for name in ["other", "e/one"] {
            mirror.daemon.wait_until("it comes", || mirror.target.join(name).exists());
        }
        for name in ["file", "d/one"] {
            assert!(mirror.target.join(name).exists(), "{name} {delete}");
        }
    }
}

#[test]
fn exchanged_names_are_not_transferred_again() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = SshMirror::start(&sandbox, "", |source| write(source, "a b d/one e/two"));
    let before = ["a", "b", "d/one", "e/two"].map(|name| mirror.inode(name));
    mirror.daemon.while_stopped(|| {
        for (a, b) in [("a", "b"), ("d", "e")] {
            mirror.rename(a, "between");
            mirror.rename(b, a);
            mirror.rename("between", b);
        }
    });
    mirror.expect_mirrored();
    assert_eq!(["b", "a", "e/one", "d/two"].map(|name| mirror.inode(name)), before);
}

#[test]
fn renames_to_and_from_excluded_paths_converge() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let more = "exclude = { [[*.tmp]], [[/kept/cache]], [[/hidden]] }";
    let mirror = SshMirror::start(&sandbox, more, |source| {
        write(source, "a b.tmp d/cache/x hidden/y plain/cache/z");
    });
    mirror.rename("a", "a.tmp");
    mirror.rename("b.tmp", "b");
    // Its content is excluded under one of the two names only.
    mirror.rename("d", "kept");
    mirror.rename("hidden", "seen");
    mirror.rename("plain", "plainer");
    let expected = ["b", "seen/y", "plainer/cache/z"];
    let target = &mirror.target;
    mirror.daemon.wait_until("all has its place", || {
        let gone = ["a", "a.tmp", "b.tmp", "d", "hidden", "plain", "kept/cache"];
        expected.iter().all(|name| target.join(name).exists())
            && target.join("kept").exists()
            && gone.iter().all(|name| !target.join(name).exists())
    });
}

#[test]
fn a_key_without_shell_access_is_sufficient() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let server = TestServer::ssh(&sandbox);
    server.force_command(
        "case $SSH_ORIGINAL_COMMAND in 'rsync --server'*) exec $SSH_ORIGINAL_COMMAND ;; \
         *) echo 'only rsync' >&2; exit 1 ;; esac",
    );
    let mirror = SshMirror::start_with(&sandbox, server, "", |source| write(source, "a d/x"));
    mirror.rename("a", "b");
    mirror.expect_mirrored();
    mirror.rename("d", "e");
    mirror.expect_mirrored();
    let log = mirror.daemon.log();
    assert_eq!(log.matches("(only rsync)").count(), 1, "it is logged once: {log}");
    assert!(!log.contains("Moving"), "{log}");
}

/// Simulates `rrsync`, which may not be installed: it rejects some options and all other programs.
#[test]
fn a_key_restricted_to_rrsync_is_sufficient() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root, Requirement::Ssh);
    let sandbox = Sandbox::new();
    let server = TestServer::ssh(&sandbox);
    server.force_command(
        "case $SSH_ORIGINAL_COMMAND in *' -@'*) \
         echo 'rrsync error: invalid rsync-command syntax or options' >&2; exit 1 ;; \
         'rsync --server'*) exec $SSH_ORIGINAL_COMMAND ;; *) echo 'only rsync' >&2; exit 1 ;; esac",
    );
    let mirror =
        SshMirror::start_with(&sandbox, server, "rsync = { protect_args = false }", |source| {
            write(source, "a d/x gone");
        });
    mirror.rename("a", "b");
    mirror.rename("d", "e");
    fs::remove_file(mirror.source.join("gone")).unwrap();
    mirror.expect_mirrored();
    for content in ["one", "two"] {
        // The same size within one second.
        fs::write(mirror.source.join("b"), content).unwrap();
        mirror.expect_mirrored();
    }
    let log = mirror.daemon.log();
    assert_eq!(log.matches("is behind rrsync").count(), 1, "it is logged once: {log}");
}

#[test]
fn rsync_and_renames_resolve_a_home_directory_alike() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let server = TestServer::ssh(&sandbox);
    let home = sandbox.create_dir("home");
    server.force_command(&format!("cd '{}' && eval \"$SSH_ORIGINAL_COMMAND\"", home.display()));
    let source = sandbox.create_dir("src");
    write(&source, "a");
    let text = server.rsyncssh_config("").replace("'@/dst'", "'~/some where'");
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    let target = home.join("some where");
    let before = fs::metadata(target.join("a")).unwrap().ino();
    fs::rename(source.join("a"), source.join("b")).unwrap();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    assert_eq!(fs::metadata(target.join("b")).unwrap().ino(), before);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "a directory is named ~");
}

#[test]
fn on_move_false_transfers_renames() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = SshMirror::start(&sandbox, "onMove = false", |source| write(source, "a"));
    mirror.rename("a", "b");
    mirror.expect_mirrored();
    assert!(!mirror.daemon.log().contains("Moving"), "{}", mirror.daemon.log());
}

#[test]
fn a_broken_connection_during_renames_loses_nothing() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = SshMirror::start(&sandbox, "", |source| {
        for number in 0..300 {
            write(source, &format!("d/{number}"));
        }
    });
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 { ("d", "e") } else { ("e", "d") };
        fs::create_dir_all(mirror.source.join(to)).unwrap();
        for number in 0..300 {
            mirror.rename(&format!("{from}/{number}"), &format!("{to}/{number}"));
        }
        mirror.daemon.wait_until("it has begun", || mirror.target.join(to).exists());
        mirror.server.cut_connections();
        mirror.expect_mirrored();
    }
}

#[test]
fn random_changes_converge_over_ssh() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let mirror = SshMirror::start(&sandbox, "", |_| ());
    let mut churn = LiveChurn::new(&mirror.source, 23);
    for _ in 0..6 {
        churn.change(150);
        mirror.expect_mirrored();
        churn.change(150);
    }
    mirror.expect_mirrored();
    assert!(mirror.daemon.log().contains("Moving"), "some renames were repeated");
}
