//! Sources that vanish and return.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;

use crate::support::{
    LiveMirror, MountedTmpfs, Requirement, Sandbox, TransferMode, exit_code, in_both_modes, needs,
    with_private_mounts,
};

in_both_modes!(
    a_deleted_source_leaves_the_target_untouched,
    a_source_that_is_renamed_and_restored_is_resumed,
    a_replaced_source_is_accepted_if_it_is_not_empty,
    an_unmounted_source_leaves_the_target_untouched,
    an_empty_source_deletes_nothing_at_startup,
    the_last_file_of_a_source_may_be_deleted,
    a_link_in_the_parents_of_a_source_is_not_followed,
    a_link_in_the_name_of_a_source_is_followed_at_once,
    deleting_an_old_release_deletes_nothing_on_the_target,
    a_link_to_another_file_system_is_followed_only_if_accepted,
    a_link_that_others_can_repoint_is_not_followed,
);

/// Long enough that no batch starts between the deletion of a root's content and that of the root
/// itself.
const DELAY: [&str; 2] = ["-delay", "1"];

/// Waits until the daemon has detected the loss of its source.
#[track_caller]
fn expect_lost(live: &LiveMirror) {
    live.daemon.wait_for_log("sync suspended, target left untouched");
    assert_eq!(fs::read_to_string(live.target.join("old/deep/file")).unwrap(), "old");
}

fn a_deleted_source_leaves_the_target_untouched(mode: TransferMode) {
    let live = LiveMirror::start_with(Sandbox::new(), mode, &DELAY);
    live.daemon.while_stopped(|| fs::remove_dir_all(&live.source).unwrap());
    expect_lost(&live);
    fs::create_dir(&live.source).unwrap();
    fs::write(live.source_path("new"), "").unwrap();
    live.daemon.wait_for_log("is back");
    live.expect_mirrored();
    fs::write(live.source_path("newer"), "").unwrap();
    live.expect_mirrored();
}

fn a_source_that_is_renamed_and_restored_is_resumed(mode: TransferMode) {
    let live = LiveMirror::start_with(Sandbox::new(), mode, &DELAY);
    let elsewhere = live.sandbox.path("elsewhere");
    fs::rename(&live.source, &elsewhere).unwrap();
    expect_lost(&live);
    fs::write(elsewhere.join("meanwhile"), "").unwrap();
    fs::remove_dir_all(elsewhere.join("old")).unwrap();
    fs::rename(&elsewhere, &live.source).unwrap();
    live.expect_mirrored();
    fs::write(live.source_path("afterwards"), "").unwrap();
    live.expect_mirrored();
}

fn a_replaced_source_is_accepted_if_it_is_not_empty(mode: TransferMode) {
    let live = LiveMirror::start_with(Sandbox::new(), mode, &DELAY);
    write_old(&live.source_path("stays"), "one");
    live.expect_mirrored();
    fs::rename(&live.source, live.sandbox.path("elsewhere")).unwrap();
    fs::create_dir(&live.source).unwrap();
    fs::write(live.source_path("new"), "").unwrap();
    // Same size and time.
    write_old(&live.source_path("stays"), "two");
    live.expect_mirrored();
    fs::write(live.source_path("newer"), "").unwrap();
    live.expect_mirrored();
}

fn an_unmounted_source_leaves_the_target_untouched(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let source = sandbox.create_dir("source");
        let disk = MountedTmpfs::mount(&sandbox, &source, 1 << 20);
        let live = LiveMirror::start_with(sandbox, mode, &DELAY);
        drop(disk);
        // The directory under the mount must not be mistaken for the source.
        fs::write(live.source_path("under the mount"), "").unwrap();
        expect_lost(&live);
        // Nor must another file system.
        let other = MountedTmpfs::mount(&live.sandbox, &live.source, 1 << 20);
        fs::write(live.source_path("on another disk"), "").unwrap();
        live.daemon.wait_for_log("another file system than before is mounted");
        assert!(live.target.join("old/deep/file").exists());
        assert!(!live.target.join("under the mount").exists());
        assert!(!live.target.join("on another disk").exists());
        drop(other);
    });
}

