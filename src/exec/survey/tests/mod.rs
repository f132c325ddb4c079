use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::fs::Mode;
use tempfile::TempDir;

use super::*;
use crate::exec::lookup::may_exist;

fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text.as_ref()).unwrap()
}

/// Creates a tree of files (`a/b`), directories (`a/`) and links (`a -> b`), one per line.
fn tree(lines: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let at = |name: &str| place.path().join(name);
        if let Some((link, to)) = line.split_once(" -> ") {
            symlink(to, at(link)).unwrap();
        } else if line.ends_with('/') {
            fs::create_dir_all(at(line)).unwrap();
        } else {
            fs::write(at(line), line).unwrap();
        }
    }
    place
}

fn look(place: &Path, places: &PathSet, filter: &Filter) -> Survey {
    survey(&Dir::open(place).unwrap(), places, &ObservedChanges::default(), filter, false)
}

fn entries(found: &Survey) -> Vec<TreePath> {
    found.entries.iter().map(|entry| entry.path.clone()).collect()
}

/// Surveys `a/b` as an entry and `a/b/` as a tree; the empty string is the root as an entry.
/// Returns the result in the same notation, with `-a` for a missing path.
fn found(place: &Path, marks: &[&str]) -> Vec<String> {
    let mut places = PathSet::new();
    for mark in marks {
        let scope = if mark.ends_with('/') { Scope::Tree } else { Scope::Entry };
        places.insert(&path(mark), scope);
    }
    let found = look(place, &places, &Filter::default());
    assert_eq!(found.unreadable, []);
    let root = found.root.map(|scope| format!("root {scope:?}"));
    let text = |list: &[TreePath], before: &str, after: &str| {
        list.iter().map(|path| format!("{before}{path}{after}")).collect::<Vec<_>>()
    };
    let lists = [
        text(&entries(&found), "", ""),
        text(&found.trees, "", "/"),
        text(&found.gone, "-", ""),
        root.into_iter().collect(),
    ];
    lists.concat()
}

#[test]
fn existing_paths_of_any_type_are_entries() {
    let place = tree("d/\nd/f\nl -> nowhere\nloop -> loop");
    assert_eq!(found(place.path(), &["d", "d/f", "l", "loop"]), ["/d", "/d/f", "/l", "/loop"]);
}

#[test]
fn only_a_directory_becomes_a_tree() {
    let place = tree("d/\nf\nl -> d");
    assert_eq!(found(place.path(), &["d/", "f/", "l/", "x/"]), ["/f", "/l", "/d/", "-/x"]);
}

#[test]
fn the_topmost_missing_path_is_listed_once() {
    let place = tree("d/");
    let marks = ["a/b/c", "a/b", "a/d/", "d/x/y/z", "d/x/w", "d/x-y", "q"];
    assert_eq!(found(place.path(), &marks), ["-/a", "-/d/x", "-/d/x-y", "-/q"]);
}

#[test]
fn a_path_below_a_file_or_symlink_is_replaced_by_that_entry() {
    let place = tree("f\nreal/\nreal/x\nl -> real\nd/\nd/m -> ../real");
    assert_eq!(
        found(place.path(), &["f/a", "f/b/c", "l/x", "l/y/", "d/m/x", "d"]),
        ["/d", "/d/m", "/f", "/l"]
    );
}

#[test]
fn the_root_is_listed_separately() {
    let place = tree("f");
    assert_eq!(found(place.path(), &["", "f"]), ["/f", "root Entry"]);
    let mut places = PathSet::new();
    places.insert(&TreePath::root(), Scope::Tree);
    let root = look(place.path(), &places, &Filter::default());
    assert_eq!(root, Survey { root: Some(Scope::Tree), ..Survey::default() });
    let nothing = look(place.path(), &PathSet::new(), &Filter::default());
    assert_eq!(nothing, Survey::default());
}

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff\xfe" } else { "\u{e9}".as_bytes() };

#[test]
fn names_can_have_any_bytes() {
    let place = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] = [b"new\nline", b"-rf", NOT_UTF8, b"*?[]\\", b"#x", &[b'n'; 255]];
    let mut places = PathSet::new();
    for name in names {
        fs::write(place.path().join(OsStr::from_bytes(name)), "").unwrap();
        places.insert(&path(name), Scope::Entry);
        places.insert(&path("gone").join(name).unwrap(), Scope::Entry);
    }
    // Longer than any file system allows, so it certainly does not exist.
    places.insert(&path([b'o'; 256]), Scope::Entry);
    let found = look(place.path(), &places, &Filter::default());
    assert_eq!(found.entries.len(), names.len());
    assert_eq!(found.gone, [path("gone"), path([b'o'; 256])]);
}

