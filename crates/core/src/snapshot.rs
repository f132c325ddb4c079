//! Snapshots of a source: records of its directories, and what follows from a comparison with them.
//!
//! A record holds a stamp for each entry, a hash of its metadata. The kernel sets the change time
//! of an inode itself, and never to an earlier time by a system call, so an entry with the same
//! stamp has not changed, wherever the record was kept meanwhile.
//!
//! The encoding is compact: names share their prefixes with the previous one. All lengths are
//! checked, because the file may be damaged.

use alloc::{string::String, vec::Vec};
use core::{cmp::Ordering, ops::Range};

use crate::{
    fs_event::EntryKind,
    job::{DirtyPath, Scope},
    path::TreePath,
    queue::PathSet,
};

/// A hash of the metadata of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of an entry that may have changed without a trace after it was read, because its
    /// times are not older than the grain of the clock.
    pub const UNSETTLED: Self = Self(0);

    /// The stamp of this hash.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self(if hash == 0 { 1 } else { hash })
    }

    /// Returns true if it can prove anything.
    #[must_use]
    pub fn is_settled(self) -> bool {
        self != Self::UNSETTLED
    }

    /// Returns true if an entry with the one stamp has not changed since it had the other.
    #[must_use]
    pub fn proves_equal(self, other: Self) -> bool {
        self == other && self.is_settled()
    }
}

/// The entries of a directory, as they are read. It can be reused for many directories.
#[derive(Clone, Debug, Default)]
pub struct DirListing {
    names: Vec<u8>,
    entries: Vec<ListedEntry>,
}

#[derive(Clone, Debug)]
struct ListedEntry {
    name: Range<usize>,
    kind: EntryKind,
    stamp: Stamp,
}

/// An entry of a [`DirListing`] or of a [`DirRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRecord<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its kind.
    pub kind: EntryKind,
    /// Its stamp. That of a directory says only that it is the same directory.
    pub stamp: Stamp,
}

