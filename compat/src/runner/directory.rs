//! The directory of a case.

use std::{
    cell::RefCell,
    fs, io,
    os::unix::net::UnixDatagram,
    path::{Component, Path, PathBuf},
};

use crate::call_log::CallLog;

/// Prefix that stands for the directory in a case.
const PREFIX: &str = "@/";

/// The function with which scripts write notes, `@/note.lua`.
const NOTE_LUA: &str = include_str!("note.lua");

/// Size limit of a syslog message.
const MAX_MESSAGE: usize = 64 * 1024;

/// The directory of one case: a source `src` with one file, an empty target `trg`, the function for
/// notes, and the output of the programs.
pub(super) struct CaseDirectory {
    path: PathBuf,
    syslog: UnixDatagram,
    syslog_lines: RefCell<Vec<String>>,
}

impl CaseDirectory {
    pub(super) fn new(path: &Path, syslog: UnixDatagram) -> io::Result<Self> {
        for name in ["src", "trg", "calls"] {
            fs::create_dir(path.join(name))?;
        }
        fs::write(path.join("src/seed"), "seed\n")?;
        syslog.set_nonblocking(true)?;
        let directory = Self { path: path.to_owned(), syslog, syslog_lines: RefCell::default() };
        fs::write(path.join("note.lua"), directory.expand(NOTE_LUA))?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn calls(&self) -> CallLog {
        CallLog::below(&self.path.join("calls"))
    }

    /// Replaces `@/` in a text of the case.
    pub(super) fn expand(&self, text: &str) -> String {
        text.replace(PREFIX, &format!("{}/", self.path.display()))
    }

    /// Resolves a path of the case, which must be inside the directory: the jail would not let it
    /// be elsewhere.
    pub(super) fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let relative = path.strip_prefix(PREFIX).map(Path::new);
        let relative = relative.map_or_else(|| Path::new("src").join(path), Path::to_owned);
        let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if relative.components().all(is_plain) {
            Ok(self.path.join(relative))
        } else {
            Err(io::Error::other(format!("{path} is not in the case's own directory")))
        }
    }

    /// Returns the content of a file in the directory, or nothing if it does not exist.
    pub(super) fn read_file(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path.join(name)).unwrap_or_default()).into_owned()
    }

    /// Returns all messages that syslog has received.
    pub(super) fn syslog(&self) -> Vec<String> {
        let mut lines = self.syslog_lines.borrow_mut();
        let mut message = vec![0; MAX_MESSAGE];
        while let Ok(length) = self.syslog.recv(&mut message) {
            let message = message.get(..length).unwrap_or_default();
            lines.push(String::from_utf8_lossy(message).trim_end_matches(['\n', '\0']).to_owned());
        }
        lines.clone()
    }
}
