//! Tests of the lints.

use std::{sync::Arc, time::Duration};

use mirror_core::filter::Filter;

use super::*;

/// Creates a sync of `source` and `target` that causes no warning.
pub(in crate::check) fn sync(number: u32, source: &Path, target: &str) -> SyncConfig {
    let (name, source) = (format!("Sync{number}"), source.to_owned());
    SyncConfig { insist: true, ..SyncConfig::new(name, SyncKind::Rsync, source, target.into()) }
}

fn excluding(pattern: &str, sync: SyncConfig) -> SyncConfig {
    let mut builder = Filter::builder();
    builder.exclude(pattern.as_bytes()).unwrap();
    SyncConfig { filter: Arc::new(builder.build()), ..sync }
}

/// Returns the warnings about the targets of these syncs.
fn warnings(syncs: &[SyncConfig]) -> Vec<String> {
    targets(&LocatedSync::all(RunMode::Daemon, Path::new("/nonexistent"), syncs))
}

#[test]
fn shared_target_causes_a_warning() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    let two = |one: &str, two: &str| [sync(1, a, one), sync(2, b, two)];
    assert_eq!(
        warnings(&two("/t/", "/x/../t/")),
        ["Sync1 and Sync2 have the same target /t/: each deletes the other's files"]
    );
    assert_eq!(warnings(&two("h:/t/", "h:/t/")).len(), 1);
    assert_eq!(warnings(&two("h:/t/", "h:/u/")), [""; 0]);
    let keep = two("/t/", "/t/").map(|sync| SyncConfig { delete: DeletePolicy::Never, ..sync });
    assert!(warnings(&keep)[0].ends_with("each overwrites the other's files"));
}

#[test]
fn nested_target_causes_a_warning_unless_excluded() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    let (outer, inner) = (sync(1, a, "/t/"), sync(2, b, "/t/in/"));
    let expected = "Sync2: its target is inside the target /t/ of Sync1, which would delete it: \
                    exclude /in there";
    assert_eq!(warnings(&[outer.clone(), inner.clone()]), [expected]);
    assert_eq!(warnings(&[inner.clone(), outer.clone()]), [expected]);
    assert_eq!(warnings(&[excluding("/in", outer.clone()), inner.clone()]), [""; 0]);
    let outer = SyncConfig { delete: DeletePolicy::Never, ..outer };
    assert_eq!(warnings(&[outer, inner]), [""; 0]);
}

#[test]
fn mutual_mirrors_cause_a_warning_and_chains_do_not() {
    let [a, b] = ["/nonexistent/a", "/nonexistent/b"].map(Path::new);
    let back = sync(2, b, "/nonexistent/a/");
    let cycle = [sync(1, a, "/nonexistent/b/"), back];
    assert_eq!(warnings(&cycle), ["Sync1 and Sync2 mirror each other: endless sync loop"]);
    assert_eq!(warnings(&[sync(1, a, "/nonexistent/b/"), sync(2, b, "/nonexistent/c/")]), [""; 0]);
}

#[test]
fn target_in_its_source_via_localhost_causes_a_warning() {
    let a = Path::new("/nonexistent/a");
    let warnings = |target| warnings(&[sync(1, a, target)]);
    assert!(
        warnings("localhost:/nonexistent/a/in/")[0].contains("its target is inside its source")
    );
    for target in ["h:/nonexistent/a/in/", "localhost:/nonexistent/", "localhost:in/"] {
        assert_eq!(warnings(target), [""; 0], "{target}");
    }
}

#[test]
fn longer_cycle_is_reported_once_unless_excluded() {
    let cycle = |filter: bool| {
        let [a, b, c] = ["/nonexistent/a", "/nonexistent/b", "/nonexistent/c"].map(Path::new);
        let last = sync(3, c, "/nonexistent/a/in/");
        let first = sync(1, a, "/nonexistent/b/");
        let first = if filter { excluding("/in", first) } else { first };
        let unrelated = sync(4, Path::new("/nonexistent/d"), "/nonexistent/a/other/");
        [first, unrelated, last, sync(2, b, "/nonexistent/c/")]
    };
    let found = warnings(&cycle(false));
    let expected = "Sync1, Sync2, Sync3: each writes into the source of the next one, and the last \
                    into that of the first: endless sync loop";
    assert_eq!(found, [expected]);
    assert_eq!(warnings(&cycle(true)), [""; 0]);
    let [a, b] = ["/nonexistent/a", "/nonexistent/b"].map(Path::new);
    let back = sync(2, b, "/nonexistent/a/in/");
    assert_eq!(warnings(&[excluding("/in", sync(1, a, "/nonexistent/b/")), back]), [""; 0]);
}