fn an_empty_source_deletes_nothing_at_startup(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(target.join("kept"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_for_log("is empty");
    daemon.wait_live();
    assert!(target.join("kept").exists());
    fs::write(source.join("new"), "").unwrap();
    let new = target.join("new");
    daemon.wait_until("the first file is mirrored", || new.exists());
}

fn the_last_file_of_a_source_may_be_deleted(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    fs::remove_dir_all(live.source_path("old")).unwrap();
    live.expect_mirrored();
    assert!(!live.target.join("old").exists());
}

#[test]
fn sighup_accepts_a_replaced_source_only_if_configured() {
    needs!(Requirement::Mounts, TransferMode::Rsync.requirement());
    with_private_mounts(|| {
        let sandbox = Sandbox::new();
        let source = sandbox.create_dir("src");
        let disk = MountedTmpfs::mount(&sandbox, &source, 1 << 20);
        fs::write(source.join("precious"), "").unwrap();
        let config = |more: &str| {
            format!(
                "sync{{ default.rsync, source = '@/src', target = '@/rsync', {more} }}
                 sync{{ default.direct, source = '@/src', target = '@/direct' }}
                 sync{{ source = '@/src', target = '@/script', onStartup = 'cp -r ^source/. ^target',
                        onCreate = 'cp ^sourcePath ^targetPath', onDelete = 'rm ^targetPath' }}"
            )
        };
        let targets = ["rsync", "direct", "script"].map(|name| sandbox.create_dir(name));
        let daemon = sandbox.daemon().config(&config(""), 3).start();
        for target in &targets {
            let precious = target.join("precious");
            daemon.wait_until("all is mirrored", || precious.exists());
        }
        drop(disk);
        fs::write(source.join("under the mount"), "").unwrap();
        let suspended = |times| {
            daemon.wait_until(&format!("{times} times a sync was suspended"), || {
                daemon.log().matches("sync suspended, target left untouched").count() == times
            });
        };
        suspended(3);
        daemon.signal(Signal::HUP);
        // Only the script restarts.
        suspended(4);
        let _other = MountedTmpfs::mount(&sandbox, &source, 1 << 20);
        fs::write(source.join("on another disk"), "").unwrap();
        daemon.wait_until("the others are not taken for it", || {
            daemon.log().matches("another file system than before is mounted").count() == 3
        });
        sandbox.write_config(&config("replacedSource = 'accept'"));
        daemon.signal(Signal::HUP);
        let [accepting, others @ ..] = &targets;
        daemon.wait_until("the other disk is mirrored", || {
            accepting.join("on another disk").exists()
        });
        for target in others {
            assert!(target.join("precious").exists());
            assert!(!target.join("on another disk").exists());
        }
        assert!(targets.iter().all(|target| !target.join("under the mount").exists()));
    });
}

#[test]
fn a_source_without_its_marker_is_waited_for() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("file"), "").unwrap();
    let kinds = ["rsync", "direct"];
    let targets = kinds.map(|name| sandbox.create_dir(name));
    let sync = |kind: &str| {
        format!("sync{{ default.{kind}, source = '@/src', target = '@/{kind}', marker = '.here' }}")
    };
    let daemon = sandbox.daemon().config(&kinds.map(sync).join("\n"), 2).start();
    let waits = |times| {
        daemon.wait_until("the marker is missed", || {
            daemon.log().matches("cannot find the marker .here in").count() == times
        });
    };
    waits(2);
    assert!(targets.iter().all(|target| !target.join("file").exists()));
    fs::write(source.join(".here"), "").unwrap();
    daemon.wait_live();
    assert!(targets.iter().all(|target| target.join("file").exists()));
    fs::remove_file(source.join(".here")).unwrap();
    fs::remove_file(source.join("file")).unwrap();
    waits(4);
    assert!(targets.iter().all(|target| target.join("file").exists()));
}

fn a_link_in_the_parents_of_a_source_is_not_followed(mode: TransferMode) {
    let live = LiveMirror::start_with(Sandbox::new(), mode, &DELAY);
    let elsewhere = live.sandbox.path("elsewhere");
    fs::rename(&live.source, &elsewhere).unwrap();
    symlink(&elsewhere, &live.source).unwrap();
    expect_lost(&live);
    fs::write(elsewhere.join("secret"), "").unwrap();
    live.daemon.signal(Signal::HUP);
    live.daemon.wait_for_log("HUP signal");
    fs::remove_file(&live.source).unwrap();
    fs::remove_file(elsewhere.join("secret")).unwrap();
    fs::rename(&elsewhere, &live.source).unwrap();
    live.expect_mirrored();
}

