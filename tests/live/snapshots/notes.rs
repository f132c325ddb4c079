//! Decisions of a person, made or still to be made, over a restart.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use super::{NOTHING, Restarts};
use crate::{
    lsyncctl::{call, ctl},
    support::{
        MountedTmpfs, Requirement, TestDaemon, TransferMode, in_both_modes, needs,
        with_private_mounts,
    },
};

in_both_modes!(
    a_file_system_that_is_not_mounted_after_a_restart_stays_on_the_target,
    a_lost_file_system_is_protected_without_a_snapshot,
    deletions_that_nobody_has_seen_are_held_over_restarts,
    deletions_that_were_seen_are_held_over_restarts,
    held_deletions_that_cannot_be_stored_are_reported,
    held_deletions_survive_another_spelling_of_the_target,
    held_deletions_survive_a_redirected_source,
    held_deletions_survive_a_run_that_deletes_nothing,
    held_deletions_of_syncs_with_one_target_are_kept_apart,
    a_sync_that_is_removed_and_added_by_reloads_continues_as_after_a_restart,
    another_file_system_in_place_of_the_source_waits_for_a_decision,
    a_full_transfer_on_request_accepts_the_present_source,
    a_source_that_was_replaced_on_its_file_system_is_transferred,
    the_status_tells_how_the_start_used_the_snapshot,
);

/// Settings with which deletions that were seen are held, but not those that nobody has seen.
const LIMITS: &str = "maxDelete = 50, maxDeleteSeen = 5";

const UNMOUNTED: &str = "was unmounted: the target keeps its files";

impl Restarts {
    /// Returns restarts of a daemon with a control socket.
    fn with_socket(mode: TransferMode) -> Self {
        Self { socket: "@/control.sock", ..Self::new(mode) }
    }

    /// Calls `lsyncctl`, and returns its output.
    fn ctl(&self, args: &[&str]) -> String {
        call(&self.sandbox, args).1
    }

    #[track_caller]
    fn release(&self) {
        ctl(&self.sandbox, 0, &["release"]);
    }

    fn notes(&self) -> PathBuf {
        self.snapshot().with_extension("notes")
    }

    /// Ends a daemon whose source and target differ.
    fn end(mut daemon: TestDaemon) {
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait_exit();
    }
}

fn a_file_system_that_is_not_mounted_after_a_restart_stays_on_the_target(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let restarts = Restarts::with_socket(mode);
        let point = restarts.source.join("empty");
        let disk = MountedTmpfs::mount(&restarts.sandbox, &point, 1 << 20);
        for name in ["one", "two", "three"] {
            fs::write(point.join(name), name).unwrap();
        }
        restarts.fill();
        drop(disk);
        let on_target = restarts.target.join("empty/one");
        for _ in 0..2 {
            let daemon = restarts.start(&[]);
            assert!(daemon.log().contains(UNMOUNTED), "{}", daemon.log());
            fs::write(restarts.source.join("a/file0"), "changed").unwrap();
            let changed = restarts.target.join("a/file0");
            daemon.wait_until("a change is mirrored", || {
                fs::read_to_string(&changed).is_ok_and(|text| text == "changed")
            });
            fs::write(restarts.source.join("a/file0"), "content").unwrap();
            assert!(on_target.exists());
            // Without a notice, as after a crash.
            Restarts::kill(daemon);
        }
        let daemon = restarts.start(&[]);
        let status = || restarts.ctl(&["status"]);
        assert!(status().contains("on /empty was unmounted in the source"), "{}", status());
        restarts.release();
        assert!(!status().contains("was unmounted"), "{}", status());
        daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
        assert!(!on_target.exists());
        restarts.stop(daemon);
        let daemon = restarts.expect(NOTHING);
        assert!(!daemon.log().contains(UNMOUNTED), "{}", daemon.log());
        restarts.stop(daemon);
    });
}

