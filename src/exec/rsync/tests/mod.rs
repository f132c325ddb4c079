//! Tests with the real rsync, or with a script in its place.

mod calls;
mod case;
mod churn;
mod content;
mod deletion_guard;
mod failures;
mod mounts;
mod statistics;
mod time_precision;
mod whole_directories;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt as _},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::SystemTime,
};

use mirror_core::{
    fs_event::MirrorId,
    job::{DirtyPath, JobId, Scope},
    path::TreePath,
    queue::{ObservedChanges, PathSet},
};
use tempfile::TempDir;

use super::*;
use crate::exec::source_root::SourceRules;

/// A source, a target, and an executor between them.
struct RsyncFixture {
    dir: TempDir,
    binary: OsString,
    options: RsyncOptions,
    codes: ExitCodes,
    filter: Arc<Filter>,
    batch_size_limit: Option<u64>,
    separate_large_files: bool,
    max_delete: MaxDelete,
    max_delete_seen: MaxDelete,
    /// Overrides the target argument.
    target_arg: Option<Vec<u8>>,
    root: Arc<SourceRoot>,
}

impl RsyncFixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().canonicalize().unwrap().join("src");
        fs::create_dir(&source).unwrap();
        fs::create_dir(dir.path().join("dst")).unwrap();
        let root = Arc::new(SourceRoot::new(source, SourceRules::default()));
        root.pin().unwrap();
        Self {
            dir,
            binary: "rsync".into(),
            options: RsyncOptions::default(),
            codes: ExitCodes::rsync(),
            filter: Arc::default(),
            batch_size_limit: None,
            separate_large_files: false,
            max_delete: MaxDelete::default(),
            max_delete_seen: MaxDelete::Unlimited,
            target_arg: None,
            root,
        }
    }

    /// Returns `None`, with a message, where rsync is not installed.
    fn with_rsync() -> Option<Self> {
        let version = Command::new("rsync").arg("--version").stdout(Stdio::null()).status();
        if version.is_err() {
            assert!(std::env::var_os("CI").is_none(), "there has to be an rsync");
            println!("skipped: there is no rsync");
        }
        version.ok().map(|_| Self::new())
    }

    fn source(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.root.path().join(OsStr::from_bytes(name.as_ref()))
    }

    fn target(&self, name: impl AsRef<[u8]>) -> PathBuf {
        let target = self.root.path().with_file_name("dst");
        target.join(OsStr::from_bytes(name.as_ref()))
    }

    /// Writes the same old file at the source and at the target. Files written within one tick of
    /// the kernel's clock have the same time, and with the same size rsync takes them for equal.
    fn write_on_both(&self, name: &str) {
        for path in [self.source(name), self.target(name)] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }

    /// Replaces rsync by a shell script. Its `$PLACE` is the fixture's directory.
    fn use_script(&mut self, script: &str) {
        let path = self.dir.path().join("rsync.sh");
        let text = format!("#!/bin/sh\nPLACE='{}'\n{script}\n", self.dir.path().display());
        // A file written by this process could not be executed while a forked child of another test
        // holds its descriptor (ETXTBSY).
        let write = "printf '%s' \"$1\" >\"$2\" && chmod 755 \"$2\"";
        let status = Command::new("sh").args(["-c", write, "sh", &text]).arg(&path).status();
        assert!(status.unwrap().success());
        self.binary = path.into();
    }

    /// Runs the real rsync, and records its arguments.
    fn record(&mut self) {
        self.use_script(RECORD);
    }

    /// Returns the recorded calls, without the directory of the fixture.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        let place = self.root.path().parent().unwrap().to_str().unwrap().to_owned();
        text.lines().map(|line| line.replace(&place, "")).collect()
    }

    /// Reaches the same target directory through a remote shell, so that it does not look local.
    fn use_remote_shell(&mut self) {
        let shell = self.dir.path().join("shell.sh");
        let write = "printf '#!/bin/sh\\nshift; exec sh -c \"$*\"\\n' >\"$1\" && chmod 755 \"$1\"";
        let status = Command::new("sh").args(["-c", write, "sh"]).arg(&shell).status();
        assert!(status.unwrap().success());
        let word = [b"--rsh=", shell.as_os_str().as_bytes()].concat();
        self.options.extra.push(word);
        self.target_arg = Some([b"host:", self.target("").as_os_str().as_bytes()].concat());
    }

    /// Reaches the target directory as a module of an rsync daemon with these settings.
    fn use_daemon(&mut self, settings: &str) {
        let path = self.target("");
        let (path, root) = (path.display(), rustix::process::geteuid().is_root());
        let user = if root { "uid = root\ngid = root" } else { "" };
        let text =
            format!("use chroot = no\n[m]\npath = {path}\nread only = false\n{user}\n{settings}\n");
        fs::write(self.dir.path().join("rsyncd.conf"), text).unwrap();
        self.use_script(
            "export RSYNC_CONNECT_PROG=\"rsync --server --daemon --config=$PLACE/rsyncd.conf .\"\n\
             exec rsync \"$@\"",
        );
        self.target_arg = Some(b"rsync://host/m/".to_vec());
    }

    fn executor(&self) -> RsyncExecutor {
        let target = self.target("").into_os_string().into_vec();
        RsyncExecutor::new(RsyncConfig {
            working_dir: "/".into(),
            remote_shell: None,
            master: None,
            root: Arc::clone(&self.root),
            target: Target::new(self.target_arg.as_ref().unwrap_or(&target)).unwrap(),
            options: self.options.clone(),
            filter: Arc::clone(&self.filter),
            binary: self.binary.clone(),
            codes: self.codes.clone(),
            batch_size_limit: self.batch_size_limit,
            separate_large_files: self.separate_large_files,
            max_delete: self.max_delete,
            max_delete_seen: self.max_delete_seen,
            modify_window: None,
            state: None,
            renames: None,
            mark: None,
            output: ChildOutput::Null,
            log: Log::default(),
        })
    }

    fn run(&self, work: Work) -> Outcome {
        self.executor().run(&mut job(work), &CancelToken::default())
    }

    fn full(&self) -> Outcome {
        self.run(Work::full())
    }

    fn batch(&self, marks: &[&[u8]]) -> Outcome {
        self.run(batch(marks))
    }

    fn assert_equal(&self) {
        assert_same(&snapshot(self.root.path()), &snapshot(&self.target("")), "");
    }
}

