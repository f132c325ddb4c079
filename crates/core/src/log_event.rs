//! Events reported to log and status.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{
    fs_event::MirrorId,
    input::Signal,
    job::{DirtyPath, Failure, FatalReason, HeldDeletions},
    path::TreePath,
};

/// An event of interest to people or monitoring. `engine::log_events` formats each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// An event of one mirror.
    Mirror(MirrorId, MirrorEvent),
    /// The daemon received this signal and waits for this many running jobs.
    Draining(Signal, usize),
    /// The daemon received `SIGHUP` and retries everything that is backing off.
    Hangup,
    /// The grace period expired: this many jobs were asked to stop.
    Stopping(usize),
    /// One pass is complete: every target equals its source.
    OnepassDone,
    /// One pass ended with failures: these events of this mirror, with titles for people, failed at
    /// every try.
    OnepassFailed(MirrorId, Vec<(String, Failure)>),
    /// One pass ended incomplete after a second try: the number of paths of this mirror that are
    /// not on the target, with the first of their names, or deletions that are held.
    OnepassLeft(MirrorId, Vec<TreePath>, usize),
    /// One pass can't complete: the script of this mirror leaves its init event alone, and nothing
    /// else could finish it.
    OnepassStuck(MirrorId),
}

/// An event of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorEvent {
    /// An event of the first full transfer.
    Startup(StartupEvent),
    /// An event of a later full transfer.
    Full(FullEvent),
    /// An event of a transfer of changes.
    Batch(BatchEvent),
    /// The hook that runs after a batch failed. The batch is retried after this time; without one,
    /// only on request.
    HookFailed(Failure, Option<Duration>),
    /// A job has succeeded, after the one before had failed.
    Recovered,
    /// So many paths are compared once more: receivers of lost jobs may have changed them.
    ComparedAgain(usize),
    /// These paths failed and are retried later.
    PathsFailed(Vec<(DirtyPath, Failure)>),
    /// An event of the deletions beyond the budget.
    Deletions(DeletionEvent),
    /// An event of the script.
    Script(ScriptEvent),
    /// An event of the source.
    Source(SourceEvent),
}

/// An event of the first full transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupEvent {
    /// Everything is transferred, although the source has snapshots: the reason.
    Full(String),
    /// Only this number of paths is transferred: everything else is as in the last snapshot.
    Reduced(usize),
    /// It finished with this exit code: 0 unless a part of it failed.
    Finished(i32),
    /// It failed and is retried after this time.
    Retry(Failure, Duration),
    /// It failed, and the daemon exits because `insist` is off.
    GivenUp(Failure),
    /// It failed for a reason that no retry can fix; the daemon exits.
    Fatal(Failure, FatalReason),
}

/// An event of a later full transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FullEvent {
    /// Its scheduled time has arrived.
    Due,
    /// It finished with this exit code: 0 unless a part of it failed.
    Finished(i32),
    /// It failed and is retried after this time.
    Retry(Failure, Duration),
    /// It failed with an exit code for which the user wants the daemon to exit.
    Fatal(Failure),
}

/// An event of a batch of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchEvent {
    /// It finished with this exit code: 0 unless a part of it failed.
    Finished(i32),
    /// It failed and is retried after this time.
    Retry(Failure, Duration),
    /// It failed with an exit code for which the user wants the daemon to exit.
    Fatal(Failure),
}

/// An event of the deletions beyond the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionEvent {
    /// These were not made.
    Held {
        /// Those that a job has just found.
        found: Vec<HeldDeletions>,
        /// All that are held now.
        all: Vec<HeldDeletions>,
    },
    /// None are held any more.
    NoneHeld(HoldEnd),
}

/// Reasons why deletions are held no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// An operator has changed the budget.
    Released,
    /// The entries are in the source again, or their deletion was observed, or the target was
    /// replaced.
    Obsolete,
}

/// An event of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptEvent {
    /// A function of the script failed.
    Failed {
        /// The title of the event or events it was called for.
        about: Option<String>,
        /// The error that it raised.
        failure: Failure,
        /// The time until the retry, if the event still waits.
        wait: Option<Duration>,
    },
    /// The script asked for a retry.
    Retry {
        /// The title of the event or events.
        about: Option<String>,
        /// The reason.
        failure: Failure,
        /// The time until the retry, if there is one.
        wait: Option<Duration>,
    },
    /// The script left everything that is due alone. It is called again after a change or after a
    /// while.
    Idle,
    /// The script left its init event alone, for which everything else waits.
    InitIdle,
    /// A child of the script was killed by a signal; its events are retried.
    ChildKilled {
        /// The title of the event or events.
        about: Option<String>,
        /// The signal.
        signal: i32,
    },
}

/// An event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// Events at and below this path may have been lost, so it is rescanned.
    EventsLost(TreePath),
    /// The source is gone: the sync is suspended until it is back.
    Gone(String),
    /// The source is still gone, or something else is in its place.
    StillGone(String),
    /// The source is back, and a full transfer follows.
    Back,
    /// The source does not answer for some time: changes are found when it does.
    Silent,
    /// It answers again.
    Answers,
}
