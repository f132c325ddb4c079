//! Random histories: after each batch the target equals the source.

use std::{fmt::Write as _, os::unix::fs::symlink};

use mirror_core::plan::options::ListForm;

use super::*;

/// Names that are special to a shell, a pattern, a list or a terminal.
const NAMES: [&[u8]; 22] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"new\nline",
    b"-rf",
    b"--delete",
    b"#comment",
    b";comment",
    b"*",
    b"?x",
    b"[a-z]",
    b"x]y",
    b"back\\slash",
    b"back\\*",
    b"\\#012",
    b"quo\"te'",
    b" blank ",
    b"$HOME`id`",
    NOT_UTF8,
    b"...",
    b"{a,b}",
];

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff\xfe" } else { "\u{e9}".as_bytes() };

/// A random number generator (xorshift64*).
struct ChurnRng(u64);

impl ChurnRng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % end
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

struct RsyncChurn<'a> {
    fixture: &'a RsyncFixture,
    rng: ChurnRng,
    paths: PathSet,
    history: String,
}

impl RsyncChurn<'_> {
    fn mark(&mut self, path: &TreePath, scope: Scope) {
        writeln!(self.history, "  mark {path} {scope:?}").unwrap();
        self.paths.insert(path, scope);
    }

    fn at(&self, path: &TreePath) -> PathBuf {
        self.fixture.source(path.as_bytes())
    }

    fn directories(&self) -> Vec<TreePath> {
        self.paths(fs::Metadata::is_dir)
    }

    fn paths(&self, wanted: impl Fn(&fs::Metadata) -> bool) -> Vec<TreePath> {
        let root = self.fixture.root.path();
        let paths = snapshot(root).into_keys();
        paths
            .filter(|path| wanted(&fs::symlink_metadata(root.join(path)).unwrap()))
            .map(|path| TreePath::new(path.as_os_str().as_bytes()).unwrap())
            .collect()
    }

    /// Returns a name in a random directory, which may exist or not.
    fn name(&mut self) -> TreePath {
        let directories = self.directories();
        let name = self.rng.pick(&NAMES);
        self.rng.pick(&directories).join(name).unwrap()
    }

    fn remove(&mut self, path: &TreePath) {
        let at = self.at(path);
        match fs::symlink_metadata(&at) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(at).unwrap(),
            Ok(_) => fs::remove_file(at).unwrap(),
            Err(_) => {}
        }
    }

    fn step(&mut self) {
        let path = self.name();
        let what = self.rng.below(8);
        writeln!(self.history, "step {what} {path}").unwrap();
        if what != 6 {
            self.remove(&path);
        }
        let scope = match what {
            0 | 1 => {
                let content = self.rng.below(1000).to_string();
                fs::write(self.at(&path), content).unwrap();
                Scope::Entry
            }
            2 => {
                symlink(OsStr::from_bytes(self.rng.pick(&NAMES)), self.at(&path)).unwrap();
                Scope::Entry
            }
            3 | 4 => {
                let name = self.rng.pick(&NAMES);
                let inner = path.join(name).unwrap();
                fs::create_dir_all(self.at(&inner)).unwrap();
                fs::write(self.at(&inner.join(b"f").unwrap()), "in it").unwrap();
                Scope::Tree
            }
            5 => Scope::Entry,
            6 => return self.change(),
            _ => return self.rename(&path),
        };
        self.mark(&path, scope);
    }

    /// Changes a file, and keeps its size and the second of its time.
    fn change(&mut self) {
        let files = self.paths(fs::Metadata::is_file);
        if files.is_empty() {
            return;
        }
        let file = self.rng.pick(&files);
        let mut content = fs::read(self.at(&file)).unwrap();
        content[0] ^= 1;
        fs::write(self.at(&file), content).unwrap();
        self.mark(&file, Scope::Entry);
    }

    fn rename(&mut self, to: &TreePath) {
        let paths = self.paths(|_| true);
        let from = self.rng.pick(&paths);
        let possible =
            !from.is_root() && !from.contains(to) && self.at(to).parent().unwrap().exists();
        if possible && fs::rename(self.at(&from), self.at(to)).is_ok() {
            self.mark(&from, Scope::Entry);
            self.mark(to, Scope::Tree);
        }
        // The destination was removed.
        self.mark(to, Scope::Entry);
    }

    fn mark_something_wrong(&mut self) {
        let mut path = self.name();
        let name = self.rng.pick(&NAMES);
        path.push(name).unwrap();
        let scope = self.rng.pick(&[Scope::Entry, Scope::Tree]);
        self.mark(&path, scope);
    }
}

/// Evidence reported for the changed paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReportedEvents {
    /// All changes.
    All,
    /// Each change or none of it, at random.
    Some,
    /// No changes, only the paths. Then more is missing than may be deleted unobserved.
    None,
}

