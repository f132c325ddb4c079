//! Inputs to the state machine.

use alloc::{string::String, vec::Vec};

use crate::{
    flush::FlushRequest,
    fs_event::{EntryKind, FsEvent, MirrorId},
    job::{DirtyPath, Failure, JobEnd, JobId},
    path::TreePath,
    snapshot::SourceComparison,
};

/// An input to the fleet.
#[derive(Clone, Debug)]
pub enum Input {
    /// The tree of this mirror is watched: from now on its changes are reported.
    Covered(MirrorId),
    /// The tree of this mirror can't be watched now, because its root is missing or is not the
    /// pinned directory.
    CannotCover {
        /// The mirror.
        mirror: MirrorId,
        /// The reason, as a sentence without a full stop.
        reason: String,
    },
    /// The source of this mirror, which is watched, does not answer for some time, or does again:
    /// changes may be unknown.
    SourceAnswers(MirrorId, bool),
    /// The answer to [`Effect::Compare`](crate::effect::Effect::Compare).
    Compared(MirrorId, SourceComparison),
    /// The link to the target of this mirror came up or went down.
    TargetLink(MirrorId, TargetLink),
    /// The target of this mirror, which is away, may be back.
    TargetBack(MirrorId),
    /// A change was reported in a tree.
    FsEvent(FsEvent),
    /// A job has ended.
    JobEnded(JobEnd),
    /// An input of a script.
    Script(ScriptInput),
    /// The scheduled time for a full transfer of this mirror has arrived.
    FullDue(MirrorId),
    /// An operator asks for a transfer of everything at and below this path.
    Resync(MirrorId, TreePath),
    /// An operator asks to retry at once everything of this mirror that is backing off.
    Retry(MirrorId),
    /// An operator accepts what this mirror is held for.
    Release(MirrorId),
    /// An operator pauses or resumes this mirror.
    SetPaused(MirrorId, bool),
    /// An operator asks for a flush. The answer is an
    /// [`Effect::Flushed`](crate::effect::Effect::Flushed).
    Flush(FlushRequest),
    /// The daemon received a signal.
    Signal(Signal),
}

/// An input of a script.
#[derive(Clone, Debug)]
pub enum ScriptInput {
    /// The script returned from a call that was requested by
    /// [`Effect::CallScript`](crate::effect::Effect::CallScript).
    Returned {
        /// Its mirror.
        mirror: MirrorId,
        /// The error that the script raised, if any.
        result: Result<(), Failure>,
        /// True if scripts wait for something else, such as an alarm.
        has_pending_work: bool,
    },
    /// A child of a script has exited.
    ChildExited {
        /// Its job.
        job: JobId,
        /// Its exit.
        exit: ChildExit,
    },
    /// A script has processed the exit of a child.
    Collected {
        /// The job of the child.
        job: JobId,
        /// The answer of the script, or the error that it raised.
        result: Result<CollectAnswer, Failure>,
    },
    /// The listing of a directory of a source.
    DirectoryListed {
        /// The mirror.
        mirror: MirrorId,
        /// The directory.
        path: TreePath,
        /// The listing.
        listing: DirectoryListing,
    },
}

/// The link to a target: a tunnel, where the target needs one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetLink {
    /// The tunnel is up, or none is needed.
    #[default]
    Up,
    /// The tunnel is down: no job is started.
    Down,
}

/// The listing of a directory of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryListing {
    /// The names and kinds of the entries. Empty if the directory is gone.
    pub entries: Vec<(Vec<u8>, EntryKind)>,
    /// True if the listing is complete. Otherwise something could not be read.
    pub is_complete: bool,
}

/// The exit of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildExit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It was a built-in transfer, and everything but these paths is done.
    Partial(Vec<(DirtyPath, Failure)>),
}

/// The answer of a script to the exit of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectAnswer {
    /// The events are done.
    Done,
    /// The events are to be retried.
    Again,
    /// The daemon exits.
    Die,
}

/// A signal from an operator or a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: exit.
    Terminate,
    /// `SIGINT`: exit.
    Interrupt,
    /// `SIGHUP`: retry at once everything that is backing off. The engine reloads the configuration
    /// before, if there is one to reload.
    Hangup,
}

impl Signal {
    /// The name in messages, without `SIG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Hangup => "HUP",
        }
    }

    /// The number, which is the same on every Linux.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}
