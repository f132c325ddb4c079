//! Restarts with a snapshot of the source.

mod notes;
mod over_ssh;

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::{FileExt, MetadataExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use rustix::process::Signal;

use crate::support::{
    LiveChurn, Requirement, Sandbox, TestDaemon, TestServer, TransferMode, in_both_modes, needs,
};

in_both_modes!(
    only_differences_are_transferred_after_a_restart,
    a_target_is_compared_as_a_whole_if_it_may_have_changed,
    a_target_that_was_restored_from_a_backup_is_transferred,
    a_run_marks_its_targets_before_it_changes_them,
    other_settings_cause_a_full_transfer,
    a_damaged_snapshot_is_not_believed,
    a_directory_that_was_renamed_and_renamed_back_is_transferred,
    pending_changes_are_transferred_after_a_kill,
    a_rename_before_the_first_snapshot_is_not_forgotten,
    a_rename_before_a_reload_is_not_forgotten,
    a_rename_while_the_source_was_lost_is_not_forgotten,
    a_new_file_that_is_deleted_between_two_runs_is_deleted,
    a_source_that_is_exchanged_twice_is_transferred,
    changes_of_a_run_without_snapshots_are_noticed,
    a_replaced_source_is_still_new_after_a_kill,
    what_a_target_lacks_is_new_although_the_others_have_it,
    rules_in_a_file_are_settings,
    a_snapshot_that_is_no_file_does_no_harm,
    random_histories_with_restarts_converge,
);

const NOTHING: &str = "nothing has changed since the last snapshot";
const EVERYTHING: &str = "everything is transferred: ";

/// A source, its target, and the daemons that mirror it one after the other.
struct Restarts {
    sandbox: Sandbox,
    mode: TransferMode,
    source: PathBuf,
    target: PathBuf,
    /// More settings of the sync.
    more: String,
    /// The sync, if it does not go to the target directly.
    remote: Option<String>,
    /// Minimum time between two snapshots in seconds.
    interval: u32,
    socket: &'static str,
}

impl Restarts {
    fn new(mode: TransferMode) -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("served/target"));
        for directory in ["a/b", "c/d/e", "empty"] {
            fs::create_dir_all(source.join(directory)).unwrap();
        }
        for number in 0..20 {
            let directory = ["a", "a/b", "c", "c/d", "c/d/e"][number % 5];
            fs::write(source.join(directory).join(format!("file{number}")), "content").unwrap();
        }
        let (remote, interval) = (None, 0);
        Self { sandbox, mode, source, target, more: String::new(), remote, interval, socket: "" }
    }

    /// Starts a daemon that takes a snapshot as soon as possible.
    fn start(&self, args: &[&str]) -> TestDaemon {
        let daemon = self.start_without_waiting(args);
        daemon.wait_live();
        daemon
    }

    fn start_without_waiting(&self, args: &[&str]) -> TestDaemon {
        self.sandbox.daemon().config(&self.config(), 1).args(args).start()
    }

    /// The name of the kind in a configuration.
    fn kind(&self) -> &'static str {
        self.mode.option().trim_start_matches('-')
    }

    fn config(&self) -> String {
        let (kind, interval, more) = (self.kind(), self.interval, &self.more);
        let local =
            || format!("default.{kind}, source = '@/source', target = '@/served/target', {more}");
        let sync = self.remote.clone().unwrap_or_else(local);
        format!(
            "settings{{ stateDir = '@/state', stateInterval = {interval}, socket = '{}' }}\n\
             sync{{ {sync} }}",
            self.socket,
        )
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.source.join(from), self.source.join(to)).unwrap();
    }

    /// Waits until the first snapshot of a daemon is written. The next one has to wait.
    fn spend_first_snapshot(&self, daemon: &TestDaemon) {
        let inode = || fs::metadata(self.snapshot()).map(|found| found.ino()).unwrap();
        let before = inode();
        fs::write(self.source.join("a/spent"), "").unwrap();
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        daemon.wait_until("a new snapshot", || inode() != before);
        self.settle(daemon);
    }

    /// Renames a directory back that the target has under its new name, and starts again.
    fn expect_renamed_back(&self, from: &str, to: &str) {
        self.rename(from, to);
        let daemon = self.start(&[]);
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        self.stop(daemon);
    }

    fn snapshot(&self) -> PathBuf {
        let entries = fs::read_dir(self.sandbox.path("state")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|it| it == "snapshot")).unwrap()
    }

    /// Ends a daemon, whose last snapshot knows everything: see [`settle`](Self::settle).
    fn stop(&self, mut daemon: TestDaemon) {
        self.settle(&daemon);
        daemon.signal(Signal::TERM);
        daemon.wait_exit();
    }

    fn kill(mut daemon: TestDaemon) {
        daemon.signal(Signal::KILL);
        daemon.wait_exit();
    }

    /// Waits until all entries of the source are older than the grain of the clock, as a snapshot
    /// sees it.
    fn settle(&self, daemon: &TestDaemon) {
        let is_young = |path: &Path| {
            let changed = fs::symlink_metadata(path).map_or(0, |found| found.ctime());
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            changed + 2 > i64::try_from(now).unwrap()
        };
        daemon.wait_until("the source is old enough", || !any(&self.source, &is_young));
    }

    /// Waits until a snapshot says that the target has everything.
    fn wait_for_snapshot(&self, daemon: &TestDaemon) {
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        daemon.wait_until("a complete snapshot", || {
            let found = fs::read(self.snapshot()).unwrap();
            let text = String::from_utf8_lossy(&found);
            // No changes since then are in the journal.
            let end = r#""unconfirmed":[]}]}"#;
            text.rsplit_once(end).is_some_and(|(_, journal)| {
                journal.lines().all(|line| line.contains(r#" {"Marked":"#))
            })
        });
    }

    fn wait_for_any_snapshot(&self, daemon: &TestDaemon) {
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        let is_snapshot = |path: &Path| path.extension().is_some_and(|it| it == "snapshot");
        daemon.wait_until("a snapshot", || any(&self.sandbox.path("state"), &is_snapshot));
    }

    /// Runs a first daemon until everything is transferred.
    fn fill(&self) {
        let daemon = self.start(&[]);
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        self.stop(daemon);
    }

    /// Starts a daemon, which must give this reason for transferring everything, or less.
    #[track_caller]
    fn expect(&self, text: &str) -> TestDaemon {
        self.expect_with(&[], text)
    }

    #[track_caller]
    fn expect_with(&self, args: &[&str], text: &str) -> TestDaemon {
        let daemon = self.start(args);
        let log = daemon.log();
        assert!(log.contains(text), "no {text:?} in {log}");
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        daemon
    }
}

/// Returns true if the predicate holds for an entry at or below this path.
fn any(path: &Path, predicate: &dyn Fn(&Path) -> bool) -> bool {
    let is_directory = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let mut below = is_directory.then(|| fs::read_dir(path)).into_iter().flatten().flatten();
    predicate(path) || below.any(|entry| any(&entry.unwrap().path(), predicate))
}

fn only_differences_are_transferred_after_a_restart(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    restarts.stop(restarts.expect("everything is transferred: there is no snapshot yet"));
    // A difference at the target shows that nothing looks there.
    let surplus = restarts.target.join("empty/surplus");
    let empty = fs::metadata(restarts.source.join("empty")).unwrap();
    fs::write(&surplus, "").unwrap();
    let daemon = restarts.start(&[]);
    assert!(daemon.log().contains(NOTHING), "{}", daemon.log());
    restarts.stop(daemon);
    let at = |name: &str| restarts.source.join(name);
    fs::write(at("a/file0"), "changed").unwrap();
    fs::remove_file(at("a/b/file1")).unwrap();
    fs::rename(at("c/d"), at("c/renamed")).unwrap();
    fs::create_dir_all(at("new/deep/er")).unwrap();
    fs::write(at("new/deep/er/file"), "").unwrap();
    // Equal size and time prove nothing.
    let time = fs::metadata(at("c/file2")).unwrap().modified().unwrap();
    fs::write(at("c/file2"), "CONTENT").unwrap();
    let file = File::options().write(true).open(at("c/file2")).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    let daemon = restarts.start(&[]);
    assert!(daemon.log().contains("paths may have changed since"), "{}", daemon.log());
    assert!(surplus.exists(), "this directory has not changed");
    fs::remove_file(&surplus).unwrap();
    let directory = File::open(restarts.target.join("empty")).unwrap();
    directory.set_times(FileTimes::new().set_modified(empty.modified().unwrap())).unwrap();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    assert_eq!(fs::read(restarts.target.join("c/file2")).unwrap(), b"CONTENT");
    restarts.stop(daemon);
    restarts.stop(restarts.expect(NOTHING));
}

fn a_target_is_compared_as_a_whole_if_it_may_have_changed(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    restarts.fill();
    // What is asked for.
    restarts.stop(restarts.expect_with(&["-full"], "the command line asks for it"));
    // A source and a snapshot that were restored from a backup together.
    let (snapshot, old) = (restarts.snapshot(), restarts.sandbox.path("old"));
    fs::copy(&snapshot, &old).unwrap();
    let daemon = restarts.expect(NOTHING);
    fs::write(restarts.source.join("a/new"), "").unwrap();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    fs::copy(&old, &snapshot).unwrap();
    restarts.stop(restarts.expect("the target is newer than the snapshot"));
    // A directory with the same content.
    let moved = restarts.sandbox.path("moved");
    fs::rename(&restarts.target, &moved).unwrap();
    fs::create_dir(&restarts.target).unwrap();
    restarts.stop(restarts.expect("the target is another directory than before"));
    fs::remove_dir_all(&restarts.target).unwrap();
    restarts.stop(restarts.expect("the target can't be checked: "));
}

fn a_target_that_was_restored_from_a_backup_is_transferred(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.fill();
    restarts.interval = 3600;
    let daemon = restarts.start(&[]);
    restarts.spend_first_snapshot(&daemon);
    // The backup, which has the mark of the last snapshot but one.
    let mark = || target_mark(&restarts.target);
    let before = restarts.target.join("a");
    let time = fs::metadata(&before).unwrap().modified().unwrap();
    let old = mark();
    fs::write(restarts.source.join("a/new"), "").unwrap();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    assert_ne!(mark(), old);
    fs::remove_file(before.join("new")).unwrap();
    File::open(&before).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&restarts.target, MARK, &old, flags).unwrap();
    restarts.stop(restarts.expect("the target is older than the snapshot"));
    restarts.stop(restarts.expect(NOTHING));
}

