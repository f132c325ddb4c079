//! What can go wrong with one entry, and what is said about it.

use std::io;

use mirror_platform::content::CopyError;
use rustix::io::Errno;

/// Why an entry is not yet on the target.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The source is not any more what it was a moment ago: look again.
    Changed,
    /// The file was written again and again while it was copied.
    Busy,
    /// The job was asked to end.
    Stopped,
    /// The source did not let this be done.
    Source(&'static str, io::Error),
    /// The target did not let this be done.
    Target(&'static str, io::Error),
    /// Something stands in the way that must not be deleted.
    Blocked,
    /// Something is mounted on the target, and must not be deleted.
    Mounted,
    /// What has to go for it was counted, and goes at the end if there is not too much of it.
    Later,
    /// Nobody saw it go, and it was found too late to be counted.
    Unseen,
    /// It lies on another file system, which is not to be mirrored.
    Elsewhere,
}

/// The trouble that an error of a call on the source makes.
pub(super) fn source(action: &'static str) -> impl Fn(io::Error) -> Trouble {
    move |error| {
        if is_absent(&error) { Trouble::Changed } else { Trouble::Source(action, error) }
    }
}

/// The trouble that an error of a call on the target makes.
pub(super) fn target(action: &'static str) -> impl Fn(io::Error) -> Trouble {
    move |error| Trouble::Target(action, error)
}

/// As [`target`], for the calls of `rustix`.
pub(super) fn target_call(action: &'static str) -> impl Fn(Errno) -> Trouble {
    move |error| Trouble::Target(action, error.into())
}

impl From<CopyError> for Trouble {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Read(error) => source("read")(error),
            CopyError::Write(error) => target("write")(error),
            CopyError::Short => Self::Changed,
            CopyError::Stopped => Self::Stopped,
        }
    }
}

/// Whether there is no such entry, or not of the kind that was asked for.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

impl Trouble {
    /// What to do about the whole target, if this is no matter of one entry.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        let Self::Target(_, error) = self else { return None };
        match Errno::from_io_error(error)? {
            Errno::ROFS => Some("mount it for writing"),
            Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::NXIO | Errno::HOSTDOWN => {
                Some("mount it again")
            }
            _ => None,
        }
    }

    /// What to do if there is no room for this entry.
    fn lack(&self) -> Option<&'static str> {
        let Self::Target(_, error) = self else { return None };
        match Errno::from_io_error(error)? {
            Errno::NOSPC => Some("free some space there"),
            Errno::DQUOT => Some("free some space there, or raise the quota"),
            Errno::FBIG => Some("its file system, or the limit of the daemon, takes no such file"),
            _ => None,
        }
    }

    /// Returns true if there may be room for this entry when others have gone.
    pub(super) fn wants_room(&self) -> bool {
        let Self::Target(_, error) = self else { return false };
        matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// Returns true if there is nothing to tell.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self, Self::Stopped | Self::Later | Self::Elsewhere)
    }

    /// A sentence for people about the entry at `path`, which begins with a slash.
    pub(super) fn sentence(&self, roots: (&str, &str), path: &str) -> String {
        let (source, target) = roots;
        match self {
            Self::Changed | Self::Busy => {
                format!("cannot copy {source}{path}: it changes while it is copied")
            }
            Self::Stopped | Self::Later | Self::Elsewhere => "it was asked to stop".into(),
            Self::Source(action, error) => {
                format!("cannot {action} {source}{path}: {}", said(error))
            }
            Self::Target(action, error) => {
                let remedy = self
                    .remedy()
                    .or_else(|| self.lack())
                    .map(|text| format!(": {text}"))
                    .unwrap_or_default();
                format!("cannot {action} {target}{path}: {}{remedy}", said(error))
            }
            Self::Blocked => format!(
                "cannot replace {target}{path}: it is a directory that holds what is not to be deleted"
            ),
            Self::Unseen => {
                format!(
                    "{source}{path} is missing, and nobody saw it go: {target}{path} stays for now"
                )
            }
            Self::Mounted => {
                format!("cannot remove {target}{path}: something is mounted there: unmount it")
            }
        }
    }
}

/// What the system said, without its number.
pub(super) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((said, _)) => said.to_owned(),
        None => text,
    }
}
