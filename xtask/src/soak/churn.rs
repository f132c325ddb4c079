//! Random changes of sources whose size stays in a band.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::torture::random::TortureRng;

/// The band of the number of files of a source.
const FILES: [usize; 2] = [150, 250];
/// The band of the number of its directories.
const DIRECTORIES: [usize; 2] = [12, 25];
/// Maximum size of most files.
const SMALL: u64 = 3000;
/// Maximum size of a large file.
const LARGE: u64 = 200_000;
/// Maximum number of changes without a pause.
const BURST: u64 = 40;
/// Pauses in milliseconds: at least, and at most so much more.
const PAUSE: [u64; 2] = [150, 700];

/// The sources, which are changed while nobody else locks them.
#[derive(Debug)]
pub(crate) struct SoakChurn {
    trees: Mutex<Vec<ChurnTree>>,
    changes: AtomicU64,
}

/// The known content of a source.
#[derive(Debug)]
pub(crate) struct ChurnTree {
    root: PathBuf,
    /// Directories, relative to the root. The first one is the root.
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// The number of the next new name.
    next: u64,
}

impl SoakChurn {
    /// Fills the sources.
    pub(crate) fn create(roots: &[PathBuf], seed: u64) -> io::Result<Self> {
        let mut random = TortureRng::new(seed);
        let mut trees = Vec::new();
        for root in roots {
            let mut tree = ChurnTree::new(root);
            while tree.directories.len() < DIRECTORIES[0] {
                tree.create_directory(&mut random)?;
            }
            while tree.files.len() < FILES[0] {
                tree.create(&mut random)?;
            }
            trees.push(tree);
        }
        Ok(Self { trees: Mutex::new(trees), changes: AtomicU64::new(0) })
    }

    /// Stops the changes as long as the result lives.
    pub(crate) fn pause(&self) -> MutexGuard<'_, Vec<ChurnTree>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Makes changes until `stop` is set.
    pub(crate) fn run(&self, seed: u64, stop: &AtomicBool) -> io::Result<()> {
        let mut random = TortureRng::new(seed ^ 0x50ac);
        while !stop.load(Ordering::Relaxed) {
            let mut trees = self.pause();
            let [one, other] = [(); 2].map(|()| random.index(trees.len()));
            let burst =
                if random.once_in(4) { 1 + random.below(BURST) } else { 1 + random.below(6) };
            if let Some(tree) = trees.get_mut(one) {
                (0..burst).try_for_each(|_| tree.change(&mut random))?;
            }
            if random.once_in(5) && one != other {
                move_between(&mut trees, [one, other], &mut random)?;
            }
            drop(trees);
            self.changes.fetch_add(burst, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(PAUSE[0] + random.below(PAUSE[1])));
        }
        Ok(())
    }
}

/// Moves a file from one source to another.
fn move_between(
    trees: &mut [ChurnTree],
    [from, to]: [usize; 2],
    random: &mut TortureRng,
) -> io::Result<()> {
    let Ok([from, to]) = trees.get_disjoint_mut([from, to]) else { return Ok(()) };
    if from.files.len() <= FILES[0] || to.files.len() >= FILES[1] {
        return Ok(());
    }
    let file = from.take_file(random);
    let new = to.new_path("f", random);
    fs::rename(from.root.join(file), to.root.join(&new))?;
    to.files.push(new);
    Ok(())
}

impl ChurnTree {
    fn new(root: &Path) -> Self {
        let directories = vec![PathBuf::new()];
        Self { root: root.to_owned(), directories, files: Vec::new(), next: 0 }
    }

    /// Makes one change.
    fn change(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let is_small = self.files.len() <= FILES[0];
        let is_large = self.files.len() >= FILES[1];
        match random.below(20) {
            0..=4 if !is_large => self.create(random),
            5..=8 if !is_small => self.delete(random),
            9 | 10 => self.append(random),
            11 | 12 => self.overwrite(random),
            13 | 14 => self.replace(random),
            15 if self.directories.len() < DIRECTORIES[1] => self.create_directory(random),
            16 if self.directories.len() > DIRECTORIES[0] => self.delete_directory(random),
            17 => self.rename_directory(random),
            _ => self.rename(random),
        }
    }

    /// Returns an unused path in one of the directories.
    fn new_path(&mut self, prefix: &str, random: &mut TortureRng) -> PathBuf {
        self.next += 1;
        let index = random.index(self.directories.len());
        let parent = self.directories.get(index).cloned().unwrap_or_default();
        parent.join(format!("{prefix}{}", self.next))
    }