#[test]
fn paths_can_be_longer_than_path_max() {
    let place = tempfile::tempdir().unwrap();
    let root = Dir::open(place.path()).unwrap();
    let mut deep = TreePath::root();
    for _ in 0..30 {
        let here = root.open_below(deep.as_bytes()).unwrap();
        rustix::fs::mkdirat(&here, OsStr::from_bytes(&[b'n'; 200]), Mode::RWXU).unwrap();
        deep.push(&[b'n'; 200]).unwrap();
    }
    let mut places = PathSet::new();
    places.insert(&deep, Scope::Entry);
    places.insert(&deep.join(b"x").unwrap().join(b"y").unwrap(), Scope::Entry);
    let found = survey(&root, &places, &ObservedChanges::default(), &Filter::default(), false);
    assert_eq!(entries(&found), [deep.clone()]);
    assert_eq!(found.gone, [deep.join(b"x").unwrap()]);
    assert!(may_exist(&root, &deep));
    assert!(!may_exist(&root, &deep.join(b"x").unwrap()));
}

#[test]
fn an_entry_may_exist_unless_it_is_certainly_absent() {
    let place = tree("f\nreal/\nreal/x\nl -> real\nloose -> nowhere");
    let root = Dir::open(place.path()).unwrap();
    for mark in ["", "f", "real", "real/x", "l", "loose"] {
        assert!(may_exist(&root, &path(mark)), "{mark}");
    }
    for mark in ["g", "f/x", "real/y", "l/x", "loose/x", "g/x"] {
        assert!(!may_exist(&root, &path(mark)), "{mark}");
    }
    assert!(!may_exist(&root, &path([b'o'; 256])));
}

#[test]
fn unreadable_paths_are_not_missing() {
    // Root can read everything, so the test runs itself as another user.
    const PLACE: &str = "SURVEY_TEST_PLACE";
    if let Some(place) = std::env::var_os(PLACE) {
        let mut places = PathSet::new();
        for mark in ["shut/a", "shut/b/c", "open/x"] {
            places.insert(&path(mark), Scope::Entry);
        }
        let found = look(Path::new(&place), &places, &Filter::default());
        let unreadable: Vec<_> =
            found.unreadable.iter().map(|(place, _)| place.path.to_string()).collect();
        assert_eq!(unreadable, ["/shut/a", "/shut/b/c"]);
        assert!(found.unreadable[0].1.message.contains("Permission denied"), "{found:?}");
        assert_eq!(found.gone, [path("open/x")]);
        let root = Dir::open(Path::new(&place)).unwrap();
        assert!(may_exist(&root, &path("shut/a")) && !may_exist(&root, &path("open/x")));
        return;
    }
    let place = tree("shut/\nshut/a\nopen/");
    let name = std::thread::current().name().unwrap().to_owned();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(std::env::current_exe().unwrap());
        command
    } else {
        Command::new(std::env::current_exe().unwrap())
    };
    for (name, mode) in [("", Mode::from(0o755)), ("shut", Mode::empty())] {
        rustix::fs::chmod(place.path().join(name), mode).unwrap();
    }
    let output = command.args(["--exact", &name]).env(PLACE, place.path()).output().unwrap();
    rustix::fs::chmod(place.path().join("shut"), Mode::RWXU).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[test]
fn the_cost_is_linear_in_the_number_of_paths() {
    let place = tempfile::tempdir().unwrap();
    let mut places = PathSet::new();
    for number in 0..20_000 {
        fs::write(place.path().join(number.to_string()), "").unwrap();
        places.insert(&path(number.to_string()), Scope::Entry);
        places.insert(&path(format!("gone/{number}/x")), Scope::Entry);
    }
    let root = Dir::open(place.path()).unwrap();
    let start = Instant::now();
    let found = survey(&root, &places, &ObservedChanges::default(), &Filter::default(), false);
    assert_eq!((found.entries.len(), found.gone), (20_000, vec![path("gone")]));
    // Generous: a debug build on a loaded machine. Quadratic work would take minutes.
    assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
}

fn filter(rules: &[&[u8]]) -> Filter {
    let mut builder = Filter::builder();
    for rule in rules {
        builder.rule(rule, &mut |_| Err("no file".into())).unwrap();
    }
    builder.build()
}

