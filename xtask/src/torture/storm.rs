//! Somebody who changes a source.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    hands::{Spot, Tree},
    history::History,
    plan::{Layout, Plan, Watches},
    random::Random,
};

/// Few names, so that changes meet the same places again and again.
const NAMES: [&str; 6] = ["a", "b", "c", "d d", "e\n", "f*"];
/// The names of what is left out, where something is.
const LEFT_OUT: [&str; 2] = ["skip", "g.tmp"];
/// The patterns for [`LEFT_OUT`], as Lua.
pub(crate) const PATTERNS: &str = "{ 'skip', '*.tmp' }";
/// The directory that comes and goes, but becomes nothing else, and which has something on the
/// target that is left out.
pub(crate) const COMING_AND_GOING: &str = "dirs";
/// The name of the second source in the first, which stays.
pub(crate) const INNER: &str = "in";
/// How deep new places lie.
const DEPTH: u64 = 4;
/// The length of most files.
const SMALL: u64 = 3000;
/// The length of a large file.
const LARGE: u64 = 400_000;

/// Whether a path below a source is left out by [`PATTERNS`].
pub(crate) fn is_left_out(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b"skip" || name.ends_with(b".tmp"))
}

/// One thread of the storm.
#[derive(Debug)]
pub(crate) struct Actor<'a> {
    plan: &'a Plan,
    random: Random,
    history: &'a History,
    source: Tree,
    outside: Tree,
    canary: PathBuf,
    parked: Vec<PathBuf>,
    number: u64,
}

