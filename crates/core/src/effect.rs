//! What goes out.

use crate::{
    event::Event,
    job::{Job, JobId},
    notice::MirrorId,
};

/// What the engine has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Pin the root of this mirror and watch its tree. The answer is an
    /// [`Input::Covered`](crate::input::Input::Covered) or
    /// [`Input::CannotCover`](crate::input::Input::CannotCover).
    Cover {
        /// Which mirror.
        mirror: MirrorId,
        /// Which directory may stand at the root.
        accept: Accept,
    },
    /// Watch the tree of this mirror no more.
    Uncover(MirrorId),
    /// Start a job. Its end is an [`Input::JobEnded`](crate::input::Input::JobEnded).
    Start(Job),
    /// Ask a running job to end. Its end still comes.
    Stop(JobId),
    /// Nothing more is asked of this mirror, which was replaced, and none of its jobs runs.
    Dismiss(MirrorId),
    /// Tell people and machines.
    Report(Event),
    /// End the process with this code.
    Exit(u8),
}

/// Which directory may stand at the root of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Whatever stands there now: a person has just said so, by starting the daemon or by `SIGHUP`.
    Any,
    /// Only what can be the root that was lost, and not the empty place under a lost mount.
    Successor,
}
