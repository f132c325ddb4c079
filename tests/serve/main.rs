//! `lsyncctl serve` with a daemon that answers as a test wants it to: over HTTP, and in a browser.
#![cfg(test)]

mod browser;
mod command;
mod endpoints;
mod example;
mod fake_daemon;
mod http;
mod page;
mod prometheus;
mod server;

/// Skips the test with a `skipped:` line unless a program is installed, and returns its path.
macro_rules! program {
    ($name:expr) => {
        match $crate::find_program($name) {
            Some(path) => path,
            None => {
                println!("skipped: this needs {}", $name);
                return;
            }
        }
    };
}
pub(crate) use program;

/// Finds a program in `PATH`.
fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}