/// As after a crash of the machine, or with another version of the program.
fn a_lost_file_system_is_protected_without_a_snapshot(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let restarts = Restarts::new(mode);
        let point = restarts.source.join("empty");
        let disk = MountedTmpfs::mount(&restarts.sandbox, &point, 1 << 20);
        fs::write(point.join("one"), "").unwrap();
        restarts.fill();
        drop(disk);
        let notes = restarts.notes();
        fs::remove_file(restarts.snapshot()).unwrap();
        let daemon = restarts.start(&[]);
        assert!(daemon.log().contains("there is no snapshot yet"), "{}", daemon.log());
        assert!(daemon.log().contains(UNMOUNTED), "{}", daemon.log());
        assert!(restarts.target.join("empty/one").exists());
        Restarts::end(daemon);
        // Damaged notes are reported. What was protected stays, until everything is compared.
        let text = fs::read_to_string(&notes).unwrap();
        fs::write(&notes, text.replace("is_lost", "is_l0st")).unwrap();
        let daemon = restarts.start(&[]);
        assert!(daemon.log().contains("cannot use the notes "), "{}", daemon.log());
        assert!(restarts.target.join("empty/one").exists());
        Restarts::end(daemon);
        restarts.stop(restarts.expect_with(&["-full"], "the command line asks for it"));
    });
}

/// Somebody has deleted eight entries of the source while no daemon ran.
fn deletions_that_nobody_has_seen_are_held_over_restarts(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = "maxDelete = 5".into();
    restarts.fill();
    for number in [0, 5, 10, 15, 1, 6, 11, 16] {
        let directory = ["a", "a/b"][number % 5];
        fs::remove_file(restarts.source.join(directory).join(format!("file{number}"))).unwrap();
    }
    restarts.check_held(8);
}

/// Deletions that were seen count as unseen after a restart, for which `maxDelete` would suffice.
fn deletions_that_were_seen_are_held_over_restarts(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = LIMITS.into();
    let daemon = restarts.hold();
    daemon.wait_for_log("deletions");
    Restarts::kill(daemon);
    restarts.check_held(10);
}

fn held_deletions_that_cannot_be_stored_are_reported(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = LIMITS.into();
    restarts.fill();
    let daemon = restarts.start(&[]);
    let notes = restarts.notes();
    fs::remove_file(&notes).unwrap();
    fs::create_dir_all(notes.join("in the way")).unwrap();
    fs::remove_dir_all(restarts.source.join("a")).unwrap();
    daemon.wait_for_log("the next start makes the held deletions of");
    restarts.wait_held(&daemon, 10);
    fs::remove_dir_all(&notes).unwrap();
    daemon.wait_until("the held deletions are stored", || notes.is_file());
    Restarts::kill(daemon);
    restarts.check_held(10);
}

fn held_deletions_survive_another_spelling_of_the_target(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = LIMITS.into();
    let (daemon, kind) = (restarts.hold(), restarts.kind());
    let at = |target: &str| {
        format!("default.{kind}, source = '@/source', target = '@/{target}', {LIMITS}")
    };
    restarts.remote = Some(at("served/./target//"));
    restarts.sandbox.write_config(&restarts.config());
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("is new and begins");
    restarts.ctl(&["flush", "--timeout", "5"]);
    restarts.wait_held(&daemon, 10);
    Restarts::end(daemon);
    restarts.remote = Some(at("served//target"));
    restarts.check_held(10);
}

fn held_deletions_survive_a_redirected_source(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    let sync = format!("source = '@/current', target = '@/served/target', {LIMITS}");
    restarts.remote = Some(format!("default.{}, {sync}", restarts.kind()));
    let link = restarts.sandbox.path("current");
    symlink(&restarts.source, &link).unwrap();
    let daemon = restarts.hold();
    // Another release of the same tree.
    let redirect = |name: &str| {
        let release = restarts.sandbox.path(name);
        let copied = Command::new("cp").arg("-a").arg(&restarts.source).arg(&release).status();
        assert!(copied.unwrap().success());
        let new = restarts.sandbox.path("new");
        symlink(&release, &new).unwrap();
        fs::rename(&new, &link).unwrap();
    };
    redirect("second");
    daemon.wait_for_log("begins anew");
    restarts.ctl(&["flush", "--timeout", "5"]);
    restarts.wait_held(&daemon, 10);
    Restarts::end(daemon);
    redirect("third");
    restarts.check_held(10);
}

