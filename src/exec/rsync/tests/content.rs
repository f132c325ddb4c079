//! Changes of content that size and time do not show.

use std::os::unix::fs::{PermissionsExt, symlink};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;

impl RsyncFixture {
    /// Writes other content at the source, with the size and time of the file on both sides.
    fn rewrite(&self, name: &str) {
        let path = self.source(name);
        let content = "x".repeat(fs::metadata(&path).unwrap().size().try_into().unwrap());
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    fn has_arrived(&self, name: &str) -> bool {
        fs::read(self.source(name)).unwrap() == fs::read(self.target(name)).unwrap()
    }

    fn are_hardlinked(&self, one: &str, other: &str) -> bool {
        let inode = |name| fs::symlink_metadata(self.target(name)).unwrap().ino();
        inode(one) == inode(other)
    }
}

#[test]
fn an_observed_write_is_transferred_despite_equal_size_and_time() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let names = ["a", "d/b", "tree/c", "whole/d"];
    for name in names {
        fixture.write_on_both(name);
        fixture.rewrite(name);
    }
    // Comparing them is not enough.
    assert_eq!(fixture.batch(&[b"a", b"d/b", b"tree/", b"whole/"]), Outcome::Done);
    assert!(names.iter().all(|name| !fixture.has_arrived(name)));
    assert_eq!(fixture.run(written(&[b"a", b"tree/"])), Outcome::Done);
    assert!(fixture.has_arrived("a") && fixture.has_arrived("tree/c"));
    // Within a tree that is compared, and beside a full transfer.
    let changes_of = |work| {
        let Work::Batch { observed, .. } = work else { panic!() };
        observed
    };
    let Work::Batch { paths, renames, .. } = batch(&[b"d/"]) else { panic!() };
    let within = changes_of(written(&[b"d/b"]));
    assert_eq!(fixture.run(Work::Batch { paths, observed: within, renames }), Outcome::Done);
    assert!(fixture.has_arrived("d/b"));
    assert_eq!(
        fixture.run(Work::Full { observed: changes_of(written(&[b"whole/d"])) }),
        Outcome::Done
    );
    assert!(fixture.has_arrived("whole/d"));
}

#[test]
fn a_full_transfer_compares_fractions_of_seconds() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("a");
    fixture.rewrite("a");
    let file = fs::File::options().write(true).open(fixture.source("a")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1)).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_change_waits_for_the_search_for_the_other_names() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fs::create_dir(fixture.source("d")).unwrap();
    fs::write(fixture.source("a"), "1").unwrap();
    fs::hard_link(fixture.source("a"), fixture.source("d/b")).unwrap();
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::write(fixture.source("a"), "changed").unwrap();
    executor.state.links.pause_searches(Duration::from_mins(10));
    let outcome = run(written(&[b"a"]));
    assert_eq!(failed_paths(&outcome), ["/a Entry"]);
    assert_eq!(fs::read(fixture.target("a")).unwrap(), b"changed");
    executor.state.links.pause_searches(Duration::ZERO);
    assert_eq!(run(batch(&[b"a"])), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_change_through_one_hard_link_updates_all_names() {
    for kept in [true, false] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        if kept {
            fixture.options.short.push(b'H');
        }
        fixture.write_on_both("a");
        fs::create_dir(fixture.source("d")).unwrap();
        fs::hard_link(fixture.source("a"), fixture.source("d/b")).unwrap();
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        assert_eq!(run(Work::full()), Outcome::Done);
        fixture.rewrite("a");
        assert_eq!(run(written(&[b"a"])), Outcome::Done);
        assert!(fixture.has_arrived("a") && fixture.has_arrived("d/b"), "{kept}");
        assert_eq!(fixture.are_hardlinked("a", "d/b"), kept);
        // A new name in a new directory.
        fs::create_dir(fixture.source("new")).unwrap();
        fs::hard_link(fixture.source("a"), fixture.source("new/c")).unwrap();
        assert_eq!(run(written(&[b"new/"])), Outcome::Done);
        assert!(fixture.has_arrived("new/c"), "{kept}");
        assert_eq!(
            fixture.are_hardlinked("a", "new/c") && fixture.are_hardlinked("a", "d/b"),
            kept
        );
    }
}

