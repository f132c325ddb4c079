//! What is renamed in the source of `default.rsyncssh` is renamed at the target.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::support::{Churn, Daemon, Mode, Need, Sandbox, Server, needs};

/// A source and its mirror behind ssh, which is on this machine as well, so that it can be looked
/// at.
struct Mirror {
    daemon: Daemon,
    source: PathBuf,
    target: PathBuf,
    server: Server,
}

impl Mirror {
    /// Starts with a source that `fill` has filled.
    #[track_caller]
    fn start(sandbox: &Sandbox, more: &str, fill: impl FnOnce(&Path)) -> Self {
        Self::start_with(sandbox, Server::ssh(sandbox), more, fill)
    }

    #[track_caller]
    fn start_with(sandbox: &Sandbox, server: Server, more: &str, fill: impl FnOnce(&Path)) -> Self {
        let source = sandbox.directory("src");
        fill(&source);
        let daemon = sandbox.daemon().config(&server.sync_to_it(more), 1).start();
        daemon.wait_live();
        Self { daemon, source, target: sandbox.path("dst"), server }
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.source.join(from), self.source.join(to)).unwrap();
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.wait_mirrored(Mode::Rsync, &self.source, &self.target);
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
fn files_and_directories_are_renamed_and_not_sent_again() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, "", |source| {
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
    needs!(Need::Ssh);
    for delete in ["false", "'startup'"] {
        let sandbox = Sandbox::new();
        let more = format!("delete = {delete}");
        let mirror = Mirror::start(&sandbox, &more, |source| write(source, "file d/one"));
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
fn what_changes_places_is_not_sent_again() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, "", |source| write(source, "a b d/one e/two"));
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
fn what_is_renamed_into_an_excluded_place_or_out_of_it_converges() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let more = "exclude = { [[*.tmp]], [[/kept/cache]], [[/hidden]] }";
    let mirror = Mirror::start(&sandbox, more, |source| {
        write(source, "a b.tmp d/cache/x hidden/y plain/cache/z");
    });
    mirror.rename("a", "a.tmp");
    mirror.rename("b.tmp", "b");
    // What is in it is excluded at one of the names only.
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
fn a_key_that_allows_no_shell_is_enough() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let server = Server::ssh(&sandbox);
    server.force(
        "case $SSH_ORIGINAL_COMMAND in 'rsync --server'*) exec $SSH_ORIGINAL_COMMAND ;; \
         *) echo 'only rsync' >&2; exit 1 ;; esac",
    );
    let mirror = Mirror::start_with(&sandbox, server, "", |source| write(source, "a d/x"));
    mirror.rename("a", "b");
    mirror.expect_mirrored();
    mirror.rename("d", "e");
    mirror.expect_mirrored();
    let log = mirror.daemon.log();
    assert_eq!(log.matches("(only rsync)").count(), 1, "it is told once: {log}");
    assert!(!log.contains("Moving"), "{log}");
}

/// As `rrsync` does, which is not everywhere: it knows neither all options nor any other program.
#[test]
fn a_key_that_is_bound_to_rrsync_is_enough() {
    needs!(Mode::Rsync.need(), Need::Root, Need::Ssh);
    let sandbox = Sandbox::new();
    let server = Server::ssh(&sandbox);
    server.force(
        "case $SSH_ORIGINAL_COMMAND in *' -@'*) \
         echo 'rrsync error: invalid rsync-command syntax or options' >&2; exit 1 ;; \
         'rsync --server'*) exec $SSH_ORIGINAL_COMMAND ;; *) echo 'only rsync' >&2; exit 1 ;; esac",
    );
    let mirror =
        Mirror::start_with(&sandbox, server, "rsync = { protect_args = false }", |source| {
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
    assert_eq!(log.matches("is behind rrsync").count(), 1, "it is told once: {log}");
}

#[test]
fn a_home_is_where_both_begin() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let server = Server::ssh(&sandbox);
    let home = sandbox.directory("home");
    server.force(&format!("cd '{}' && eval \"$SSH_ORIGINAL_COMMAND\"", home.display()));
    let source = sandbox.directory("src");
    write(&source, "a");
    let text = server.sync_to_it("").replace("'@/dst'", "'~/some where'");
    let daemon = sandbox.daemon().config(&text, 1).start();
    daemon.wait_live();
    let target = home.join("some where");
    let before = fs::metadata(target.join("a")).unwrap().ino();
    fs::rename(source.join("a"), source.join("b")).unwrap();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
    assert_eq!(fs::metadata(target.join("b")).unwrap().ino(), before);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "there is no directory named ~");
}

#[test]
fn renames_that_nobody_wants_are_transfers() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, "onMove = false", |source| write(source, "a"));
    mirror.rename("a", "b");
    mirror.expect_mirrored();
    assert!(!mirror.daemon.log().contains("Moving"), "{}", mirror.daemon.log());
}

#[test]
fn a_connection_that_breaks_among_renames_loses_nothing() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, "", |source| {
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
fn random_changes_converge_behind_ssh() {
    needs!(Need::Ssh);
    let sandbox = Sandbox::new();
    let mirror = Mirror::start(&sandbox, "", |_| ());
    let mut churn = Churn::new(&mirror.source, 23);
    for _ in 0..6 {
        churn.change(150);
        mirror.expect_mirrored();
        churn.change(150);
    }
    mirror.expect_mirrored();
    assert!(mirror.daemon.log().contains("Moving"), "some renames were repeated");
}
