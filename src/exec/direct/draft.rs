//! What is made at the target before it gets its name.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use mirror_linux::dir::{Dir, Stat};
use rustix::{
    fs::{self, AtFlags, CWD, Mode, OFlags},
    io::Errno,
};

/// What is between the name that is wanted and what makes a temporary name its own.
const MARK: &[u8] = b".lsyncd-";
/// How many letters make a temporary name its own: half of them say which process made it.
const LETTERS: usize = 12;
/// The letters, five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The longest name that Linux has.
const NAME_MAX: usize = 255;
/// How many names are tried before somebody is thought to play with us.
const TRIES: usize = 16;

/// Whether a name is a temporary one, of this process or of one that ended too early.
///
/// Such an entry is never mirrored: whoever mirrors our target on does not want it.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let Some((mark, letters)) = name
        .split_last_chunk::<LETTERS>()
        .and_then(|(rest, letters)| Some((rest.strip_prefix(b".")?.ends_with(MARK), letters)))
    else {
        return false;
    };
    mark && letters.iter().all(|letter| ALPHABET.contains(letter))
}

/// Whether a name is a temporary one of this process, and so may be in use.
pub(super) fn is_own(name: &[u8]) -> bool {
    is_temporary(name)
        && name
            .split_last_chunk::<LETTERS>()
            .is_some_and(|(_, letters)| letters.starts_with(&OURS.letters))
}

/// What the names of this process have in common.
struct Ours {
    state: RandomState,
    letters: [u8; LETTERS / 2],
    next: AtomicU64,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let state = RandomState::new();
    let letters = letters(state.hash_one(u64::MAX));
    Ours { state, letters, next: AtomicU64::new(0) }
});

fn letters(mut bits: u64) -> [u8; LETTERS / 2] {
    [(); LETTERS / 2].map(|()| {
        let letter = usize::try_from(bits % 32).ok().and_then(|bits| ALPHABET.get(bits));
        bits /= 32;
        letter.copied().unwrap_or(b'a')
    })
}

/// A temporary name beside `name`, which nobody can foresee. One of 255 bytes is shortened.
fn temporary(name: &[u8]) -> Vec<u8> {
    let room = NAME_MAX - 1 - MARK.len() - LETTERS;
    let unique = letters(OURS.state.hash_one(OURS.next.fetch_add(1, Ordering::Relaxed)));
    let name = name.get(..room).unwrap_or(name);
    [b".", name, MARK, &OURS.letters, &unique].concat()
}

/// An entry under a temporary name, which is removed if it does not get its own.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    dir: &'a Dir,
    name: Vec<u8>,
}

impl<'a> Temporary<'a> {
    /// Makes an entry beside `name` by `create`, which must not replace anything.
    pub(super) fn new<T>(
        dir: &'a Dir,
        name: &[u8],
        create: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> io::Result<(Self, T)> {
        for _ in 0..TRIES {
            let name = temporary(name);
            match create(&name) {
                Ok(made) => return Ok((Self { dir, name }, made)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Its temporary name.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Gives it its name, in the place of whatever had it and is no directory.
    pub(super) fn publish(mut self, name: &[u8]) -> io::Result<()> {
        if self.name == name {
            self.name.clear();
            return Ok(());
        }
        Ok(fs::renameat(self.dir, &*self.name, self.dir, name)?)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Published or not: a rename to another name of the same file leaves both. If it
            // fails, there is nothing, or the next pass over the directory finds it.
            let _ = fs::unlinkat(self.dir, &*self.name, AtFlags::empty());
        }
    }
}

/// A file at the target that is not under its name yet.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    dir: &'a Dir,
    file: OwnedFd,
    temporary: Option<Temporary<'a>>,
}

impl<'a> Draft<'a> {
    /// An empty file that only its owner may open, to take the place of the one called `name`.
    pub(super) fn new(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let (temporary, file) = Temporary::new(dir, name, |name| {
            fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        Ok(Self { dir, file, temporary: Some(temporary) })
    }

    /// An empty file that has its name already, for a directory that nobody else can look into
    /// until all is done: the cheapest of all. A crash leaves it there with another time.
    pub(super) fn in_place(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let temporary = Some(Temporary { dir, name: name.to_vec() });
                Ok(Self { dir, file, temporary })
            }
            Err(Errno::EXIST) => Self::new(dir, name),
            Err(error) => Err(error.into()),
        }
    }

    /// An empty file to get a name that is free: without any name, where the file system can do
    /// that. It is cheaper than a rename, and a crash leaves nothing behind.
    pub(super) fn unnamed(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, c".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { dir, file, temporary: None }),
            // What file systems without O_TMPFILE answer.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                Self::new(dir, name)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What it is now.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let flags = AtFlags::EMPTY_PATH;
        Ok(fs::statx(&self.file, c"", flags, fs::StatxFlags::BASIC_STATS)?)
    }

    /// Gives it its name.
    pub(super) fn publish(self, name: &[u8]) -> io::Result<()> {
        if let Some(temporary) = self.temporary {
            return temporary.publish(name);
        }
        match link(&self.file, self.dir, name) {
            Err(Errno::EXIST) => {
                let made = Temporary::new(self.dir, name, |name| link(&self.file, self.dir, name));
                made?.0.publish(name)
            }
            done => Ok(done?),
        }
    }
}

impl AsFd for Draft<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Names an unnamed file.
fn link(file: &OwnedFd, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    match fs::linkat(file, c"", dir, name, AtFlags::EMPTY_PATH) {
        // Linux < 6.10 wants CAP_DAC_READ_SEARCH for that, but not for this way.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(place: &tempfile::TempDir) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(place.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect()
    }

    #[test]
    fn temporary_names_are_known_and_others_are_not_taken_for_them() {
        for name in [&b"a"[..], b"", &[0xff; 255], b".hidden"] {
            let made = temporary(name);
            assert!(made.len() <= NAME_MAX);
            assert!(is_temporary(&made) && is_own(&made), "{made:?}");
            assert_ne!(made, temporary(name));
        }
        assert!(is_temporary(b".a.lsyncd-abcdefghijkl"));
        assert!(!is_own(b".a.lsyncd-abcdefghijkl"));
        for name in [
            &b".a.lsyncd-abcdefghijk"[..],
            b"a.lsyncd-abcdefghijkl",
            b".a.lsyncd-abcdefghij1l",
            b"",
        ] {
            assert!(!is_temporary(name), "{name:?}");
        }
    }

    #[test]
    fn a_draft_that_is_not_published_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        drop(Draft::new(&dir, b"name").unwrap());
        drop(Draft::unnamed(&dir, b"name").unwrap());
        drop(Draft::in_place(&dir, b"name").unwrap());
        assert!(names(&place).is_empty());
    }

    #[test]
    fn a_published_draft_has_its_name_alone_whatever_had_it() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for make in [Draft::new, Draft::unnamed, Draft::in_place] {
            for _ in 0..2 {
                make(&dir, b"name").unwrap().publish(b"name").unwrap();
                assert_eq!(names(&place), [b"name"]);
            }
        }
    }

    #[test]
    fn a_name_that_is_published_over_its_own_file_leaves_no_other() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("name"), b"").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let link = |name: &[u8]| fs::linkat(&dir, c"name", &dir, name, AtFlags::empty());
        let (temporary, ()) = Temporary::new(&dir, b"name", link).unwrap();
        assert_eq!(names(&place).len(), 2);
        temporary.publish(b"name").unwrap();
        assert_eq!(names(&place), [b"name"]);
    }
}