#[test]
fn remote_targets_are_compared() {
    let (a, b) = (Path::new("/nonexistent/a"), Path::new("/nonexistent/b"));
    for (one, two, is_reported) in [
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
        ("RSYNC://h/t/", "h::t/in/", true),
        ("rsync://h/t/", "rsync://u@h:873/t/in/", true),
        ("rsync://h/t/", "rsync://h:874/t/", false),
        ("h:/y/../x/", "h:/x/", true),
        ("H:/x/", "u@h:/x/", true),
        ("h:x/", "u@h:x/", false),
        ("localhost:/nonexistent/t/", "/nonexistent/t/", true),
    ] {
        let warnings = warnings(&[sync(1, a, one), sync(2, b, two)]);
        assert_eq!(!warnings.is_empty(), is_reported, "{one} {two}: {warnings:?}");
    }
}

#[test]
fn misread_targets_cause_warnings() {
    let a = Path::new("/nonexistent/a");
    for (target, expected) in [
        ("ssh://h/x/", "a directory on the host ssh"),
        ("u@h:2222:/x/", "rsync = { rsh = \"ssh -p 2222\" }"),
        ("rsync://h:873/x/", ""),
        ("h:/x:1:/", ""),
        ("h:2222/", ""),
        ("h::x/", ""),
        ("[::1]:/x/", ""),
        ("/a/ssh://x/", ""),
        ("h:", ""),
    ] {
        let warnings = misread_targets(&[sync(1, a, target)]).concat();
        assert!(
            warnings.contains(expected) && warnings.is_empty() == expected.is_empty(),
            "{target}: {warnings}"
        );
    }
    let ssh = SyncConfig { kind: SyncKind::Rsyncssh, ..sync(1, a, "u@h:22:/x/") };
    assert!(misread_targets(&[ssh])[0].ends_with("write ssh = { port = 22 }"));
}

#[test]
fn unwritable_or_mirrored_daemon_files_cause_warnings() {
    let temp_dir = tempfile::tempdir().unwrap();
    let source = temp_dir.path().canonicalize().unwrap();
    let one = sync(1, &source, "/t/");
    let warnings = |logfile: PathBuf, sync: SyncConfig| {
        daemon_files(&DaemonConfig { logfile: Some(logfile), ..DaemonConfig::default() }, &[sync])
    };
    let inside = warnings(source.join("log"), one.clone());
    assert!(inside[0].ends_with("and is mirrored with it"), "{inside:?}");
    assert_eq!(warnings(source.join("log"), excluding("/log", one.clone())), [""; 0]);
    assert_eq!(
        warnings("/nonexistent/log".into(), one),
        ["logfile: no such directory: /nonexistent"]
    );
    let outside = tempfile::tempdir().unwrap();
    let warnings = warnings(outside.path().to_owned(), sync(1, &source, "/t/"));
    assert!(warnings[0].ends_with("is a directory: name a file in it"), "{warnings:?}");
}

#[test]
fn a_mirrored_state_directory_is_an_error() {
    let temp_dir = tempfile::tempdir().unwrap();
    let source = temp_dir.path().canonicalize().unwrap();
    let one = sync(1, &source, "/t/");
    let errors = |state_dir: &Path, sync: SyncConfig| {
        let state_dir = Some(state_dir.to_owned());
        let daemon = DaemonConfig { state_dir, ..DaemonConfig::default() };
        mirrored_state(&Config { daemon, syncs: vec![sync], tunnels: Vec::new() })
    };
    let inside = source.join("not/yet");
    assert!(errors(&inside, one.clone())[0].contains("would be mirrored"));
    assert!(errors(&source, one.clone())[0].contains("would be mirrored"));
    assert_eq!(errors(&inside, excluding("/not/", one.clone())), [""; 0]);
    assert_eq!(errors(Path::new("/nonexistent"), one), [""; 0]);
}

#[test]
fn remote_target_warnings_name_all_syncs() {
    let a = Path::new("/nonexistent/a");
    let without_insist = |number, target| SyncConfig { insist: false, ..sync(number, a, target) };
    let warnings = remote_targets(&[
        without_insist(1, "h:/t/"),
        without_insist(2, "/t/"),
        without_insist(3, "h::m/"),
    ]);
    assert!(warnings.len() == 1 && warnings[0].starts_with("Sync1, Sync3: "), "{warnings:?}");
    let without_delay = Debounce::FixedDelay { delay: Duration::ZERO, max_waiting: 1 };
    let warnings = remote_targets(&[
        SyncConfig { debounce: without_delay, ..sync(1, a, "h:/t/") },
        sync(2, a, "h:/u/"),
    ]);
    assert!(warnings.len() == 1 && warnings[0].starts_with("Sync1: "), "{warnings:?}");
    assert!(warnings[0].contains("delay is 0"), "{warnings:?}");
}
