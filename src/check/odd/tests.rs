//! What is told, and what is not.

use std::{sync::Arc, time::Duration};

use mirror_core::filter::Filter;

use super::*;

/// A sync of `source` and `target` that is like any other.
pub(in crate::check) fn sync(number: u32, source: &Path, target: &str) -> Sync {
    let (name, source) = (format!("Sync{number}"), source.to_owned());
    Sync { insist: true, ..Sync::new(name, Kind::Rsync, source, target.into()) }
}

fn excluding(pattern: &str, sync: Sync) -> Sync {
    let mut builder = Filter::builder();
    builder.exclude(pattern.as_bytes()).unwrap();
    Sync { filter: Arc::new(builder.build()), ..sync }
}

/// What is told of the targets of these syncs.
fn told(syncs: &[Sync]) -> Vec<String> {
    targets(&Place::of_all(Mode::Daemon, Path::new("/nonexistent"), syncs))
}

#[test]
fn two_syncs_with_one_target_are_told() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    let two = |one: &str, two: &str| [sync(1, a, one), sync(2, b, two)];
    assert_eq!(
        told(&two("/t/", "/x/../t/")),
        ["Sync1 and Sync2 have the same target /t/: what the one brings the other deletes"]
    );
    assert_eq!(told(&two("h:/t/", "h:/t/")).len(), 1);
    assert_eq!(told(&two("h:/t/", "h:/u/")), [""; 0]);
    let keep = two("/t/", "/t/").map(|sync| Sync { delete: DeletePolicy::Never, ..sync });
    assert!(told(&keep)[0].ends_with("of files with one name the last one wins"));
}

#[test]
fn a_target_in_the_target_of_another_is_told_unless_it_is_excluded_there() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    let (outer, inner) = (sync(1, a, "/t/"), sync(2, b, "/t/in/"));
    let expected = "Sync2: its target lies in the target /t/ of Sync1, which deletes what its own \
                    source does not have: exclude /in there";
    assert_eq!(told(&[outer.clone(), inner.clone()]), [expected]);
    assert_eq!(told(&[inner.clone(), outer.clone()]), [expected]);
    assert_eq!(told(&[excluding("/in", outer.clone()), inner.clone()]), [""; 0]);
    let outer = Sync { delete: DeletePolicy::Never, ..outer };
    assert_eq!(told(&[outer, inner]), [""; 0]);
}

#[test]
fn syncs_that_feed_each_other_are_told_and_a_chain_is_not() {
    let [a, b] = ["/nonexistent/a", "/nonexistent/b"].map(Path::new);
    let back = sync(2, b, "/nonexistent/a/");
    let circle = [sync(1, a, "/nonexistent/b/"), back];
    assert_eq!(
        told(&circle),
        ["Sync1 and Sync2 mirror each other: each change goes round and round"]
    );
    assert_eq!(told(&[sync(1, a, "/nonexistent/b/"), sync(2, b, "/nonexistent/c/")]), [""; 0]);
}

#[test]
fn a_file_of_our_own_is_told_where_it_would_be_mirrored_or_can_not_be_written() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().canonicalize().unwrap();
    let one = sync(1, &source, "/t/");
    let told = |logfile: PathBuf, sync: Sync| {
        own_files(&Daemon { logfile: Some(logfile), ..Daemon::default() }, &[sync])
    };
    let inside = told(source.join("log"), one.clone());
    assert!(inside[0].ends_with("and is mirrored with it"), "{inside:?}");
    assert_eq!(told(source.join("log"), excluding("/log", one.clone())), [""; 0]);
    assert_eq!(
        told("/nonexistent/log".into(), one),
        ["logfile: there is no directory /nonexistent"]
    );
}

#[test]
fn what_is_odd_of_a_remote_target_is_told_of_all_at_once() {
    let a = Path::new("/nonexistent/a");
    let faint = |number, target| Sync { insist: false, ..sync(number, a, target) };
    let told = remote(&[faint(1, "h:/t/"), faint(2, "/t/"), faint(3, "h::m/")]);
    assert!(told.len() == 1 && told[0].starts_with("Sync1, Sync3: "), "{told:?}");
    let hasty = Pace::Fixed { delay: Duration::ZERO, max_waiting: 1 };
    let told = remote(&[Sync { pace: hasty, ..sync(1, a, "h:/t/") }, sync(2, a, "h:/u/")]);
    assert!(told.len() == 1 && told[0].starts_with("Sync1: "), "{told:?}");
    assert!(told[0].contains("delay is 0"), "{told:?}");
}