fn held_deletions_survive_a_run_that_deletes_nothing(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = LIMITS.into();
    Restarts::end(restarts.hold());
    for delete in ["false", "'running'"] {
        restarts.more = format!("{LIMITS}, delete = {delete}");
        let daemon = restarts.start(&[]);
        fs::write(restarts.source.join(format!("more{delete}")), "").unwrap();
        restarts.ctl(&["flush", "--timeout", "5"]);
        assert!(restarts.target.join("a/file0").exists());
        // A reload can bring them back, too.
        restarts.more = LIMITS.into();
        restarts.sandbox.write_config(&restarts.config());
        daemon.signal(rustix::process::Signal::HUP);
        daemon.wait_for_log("begins anew");
        restarts.ctl(&["flush", "--timeout", "5"]);
        restarts.wait_held(&daemon, 10);
        assert!(restarts.target.join("a/file0").exists());
        Restarts::end(daemon);
        restarts.more = format!("{LIMITS}, delete = {delete}");
        Restarts::end(restarts.start(&[]));
    }
    restarts.more = LIMITS.into();
    restarts.check_held(10);
}

fn held_deletions_of_syncs_with_one_target_are_kept_apart(mode: TransferMode) {
    let restarts = Restarts::with_socket(mode);
    let kind = restarts.kind();
    let sync = |name: &str, exclude: &str| {
        format!(
            "sync{{ default.{kind}, name = '{name}', source = '@/source', \
             target = '@/served/target', exclude = {{ '{exclude}' }}, {LIMITS} }}"
        )
    };
    let settings = restarts.config();
    let (settings, _) = settings.split_once('\n').unwrap();
    let config = format!("{settings}\n{}\n{}", sync("rest", "a"), sync("a", "c"));
    let start = || restarts.sandbox.daemon().config(&config, 2).start();
    let daemon = start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    fs::remove_dir_all(restarts.source.join("a")).unwrap();
    let held = || {
        let status = restarts.ctl(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        [0, 1].map(|sync| status["syncs"][sync]["held"][0]["count"].as_u64().unwrap_or_default())
    };
    daemon.wait_until("one of them holds", || held() == [0, 10]);
    Restarts::end(daemon);
    for _ in 0..2 {
        let daemon = start();
        daemon.wait_live();
        restarts.ctl(&["flush", "--timeout", "5"]);
        daemon.wait_until("the same one holds", || held() == [0, 10]);
        assert!(restarts.target.join("a/file0").exists());
        Restarts::kill(daemon);
    }
}

fn a_sync_that_is_removed_and_added_by_reloads_continues_as_after_a_restart(mode: TransferMode) {
    let mut restarts = Restarts::with_socket(mode);
    restarts.more = LIMITS.into();
    restarts.sandbox.create_dir("other");
    let all = restarts.config();
    let (settings, sync) = all.split_once('\n').unwrap();
    let other = "sync{ default.direct, source = '@/other', target = '@/mirror' }";
    let both = format!("{settings}\n{sync}\n{other}");
    let daemon = restarts.sandbox.daemon().config(&both, 2).start();
    daemon.wait_live();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
    fs::remove_dir_all(restarts.source.join("a")).unwrap();
    restarts.wait_held(&daemon, 10);
    for (config, count) in [(format!("{settings}\n{other}"), 1), (both, 2)] {
        restarts.sandbox.write_config(&config);
        daemon.signal(rustix::process::Signal::HUP);
        daemon.wait_until("the reload is done", || {
            let status: serde_json::Value =
                serde_json::from_str(&restarts.ctl(&["status", "--json"])).unwrap();
            status["syncs"].as_array().unwrap().len() == count
        });
    }
    restarts.ctl(&["flush", "--timeout", "5"]);
    restarts.wait_held(&daemon, 10);
    assert!(restarts.target.join("a/file0").exists());
    restarts.release();
    daemon.wait_mirrored(mode, &restarts.source, &restarts.target);
}

impl Restarts {
    /// Fills the target, starts a daemon, and deletes a directory of the source, which is held.
    fn hold(&self) -> TestDaemon {
        self.fill();
        let daemon = self.start(&[]);
        fs::remove_dir_all(self.source.join("a")).unwrap();
        self.wait_held(&daemon, 10);
        daemon
    }

    /// Waits until the status has this number of held deletions.
    #[track_caller]
    fn wait_held(&self, daemon: &TestDaemon, count: u64) {
        daemon.wait_until(&format!("{count} deletions are held"), || {
            let status = self.ctl(&["status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let held = status["syncs"][0]["held"].as_array().unwrap();
            held.iter().map(|held| held["count"].as_u64().unwrap()).sum::<u64>() == count
        });
    }

    /// Restarts in several ways. The same deletions must be held, until they are released.
    #[track_caller]
    fn check_held(&self, count: u64) {
        let missing = self.target.join("a/file0");
        for round in 0..4 {
            let daemon = self.start(&[]);
            self.wait_held(&daemon, count);
            let advice = format!("(or a number of at least {count}) and send SIGHUP");
            daemon.wait_for_log(&advice);
            assert!(missing.exists());
            match round {
                0 => Self::kill(daemon),
                1 => {
                    Self::end(daemon);
                    fs::remove_file(self.snapshot()).unwrap();
                }
                _ => Self::end(daemon),
            }
        }
        let daemon = self.start(&[]);
        self.wait_held(&daemon, count);
        self.release();
        daemon.wait_mirrored(self.mode, &self.source, &self.target);
        self.stop(daemon);
        self.stop(self.expect(NOTHING));
    }
}

fn another_file_system_in_place_of_the_source_waits_for_a_decision(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let mut restarts = Restarts::with_socket(mode);
        restarts.more = "maxDelete = false".into();
        let source = restarts.source.clone();
        let disk = MountedTmpfs::mount(&restarts.sandbox, &source, 1 << 20);
        fs::write(source.join("precious"), "").unwrap();
        restarts.fill();
        drop(disk);
        // The directory under the mount point has other entries.
        let refused = |why: &str| {
            let daemon = restarts.start_without_waiting(&[]);
            daemon.wait_for_log(why);
            assert!(restarts.target.join("precious").exists());
            assert!(!restarts.target.join("a").exists());
            daemon
        };
        Restarts::end(refused("no file system is mounted on"));
        Restarts::kill(refused("no file system is mounted on"));
        let _other = MountedTmpfs::mount(&restarts.sandbox, &source, 1 << 20);
        fs::write(source.join("other"), "").unwrap();
        Restarts::end(refused("another file system than before is mounted on"));
        let daemon = refused("another file system than before is mounted on");
        restarts.release();
        daemon.wait_mirrored(mode, &source, &restarts.target);
        restarts.wait_for_snapshot(&daemon);
        restarts.stop(daemon);
        // What was accepted is known.
        restarts.stop(restarts.expect(NOTHING));
    });
}

fn a_full_transfer_on_request_accepts_the_present_source(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let mut restarts = Restarts::new(mode);
        restarts.more = "maxDelete = false".into();
        let source = restarts.source.clone();
        let disk = MountedTmpfs::mount(&restarts.sandbox, &source, 1 << 20);
        fs::write(source.join("old"), "").unwrap();
        restarts.fill();
        drop(disk);
        let daemon = restarts.start_without_waiting(&[]);
        daemon.wait_for_log("by a start with -full");
        Restarts::end(daemon);
        restarts.stop(restarts.expect_with(&["-full"], "the command line asks for it"));
        restarts.stop(restarts.expect(NOTHING));
    });
}