/// A source and its snapshot can be restored from a backup before a run has taken a snapshot.
fn a_run_marks_its_targets_before_it_changes_them(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    restarts.fill();
    let (snapshot, backup) = (restarts.snapshot(), restarts.sandbox.path("backup"));
    fs::copy(&snapshot, &backup).unwrap();
    let mark = || target_mark(&restarts.target);
    let mut before = mark();
    for _ in 0..2 {
        Restarts::kill(restarts.expect(NOTHING));
        assert_ne!(mark(), before);
        before = mark();
    }
    fs::copy(&backup, &snapshot).unwrap();
    restarts.stop(restarts.expect("the target is newer than the snapshot"));
    restarts.stop(restarts.expect(NOTHING));
}

const MARK: &str = "user.lsyncd.mark";

fn target_mark(target: &Path) -> Vec<u8> {
    let mut mark = Vec::with_capacity(256);
    rustix::fs::getxattr(target, MARK, rustix::buffer::spare_capacity(&mut mark)).unwrap();
    mark
}

fn other_settings_cause_a_full_transfer(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.fill();
    restarts.more = "delay = 0, crontab = '0 0 0 1 1 *'".into();
    restarts.stop(restarts.expect(NOTHING));
    restarts.more = "exclude = 'empty'".into();
    let daemon = restarts.start(&[]);
    assert!(daemon.log().contains("the settings of the sync have changed"), "{}", daemon.log());
    // With these settings, the target has something else than with the previous ones.
    Restarts::kill(daemon);
    restarts.more.clear();
    restarts.stop(restarts.expect(EVERYTHING));
}

