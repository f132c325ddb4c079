//! Effects for the engine to perform.

use alloc::vec::Vec;

use crate::{
    flush::FlushEnd,
    fs_event::MirrorId,
    job::{Job, JobId},
    log_event::LogEvent,
    path::TreePath,
    queue::event_queue::EventId,
};

/// An effect that the fleet asks the engine to perform.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Pin the root of this mirror and watch its tree. The answer is an
    /// [`Input::Covered`](crate::input::Input::Covered) or
    /// [`Input::CannotCover`](crate::input::Input::CannotCover).
    ///
    /// The first time, any directory found at the path is accepted. Later only a directory that can
    /// follow the pinned one is accepted: no mirror can ask for more, neither by its own recheck
    /// nor after a `SIGHUP`.
    Cover(MirrorId),
    /// Stop watching the tree of this mirror.
    Uncover(MirrorId),
    /// Compare the source of this mirror, which is watched now, with its last snapshot. The answer
    /// is an [`Input::Compared`](crate::input::Input::Compared).
    Compare(MirrorId),
    /// Start a job. Its end is reported as an [`Input::JobEnded`](crate::input::Input::JobEnded).
    Start(Job),
    /// Call the script of this mirror. During the call the script queries the mirror through
    /// [`Fleet::scripted`](crate::fleet::Fleet::scripted). The answer is a
    /// [`ScriptInput::Returned`](crate::input::ScriptInput::Returned), or for
    /// [`ScriptCall::Collect`] a [`ScriptInput::Collected`](crate::input::ScriptInput::Collected).
    CallScript(MirrorId, ScriptCall),
    /// List this directory of the source. The answer is a
    /// [`ScriptInput::DirectoryListed`](crate::input::ScriptInput::DirectoryListed).
    ListDirectory {
        /// The mirror that asks.
        mirror: MirrorId,
        /// The directory.
        path: TreePath,
    },
    /// Ask a running job to stop. Its end is still reported.
    Stop(JobId),
    /// Forget this mirror: it was replaced, and none of its jobs runs any more.
    Forget(MirrorId),
    /// Answer an [`Input::Flush`](crate::input::Input::Flush).
    Flushed(FlushEnd),
    /// Report an event to log and status.
    Report(LogEvent),
    /// Exit the process with this code.
    Exit(u8),
}

/// The function of a script to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptCall {
    /// The function for the init event, which is this one.
    Init(EventId),
    /// The function for full events, of which this one is due.
    Full(EventId),
    /// The function for everything else that is due.
    Action,
    /// The function for the exit of a child.
    Collect {
        /// The job of the child.
        job: JobId,
        /// The events that the child worked on.
        events: Vec<EventId>,
        /// The exit code of the child.
        code: i32,
    },
}