#[test]
fn hard_links_of_special_files_are_preserved() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.short.extend(b"HDp");
    fs::create_dir(fixture.source("d")).unwrap();
    symlink("nowhere", fixture.source("link")).unwrap();
    mkfifo(&fixture.source("fifo"), Mode::S_IRWXU).unwrap();
    fs::hard_link(fixture.source("fifo"), fixture.source("d/fifo")).unwrap();
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::hard_link(fixture.source("link"), fixture.source("d/link")).unwrap();
    assert_eq!(run(written(&[b"d/link"])), Outcome::Done);
    fs::hard_link(fixture.source("fifo"), fixture.source("other fifo")).unwrap();
    assert_eq!(run(written(&[b"other fifo"])), Outcome::Done);
    for (one, other) in [("link", "d/link"), ("fifo", "d/fifo"), ("fifo", "other fifo")] {
        assert!(fixture.are_hardlinked(one, other), "{one} {other}");
    }
    // A change of one name applies to all names.
    fs::set_permissions(fixture.source("fifo"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(batch(&[b"fifo"])), Outcome::Done);
    assert!(fixture.are_hardlinked("fifo", "d/fifo"));
    // If names of a link replace something, all of them are transferred with the replacing links,
    // not before.
    for name in ["link", "d/link"] {
        fs::remove_file(fixture.source(name)).unwrap();
    }
    symlink("elsewhere", fixture.source("link")).unwrap();
    for name in ["d/link", "d/new"] {
        fs::hard_link(fixture.source("link"), fixture.source(name)).unwrap();
    }
    assert_eq!(run(written(&[b"link", b"d/link", b"d/new"])), Outcome::Done);
    assert!(fixture.are_hardlinked("link", "d/link") && fixture.are_hardlinked("link", "d/new"));
    assert_eq!(fs::read_link(fixture.target("d/new")).unwrap(), Path::new("elsewhere"));
}

#[test]
fn hard_links_split_between_calls_are_rejoined() {
    for (size_limit, apart) in [(None, false), (Some(1), false), (Some(1), true)] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.short.push(b'H');
        (fixture.batch_size_limit, fixture.separate_large_files) = (size_limit, apart);
        // The target has other entries in their place, whose deletion was not observed.
        fs::create_dir_all(fixture.target("new/mine")).unwrap();
        fs::write(fixture.target("gone"), "").unwrap();
        for name in ["new", "looked at"] {
            fs::create_dir(fixture.source(name)).unwrap();
        }
        fs::write(fixture.source("a"), "text").unwrap();
        for name in ["b", "new/c", "looked at/d", "e"] {
            fs::hard_link(fixture.source("a"), fixture.source(name)).unwrap();
        }
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        let Work::Batch { paths, renames, .. } =
            batch(&[b"a", b"b", b"e", b"new/", b"looked at/", b"gone"])
        else {
            panic!()
        };
        let set = |marks| match batch(marks) {
            Work::Batch { paths, .. } => (*paths).clone(),
            other => panic!("{other:?}"),
        };
        let observed = ObservedChanges {
            written: set(&[b"a", b"b", b"new/"]),
            deleted: set(&[b"gone", b"b"]),
            ..ObservedChanges::default()
        };
        let work = Work::Batch { paths, observed: Arc::new(observed), renames };
        let mut large = match run(work) {
            Outcome::Done => Vec::new(),
            Outcome::Split { large, failed, held } if failed.is_empty() && held.is_empty() => large,
            other => panic!("{other:?}"),
        };
        assert_eq!(large.is_empty(), !apart);
        for path in large.drain(..) {
            let observed = Arc::new(ObservedChanges {
                written: PathSet::entry(&path),
                ..ObservedChanges::default()
            });
            assert_eq!(run(Work::Large { path, observed }), Outcome::Done);
        }
        for name in ["b", "new/c", "looked at/d", "e"] {
            assert!(fixture.are_hardlinked("a", name), "{name} {size_limit:?} {apart}");
        }
        assert!(!fixture.target("gone").exists() && !fixture.target("new/mine").exists());
    }
}