impl DirListing {
    /// Removes all entries.
    pub fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
    }

    /// Adds an entry.
    pub fn add(&mut self, EntryRecord { name, kind, stamp }: EntryRecord<'_>) {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.entries.push(ListedEntry { name: start..self.names.len(), kind, stamp });
    }

    /// Sorts the entries, which [`encode`](Self::encode) and [`differences`](Self::differences)
    /// need.
    pub fn sort(&mut self) {
        let names = &self.names;
        self.entries
            .sort_unstable_by(|a, b| names.get(a.name.clone()).cmp(&names.get(b.name.clone())));
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = EntryRecord<'_>> {
        self.entries.iter().map(|ListedEntry { name, kind, stamp }| EntryRecord {
            name: self.names.get(name.clone()).unwrap_or_default(),
            kind: *kind,
            stamp: *stamp,
        })
    }

    /// The number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps the stamps of an old record for entries that have changed although nobody has touched
    /// their names. That is not known on any target: a file may be written through a hard link
    /// outside of the source, or inside under another name. The entries must be sorted.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if the record can't be decoded.
    pub fn keep_stamps(
        &mut self,
        old: &DirRecord<'_>,
        is_touched: impl Fn(&[u8]) -> bool,
    ) -> Result<(), DamagedRecord> {
        let Self { names, entries } = self;
        let name_of = |entry: &ListedEntry| names.get(entry.name.clone()).unwrap_or_default();
        let mut entries = entries.iter_mut().peekable();
        let mut records = old.entries();
        while let Some(was) = records.next_entry()? {
            while entries.next_if(|entry| name_of(entry) < was.name).is_some() {}
            let Some(entry) = entries.next_if(|entry| name_of(entry) == was.name) else { continue };
            let is_file = entry.kind == EntryKind::Other && was.kind == EntryKind::Other;
            let differs = entry.stamp != was.stamp && was.stamp.is_settled();
            if is_file && differs && !is_touched(was.name) {
                entry.stamp = was.stamp;
            }
        }
        Ok(())
    }

    /// Appends the record of the directory at `path`, whose own attributes have the stamp `own`.
    pub fn encode(&self, path: &[u8], own: Stamp, record: &mut Vec<u8>) {
        put_number(path.len() as u64, record);
        record.extend_from_slice(path);
        record.extend_from_slice(&own.0.to_le_bytes());
        put_number(self.entries.len() as u64, record);
        let mut previous: &[u8] = b"";
        for EntryRecord { name, kind, stamp } in self.iter() {
            let shared = shared_prefix(previous, name);
            let is_directory = u64::from(kind == EntryKind::Directory);
            put_number((shared as u64) << 1 | is_directory, record);
            let rest = name.get(shared..).unwrap_or_default();
            put_number(rest.len() as u64, record);
            record.extend_from_slice(rest);
            record.extend_from_slice(&stamp.0.to_le_bytes());
            previous = name;
        }
    }

    /// The differences between the record of the directory at `path` and these entries, which must
    /// be sorted. `own` is the present stamp of the directory itself.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if the record can't be decoded.
    pub fn differences(
        &self,
        path: &TreePath,
        own: Stamp,
        old: &DirRecord<'_>,
    ) -> Result<Vec<SourceDifference>, DamagedRecord> {
        let mut found = Vec::new();
        if !own.proves_equal(old.own) {
            found.push(SourceDifference::new(path.clone(), Scope::Entry, DifferenceKind::Compared));
        }
        let scope = |kind| match kind {
            EntryKind::Directory => Scope::Tree,
            EntryKind::Other => Scope::Entry,
        };
        self.changes(old, |change| {
            let (name, scope, kind) = match change {
                EntryChange::Changed { entry, was } => {
                    let scope =
                        was.map_or(scope(entry.kind), |was| scope(was).max(scope(entry.kind)));
                    (entry.name, scope, DifferenceKind::Written)
                }
                EntryChange::Missing(was) => (was.name, scope(was.kind), DifferenceKind::Missing),
            };
            found.extend(path.join(name).map(|path| SourceDifference::new(path, scope, kind)));
        })?;
        Ok(found)
    }

    /// Returns true if all stamps prove something.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.entries.iter().all(|entry| entry.stamp.is_settled())
    }

    /// Calls `each` for each entry that differs from `old`.
    fn changes(
        &self,
        old: &DirRecord<'_>,
        mut each: impl FnMut(EntryChange<'_>),
    ) -> Result<(), DamagedRecord> {
        let mut new = self.iter().peekable();
        let mut old = old.entries();
        while let Some(was) = old.next_entry()? {
            while let Some(created) = new.next_if(|it| it.name < was.name) {
                each(EntryChange::Changed { entry: created, was: None });
            }
            match new.next_if(|it| it.name == was.name) {
                None => each(EntryChange::Missing(was)),
                Some(now) if now.kind == was.kind && now.stamp.proves_equal(was.stamp) => {}
                Some(now) => each(EntryChange::Changed { entry: now, was: Some(was.kind) }),
            }
        }
        for created in new {
            each(EntryChange::Changed { entry: created, was: None });
        }
        Ok(())
    }
}

/// A difference between a record and the present entries of its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryChange<'a> {
    /// An entry that has changed, or may have.
    Changed {
        /// The present entry.
        entry: EntryRecord<'a>,
        /// The kind that it had. `None` if it is new.
        was: Option<EntryKind>,
    },
    /// An entry that is missing now.
    Missing(EntryRecord<'a>),
}

/// The record of one directory.
#[derive(Clone, Copy, Debug)]
pub struct DirRecord<'a> {
    /// The path below the root of the source.
    pub path: &'a [u8],
    /// The stamp of the attributes of the directory itself.
    pub own: Stamp,
    entries: &'a [u8],
    count: u64,
}

/// A record that can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRecord;

