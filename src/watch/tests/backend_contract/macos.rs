//! FSEvents as the system has it.

use mirror_platform::fsevents::CoreServicesStreams;

use super::{super::super::fsevents::FsEventsBackend, *};

fn backend() -> Box<dyn Backend> {
    Box::new(FsEventsBackend::new(CoreServicesStreams::new().unwrap()))
}

#[test]
fn random_changes_converge() {
    for seed in 1..=8 {
        converge(backend(), seed * 0x9e37_79b9, 40);
    }
}

#[test]
fn concurrent_changes_converge() {
    converge_concurrently(backend(), 40);
}

#[test]
fn a_directory_moved_into_a_tree_is_reported_with_its_content() {
    let temp = temp_tree();
    fs::create_dir_all(temp.path().join("out/a/b")).unwrap();
    fs::write(temp.path().join("out/a/b/f"), "x").unwrap();
    let mut harness = BackendHarness::new(backend());
    harness.cover(0, &temp.path().join("in"));
    fs::rename(temp.path().join("out/a"), temp.path().join("in/a")).unwrap();
    assert!(!harness.check().is_empty());
    fs::write(temp.path().join("in/a/b/f"), "more").unwrap();
    assert!(!harness.check().is_empty());
}