fn a_damaged_snapshot_is_not_believed(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    restarts.fill();
    let snapshot = restarts.snapshot();
    let length = usize::try_from(fs::metadata(&snapshot).unwrap().len()).unwrap();
    for at in [0, 20, 40, length / 2, length - 30] {
        let file = File::options().read(true).write(true).open(&snapshot).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at as u64).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at as u64).unwrap();
        restarts.stop(restarts.expect("its snapshot can't be used: it is damaged"));
        restarts.stop(restarts.expect(NOTHING));
    }
    File::options().write(true).open(&snapshot).unwrap().set_len(100).unwrap();
    restarts.stop(restarts.expect("its snapshot can't be used: it is damaged"));
    fs::remove_file(&snapshot).unwrap();
    restarts.stop(restarts.expect("there is no snapshot yet"));
}

/// The directory has the same entries with the same times as in the snapshot, but the target has
/// followed the first rename.
fn a_directory_that_was_renamed_and_renamed_back_is_transferred(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.more = "maxDelete = false".into();
    restarts.fill();
    let daemon = restarts.expect(NOTHING);
    let rename = |from: &str, to: &str| {
        fs::rename(restarts.source.join(from), restarts.source.join(to)).unwrap();
    };
    rename("c", "renamed");
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    Restarts::kill(daemon);
    rename("renamed", "c");
    restarts.stop(restarts.expect("may have changed since the last snapshot"));
}