fn set(marks: &[&[u8]]) -> Arc<PathSet> {
    let Work::Batch { paths, .. } = batch(marks) else { panic!() };
    paths
}

/// Returns a batch with these written paths, and with the link `current`, which replaces another.
fn replaced_link(written: &[&[u8]]) -> Work {
    Work::Batch {
        paths: set(&[&[&b"current"[..]], written].concat()),
        observed: Arc::new(ObservedChanges {
            written: (*set(written)).clone(),
            renamed_to: (*set(&[b"current"])).clone(),
            ..ObservedChanges::default()
        }),
        renames: Arc::default(),
    }
}

#[test]
fn a_link_switched_during_a_transfer_waits_for_the_next_batch() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    // While the first release is transferred, the next one is made and activated.
    fixture.use_script(
        "sleep 0.1; mkdir -p \"$PLACE/src/two\"; echo >\"$PLACE/src/two/file\"\n\
         ln -sfn two \"$PLACE/src/current\"; exec rsync \"$@\"",
    );
    symlink("zero", fixture.target("current")).unwrap();
    symlink("one", fixture.source("current")).unwrap();
    fs::create_dir(fixture.source("one")).unwrap();
    fs::write(fixture.source("one/file"), "").unwrap();
    assert_eq!(failed_paths(&fixture.run(replaced_link(&[b"one/"]))), ["/current Entry"]);
    assert_eq!(fs::read_link(fixture.target("current")).unwrap(), Path::new("zero"));
    fixture.binary = "rsync".into();
    assert_eq!(fixture.run(replaced_link(&[b"two/"])), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_replacing_link_is_transferred_after_its_destination() {
    let fixture = || {
        let mut fixture = RsyncFixture::with_rsync()?;
        fixture.use_script(
            "cat >\"$PLACE/list\"; tr '\\0' ' ' <\"$PLACE/list\" >>\"$PLACE/calls\"\n\
             echo >>\"$PLACE/calls\"; exec rsync \"$@\" <\"$PLACE/list\"",
        );
        symlink("one", fixture.target("current")).unwrap();
        symlink("two", fixture.source("current")).unwrap();
        symlink("two", fixture.source("fresh")).unwrap();
        fs::create_dir(fixture.source("two")).unwrap();
        fs::write(fixture.source("two/file"), "").unwrap();
        Some(fixture)
    };
    let Some(small) = fixture() else { return };
    assert_eq!(small.run(replaced_link(&[b"fresh", b"two/"])), Outcome::Done);
    assert_eq!(small.calls(), ["/./fresh /./two ", "/./current "]);
    small.assert_equal();

    let Some(mut large) = fixture() else { return };
    large.batch_size_limit = Some(1000);
    fs::write(large.source("two/large"), [0; 2000]).unwrap();
    let work = replaced_link(&[b"fresh", b"two/file", b"two/large"]);
    assert_eq!(large.run(work), Outcome::Done);
    assert_eq!(large.calls(), ["/./fresh /two/file ", "/two/large ", "/./current "]);
    large.assert_equal();

    // What it pointed to before is deleted last.
    let Some(retired) = fixture() else { return };
    for name in ["one/file", "absent"] {
        let path = retired.target(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let Work::Batch { observed, .. } = replaced_link(&[b"two/", b"fresh"]) else { panic!() };
    let work = Work::Batch {
        paths: set(&[b"current", b"two/", b"fresh", b"one", b"absent"]),
        observed: Arc::new(ObservedChanges {
            deleted: (*set(&[b"one"])).clone(),
            ..(*observed).clone()
        }),
        renames: Arc::default(),
    };
    assert_eq!(retired.run(work), Outcome::Done);
    let calls = retired.calls();
    assert_eq!(calls[..3], ["/./fresh /./two ", "/./current ", "/./one "], "{calls:?}");
    retired.assert_equal();
}
