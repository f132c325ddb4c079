//! Errors of single entries and their messages.

use std::io;

use mirror_platform::copy_file::FileCopyError;
use rustix::io::Errno;

/// Reason why an entry is not synced yet.
#[derive(Debug)]
pub(super) enum EntryError {
    /// The source has changed since it was read: retry.
    Changed,
    /// The file was written during every attempt to copy it.
    Busy,
    /// The job was cancelled.
    Cancelled,
    /// A system call on the source failed.
    Source(&'static str, io::Error),
    /// A system call on the target failed.
    Target(&'static str, io::Error),
    /// A directory with protected entries is in the way.
    Blocked,
    /// A file system is mounted in the target directory, which must not be deleted.
    Mounted,
    /// A deletion that has to come first was counted. It is made at the end if the budget allows
    /// it.
    Deferred,
    /// The deletion was not reported by an event, and was found too late to be counted.
    Unobserved,
    /// The entry is on an excluded file system.
    OtherDevice,
    /// The target cannot have the entry beside another one, for this reason.
    SharedName(String),
}

/// Returns a function that converts an error of a system call on the source.
pub(super) fn source_error(action: &'static str) -> impl Fn(io::Error) -> EntryError {
    move |error| {
        if is_absent(&error) { EntryError::Changed } else { EntryError::Source(action, error) }
    }
}

/// Returns a function that converts an error of a system call on the target.
pub(super) fn target_error(action: &'static str) -> impl Fn(io::Error) -> EntryError {
    move |error| EntryError::Target(action, error)
}

/// Like [`target_error`], for the calls of `rustix`.
pub(super) fn target_errno(action: &'static str) -> impl Fn(Errno) -> EntryError {
    move |error| EntryError::Target(action, error.into())
}

impl From<FileCopyError> for EntryError {
    fn from(error: FileCopyError) -> Self {
        match error {
            FileCopyError::Read(error) => source_error("read")(error),
            FileCopyError::Write(error) => target_error("write")(error),
            FileCopyError::Short => Self::Changed,
            FileCopyError::Stopped => Self::Cancelled,
        }
    }
}

/// Returns true if the entry does not exist, or is of another type than requested.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

impl EntryError {
    /// Returns the remedy if the error concerns the target as a whole.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        let Self::Target(_, error) = self else { return None };
        match Errno::from_io_error(error)? {
            Errno::ROFS => Some("remount it read-write"),
            Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::NXIO | Errno::HOSTDOWN => {
                Some("mount it again")
            }
            _ => None,
        }
    }

    /// Returns the remedy if the target has no space for the entry.
    fn space_remedy(&self) -> Option<&'static str> {
        let Self::Target(_, error) = self else { return None };
        match Errno::from_io_error(error)? {
            Errno::NOSPC => Some("free space or inodes there"),
            Errno::DQUOT => Some("free space there, or raise the quota"),
            Errno::FBIG => {
                Some("the file is larger than the file system or ulimit -f of the daemon allows")
            }
            _ => None,
        }
    }

    /// Returns the remedy if the target may not be able to have the entry at all.
    fn support_remedy(&self) -> Option<&'static str> {
        let Self::Target(action @ ("make" | "write" | "stat"), error) = self else { return None };
        match Errno::from_io_error(error)? {
            Errno::NOENT | Errno::INVAL | Errno::ILSEQ => {
                Some("if its file system does not permit this name, rename or exclude the entry")
            }
            Errno::NOSYS | Errno::OPNOTSUPP if *action == "make" => {
                Some("if its file system has no such type of file, exclude the entry")
            }
            _ => None,
        }
    }

    /// Returns true if a deletion of other entries may make space for this one.
    pub(super) fn is_out_of_space(&self) -> bool {
        let Self::Target(_, error) = self else { return false };
        matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// Returns true if the error is not reported.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Deferred | Self::OtherDevice)
    }

    /// Returns the message about the entry at `path`, which begins with a slash.
    pub(super) fn message(&self, source: &str, target: &str, path: &str) -> String {
        match self {
            Self::Changed | Self::Busy => {
                format!("cannot copy {source}{path}: it changed during the copy")
            }
            Self::Cancelled | Self::Deferred | Self::OtherDevice => "the job was stopped".into(),
            Self::Source(action, error) => {
                format!("cannot {action} {source}{path}: {}", os_message(error))
            }
            Self::Target(action, error) => {
                let remedy = self
                    .remedy()
                    .or_else(|| self.space_remedy())
                    .or_else(|| self.support_remedy())
                    .map(|text| format!(": {text}"))
                    .unwrap_or_default();
                format!("cannot {action} {target}{path}: {}{remedy}", os_message(error))
            }
            Self::SharedName(why) => format!("cannot copy {source}{path}: {why}"),
            Self::Blocked => format!(
                "cannot replace {target}{path}: it is a directory with entries that must not be \
                 deleted"
            ),
            Self::Unobserved => {
                format!(
                    "{source}{path} is missing without a reported deletion: {target}{path} is kept \
                     for now"
                )
            }
            Self::Mounted => {
                format!("cannot remove {target}{path}: a file system is mounted there: unmount it")
            }
        }
    }
}

/// Returns the message of the operating system without the error number.
pub(super) fn os_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}
