//! Queues of pending work: dirty paths for built-in targets, events for scripts.

mod backoff;
mod batch;
mod debounce;
mod dirty;
pub mod event_queue;
mod hot_paths;
mod large_files;
mod limits;
mod observed;
mod open_files;
mod path_set;
mod pending;
mod rename_hints;
mod status;
mod steps;

#[cfg(test)]
mod tests;

pub use backoff::{FIRST_BACKOFF, MAX_BACKOFF};
pub use batch::{Batch, HeldBefore, Settled};
pub use debounce::Debounce;
pub use dirty::DirtySet;
pub use limits::{MAX_FAILED, MAX_PATHS, MAX_PER_DIRECTORY, MAX_RENAME_HINTS, QueueLimits};
pub use observed::ObservedChanges;
pub(crate) use open_files::OpenFiles;
pub use open_files::{MAX_OPEN_FILES, OpenWait};
pub use path_set::{Inserted, PathSet, PathSetIter};
pub use status::{QueueCounts, Stage};
