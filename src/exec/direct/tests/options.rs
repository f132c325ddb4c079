//! Options in rsync's syntax.

use std::{
    fs::{self, Permissions},
    num::NonZeroU64,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    time::{Duration, Instant},
};

use mirror_core::{
    job::Outcome,
    path::TreePath,
    plan::{
        chmod::Chmod,
        direct::{BackupOptions, DirectOptions},
    },
};

use super::{CopierFixture, age, is_root};

fn mirror(options: DirectOptions) -> CopierFixture {
    let mut mirror = CopierFixture::new();
    mirror.executor.settings.options = options;
    mirror
}

fn write(path: &std::path::Path, content: &str, seconds: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    age(path, seconds);
}

/// Runs partial and full jobs.
fn both(mirror: &CopierFixture, paths: &str) {
    for _ in 0..2 {
        assert_eq!(mirror.batch(paths), Outcome::Done);
        assert_eq!(mirror.full(), Outcome::Done);
    }
}

fn target(mirror: &CopierFixture) -> Vec<(String, String)> {
    let tree = super::tree::read(&mirror.target);
    let names = tree.into_keys().map(|path| path.into_os_string().into_string().unwrap());
    let content = |name: &str| fs::read_to_string(mirror.target(name)).unwrap_or_default();
    let files = names.filter(|name| !name.is_empty() && !mirror.target(name).is_dir());
    files.map(|name| (name.clone(), content(&name))).collect()
}

#[track_caller]
fn assert_target(mirror: &CopierFixture, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, content)| ((*name).into(), (*content).into())).collect();
    assert_eq!(target(mirror), expected);
}

#[test]
fn update_keeps_newer_files_at_the_target() {
    let mirror = mirror(DirectOptions { update: true, ..DirectOptions::default() });
    write(&mirror.source("newer"), "source", 0);
    write(&mirror.target("newer"), "target", 1);
    write(&mirror.source("older"), "source", 1);
    write(&mirror.target("older"), "target", 0);
    both(&mirror, "newer older");
    assert_target(&mirror, &[("newer", "target"), ("older", "source")]);
    // A rename does not replace it by an older file either.
    write(&mirror.source("x"), "old one", -100);
    write(&mirror.target("x"), "old one", -100);
    fs::rename(mirror.source("x"), mirror.source("newer")).unwrap();
    assert_eq!(mirror.batch_with("x newer", "x>newer"), Outcome::Done);
    assert_target(&mirror, &[("newer", "target"), ("older", "source")]);
}

#[test]
fn existing_creates_nothing_and_ignore_existing_changes_nothing() {
    for (existing, expected) in
        [(true, &[("there", "from source")][..]), (false, &[("d/new", "new"), ("there", "target")])]
    {
        let options =
            DirectOptions { existing, ignore_existing: !existing, ..DirectOptions::default() };
        let mirror = mirror(options);
        write(&mirror.source("there"), "from source", 0);
        write(&mirror.target("there"), "target", 5);
        write(&mirror.source("d/new"), "new", 0);
        write(&mirror.target("gone"), "", 0);
        both(&mirror, "there d/ gone");
        assert_target(&mirror, expected);
    }
}

#[test]
fn entries_excluded_by_options_are_kept_unchanged() {
    let options = DirectOptions {
        links: false,
        max_size: Some(10),
        min_size: Some(2),
        ..DirectOptions::default()
    };
    let mirror = mirror(options);
    symlink("x", mirror.source("link")).unwrap();
    symlink("y", mirror.source("new-link")).unwrap();
    write(&mirror.target("link"), "a file", 0);
    write(&mirror.source("large"), "more than ten", 0);
    write(&mirror.target("large"), "was small", 5);
    write(&mirror.source("small"), "1", 0);
    write(&mirror.source("right"), "right", 0);
    both(&mirror, "link new-link large small right");
    assert_target(&mirror, &[("large", "was small"), ("link", "a file"), ("right", "right")]);
}

#[test]
fn max_delete_limits_the_deletions() {
    for (most, left) in [(0, 4), (2, 2), (4, 0)] {
        let mirror = mirror(DirectOptions { max_delete: Some(most), ..DirectOptions::default() });
        write(&mirror.source("kept"), "", 0);
        for name in ["a/one", "a/two", "three"] {
            write(&mirror.target(name), "", 0);
        }
        let outcome = mirror.batch_observed("a/ three", "a three", "");
        if most == 4 {
            assert_eq!(outcome, Outcome::Done);
        } else {
            let Outcome::Split { held, .. } = outcome else { panic!("{outcome:?}") };
            let held: Vec<_> = held.iter().flat_map(|it| &it.names).collect();
            let is_left = |name: &&&TreePath| {
                fs::exists(mirror.target(name.to_string().trim_start_matches('/'))).unwrap()
            };
            assert!(!held.is_empty() && held.iter().all(|name| is_left(&name)), "{most} {held:?}");
        }
        let count = super::tree::read(&mirror.target).len();
        assert_eq!(count, left + 1, "{most}");
    }
}

