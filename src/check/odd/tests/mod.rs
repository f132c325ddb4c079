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
fn a_target_in_its_source_by_another_name_is_told() {
    let a = Path::new("/nonexistent/a");
    let told = |target| told(&[sync(1, a, target)]);
    assert!(told("localhost:/nonexistent/a/in/")[0].contains("its target lies in its source"));
    for target in ["h:/nonexistent/a/in/", "localhost:/nonexistent/", "localhost:in/"] {
        assert_eq!(told(target), [""; 0], "{target}");
    }
}

#[test]
fn a_longer_circle_is_told_once_and_what_is_excluded_feeds_nobody() {
    let circle = |filter: bool| {
        let [a, b, c] = ["/nonexistent/a", "/nonexistent/b", "/nonexistent/c"].map(Path::new);
        let last = sync(3, c, "/nonexistent/a/in/");
        let first = sync(1, a, "/nonexistent/b/");
        let first = if filter { excluding("/in", first) } else { first };
        let beside = sync(4, Path::new("/nonexistent/d"), "/nonexistent/a/other/");
        [first, beside, last, sync(2, b, "/nonexistent/c/")]
    };
    let told_of = told(&circle(false));
    let expected = "Sync1, Sync2, Sync3: each writes what the next one mirrors, and the last one \
                    what the first does: each change goes round and round";
    assert_eq!(told_of, [expected]);
    assert_eq!(told(&circle(true)), [""; 0]);
    let [a, b] = ["/nonexistent/a", "/nonexistent/b"].map(Path::new);
    let back = sync(2, b, "/nonexistent/a/in/");
    assert_eq!(told(&[excluding("/in", sync(1, a, "/nonexistent/b/")), back]), [""; 0]);
}

#[test]
fn a_target_on_another_machine_is_compared_with_others_there() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    for (one, two, is_odd) in [
        ("h:/t/", "h:/t/in/", true),
        ("h:/./t//", "h:/t/", true),
        ("h:t/", "h:./t/in/", true),
        ("h:/t/", "i:/t/in/", false),
        ("h:/t/", "h:t/in/", false),
        ("h:/t/", "h:/tt/", false),
        ("h::t/", "h::t/in/", true),
        ("h::t/", "h::u/in/", false),
        ("h::t/", "h::t/", true),
        ("rsync://h/t/", "h::t/", true),
        ("rsync://h/t/", "rsync://u@h:873/t/in/", true),
        ("rsync://h/t/", "rsync://h:874/t/", false),
        ("h:/y/../x/", "h:/x/", true),
        ("H:/x/", "u@h:/x/", true),
        ("h:x/", "u@h:x/", false),
        ("localhost:/nonexistent/t/", "/nonexistent/t/", true),
    ] {
        let told = told(&[sync(1, a, one), sync(2, b, two)]);
        assert_eq!(!told.is_empty(), is_odd, "{one} {two}: {told:?}");
    }
}

#[test]
fn a_target_that_rsync_reads_otherwise_is_told() {
    let a = Path::new("/nonexistent/a");
    for (target, says) in [
        ("ssh://h/x/", "a directory on the machine ssh"),
        ("u@h:2222:/x/", "rsync = { rsh = \"ssh -p 2222\" }"),
        ("rsync://h:873/x/", ""),
        ("h:/x:1:/", ""),
        ("h:2222/", ""),
        ("h::x/", ""),
        ("[::1]:/x/", ""),
        ("/a/ssh://x/", ""),
        ("h:", ""),
    ] {
        let told = misread_targets(&[sync(1, a, target)]).concat();
        assert!(told.contains(says) && told.is_empty() == says.is_empty(), "{target}: {told}");
    }
    let ssh = Sync { kind: Kind::Rsyncssh, ..sync(1, a, "u@h:22:/x/") };
    assert!(misread_targets(&[ssh])[0].ends_with("write ssh = { port = 22 }"));
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
    let outside = tempfile::tempdir().unwrap();
    let told = told(outside.path().to_owned(), sync(1, &source, "/t/"));
    assert!(told[0].ends_with("is a directory: name a file in it"), "{told:?}");
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