fn the_status_tells_how_the_start_used_the_snapshot(mode: TransferMode) {
    let restarts = Restarts::with_socket(mode);
    let status = || restarts.ctl(&["status", "-v"]);
    let daemon = restarts.start(&[]);
    let full = "the start transfers everything: there is no snapshot yet";
    assert!(status().contains(full), "{}", status());
    restarts.wait_for_any_snapshot(&daemon);
    daemon.wait_until("the age", || status().contains(" old; the start transfers"));
    restarts.stop(daemon);
    let daemon = restarts.expect(NOTHING);
    assert!(status().contains("the start has compared 0 paths"), "{}", status());
    let json = restarts.ctl(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let snapshot = &json["syncs"][0]["snapshot"];
    assert!(snapshot["taken"].is_number() && snapshot["full_reason"].is_null(), "{json}");
    assert_eq!(snapshot["compared_paths"], 0, "{json}");
    restarts.stop(daemon);
}

fn a_source_that_was_replaced_on_its_file_system_is_transferred(mode: TransferMode) {
    let mut restarts = Restarts::new(mode);
    restarts.more = "maxDelete = false".into();
    restarts.fill();
    fs::rename(&restarts.source, restarts.sandbox.path("old")).unwrap();
    fs::create_dir(&restarts.source).unwrap();
    fs::write(restarts.source.join("new"), "").unwrap();
    restarts.stop(restarts.expect("was replaced on its file system"));
    restarts.stop(restarts.expect(NOTHING));
}