const RECORD: &str = r#"for word; do printf '[%s] ' "$word"; done >>"$PLACE/calls"
echo >>"$PLACE/calls"
exec rsync "$@""#;

fn job(work: Work) -> Job {
    Job::new(JobId(1), MirrorId(1), work)
}

/// Returns a batch: `a/b` is an entry, `a/b/` a tree.
fn batch(marks: &[&[u8]]) -> Work {
    let mut paths = PathSet::new();
    for mark in marks {
        let scope = if mark.ends_with(b"/") { Scope::Tree } else { Scope::Entry };
        paths.insert(&TreePath::new(mark).unwrap(), scope);
    }
    Work::Batch { paths: Arc::new(paths), observed: Arc::default(), renames: Arc::default() }
}

/// Like `batch`, with observed writes and deletions of all paths.
fn observed(marks: &[&[u8]]) -> Work {
    let Work::Batch { paths, renames, .. } = batch(marks) else { panic!() };
    let (written, gone) = ((*paths).clone(), (*paths).clone());
    Work::Batch {
        paths,
        observed: Arc::new(ObservedChanges {
            written,
            deleted: gone,
            ..ObservedChanges::default()
        }),
        renames,
    }
}

/// Like `batch`, with observed writes of all paths, and no deletions.
fn written(marks: &[&[u8]]) -> Work {
    let Work::Batch { paths, renames, .. } = batch(marks) else { panic!() };
    let written = (*paths).clone();
    Work::Batch {
        paths,
        observed: Arc::new(ObservedChanges { written, ..ObservedChanges::default() }),
        renames,
    }
}

/// Returns the failed paths of an outcome: `/a Entry`.
fn failed_paths(outcome: &Outcome) -> Vec<String> {
    let Outcome::Partial(failed) = outcome else { panic!("{outcome:?}") };
    let mut failed: Vec<_> =
        failed.iter().map(|(place, _)| format!("{} {:?}", place.path, place.scope)).collect();
    failed.sort();
    failed.dedup();
    failed
}

/// The entries of a tree: type and content, and the modification time.
type RsyncTreeSnapshot = BTreeMap<PathBuf, (String, i64, i64)>;

fn snapshot(root: &Path) -> RsyncTreeSnapshot {
    let mut found = RsyncTreeSnapshot::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let what = if about.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "directory".to_owned()
        } else if about.is_symlink() {
            format!("link to {:?}", fs::read_link(&path).unwrap())
        } else {
            format!("file {:?}", fs::read(&path).unwrap())
        };
        let name = path.strip_prefix(root).unwrap().to_owned();
        found.insert(name, (what, about.mtime(), about.mtime_nsec()));
    }
    found
}

fn assert_same(source: &RsyncTreeSnapshot, target: &RsyncTreeSnapshot, history: &str) {
    let differences: Vec<_> = source
        .iter()
        .filter(|(path, what)| target.get(*path) != Some(what))
        .map(|(path, what)| format!("{path:?}: {what:?}, on the target {:?}", target.get(path)))
        .chain(
            target
                .keys()
                .filter(|path| !source.contains_key(*path))
                .map(|path| format!("{path:?} is on the target only")),
        )
        .collect();
    assert!(differences.is_empty(), "{}\n{history}", differences.join("\n"));
}

/// Returns true if a script can mount a file system in a namespace of its own. If not, prints a
/// message.
fn can_mount_in_namespace() -> bool {
    let alone = ["--user", "--map-root-user", "--mount"];
    let may = Command::new("unshare").args(alone).arg("true").stderr(Stdio::null()).status();
    let may = may.is_ok_and(|status| status.success());
    if !may {
        println!("skipped: no file system can be mounted here");
    }
    may
}
