//! What arrives though nothing shows on the disk that it has to.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::Mode;

use super::*;

impl Fixture {
    /// Another content at the source, of the size and time that a file of both has.
    fn alter(&self, name: &str) {
        let path = self.source(name);
        let content = "x".repeat(fs::metadata(&path).unwrap().size().try_into().unwrap());
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    fn is_arrived(&self, name: &str) -> bool {
        fs::read(self.source(name)).unwrap() == fs::read(self.target(name)).unwrap()
    }

    fn are_one(&self, one: &str, other: &str) -> bool {
        let inode = |name| fs::symlink_metadata(self.target(name)).unwrap().ino();
        inode(one) == inode(other)
    }
}

#[test]
fn what_was_written_is_not_taken_for_equal_by_its_size_and_time() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    let names = ["a", "d/b", "tree/c", "whole/d"];
    for name in names {
        fixture.on_both(name);
        fixture.alter(name);
    }
    // To look at them is not enough.
    assert_eq!(fixture.batch(&[b"a", b"d/b", b"tree/", b"whole/"]), Outcome::Done);
    assert!(names.iter().all(|name| !fixture.is_arrived(name)));
    assert_eq!(fixture.run(written(&[b"a", b"tree/"])), Outcome::Done);
    assert!(fixture.is_arrived("a") && fixture.is_arrived("tree/c"));
    // In what is compared as a whole, and beside a first transfer of everything.
    let heard = |work| {
        let Work::Batch { heard, .. } = work else { panic!() };
        heard
    };
    let Work::Batch { places, moves, .. } = batch(&[b"d/"]) else { panic!() };
    let within = heard(written(&[b"d/b"]));
    assert_eq!(fixture.run(Work::Batch { places, heard: within, moves }), Outcome::Done);
    assert!(fixture.is_arrived("d/b"));
    assert_eq!(fixture.run(Work::Full { heard: heard(written(&[b"whole/d"])) }), Outcome::Done);
    assert!(fixture.is_arrived("whole/d"));
}

#[test]
fn a_first_transfer_sees_another_time_in_the_same_second() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.on_both("a");
    fixture.alter("a");
    let file = fs::File::options().write(true).open(fixture.source("a")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1)).unwrap();
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_change_through_one_name_reaches_the_others() {
    for kept in [true, false] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        if kept {
            fixture.options.short.push(b'H');
        }
        fixture.on_both("a");
        fs::create_dir(fixture.source("d")).unwrap();
        fs::hard_link(fixture.source("a"), fixture.source("d/b")).unwrap();
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &Stop::default());
        assert_eq!(run(Work::full()), Outcome::Done);
        fixture.alter("a");
        assert_eq!(run(written(&[b"a"])), Outcome::Done);
        assert!(fixture.is_arrived("a") && fixture.is_arrived("d/b"), "{kept}");
        assert_eq!(fixture.are_one("a", "d/b"), kept);
        // A new name in a new directory.
        fs::create_dir(fixture.source("new")).unwrap();
        fs::hard_link(fixture.source("a"), fixture.source("new/c")).unwrap();
        assert_eq!(run(written(&[b"new/"])), Outcome::Done);
        assert!(fixture.is_arrived("new/c"), "{kept}");
        assert_eq!(fixture.are_one("a", "new/c") && fixture.are_one("a", "d/b"), kept);
    }
}

