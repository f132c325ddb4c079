//! Snapshots of a source: a restart compares the source with the last one, and transfers only the
//! differences.
//!
//! A snapshot records the entries of each directory, and for each target the paths that were not
//! known to be there. An entry whose record still matches has not changed since, so it is on the
//! target. Therefore a snapshot may be old without being wrong.
//! See `docs/decisions/0024-snapshots.md`.

mod file;
mod journal;
mod notes;
mod records;
mod stamp;
mod walk;

use std::{
    fs::{self, DirBuilder, File},
    hash::Hasher,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mirror_core::{
    job::{DirtyPath, Scope},
    path::Escaped,
    queue::PathSet,
    snapshot::{SourceDifference, directories_to_read},
};
use mirror_platform::{dir::Dir, own_files::NameInDir};
use rustix::{fs::OFlags, process::geteuid};
use siphasher::sip::SipHasher13;

use crate::lock;
pub(crate) use file::{Footer, PreparedSnapshot, SnapshotWriter, StoredTarget, invalidate};
pub(crate) use journal::{JournalEntry, StoredPath, append_journal};
pub(crate) use notes::{read_notes, write_notes};
use records::RecordIndex;
use stamp::StampKey;
pub(crate) use walk::UnwantedFn;
use walk::{Findings, SourceWalk};

/// Directory of the snapshots of one daemon: `stateDir`.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Held while the daemon runs, so that no other one uses the directory.
    _lock: File,
}

impl StateDir {
    /// Opens or creates a directory, and locks it.
    ///
    /// # Errors
    ///
    /// A message for the user if that is not possible, if another daemon uses it, or if other users
    /// could change its files.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let shown = Escaped(path.as_os_str().as_bytes());
        let failed = |error: &dyn std::fmt::Display| format!("stateDir {shown}: {error}");
        let refused = create_own_directory(path).map_err(|error| failed(&error))?;
        if let Some(why) = refused {
            return Err(failed(&why));
        }
        let mut options = File::options();
        // Something else than a file may be there: a pipe would block.
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        options.create(true).truncate(false).write(true).custom_flags(flags);
        let lock = options.open(path.join("lock")).map_err(|error| {
            let is_read_only = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            let remedy = if is_read_only {
                "remount it read-write, or set another directory"
            } else {
                "remove it"
            };
            failed(&format_args!("cannot open its file \"lock\": {error}: {remedy}"))
        })?;
        match lock.try_lock() {
            Ok(()) => {
                remove_temporary_files(path).map_err(|error| failed(&error))?;
                Ok(Self { path: path.to_owned(), _lock: lock })
            }
            Err(fs::TryLockError::WouldBlock) => {
                Err(failed(&"another daemon uses it: each one needs a directory of its own"))
            }
            Err(fs::TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// Returns the path of the snapshot of this source.
    pub(crate) fn snapshot_of(&self, source: &Path) -> PathBuf {
        self.file_of(source, "snapshot")
    }

    /// Returns the path of the notes on this source.
    pub(crate) fn notes_of(&self, source: &Path) -> PathBuf {
        self.file_of(source, "notes")
    }

    /// Returns the paths of the notes on all sources: none if the directory can't be read.
    pub(crate) fn all_notes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|it| it == "notes")).collect()
    }

    fn file_of(&self, source: &Path, suffix: &str) -> PathBuf {
        let name = text_hash(source.as_os_str().as_bytes());
        self.path.join(name).with_extension(suffix)
    }
}

/// Creates a directory, unless it exists. Returns the reason, with the remedy, if other users could
/// change its files or replace it.
///
/// # Errors
///
/// As `open(2)` and `mkdir(2)`; and an error without a code if another user may have planted a
/// symbolic link in the path.
fn create_own_directory(path: &Path) -> io::Result<Option<String>> {
    let check_links = |path: &Path| NameInDir::resolve(&path.join("lock")).map(drop);
    if let Some(existing) = path.ancestors().find(|it| it.symlink_metadata().is_ok()) {
        check_links(existing)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    check_links(path)?;
    let path = path.canonicalize()?;
    let found = fs::metadata(&path)?;
    let user = geteuid().as_raw();
    if found.uid() != user || found.mode() & 0o022 != 0 {
        let why = "other users could change its files: let the user of lsyncd own it, and nobody \
                   else write to it";
        return Ok(Some(why.into()));
    }
    for above in path.ancestors().skip(1) {
        let found = fs::metadata(above)?;
        // The sticky bit keeps other users from renaming our directory, except the owner.
        let is_open = found.mode() & 0o1002 == 0o002;
        if is_open || ![0, user].contains(&found.uid()) {
            let above = Escaped(above.as_os_str().as_bytes());
            return Ok(Some(format!(
                "other users could replace it: let root or the user of lsyncd own {above}, and \
                 nobody else write to it"
            )));
        }
    }
    Ok(None)
}

/// Removes what a killed daemon has left behind.
fn remove_temporary_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|it| it == file::TEMP_SUFFIX);
        if is_ours && !entry.file_type()?.is_dir() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns a hash that is the same in each run, in hexadecimal digits.
