//! Sources and targets that ignore case.

use super::*;
use crate::exec::test_mounts::{TestMount, contents};

impl RsyncFixture {
    fn write_source(&self, path: &str, content: &str) {
        fs::create_dir_all(self.source(path).parent().unwrap()).unwrap();
        // The driver may remember the name for a moment after its deletion, and then not create it.
        fs::write(self.source("between"), content).unwrap();
        fs::rename(self.source("between"), self.source(path)).unwrap();
    }

    /// Renames an entry of the source in two steps: some drivers refuse to change the case only.
    fn rename_source(&self, from: &str, to: &str) {
        fs::rename(self.source(from), self.source("between")).unwrap();
        fs::rename(self.source("between"), self.source(to)).unwrap();
    }

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
        fixture.write_source("Readme", "1");
        fixture.write_source("Sub/One", "2");
        fixture.write_source("kept", "3");
        fixture.root.accept();
        fixture.root.pin().unwrap();
        reach(&mut fixture, which);
        assert_eq!(fixture.full(), Outcome::Done);
        fixture.rename_source("Readme", "README");
        fixture.rename_source("Sub", "SUB");
        fixture.rename_source("SUB/One", "SUB/ONE");
        let done = fixture.run(observed(&[b"Readme", b"README", b"Sub/One", b"Sub/", b"SUB/"]));
        assert_eq!(done, Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        // Without an observed deletion, and after the entry was replaced.
        fixture.rename_source("README", "readme");
        assert_eq!(fixture.batch(&[b"README", b"readme"]), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        fs::remove_file(fixture.source("readme")).unwrap();
        fixture.write_source("Readme", "4");
        assert_eq!(fixture.run(observed(&[b"readme"])), Outcome::Done, "{which}");
        assert!(!fs::exists(fixture.target("readme")).unwrap(), "{which}");
        assert_eq!(fixture.batch(&[b"Readme"]), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        fixture.rename_source("kept", "KEPT");
        assert_eq!(fixture.full(), Outcome::Done);
        fixture.assert_same_content(which);
    }
}

#[test]
fn entries_of_a_target_that_ignores_case_get_the_names_of_the_source() {
    for which in WAYS {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        let Some(_mounted) = TestMount::ignoring_case(&fixture.target("")) else { return };
        fixture.write_source("Readme", "1");
        fixture.write_source("Sub/One", "2");
        fixture.write_source("kept", "3");
        reach(&mut fixture, which);
        assert_eq!(fixture.full(), Outcome::Done);
        fixture.rename_source("Readme", "README");
        fixture.rename_source("Sub", "SUB");
        let done = fixture.run(observed(&[b"Readme", b"README", b"Sub/", b"SUB/"]));
        assert_eq!(done, Outcome::Done, "{which}");
        fixture.assert_same_content(which);
        if which != "local" {
            // What the driver remembers of a deleted name would mislead the next look at it.
            continue;
        }
        fixture.rename_source("README", "readme");
        fixture.rename_source("SUB", "sub");
        for _ in 0..2 {
            assert_eq!(fixture.full(), Outcome::Done);
            fixture.assert_same_content(which);
        }
        // The deletion of the old name comes late.
        fixture.rename_source("readme", "Readme");
        assert_eq!(fixture.batch(&[b"Readme"]), Outcome::Done, "{which}");
        assert_eq!(fixture.run(observed(&[b"readme"])), Outcome::Done, "{which}");
        fixture.assert_same_content(which);
    }
}

#[test]
fn names_that_a_target_cannot_have_both_are_reported() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let Some(_mounted) = TestMount::ignoring_case(&fixture.target("")) else { return };
    fixture.write_source("Sub/One", "1");
    fixture.write_source("Sub/ONE", "2");
    fixture.write_source("Sub/other", "3");
    for done in [fixture.full(), fixture.full(), fixture.run(written(&[b"Sub/One", b"Sub/ONE"]))] {
        assert_eq!(failed_paths(&done), ["/Sub/One Entry"]);
        let Outcome::Partial(failed) = done else { panic!("{done:?}") };
        assert_eq!(
            failed[0].1.message,
            "cannot copy /Sub/One: the target ignores case, so it cannot have it beside ONE: \
             rename one of them in the source"
        );
        assert_eq!(fs::read_to_string(fixture.target("Sub/ONE")).unwrap(), "2");
        assert_eq!(contents(&fixture.target("")).len(), 3);
    }
    fixture.rename_source("Sub/One", "Sub/Two");
    assert_eq!(fixture.run(observed(&[b"Sub/One", b"Sub/Two"])), Outcome::Done);
    fixture.assert_same_content("local");
}
