//! Entries as their directories keep them.

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// The name that a listing of the directory shows. Another name may lead to the entry where
    /// case or the form of Unicode make no difference.
    pub name: Vec<u8>,
    /// True for a directory.
    pub is_directory: bool,
    /// The number of its inode.
    pub inode: u64,
    /// The number of its device.
    pub device: u64,
}