fn assert_converges(seed: u64, form: ListForm, reported: ReportedEvents) {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.form = form;
    if reported != ReportedEvents::All {
        fixture.max_delete = MaxDelete::Unlimited;
    }
    fixture.record();
    let executor = fixture.executor();
    let rng = ChurnRng(seed);
    let mut churn =
        RsyncChurn { fixture: &fixture, rng, paths: PathSet::new(), history: String::new() };
    fixture.write_on_both("first");
    fixture.write_on_both("last");
    assert_eq!(fixture.full(), Outcome::Done);
    for _ in 0..20 {
        for _ in 0..=churn.rng.below(12) {
            churn.step();
        }
        churn.mark_something_wrong();
        let paths = Arc::new(std::mem::take(&mut churn.paths));
        let observed = match reported {
            ReportedEvents::All => {
                let (written, gone) = ((*paths).clone(), (*paths).clone());
                Arc::new(ObservedChanges { written, deleted: gone, ..ObservedChanges::default() })
            }
            ReportedEvents::Some => {
                let mut some = || paths.iter().filter(|_| churn.rng.below(2) == 0).collect();
                let (written, deleted) = (some(), some());
                Arc::new(ObservedChanges { written, deleted, ..ObservedChanges::default() })
            }
            ReportedEvents::None => Arc::default(),
        };
        let work = Work::Batch { paths, observed, renames: Arc::default() };
        let outcome = executor.run(&mut job(work), &CancelToken::default());
        assert_eq!(outcome, Outcome::Done, "seed {seed}:\n{}", churn.history);
        let history = format!("seed {seed}:\n{}\n{}", churn.history, fixture.calls().join("\n"));
        assert_same(&snapshot(fixture.root.path()), &snapshot(&fixture.target("")), &history);
        churn.history.clear();
    }
}

#[test]
fn random_changes_converge() {
    assert_converges(1, ListForm::FilesFrom, ReportedEvents::All);
}

#[test]
fn random_changes_without_evidence_converge() {
    assert_converges(20_240_607, ListForm::FilesFrom, ReportedEvents::None);
}

#[test]
fn more_random_changes_converge() {
    assert_converges(99, ListForm::FilesFrom, ReportedEvents::All);
}

#[test]
fn random_changes_converge_with_filter_rules() {
    assert_converges(2, ListForm::Filter, ReportedEvents::All);
}

#[test]
fn random_changes_without_evidence_converge_with_filter_rules() {
    assert_converges(20_261_123, ListForm::Filter, ReportedEvents::None);
}

#[test]
fn random_changes_with_some_evidence_converge() {
    for seed in 1..=8 {
        assert_converges(seed, ListForm::FilesFrom, ReportedEvents::Some);
        assert_converges(seed, ListForm::Filter, ReportedEvents::Some);
    }
}

#[test]
fn every_name_is_created_changed_and_deleted() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let long = [b'n'; 255];
    let names: Vec<&[u8]> = NAMES.into_iter().chain([&long[..]]).collect();
    let inner: Vec<Vec<u8>> =
        names.iter().map(|name| [b"d/", *name].concat()).chain([b"keep".to_vec()]).collect();
    let marks: Vec<&[u8]> = names.iter().copied().chain(inner.iter().map(Vec::as_slice)).collect();
    fs::create_dir(fixture.source("d")).unwrap();
    for content in ["1", "2"] {
        for mark in &marks {
            if *mark != b"d" {
                fs::write(fixture.source(mark), content).unwrap();
            }
        }
        assert_eq!(fixture.batch(&marks), Outcome::Done);
        fixture.assert_equal();
    }
    for mark in marks.iter().filter(|mark| **mark != b"d" && **mark != b"keep") {
        fs::remove_file(fixture.source(mark)).unwrap();
    }
    assert_eq!(fixture.run(observed(&marks)), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn any_file_type_replaces_any_other() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    let make: [fn(&Path); 5] = [
        |path| fs::write(path, "file").unwrap(),
        |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("in"), "it").unwrap();
        },
        |path| symlink("nowhere", path).unwrap(),
        |path| symlink("../outside", path).unwrap(),
        |_| {},
    ];
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("in"), "precious").unwrap();
    fixture.write_on_both("keep");
    let path = fixture.source("x");
    for before in make {
        for after in make {
            for make in [before, after] {
                if fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir()) {
                    fs::remove_dir_all(&path).unwrap();
                } else {
                    let _ = fs::remove_file(&path);
                }
                make(&path);
                assert_eq!(fixture.batch(&[b"x/", b"x"]), Outcome::Done);
                fixture.assert_equal();
            }
            // A mark below a path that is no longer a directory.
            assert_eq!(fixture.batch(&[b"x/in"]), Outcome::Done);
            fixture.assert_equal();
        }
    }
    assert_eq!(fs::read(outside.join("in")).unwrap(), b"precious");
}
