//! Directories in place of the entries that they contain.

use super::*;

/// Writes 40 new files in the directory `d` of the source, and returns their paths.
fn fill(fixture: &RsyncFixture) -> Vec<String> {
    fs::create_dir_all(fixture.source("d")).unwrap();
    let names: Vec<String> = (0..40).map(|file| format!("d/f{file}")).collect();
    for name in &names {
        fs::write(fixture.source(name), "new").unwrap();
    }
    names
}

fn marks(names: &[String]) -> Vec<&[u8]> {
    names.iter().map(String::as_bytes).collect()
}

const DIRECTORY: &str = "[-r] [-lts] [--modify-window=-1] [--ignore-times] [--stats] [--from0] \
                         [--files-from=-] [--ignore-missing-args] [/src/] [/dst/] ";

/// The call if nothing else is in the source.
const SOURCE: &str = "[-r] [-lts] [--modify-window=-1] [--ignore-times] [--stats] [/src/] [/dst/] ";

#[test]
fn a_directory_stands_for_all_of_its_entries() {
    for (other, call) in [(Some("other"), DIRECTORY), (None, SOURCE)] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.record();
        if let Some(name) = other {
            fixture.write_on_both(name);
        }
        check_directory(&mut fixture, call);
    }
}

fn check_directory(fixture: &mut RsyncFixture, call: &str) {
    fixture.write_on_both("d/f0");
    fs::write(fixture.target("d/extra"), "").unwrap();
    let names = fill(fixture);
    // The size and the time of this one are the same on both sides.
    fs::write(fixture.target("d/f1"), "old").unwrap();
    let time = fs::metadata(fixture.source("d/f1")).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(fixture.target("d/f1")).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(fixture.run(written(&marks(&names))), Outcome::Done);
    assert_eq!(fixture.calls(), [call]);
    // Nothing was observed about this one.
    fs::remove_file(fixture.target("d/extra")).unwrap();
    let time = fs::metadata(fixture.source("d")).unwrap().modified().unwrap();
    fs::File::open(fixture.target("d")).unwrap().set_modified(time).unwrap();
    fixture.assert_equal();
}

#[test]
fn calls_that_delete_list_each_entry() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("gone");
    fs::remove_file(fixture.source("gone")).unwrap();
    fs::create_dir(fixture.target("d")).unwrap();
    fs::write(fixture.target("d/extra"), "").unwrap();
    let names = fill(&fixture);
    let Work::Batch { paths, renames, .. } = batch(&marks(&names)) else { panic!() };
    let Work::Batch { paths: deleted, .. } = batch(&[b"gone"]) else { panic!() };
    let (mut all, written) = ((*paths).clone(), (*paths).clone());
    all.insert(&TreePath::new(b"gone").unwrap(), Scope::Entry);
    let deleted = (*deleted).clone();
    let observed = ObservedChanges { written, deleted, ..ObservedChanges::default() };
    let work = Work::Batch { paths: Arc::new(all), observed: Arc::new(observed), renames };
    assert_eq!(fixture.run(work), Outcome::Done);
    assert!(fixture.calls().iter().all(|call| !call.starts_with("[-r]")), "{:?}", fixture.calls());
    assert!(fixture.target("d/extra").exists() && fixture.target("d/f39").exists());
    assert!(!fixture.target("gone").exists());
    // The user's own argument deletes in each directory that a call lists.
    fixture.options.delete = mirror_core::plan::options::DeletePolicy::Never;
    fixture.options.extra.push(b"--delete".to_vec());
    assert_eq!(fixture.run(self::written(&marks(&names))), Outcome::Done);
    assert!(fixture.target("d/extra").exists());
}

#[test]
fn a_directory_in_the_way_of_a_listed_file_is_held() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.max_delete = MaxDelete::Count(1);
    fs::create_dir_all(fixture.target("d/f7")).unwrap();
    for name in ["d/f7/a", "d/f7/b", "d/f7/c"] {
        fs::write(fixture.target(name), "").unwrap();
    }
    let names = fill(&fixture);
    let outcome = fixture.run(written(&marks(&names)));
    let Outcome::Split { held, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(held.len(), 1);
    assert_eq!(fixture.calls().first().map(String::as_str), Some(SOURCE));
    assert!(fixture.target("d/f7/c").exists());
    fixture.max_delete = MaxDelete::Unlimited;
    assert_eq!(fixture.run(written(&marks(&names))), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn failed_entries_of_a_directory_are_retried_alone() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    if rustix::process::geteuid().is_root() {
        // The permissions do not stop root.
        fixture.use_script(
            "cat >\"$PLACE/list\"; echo 'rsync: [sender] send_files failed to open \
             \"'$PLACE'/src/d/f3\": Permission denied (13)' >&2; exit 23",
        );
    }
    let names = fill(&fixture);
    let shut = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(fixture.source("d/f3"), shut).unwrap();
    let outcome = fixture.run(written(&marks(&names)));
    assert_eq!(failed_paths(&outcome), ["/d/f3 Entry"]);
}
