//! Random changes of a source.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    confined_tree::{ConfinedEntry, ConfinedTree},
    history::ChangeHistory,
    plan::{RoundPlan, SyncLayout, WatchLimit},
    random::TortureRng,
};

/// Few names, so that changes collide often.
const NAMES: [&str; 6] = ["a", "b", "c", "d d", "e\n", "f*"];
/// Excluded names.
const EXCLUDED_NAMES: [&str; 2] = ["skip", "g.tmp"];
/// The patterns for [`EXCLUDED_NAMES`], as Lua.
pub(crate) const PATTERNS: &str = "{ 'skip', '*.tmp' }";
/// A directory that is deleted and recreated, but never changes its type. On the target it contains
/// an excluded file.
pub(crate) const RECREATED_DIR: &str = "dirs";
/// The name of the second source in the first one, which is never deleted.
pub(crate) const INNER: &str = "in";
/// Maximum depth of new paths.
const DEPTH: u64 = 4;
/// Maximum length of most files.
const SMALL: u64 = 3000;
/// Maximum length of a large file.
const LARGE: u64 = 400_000;

/// Returns true if [`PATTERNS`] exclude a path below a source.
pub(crate) fn is_excluded(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b"skip" || name.ends_with(b".tmp"))
}

/// One thread that changes a source.
#[derive(Debug)]
pub(crate) struct TreeMutator<'a> {
    plan: &'a RoundPlan,
    random: TortureRng,
    history: &'a ChangeHistory,
    source: ConfinedTree,
    outside: ConfinedTree,
    canary: PathBuf,
    parked: Vec<PathBuf>,
    /// The inodes of files that got a second name.
    linked: BTreeSet<u64>,
    number: u64,
}

