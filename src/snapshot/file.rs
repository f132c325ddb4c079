//! Snapshot file: records of directories, then what is known of each target, then a journal.
//!
//! | part | contents |
//! |---|---|
//! | head | [`MAGIC`], the key of the stamps, lengths of the parts, a checksum of all |
//! | records | `mirror_core::snapshot`, one for each directory |
//! | footer | [`Footer`] as JSON |
//! | journal | entries that were appended later, each with a checksum |
//!
//! A new file is written beside the old one, synced and renamed, so a snapshot is either complete
//! or not there. The journal is only appended to: see [`JournalEntry`].

use std::{
    fs::{self, File},
    hash::Hasher,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use mirror_core::{path::TreePath, snapshot::DirRecord};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::{
    journal::{JournalEntry, StoredPath, decode_journal, encode_journal, open_file},
    records::{LENGTH, RecordIndex},
    stamp::StampKey,
};

/// First bytes of each snapshot file of this format.
const MAGIC: &[u8; 16] = b"lsyncd snapshot\x01";

/// Size of a buffer for reading or writing in bytes.
const BUFFER: usize = 256 << 10;

/// Size of the head in bytes.
const HEAD: usize = 56;

/// Maximum size of a believable journal in bytes.
const MAX_JOURNAL: usize = 1 << 30;

/// Suffix of temporary files.
pub(super) const TEMP_SUFFIX: &str = "new";

/// Number of the next temporary file.
static NEXT_TEMP: AtomicU64 = AtomicU64::new(0);

/// Mode of the files: names are nobody else's business.
const MODE: u32 = 0o600;

/// Facts of a snapshot about the source and its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    /// Version of the program: the settings of a target are compared as this version describes
    /// them.
    pub program: String,
    /// Identity of the root of the source.
    pub root: String,
    /// Identity of this boot of the machine. After a crash of the machine, the source may be as it
    /// was before the last changes.
    pub boot: String,
    /// True if it was written at the end of a daemon, so that no target was changed after it.
    pub is_final: bool,
    /// Time in seconds since 1970.
    pub taken: u64,
    /// Number of recorded directories.
    pub directories: u64,
    /// Mark that the targets get.
    pub mark: String,
    /// Targets.
    pub targets: Vec<StoredTarget>,
}

/// State of one target at the time of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTarget {
    /// Name of the target: it is the same under all settings.
    pub target: String,
    /// Hash of the settings that change what the target holds.
    pub settings: String,
    /// Identity of its directory, if that is on this machine.
    pub identity: Option<String>,
    /// Number of entries on the target, if known. Deletions are limited by a share of it.
    pub entries: Option<u64>,
    /// Marks that the target may have: the one of the snapshot before, and the one of this
    /// snapshot.
    pub marks: Vec<String>,
    /// Paths that are not known to be on the target. `None`: possibly all.
    pub unconfirmed: Option<Vec<StoredPath>>,
    /// If all, those among them that were observed to be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<StoredPath>,
}

/// Snapshot that was read and checked.
#[derive(Debug)]
pub(crate) struct StoredSnapshot {
    pub(crate) footer: Footer,
    pub(crate) records: RecordIndex,
    pub(crate) journal: Vec<JournalEntry>,
}

