//! Size limits of a queue.

/// The most dirty paths directly in one directory; beyond it, they are replaced by the directory.
pub const MAX_PER_DIRECTORY: usize = 65_536;

/// The most dirty paths that wait for one event; beyond it, they are replaced by at most half as
/// many larger ones.
pub const MAX_PATHS: usize = 98_304;

/// The most failed paths that are remembered; beyond it, they are replaced by at most half as many
/// larger ones. Also the most large files that wait; beyond it, their directories are dirty paths.
pub const MAX_FAILED: usize = 4_096;

/// The most renames that are remembered; further ones are just two dirty paths each.
pub const MAX_RENAME_HINTS: usize = 10_000;

/// Size limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// See [`MAX_PER_DIRECTORY`].
    pub per_directory: usize,
    /// See [`MAX_PATHS`]. At least 2.
    pub paths: usize,
    /// See [`MAX_FAILED`]. At least 2.
    pub failed: usize,
    /// See [`MAX_RENAME_HINTS`].
    pub hints: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            per_directory: MAX_PER_DIRECTORY,
            paths: MAX_PATHS,
            failed: MAX_FAILED,
            hints: MAX_RENAME_HINTS,
        }
    }
}
