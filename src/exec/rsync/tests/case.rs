//! Sources and targets that ignore case.

use super::*;
use crate::exec::test_mounts::{TestMount, contents, rename_in_steps, write_anew};

impl RsyncFixture {
    #[track_caller]
    fn assert_same_content(&self, which: &str) {
        assert_eq!(contents(self.root.path()), contents(&self.target("")), "{which}");
    }
}

/// Prepares a target that is local, behind a shell, or a module of a daemon.
fn reach(fixture: &mut RsyncFixture, which: &str) {
    match which {
        "local" => {}
        "shell" => fixture.use_remote_shell(),
        _ => fixture.use_daemon(""),
    }
}

const WAYS: [&str; 3] = ["local", "shell", "daemon"];

#[test]
fn names_of_a_source_that_ignores_case_are_compared_as_they_are_kept() {
    for which in WAYS {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        let Some(_mounted) = TestMount::ignoring_case(fixture.root.path()) else { return };
        write_anew(fixture.root.path(), "Readme", "1");
        write_anew(fixture.root.path(), "Sub/One", "2");
        write_anew(fixture.root.path(), "kept", "3");
        fixture.root.accept();
        fixture.root.pin().unwrap();
        reach(&mut fixture, which);
        assert_eq!(fixture.full(), Outcome::Done);
        rename_in_steps(fixture.root.path(), "Readme", "README");
        rename_in_steps(fixture.root.path(), "Sub", "SUB");
        rename_in_steps(fixture.root.path(), "SUB/One", "SUB/ONE");
        let done = fixture.run(observed(&[b"Readme", b"README", b"Sub/One", b"Sub/", b"SUB/"]));
        assert_eq!(done, Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        // Without an observed deletion, and after the entry was replaced.
        rename_in_steps(fixture.root.path(), "README", "readme");
        assert_eq!(fixture.batch(&[b"README", b"readme"]), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        fs::remove_file(fixture.source("readme")).unwrap();
        write_anew(fixture.root.path(), "Readme", "4");
        assert_eq!(fixture.run(observed(&[b"readme"])), Outcome::Done, "{which}");
        assert!(!fs::exists(fixture.target("readme")).unwrap(), "{which}");
        assert_eq!(fixture.batch(&[b"Readme"]), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        rename_in_steps(fixture.root.path(), "kept", "KEPT");
        assert_eq!(fixture.full(), Outcome::Done);
        fixture.assert_same_content(which);
    }
}

#[test]
fn entries_of_a_target_that_ignores_case_get_the_names_of_the_source() {
    for which in WAYS {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        let Some(_mounted) = TestMount::ignoring_case(&fixture.target("")) else { return };
        write_anew(fixture.root.path(), "Readme", "1");
        write_anew(fixture.root.path(), "Sub/One", "2");
        write_anew(fixture.root.path(), "kept", "3");
        reach(&mut fixture, which);
        assert_eq!(fixture.full(), Outcome::Done);
        rename_in_steps(fixture.root.path(), "Readme", "README");
        rename_in_steps(fixture.root.path(), "Sub", "SUB");
        let done = fixture.run(observed(&[b"Readme", b"README", b"Sub/", b"SUB/"]));
        assert_eq!(done, Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        if which != "local" {
            // What the driver remembers of a deleted name would mislead the next look at it.
            continue;
        }
        rename_in_steps(fixture.root.path(), "README", "readme");
        rename_in_steps(fixture.root.path(), "SUB", "sub");
        for _ in 0..2 {
            assert_eq!(fixture.full(), Outcome::Done);
            fixture.assert_same_content(which);
        }
        // The deletion of the old name comes late.
        rename_in_steps(fixture.root.path(), "readme", "Readme");
        assert_eq!(fixture.batch(&[b"Readme"]), Outcome::Done, "{which}");
        assert_eq!(fixture.run(observed(&[b"readme"])), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
    }
}

#[test]
fn names_that_a_target_cannot_have_both_are_reported() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let Some(_mounted) = TestMount::ignoring_case(&fixture.target("")) else { return };
    write_anew(fixture.root.path(), "Sub/One", "1");
    write_anew(fixture.root.path(), "Sub/ONE", "2");
    write_anew(fixture.root.path(), "Sub/other", "3");
    for done in [fixture.full(), fixture.full(), fixture.run(written(&[b"Sub/One", b"Sub/ONE"]))] {
        assert_eq!(failed_paths(&done), ["/Sub/One Entry"]);
        let Outcome::Partial(failed) = done else { panic!("{done:?}") };
        let at = fixture.source("Sub/One");
        let why = "the target ignores case, so it cannot have it beside ONE: rename one of them in \
                   the source";
        assert_eq!(failed[0].1.message, format!("cannot copy {}: {why}", at.display()));
        assert_eq!(fs::read_to_string(fixture.target("Sub/ONE")).unwrap(), "2");
        assert_eq!(contents(&fixture.target("")).len(), 3);
    }
    rename_in_steps(fixture.root.path(), "Sub/One", "Sub/Two");
    assert_eq!(fixture.run(observed(&[b"Sub/One", b"Sub/Two"])), Outcome::Done);
    fixture.assert_same_content("local");
}