impl<'a> DirRecord<'a> {
    /// Decodes the record at the beginning of `bytes`. Returns it and its length.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if it can't be decoded.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), DamagedRecord> {
        let mut record = Self::peek(bytes)?;
        let mut entries = record.entries();
        while entries.next_entry()?.is_some() {}
        let left = entries.rest.len();
        record.entries = record.entries.get(..record.entries.len() - left).ok_or(DamagedRecord)?;
        Ok((record, bytes.len() - left))
    }

    /// Decodes the record at the beginning of `bytes`, except for its entries: they are checked as
    /// they are read.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if it can't be decoded.
    pub fn peek(bytes: &'a [u8]) -> Result<Self, DamagedRecord> {
        let mut rest = bytes;
        let length = take_number(&mut rest)?;
        let path = take(&mut rest, length)?;
        let own = take_stamp(&mut rest)?;
        let count = take_number(&mut rest)?;
        Ok(DirRecord { path, own, entries: rest, count })
    }

    /// The entries, in the order of their names.
    #[must_use]
    pub const fn entries(&self) -> RecordedEntries<'a> {
        RecordedEntries { rest: self.entries, left: self.count, name: Vec::new() }
    }
}

/// A cursor over the entries of a record.
#[derive(Debug)]
pub struct RecordedEntries<'a> {
    rest: &'a [u8],
    left: u64,
    name: Vec<u8>,
}

impl RecordedEntries<'_> {
    /// Decodes the next entry. `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if it can't be decoded.
    pub fn next_entry(&mut self) -> Result<Option<EntryRecord<'_>>, DamagedRecord> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let head = take_number(&mut self.rest)?;
        let length = take_number(&mut self.rest)?;
        let rest = take(&mut self.rest, length)?;
        let shared = usize::try_from(head >> 1).map_err(|_| DamagedRecord)?;
        if shared > self.name.len() {
            return Err(DamagedRecord);
        }
        self.name.truncate(shared);
        self.name.extend_from_slice(rest);
        let stamp = take_stamp(&mut self.rest)?;
        let kind = if head & 1 == 1 { EntryKind::Directory } else { EntryKind::Other };
        Ok(Some(EntryRecord { name: &self.name, kind, stamp }))
    }
}

fn shared_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a.cmp(b) == Ordering::Equal).count()
}

/// Appends a number in the variable length of LEB128.
fn put_number(mut number: u64, bytes: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn take_number(rest: &mut &[u8]) -> Result<u64, DamagedRecord> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or(DamagedRecord)?;
        *rest = left;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(DamagedRecord)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], DamagedRecord> {
    let length = usize::try_from(length).map_err(|_| DamagedRecord)?;
    let (taken, left) = rest.split_at_checked(length).ok_or(DamagedRecord)?;
    *rest = left;
    Ok(taken)
}

fn take_stamp(rest: &mut &[u8]) -> Result<Stamp, DamagedRecord> {
    let (bytes, left) = rest.split_first_chunk().ok_or(DamagedRecord)?;
    *rest = left;
    Ok(Stamp(u64::from_le_bytes(*bytes)))
}

/// The result of comparing a source with its last snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceComparison {
    /// The target has everything except for what may be on these paths.
    Differences(Vec<SourceDifference>),
    /// It is unknown what the target has: everything has to be transferred.
    Unknown {
        /// The reason, as a sentence without a full stop.
        reason: String,
        /// The paths that were written since the target had them, as far as this is known: equal
        /// size and time prove nothing there.
        written: Vec<DirtyPath>,
    },
}

impl SourceComparison {
    /// Nothing is known, for this reason.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into(), written: Vec::new() }
    }
}

/// A path of the source that may differ from the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDifference {
    /// The path.
    pub dirty: DirtyPath,
    /// The kind of the difference.
    pub kind: DifferenceKind,
}

impl SourceDifference {
    /// A difference at this path.
    #[must_use]
    pub const fn new(path: TreePath, scope: Scope, kind: DifferenceKind) -> Self {
        Self { dirty: DirtyPath { path, scope }, kind }
    }

    /// Returns true if everything may differ.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.dirty == DirtyPath::root_tree()
    }
}