#[test]
fn a_missing_path_is_judged_as_both_kinds() {
    let place = tree("");
    let rules: [&[u8]; 4] = [b"- both", b"+ */", b"+ *.conf", b"- *"];
    let mut places = PathSet::new();
    for mark in ["both", "name", "a.conf"] {
        places.insert(&path(mark), Scope::Entry);
    }
    let found = look(place.path(), &places, &filter(&rules));
    assert_eq!(found.gone, [path("a.conf")]);
    assert_eq!(found.unwanted, [(path("name"), UnwantedKind::Directory)]);
    let found = look(place.path(), &places, &filter(&[b"- */"]));
    let other = |name| (path(name), UnwantedKind::NonDirectory);
    assert_eq!(found.unwanted, [other("a.conf"), other("both"), other("name")]);
    // Rules that protect decide in the same way.
    let found = look(place.path(), &places, &filter(&[b"P both", b"P name/", b"P *.conf"]));
    assert_eq!((found.gone, found.unwanted), (vec![], vec![other("name")]));
}

#[test]
fn an_entry_replaced_by_an_excluded_one_is_unwanted_as_the_other_kind() {
    let place = tree("cache/\nf");
    let (directory, file) =
        ((path("cache"), UnwantedKind::NonDirectory), (path("f"), UnwantedKind::Directory));
    let places: PathSet = [("cache", Scope::Tree), ("f", Scope::Entry)]
        .map(|(name, scope)| DirtyPath { path: path(name), scope })
        .iter()
        .collect();
    let rules = filter(&[b"- cache/", b"+ f/", b"- f"]);
    let look = |observed: &ObservedChanges| {
        let found = survey(&Dir::open(place.path()).unwrap(), &places, observed, &rules, false);
        assert!(found.entries.is_empty() && found.trees.is_empty() && found.gone.is_empty());
        found.unwanted
    };
    assert_eq!(look(&ObservedChanges::default()), [directory.clone(), file.clone()]);
    // A write alone replaces nothing.
    let mut observed = ObservedChanges { written: places.clone(), ..ObservedChanges::default() };
    assert_eq!(look(&observed), []);
    observed.deleted.insert(&path("cache"), Scope::Entry);
    assert_eq!(look(&observed), [directory]);
}

#[test]
fn a_source_without_entries_of_its_own_is_empty() {
    let rules = filter(&[b"- *.tmp", b"- cache/"]);
    let all = || MirroredKinds {
        filter: &rules,
        links: true,
        prunes_empty_dirs: false,
        stays_on_file_system: false,
        sizes: ALL_SIZES,
    };
    let pruning = || MirroredKinds { prunes_empty_dirs: true, ..all() };
    for (lines, kinds, nothing) in [
        ("", all(), true),
        ("lost+found/\nSystem Volume Information/\n.Trash-1000/", all(), true),
        ("x.tmp\ncache/\ncache/f", all(), true),
        ("x.tmp\nf", all(), false),
        ("cache", all(), false),
        ("lost+found/\nd/", all(), false),
        ("l -> f", all(), false),
        ("l -> f", MirroredKinds { links: false, ..all() }, true),
        ("d/", pruning(), true),
        ("a/b/\nc/cache/\nc/cache/f\nc/lost+found/", pruning(), true),
        ("a/b/\nc/\nc/f", pruning(), false),
        ("four", MirroredKinds { sizes: 0..=3, ..all() }, true),
        ("four", MirroredKinds { sizes: 0..=4, ..all() }, false),
        ("d/", MirroredKinds { stays_on_file_system: true, ..all() }, false),
    ] {
        let place = tree(lines);
        let root = Dir::open(place.path()).unwrap();
        assert_eq!(kinds.finds_nothing(&root).unwrap(), nothing, "{lines}");
    }
    let place = tree("");
    nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(all().finds_nothing(&Dir::open(place.path()).unwrap()).unwrap());
}

#[test]
fn a_file_with_several_names_has_an_inode() {
    let place = tree("a\nb");
    fs::hard_link(place.path().join("a"), place.path().join("c")).unwrap();
    let places: PathSet = ["a", "b", "c"]
        .map(|name| DirtyPath { path: path(name), scope: Scope::Entry })
        .iter()
        .collect();
    let found = look(place.path(), &places, &Filter::default());
    let [a, b, c] = [0, 1, 2].map(|at| found.entries[at].linked);
    assert!(a.is_some() && b.is_none() && a == c, "{found:?}");
}