/// A verb, and the paths that were changed.
type MutationRecord = (&'static str, Vec<PathBuf>);

impl<'a> TreeMutator<'a> {
    /// Creates the mutator of this number, which changes `source` and moves trees to `outside` and
    /// back.
    pub(crate) fn new(
        plan: &'a RoundPlan,
        number: u64,
        history: &'a ChangeHistory,
        [source, outside, canary]: [&Path; 3],
    ) -> io::Result<Self> {
        Ok(Self {
            plan,
            random: TortureRng::new(plan.seed.wrapping_mul(1000) + number),
            history,
            source: ConfinedTree::open(source)?,
            outside: ConfinedTree::open(outside)?,
            canary: canary.to_owned(),
            parked: Vec::new(),
            linked: BTreeSet::new(),
            number,
        })
    }

    /// Makes changes until `stop` is set.
    pub(crate) fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.mutate();
            if self.random.once_in(4) {
                // Lets other threads and the daemon run.
                thread::sleep(Duration::from_micros(self.random.below(3000)));
            }
        }
    }

    /// Tries one change, which may be impossible.
    pub(crate) fn mutate(&mut self) {
        let Ok((verb, paths)) = self.try_mutation() else { return };
        let paths: Vec<Vec<u8>> =
            paths.iter().map(|path| [b"/", path.as_os_str().as_bytes()].concat()).collect();
        let shown: Vec<String> = paths.iter().map(|it| it.escape_ascii().to_string()).collect();
        let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
        self.history.add(&paths, &format!("{verb} {}", shown.join(" ")));
    }

    fn try_mutation(&mut self) -> io::Result<MutationRecord> {
        let path = self.random_path();
        let entry = self.source.entry(&path);
        match self.random.below(40) {
            0..=4 => self.write(&entry?, path),
            5..=7 => self.change(&entry?, path),
            8..=10 => self.create_dirs(path),
            11..=14 => self.rename(&entry?, path),
            15 => self.exchange(&entry?, path),
            16..=19 => self.remove(&entry?, path),
            20 | 21 => self.symlink(&entry?, path),
            22..=24 => self.attributes(&entry?, path),
            25 | 26 => self.populate(path),
            27 if !self.plan.links => self.move_out(&entry?, path),
            28 if !self.plan.links => self.move_in(&entry?, path),
            27..=29 if self.plan.links => self.link(&entry?, path),
            30 | 31 if self.plan.allows_unnoticed_writes() => {
                let bytes = self.random.bytes(SMALL);
                entry?.write_unnoticed(&bytes).map(|()| ("rewrote unnoticed", vec![path]))
            }
            32 if self.plan.excludes => self.recreate_dir(),
            33 => self.hold_open(&entry?, path),
            // An entry that is not transferred would leave the old one on the target.
            34 if self.plan.archive => {
                entry?.create_fifo().map(|()| ("created the fifo", vec![path]))
            }
            35 | 36 => self.replace(&entry?, path),
            _ => self.map(&entry?, path),
        }
    }

    /// Returns a path in the source, which mostly does not exist yet.
    fn random_path(&mut self) -> PathBuf {
        let inner = self.plan.layout == SyncLayout::Nested && self.random.once_in(2);
        let top = if inner { PathBuf::from(INNER) } else { PathBuf::new() };
        (0..=self.random.below(DEPTH)).fold(top, |path, _| {
            let name = if self.plan.excludes && self.random.once_in(8) {
                self.random.pick(&EXCLUDED_NAMES)
            } else {
                self.random.pick(&NAMES)
            };
            path.join(name)
        })
    }

    fn random_length(&mut self) -> u64 {
        let most = if self.random.once_in(30) { LARGE } else { SMALL };
        self.random.below(most)
    }

    fn write(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let length = self.random_length();
        entry.write(&self.random.bytes(length)).map(|()| ("wrote", vec![path]))
    }

    /// Changes an existing file.
    fn change(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let (length, offset) = (self.random.below(200), self.random.below(SMALL));
        let bytes = self.random.bytes(length);
        match self.random.below(3) {
            0 => {
                entry.open_for_appending()?.write_all(&bytes).map(|()| ("appended to", vec![path]))
            }
            1 => entry.truncate(offset).map(|()| ("truncated", vec![path])),
            _ => entry
                .open_for_writing()?
                .write_all_at(&bytes, offset)
                .map(|()| ("wrote into", vec![path])),
        }
    }

    fn map(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let length = 1 + self.random.below(100);
        entry.write_mapped(&self.random.bytes(length)).map(|()| ("wrote by mapping", vec![path]))
    }

    /// Writes a new file and renames it over the old one, as editors do.
    fn replace(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let new = self.source.entry(&path.with_file_name(format!("new{}", self.number)))?;
        let length = self.random_length();
        new.write(&self.random.bytes(length))?;
        if let Err(error) = new.rename(entry) {
            new.unlink()?;
            return Err(error);
        }
        Ok(("replaced", vec![path]))
    }

    /// Writes a file with pauses.
    fn hold_open(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let mut file = entry.open_for_writing()?;
        for _ in 0..2 {
            let length = self.random.below(SMALL);
            file.write_all(&self.random.bytes(length))?;
            thread::sleep(Duration::from_millis(self.random.below(60)));
        }
        Ok(("wrote slowly", vec![path]))
    }

    fn create_dirs(&mut self, path: PathBuf) -> io::Result<MutationRecord> {
        self.source.create_dir_all(&path).map(|()| ("created", vec![path]))
    }

    /// Creates a tree at once, which may be renamed before the daemon has seen it.
    fn populate(&mut self, path: PathBuf) -> io::Result<MutationRecord> {
        for _ in 0..=self.random.below(4) {
            let depth = self.random.below(3);
            let directory =
                (0..depth).fold(path.clone(), |it, _| it.join(self.random.pick(&NAMES)));
            self.source.create_dir_all(&directory)?;
            for _ in 0..self.random.below(4) {
                let file = directory.join(self.random.pick(&NAMES));
                let length = self.random_length();
                let bytes = self.random.bytes(length);
                let _ = self.source.entry(&file).and_then(|entry| entry.write(&bytes));
            }
        }
        let (middle, other) = (self.random_path(), self.random_path());
        let rename =
            |from: &Path, to: &Path| self.source.entry(from)?.rename(&self.source.entry(to)?);
        if self.random.once_in(2) || rename(&path, &middle).is_err() {
            return Ok(("unpacked", vec![path]));
        }
        if rename(&middle, &other).is_err() {
            return Ok(("unpacked and renamed", vec![path, middle]));
        }
        Ok(("unpacked and renamed twice", vec![path, middle, other]))
    }

    fn rename(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let other = self.random_path();
        entry.rename(&self.source.entry(&other)?)?;
        Ok(("renamed", vec![path, other]))
    }

    fn exchange(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let other = self.random_path();
        entry.exchange(&self.source.entry(&other)?)?;
        Ok(("exchanged", vec![path, other]))
    }

    fn link(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let other = self.random_path();
        entry.hard_link(&self.source.entry(&other)?)?;
        self.linked.insert(entry.inode()?);
        Ok(("linked", vec![path, other]))
    }

    /// The inodes of files that got a second name.
    pub(crate) const fn linked(&self) -> &BTreeSet<u64> {
        &self.linked
    }

    fn remove(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        match self.random.below(3) {
            0 => entry.remove_dir().map(|()| ("removed the directory", vec![path])),
            1 => entry.unlink().map(|()| ("unlinked", vec![path])),
            _ => entry.remove_all().map(|()| ("removed all of", vec![path])),
        }
    }

    fn symlink(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let to = match self.random.below(4) {
            0 => self.canary.clone(),
            1 => self.canary.join("file"),
            2 => PathBuf::from("../.."),
            _ => self.random_path(),
        };
        // Often replaces an entry, as a deployment does.
        let new = self.source.entry(&path.with_file_name(format!("new{}", self.number)))?;
        if self.random.once_in(2) {
            return entry.create_symlink(&to).map(|()| ("created the link", vec![path]));
        }
        new.create_symlink(&to)?;
        if let Err(error) = new.rename(entry) {
            new.unlink()?;
            return Err(error);
        }
        Ok(("replaced by a link", vec![path]))
    }

    fn attributes(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        match self.random.below(3) {
            0 => {
                let mode = self.random.pick(&[0o644, 0o600, 0o755, 0o700, 0o4755, 0o444]);
                entry.chmod(mode).map(|()| ("permitted", vec![path]))
            }
            // A user namespace of one user has no other owners.
            1 if self.plan.watch_limit == WatchLimit::Unlimited => {
                let user = self.random.pick(&[0, 1, 65534]);
                entry.chown(user).map(|()| ("gave away", vec![path]))
            }
            _ => {
                let seconds = i64::try_from(self.random.below(1 << 30)).unwrap_or(0);
                let nanoseconds = i64::try_from(self.random.below(1_000_000_000)).unwrap_or(0);
                entry.set_times(seconds, nanoseconds).map(|()| ("dated", vec![path]))
            }
        }
    }

    fn move_out(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let outside = PathBuf::from(format!("{}-{}", self.number, self.random.next()));
        entry.rename(&self.outside.entry(&outside)?)?;
        self.parked.push(outside);
        Ok(("moved out", vec![path]))
    }

    fn move_in(&mut self, entry: &ConfinedEntry, path: PathBuf) -> io::Result<MutationRecord> {
        let outside = self.parked.pop().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = self.outside.entry(&outside)?.rename_no_replace(entry) {
            self.parked.push(outside);
            return Err(error);
        }
        Ok(("moved in", vec![path]))
    }

    fn recreate_dir(&mut self) -> io::Result<MutationRecord> {
        let path = PathBuf::from(RECREATED_DIR);
        if self.random.once_in(3) {
            self.source.entry(&path)?.remove_all()?;
            return Ok(("removed all of", vec![path]));
        }
        let inner = path.join(self.random.pick(&["one", "two", "skip"]));
        self.source.create_dir_all(&inner)?;
        let file = inner.join(OsStr::new("file"));
        let length = self.random_length();
        self.source.entry(&file)?.write(&self.random.bytes(length))?;
        Ok(("wrote", vec![file]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn mutations_stay_in_their_source() {
        let directory = tempfile::tempdir().unwrap();
        let [source, outside, canary] = ["s", "o", "c"].map(|name| directory.path().join(name));
        for path in [&source, &outside, &canary] {
            fs::create_dir(path).unwrap();
        }
        fs::write(canary.join("file"), "unharmed").unwrap();
        let plan = RoundPlan { excludes: true, links: false, ..RoundPlan::new(1) };
        let history = ChangeHistory::new();
        let mut mutator =
            TreeMutator::new(&plan, 0, &history, [&source, &outside, &canary]).unwrap();
        (0..3000).for_each(|_| mutator.mutate());
        assert!(history.count() > 500, "{}", history.count());
        assert_eq!(fs::read(canary.join("file")).unwrap(), b"unharmed");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_path_is_excluded_by_any_of_its_names() {
        assert!(is_excluded(b"/a/skip/b") && is_excluded(b"/a.tmp"));
        assert!(!is_excluded(b"/a/skipped") && !is_excluded(b"/a"));
    }
}
