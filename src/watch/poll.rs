//! Polling of directories for which the kernel reports no events.
//!
//! Polling has threads of its own, one for each root, because a network file system may block it. A
//! thread exists once there was something to poll.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use hashbrown::DefaultHashBuilder;
use mirror_core::{fs_event::MirrorId, path::TreePath};
use mirror_platform::{dir::Dir, entries::ReadBuffer, stat::Stat};

use super::backend::WatchTree;

/// Minimum time between two rounds.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// A round may take one part in this many of the time.
const LOAD_DIVISOR: u32 = 20;

/// Time without an answer after which a source counts as silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Command to the polling thread, which exits when all senders are gone.
#[derive(Debug)]
pub(super) enum PollCommand {
    /// Polls the directory at the path in the tree, and all below it. Answered with
    /// [`PollReport::Ready`] when the directories have been read.
    Add(WatchTree, TreePath),
    /// Stops polling for the mirror.
    Remove(MirrorId),
    /// Polls everything now, and reports [`PollReport::Barrier`] after the changes.
    Barrier(u64),
}

/// Report of the polling thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PollReport {
    /// From here on changes at and below the path are found, in this many directories.
    Ready(MirrorId, TreePath, usize),
    /// The entries of this directory have changed.
    Changed(MirrorId, TreePath),
    /// All changes before this request were reported.
    Barrier(u64),
}

/// The polled directories and their last known state.
#[derive(Debug, Default)]
pub(super) struct Poller {
    subtrees: Vec<PolledSubtree>,
    hasher: DefaultHashBuilder,
    progress: Arc<PollProgress>,
}

/// Progress of a polling thread.
#[derive(Debug, Default)]
struct PollProgress {
    is_reading: AtomicBool,
    /// Number of answers so far.
    answers: AtomicU64,
}

#[derive(Debug)]
struct PolledSubtree {
    tree: WatchTree,
    top: TreePath,
    fingerprints: HashMap<TreePath, u64>,
}

/// Polls as commanded, until `commands` has no sender any more. Passes the reports to `report`, and
/// tells `turns` of each beginning and end of reading.
fn run(
    commands: &Receiver<PollCommand>,
    report: impl Fn(Vec<PollReport>),
    progress: &Arc<PollProgress>,
    turns: &Sender<()>,
) {
    let mut poller = Poller { progress: Arc::clone(progress), ..Poller::default() };
    let turn = |is_reading| {
        progress.is_reading.store(is_reading, Ordering::Release);
        // Without the other thread, silence is not noticed.
        let _ = turns.send(());
    };
    let mut wait = MIN_INTERVAL;
    loop {
        let command = if poller.is_empty() {
            commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            commands.recv_timeout(wait)
        };
        turn(true);
        let reports = match command {
            Ok(command) => poller.handle(command),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let started = Instant::now();
                let reports = poller.round();
                wait = MIN_INTERVAL.max(started.elapsed() * LOAD_DIVISOR);
                reports
            }
        };
        turn(false);
        report(reports);
    }
}

/// Reports `false` when reading has made no progress for some time, and `true` when it does again,
/// until `turns` has no sender any more.
fn watch_progress(progress: &PollProgress, turns: &Receiver<()>, report: impl Fn(bool)) {
    let mut is_silent = false;
    let mut note = |is_silent_now| {
        if std::mem::replace(&mut is_silent, is_silent_now) != is_silent_now {
            report(!is_silent_now);
        }
    };
    while turns.recv().is_ok() {
        let mut before = progress.answers();
        while progress.is_reading() {
            let waited = turns.recv_timeout(SILENCE);
            if waited == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let now = progress.answers();
            note(waited.is_err() && progress.is_reading() && now == before);
            before = now;
        }
        note(false);
    }
}

/// Starts the polling thread, and one that reports by `answers` when the source does not answer for
/// some time, and when it answers again.
///
/// # Errors
///
/// If a thread can't be started.
pub(super) fn start(
    report: impl Fn(Vec<PollReport>) + Send + 'static,
    answers: impl Fn(bool) + Send + 'static,
) -> io::Result<Sender<PollCommand>> {
    let (sender, commands) = channel();
    let (turns, told) = channel();
    let progress = Arc::<PollProgress>::default();
    let watched = Arc::clone(&progress);
    let spawn = |name: &str| thread::Builder::new().name(name.into());
    spawn("watch-silence").spawn(move || watch_progress(&watched, &told, answers))?;
    spawn("watch-poll").spawn(move || run(&commands, report, &progress, &turns))?;
    Ok(sender)
}