fn pending_changes_are_transferred_after_a_kill(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.more = "delay = 1000".into();
    restarts.fill();
    let daemon = restarts.start(&["-log", "Inotify"]);
    daemon.wait_watched();
    fs::write(restarts.source.join("a/file0"), "changed").unwrap();
    fs::remove_file(restarts.source.join("a/b/file1")).unwrap();
    Restarts::kill(daemon);
    restarts.stop(restarts.expect("may have changed since the last snapshot"));
    let daemon = restarts.start(&["-log", "Inotify"]);
    daemon.wait_watched();
    fs::write(restarts.source.join("a/file0"), "changed again").unwrap();
    // The last snapshot knows that it was not transferred.
    restarts.stop(daemon);
    restarts.stop(restarts.expect("may have changed since the last snapshot"));
}

/// A target on another machine can't be asked.
fn check_remote(mut restarts: Restarts, sync: &str) {
    restarts.remote = Some(sync.into());
    restarts.fill();
    restarts.stop(restarts.expect("trustTarget = true says that it was not"));
    restarts.remote = Some(format!("{sync}, trustTarget = true"));
    restarts.stop(restarts.expect(NOTHING));
    fs::write(restarts.source.join("a/file0"), "changed").unwrap();
    fs::rename(restarts.source.join("a/b"), restarts.source.join("bb")).unwrap();
    restarts.stop(restarts.expect("paths may have changed since the last snapshot"));
    // If it is missing nevertheless, the next change finds that.
    fs::remove_dir_all(&restarts.target).unwrap();
    let daemon = restarts.start(&[]);
    assert!(daemon.log().contains(NOTHING), "{}", daemon.log());
    fs::create_dir(&restarts.target).unwrap();
    restarts.stop(daemon);
    fs::remove_dir(&restarts.target).unwrap();
    let daemon = restarts.start(&[]);
    fs::write(restarts.source.join("new"), "").unwrap();
    daemon.wait_mirrored(restarts.mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
}

#[test]
fn a_module_of_an_rsync_daemon_is_trusted_on_request() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let restarts = Restarts::new(TransferMode::Rsync);
    // The module is a directory, and the target is one in it.
    let server = TestServer::rsync(&restarts.sandbox, &restarts.sandbox.path("served"));
    let port = server.port();
    check_remote(
        restarts,
        &format!(
            "default.rsync, source = '@/source', target = 'rsync://127.0.0.1:{port}/mirror/target'"
        ),
    );
}

/// A full transfer compares sizes and times only.
#[test]
fn a_pending_write_of_equal_size_and_time_reaches_an_untrusted_target() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mut restarts = Restarts::new(TransferMode::Rsync);
    let server = TestServer::rsync(&restarts.sandbox, &restarts.sandbox.path("served"));
    restarts.remote = Some(format!(
        "default.rsync, source = '@/source', delay = 1000, \
         target = 'rsync://127.0.0.1:{}/mirror/target'",
        server.port()
    ));
    restarts.fill();
    let reason = "trustTarget = true says that it was not";
    let file = restarts.source.join("a/file0");
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let rewrite = |byte: u8| {
        fs::write(&file, vec![byte; fs::read(&file).unwrap().len()]).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
    };
    let daemon = restarts.expect(reason);
    rewrite(b'1');
    restarts.stop(daemon);
    let daemon = restarts.expect(reason);
    rewrite(b'2');
    Restarts::kill(daemon);
    let daemon = restarts.expect(reason);
    restarts.stop(daemon);
    rewrite(b'3');
    restarts.stop(restarts.expect(reason));
}

