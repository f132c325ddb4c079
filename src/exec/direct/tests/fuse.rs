//! Targets on FUSE file systems that cannot have everything.

use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown, symlink},
};

use mirror_core::job::Outcome;
use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{CopierFixture, age, failures};
use crate::exec::test_mounts::TestMount;

#[test]
fn attributes_are_not_set_through_links_on_sshfs() {
    let mirror = CopierFixture::new();
    let served = mirror.source.with_extension("served");
    fs::create_dir(&served).unwrap();
    let victim = mirror.source.with_extension("victim");
    fs::write(&victim, "not of the mirror").unwrap();
    fs::write(mirror.source("file"), "1").unwrap();
    for (name, to) in [("a", "file"), ("dangling", "nowhere"), ("out", victim.to_str().unwrap())] {
        symlink(to, mirror.source(name)).unwrap();
        lchown(mirror.source(name), Some(1234), Some(1234)).unwrap();
        age(&mirror.source(name), 1000);
    }
    let before = victim.metadata().unwrap();
    let Some(_mounted) = TestMount::following_links(&served, &mirror.target) else { return };
    for _ in 0..2 {
        assert_eq!(mirror.full(), Outcome::Done);
        let now = victim.metadata().unwrap();
        assert_eq!((now.uid(), now.mtime()), (before.uid(), before.mtime()));
        let [wanted, made] = [mirror.source("file"), served.join("file")].map(|file| {
            let found = file.metadata().unwrap();
            (found.uid(), found.mtime())
        });
        assert_eq!(made, wanted);
        assert_eq!(fs::read_link(served.join("dangling")).unwrap().to_str(), Some("nowhere"));
        assert_eq!(fs::read_link(served.join("out")).unwrap(), victim);
    }
}

#[test]
fn what_exfat_cannot_have_is_reported_and_leaves_nothing() {
    let mirror = CopierFixture::new();
    let Some(_mounted) = TestMount::ignoring_case(&mirror.target) else { return };
    mkfifo(&mirror.source("fifo"), Mode::S_IRUSR).unwrap();
    symlink("x", mirror.source("link")).unwrap();
    fs::write(mirror.source("a:b"), "1").unwrap();
    fs::write(mirror.source("kept"), "1").unwrap();
    for _ in 0..2 {
        let failed = failures(mirror.full());
        let [name, fifo, link] = &failed[..] else { panic!("{failed:?}") };
        assert!(name.1.ends_with("does not permit this name, rename or exclude the entry"));
        assert_eq!(fifo.0, "/fifo");
        assert!(link.1.ends_with("has no such type of file, exclude the entry"), "{link:?}");
        let names = fs::read_dir(&mirror.target).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
    }
}
