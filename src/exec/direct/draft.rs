//! What is made at the target before it gets its name.

use std::{
    collections::{HashSet, hash_map::RandomState},
    ffi::CStr,
    hash::BuildHasher,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use mirror_platform::{
    dir::{Dir, Stat},
    spot::Spot,
};
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use super::{attributes::file_type, learned::lock, links::Inode};

/// What is between the name that is wanted and what makes a temporary name its own.
const MARK: &[u8] = b".lsyncd-";
/// How many letters make a temporary name its own: a third says which process made it, a third is
/// random, and the last third is a checksum of all before.
const LETTERS: usize = 3 * PART;
const PART: usize = 6;
/// The letters, five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// How much of the wanted name a temporary name has at most. Some file systems take no long names.
const ROOM: usize = 64;
/// How many names are tried before somebody is thought to play with us.
const TRIES: usize = 16;
/// Marks a file that is not complete, where the file system can hold the mark.
const UNFINISHED: &CStr = c"user.lsyncd.unfinished";

/// Returns true if a name has the form of a temporary one, of this process or of one that ended too
/// early. That alone proves nothing: see [`is_unfinished`] and [`is_left_over`].
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let Some((rest, check)) = name.split_last_chunk::<PART>() else { return false };
    let Some((front, _)) = rest.split_last_chunk::<{ LETTERS - PART }>() else { return false };
    front.starts_with(b".") && front.ends_with(MARK) && *check == letters(checksum(rest))
}

/// Returns true if this temporary name is in use in this directory, by this process.
pub(super) fn is_in_use(dir: &Dir, name: &[u8]) -> bool {
    place(dir).is_ok_and(|place| lock(&IN_USE).contains(&(place, name.to_vec())))
}

/// Returns true if the entry with this temporary name is one that the copier of another mirror works
/// on: who mirrors our target on does not want it. A user's own file of such a name has no mark, nor
/// has another name of a file that is complete: that is brought, and goes with it.
pub(super) fn is_unfinished(dir: &Dir, name: &[u8]) -> bool {
    match dir.stat(name).as_ref().map(file_type) {
        Err(_) | Ok(FileType::Directory) => false,
        Ok(FileType::RegularFile) => Spot::Named(dir.as_fd(), name).xattr(UNFINISHED).is_ok(),
        Ok(_) => true,
    }
}

/// Returns true if the entry with this temporary name was left by a copier that ended too early. A
/// file is known by its mark, where the file system can hold one.
pub(super) fn is_left_over(dir: &Dir, name: &[u8]) -> bool {
    let Ok(stat) = dir.stat(name) else { return false };
    match file_type(&stat) {
        FileType::Directory => false,
        FileType::RegularFile => match Spot::Named(dir.as_fd(), name).xattr(UNFINISHED) {
            Ok(_) => true,
            Err(error) => Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP),
        },
        _ => true,
    }
}

/// A temporary name, in its directory: one of the same name elsewhere is a copy.
type Located = (Inode, Vec<u8>);

fn place(dir: &Dir) -> io::Result<Inode> {
    Ok(Inode::of(&dir.stat(b"")?))
}

static IN_USE: LazyLock<Mutex<HashSet<Located>>> = LazyLock::new(Mutex::default);

/// A temporary name that is in use as long as this lives.
#[derive(Debug)]
struct InUse(Located);

impl InUse {
    fn new(place: Inode, name: &[u8]) -> Self {
        let key = (place, name.to_vec());
        lock(&IN_USE).insert(key.clone());
        Self(key)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        lock(&IN_USE).remove(&self.0);
    }
}

/// What the names of this process have in common.
struct Ours {
    state: RandomState,
    letters: [u8; PART],
    next: AtomicU64,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let state = RandomState::new();
    let letters = letters(state.hash_one(u64::MAX));
    Ours { state, letters, next: AtomicU64::new(0) }
});

fn letters(mut bits: u64) -> [u8; PART] {
    [(); PART].map(|()| {
        let letter = usize::try_from(bits % 32).ok().and_then(|bits| ALPHABET.get(bits));
        bits /= 32;
        letter.copied().unwrap_or(b'a')
    })
}

/// The same in every process: FNV-1a, folded to the bits that the letters take.
fn checksum(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// A temporary name beside `name`, which nobody can foresee. A long one is shortened, between two
/// characters.
fn temporary(name: &[u8]) -> Vec<u8> {
    let mut room = ROOM.min(name.len());
    while room > 0 && name.get(room).is_some_and(|byte| byte & 0xc0 == 0x80) {
        room -= 1;
    }
    let unique = letters(OURS.state.hash_one(OURS.next.fetch_add(1, Ordering::Relaxed)));
    let name = name.get(..room).unwrap_or_default();
    let rest = [b".", name, MARK, &OURS.letters, &unique].concat();
    let check = letters(checksum(&rest));
    [&rest[..], &check].concat()
}

/// An entry under a temporary name, which is removed if it does not get its own.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    dir: &'a Dir,
    name: Vec<u8>,
    /// Until it is gone or has its own name.
    _in_use: Option<InUse>,
}