impl PollProgress {
    fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Acquire)
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Poller {
    fn is_empty(&self) -> bool {
        self.subtrees.is_empty()
    }

    /// Executes a command.
    ///
    /// Where each change matters, a mirror may be polled only until a successor is polled instead
    /// of it: then the changes up to now are reported for the predecessor first.
    pub(super) fn handle(&mut self, command: PollCommand) -> Vec<PollReport> {
        match command {
            PollCommand::Remove(mirror) => {
                self.subtrees.retain(|subtree| subtree.tree.mirror != mirror);
                Vec::new()
            }
            PollCommand::Barrier(id) => {
                let mut reports = self.round();
                reports.push(PollReport::Barrier(id));
                reports
            }
            PollCommand::Add(tree, top) => {
                let mirror = tree.mirror;
                self.subtrees
                    .retain(|known| known.tree.mirror != mirror || !top.contains(&known.top));
                let is_known =
                    |known: &PolledSubtree| known.tree.mirror == mirror && known.top.contains(&top);
                let (mut count, mut reports) = (0, Vec::new());
                if !self.subtrees.iter().any(is_known) {
                    let mut subtree =
                        PolledSubtree { tree, top: top.clone(), fingerprints: HashMap::new() };
                    subtree.round(&self.hasher, &self.progress);
                    count = subtree.fingerprints.len();
                    reports = self.round_of(|other| subtree.may_replace(other));
                    self.subtrees.push(subtree);
                }
                reports.push(PollReport::Ready(mirror, top, count));
                reports
            }
        }
    }

    /// Reads all directories and reports the changes since the last round.
    pub(super) fn round(&mut self) -> Vec<PollReport> {
        self.round_of(|_| true)
    }

    fn round_of(&mut self, is_wanted: impl Fn(&PolledSubtree) -> bool) -> Vec<PollReport> {
        let Self { subtrees, hasher, progress } = self;
        subtrees
            .iter_mut()
            .filter(|subtree| is_wanted(subtree))
            .flat_map(|subtree| {
                let mirror = subtree.tree.mirror;
                let changed = subtree.round(hasher, progress);
                changed.into_iter().map(move |path| PollReport::Changed(mirror, path))
            })
            .collect()
    }
}

impl PolledSubtree {
    fn may_replace(&self, other: &Self) -> bool {
        let is_exact = self.tree.exact.is_some() && other.tree.exact.is_some();
        let overlap = self.top.contains(&other.top) || other.top.contains(&self.top);
        is_exact && overlap && self.tree.root == other.tree.root
    }

    /// Reads all directories. Returns those that are new, have changed or have become unreadable.
    fn round(&mut self, hasher: &DefaultHashBuilder, progress: &PollProgress) -> Vec<TreePath> {
        let mut fingerprints = HashMap::with_capacity(self.fingerprints.len());
        let mut changed = Vec::new();
        let mut rest = vec![self.top.clone()];
        let mut buffer = ReadBuffer::new();
        let root = Dir::open(&self.tree.root).ok();
        while let Some(path) = rest.pop() {
            let mut children = Vec::new();
            let on_entry = |name: Option<Box<[u8]>>| {
                progress.note_answer();
                children.extend(name);
            };
            // An unreadable directory has no fingerprint: it is reported once, because the program
            // that serves it may be dead, and again when it becomes readable.
            let Some(fingerprint) = root
                .as_ref()
                .and_then(|root| fingerprint_of(root, &path, &mut buffer, on_entry, hasher))
            else {
                changed.extend(self.fingerprints.contains_key(&path).then_some(path));
                continue;
            };
            if self.fingerprints.get(&path) != Some(&fingerprint) {
                changed.push(path.clone());
            }
            let below = children.iter().filter_map(|name| path.join(name));
            rest.extend(below.filter(|child| !(self.tree.skip)(child)));
            fingerprints.insert(path, fingerprint);
        }
        self.fingerprints = fingerprints;
        changed
    }
}

/// Reads a directory. Returns a fingerprint that differs if anything of its entries differs. Calls
/// `on_entry` for each entry, with the name of a directory.
fn fingerprint_of(
    root: &Dir,
    path: &TreePath,
    buffer: &mut ReadBuffer,
    mut on_entry: impl FnMut(Option<Box<[u8]>>),
    hasher: &DefaultHashBuilder,
) -> Option<u64> {
    let dir = root.open_below(path.as_bytes()).ok()?;
    let own = dir.stat(b"").ok()?;
    // The directory's times reveal an entry that was created and deleted since, and that may have
    // been copied meanwhile.
    let times = [own.mtime, own.ctime].map(|time| (time.seconds, time.nanoseconds));
    // A sum, because the order of a listing is arbitrary.
    let mut fingerprint = hasher.hash_one((entry_properties(&own, b""), times));
    dir.read(buffer, |entry| {
        // An entry that has disappeared by now changes the fingerprint by its absence.
        if let Ok(stat) = dir.stat(entry.name) {
            fingerprint =
                fingerprint.wrapping_add(hasher.hash_one(entry_properties(&stat, entry.name)));
        }
        on_entry(entry.file_type.is_dir().then(|| entry.name.into()));
        Ok(())
    })
    .ok()?;
    Some(fingerprint)
}