    fn file(&self, random: &mut TortureRng) -> PathBuf {
        self.files.get(random.index(self.files.len())).cloned().unwrap_or_default()
    }

    fn take_file(&mut self, random: &mut TortureRng) -> PathBuf {
        self.files.swap_remove(random.index(self.files.len()))
    }

    fn create(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let path = self.new_path("f", random);
        fs::write(self.root.join(&path), content(random))?;
        self.files.push(path);
        Ok(())
    }

    fn delete(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let path = self.take_file(random);
        fs::remove_file(self.root.join(path))
    }

    fn append(&self, random: &mut TortureRng) -> io::Result<()> {
        let path = self.root.join(self.file(random));
        // Files do not grow for ever.
        let is_long = fs::metadata(&path)?.len() > LARGE;
        let mut file = File::options().append(!is_long).write(true).truncate(is_long).open(path)?;
        let length = 1 + random.below(500);
        file.write_all(&random.bytes(length))
    }

    fn overwrite(&self, random: &mut TortureRng) -> io::Result<()> {
        fs::write(self.root.join(self.file(random)), content(random))
    }

    /// Writes a new file and renames it over the old one, as editors do.
    fn replace(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let (new, old) = (self.new_path("n", random), self.file(random));
        fs::write(self.root.join(&new), content(random))?;
        fs::rename(self.root.join(new), self.root.join(old))
    }

    fn rename(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let (old, new) = (self.take_file(random), self.new_path("f", random));
        fs::rename(self.root.join(old), self.root.join(&new))?;
        self.files.push(new);
        Ok(())
    }

    fn create_directory(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let path = self.new_path("d", random);
        fs::create_dir(self.root.join(&path))?;
        self.directories.push(path);
        Ok(())
    }

    /// Returns a directory other than the root.
    fn directory(&self, random: &mut TortureRng) -> PathBuf {
        let index = 1 + random.index(self.directories.len().saturating_sub(1));
        self.directories.get(index).cloned().unwrap_or_default()
    }

    /// Deletes a directory with its content, unless too few files would be left.
    fn delete_directory(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let path = self.directory(random);
        let inside = |it: &PathBuf| it.starts_with(&path);
        let count = self.files.iter().filter(|it| inside(it)).count();
        if path.as_os_str().is_empty() || self.files.len() < FILES[0] + count {
            return Ok(());
        }
        fs::remove_dir_all(self.root.join(&path))?;
        self.files.retain(|it| !inside(it));
        self.directories.retain(|it| !inside(it));
        Ok(())
    }

    fn rename_directory(&mut self, random: &mut TortureRng) -> io::Result<()> {
        let (old, new) = (self.directory(random), self.new_path("d", random));
        if old.as_os_str().is_empty() || new.starts_with(&old) {
            return Ok(());
        }
        fs::rename(self.root.join(&old), self.root.join(&new))?;
        for path in self.files.iter_mut().chain(&mut self.directories) {
            if let Ok(rest) = path.strip_prefix(&old) {
                // An empty rest would add a slash.
                let is_itself = rest.as_os_str().is_empty();
                *path = if is_itself { new.clone() } else { new.join(rest) };
            }
        }
        Ok(())
    }
}

fn content(random: &mut TortureRng) -> Vec<u8> {
    let most = if random.once_in(40) { LARGE } else { SMALL };
    let length = random.below(most);
    random.bytes(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(directory: &Path) -> [usize; 2] {
        let mut found = [0, 1];
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                let inner = count(&entry.path());
                found = [found[0] + inner[0], found[1] + inner[1]];
            } else {
                found[0] += 1;
            }
        }
        found
    }

    #[test]
    fn the_size_of_a_source_stays_in_the_band() {
        let directory = tempfile::tempdir().unwrap();
        let roots = ["a", "b"].map(|name| directory.path().join(name));
        for root in &roots {
            fs::create_dir(root).unwrap();
        }
        let churn = SoakChurn::create(&roots, 7).unwrap();
        let mut random = TortureRng::new(8);
        let mut trees = churn.pause();
        for step in 0..4000 {
            trees[step % 2].change(&mut random).unwrap();
            move_between(&mut trees, [step % 2, 1 - step % 2], &mut random).unwrap();
            let files = trees[0].files.len();
            assert!((FILES[0]..=FILES[1]).contains(&files), "{files}");
        }
        for (tree, root) in trees.iter().zip(&roots) {
            assert_eq!(count(root), [tree.files.len(), tree.directories.len()]);
        }
    }
}