#[test]
fn sighup_follows_no_new_link_in_the_path_of_a_source() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("user/src");
    let secret = sandbox.create_dir("secret/src");
    fs::write(source.join("file"), "").unwrap();
    fs::write(secret.join("key"), "").unwrap();
    let kinds = ["rsync", "direct"];
    let targets = kinds.map(|name| sandbox.create_dir(name));
    let sync = |kind: &str| {
        format!("sync{{ default.{kind}, source = '@/user/src', target = '@/{kind}' }}")
    };
    let daemon = sandbox.daemon().config(&kinds.map(sync).join("\n"), 2).start();
    daemon.wait_live();
    fs::rename(sandbox.path("user"), sandbox.path("old")).unwrap();
    symlink(sandbox.path("secret"), sandbox.path("user")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_until("both links are reported", || {
        daemon.log().matches("but stays where it was").count() == 2
    });
    fs::write(secret.join("another key"), "").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_until("both links are reported again", || {
        daemon.log().matches("but stays where it was").count() == 4
    });
    fs::remove_file(sandbox.path("user")).unwrap();
    fs::rename(sandbox.path("old"), sandbox.path("user")).unwrap();
    fs::write(source.join("later"), "").unwrap();
    for target in targets {
        daemon.wait_until("it goes on", || target.join("later").exists());
        assert!(target.join("file").exists() && !target.join("key").exists());
        assert!(!target.join("another key").exists());
    }
}

#[test]
fn a_new_link_in_the_path_of_a_source_is_followed_if_accepted() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("user/src");
    let other = sandbox.create_dir("other/src");
    fs::write(source.join("file"), "").unwrap();
    fs::write(other.join("new"), "").unwrap();
    let kinds = ["rsync", "direct"];
    let targets = kinds.map(|name| sandbox.create_dir(name));
    let syncs = |more: &str| {
        let sync = |kind: &str| {
            format!("sync{{ default.{kind}, source = '@/user/src', target = '@/{kind}' {more} }}")
        };
        kinds.map(sync).join("\n")
    };
    let daemon = sandbox.daemon().config(&syncs(""), 2).start();
    daemon.wait_live();
    fs::rename(sandbox.path("user"), sandbox.path("old")).unwrap();
    symlink(sandbox.path("other"), sandbox.path("user")).unwrap();
    sandbox.write_config(&syncs(", replacedSource = 'accept'"));
    daemon.signal(Signal::HUP);
    for target in targets {
        daemon.wait_until("it is followed", || target.join("new").exists());
        daemon.wait_until("what it lacks goes", || !target.join("file").exists());
    }
    fs::write(other.join("later"), "").unwrap();
    daemon.wait_until("it is live", || sandbox.path("direct/later").exists());
}

/// Returns a sandbox with the directories `one` and `two` and the symbolic link `current` to `one`.
/// Each directory has a file of its own name, and a file `both` of equal size and time.
fn releases() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        let release = sandbox.create_dir(name);
        fs::write(release.join(name), name).unwrap();
        write_old(&release.join("both"), name);
    }
    symlink("one", sandbox.path("current")).unwrap();
    sandbox
}

/// Writes a file with a constant time.
fn write_old(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
}

/// Replaces a symbolic link atomically.
fn repoint(sandbox: &Sandbox, link: &str, to: &str) {
    let next = sandbox.path("next");
    symlink(to, &next).unwrap();
    fs::rename(&next, sandbox.path(link)).unwrap();
}

