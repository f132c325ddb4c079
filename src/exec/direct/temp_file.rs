//! Temporary files and entries at the target, before they are renamed to their final names.

use std::{
    collections::{HashSet, hash_map::RandomState},
    ffi::CStr,
    hash::BuildHasher,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use mirror_platform::{
    clone_file, dir::Dir, file_attributes::is_unsupported, metadata::FileRef, stat::Stat,
    unnamed_file,
};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::exec::{
    inode::{EntryType, Inode},
    lock,
};

/// Separator between the final name and the unique part of a temporary name.
const INFIX: &[u8] = b".lsyncd-";
/// Length of the unique part: a third identifies the process, a third is random, and the last third
/// is a checksum of all before it.
const SUFFIX_LEN: usize = 3 * PART_LEN;
const PART_LEN: usize = 6;
/// Alphabet of the unique part: five bits for each letter.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Maximum length of the part of the final name in a temporary name. Some file systems do not
/// accept long names.
const MAX_BASE_LEN: usize = 64;
/// Number of names that are tried. If all are taken, somebody creates them on purpose.
const MAX_TRIES: usize = 16;
/// Mark of an incomplete file, on file systems with extended attributes.
const UNFINISHED: &CStr = c"user.lsyncd.unfinished";

/// Returns true if a name has the form of a temporary name of this or an earlier process. That
/// alone proves nothing: see [`is_unfinished`] and [`is_stale_temp`].
pub(super) fn is_temp_name(name: &[u8]) -> bool {
    let Some((rest, check)) = name.split_last_chunk::<PART_LEN>() else { return false };
    let Some((front, _)) = rest.split_last_chunk::<{ SUFFIX_LEN - PART_LEN }>() else {
        return false;
    };
    front.starts_with(b".") && front.ends_with(INFIX) && *check == letters(checksum(rest))
}

/// Returns true if this process uses the temporary name in this directory.
pub(super) fn is_in_use(dir: &Dir, name: &[u8]) -> bool {
    dir_inode(dir).is_ok_and(|inode| lock(&IN_USE).contains(&(inode, name.to_vec())))
}

/// Returns true if the entry with this temporary name is in use by the copier of another mirror. A
/// mirror whose source is the target of that mirror ignores it. A user's own file of such a name
/// has no mark. Neither has a new hard link to a complete file: it is mirrored, and deleted when
/// the link is gone.
pub(super) fn is_unfinished(dir: &Dir, name: &[u8]) -> bool {
    match dir.stat(name).as_ref().map(Stat::file_type) {
        Err(_) | Ok(FileType::Directory) => false,
        Ok(FileType::RegularFile) => FileRef::Named(dir.as_fd(), name).xattr(UNFINISHED).is_ok(),
        Ok(_) => true,
    }
}

/// Returns true if the entry with this temporary name was left by an interrupted copier. A file is
/// recognised by its mark, on file systems with extended attributes.
pub(super) fn is_stale_temp(dir: &Dir, name: &[u8]) -> bool {
    let Ok(stat) = dir.stat(name) else { return false };
    match EntryType::of(&stat) {
        EntryType::Directory => false,
        EntryType::File => match FileRef::Named(dir.as_fd(), name).xattr(UNFINISHED) {
            Ok(_) => true,
            Err(error) => is_unsupported(&error),
        },
        EntryType::Symlink | EntryType::Other => true,
    }
}

/// Temporary name and its directory. The same name in another directory is a copy.
type TempKey = (Inode, Vec<u8>);

fn dir_inode(dir: &Dir) -> io::Result<Inode> {
    Ok(Inode::of(&dir.stat(b"")?))
}

static IN_USE: LazyLock<Mutex<HashSet<TempKey>>> = LazyLock::new(Mutex::default);

/// Registers a temporary name as in use until it is dropped.
#[derive(Debug)]
struct InUse(TempKey);

impl InUse {
    fn new(inode: Inode, name: &[u8]) -> Self {
        let key = (inode, name.to_vec());
        lock(&IN_USE).insert(key.clone());
        Self(key)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        lock(&IN_USE).remove(&self.0);
    }
}

/// Generator of the temporary names of this process.
struct NameGenerator {
    state: RandomState,
    letters: [u8; PART_LEN],
    next: AtomicU64,
}

static GENERATOR: LazyLock<NameGenerator> = LazyLock::new(|| {
    let state = RandomState::new();
    let letters = letters(state.hash_one(u64::MAX));
    NameGenerator { state, letters, next: AtomicU64::new(0) }
});

fn letters(mut bits: u64) -> [u8; PART_LEN] {
    [(); PART_LEN].map(|()| {
        let letter = usize::try_from(bits % 32).ok().and_then(|bits| ALPHABET.get(bits));
        bits /= 32;
        letter.copied().unwrap_or(b'a')
    })
}

/// Checksum that is the same in every process: FNV-1a, folded to the bits that the letters hold.
fn checksum(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

/// Returns an unpredictable temporary name for `name`. A long name is truncated at a character
/// boundary.
fn temp_name(name: &[u8]) -> Vec<u8> {
    let mut room = MAX_BASE_LEN.min(name.len());
    while room > 0 && name.get(room).is_some_and(|byte| byte & 0xc0 == 0x80) {
        room -= 1;
    }
    let unique = letters(GENERATOR.state.hash_one(GENERATOR.next.fetch_add(1, Ordering::Relaxed)));
    let name = name.get(..room).unwrap_or_default();
    let rest = [b".", name, INFIX, &GENERATOR.letters, &unique].concat();
    let check = letters(checksum(&rest));
    [&rest[..], &check].concat()
}

/// Entry under a temporary name. It is removed when dropped, unless it was published.
#[derive(Debug)]
pub(super) struct TempEntry<'a> {
    dir: &'a Dir,
    name: Vec<u8>,
    /// Held until the entry is removed or has its final name.
    _in_use: Option<InUse>,
}

impl<'a> TempEntry<'a> {
    /// Creates an entry for `name` by `create`, which must not replace anything.
    pub(super) fn new<T>(
        dir: &'a Dir,
        name: &[u8],
        create: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> io::Result<(Self, T)> {
        let inode = dir_inode(dir)?;
        for _ in 0..MAX_TRIES {
            let name = temp_name(name);
            let in_use = Some(InUse::new(inode, &name));
            match create(&name) {
                Ok(made) => return Ok((Self { dir, name, _in_use: in_use }, made)),
                Err(Errno::EXIST) => {}
                Err(error) => {
                    // exFAT makes a file and refuses a fifo.
                    drop(Self { dir, name, _in_use: in_use });
                    return Err(error.into());
                }
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Returns the temporary name.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Renames the entry to its final name, replacing anything but a directory.
    pub(super) fn publish(mut self, name: &[u8]) -> io::Result<()> {
        if self.name == name {
            self.name.clear();
            return Ok(());
        }
        Ok(fs::renameat(self.dir, &*self.name, self.dir, name)?)
    }
}

impl Drop for TempEntry<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Needed after publishing as well: a rename onto another link of the same file leaves
            // both names. If it fails, the entry is gone, or the next listing of the directory
            // finds it.
            let _ = fs::unlinkat(self.dir, &*self.name, AtFlags::empty());
        }
    }
}

/// Name in an open directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryName<'a> {
    /// Directory that contains the entry.
    pub(super) dir: &'a Dir,
    /// File name.
    pub(super) name: &'a [u8],
}

/// Links a file to another name, replacing what has it.
pub(super) fn link(from: EntryName<'_>, to: EntryName<'_>) -> io::Result<()> {
    let create = |name: &[u8]| fs::linkat(from.dir, from.name, to.dir, name, AtFlags::empty());
    let (temporary, ()) = TempEntry::new(to.dir, to.name, create)?;
    temporary.publish(to.name)
}

/// File at the target that does not have its final name yet.
#[derive(Debug)]
pub(super) struct TempFile<'a> {
    dir: &'a Dir,
    file: OwnedFd,
    temporary: Option<TempEntry<'a>>,
    /// True if the final name is taken.
    replaces: bool,
    /// True if the file has the mark of an incomplete file.
    marked: bool,
}