/// What was done, and to which paths.
type Act = (&'static str, Vec<PathBuf>);

impl<'a> Actor<'a> {
    /// Number `number` of those who change `source`, and move trees to `outside` and back.
    pub(crate) fn new(
        plan: &'a Plan,
        number: u64,
        history: &'a History,
        [source, outside, canary]: [&Path; 3],
    ) -> io::Result<Self> {
        Ok(Self {
            plan,
            random: Random::new(plan.seed.wrapping_mul(1000) + number),
            history,
            source: Tree::open(source)?,
            outside: Tree::open(outside)?,
            canary: canary.to_owned(),
            parked: Vec::new(),
            number,
        })
    }

    /// Changes something until it is told to stop.
    pub(crate) fn rage(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.act();
            if self.random.once_in(4) {
                // Others shall have their say, the daemon too.
                thread::sleep(Duration::from_micros(self.random.below(3000)));
            }
        }
    }

    /// One change, which may turn out to be impossible.
    pub(crate) fn act(&mut self) {
        let Ok((what, paths)) = self.try_one() else { return };
        let paths: Vec<Vec<u8>> =
            paths.iter().map(|path| [b"/", path.as_os_str().as_bytes()].concat()).collect();
        let shown: Vec<String> = paths.iter().map(|it| it.escape_ascii().to_string()).collect();
        let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
        self.history.add(&paths, &format!("{what} {}", shown.join(" ")));
    }

    fn try_one(&mut self) -> io::Result<Act> {
        let path = self.place();
        let spot = self.source.spot(&path);
        match self.random.below(40) {
            0..=4 => self.write(&spot?, path),
            5..=7 => self.change(&spot?, path),
            8..=10 => self.make(path),
            11..=14 => self.rename(&spot?, path),
            15 => self.exchange(&spot?, path),
            16..=19 => self.remove(&spot?, path),
            20 | 21 => self.symlink(&spot?, path),
            22..=24 => self.attributes(&spot?, path),
            25 | 26 => self.populate(path),
            27 if !self.plan.links => self.move_out(&spot?, path),
            28 if !self.plan.links => self.move_in(&spot?, path),
            27..=29 if self.plan.links => self.link(&spot?, path),
            30 | 31 if self.plan.disguises() => {
                let bytes = self.random.bytes(SMALL);
                spot?.disguise(&bytes).map(|()| ("disguised", vec![path]))
            }
            32 if self.plan.excludes => self.come_and_go(),
            33 => self.hold_open(&spot?, path),
            // What does not travel leaves what the target has at its name.
            34 if self.plan.archive => spot?.make_fifo().map(|()| ("made the fifo", vec![path])),
            35 | 36 => self.replace(&spot?, path),
            _ => self.map(&spot?, path),
        }
    }

    /// A place in the source, mostly not yet there.
    fn place(&mut self) -> PathBuf {
        let inner = self.plan.layout == Layout::Nested && self.random.once_in(2);
        let top = if inner { PathBuf::from(INNER) } else { PathBuf::new() };
        (0..=self.random.below(DEPTH)).fold(top, |path, _| {
            let name = if self.plan.excludes && self.random.once_in(8) {
                self.random.pick(&LEFT_OUT)
            } else {
                self.random.pick(&NAMES)
            };
            path.join(name)
        })
    }

    fn length(&mut self) -> u64 {
        let most = if self.random.once_in(30) { LARGE } else { SMALL };
        self.random.below(most)
    }

    fn write(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let length = self.length();
        spot.write(&self.random.bytes(length)).map(|()| ("wrote", vec![path]))
    }

    /// Changes a file that is there.
    fn change(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let (length, offset) = (self.random.below(200), self.random.below(SMALL));
        let bytes = self.random.bytes(length);
        match self.random.below(3) {
            0 => spot.appender()?.write_all(&bytes).map(|()| ("appended to", vec![path])),
            1 => spot.truncate(offset).map(|()| ("truncated", vec![path])),
            _ => spot.writer()?.write_all_at(&bytes, offset).map(|()| ("wrote into", vec![path])),
        }
    }

    fn map(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let length = 1 + self.random.below(100);
        spot.write_mapped(&self.random.bytes(length)).map(|()| ("wrote by mapping", vec![path]))
    }

    /// Writes a file elsewhere and renames it, as editors do.
    fn replace(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let new = self.source.spot(&path.with_file_name(format!("new{}", self.number)))?;
        let length = self.length();
        new.write(&self.random.bytes(length))?;
        if let Err(error) = new.rename(spot) {
            new.unlink()?;
            return Err(error);
        }
        Ok(("replaced", vec![path]))
    }

    /// Writes a file with pauses.
    fn hold_open(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let mut file = spot.writer()?;
        for _ in 0..2 {
            let length = self.random.below(SMALL);
            file.write_all(&self.random.bytes(length))?;
            thread::sleep(Duration::from_millis(self.random.below(60)));
        }
        Ok(("wrote slowly", vec![path]))
    }

    fn make(&mut self, path: PathBuf) -> io::Result<Act> {
        self.source.make_all(&path).map(|()| ("made", vec![path]))
    }

    /// A tree at once, which may get another name before anybody has seen it.
    fn populate(&mut self, path: PathBuf) -> io::Result<Act> {
        for _ in 0..=self.random.below(4) {
            let depth = self.random.below(3);
            let directory =
                (0..depth).fold(path.clone(), |it, _| it.join(self.random.pick(&NAMES)));
            self.source.make_all(&directory)?;
            for _ in 0..self.random.below(4) {
                let file = directory.join(self.random.pick(&NAMES));
                let length = self.length();
                let bytes = self.random.bytes(length);
                let _ = self.source.spot(&file).and_then(|spot| spot.write(&bytes));
            }
        }
        let (middle, other) = (self.place(), self.place());
        let rename =
            |from: &Path, to: &Path| self.source.spot(from)?.rename(&self.source.spot(to)?);
        if self.random.once_in(2) || rename(&path, &middle).is_err() {
            return Ok(("unpacked", vec![path]));
        }
        if rename(&middle, &other).is_err() {
            return Ok(("unpacked and renamed", vec![path, middle]));
        }
        Ok(("unpacked and renamed twice", vec![path, middle, other]))
    }

    fn rename(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let other = self.place();
        spot.rename(&self.source.spot(&other)?)?;
        Ok(("renamed", vec![path, other]))
    }

    fn exchange(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let other = self.place();
        spot.exchange(&self.source.spot(&other)?)?;
        Ok(("exchanged", vec![path, other]))
    }

    fn link(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let other = self.place();
        spot.link(&self.source.spot(&other)?)?;
        Ok(("linked", vec![path, other]))
    }

    fn remove(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        match self.random.below(3) {
            0 => spot.remove_directory().map(|()| ("removed the directory", vec![path])),
            1 => spot.unlink().map(|()| ("unlinked", vec![path])),
            _ => spot.remove_all().map(|()| ("removed all of", vec![path])),
        }
    }

    fn symlink(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let to = match self.random.below(4) {
            0 => self.canary.clone(),
            1 => self.canary.join("file"),
            2 => PathBuf::from("../.."),
            _ => self.place(),
        };
        // Often in the place of something, as a deployment does.
        let new = self.source.spot(&path.with_file_name(format!("new{}", self.number)))?;
        if self.random.once_in(2) {
            return spot.make_link(&to).map(|()| ("made the link", vec![path]));
        }
        new.make_link(&to)?;
        if let Err(error) = new.rename(spot) {
            new.unlink()?;
            return Err(error);
        }
        Ok(("replaced by a link", vec![path]))
    }

    fn attributes(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        match self.random.below(3) {
            0 => {
                let mode = self.random.pick(&[0o644, 0o600, 0o755, 0o700, 0o4755, 0o444]);
                spot.permit(mode).map(|()| ("permitted", vec![path]))
            }
            // In a user namespace of one user there are no others.
            1 if self.plan.watches == Watches::All => {
                let user = self.random.pick(&[0, 1, 65534]);
                spot.give_to(user).map(|()| ("gave away", vec![path]))
            }
            _ => {
                let seconds = i64::try_from(self.random.below(1 << 30)).unwrap_or(0);
                let nanoseconds = i64::try_from(self.random.below(1_000_000_000)).unwrap_or(0);
                spot.date(seconds, nanoseconds).map(|()| ("dated", vec![path]))
            }
        }
    }

    fn move_out(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let place = PathBuf::from(format!("{}-{}", self.number, self.random.next()));
        spot.rename(&self.outside.spot(&place)?)?;
        self.parked.push(place);
        Ok(("moved out", vec![path]))
    }

    fn move_in(&mut self, spot: &Spot, path: PathBuf) -> io::Result<Act> {
        let place = self.parked.pop().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = self.outside.spot(&place)?.rename_to_free(spot) {
            self.parked.push(place);
            return Err(error);
        }
        Ok(("moved in", vec![path]))
    }

    fn come_and_go(&mut self) -> io::Result<Act> {
        let path = PathBuf::from(COMING_AND_GOING);
        if self.random.once_in(3) {
            self.source.spot(&path)?.remove_all()?;
            return Ok(("removed all of", vec![path]));
        }
        let inner = path.join(self.random.pick(&["one", "two", "skip"]));
        self.source.make_all(&inner)?;
        let file = inner.join(OsStr::new("file"));
        let length = self.length();
        self.source.spot(&file)?.write(&self.random.bytes(length))?;
        Ok(("wrote", vec![file]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_storm_stays_in_its_source() {
        let place = tempfile::tempdir().unwrap();
        let [source, outside, canary] = ["s", "o", "c"].map(|name| place.path().join(name));
        for directory in [&source, &outside, &canary] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(canary.join("file"), "unharmed").unwrap();
        let plan = Plan { excludes: true, links: false, ..Plan::new(1) };
        let history = History::new();
        let mut actor = Actor::new(&plan, 0, &history, [&source, &outside, &canary]).unwrap();
        (0..3000).for_each(|_| actor.act());
        assert!(history.count() > 500, "{}", history.count());
        assert_eq!(fs::read(canary.join("file")).unwrap(), b"unharmed");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_is_left_out_is_known_by_each_name_of_its_path() {
        assert!(is_left_out(b"/a/skip/b") && is_left_out(b"/a.tmp"));
        assert!(!is_left_out(b"/a/skipped") && !is_left_out(b"/a"));
    }
}
