//! Snapshots of trees, and comparison of their entries.
//!
//! `cargo xtask torture` uses this file, too.

use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    fmt::Write as _,
    fs::File,
    hash::{Hash, Hasher},
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dev, Dir, FileType, Mode as Permissions, OFlags, Stat},
    io::Errno,
};

/// The entries of a tree by their paths, relative to its root.
pub(crate) type TreeSnapshot = BTreeMap<Vec<u8>, SnapshotEntry>;

/// The metadata that a mirror preserves, besides types, contents and the times of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MirrorFidelity {
    /// The times of directories and symbolic links.
    pub(crate) all_times: bool,
    /// Permissions, owners, devices and extended attributes.
    pub(crate) attributes: bool,
    /// Hard links.
    pub(crate) hard_links: bool,
}

/// A file, directory or other entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotEntry {
    pub(crate) kind: FileType,
    /// A fingerprint of the content of a file, or the target of a symbolic link.
    content: Vec<u8>,
    permissions: Permissions,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    modified: (i64, i128),
    device: Dev,
    /// The first path of a file with several hard links.
    first_link: Option<Vec<u8>>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Reads a tree through directory handles, so that no path is too long.
///
/// # Errors
///
/// If a directory or a file cannot be read, such as one that vanishes meanwhile.
pub(crate) fn snapshot(root: &Path) -> io::Result<TreeSnapshot> {
    let mut reader = SnapshotReader::default();
    let directory =
        rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Permissions::empty())?;
    let status = rustix::fs::fstat(&directory)?;
    let attributes = attributes(&directory)?;
    reader.tree.insert(Vec::new(), entry(&status, Vec::new(), attributes, None));
    reader.read(&directory, b"")?;
    Ok(reader.tree)
}

/// Returns a description of the first difference of `found` from `expected`, as far as the metadata
/// is preserved.
pub(crate) fn entry_difference(
    fidelity: MirrorFidelity,
    expected: &SnapshotEntry,
    found: Option<&SnapshotEntry>,
) -> Option<String> {
    let Some(found) = found else { return Some("is missing".to_owned()) };
    if found.kind != expected.kind {
        return Some(format!("is a {:?} and not a {:?}", found.kind, expected.kind));
    }
    if found.content != expected.content {
        return Some("has another content".to_owned());
    }
    let is_file = expected.kind == FileType::RegularFile;
    if (fidelity.all_times || is_file) && found.modified != expected.modified {
        return Some(format!(
            "was modified at {:?} and not {:?}",
            found.modified, expected.modified
        ));
    }
    let mut problem = String::new();
    if fidelity.attributes {
        add_attribute_differences(expected, found, &mut problem);
    }
    if fidelity.hard_links && found.first_link != expected.first_link {
        let name = |path: &Option<Vec<u8>>| path.as_deref().map_or("nothing".into(), path_text);
        let (here, there) = (name(&found.first_link), name(&expected.first_link));
        let _ = write!(problem, "linked to {here} and not {there} ");
    }
    (!problem.is_empty()).then_some(problem)
}

fn add_attribute_differences(
    expected: &SnapshotEntry,
    found: &SnapshotEntry,
    problem: &mut String,
) {
    if found.permissions != expected.permissions {
        let _ = write!(
            problem,
            "mode {:o} and not {:o} ",
            found.permissions.bits(),
            expected.permissions.bits()
        );
    }
    if found.owner != expected.owner {
        let _ = write!(problem, "owner {:?} and not {:?} ", found.owner, expected.owner);
    }
    if found.device != expected.device {
        let _ = write!(problem, "another device ");
    }
    if found.attributes != expected.attributes {
        let _ =
            write!(problem, "attributes {:?} and not {:?}", found.attributes, expected.attributes);
    }
}

/// Formats a path for a report.
pub(crate) fn path_text(path: &[u8]) -> String {
    let path = path.escape_ascii().to_string();
    if path.is_empty() { "the root".to_owned() } else { path }
}

#[derive(Default)]
struct SnapshotReader {
    tree: TreeSnapshot,
    first_names: HashMap<(Dev, u64), Vec<u8>>,
}

impl SnapshotReader {
    fn read(&mut self, directory: &OwnedFd, prefix: &[u8]) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        // The first name of a file must be the same in both trees.
        names.sort();
        for name in names {
            let path = [prefix, b"/", name.as_bytes()].concat();
            let status = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                    let inner = rustix::fs::openat(directory, &name, flags, Permissions::empty())?;
                    self.add(&path, &status, Vec::new(), attributes(&inner)?);
                    self.read(&inner, &path)?;
                }
                FileType::RegularFile => {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                    let file = rustix::fs::openat(directory, &name, flags, Permissions::empty())?;
                    let attributes = attributes(&file)?;
                    self.add(&path, &status, fingerprint(file.into())?, attributes);
                }
                FileType::Symlink => {
                    let link = rustix::fs::readlinkat(directory, &name, Vec::new())?;
                    self.add(&path, &status, link.into_bytes(), BTreeMap::new());
                }
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => self.add(&path, &status, Vec::new(), BTreeMap::new()),
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &[u8],
        status: &Stat,
        content: Vec<u8>,
        attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    ) {
        let several =
            status.st_nlink > 1 && FileType::from_raw_mode(status.st_mode) != FileType::Directory;
        let first_link = several.then(|| {
            self.first_names
                .entry((status.st_dev, status.st_ino))
                .or_insert_with(|| path.to_owned())
                .clone()
        });
        self.tree.insert(path.to_owned(), entry(status, content, attributes, first_link));
    }
}

fn entry(
    status: &Stat,
    content: Vec<u8>,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    first_link: Option<Vec<u8>>,
) -> SnapshotEntry {
    SnapshotEntry {
        kind: FileType::from_raw_mode(status.st_mode),
        content,
        permissions: Permissions::from_raw_mode(status.st_mode),
        owner: (status.st_uid, status.st_gid),
        modified: (status.st_mtime, i128::from(status.st_mtime_nsec)),
        device: status.st_rdev,
        first_link,
        attributes,
    }
}

/// Returns the length and a hash of the content of a file.
fn fingerprint(mut file: File) -> io::Result<Vec<u8>> {
    let mut hasher = DefaultHasher::new();
    let mut length = 0_usize;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(format!("{length} bytes, {:x}", hasher.finish()).into_bytes());
        }
        length += read;
        buffer.get(..read).unwrap_or_default().hash(&mut hasher);
    }
}

fn attributes(file: &OwnedFd) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0_u8; 1 << 16];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        result => result?,
    };
    let mut found = BTreeMap::new();
    names.truncate(length);
    // The mark of a target is never mirrored.
    let is_mirrored = |name: &&[u8]| !name.is_empty() && *name != b"user.lsyncd.mark";
    for name in names.split(|byte| *byte == 0).filter(is_mirrored) {
        let mut value = vec![0_u8; 1 << 16];
        let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(length);
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}
