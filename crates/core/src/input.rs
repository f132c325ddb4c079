//! What comes in.

use alloc::{string::String, vec::Vec};

use crate::{
    job::{Failure, JobId, Outcome, Place},
    notice::{Kind, MirrorId, Notice},
    path::TreePath,
};

/// Everything that can happen to the fleet.
#[derive(Clone, Debug)]
pub enum Input {
    /// From now on the watcher tells what happens in the tree of this mirror.
    Covered(MirrorId),
    /// The tree of this mirror can't be watched now, since its root is not there or not the one
    /// that was agreed on.
    CannotCover {
        /// Which mirror.
        mirror: MirrorId,
        /// Why, as a sentence without a full stop.
        why: String,
    },
    /// The way to the target of this mirror has come up or gone down.
    Gate(MirrorId, Gate),
    /// Something happened in a tree.
    Notice(Notice),
    /// A job is over.
    JobEnded {
        /// Which job.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The call of a script is over, for which an
    /// [`Effect::Script`](crate::effect::Effect::Script) asked.
    Called {
        /// Of which mirror.
        mirror: MirrorId,
        /// What the script failed with, if it did.
        result: Result<(), Failure>,
        /// Whether scripts wait for something else, such as an alarm.
        has_plans: bool,
    },
    /// A child of a script has ended.
    ChildEnded {
        /// Which job it was.
        job: JobId,
        /// How it ended.
        exit: ChildExit,
    },
    /// A script has been told of the end of a child.
    Collected {
        /// Which job it was.
        job: JobId,
        /// What it says of it, or what it failed with.
        result: Result<Answer, Failure>,
    },
    /// What a directory of a source lists.
    Listed {
        /// Of which mirror.
        mirror: MirrorId,
        /// Which directory.
        path: TreePath,
        /// What it lists.
        listed: Listed,
    },
    /// The time has come at which everything of this mirror is to be mirrored.
    FullDue(MirrorId),
    /// Somebody wants the daemon to do something.
    Signal(Signal),
}

/// Whether there is a way to a target: a tunnel that stands, where there has to be one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// There is one, or none is needed.
    #[default]
    Open,
    /// There is none: no job is started.
    Closed,
}

/// What a directory of a source lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The names and what they are. None, if the directory is gone.
    pub entries: Vec<(Vec<u8>, Kind)>,
    /// Whether these are all. If not, something could not be read.
    pub is_whole: bool,
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildExit {
    /// It returned this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It was work of ours, and all is done but this.
    Partly(Vec<(Place, Failure)>),
}

/// What a script says of the end of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its events are done.
    Done,
    /// They are to be tried again.
    Again,
    /// The daemon ends.
    Die,
}

/// What a person or a service manager can ask for by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: end.
    Terminate,
    /// `SIGINT`: end.
    Interrupt,
    /// `SIGHUP`: try again now what waits for a later try. Where there is something to be read
    /// again, the engine does that before.
    Hangup,
}

impl Signal {
    /// Its name in messages, without `SIG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Hangup => "HUP",
        }
    }

    /// Its number, the same on every Linux.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Terminate => 15,
        }
    }
}