pub(crate) fn text_hash(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}

/// Creates a mark that no other snapshot has.
///
/// # Errors
///
/// As `read(2)` of `/dev/urandom`.
pub(crate) fn new_mark() -> io::Result<String> {
    let StampKey(key) = StampKey::random()?;
    Ok(text_hash(&key))
}

/// Source of a snapshot.
pub(crate) struct SnapshotSource<'a> {
    /// Path of the snapshot.
    pub(crate) file: &'a Path,
    /// Root of the source.
    pub(crate) root: &'a Dir,
    /// Directories that no sync wants.
    pub(crate) skip: &'a UnwantedFn,
    /// Returns true if the work is to be given up.
    pub(crate) is_cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// Result of comparing a source with its last snapshot.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Last snapshot and the differences from it, or the reason why there is none to compare with.
    pub(crate) last: Result<LastSnapshot, String>,
    /// New snapshot, which is not complete yet.
    pub(crate) new: NewRecords,
}

/// Last snapshot, as far as it is needed after the comparison.
#[derive(Debug)]
pub(crate) struct LastSnapshot {
    pub(crate) footer: Footer,
    pub(crate) journal: Vec<JournalEntry>,
    /// Differences between the recorded and the present source. `None`: too many.
    pub(crate) differences: Option<Vec<SourceDifference>>,
}

/// Records of a snapshot that is not complete yet.
#[derive(Debug)]
pub(crate) struct NewRecords {
    pub(crate) writer: Box<SnapshotWriter>,
    /// Directories to be read again for the next snapshot.
    pub(crate) unsettled: PathSet,
    pub(crate) directories: u64,
}

/// Reads the whole source, and compares it with its last snapshot.
///
/// # Errors
///
/// If the records can't be written, or with [`io::ErrorKind::Interrupted`] if it was cancelled.
pub(crate) fn compare(source: &SnapshotSource<'_>) -> io::Result<Comparison> {
    let last = file::read(source.file);
    let (old, key) = match &last {
        Ok(Some(snapshot)) => (Some(&snapshot.records), snapshot.records.key()),
        Ok(None) | Err(_) => (None, StampKey::random()?),
    };
    let writer = SnapshotWriter::create(source.file, key)?;
    let everything = [DirtyPath::root_tree()].iter().collect();
    let (writer, found) = source.walk(writer, old, None, &everything)?;
    let new = NewRecords {
        writer: Box::new(writer),
        unsettled: found.unsettled,
        directories: found.directories,
    };
    let differences = (!found.has_too_many).then_some(found.differences);
    let last = match last {
        Ok(Some(file::StoredSnapshot { footer, journal, records: _ })) => {
            Ok(LastSnapshot { footer, journal, differences })
        }
        Ok(None) => Err("there is no snapshot yet".into()),
        Err(why) => Err(format!("its snapshot can't be used: {why}")),
    };
    Ok(Comparison { last, new })
}

/// Reads what was touched since the last snapshot, and takes all other records from that, down to
/// the stamps of names that nobody has touched.
///
/// # Errors
///
/// As [`compare`]; and if there is no last snapshot, or it is damaged.
pub(crate) fn refresh(source: &SnapshotSource<'_>, touched: &PathSet) -> io::Result<NewRecords> {
    let mut last = file::RecordReader::open(source.file)?;
    let key = last.key();
    let mut writer = SnapshotWriter::create(source.file, key)?;
    let reread = directories_to_read(touched);
    let (mut directories, mut replaced) = (0, Vec::new());
    while let Some(record) = last.next_record()? {
        if reread.covers(&record.path, Scope::Entry) {
            replaced.extend_from_slice(record.bytes);
        } else {
            directories += 1;
            writer.append(record.bytes)?;
        }
    }
    let replaced = RecordIndex::new(replaced, key);
    let replaced = replaced.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let (writer, found) = source.walk(writer, None, Some((&replaced, touched)), &reread)?;
    Ok(NewRecords {
        writer: Box::new(writer),
        unsettled: found.unsettled,
        directories: directories + found.directories,
    })
}

impl SnapshotSource<'_> {
    /// Walks through a part of the source. The records go to the writer, which is returned.
    fn walk(
        &self,
        writer: SnapshotWriter,
        old: Option<&RecordIndex>,
        replaced: Option<(&RecordIndex, &PathSet)>,
        paths: &PathSet,
    ) -> io::Result<(SnapshotWriter, Findings)> {
        let (key, writer) = (writer.key(), Mutex::new(writer));
        let Self { root, skip, is_cancelled, .. } = *self;
        let sink = &|records: &[u8]| lock(&writer).append(records);
        let found = SourceWalk { root, key, skip, old, replaced, sink, is_cancelled }.run(paths)?;
        Ok((writer.into_inner().unwrap_or_else(PoisonError::into_inner), found))
    }
}

#[cfg(test)]
mod tests;