/// Returns the directories whose records change with these paths: each path may be a directory, and
/// the record of its parent names it.
#[must_use]
pub fn directories_to_read(touched: &PathSet) -> PathSet {
    let mut directories = PathSet::new();
    for DirtyPath { path, scope } in touched {
        directories.insert(&path.parent().unwrap_or_default(), Scope::Entry);
        directories.insert(&path, scope);
    }
    directories
}

/// The kind of a [`SourceDifference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It has to be compared. Equal size and time prove that a file is equal.
    Compared,
    /// It may have been written, created or renamed since, so equal size and time prove nothing.
    Written,
    /// The entry is missing. Nobody has observed its deletion.
    Missing,
}

/// The paths that are not known to be on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Possibly all.
    Everything {
        /// Those among them that were observed to be written: equal size and time prove nothing.
        written: Vec<DirtyPath>,
    },
    /// Those in this list.
    Paths(Vec<SourceDifference>),
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec};

    use super::*;

    const FILE: EntryKind = EntryKind::Other;
    const DIR: EntryKind = EntryKind::Directory;

    fn listing(entries: &[(&str, EntryKind, u64)]) -> DirListing {
        let mut listing = DirListing::default();
        for &(name, kind, stamp) in entries {
            listing.add(EntryRecord { name: name.as_bytes(), kind, stamp: Stamp(stamp) });
        }
        listing.sort();
        listing
    }

    fn encoded(listing: &DirListing) -> Vec<u8> {
        let mut bytes = vec![];
        listing.encode(b"a/b", Stamp::new(7), &mut bytes);
        bytes
    }

    fn changes(old: &DirListing, new: &DirListing) -> Vec<String> {
        let bytes = encoded(old);
        let (record, length) = DirRecord::decode(&bytes).unwrap();
        assert_eq!((length, record.path, record.own), (bytes.len(), &b"a/b"[..], Stamp::new(7)));
        let mut found = vec![];
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let collect = |change: EntryChange<'_>| {
            found.push(match change {
                EntryChange::Changed { entry, was } => format!("{} {was:?}", text(entry.name)),
                EntryChange::Missing(was) => format!("-{} {:?}", text(was.name), was.kind),
            });
        };
        new.changes(&record, collect).unwrap();
        found
    }

    #[test]
    fn changed_new_and_missing_entries_are_found() {
        let old =
            listing(&[("file1", FILE, 1), ("file10", FILE, 2), ("dir", DIR, 3), ("x", FILE, 4)]);
        assert_eq!(changes(&old, &old), [""; 0]);
        let new =
            listing(&[("file1", FILE, 1), ("file11", FILE, 2), ("dir", DIR, 4), ("x", DIR, 4)]);
        assert_eq!(
            changes(&old, &new),
            ["dir Some(Directory)", "-file10 Other", "file11 None", "x Some(Other)"]
        );
        assert_eq!(changes(&listing(&[]), &listing(&[("a", FILE, 1)])), ["a None"]);
        assert_eq!(changes(&listing(&[("a", DIR, 1)]), &listing(&[])), ["-a Directory"]);
    }

    #[test]
    fn an_unsettled_stamp_proves_nothing() {
        let unsettled = listing(&[("a", FILE, 0)]);
        assert_eq!(changes(&unsettled, &unsettled), ["a Some(Other)"]);
        assert_ne!(Stamp::new(0), Stamp::UNSETTLED);
    }

    #[test]
    fn each_truncation_is_an_error() {
        let bytes = encoded(&listing(&[("file1", FILE, 1), ("file2", DIR, u64::MAX)]));
        for length in 0..bytes.len() {
            assert!(DirRecord::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn damage_does_not_panic() {
        let bytes = encoded(&listing(&[("file1", FILE, 1), ("file2", DIR, u64::MAX)]));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok((record, _)) = DirRecord::decode(&damaged) {
                    let _ = listing(&[("file1", FILE, 1)]).changes(&record, |_| {});
                }
            }
        }
    }
}
