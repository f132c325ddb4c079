//! Random changes, told as a watcher tells them, until source and target are the same.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::PathBuf,
};

use mirror_core::job::{Outcome, Place, Rename, Scope, Work};
use rustix::{
    fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr},
    process::geteuid,
};

use super::{Mirror, age, path, work};

/// Random numbers that a seed repeats: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// A source that is changed, and what was seen of it.
struct Churn {
    mirror: Mirror,
    dice: Dice,
    places: Vec<Place>,
    moves: Vec<Rename>,
    log: Vec<String>,
}

impl Churn {
    fn new(seed: u64) -> Self {
        let mirror = Mirror::new();
        Self { mirror, dice: Dice(seed), places: Vec::new(), moves: Vec::new(), log: Vec::new() }
    }

    /// A path of few, so that they meet.
    fn path(&mut self) -> String {
        let depth = 1 + self.dice.roll(3);
        let names: Vec<_> = (0..depth).map(|_| ["a", "b", "c", "d"][self.dice.roll(4)]).collect();
        // Not through a link: what happens there is told where it leads to.
        let ends = (1..depth).find(|&end| self.at(&names[..end].join("/")).is_symlink());
        names[..ends.unwrap_or(depth)].join("/")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.mirror.source(name)
    }

    fn saw(&mut self, name: &str, scope: Scope) {
        self.log.push(format!("{name} {scope:?}"));
        self.places.push(Place { path: path(name), scope });
    }

    /// One change, if it is possible where the dice fell.
    fn change(&mut self) {
        let name = self.path();
        let at = self.at(&name);
        let is_directory = || fs::symlink_metadata(&at).is_ok_and(|stat| stat.is_dir());
        let is_dir = is_directory();
        let changed = match self.dice.roll(16) {
            0..3 => !is_dir && self.write(&name),
            3 | 4 => fs::create_dir(&at).is_ok(),
            5 => self.remove(&name),
            6 | 7 => return self.rename(&name),
            8 => symlink(["a", "../b", "nowhere"][self.dice.roll(3)], &at).is_ok(),
            9 => return self.link(&name),
            10 => mknodat(CWD, &at, FileType::Fifo, Mode::RUSR, 0).is_ok(),
            11 => self.set_attributes(&name),
            12 => {
                // As editors save: a new file takes the name.
                let new = at.with_file_name("new");
                !is_dir
                    && fs::write(&new, format!("saved {}", self.dice.roll(99))).is_ok()
                    && fs::rename(&new, &at).is_ok()
            }
            13 => {
                fs::exists(&at).unwrap_or(false) && {
                    age(&at, i64::try_from(self.dice.roll(50)).unwrap());
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
            // One that came or went is told as all of it.
            let scope = if is_dir || is_directory() { Scope::Tree } else { Scope::Entry };
            self.saw(&name, scope);
        }
    }

    fn write(&mut self, name: &str) -> bool {
        let size = [0, 1, 10, 5000][self.dice.roll(4)];
        let byte = b'a' + u8::try_from(self.dice.roll(26)).unwrap();
        let at = self.at(name);
        if !fs::symlink_metadata(&at).is_ok_and(|stat| !stat.is_file()) {
            let append = self.dice.roll(2) == 0;
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
        if self.dice.roll(5) > 0 {
            self.log.push(format!("{from} > {to}"));
            self.moves.push(Rename { from: path(from), to: path(&to) });
        }
    }

    fn link(&mut self, from: &str) {
        let to = self.path();
        if fs::symlink_metadata(self.at(from)).is_ok_and(|stat| !stat.is_dir())
            && fs::hard_link(self.at(from), self.at(&to)).is_ok()
        {
            // Nobody tells about the first name.
            self.saw(&to, Scope::Entry);
        }
    }

    fn set_attributes(&mut self, name: &str) -> bool {
        let (at, die) = (self.at(name), self.dice.roll(8));
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

    /// Mirrors what was seen, some of it twice or as more than it was.
    fn settle(&mut self) {
        if self.dice.roll(4) == 0 && !self.places.is_empty() {
            let n = self.dice.roll(self.places.len());
            let mut place = self.places[n].clone();
            place.scope = Scope::Tree;
            place.path.pop();
            self.places.push(place);
        }
        let work =
            if self.dice.roll(25) == 0 { Work::full() } else { work(&self.places, &self.moves) };
        let outcome = self.mirror.run(work);
        assert_eq!(outcome, Outcome::Done, "{:#?}", self.log);
        (self.places, self.moves) = (Vec::new(), Vec::new());
    }
}

#[test]
fn source_and_target_are_the_same_after_any_changes() {
    let seeds = std::env::var("LSYNCD_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        let mut churn = Churn::new(seed);
        fs::write(churn.at("always"), b"").unwrap();
        churn.saw("always", Scope::Entry);
        for round in 0..15 {
            churn.log.push(format!("seed {seed}, round {round}:"));
            for _ in 0..=churn.dice.roll(25) {
                churn.change();
            }
            churn.settle();
            let same = std::panic::catch_unwind(|| churn.mirror.assert_same());
            assert!(same.is_ok(), "seed {seed}, round {round}:\n{}", churn.log.join("\n"));
        }
    }
}
