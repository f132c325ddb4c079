//! Journal behind a snapshot: a line for each entry.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use mirror_core::{
    job::{DirtyPath, Scope},
    path::TreePath,
    snapshot::{DifferenceKind, SourceDifference},
};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use siphasher::sip::SipHasher13;

use crate::{hex, unhex};

/// Path with its scope, as a snapshot stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPath {
    /// Bytes of the path, in hexadecimal digits.
    pub path: String,
    /// True for everything below the path, too.
    pub is_tree: bool,
    /// True if equal size and time prove nothing.
    pub is_written: bool,
}

/// Entry of the journal, which follows a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JournalEntry {
    /// A daemon has begun to use the snapshot.
    Opened {
        /// Identity of the boot of the machine.
        boot: String,
    },
    /// The daemon has ended. No target was changed after it.
    Closed,
    /// These targets are about to get this mark, because a daemon is about to change them.
    Marking {
        /// The mark.
        mark: String,
        /// Their names.
        targets: Vec<String>,
    },
    /// These targets have got this mark, so that they have none of those before.
    Marked {
        /// The mark: that of the snapshot, or of a [`Marking`](Self::Marking).
        mark: String,
        /// Their names.
        targets: Vec<String>,
    },
    /// A target may have changed at these paths since the snapshot.
    ///
    /// The records alone don't tell. A directory that was renamed and renamed back has the same
    /// entries with the same stamps, but the target may have followed only one of the renames. A
    /// file that was created and deleted again is in no record, but may be on the target.
    Changed {
        /// Name of the target, as in [`StoredTarget::target`](super::StoredTarget::target).
        target: String,
        /// The paths.
        paths: Vec<StoredPath>,
    },
}

/// Opens a snapshot, and returns its size. Does not wait for a FIFO.
///
/// # Errors
///
/// As `open(2)`; and if it is no regular file.
pub(super) fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<(File, usize)> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    Ok((file, usize::try_from(found.len()).unwrap_or(usize::MAX)))
}

/// Appends entries to the journal of the snapshot at a path. Does nothing if there is none.
///
/// # Errors
///
/// As `open(2)` and `write(2)`. The snapshot must not be used then: see
/// [`invalidate`](super::invalidate).
pub(crate) fn append_journal(path: &Path, entries: &[JournalEntry]) -> io::Result<()> {
    let (mut file, _) = match open_file(path, File::options().append(true)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.write_all(&encode_journal(entries)?)?;
    // After a crash of the machine, the snapshot must not look as if no daemon had used it.
    let is_opened = |entry: &JournalEntry| matches!(entry, JournalEntry::Opened { .. });
    if entries.iter().any(is_opened) { file.sync_data() } else { Ok(()) }
}

/// Encodes each entry as a line: its checksum, and the entry as JSON.
pub(super) fn encode_journal(entries: &[JournalEntry]) -> io::Result<Vec<u8>> {
    let lines = entries.iter().map(encode_line).collect::<io::Result<Vec<_>>>()?;
    Ok(lines.concat())
}

/// Decodes a journal. `None` if it is damaged.
pub(super) fn decode_journal(bytes: &[u8]) -> Option<Vec<JournalEntry>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(decode_line).collect()
}

/// Encodes a value as a line: its checksum, and the value as JSON.
pub(super) fn encode_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(value)?;
    let mut line = Vec::new();
    writeln!(line, "{:016x} {text}", SipHasher13::new().hash(text.as_bytes()))?;
    Ok(line)
}

/// Decodes a line. `None` if it is damaged.
pub(super) fn decode_line<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let line = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (checksum, text) = line.split_once(' ')?;
    let is_right = checksum == format!("{:016x}", SipHasher13::new().hash(text.as_bytes()));
    serde_json::from_str(text).ok().filter(|_| is_right)
}

impl StoredPath {
    /// Stores a path.
    pub(crate) fn new(difference: &SourceDifference) -> Self {
        let SourceDifference { dirty, kind } = difference;
        Self {
            path: hex(dirty.path.as_bytes()),
            is_tree: dirty.scope == Scope::Tree,
            is_written: *kind == DifferenceKind::Written,
        }
    }

    /// Returns the path. `None` if it is damaged.
    pub(crate) fn difference(&self) -> Option<SourceDifference> {
        let bytes = unhex(&self.path)?;
        let scope = if self.is_tree { Scope::Tree } else { Scope::Entry };
        let kind = if self.is_written { DifferenceKind::Written } else { DifferenceKind::Compared };
        let dirty = DirtyPath { path: TreePath::new(&bytes)?, scope };
        Some(SourceDifference { dirty, kind })
    }
}