/// The records of the first comparison have the old name, and the target never had it.
fn a_rename_before_the_first_snapshot_is_not_forgotten(mode: TransferMode) {
    let restarts =
        Restarts { more: "maxDelete = false".into(), interval: 1000, ..Restarts::new(mode) };
    fs::remove_dir(&restarts.target).unwrap();
    fs::write(&restarts.target, "").unwrap();
    let daemon = restarts.start_without_waiting(&["-insist"]);
    daemon.wait_for_log("Retry");
    restarts.settle(&daemon);
    restarts.rename("c", "renamed");
    fs::remove_file(&restarts.target).unwrap();
    fs::create_dir(&restarts.target).unwrap();
    restarts.wait_for_any_snapshot(&daemon);
    Restarts::kill(daemon);
    restarts.expect_renamed_back("renamed", "c");
}

/// The mirror that has seen the rename is replaced by another one.
fn a_rename_before_a_reload_is_not_forgotten(mode: TransferMode) {
    let mut restarts =
        Restarts { more: "maxDelete = false".into(), interval: 1000, ..Restarts::new(mode) };
    restarts.fill();
    let daemon = restarts.expect(NOTHING);
    restarts.spend_first_snapshot(&daemon);
    restarts.rename("c/d", "c/renamed");
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.more += ", exclude = 'excluded'";
    restarts.sandbox.write_config(&restarts.config());
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the sync is new");
    daemon.wait_until("the new sync is live", || daemon.log().matches("finished").count() == 2);
    restarts.stop(daemon);
    restarts.expect_renamed_back("c/renamed", "c/d");
}

/// Nobody has seen the rename.
fn a_rename_while_the_source_was_lost_is_not_forgotten(mode: TransferMode) {
    let restarts =
        Restarts { more: "maxDelete = false".into(), interval: 1000, ..Restarts::new(mode) };
    restarts.fill();
    let daemon = restarts.expect(NOTHING);
    restarts.spend_first_snapshot(&daemon);
    let away = restarts.sandbox.path("away");
    fs::rename(&restarts.source, &away).unwrap();
    daemon.wait_for_log("sync suspended, target left untouched");
    fs::rename(away.join("c/d"), away.join("c/renamed")).unwrap();
    fs::rename(&away, &restarts.source).unwrap();
    daemon.wait_until("the rename is mirrored", || restarts.target.join("c/renamed/e").exists());
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    restarts.expect_renamed_back("c/renamed", "c/d");
}

/// No snapshot has recorded the file, but the target has it.
fn a_new_file_that_is_deleted_between_two_runs_is_deleted(mode: TransferMode) {
    let restarts = Restarts { interval: 1000, ..Restarts::new(mode) };
    restarts.fill();
    let daemon = restarts.expect(NOTHING);
    restarts.spend_first_snapshot(&daemon);
    let new = restarts.source.join("a/b/new");
    fs::write(&new, "").unwrap();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    Restarts::kill(daemon);
    fs::remove_file(&new).unwrap();
    restarts.stop(restarts.expect("may have changed since the last snapshot"));
}

/// rsync deletes the attributes that the source lacks, except for the mark.
#[test]
fn the_mark_survives_a_transfer_of_extended_attributes() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Program("setfattr"));
    let mut restarts = Restarts::new(TransferMode::Rsync);
    restarts.more = "rsync = { xattrs = true }".into();
    let set = |at: &Path, args: &[&str]| {
        assert!(Command::new("setfattr").args(args).arg(at).status().unwrap().success());
    };
    set(&restarts.source, &["-n", "user.one", "-v", "1"]);
    set(&restarts.source.join("a"), &["-n", "user.two", "-v", "1"]);
    set(&restarts.target, &["-n", "user.surplus", "-v", "1"]);
    restarts.fill();
    let attributes = |at: &Path| {
        let output = Command::new("getfattr").arg("--absolute-names").arg(at).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    restarts.stop(restarts.expect(NOTHING));
    let daemon = restarts.expect(NOTHING);
    set(&restarts.source, &["-x", "user.one"]);
    let at_root = || attributes(&restarts.target);
    daemon.wait_until("an attribute is deleted", || !at_root().contains("user.one"));
    assert!(at_root().contains("user.lsyncd.mark") && !at_root().contains("user.surplus"));
    assert!(attributes(&restarts.target.join("a")).contains("user.two"));
    restarts.stop(daemon);
    restarts.stop(restarts.expect(NOTHING));
}

