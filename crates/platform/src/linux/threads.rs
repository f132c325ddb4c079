//! Number of threads: `/proc/self/task`, see proc(5).

use std::{fs, io};

/// Returns the number of threads of this process.
///
/// # Errors
///
/// If `/proc` is not mounted.
pub(crate) fn count_threads() -> io::Result<usize> {
    let threads = fs::read_dir("/proc/self/task").map_err(|error| {
        let text = format!("/proc/self/task: {error}: /proc must be mounted");
        io::Error::new(error.kind(), text)
    })?;
    Ok(threads.count())
}
