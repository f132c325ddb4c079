//! Sources that go away, and come back.

use std::{fs, os::unix::fs::symlink};

use rustix::process::Signal;

use crate::support::{
    Live, Mode, Need, Sandbox, Tmpfs, exit_code, in_both_modes, needs, with_private_mounts,
};

in_both_modes!(
    a_removed_source_costs_the_target_nothing,
    a_renamed_source_is_followed_back,
    a_replaced_source_is_taken_when_it_has_content,
    an_unmounted_source_costs_the_target_nothing,
    an_empty_source_deletes_nothing_at_the_start,
    the_last_file_of_a_source_may_be_deleted,
    a_link_in_the_way_to_a_source_is_not_followed,
);

/// Long enough that nothing goes out between the removal of what is in a root and that of the
/// root itself.
const DELAY: [&str; 2] = ["-delay", "1"];

/// Waits until the daemon has noticed that its source is lost.
#[track_caller]
fn expect_lost(live: &Live) {
    live.daemon.wait_for_log("sync suspended, target left untouched");
    assert_eq!(fs::read_to_string(live.target.join("old/deep/file")).unwrap(), "old");
}

fn a_removed_source_costs_the_target_nothing(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    live.daemon.while_stopped(|| fs::remove_dir_all(&live.source).unwrap());
    expect_lost(&live);
    fs::create_dir(&live.source).unwrap();
    fs::write(live.at("new"), "").unwrap();
    live.daemon.wait_for_log("is back");
    live.expect_mirrored();
    fs::write(live.at("newer"), "").unwrap();
    live.expect_mirrored();
}

fn a_renamed_source_is_followed_back(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    let elsewhere = live.sandbox.path("elsewhere");
    fs::rename(&live.source, &elsewhere).unwrap();
    expect_lost(&live);
    fs::write(elsewhere.join("meanwhile"), "").unwrap();
    fs::remove_dir_all(elsewhere.join("old")).unwrap();
    fs::rename(&elsewhere, &live.source).unwrap();
    live.expect_mirrored();
    fs::write(live.at("afterwards"), "").unwrap();
    live.expect_mirrored();
}

fn a_replaced_source_is_taken_when_it_has_content(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
    fs::rename(&live.source, live.sandbox.path("elsewhere")).unwrap();
    fs::create_dir(&live.source).unwrap();
    fs::write(live.at("new"), "").unwrap();
    live.expect_mirrored();
    fs::write(live.at("newer"), "").unwrap();
    live.expect_mirrored();
}

fn an_unmounted_source_costs_the_target_nothing(mode: Mode) {
    needs!(Need::Mounts);
    with_private_mounts(move || {
        let sandbox = Sandbox::new();
        let source = sandbox.directory("source");
        let disk = Tmpfs::mount(&sandbox, &source, 1 << 20);
        let live = Live::start_with(sandbox, mode, &DELAY);
        drop(disk);
        // What lies under the mount must not be taken for the source.
        fs::write(live.at("under the mount"), "").unwrap();
        expect_lost(&live);
        // Nor is another disk.
        let other = Tmpfs::mount(&live.sandbox, &live.source, 1 << 20);
        fs::write(live.at("on another disk"), "").unwrap();
        live.daemon.wait_for_log("another file system than before is mounted");
        assert!(live.target.join("old/deep/file").exists());
        assert!(!live.target.join("under the mount").exists());
        assert!(!live.target.join("on another disk").exists());
        drop(other);
    });
}

fn an_empty_source_deletes_nothing_at_the_start(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    fs::write(target.join("kept"), "").unwrap();
    let daemon = sandbox.daemon().mirror(mode, &source, &target).start();
    daemon.wait_for_log("is empty");
    daemon.wait_live();
    assert!(target.join("kept").exists());
    fs::write(source.join("new"), "").unwrap();
    let new = target.join("new");
    daemon.wait_until("the first file is mirrored", || new.exists());
}

fn the_last_file_of_a_source_may_be_deleted(mode: Mode) {
    let live = Live::start(mode);
    fs::remove_dir_all(live.at("old")).unwrap();
    live.expect_mirrored();
    assert!(!live.target.join("old").exists());
}

