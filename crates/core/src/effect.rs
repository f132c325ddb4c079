//! What goes out.

use alloc::vec::Vec;

use crate::{
    event::Event,
    job::{Job, JobId},
    notice::MirrorId,
    path::TreePath,
    queue::ordered::EventId,
};

/// What the engine has to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Pin the root of this mirror and watch its tree. The answer is an
    /// [`Input::Covered`](crate::input::Input::Covered) or
    /// [`Input::CannotCover`](crate::input::Input::CannotCover).
    ///
    /// The first time that is whatever directory stands there. From then on only what can follow
    /// it: no mirror can ask for more, whether it looks again by itself or for a `SIGHUP`.
    Cover(MirrorId),
    /// Watch the tree of this mirror no more.
    Uncover(MirrorId),
    /// Start a job. Its end is an [`Input::JobEnded`](crate::input::Input::JobEnded).
    Start(Job),
    /// Call the script of this mirror. Meanwhile it may ask the mirror for what it needs
    /// ([`Fleet::scripted`](crate::fleet::Fleet::scripted)). The answer is an
    /// [`Input::Called`](crate::input::Input::Called), of [`Call::Collect`] an
    /// [`Input::Collected`](crate::input::Input::Collected).
    Script(MirrorId, Call),
    /// Read what this directory of the source lists. The answer is an
    /// [`Input::Listed`](crate::input::Input::Listed).
    List {
        /// Of which mirror.
        mirror: MirrorId,
        /// Which directory.
        path: TreePath,
    },
    /// Ask a running job to end. Its end still comes.
    Stop(JobId),
    /// Nothing more is asked of this mirror, which was replaced, and none of its jobs runs.
    Dismiss(MirrorId),
    /// Tell people and machines.
    Report(Event),
    /// End the process with this code.
    Exit(u8),
}

/// Which function of a script is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// That for the beginning, which is this event.
    Init(EventId),
    /// That for full events, of which this one is due.
    Full(EventId),
    /// That for all else that is due.
    Action,
    /// That for the end of a child.
    Collect {
        /// Which job it was.
        job: JobId,
        /// What it has worked on.
        events: Vec<EventId>,
        /// The code that it returned.
        code: i32,
    },
}
