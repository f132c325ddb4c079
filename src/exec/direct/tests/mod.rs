//! The copier on real file systems.

mod attributes;
mod budget;
mod churn;
mod disks;
mod filters;
mod heard;
mod moves;
mod names;
mod options;
mod races;
mod safety;
mod tree;
mod user;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    filter::Filter,
    guard::MaxDelete,
    job::{Job, JobId, Outcome, Place, Rename, Scope, Work},
    notice::MirrorId,
    path::TreePath,
    plan::direct::DirectOptions,
    queue::{Heard, PlaceSet},
};
use rustix::{
    fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat},
    process::geteuid,
};
use tempfile::TempDir;

use super::{Delete, DirectExecutor, Settings};
use crate::{
    exec::{Executor, process::cancel::Stop, source_root::SourceRoot},
    report::Log,
};

const ALWAYS: Delete = Delete { startup: true, running: true };

/// A source and a target in a directory of their own, and who copies.
struct Mirror {
    executor: DirectExecutor,
    source: PathBuf,
    target: PathBuf,
    /// Removed at the end.
    _place: TempDir,
}

impl Mirror {
    /// Two empty directories.
    fn new() -> Self {
        Self::with(ALWAYS)
    }

    fn with(delete: Delete) -> Self {
        Self::filtered(delete, Filter::default())
    }

    fn filtered(delete: Delete, filter: Filter) -> Self {
        let place = tempfile::tempdir().unwrap();
        let (source, target) = (place.path().join("source"), place.path().join("target"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        let mut executor = executor(&source, &target, delete);
        executor.settings.filter = Arc::new(filter);
        Self { executor, source, target, _place: place }
    }

    fn source(&self, path: &str) -> PathBuf {
        self.source.join(path)
    }

    fn target(&self, path: &str) -> PathBuf {
        self.target.join(path)
    }

    fn full(&self) -> Outcome {
        self.run(Work::full())
    }

    /// `a b/` looks at the entry `a` and at all of `b`.
    fn batch(&self, places: &str) -> Outcome {
        self.batch_with(places, "")
    }

    /// As [`batch`](Self::batch), with renames such as `a>b`.
    fn batch_with(&self, places: &str, moves: &str) -> Outcome {
        let places: Vec<Place> = places.split_whitespace().map(place).collect();
        let moves: Vec<Rename> = moves.split_whitespace().map(rename).collect();
        self.run(work(&places, &moves))
    }

    /// As [`batch`](Self::batch), where these names were seen to go and those to be written.
    fn batch_heard(&self, places: &str, gone: &str, written: &str) -> Outcome {
        let places: PlaceSet =
            places.split_whitespace().map(place).collect::<Vec<_>>().iter().collect();
        let heard = heard(gone, written);
        self.run(Work::Batch { places: Arc::new(places), heard, moves: Arc::new([]) })
    }

    fn run(&self, work: Work) -> Outcome {
        let mut job = Job { id: JobId(1), mirror: MirrorId(0), work };
        self.executor.run(&mut job, &Stop::default())
    }

    /// Both trees are the same in all that is mirrored.
    #[track_caller]
    fn assert_same(&self) {
        tree::assert_same(&self.source, &self.target);
    }

    /// Everything is mirrored by a full pass.
    #[track_caller]
    fn assert_mirrored(&self) {
        assert_eq!(self.full(), Outcome::Done);
        self.assert_same();
    }
}

fn executor(source: &Path, target: &Path, delete: Delete) -> DirectExecutor {
    let root = Arc::new(SourceRoot::new(source.canonicalize().unwrap()));
    root.pin().unwrap();
    let filter = Arc::new(Filter::default());
    let workers = NonZeroUsize::new(3).unwrap();
    let settings = Settings {
        target: target.to_path_buf(),
        filter,
        delete,
        moves: true,
        max_delete: MaxDelete::Unlimited,
        max_delete_seen: MaxDelete::Unlimited,
        modify_window: None,
        durable: false,
        options: DirectOptions::default(),
        workers,
    };
    DirectExecutor::new(root, settings, Log::default())
}

/// These names were seen to go, and those to be written.
fn heard(gone: &str, written: &str) -> Arc<Heard> {
    let set = |names: &str| names.split_whitespace().map(place).collect::<Vec<_>>();
    Arc::new(Heard {
        gone: set(gone).iter().collect(),
        written: set(written).iter().collect(),
        ..Heard::default()
    })
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn place(text: &str) -> Place {
    let scope = if text.ends_with('/') { Scope::Tree } else { Scope::Entry };
    Place { path: path(text), scope }
}

fn rename(text: &str) -> Rename {
    let (from, to) = text.split_once('>').unwrap();
    Rename { from: path(from), to: path(to) }
}

fn work(places: &[Place], moves: &[Rename]) -> Work {
    let mut set = PlaceSet::new();
    for place in places {
        set.insert(&place.path, place.scope);
    }
    Work::Batch { places: Arc::new(set), heard: Arc::default(), moves: moves.into() }
}

/// What was reported for each place.
#[track_caller]
fn failures(outcome: Outcome) -> Vec<(String, String)> {
    let Outcome::Partly(failures) = outcome else { panic!("{outcome:?}") };
    failures.into_iter().map(|(place, failure)| (place.path.to_string(), failure.why)).collect()
}

/// Sets the time of an entry to so many seconds after a day in 2001.
fn age(path: &Path, seconds: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 1_000_000_000 + seconds, tv_nsec: 123_456_789 },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Whether this test can do what only root can. In CI it has to.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "this test needs root");
    is_root
}
