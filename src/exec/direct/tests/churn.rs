//! Random changes, reported as by a watcher, until source and target are equal.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::PathBuf,
};

use mirror_core::job::{DirtyPath, Outcome, Rename, Scope, Work};
use nix::{sys::stat::Mode, unistd::mkfifo};
use rustix::{
    fs::{XattrFlags, setxattr},
    process::geteuid,
};

use super::{CopierFixture, age, path, work};

/// Seeded random numbers: `SplitMix64`.
struct DirectChurnRng(u64);

impl DirectChurnRng {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// Source under random changes, and the changes reported so far.
struct DirectChurn {
    mirror: CopierFixture,
    rng: DirectChurnRng,
    paths: Vec<DirtyPath>,
    renames: Vec<Rename>,
    log: Vec<String>,
}

impl DirectChurn {
    fn new(seed: u64) -> Self {
        let mirror = CopierFixture::new();
        Self {
            mirror,
            rng: DirectChurnRng(seed),
            paths: Vec::new(),
            renames: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Returns one of few paths, so that changes collide.
    fn path(&mut self) -> String {
        let depth = 1 + self.rng.below(3);
        let names: Vec<_> = (0..depth).map(|_| ["a", "b", "c", "d"][self.rng.below(4)]).collect();
        // Not through a link: such a change is reported under the real path.
        let ends = (1..depth).find(|&end| self.at(&names[..end].join("/")).is_symlink());
        names[..ends.unwrap_or(depth)].join("/")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.mirror.source(name)
    }

    fn saw(&mut self, name: &str, scope: Scope) {
        self.log.push(format!("{name} {scope:?}"));
        self.paths.push(DirtyPath { path: path(name), scope });
    }

    /// Makes a random change, if it is possible.
    fn change(&mut self) {
        let name = self.path();
        let at = self.at(&name);
        let is_directory = || fs::symlink_metadata(&at).is_ok_and(|stat| stat.is_dir());
        let is_dir = is_directory();
        let changed = match self.rng.below(16) {
            0..3 => !is_dir && self.write(&name),
            3 | 4 => fs::create_dir(&at).is_ok(),
            5 => self.remove(&name),
            6 | 7 => return self.rename(&name),
            8 => symlink(["a", "../b", "nowhere"][self.rng.below(3)], &at).is_ok(),
            9 => return self.link(&name),
            10 => mkfifo(&at, Mode::S_IRUSR).is_ok(),
            11 => self.set_attributes(&name),
            12 => {
                // As editors save: a new file replaces the old one.
                let new = at.with_file_name("new");
                !is_dir
                    && fs::write(&new, format!("saved {}", self.rng.below(99))).is_ok()
                    && fs::rename(&new, &at).is_ok()
            }
            13 => {
                fs::exists(&at).unwrap_or(false) && {
                    age(&at, i64::try_from(self.rng.below(50)).unwrap());
                    true
                }
            }
            14 => {
                let removed = self.remove(&name);
                self.write(&name) || removed
            }
            _ => {
                let removed = self.remove(&name);
                fs::create_dir(&at).is_ok() || removed
            }
        };
        if changed {
            // A created or deleted directory is reported as a tree.
            let scope = if is_dir || is_directory() { Scope::Tree } else { Scope::Entry };
            self.saw(&name, scope);
        }
    }

    fn write(&mut self, name: &str) -> bool {
        let size = [0, 1, 10, 5000][self.rng.below(4)];
        let byte = b'a' + u8::try_from(self.rng.below(26)).unwrap();
        let at = self.at(name);
        if !fs::symlink_metadata(&at).is_ok_and(|stat| !stat.is_file()) {
            let append = self.rng.below(2) == 0;
            let file = fs::File::options().create(true).append(append).write(true).open(&at);
            return file.is_ok_and(|mut file| file.write_all(&vec![byte; size]).is_ok());
        }
        false
    }

    fn remove(&self, name: &str) -> bool {
        let at = self.at(name);
        fs::remove_file(&at).is_ok() || fs::remove_dir_all(&at).is_ok()
    }

    fn rename(&mut self, from: &str) {
        let to = self.path();
        let (old, new) = (self.at(from), self.at(&to));
        let is_same = fs::symlink_metadata(&old).ok().map(|stat| stat.ino())
            == fs::symlink_metadata(&new).ok().map(|stat| stat.ino());
        if is_same || fs::rename(&old, &new).is_err() {
            return;
        }
        let is_dir = fs::symlink_metadata(&new).unwrap().is_dir();
        let scope = if is_dir { Scope::Tree } else { Scope::Entry };
        self.saw(from, scope);
        self.saw(&to, scope);
        // Hints may be lost.
        if self.rng.below(5) > 0 {
            self.log.push(format!("{from} > {to}"));
            self.renames.push(Rename { from: path(from), to: path(&to) });
        }
    }

    fn link(&mut self, from: &str) {
        let to = self.path();
        if fs::symlink_metadata(self.at(from)).is_ok_and(|stat| !stat.is_dir())
            && fs::hard_link(self.at(from), self.at(&to)).is_ok()
        {
            // No event reports the first name.
            self.saw(&to, Scope::Entry);
        }
    }

    fn set_attributes(&mut self, name: &str) -> bool {
        let (at, die) = (self.at(name), self.rng.below(8));
        if !fs::symlink_metadata(&at).is_ok_and(|stat| !stat.is_symlink()) {
            return false;
        }
        if geteuid().is_root() {
            chown(&at, Some(u32::try_from(die).unwrap()), Some(5)).unwrap();
            if die % 2 == 0 {
                let value = format!("{die}");
                let _ = setxattr(&at, "user.churn", value.as_bytes(), XattrFlags::empty());
            }
        }
        let mode = [0o600, 0o755, 0o4711, 0o2775, 0o444, 0o1777, 0o700, 0o640][die];
        fs::set_permissions(&at, Permissions::from_mode(mode | 0o700)).is_ok()
    }

    /// Mirrors the reported changes, some of them twice or with a larger scope.
    fn settle(&mut self) {
        if self.rng.below(4) == 0 && !self.paths.is_empty() {
            let n = self.rng.below(self.paths.len());
            let mut dirty = self.paths[n].clone();
            dirty.scope = Scope::Tree;
            dirty.path.pop();
            self.paths.push(dirty);
        }
        let work =
            if self.rng.below(25) == 0 { Work::full() } else { work(&self.paths, &self.renames) };
        let outcome = self.mirror.run(work);
        assert_eq!(outcome, Outcome::Done, "{:#?}", self.log);
        (self.paths, self.renames) = (Vec::new(), Vec::new());
    }
}

#[test]
fn source_and_target_are_equal_after_random_changes() {
    let seeds = std::env::var("LSYNCD_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        let mut churn = DirectChurn::new(seed);
        fs::write(churn.at("always"), b"").unwrap();
        churn.saw("always", Scope::Entry);
        for round in 0..15 {
            churn.log.push(format!("seed {seed}, round {round}:"));
            for _ in 0..=churn.rng.below(25) {
                churn.change();
            }
            churn.settle();
            let same = std::panic::catch_unwind(|| churn.mirror.assert_same());
            assert!(same.is_ok(), "seed {seed}, round {round}:\n{}", churn.log.join("\n"));
        }
    }
}