/// No path names the temporary file. The unit tests of the built-in copier have the same.
#[test]
fn a_temporary_file_of_a_killed_rsync_is_removed() {
    needs!(TransferMode::Rsync.requirement());
    let restarts = Restarts::new(TransferMode::Rsync);
    restarts.fill();
    fs::write(restarts.target.join("a/b/.file1.aBcDeF"), "part").unwrap();
    fs::write(restarts.source.join("a/b/file1"), "changed").unwrap();
    restarts.stop(restarts.expect("may have changed since the last snapshot"));
}

/// The snapshot of the first source is still right, but the target has another one meanwhile.
fn a_source_that_is_exchanged_twice_is_transferred(mode: TransferMode) {
    let slowly = "maxDelete = false, rsync = { bwlimit = '10' }".into();
    check_exchanged_source(&Restarts { more: slowly, ..Restarts::new(mode) });
}

/// Exchanges the source of a sync, which transfers slowly, and exchanges it back.
fn check_exchanged_source(restarts: &Restarts) {
    let mode = restarts.mode;
    let (one, two) = (restarts.sandbox.path("one"), restarts.sandbox.create_dir("two"));
    let link = |to: &Path| {
        let _ = fs::remove_file(&restarts.source);
        symlink(to, &restarts.source).unwrap();
    };
    fs::rename(&restarts.source, &one).unwrap();
    for number in 0..200 {
        fs::write(two.join(format!("other{number}")), vec![b'x'; 20 << 10]).unwrap();
    }
    link(&one);
    let daemon = restarts.start(&[]);
    daemon.wait_mirrored(mode, &one, &restarts.target);
    restarts.settle(&daemon);
    restarts.stop(daemon);
    link(&two);
    let daemon = restarts.start_without_waiting(&[]);
    let is_other = |path: &Path| path.to_string_lossy().contains("/other");
    daemon.wait_until("a first change", || any(&restarts.target, &is_other));
    Restarts::kill(daemon);
    link(&one);
    let daemon = restarts.start(&[]);
    daemon.wait_mirrored(mode, &one, &restarts.target);
    restarts.stop(daemon);
}

/// With `init = false`, a sync has no snapshots.
fn changes_of_a_run_without_snapshots_are_noticed(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.fill();
    let away = restarts.sandbox.path("away");
    restarts.more = "init = false".into();
    let daemon = restarts.start_without_waiting(&["-log", "Inotify", "-log", "Fanotify"]);
    daemon.wait_for_log("is watched");
    fs::rename(restarts.source.join("a"), &away).unwrap();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    fs::rename(&away, restarts.source.join("a")).unwrap();
    restarts.more = String::new();
    restarts.stop(restarts.expect(EVERYTHING));
}