fn a_link_in_the_name_of_a_source_is_followed_at_once(mode: TransferMode) {
    let sandbox = releases();
    symlink("..", sandbox.path("one/up")).unwrap();
    symlink("one/up/current", sandbox.path("chain")).unwrap();
    let (link, target) = (sandbox.path("chain"), sandbox.create_dir("target"));
    let daemon = sandbox.daemon().mirror(mode, &link, &target).start();
    daemon.wait_live();
    let follows = |release: &str| {
        daemon.wait_mirrored(mode, &sandbox.path(release), &target);
        fs::write(sandbox.path(release).join("later"), release).unwrap();
        daemon.wait_mirrored(mode, &sandbox.path(release), &target);
    };
    follows("one");
    repoint(&sandbox, "current", "two");
    follows("two");
    // While the link is missing, the last source stays in use.
    fs::remove_file(sandbox.path("current")).unwrap();
    follows("two");
    symlink("one", sandbox.path("current")).unwrap();
    follows("one");
    // Back and forth before the daemon sees it.
    daemon.while_stopped(|| {
        for release in ["two", "one", "two", "one"] {
            repoint(&sandbox, "current", release);
        }
        fs::write(sandbox.path("one/after"), "").unwrap();
    });
    follows("one");
    assert_eq!(daemon.log().matches(": it is followed").count(), 2);
}

fn deleting_an_old_release_deletes_nothing_on_the_target(mode: TransferMode) {
    let sandbox = releases();
    let (link, target) = (sandbox.path("current"), sandbox.create_dir("target"));
    let daemon = sandbox.daemon().mirror(mode, &link, &target).start();
    daemon.wait_live();
    daemon.while_stopped(|| {
        repoint(&sandbox, "current", "two");
        fs::remove_dir_all(sandbox.path("one")).unwrap();
    });
    daemon.wait_mirrored(mode, &sandbox.path("two"), &target);
    // The reverse order.
    daemon.while_stopped(|| fs::rename(sandbox.path("two"), sandbox.path("away")).unwrap());
    daemon.wait_for_log("sync suspended, target left untouched");
    assert!(target.join("two").exists());
    fs::create_dir(sandbox.path("three")).unwrap();
    fs::write(sandbox.path("three/three"), "").unwrap();
    repoint(&sandbox, "current", "three");
    daemon.wait_mirrored(mode, &sandbox.path("three"), &target);
}

fn a_link_to_another_file_system_is_followed_only_if_accepted(mode: TransferMode) {
    needs!(Requirement::Mounts);
    with_private_mounts(move || {
        let sandbox = releases();
        let two = sandbox.path("two");
        let target = sandbox.create_dir("target");
        let kind = mode.option().trim_start_matches('-');
        let text = |more: &str| {
            format!("sync{{ default.{kind}, source = '@/current', target = '@/target', {more} }}")
        };
        let daemon = sandbox.daemon().config(&text(""), 1).start();
        daemon.wait_live();
        let _disk = MountedTmpfs::mount(&sandbox, &two, 1 << 20);
        fs::write(two.join("on the disk"), "").unwrap();
        repoint(&sandbox, "current", "two");
        daemon.wait_for_log("sync suspended, target left untouched");
        daemon.wait_for_log("it is in the mount on ");
        assert!(target.join("one").exists() && !target.join("on the disk").exists());
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("HUP signal");
        // With the old target of the link the sync resumes.
        fs::write(sandbox.path("one/later"), "").unwrap();
        repoint(&sandbox, "current", "one");
        daemon.wait_mirrored(mode, &sandbox.path("one"), &target);
        repoint(&sandbox, "current", "two");
        daemon.wait_until("it is suspended again", || {
            daemon.log().matches("sync suspended, target left untouched").count() == 2
        });
        assert!(target.join("one").exists() && !target.join("on the disk").exists());
        sandbox.write_config(&text("replacedSource = 'accept'"));
        daemon.signal(Signal::HUP);
        daemon.wait_mirrored(mode, &two, &target);
    });
}

