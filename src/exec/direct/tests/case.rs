//! Sources and targets that ignore case.

use std::fs;

use mirror_core::job::Outcome;

use super::{ALWAYS, CopierFixture, executor, failures};
use crate::exec::test_mounts::{TestMount, contents, rename_in_steps, write_anew};

impl CopierFixture {
    #[track_caller]
    fn assert_same_content(&self) {
        assert_eq!(contents(&self.source), contents(&self.target));
    }
}

#[test]
fn names_of_a_source_that_ignores_case_are_compared_as_they_are_kept() {
    let mut mirror = CopierFixture::new();
    let Some(_mounted) = TestMount::ignoring_case(&mirror.source) else { return };
    write_anew(&mirror.source, "Readme", "1");
    write_anew(&mirror.source, "Sub/One", "2");
    write_anew(&mirror.source, "kept", "3");
    mirror.executor = executor(&mirror.source, &mirror.target, ALWAYS);
    assert_eq!(mirror.full(), Outcome::Done);
    // By its listing, and by reported paths.
    rename_in_steps(&mirror.source, "Readme", "README");
    rename_in_steps(&mirror.source, "Sub", "SUB");
    assert_eq!(mirror.full(), Outcome::Done);
    mirror.assert_same_content();
    rename_in_steps(&mirror.source, "README", "readme");
    rename_in_steps(&mirror.source, "SUB", "sub");
    assert_eq!(mirror.batch("README readme SUB/One SUB/ sub/"), Outcome::Done);
    mirror.assert_same_content();
    // As a hint, and after the entry was replaced.
    rename_in_steps(&mirror.source, "readme", "Readme");
    assert_eq!(mirror.batch_with("readme Readme", "readme>Readme"), Outcome::Done);
    mirror.assert_same_content();
    fs::remove_file(mirror.source("Readme")).unwrap();
    write_anew(&mirror.source, "README", "4");
    assert_eq!(mirror.batch_observed("Readme", "Readme", ""), Outcome::Done);
    assert!(!fs::exists(mirror.target("Readme")).unwrap());
    assert_eq!(mirror.batch("README"), Outcome::Done);
    mirror.assert_same_content();
}

#[test]
fn entries_of_a_target_that_ignores_case_get_the_names_of_the_source() {
    let mirror = CopierFixture::new();
    let Some(_mounted) = TestMount::ignoring_case(&mirror.target) else { return };
    write_anew(&mirror.source, "Readme", "1");
    write_anew(&mirror.source, "Sub/One", "2");
    write_anew(&mirror.source, "\u{c9}a", "3");
    assert_eq!(mirror.full(), Outcome::Done);
    rename_in_steps(&mirror.source, "Readme", "README");
    rename_in_steps(&mirror.source, "Sub", "SUB");
    rename_in_steps(&mirror.source, "\u{c9}a", "\u{e9}A");
    for _ in 0..2 {
        assert_eq!(mirror.full(), Outcome::Done);
        mirror.assert_same_content();
    }
    rename_in_steps(&mirror.source, "README", "readme");
    rename_in_steps(&mirror.source, "SUB", "sub");
    rename_in_steps(&mirror.source, "sub/One", "sub/ONE");
    let paths = "README readme SUB/ sub/ sub/ONE";
    assert_eq!(mirror.batch_observed(paths, "README SUB/", ""), Outcome::Done);
    mirror.assert_same_content();
    // The deletion of the old name comes late.
    rename_in_steps(&mirror.source, "readme", "Readme");
    assert_eq!(mirror.batch("Readme"), Outcome::Done);
    assert_eq!(mirror.batch_observed("readme", "readme", ""), Outcome::Done);
    mirror.assert_same_content();
}

#[test]
fn names_that_a_target_cannot_have_both_are_reported() {
    let mirror = CopierFixture::new();
    let Some(_mounted) = TestMount::ignoring_case(&mirror.target) else { return };
    write_anew(&mirror.source, "Sub/One", "1");
    write_anew(&mirror.source, "Sub/ONE", "2");
    write_anew(&mirror.source, "Sub/other", "3");
    for _ in 0..2 {
        let failed = failures(mirror.full());
        let [(path, why)] = &failed[..] else { panic!("{failed:?}") };
        assert_eq!(path, "/Sub/One");
        assert!(
            why.ends_with(
                "source/Sub/One: the target ignores case, so it cannot have it beside ONE: rename \
                 one of them in the source"
            ),
            "{why}"
        );
        assert_eq!(fs::read_to_string(mirror.target("Sub/ONE")).unwrap(), "2");
        assert_eq!(contents(&mirror.target).len(), 3);
    }
    assert_eq!(failures(mirror.batch("Sub/One Sub/ONE")).len(), 1);
    assert_eq!(fs::read_to_string(mirror.target("Sub/ONE")).unwrap(), "2");
    rename_in_steps(&mirror.source, "Sub/One", "Sub/Two");
    assert_eq!(mirror.batch_observed("Sub/One Sub/Two", "Sub/One", ""), Outcome::Done);
    mirror.assert_same_content();
}