impl<'a> TempFile<'a> {
    /// Creates an empty file, accessible by its owner only, to replace the one called `name`.
    pub(super) fn replacing(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        Ok(Self { replaces: true, ..Self::unnamed(dir, name)? })
    }

    /// Creates an empty file under a temporary name, for file systems without unnamed files.
    pub(super) fn named(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let (temporary, file) = TempEntry::new(dir, name, |name| {
            fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let marked = FileRef::Open(file.as_fd()).set_xattr(UNFINISHED, b"").is_ok();
        Ok(Self { dir, file, temporary: Some(temporary), replaces: true, marked })
    }

    /// Creates a file that shares the blocks of `file` and has its mode.
    ///
    /// # Errors
    ///
    /// If the file system can't share blocks, or if this process may not write to the new file.
    pub(super) fn cloned(dir: &'a Dir, name: &[u8], file: BorrowedFd<'_>) -> io::Result<Self> {
        let (temporary, ()) =
            TempEntry::new(dir, name, |name| clone_file::clone_at(file, dir.as_fd(), name))?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(dir, temporary.name(), flags, Mode::empty())?;
        let marked = FileRef::Open(file.as_fd()).set_xattr(UNFINISHED, b"").is_ok();
        Ok(Self { dir, file, temporary: Some(temporary), replaces: true, marked })
    }

    /// Creates an empty file under its final name, for a directory that nobody else can enter until
    /// the job is done. This is the cheapest way. A crash leaves the file with a different
    /// modification time.
    pub(super) fn in_place(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let temporary = Some(TempEntry { dir, name: name.to_vec(), _in_use: None });
                Ok(Self { dir, file, temporary, replaces: false, marked: false })
            }
            Err(Errno::EXIST) => Self::replacing(dir, name),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an empty file for a free name: without a name, if the file system supports it. That
    /// is cheaper than a rename, and a crash leaves nothing behind.
    pub(super) fn unnamed(dir: &'a Dir, name: &[u8]) -> io::Result<Self> {
        match unnamed_file::create(dir)? {
            Some(file) => Ok(Self { dir, file, temporary: None, replaces: false, marked: false }),
            None => Self::named(dir, name),
        }
    }

    /// Returns the temporary name, if the file has one.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.temporary.as_ref().map(TempEntry::name)
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.file)
    }