/// Sets the modification time to the same for all.
fn write_with_old_time(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    let time = UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A release is unpacked in place of the last one, with the same times. The target is not reached
/// before the daemon is killed.
fn a_replaced_source_is_still_new_after_a_kill(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    write_with_old_time(&restarts.source.join("a/release"), "old");
    restarts.fill();
    let (served, hidden) = (restarts.sandbox.path("served"), restarts.sandbox.path("hidden"));
    fs::rename(&restarts.source, restarts.sandbox.path("last")).unwrap();
    fs::create_dir_all(restarts.source.join("a")).unwrap();
    write_with_old_time(&restarts.source.join("a/release"), "NEW");
    fs::rename(&served, &hidden).unwrap();
    fs::write(&served, "").unwrap();
    let daemon = restarts.sandbox.daemon().config(&restarts.config(), 1).args(["-insist"]).start();
    daemon.wait_for_log("was replaced");
    Restarts::kill(daemon);
    fs::remove_file(&served).unwrap();
    fs::rename(&hidden, &served).unwrap();
    let daemon = restarts.start(&[]);
    let release = restarts.target.join("a/release");
    daemon.wait_until("the release", || fs::read(&release).is_ok_and(|it| it == b"NEW"));
}

fn what_a_target_lacks_is_new_although_the_others_have_it(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    let kind = mode.option().trim_start_matches('-');
    let shared = restarts.sandbox.create_dir("beside/one");
    restarts.more =
        format!("}} sync{{ default.{kind}, source = '@/source', target = '@/beside/one'");
    let file = restarts.source.join("a/file");
    write_with_old_time(&file, "old");
    let start = || {
        let config = restarts.config();
        restarts.sandbox.daemon().config(&config, 2).args(["-insist"]).start()
    };
    let has = |target: &Path, content: &str| {
        fs::read(target.join("a/file")).is_ok_and(|it| it == content.as_bytes())
    };
    let daemon = start();
    daemon.wait_live();
    daemon.wait_until("both have it", || has(&restarts.target, "old") && has(&shared, "old"));
    restarts.stop(daemon);
    let (beside, hidden) = (restarts.sandbox.path("beside"), restarts.sandbox.path("hidden"));
    fs::rename(&beside, &hidden).unwrap();
    fs::write(&beside, "").unwrap();
    let daemon = start();
    write_with_old_time(&file, "NEW");
    daemon.wait_until("one has it", || has(&restarts.target, "NEW"));
    restarts.stop(daemon);
    fs::remove_file(&beside).unwrap();
    fs::rename(&hidden, &beside).unwrap();
    let daemon = start();
    daemon.wait_until("both have it", || has(&shared, "NEW"));
}

fn rules_in_a_file_are_settings(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    let rules = restarts.sandbox.path("rules");
    restarts.more = "rsync = { _extra = { '--exclude-from=@/rules' } }".into();
    fs::write(&rules, "file0\n").unwrap();
    restarts.stop(restarts.start(&[]));
    assert!(!restarts.target.join("a/file0").exists());
    fs::write(&rules, "").unwrap();
    let daemon = restarts.expect("the settings of the sync have changed");
    restarts.stop(daemon);
}

fn a_snapshot_that_is_no_file_does_no_harm(mode: TransferMode) {
    let restarts = Restarts::new(mode);
    restarts.fill();
    let snapshot = restarts.snapshot();
    let kinds: [(&str, &dyn Fn()); 4] = [
        ("a FIFO", &|| mkfifo(&snapshot, Mode::S_IRUSR).unwrap()),
        ("a link to a device", &|| symlink("/dev/zero", &snapshot).unwrap()),
        ("a huge file", &|| File::create(&snapshot).unwrap().set_len(1 << 42).unwrap()),
        ("a directory", &|| fs::create_dir(&snapshot).unwrap()),
    ];
    for (name, create) in kinds {
        fs::remove_file(&snapshot).unwrap();
        create();
        let daemon = restarts.expect("its snapshot can't be used: ");
        fs::rename(restarts.source.join("a"), restarts.source.join(name)).unwrap();
        daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
        fs::rename(restarts.source.join(name), restarts.source.join("a")).unwrap();
        daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
        restarts.stop(daemon);
        assert!(name == "a directory" || snapshot.metadata().unwrap().len() < 1 << 20, "{name}");
    }
}

/// Number of restarts of each history.
const RESTARTS: usize = 12;

fn random_histories_with_restarts_converge(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.more = "maxDelete = false".into();
    let rounds = std::env::var("LSYNCD_TEST_RESTARTS").map_or(RESTARTS, |it| it.parse().unwrap());
    let seed = std::env::var("LSYNCD_TEST_SEED").map_or(5, |it| it.parse().unwrap());
    let mut churn = LiveChurn::new(&restarts.source, seed);
    for round in 0..rounds {
        churn.change(30);
        let daemon = restarts.start(&[]);
        churn.change(20 + 10 * (round % 3));
        match churn.below(4) {
            0 => daemon.wait_mirrored(mode, &restarts.source, &restarts.target),
            1 => restarts.wait_for_snapshot(&daemon),
            _ => {}
        }
        let number = usize::try_from(churn.below(30)).unwrap();
        churn.change(number);
        if churn.below(3) == 0 { restarts.stop(daemon) } else { Restarts::kill(daemon) }
    }
    let daemon = restarts.start(&[]);
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
}
