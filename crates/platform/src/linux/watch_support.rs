//! Support of the system for watches.

use super::fanotify::{FanotifyGroup, FanotifyQueue};
use crate::dir::Dir;

/// Returns true if the file system of a directory can be watched as a whole: `fanotify(7)`.
#[must_use]
pub fn can_watch_file_system(directory: &Dir) -> bool {
    let mark = |group: FanotifyGroup| group.mark(directory);
    FanotifyGroup::new(FanotifyQueue::Unlimited).and_then(mark).is_ok()
}
