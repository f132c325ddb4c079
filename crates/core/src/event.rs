//! What is worth telling.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{
    input::Signal,
    job::{Failure, Grounds, HeldDeletions, Place},
    notice::MirrorId,
    path::TreePath,
};

/// Something that people or machines may want to know. `engine::words` gives each its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something about one mirror.
    Mirror(MirrorId, MirrorEvent),
    /// The daemon was asked to end, and lets this many jobs end first.
    Draining(Signal, usize),
    /// The daemon was asked to try again now what waits for a later try.
    Hangup,
    /// So many jobs were asked to end, since the time that they were given is over.
    Stopping(usize),
    /// All mirrors are equal to their sources, and that was all that was asked for.
    OnepassDone,
    /// That was all that was asked for, and these events of this mirror, for people, have failed at each try.
    OnepassFailed(MirrorId, Vec<(String, Failure)>),
    /// That was all that was asked for, and it was not reached, at a second try either: this mirror has
    /// so many places that are not on the target, of which the first are named, or deletions that are
    /// held.
    OnepassLeft(MirrorId, Vec<TreePath>, usize),
    /// That was all that was asked for, and it can't be reached: the script of this mirror does
    /// nothing with the event by which it begins, and there is nothing that could.
    OnepassStuck(MirrorId),
}

/// Something about one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorEvent {
    /// The first full transfer is done, with this exit code: 0 unless something failed in it.
    StartupFinished(i32),
    /// The first full transfer failed, and is tried again after this time.
    StartupRetry(Failure, Duration),
    /// The first full transfer failed, and the daemon ends since it was not told to insist.
    StartupGivenUp(Failure),
    /// The first full transfer failed in a way that no later try can mend; the daemon ends.
    StartupFatal(Failure, Grounds),
    /// A batch is on the target, with such a code.
    BatchFinished(i32),
    /// A batch failed, and is tried again after this time.
    BatchRetry(Failure, Duration),
    /// A batch failed with an exit code for which the user wants the daemon to end.
    BatchFatal(Failure),
    /// The time has come at which the user wants everything to be mirrored.
    FullDue,
    /// A full transfer, not the first one, is done, with such a code.
    FullFinished(i32),
    /// It failed, and is tried again after this time.
    FullRetry(Failure, Duration),
    /// It failed with an exit code for which the user wants the daemon to end.
    FullFatal(Failure),
    /// What the user wants done when a batch is on the target has failed. It is tried again after
    /// this time, or, without one, when somebody says so.
    HookFailed(Failure, Option<Duration>),
    /// These places failed, and are tried again later.
    PlacesFailed(Vec<(Place, Failure)>),
    /// Unseen deletions that are more than the budget were not made.
    DeletionsHeld(Vec<HeldDeletions>),
    /// No deletions are held any more.
    NothingHeld,
    /// A function of the script failed.
    ScriptFailed {
        /// What it was called for, for people.
        about: Option<String>,
        /// What it failed with.
        failure: Failure,
        /// When that is tried again, if it still waits.
        wait: Option<Duration>,
    },
    /// The script wants something to be done again.
    ScriptAgain {
        /// What, for people.
        about: Option<String>,
        /// Why.
        failure: Failure,
        /// After which time that is done, if it is.
        wait: Option<Duration>,
    },
    /// The script did nothing with what is due: it is called again when something changes, or
    /// after a while.
    ScriptIdle,
    /// The same of the event by which it begins, for which all else waits.
    BeginningIdle,
    /// A child of the script was killed; what it worked on is tried again.
    ChildKilled {
        /// What that is, for people.
        about: Option<String>,
        /// Which signal has killed it.
        signal: i32,
    },
    /// Changes below this path may have been missed, so it is read again.
    Lost(TreePath),
    /// The source is gone: nothing is done until it is back.
    SourceGone(String),
    /// The source is still gone, or something else stands in its place.
    SourceStillGone(String),
    /// The source is back, and a full transfer follows.
    SourceBack,
}
