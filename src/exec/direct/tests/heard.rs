//! What the watcher told: it counts more than size and time.

use std::{fs, os::unix::fs::MetadataExt, os::unix::fs::symlink, sync::Arc};

use mirror_core::{
    job::{Outcome, Work},
    queue::Heard,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Mirror, age, heard, place, rename};

/// A mirror of old files.
fn mirror(names: &[&str]) -> Mirror {
    let mirror = Mirror::new();
    for name in names {
        fs::create_dir_all(mirror.source(name).parent().unwrap()).unwrap();
        write(&mirror, name, "aaa");
    }
    mirror.assert_mirrored();
    mirror
}

/// Writes three letters, and nobody can tell by size and time.
fn write(mirror: &Mirror, name: &str, content: &str) {
    fs::write(mirror.source(name), content).unwrap();
    age(&mirror.source(name), 0);
}

fn content(mirror: &Mirror, name: &str) -> String {
    fs::read_to_string(mirror.target(name)).unwrap()
}

#[test]
fn what_was_heard_to_be_written_arrives_at_equal_size_and_time() {
    let mirror = mirror(&["file", "d/one", "d/two"]);
    for (name, places, written) in
        [("file", "file", "file"), ("d/one", "d/", "d/one"), ("d/two", "d/two", "d/")]
    {
        write(&mirror, name, "bbb");
        assert_eq!(mirror.batch_heard(places, "", written), Outcome::Done);
        assert_eq!(content(&mirror, name), "bbb");
        write(&mirror, name, "ccc");
        assert_eq!(mirror.run(Work::Full { heard: heard("", written) }), Outcome::Done);
        assert_eq!(content(&mirror, name), "ccc");
    }
}

#[test]
fn what_has_the_same_content_is_not_copied() {
    let mirror = mirror(&["file"]);
    let inode = || fs::metadata(mirror.target("file")).unwrap().ino();
    let before = inode();
    // As long as it is open, no other file gets its inode number.
    let kept = fs::File::open(mirror.target("file")).unwrap();
    assert_eq!(mirror.batch_heard("file", "", "file"), Outcome::Done);
    assert_eq!(inode(), before);
    drop(kept);
}

#[test]
fn a_new_name_counts_as_written_unless_the_target_got_it_by_the_same_rename() {
    let moved = |mirror: &Mirror, moves: &str| {
        let heard = Heard { moved: [place("new")].iter().collect(), ..Heard::default() };
        let places = ["old", "new"].map(place).iter().collect();
        let moves = moves.split_whitespace().map(rename).collect();
        mirror.run(Work::Batch { places: Arc::new(places), heard: Arc::new(heard), moves })
    };
    let old = mirror(&["old"]);
    fs::rename(old.source("old"), old.source("new")).unwrap();
    assert_eq!(moved(&old, "old>new"), Outcome::Done);
    old.assert_same();
    // The target has something of the same size and time under the new name already.
    let both = mirror(&["old", "new"]);
    write(&both, "old", "bbb");
    fs::rename(both.source("old"), both.source("new")).unwrap();
    for moves in ["", "old>new"] {
        assert_eq!(moved(&both, moves), Outcome::Done);
        assert_eq!(content(&both, "new"), "bbb");
    }
}

#[test]
fn all_names_of_a_file_follow_what_was_written_under_one() {
    for whole in [false, true] {
        for written in ["a", "x/b", "x/c"] {
            let mirror = mirror(&["a", "x/other"]);
            for name in ["x/b", "x/c"] {
                fs::hard_link(mirror.source("a"), mirror.source(name)).unwrap();
            }
            mirror.assert_mirrored();
            age(&mirror.source("a"), 100);
            mirror.assert_mirrored();
            fs::write(mirror.source("a"), "bbb").unwrap();
            age(&mirror.source("a"), 100);
            let outcome = if whole {
                mirror.run(Work::Full { heard: heard("", written) })
            } else {
                mirror.batch_heard(written, "", written)
            };
            assert_eq!(outcome, Outcome::Done);
            mirror.assert_same();
        }
    }
}

#[test]
fn files_that_change_places_at_equal_size_and_time_are_told_apart() {
    let mirror = mirror(&["one", "two"]);
    write(&mirror, "two", "bbb");
    assert_eq!(mirror.batch_heard("two", "", "two"), Outcome::Done);
    let (one, two) = (mirror.source("one"), mirror.source("two"));
    renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(mirror.batch_heard("one two", "", "one two"), Outcome::Done);
    assert_eq!((content(&mirror, "one"), content(&mirror, "two")), ("bbb".into(), "aaa".into()));
}

#[test]
fn a_link_that_is_switched_is_the_last_to_come() {
    let mirror = mirror(&["releases/r1/v"]);
    symlink("releases/r1", mirror.source("current")).unwrap();
    mirror.assert_mirrored();
    let size = 64 << 20;
    fs::create_dir(mirror.source("releases/r2")).unwrap();
    fs::File::create(mirror.source("releases/r2/large")).unwrap().set_len(size).unwrap();
    fs::write(mirror.source("releases/r2/v"), b"").unwrap();
    fs::remove_file(mirror.source("current")).unwrap();
    symlink("releases/r2", mirror.source("current")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            // At any moment what the link points to is complete.
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if let Ok(link) = fs::read_link(mirror.target("current"))
                    && link.ends_with("r2")
                {
                    let is_there = |name| fs::metadata(mirror.target("releases/r2").join(name));
                    assert_eq!(is_there("large").unwrap().len(), size);
                    assert!(is_there("v").is_ok());
                }
            }
        });
        let outcome = mirror.batch("current releases/r2/");
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        look.join().unwrap();
        assert_eq!(outcome, Outcome::Done);
    });
    mirror.assert_same();
}
