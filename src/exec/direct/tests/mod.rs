//! The copier on real file systems.

mod attributes;
mod budget;
mod case;
mod churn;
#[cfg(target_os = "linux")]
mod clones;
mod disks;
mod filters;
#[cfg(target_os = "linux")]
mod fuse;
mod names;
mod options;
mod races;
mod renames;
mod reported_events;
mod safety;
mod tree;
mod unprivileged;

use std::{
    fs::{self, Permissions},
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    filter::Filter,
    fs_event::MirrorId,
    guard::MaxDelete,
    job::{DirtyPath, Job, JobId, Outcome, Rename, Scope, Work},
    path::TreePath,
    plan::{direct::DirectOptions, options::DeletePolicy},
    queue::{ObservedChanges, PathSet},
};
use rustix::{
    fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat},
    process::geteuid,
};
use tempfile::TempDir;

use super::{DirectExecutor, DirectSettings};
use crate::{
    exec::{
        Executor,
        process::cancel::CancelToken,
        source_root::{SourceRoot, SourceRules},
    },
    report::Log,
};

const ALWAYS: DeletePolicy = DeletePolicy::Always;

/// Source, target and executor in a temporary directory.
pub(super) struct CopierFixture {
    pub(super) executor: DirectExecutor,
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    /// Removed on drop.
    _temp: TempDir,
}

impl CopierFixture {
    /// Creates two empty directories.
    pub(super) fn new() -> Self {
        Self::with(ALWAYS)
    }

    fn with(delete: DeletePolicy) -> Self {
        Self::filtered(delete, Filter::default())
    }

    fn filtered(delete: DeletePolicy, filter: Filter) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("source"), temp.path().join("target"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        let mut executor = executor(&source, &target, delete);
        executor.settings.filter = Arc::new(filter);
        Self { executor, source, target, _temp: temp }
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

    /// Runs a batch: `a b/` is the entry `a` and the tree `b`.
    fn batch(&self, paths: &str) -> Outcome {
        self.batch_with(paths, "")
    }

    /// Runs a [`batch`](Self::batch) with renames such as `a>b`.
    fn batch_with(&self, paths: &str, renames: &str) -> Outcome {
        let paths: Vec<DirtyPath> = paths.split_whitespace().map(dirty_path).collect();
        let renames: Vec<Rename> = renames.split_whitespace().map(rename).collect();
        self.run(work(&paths, &renames))
    }

    /// Runs a [`batch`](Self::batch) with reported deletions and writes.
    fn batch_observed(&self, paths: &str, gone: &str, written: &str) -> Outcome {
        let paths: PathSet =
            paths.split_whitespace().map(dirty_path).collect::<Vec<_>>().iter().collect();
        let observed = observed_changes(gone, written);
        self.run(Work::Batch { paths: Arc::new(paths), observed, renames: Arc::new([]) })
    }

    fn run(&self, work: Work) -> Outcome {
        let mut job = Job::new(JobId(1), MirrorId(0), work);
        self.executor.run(&mut job, &CancelToken::default())
    }

    /// Asserts that all mirrored properties of both trees are equal.
    #[track_caller]
    fn assert_same(&self) {
        tree::assert_same(&self.source, &self.target);
    }

    /// Asserts that a full pass mirrors everything.
    #[track_caller]
    fn assert_mirrored(&self) {
        assert_eq!(self.full(), Outcome::Done);
        self.assert_same();
    }
}

fn executor(source: &Path, target: &Path, delete: DeletePolicy) -> DirectExecutor {
    let root = Arc::new(SourceRoot::new(source.canonicalize().unwrap(), SourceRules::default()));
    root.pin().unwrap();
    let filter = Arc::new(Filter::default());
    let workers = NonZeroUsize::new(3).unwrap();
    let settings = DirectSettings {
        target: target.to_path_buf(),
        filter,
        delete,
        renames: true,
        max_delete: MaxDelete::Unlimited,
        max_delete_seen: MaxDelete::Unlimited,
        modify_window: None,
        durable: false,
        options: DirectOptions::default(),
        workers,
    };
    DirectExecutor::new(root, settings, Arc::default(), Log::default())
}

/// Returns reported deletions and writes.
fn observed_changes(gone: &str, written: &str) -> Arc<ObservedChanges> {
    let set = |names: &str| names.split_whitespace().map(dirty_path).collect::<Vec<_>>();
    Arc::new(ObservedChanges {
        deleted: set(gone).iter().collect(),
        written: set(written).iter().collect(),
        ..ObservedChanges::default()
    })
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn dirty_path(text: &str) -> DirtyPath {
    let scope = if text.ends_with('/') { Scope::Tree } else { Scope::Entry };
    DirtyPath { path: path(text), scope }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn rename(text: &str) -> Rename {
    let (from, to) = text.split_once('>').unwrap();
    Rename { from: path(from), to: path(to) }
}

fn work(paths: &[DirtyPath], renames: &[Rename]) -> Work {
    let mut set = PathSet::new();
    for dirty in paths {
        set.insert(&dirty.path, dirty.scope);
    }
    Work::Batch { paths: Arc::new(set), observed: Arc::default(), renames: renames.into() }
}

/// Returns the failure of each path.
#[track_caller]
fn failures(outcome: Outcome) -> Vec<(String, String)> {
    let Outcome::Partial(failures) = outcome else { panic!("{outcome:?}") };
    failures.into_iter().map(|(dirty, failure)| (dirty.path.to_string(), failure.message)).collect()
}

/// Sets the modification time to this number of seconds after a day in 2001.
fn age(path: &Path, seconds: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 1_000_000_000 + seconds, tv_nsec: 123_456_789 },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Returns true if the test runs as root, which CI requires.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    assert!(is_root || std::env::var_os("CI").is_none(), "this test needs root");
    is_root
}
