//! Streams that are connected to the journal of systemd, and the priorities of their lines.

use std::{env, ffi::OsStr, sync::LazyLock};

use rustix::{fs::fstat, stdio};

use super::{Category, stream::StdStream};

/// The standard streams that the journal reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalStreams {
    out: bool,
    err: bool,
}

/// Device and inode of a stream.
type StreamId = (i128, i128);

impl JournalStreams {
    /// Returns the streams of this process: those whose device and inode `$JOURNAL_STREAM` names
    /// (systemd.exec(5)). They are looked up once: later the streams are only closed.
    pub(super) fn of_process() -> Self {
        static FOUND: LazyLock<JournalStreams> = LazyLock::new(|| {
            let id = |stat: rustix::fs::Stat| (i128::from(stat.st_dev), i128::from(stat.st_ino));
            let variable = env::var_os("JOURNAL_STREAM");
            let [out, err] = [stdio::stdout(), stdio::stderr()].map(|fd| fstat(fd).ok().map(id));
            JournalStreams::new(variable.as_deref(), out, err)
        });
        *FOUND
    }

    fn new(variable: Option<&OsStr>, out: Option<StreamId>, err: Option<StreamId>) -> Self {
        let parse = |text: &str| -> Option<StreamId> {
            let (device, inode) = text.split_once(':')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        };
        let journal = variable.and_then(OsStr::to_str).and_then(parse);
        let is_journal = |id: Option<StreamId>| id.is_some() && id == journal;
        Self { out: is_journal(out), err: is_journal(err) }
    }

    /// Returns true if the journal reads this stream.
    pub(super) const fn contains(self, stream: StdStream) -> bool {
        match stream {
            StdStream::Out => self.out,
            StdStream::Err => self.err,
        }
    }
}

/// Returns the priority of a line in the journal (sd-daemon(3)). Regular work is "info", which
/// `journalctl` does not highlight.
pub(super) const fn priority(category: Category) -> u8 {
    match category {
        Category::Error => 3,
        Category::Warn => 4,
        Category::Normal => 6,
        Category::Debug(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_of_the_variable_belongs_to_the_journal() {
        let streams = |variable: Option<&str>| {
            let found = JournalStreams::new(variable.map(OsStr::new), Some((8, 17)), Some((9, 33)));
            (found.contains(StdStream::Out), found.contains(StdStream::Err))
        };
        assert_eq!(streams(Some("9:33")), (false, true));
        assert_eq!(streams(Some("8:17")), (true, false));
        for other in ["9:3", "", "9", "9:", ":33", "9:33:1", "x:y", "0x9:33"] {
            assert_eq!(streams(Some(other)), (false, false), "{other}");
        }
        assert_eq!(streams(None), (false, false));
        let closed = JournalStreams::new(Some(OsStr::new("9:33")), None, None);
        assert_eq!(closed, JournalStreams::default());
    }
}