    /// Flushes the content to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.file)?)
    }

    /// Gives the file its final name.
    pub(super) fn publish(self, name: &[u8]) -> io::Result<()> {
        if let Some(temporary) = self.temporary {
            if self.marked {
                // A remaining mark does no harm: it only counts together with a temporary name.
                let _ = FileRef::Open(self.file.as_fd()).remove_xattr(UNFINISHED);
            }
            return temporary.publish(name);
        }
        let direct = if self.replaces {
            Err(Errno::EXIST)
        } else {
            unnamed_file::link(&self.file, self.dir, name)
        };
        match direct {
            Err(Errno::EXIST) => {
                let made = TempEntry::new(self.dir, name, |name| {
                    unnamed_file::link(&self.file, self.dir, name)
                });
                made?.0.publish(name)
            }
            done => Ok(done?),
        }
    }
}

impl AsFd for TempFile<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(temp_dir: &tempfile::TempDir) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(temp_dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect()
    }

    #[test]
    fn only_generated_names_count_as_temporary() {
        for name in [&b"a"[..], b"", &[0xff; 255], b".hidden", "\u{e9}".repeat(127).as_bytes()] {
            let made = temp_name(name);
            assert!(made.len() <= 100);
            assert!(is_temp_name(&made), "{made:?}");
            assert_ne!(made, temp_name(name));
            assert!(str::from_utf8(name).is_err() || str::from_utf8(&made).is_ok());
            // A name of another process: different letters, with a valid checksum.
            let mut other = made[..made.len() - PART_LEN].to_vec();
            let at = other.len() - PART_LEN - 1;
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let check = letters(checksum(&other));
            other.extend_from_slice(&check);
            assert!(is_temp_name(&other), "{other:?}");
        }
        for name in
            [&b".a.lsyncd-abcdefghijklmnopqr"[..], b".a.lsyncd-abcdefghijkl", b".lsyncd-", b""]
        {
            assert!(!is_temp_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_stale_temp_file_is_recognised_by_its_mark_as_well() {
        let temp_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        let temp = TempFile::named(&dir, b"name").unwrap();
        let name = temp.name().unwrap().to_vec();
        assert!(is_stale_temp(&dir, &name) && is_in_use(&dir, &name));
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!is_in_use(&Dir::open(elsewhere.path()).unwrap(), &name));
        assert_eq!(is_unfinished(&dir, &name), temp.marked);
        if temp.marked {
            let path = temp_dir.path().join(str::from_utf8(&name).unwrap());
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, b"a user's own").unwrap();
            assert!(!is_stale_temp(&dir, &name) && !is_unfinished(&dir, &name));
        }
        drop(temp);
        assert!(!is_in_use(&dir, &name));
    }

    #[test]
    fn an_unpublished_temp_file_is_removed() {
        let temp_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        for make in [TempFile::named, TempFile::unnamed, TempFile::in_place, TempFile::replacing] {
            drop(make(&dir, b"name").unwrap());
            assert!(names(&temp_dir).is_empty());
        }
    }

    #[test]
    fn a_published_temp_file_replaces_the_final_name() {
        let temp_dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        for make in [TempFile::named, TempFile::unnamed, TempFile::in_place, TempFile::replacing] {
            for _ in 0..2 {
                make(&dir, b"name").unwrap().publish(b"name").unwrap();
                assert_eq!(names(&temp_dir), [b"name"]);
                let spot = FileRef::Named(dir.as_fd(), b"name");
                assert!(spot.xattr_names().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn publishing_a_link_over_its_own_file_leaves_one_name() {
        let temp_dir = tempfile::tempdir().unwrap();
        std::fs::write(temp_dir.path().join("name"), b"").unwrap();
        let dir = Dir::open(temp_dir.path()).unwrap();
        let link = |name: &[u8]| fs::linkat(&dir, c"name", &dir, name, AtFlags::empty());
        let (temporary, ()) = TempEntry::new(&dir, b"name", link).unwrap();
        assert_eq!(names(&temp_dir).len(), 2);
        temporary.publish(b"name").unwrap();
        assert_eq!(names(&temp_dir), [b"name"]);
    }
}
