//! The bounds of a queue.

/// How many places lie directly in one directory at most; with more, the directory is one place.
pub const MOST_IN_DIRECTORY: usize = 65_536;

/// How many places wait for one thing at most; with more, at most half of that many larger ones.
pub const MOST_PLACES: usize = 262_144;

/// How many places that failed are remembered at most; with more, at most half of that many
/// larger ones. Of large files, as many wait to go alone; with more, their directories are places.
pub const MOST_FAILURES: usize = 4_096;

/// How many renames are remembered at most; further ones are two places each and no more.
pub const MOST_HINTS: usize = 10_000;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`MOST_IN_DIRECTORY`].
    pub in_directory: usize,
    /// See [`MOST_PLACES`]. At least 2.
    pub places: usize,
    /// See [`MOST_FAILURES`]. At least 2.
    pub failures: usize,
    /// See [`MOST_HINTS`].
    pub hints: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_directory: MOST_IN_DIRECTORY,
            places: MOST_PLACES,
            failures: MOST_FAILURES,
            hints: MOST_HINTS,
        }
    }
}