/// Reads the snapshot at a path. `None` if there is none.
///
/// # Errors
///
/// A message if it can't be read or is damaged.
pub(crate) fn read(path: &Path) -> Result<Option<StoredSnapshot>, String> {
    let read = || {
        let (mut file, size) = open_file(path, File::options().read(true))?;
        // A huge file is not read unless its head is right.
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        Head::decode(&head).filter(|head| head.fits(size)).ok_or_else(damaged)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        bytes.extend_from_slice(&head);
        file.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => decode(bytes).map(Some).ok_or_else(|| "it is damaged".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Decodes a file. `None` if it is damaged or of another format.
pub(super) fn decode(mut bytes: Vec<u8>) -> Option<StoredSnapshot> {
    let head = Head::decode(bytes.first_chunk()?)?;
    let start = HEAD.checked_add(head.records)?;
    let end = start.checked_add(head.footer)?;
    let mut checksum = Checksum::new(head.key);
    checksum.write(bytes.get(HEAD..end)?);
    if checksum.of(&head) != head.checksum {
        return None;
    }
    let journal = decode_journal(bytes.get(end..)?)?;
    let footer = serde_json::from_slice(bytes.get(start..end)?).ok()?;
    bytes.truncate(start);
    bytes.drain(..HEAD);
    let records = RecordIndex::new(bytes, head.key).ok()?;
    Some(StoredSnapshot { footer, records, journal })
}

/// Head of a file.
struct Head {
    key: StampKey,
    /// Number of bytes of the records.
    records: usize,
    /// Number of bytes of the footer.
    footer: usize,
    checksum: u64,
}

impl Head {
    fn decode(bytes: &[u8; HEAD]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (&key, rest) = rest.split_first_chunk()?;
        let (&records, rest) = rest.split_first_chunk()?;
        let (&footer, rest) = rest.split_first_chunk()?;
        let length = |bytes| usize::try_from(u64::from_le_bytes(bytes)).ok();
        Some(Self {
            key: StampKey(key),
            records: length(records)?,
            footer: length(footer)?,
            checksum: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// Returns true if the parts are within a file of this size.
    const fn fits(&self, size: usize) -> bool {
        let parts = self.records.saturating_add(self.footer);
        parts.saturating_add(HEAD) <= size && size - parts - HEAD <= MAX_JOURNAL
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.records as u64, self.footer as u64, self.checksum];
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        MAGIC.iter().copied().chain(self.key.0).chain(numbers).collect()
    }
}

/// Checksum of a file, which is computed while it is written.
#[derive(Debug)]
struct Checksum(SipHasher13);

impl Checksum {
    fn new(key: StampKey) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(&key.0);
        Self(hasher)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn of(&self, head: &Head) -> u64 {
        let mut hasher = self.0;
        hasher.write_u64(head.records as u64);
        hasher.write_u64(head.footer as u64);
        hasher.finish()
    }
}

/// Reader of the records of a snapshot, one after the other.
pub(super) struct RecordReader {
    file: BufReader<File>,
    head: Head,
    checksum: Checksum,
    /// Number of bytes of the records that are left.
    left: usize,
    record: Vec<u8>,
}

/// Record in its encoded form.
pub(super) struct EncodedRecord<'a> {
    pub(super) path: TreePath,
    /// With its length.
    pub(super) bytes: &'a [u8],
}

impl RecordReader {
    /// Opens the snapshot at a path.
    ///
    /// # Errors
    ///
    /// As `open(2)` and `read(2)`; and if it is damaged.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, size) = open_file(path, File::options().read(true))?;
        let mut file = BufReader::with_capacity(BUFFER, file);
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        let head = Head::decode(&head).filter(|head| head.fits(size)).ok_or_else(damaged)?;
        let checksum = Checksum::new(head.key);
        Ok(Self { file, left: head.records, head, checksum, record: Vec::new() })
    }

    /// Returns the key of the stamps.
    pub(super) const fn key(&self) -> StampKey {
        self.head.key
    }

    /// Reads the next record. After the last one it checks the whole file.
    ///
    /// # Errors
    ///
    /// As `read(2)`; and if the file is damaged.
    pub(super) fn next_record(&mut self) -> io::Result<Option<EncodedRecord<'_>>> {
        let Self { file, head, checksum, left, record } = self;
        if *left == 0 {
            record.resize(head.footer, 0);
            file.read_exact(record)?;
            checksum.write(record);
            return if checksum.of(head) == head.checksum { Ok(None) } else { Err(damaged()) };
        }
        let mut length = [0; LENGTH];
        file.read_exact(&mut length)?;
        let size = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let size = size.saturating_add(LENGTH);
        *left = left.checked_sub(size).ok_or_else(damaged)?;
        record.clear();
        record.extend_from_slice(&length);
        record.resize(size, 0);
        file.read_exact(record.get_mut(LENGTH..).unwrap_or_default())?;
        checksum.write(record);
        let found = DirRecord::peek(record.get(LENGTH..).unwrap_or_default());
        let path = found.ok().and_then(|it| TreePath::new(it.path)).ok_or_else(damaged)?;
        Ok(Some(EncodedRecord { path, bytes: record }))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

/// Writer of a new snapshot, in a temporary file.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    path: PathBuf,
    temp: TempSnapshot,
    file: BufWriter<File>,
    key: StampKey,
    records: usize,
    checksum: Checksum,
}

/// Temporary file, which is removed unless it gets its final name.
#[derive(Debug)]
pub(super) struct TempSnapshot(Option<PathBuf>);

impl TempSnapshot {
    /// Creates a file that will replace the one at `path`.
    ///
    /// # Errors
    ///
    /// As `open(2)`.
    pub(super) fn create(path: &Path) -> io::Result<(Self, File)> {
        // A thread that was told to give up may still use its own file.
        let number = NEXT_TEMP.fetch_add(1, Ordering::Relaxed);
        let temp = path.with_extension(format!("{number}.{TEMP_SUFFIX}"));
        // Nothing is opened that exists: it could be a link.
        let file = File::options().write(true).create_new(true).mode(MODE).open(&temp)?;
        Ok((Self(Some(temp)), file))
    }

    /// Gives the file its final name.
    ///
    /// # Errors
    ///
    /// As `rename(2)`.
    pub(super) fn publish(mut self, path: &Path) -> io::Result<()> {
        if let Some(temp) = &self.0 {
            fs::rename(temp, path)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for TempSnapshot {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It is replaced by the next snapshot otherwise.
            let _ = fs::remove_file(path);
        }
    }
}

impl SnapshotWriter {
    /// Starts a snapshot that will replace the one at `path`.
    ///
    /// # Errors
    ///
    /// As `open(2)` and `write(2)`.
    pub(super) fn create(path: &Path, key: StampKey) -> io::Result<Self> {
        let (temp, file) = TempSnapshot::create(path)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        file.write_all(&[0; HEAD])?;
        let (path, checksum) = (path.to_owned(), Checksum::new(key));
        Ok(Self { path, temp, file, key, records: 0, checksum })
    }

    /// Returns the key of the stamps.
    pub(super) const fn key(&self) -> StampKey {
        self.key
    }

    /// Appends encoded records.
    ///
    /// # Errors
    ///
    /// As `write(2)`.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.records += records.len();
        self.checksum.write(records);
        self.file.write_all(records)
    }

    /// Completes the snapshot under its temporary name.
    ///
    /// # Errors
    ///
    /// As `write(2)` and `fsync(2)`.
    pub(crate) fn prepare(mut self, footer: &Footer) -> io::Result<PreparedSnapshot> {
        let footer = serde_json::to_vec(footer)?;
        self.checksum.write(&footer);
        self.file.write_all(&footer)?;
        let Self { path, temp, file, key, records, checksum } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut head = Head { key, records, footer: footer.len(), checksum: 0 };
        head.checksum = checksum.of(&head);
        file.write_all_at(&head.encode(), 0)?;
        file.sync_all()?;
        Ok(PreparedSnapshot { path, temp, file })
    }
}

/// Snapshot that is complete, and does not have its final name yet.
#[derive(Debug)]
pub(crate) struct PreparedSnapshot {
    path: PathBuf,
    temp: TempSnapshot,
    file: File,
}

impl PreparedSnapshot {
    /// Replaces the previous snapshot. The journal holds what has happened since the footer was
    /// made.
    ///
    /// # Errors
    ///
    /// As `write(2)` and `rename(2)`: the previous one is still there.
    pub(crate) fn commit(mut self, journal: &[JournalEntry]) -> io::Result<()> {
        self.file.write_all(&encode_journal(journal)?)?;
        self.temp.publish(&self.path)
    }
}

/// Removes the snapshot at a path: the next start transfers everything.
///
/// # Errors
///
/// As `unlink(2)`.
pub(crate) fn invalidate(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
