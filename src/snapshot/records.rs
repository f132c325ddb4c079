//! Records of the last snapshot, by path.

use hashbrown::HashTable;

use mirror_core::snapshot::{DamagedRecord, DirRecord};

use super::stamp::StampKey;

/// Size of the length before each record.
pub(super) const LENGTH: usize = 4;

/// Appends a record with its length.
pub(super) fn append_record(records: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = records.len();
    records.extend_from_slice(&[0; LENGTH]);
    encode(records);
    let length = records.len() - start - LENGTH;
    // A directory of 4 GiB of names is not recorded rightly, and fails the checks of the decoder.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(place) = records.get_mut(start..start + LENGTH) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Records of a snapshot in memory, by path.
#[derive(Debug)]
pub(crate) struct RecordIndex {
    /// Encoded records, one after the other.
    bytes: Vec<u8>,
    key: StampKey,
    /// Offset of each record.
    offsets: HashTable<usize>,
}

impl RecordIndex {
    /// Decodes the records.
    ///
    /// # Errors
    ///
    /// [`DamagedRecord`] if one can't be decoded.
    pub(super) fn new(bytes: Vec<u8>, key: StampKey) -> Result<Self, DamagedRecord> {
        let mut index = Self { bytes, key, offsets: HashTable::new() };
        let mut at = LENGTH;
        while let Some(rest) = index.bytes.get(at..) {
            let (record, length) = DirRecord::decode(rest)?;
            let hash = key.hash(record.path);
            let Self { bytes, offsets, .. } = &mut index;
            let rehash = |&at: &usize| key.hash(path_at(bytes, at));
            offsets.insert_unique(hash, at, rehash);
            at += length + LENGTH;
        }
        Ok(index)
    }

    /// Returns the key of the stamps.
    pub(super) const fn key(&self) -> StampKey {
        self.key
    }

    /// Returns the record of the directory at this path.
    pub(super) fn get(&self, path: &[u8]) -> Option<DirRecord<'_>> {
        let is_it = |&at: &usize| path_at(&self.bytes, at) == path;
        let at = *self.offsets.find(self.key.hash(path), is_it)?;
        DirRecord::peek(self.bytes.get(at..)?).ok()
    }
}

/// Returns the path of the record at this offset.
fn path_at(bytes: &[u8], at: usize) -> &[u8] {
    let record = DirRecord::peek(bytes.get(at..).unwrap_or_default());
    record.map(|record| record.path).unwrap_or_default()
}