/// Returns the properties of an entry that reveal a change.
fn entry_properties<'a>(stat: &Stat, name: &'a [u8]) -> impl std::hash::Hash + use<'a> {
    let is_directory = stat.mode & 0o170_000 == 0o040_000;
    let [modified, changed] = [stat.mtime, stat.ctime].map(|time| (time.seconds, time.nanoseconds));
    // The size and the times of a directory reflect its own entries, and it is read anyway.
    let content = (!is_directory).then_some((stat.size, modified, changed));
    (name, stat.mode, stat.uid, stat.gid, (stat.device, stat.inode), content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::fs_event::WriteDetection;
    use std::{fs, path::Path, sync::Arc};

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn tree(mirror: u32, root: &Path) -> WatchTree {
        let skip = Arc::new(|path: &TreePath| path.as_bytes().starts_with(b"skipped"));
        WatchTree { skip, ..WatchTree::whole(mirror, root) }
    }

    fn command(root: &Path, top: &str) -> PollCommand {
        PollCommand::Add(tree(1, root), path(top))
    }

    fn changed(paths: &[&str]) -> Vec<PollReport> {
        paths.iter().map(|p| PollReport::Changed(MirrorId(1), path(p))).collect()
    }

    #[test]
    fn a_change_is_reported_as_its_directory() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a/b", "c", "skipped"] {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        fs::write(place.path().join("a/b/f"), "one").unwrap();
        let mut poller = Poller::default();
        let known = poller.handle(command(place.path(), ""));
        assert_eq!(known, [PollReport::Ready(MirrorId(1), path(""), 4)]);
        assert_eq!(poller.round(), []);
        // The new content has another length: within one tick of a coarse clock the time is the
        // same.
        fs::write(place.path().join("a/b/f"), "another").unwrap();
        fs::write(place.path().join("skipped/f"), "two").unwrap();
        assert_eq!(poller.round(), changed(&["a/b"]));
        fs::create_dir(place.path().join("c/new")).unwrap();
        assert_eq!(poller.round(), changed(&["c", "c/new"]));
        fs::remove_dir(place.path().join("c/new")).unwrap();
        assert_eq!(poller.round(), changed(&["c"]));
        poller.handle(PollCommand::Remove(MirrorId(1)));
        assert!(poller.is_empty());
    }

    #[test]
    fn a_root_that_cannot_be_opened_is_reported_once() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        let mut poller = Poller::default();
        poller.handle(command(&root, ""));
        fs::rename(&root, place.path().join("other")).unwrap();
        assert_eq!(poller.round(), changed(&[""]));
        assert_eq!(poller.round(), []);
        fs::rename(place.path().join("other"), &root).unwrap();
        assert_eq!(poller.round(), changed(&["", "a"]));
    }

    #[test]
    fn a_transient_entry_between_rounds_is_reported() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("a")).unwrap();
        let mut poller = Poller::default();
        poller.handle(command(place.path(), ""));
        // With a coarse clock it may take a tick until the change is visible.
        let started = fs::metadata(place.path().join("a")).unwrap().modified().unwrap();
        while fs::metadata(place.path().join("a")).unwrap().modified().unwrap() == started {
            fs::write(place.path().join("a/f"), "").unwrap();
            fs::remove_file(place.path().join("a/f")).unwrap();
        }
        assert_eq!(poller.round(), changed(&["a"]));
        assert_eq!(poller.round(), []);
    }

    #[test]
    fn a_subtree_is_polled_once() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/b")).unwrap();
        let mut poller = Poller::default();
        for top in ["a/b", "a", "a/b", "a"] {
            assert!(matches!(&*poller.handle(command(place.path(), top)), [PollReport::Ready(..)]));
        }
        assert_eq!(poller.subtrees.len(), 1);
        fs::write(place.path().join("a/b/f"), "").unwrap();
        assert_eq!(poller.round(), changed(&["a/b"]));
    }

    #[test]
    fn pending_changes_are_reported_before_a_successor_starts() {
        let place = tempfile::tempdir().unwrap();
        let mut poller = Poller::default();
        let add = |poller: &mut Poller, mirror, exact| {
            poller.handle(PollCommand::Add(
                WatchTree { exact, ..tree(mirror, place.path()) },
                path(""),
            ))
        };
        let known = |mirror| PollReport::Ready(MirrorId(mirror), path(""), 1);
        assert_eq!(add(&mut poller, 1, Some(WriteDetection::default())), [known(1)]);
        fs::write(place.path().join("f"), "").unwrap();
        assert_eq!(add(&mut poller, 2, None), [known(2)]);
        let changed = PollReport::Changed(MirrorId(1), path(""));
        assert_eq!(add(&mut poller, 3, Some(WriteDetection::default())), [changed, known(3)]);
        assert_eq!(poller.round(), []);
    }
}
