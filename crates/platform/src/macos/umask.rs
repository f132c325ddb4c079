//! The umask of this process: `umask(2)`.

use std::sync::LazyLock;

use rustix::fs::Mode;

/// Returns the umask that the process has at the first call. Files that another thread creates at
/// the same moment are accessible by their owner only.
#[must_use]
pub fn current() -> Option<u32> {
    static UMASK: LazyLock<u32> = LazyLock::new(|| {
        let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(mask);
        mask.as_raw_mode().into()
    });
    Some(*UMASK)
}