impl<'a> Temporary<'a> {
    /// Makes an entry beside `name` by `create`, which must not replace anything.
    pub(super) fn new<T>(
        dir: &'a Dir,
        name: &[u8],
        create: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> io::Result<(Self, T)> {
        let place = place(dir)?;
        for _ in 0..TRIES {
            let name = temporary(name);
            let in_use = InUse::new(place, &name);
            match create(&name) {
                Ok(made) => return Ok((Self { dir, name, _in_use: Some(in_use) }, made)),
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
    /// Whether the name that it gets is taken.
    replaces: bool,
    /// Whether it has the mark of a file that is not complete.
    marked: bool,
}

impl<'a> Draft<'a> {
    /// An empty file that only its owner may open, to take the place of the one called `name`.
    pub(super) fn replacing(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        Ok(Self { replaces: true, ..Self::unnamed(dir, name)? })
    }

    /// An empty file under a temporary name, where the file system can't make one without a name.
    pub(super) fn named(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let (temporary, file) = Temporary::new(dir, name, |name| {
            fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let marked = Spot::Open(file.as_fd()).set_xattr(UNFINISHED, b"").is_ok();
        Ok(Self { dir, file, temporary: Some(temporary), replaces: true, marked })
    }

    /// An empty file that has its name already, for a directory that nobody else can look into
    /// until all is done: the cheapest of all. A crash leaves it there with another time.
    pub(super) fn in_place(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let temporary = Some(Temporary { dir, name: name.to_vec(), _in_use: None });
                Ok(Self { dir, file, temporary, replaces: false, marked: false })
            }
            Err(Errno::EXIST) => Self::replacing(dir, name),
            Err(error) => Err(error.into()),
        }
    }

    /// An empty file to get a name that is free: without any name, where the file system can do
    /// that. It is cheaper than a rename, and a crash leaves nothing behind.
    pub(super) fn unnamed(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, c".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { dir, file, temporary: None, replaces: false, marked: false }),
            // What file systems without O_TMPFILE answer.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                Self::named(dir, name)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Its temporary name, if it has one.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.temporary.as_ref().map(Temporary::name)
    }

    /// What it is now.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let flags = AtFlags::EMPTY_PATH;
        Ok(fs::statx(&self.file, c"", flags, fs::StatxFlags::BASIC_STATS)?)
    }

    /// Waits until its content is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.file)?)
    }

    /// Gives it its name.
    pub(super) fn publish(self, name: &[u8]) -> io::Result<()> {
        if let Some(temporary) = self.temporary {
            if self.marked {
                // A mark that stays is no harm: it counts only with a temporary name.
                let _ = Spot::Open(self.file.as_fd()).remove_xattr(UNFINISHED);
            }
            return temporary.publish(name);
        }
        let direct =
            if self.replaces { Err(Errno::EXIST) } else { link(&self.file, self.dir, name) };
        match direct {
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
        for name in [&b"a"[..], b"", &[0xff; 255], b".hidden", "\u{e9}".repeat(127).as_bytes()] {
            let made = temporary(name);
            assert!(made.len() <= 100);
            assert!(is_temporary(&made), "{made:?}");
            assert_ne!(made, temporary(name));
            assert!(str::from_utf8(name).is_err() || str::from_utf8(&made).is_ok());
            // Of another process: its letters are others, and the checksum is right.
            let mut other = made[..made.len() - PART].to_vec();
            let at = other.len() - PART - 1;
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let check = letters(checksum(&other));
            other.extend_from_slice(&check);
            assert!(is_temporary(&other), "{other:?}");
        }
        for name in
            [&b".a.lsyncd-abcdefghijklmnopqr"[..], b".a.lsyncd-abcdefghijkl", b".lsyncd-", b""]
        {
            assert!(!is_temporary(name), "{name:?}");
        }
    }

    #[test]
    fn a_left_over_is_known_by_more_than_its_name() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        let draft = Draft::named(&dir, b"name").unwrap();
        let name = draft.name().unwrap().to_vec();
        assert!(is_left_over(&dir, &name) && is_in_use(&dir, &name));
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!is_in_use(&Dir::open(elsewhere.path()).unwrap(), &name));
        assert_eq!(is_unfinished(&dir, &name), draft.marked);
        if draft.marked {
            let path = place.path().join(str::from_utf8(&name).unwrap());
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"a user's own").unwrap();
            assert!(!is_left_over(&dir, &name) && !is_unfinished(&dir, &name));
        }
        drop(draft);
        assert!(!is_in_use(&dir, &name));
    }

    #[test]
    fn a_draft_that_is_not_published_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for make in [Draft::named, Draft::unnamed, Draft::in_place, Draft::replacing] {
            drop(make(&dir, b"name").unwrap());
            assert!(names(&place).is_empty());
        }
    }

    #[test]
    fn a_published_draft_has_its_name_alone_whatever_had_it() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for make in [Draft::named, Draft::unnamed, Draft::in_place, Draft::replacing] {
            for _ in 0..2 {
                make(&dir, b"name").unwrap().publish(b"name").unwrap();
                assert_eq!(names(&place), [b"name"]);
                let spot = Spot::Named(dir.as_fd(), b"name");
                assert!(spot.xattr_names().unwrap().is_empty());
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