#[test]
fn a_backup_directory_elsewhere_is_created() {
    let mut mirror = CopierFixture::new();
    let directory = mirror.target.with_file_name("elsewhere").join("old");
    let text = directory.to_str().unwrap().as_bytes().to_vec();
    let backup = BackupOptions { suffix: Vec::new(), directory: Some(text) };
    mirror.executor.settings.options.backup = Some(backup);
    write(&mirror.source("kept"), "", 0);
    write(&mirror.target("a/gone"), "1", 0);
    both(&mirror, "a/ kept");
    assert_target(&mirror, &[("kept", "")]);
    assert_eq!(fs::read_to_string(directory.join("a/gone")).unwrap(), "1");
}

#[test]
fn replaced_and_deleted_files_become_backups() {
    for (directory, expected) in [
        (None, &[("a/gone~", "1"), ("b", "2"), ("b~", "old"), ("kept", "")][..]),
        (Some("old"), &[("b", "2"), ("kept", ""), ("old/a/gone~", "1"), ("old/b~", "old")]),
    ] {
        let backup = BackupOptions { suffix: b"~".into(), directory: directory.map(Into::into) };
        let mirror = mirror(DirectOptions { backup: Some(backup), ..DirectOptions::default() });
        write(&mirror.source("kept"), "", 0);
        write(&mirror.source("b"), "2", 0);
        write(&mirror.target("b"), "old", 5);
        write(&mirror.target("a/gone"), "1", 0);
        both(&mirror, "a/ b");
        assert_target(&mirror, expected);
        // Backups are neither deleted later nor replaced without a change.
        both(&mirror, "a/ b a/gone~ b~ old/");
        assert_target(&mirror, expected);
        // Nor by a copy of the same content, as of a file that was copied in the tick of its write.
        write(&mirror.source("b"), "2", 9);
        both(&mirror, "b");
        write(&mirror.source("b"), "2", 11);
        if is_root() {
            std::os::unix::fs::chown(mirror.source("b"), Some(65_534), None).unwrap();
        }
        both(&mirror, "b");
        fs::hard_link(mirror.source("b"), mirror.source("kept.link")).unwrap();
        both(&mirror, "b kept.link");
        fs::remove_file(mirror.source("kept.link")).unwrap();
        fs::remove_file(mirror.target("kept.link")).unwrap();
        assert_target(&mirror, expected);
    }
}

#[test]
fn chmod_changes_modes_and_disabled_attributes_are_not_copied() {
    let chmod = Chmod::parse(b"D711,F600").unwrap();
    let mirror = mirror(DirectOptions { chmod: Some(chmod), ..DirectOptions::default() });
    write(&mirror.source("d/file"), "", 0);
    both(&mirror, "d/");
    let mode =
        |mirror: &CopierFixture, name| fs::metadata(mirror.target(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode(&mirror, "d/file"), mode(&mirror, "d")), (0o600, 0o711));
    let mirror = self::mirror(DirectOptions {
        perms: false,
        owner: false,
        group: false,
        times: false,
        ..DirectOptions::default()
    });
    for name in ["new", "old"] {
        write(&mirror.source(name), "content", 0);
        fs::set_permissions(mirror.source(name), Permissions::from_mode(0o4777)).unwrap();
    }
    write(&mirror.target("old"), "content", 7);
    fs::set_permissions(mirror.target("old"), Permissions::from_mode(0o640)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(mirror.source("old"), Some(77), Some(78)).unwrap();
    }
    let inode = || fs::metadata(mirror.target("old")).unwrap().ino();
    let before = inode();
    both(&mirror, "new old");
    let umask = mirror.executor.umask;
    assert_eq!((mode(&mirror, "new"), mode(&mirror, "old")), (0o777 & !umask, 0o640));
    let stat = fs::metadata(mirror.target("old")).unwrap();
    assert_eq!((stat.uid(), stat.mtime()), (rustix::process::geteuid().as_raw(), 1_000_000_007));
    assert_eq!(inode(), before);
}

#[test]
fn checksum_and_ignore_times_compare_contents() {
    for checksum in [true, false] {
        let options =
            DirectOptions { checksum, ignore_times: !checksum, ..DirectOptions::default() };
        let mirror = mirror(options);
        write(&mirror.source("file"), "one", 0);
        write(&mirror.target("file"), "two", 0);
        write(&mirror.source("time"), "same", 0);
        write(&mirror.target("time"), "same", 9);
        let before = fs::metadata(mirror.target("time")).unwrap().ino();
        both(&mirror, "file time");
        mirror.assert_same();
        assert_eq!(fs::metadata(mirror.target("time")).unwrap().ino(), before);
    }
}

#[test]
fn bwlimit_limits_the_speed() {
    let bwlimit = NonZeroU64::new(100_000);
    let mut mirror = CopierFixture::new();
    let options = DirectOptions { bwlimit, ..DirectOptions::default() };
    let settings = super::DirectSettings { options, ..mirror.executor.settings.clone() };
    let source = std::sync::Arc::clone(&mirror.executor.source);
    mirror.executor = super::DirectExecutor::new(
        source,
        settings,
        std::sync::Arc::default(),
        super::Log::default(),
    );
    fs::write(mirror.source("file"), vec![7; 60_000]).unwrap();
    let start = Instant::now();
    mirror.assert_mirrored();
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}
