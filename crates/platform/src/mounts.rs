//! The mount table.

pub use crate::mount_table::MountTable;

/// Entry of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Mount id, as in [`Stat::mount`](crate::stat::Stat::mount). It may be reused after the
    /// unmount.
    pub id: u64,
    /// Absolute path of the mount point.
    pub point: Vec<u8>,
    /// True if opening a directory of the mount may take as long as another machine or a program
    /// does not answer.
    pub may_block: bool,
    /// True if others may change the content without this kernel.
    pub is_shared: bool,
    /// Source of the mount: a device, the export of a server, or an arbitrary word.
    pub source: Vec<u8>,
}