#[test]
fn names_of_other_kinds_of_files_stay_one() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.short.extend(b"HDp");
    fs::create_dir(fixture.source("d")).unwrap();
    symlink("nowhere", fixture.source("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, fixture.source("fifo"), Mode::RWXU).unwrap();
    fs::hard_link(fixture.source("fifo"), fixture.source("d/fifo")).unwrap();
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::hard_link(fixture.source("link"), fixture.source("d/link")).unwrap();
    assert_eq!(run(written(&[b"d/link"])), Outcome::Done);
    fs::hard_link(fixture.source("fifo"), fixture.source("other fifo")).unwrap();
    assert_eq!(run(written(&[b"other fifo"])), Outcome::Done);
    for (one, other) in [("link", "d/link"), ("fifo", "d/fifo"), ("fifo", "other fifo")] {
        assert!(fixture.are_one(one, other), "{one} {other}");
    }
    // What is told of one name is true of all.
    fs::set_permissions(fixture.source("fifo"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(batch(&[b"fifo"])), Outcome::Done);
    assert!(fixture.are_one("fifo", "d/fifo"));
    // Names of one link that replace something come with the links that do so, and those that do
    // not before them.
    for name in ["link", "d/link"] {
        fs::remove_file(fixture.source(name)).unwrap();
    }
    symlink("elsewhere", fixture.source("link")).unwrap();
    for name in ["d/link", "d/new"] {
        fs::hard_link(fixture.source("link"), fixture.source(name)).unwrap();
    }
    assert_eq!(run(written(&[b"link", b"d/link", b"d/new"])), Outcome::Done);
    assert!(fixture.are_one("link", "d/link") && fixture.are_one("link", "d/new"));
    assert_eq!(fs::read_link(fixture.target("d/new")).unwrap(), Path::new("elsewhere"));
}

#[test]
fn the_names_of_a_file_stay_one_over_calls_that_count_and_calls_that_do_not() {
    for (size_limit, apart) in [(None, false), (Some(1), false), (Some(1), true)] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.options.short.push(b'H');
        (fixture.batch_size_limit, fixture.large_apart) = (size_limit, apart);
        // In its place the target has something that nobody saw go.
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
        let run = |work| executor.run(&mut job(work), &Stop::default());
        let Work::Batch { places, moves, .. } =
            batch(&[b"a", b"b", b"e", b"new/", b"looked at/", b"gone"])
        else {
            panic!()
        };
        let set = |marks| match batch(marks) {
            Work::Batch { places, .. } => (*places).clone(),
            other => panic!("{other:?}"),
        };
        let heard = Heard {
            written: set(&[b"a", b"b", b"new/"]),
            gone: set(&[b"gone", b"b"]),
            ..Heard::default()
        };
        let work = Work::Batch { places, heard: Arc::new(heard), moves };
        let mut large = match run(work) {
            Outcome::Done => Vec::new(),
            Outcome::Split { large, failed, held } if failed.is_empty() && held.is_empty() => large,
            other => panic!("{other:?}"),
        };
        assert_eq!(large.is_empty(), !apart);
        for path in large.drain(..) {
            let heard = Arc::new(Heard { written: PlaceSet::entry(&path), ..Heard::default() });
            assert_eq!(run(Work::Large { path, heard }), Outcome::Done);
        }
        for name in ["b", "new/c", "looked at/d", "e"] {
            assert!(fixture.are_one("a", name), "{name} {size_limit:?} {apart}");
        }
        assert!(!fixture.target("gone").exists() && !fixture.target("new/mine").exists());
    }
}

fn set(marks: &[&[u8]]) -> Arc<PlaceSet> {
    let Work::Batch { places, .. } = batch(marks) else { panic!() };
    places
}

#[test]
fn a_link_that_is_switched_meanwhile_waits_for_the_next_batch() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    // While the first release is brought, the next one is made and taken into use.
    fixture.use_script(
        "sleep 0.1; mkdir -p \"$PLACE/src/two\"; echo >\"$PLACE/src/two/file\"\n\
         ln -sfn two \"$PLACE/src/current\"; exec rsync \"$@\"",
    );
    symlink("zero", fixture.target("current")).unwrap();
    symlink("one", fixture.source("current")).unwrap();
    fs::create_dir(fixture.source("one")).unwrap();
    fs::write(fixture.source("one/file"), "").unwrap();
    let work = |written: &[&[u8]]| Work::Batch {
        places: set(&[&[&b"current"[..]], written].concat()),
        heard: Arc::new(Heard {
            written: (*set(written)).clone(),
            moved: (*set(&[b"current"])).clone(),
            ..Heard::default()
        }),
        moves: Arc::default(),
    };
    assert_eq!(partly(&fixture.run(work(&[b"one/"]))), ["/current Entry"]);
    assert_eq!(fs::read_link(fixture.target("current")).unwrap(), Path::new("zero"));
    fixture.binary = "rsync".into();
    assert_eq!(fixture.run(work(&[b"two/"])), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn a_link_in_the_place_of_another_comes_after_what_it_leads_to() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.use_script(
        "cat >\"$PLACE/list\"; tr '\\0' ' ' <\"$PLACE/list\" >>\"$PLACE/calls\"\n\
         echo >>\"$PLACE/calls\"; exec rsync \"$@\" <\"$PLACE/list\"",
    );
    symlink("one", fixture.target("current")).unwrap();
    symlink("two", fixture.source("current")).unwrap();
    symlink("two", fixture.source("fresh")).unwrap();
    fs::create_dir(fixture.source("two")).unwrap();
    fs::write(fixture.source("two/file"), "").unwrap();
    let Work::Batch { places, moves, .. } = batch(&[b"current", b"fresh", b"two/"]) else {
        panic!()
    };
    let Work::Batch { places: moved, .. } = batch(&[b"current"]) else { panic!() };
    let Work::Batch { places: written, .. } = batch(&[b"fresh", b"two/"]) else { panic!() };
    let heard = Heard { written: (*written).clone(), moved: (*moved).clone(), ..Heard::default() };
    let work = Work::Batch { places, heard: Arc::new(heard), moves };
    assert_eq!(fixture.run(work), Outcome::Done);
    assert_eq!(fixture.calls(), ["/./fresh /./two ", "/./current "]);
    fixture.assert_equal();
}