#[test]
fn a_hangup_accepts_no_other_source_unless_the_user_says_so() {
    needs!(Need::Mounts, Mode::Rsync.need());
    with_private_mounts(|| {
        let sandbox = Sandbox::new();
        let source = sandbox.directory("src");
        let disk = Tmpfs::mount(&sandbox, &source, 1 << 20);
        fs::write(source.join("precious"), "").unwrap();
        let config = |more: &str| {
            format!(
                "sync{{ default.rsync, source = '@/src', target = '@/rsync', {more} }}
                 sync{{ default.direct, source = '@/src', target = '@/direct' }}
                 sync{{ source = '@/src', target = '@/script', onStartup = 'cp -r ^source/. ^target',
                        onCreate = 'cp ^sourcePath ^targetPath', onDelete = 'rm ^targetPath' }}"
            )
        };
        let targets = ["rsync", "direct", "script"].map(|name| sandbox.directory(name));
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
        // Only the script begins anew.
        suspended(4);
        let _other = Tmpfs::mount(&sandbox, &source, 1 << 20);
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
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::write(source.join("file"), "").unwrap();
    let kinds = ["rsync", "direct"];
    let targets = kinds.map(|name| sandbox.directory(name));
    let sync = |kind: &str| {
        format!("sync{{ default.{kind}, source = '@/src', target = '@/{kind}', marker = '.here' }}")
    };
    let daemon = sandbox.daemon().config(&kinds.map(sync).join("\n"), 2).start();
    let waits = |times| {
        daemon.wait_until("the marker is missed", || {
            daemon.log().matches("the marker .here is not in").count() == times
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

fn a_link_in_the_way_to_a_source_is_not_followed(mode: Mode) {
    let live = Live::start_with(Sandbox::new(), mode, &DELAY);
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
fn a_hangup_follows_no_link_that_came_into_the_path_of_a_source() {
    needs!(Mode::Rsync.need());
    let sandbox = Sandbox::new();
    let source = sandbox.directory("user/src");
    let secret = sandbox.directory("secret/src");
    fs::write(source.join("file"), "").unwrap();
    fs::write(secret.join("key"), "").unwrap();
    let kinds = ["rsync", "direct"];
    let targets = kinds.map(|name| sandbox.directory(name));
    let sync = |kind: &str| {
        format!("sync{{ default.{kind}, source = '@/user/src', target = '@/{kind}' }}")
    };
    let daemon = sandbox.daemon().config(&kinds.map(sync).join("\n"), 2).start();
    daemon.wait_live();
    fs::rename(sandbox.path("user"), sandbox.path("old")).unwrap();
    symlink(sandbox.path("secret"), sandbox.path("user")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_until("both links are told of", || {
        daemon.log().matches("and stays where it was").count() == 2
    });
    fs::write(secret.join("another key"), "").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_until("both links are told of again", || {
        daemon.log().matches("and stays where it was").count() == 4
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
fn a_hangup_follows_a_link_of_the_user_to_another_release() {
    let sandbox = Sandbox::new();
    let releases = ["one", "two"].map(|name| sandbox.directory(name));
    for (release, name) in releases.iter().zip(["one", "two"]) {
        fs::write(release.join(name), "").unwrap();
    }
    let link = sandbox.path("current");
    symlink("one", &link).unwrap();
    let target = sandbox.directory("target");
    let text = "sync{ default.direct, source = '@/current', target = '@/target' }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    let next = sandbox.path("next");
    symlink("two", &next).unwrap();
    fs::rename(&next, &link).unwrap();
    fs::write(releases[0].join("late"), "").unwrap();
    daemon.wait_for_log("SIGHUP follows it");
    daemon.signal(Signal::HUP);
    daemon.wait_until("the new release is mirrored", || target.join("two").exists());
    daemon.wait_until("the old one is not", || !target.join("one").exists());
}

#[test]
fn with_insist_a_source_that_is_not_there_at_the_start_holds_its_sync_only() {
    for (settings, words) in [("settings{ insist = true }", &[][..]), ("", &["-insist"])] {
        let sandbox = Sandbox::new();
        let source = sandbox.directory("there");
        let text = format!(
            "{settings} for _, name in ipairs{{ 'there', 'later' }} do
                 sync{{ default.direct, source = '@/' .. name, target = '@/to-' .. name }}
             end"
        );
        let daemon = sandbox.daemon().with(words).config(&text, 2).start();
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
fn without_insist_a_source_that_is_not_there_at_the_start_is_refused() {
    let sandbox = Sandbox::new();
    let text = "sync{ default.direct, source = '@/none', target = '@/dst' }";
    let mut daemon = sandbox.daemon().config(text, 1).start();
    assert_eq!(exit_code(daemon.wait_end()), 255);
    daemon.wait_for_log("Cannot access source directory: ");
}