fn a_link_that_others_can_repoint_is_not_followed(mode: TransferMode) {
    let sandbox = releases();
    let open = sandbox.create_dir("open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    symlink("../one", open.join("link")).unwrap();
    let target = sandbox.create_dir("target");
    let daemon = sandbox.daemon().mirror(mode, &open.join("link"), &target).start();
    daemon.wait_live();
    repoint(&sandbox, "open/link", "../two");
    daemon.wait_for_log("that a less trusted user could have created");
    fs::write(sandbox.path("one/later"), "").unwrap();
    daemon.wait_mirrored(mode, &sandbox.path("one"), &target);
    assert_eq!(daemon.log().matches("source ").count(), 1, "{}", daemon.log());
}

#[test]
fn all_syncs_of_a_link_follow_it_and_scripts_at_sighup() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = releases();
    let kinds = ["rsync", "direct", "script"];
    let targets = kinds.map(|name| sandbox.create_dir(name));
    let text = "sync{ default.rsync, source = '@/current', target = '@/rsync' }
                sync{ default.direct, source = '@/current', target = '@/direct', init = false,
                      onSynced = function() end }
                sync{ source = '@/current', target = '@/script', onStartup = 'cp -r ^source/. ^target' }";
    let daemon = sandbox.daemon().config(text, 3).args(["-log", "Inotify"]).start();
    let [rsync, direct, script] = &targets;
    for target in [rsync, script] {
        daemon.wait_until("all is mirrored", || target.join("one").exists());
    }
    daemon.wait_watched();
    repoint(&sandbox, "current", "two");
    for target in [rsync, direct] {
        daemon.wait_until("the link is followed", || {
            target.join("two").exists() && !target.join("one").exists()
        });
    }
    daemon.wait_for_log("a script follows at SIGHUP");
    assert!(!script.join("two").exists());
    daemon.signal(Signal::HUP);
    daemon.wait_until("the script follows", || script.join("two").exists());
}

#[test]
fn onepass_follows_no_repointed_link() {
    let sandbox = releases();
    let target = sandbox.create_dir("target");
    let slow = "sync{ default.direct, source = '@/current', target = '@/target',
                      onSynced = 'sleep 0.3' }
                settings{ onepass = true }";
    let mut daemon = sandbox.daemon().config(slow, 1).start();
    daemon.wait_until("it is mirrored", || target.join("one").exists());
    repoint(&sandbox, "current", "two");
    assert_eq!(exit_code(daemon.wait_exit()), 0);
    assert!(target.join("one").exists() && !target.join("two").exists());
    assert!(!daemon.log().contains("followed"));
}

#[test]
fn with_insist_a_missing_source_suspends_its_sync_only() {
    for (settings, args) in [("settings{ insist = true }", &[][..]), ("", &["-insist"])] {
        let sandbox = Sandbox::new();
        let source = sandbox.create_dir("there");
        let text = format!(
            "{settings} for _, name in ipairs{{ 'there', 'later' }} do
                 sync{{ default.direct, source = '@/' .. name, target = '@/to-' .. name }}
             end"
        );
        let daemon = sandbox.daemon().args(args).config(&text, 2).start();
        daemon.wait_for_log("/later/ unavailable (");
        fs::write(source.join("file"), "").unwrap();
        let at = |path: &str| sandbox.path(path);
        daemon.wait_until("the other is mirrored", || at("to-there/file").exists());
        fs::create_dir(at("new")).unwrap();
        fs::write(at("new/file"), "").unwrap();
        fs::rename(at("new"), at("later")).unwrap();
        daemon.wait_until("it is mirrored when it is there", || at("to-later/file").exists());
        daemon.wait_live();
    }
}

#[test]
fn with_insist_a_link_created_later_is_followed() {
    let sandbox = releases();
    fs::rename(sandbox.path("current"), sandbox.path("aside")).unwrap();
    let text = "settings{ insist = true }
                sync{ default.direct, source = '@/current', target = '@/target', exclude = 'x' }";
    let target = sandbox.create_dir("target");
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("/current/ unavailable (");
    fs::rename(sandbox.path("aside"), sandbox.path("current")).unwrap();
    daemon.wait_until("it is followed", || target.join("one").exists());
    repoint(&sandbox, "current", "two");
    daemon.wait_until("it is followed again", || target.join("two").exists());
    // The configuration equals the running one.
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("1 sync is kept as it is");
}

#[test]
fn without_insist_a_missing_source_is_refused() {
    let sandbox = Sandbox::new();
    let text = "sync{ default.direct, source = '@/none', target = '@/dst' }";
    let mut daemon = sandbox.daemon().config(text, 1).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255);
    daemon.wait_for_log("Cannot access source directory: ");
}
