//! The status of a mirror.

use super::{AwayCause, JobPurpose, Mirror, ResumePoint, RunningJob, TargetState};
use crate::{
    job::{DirtyPath, Failure, Scope},
    path::TreePath,
    queue::Stage,
    time::Moment,
};

/// A difference that is not known to be transferred: a delay, in the terms of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The kind of work.
    pub kind: DelayKind,
    /// Its stage.
    pub stage: Stage,
}

/// The kind of work of a [`Delay`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayKind {
    /// The first full transfer.
    Init,
    /// A later full transfer.
    Full,
    /// A path below the root.
    Path(DirtyPath),
}

/// The differences that remain, as far as they can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// None is known.
    Nothing,
    /// Those that a full transfer finds: their number is unknown.
    FullTransfer {
        /// True until the first one has succeeded.
        is_first: bool,
        /// True if it is running, false if it is due.
        is_running: bool,
    },
    /// So many paths, which are not known to be on the target.
    Paths(usize),
    /// So many paths that wait for the next call of the hook. They are on the target, except for
    /// later changes.
    AfterHook(usize),
}

/// Differences that are not known to be transferred.
impl Mirror {
    /// Returns what remains to be transferred.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let is_first = self.is_starting();
        if is_first || self.queue.covers_root() {
            let is_running = self.running.iter().any(RunningJob::is_full);
            return Backlog::FullTransfer { is_first, is_running };
        }
        match (self.delay_count(), self.target) {
            (0, _) => Backlog::Nothing,
            (count, TargetState::Away(away)) if away.cause == AwayCause::Hook => {
                Backlog::AfterHook(count)
            }
            (count, TargetState::Starting | TargetState::Live | TargetState::Away(_)) => {
                Backlog::Paths(count)
            }
        }
    }

    /// The number of delays.
    #[must_use]
    pub fn delay_count(&self) -> usize {
        let queued = self.queue.counts().total() + self.open.len();
        if !self.is_starting() {
            return queued;
        }
        // The first transfer is in the queue only after the source is watched.
        if self.queue.covers_root() { queued } else { queued + 1 }
    }

    /// All delays: first those in flight and deferred, then those that wait, then those that
    /// failed.
    pub fn delays(&self) -> impl Iterator<Item = Delay> {
        let is_starting = self.is_starting();
        let init =
            is_starting.then(|| Delay { kind: DelayKind::Init, stage: self.startup_stage() });
        let is_init = move |dirty: &DirtyPath, stage: Stage| {
            is_starting && is_all(dirty) && matches!(stage, Stage::Waiting | Stage::InFlight)
        };
        let file = |path: &TreePath| DirtyPath { path: path.clone(), scope: Scope::Entry };
        let open = self.open.paths().map(move |path| (file(path), Stage::Waiting));
        let queued = self.queue.iter().chain(open);
        let queued = queued.filter(move |(dirty, stage)| !is_init(dirty, *stage));
        init.into_iter().chain(queued.map(|(dirty, stage)| {
            let kind = if is_all(&dirty) { DelayKind::Full } else { DelayKind::Path(dirty) };
            Delay { kind, stage }
        }))
    }

    /// The number of files that wait because they are being written.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The time of the oldest change that is not known to be on the target.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.queue.oldest().into_iter().chain(self.open.oldest()).min()
    }

    /// The failure of the last job. `None` if it succeeded.
    #[must_use]
    pub const fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// Returns true if the first full transfer is not done yet.
    pub(super) fn is_starting(&self) -> bool {
        self.target.resume_point() == ResumePoint::Starting
    }

    fn startup_stage(&self) -> Stage {
        let is_startup = |running: &RunningJob| running.purpose == JobPurpose::Startup;
        if self.running.iter().any(is_startup) { Stage::InFlight } else { Stage::Waiting }
    }
}

fn is_all(dirty: &DirtyPath) -> bool {
    dirty.path.is_root() && dirty.scope == Scope::Tree
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, sync::Arc, vec::Vec};
    use core::time::Duration;

    use super::*;
    use crate::{
        fs_event::{Change, Edit, EntryKind, FsEventKind, MirrorId, RootGone},
        input::TargetLink,
        job::{HookFailureAction, JobEnd, JobId, Outcome},
        mirror::{Insist, MirrorSettings, SyncMember},
        path::TreePath,
        queue::{Debounce, OpenWait},
        time::Moment,
    };

    /// A mirror and the time in seconds.
    struct TestMirror(Mirror, u64);

    impl TestMirror {
        fn new(init: bool) -> Self {
            let debounce =
                Debounce::FixedDelay { delay: Duration::from_secs(1), max_waiting: 1000 };
            let filter = Arc::default();
            let (insist, max_jobs, connection) = (Insist::Yes, 1, None);
            let settings = MirrorSettings {
                host: crate::mirror::TargetHost::Local,
                delete: crate::plan::options::DeletePolicy::Always,
                debounce,
                open_wait: OpenWait::NONE,
                init,
                has_snapshots: false,
                insist,
                filter,
                target_link: TargetLink::Up,
                max_jobs,
                connection,
            };
            let mut mirror = Mirror::new(MirrorId(0), settings);
            mirror.begin(&mut Vec::new());
            Self(mirror, 0)
        }

        fn now(&self) -> Moment {
            Moment::new(Duration::from_secs(self.1))
        }

        /// Advances by two seconds and starts what is due.
        fn advance(&mut self) {
            self.1 += 2;
            assert!(
                self.0.advance(Some(JobId(self.1)), self.now(), &mut Vec::new()),
                "a job starts"
            );
        }

        fn cover(&mut self) {
            self.0.covered(self.now(), &mut Vec::new());
        }

        fn end(&mut self, outcome: Outcome) {
            let job = self.0.jobs()[0];
            let _ = self.0.job_ended(JobEnd::new(job, outcome), self.now(), &mut Vec::new());
        }

        fn write(&mut self, path: &str, kind: EntryKind) {
            let path = TreePath::new(path.as_bytes()).unwrap();
            let change = Change { edit: Edit::Create, kind, path };
            self.0.on_fs_event(FsEventKind::Changed(change), self.now(), &mut Vec::new());
        }

        #[track_caller]
        fn expect(&self, delays: &[&str]) {
            let shown: Vec<String> = self.0.delays().map(|delay| show(&delay)).collect();
            assert_eq!(shown, delays);
            assert_eq!(self.0.delay_count(), delays.len());
        }
    }

    fn show(delay: &Delay) -> String {
        let stage = match delay.stage {
            Stage::Waiting => "wait",
            Stage::Deferred => "deferred",
            Stage::InFlight => "in-flight",
            Stage::BackingOff { .. } => "backing-off",
        };
        match &delay.kind {
            DelayKind::Init => format!("{stage} init"),
            DelayKind::Full => format!("{stage} full"),
            DelayKind::Path(DirtyPath { path, scope }) => format!("{stage} {scope:?} {path}"),
        }
    }

    fn failure() -> Failure {
        Failure { code: Some(12), message: "no".into() }
    }

    #[test]
    fn the_first_transfer_is_one_delay_from_the_start_to_its_success() {
        let mut mirror = TestMirror::new(true);
        mirror.expect(&["wait init"]);
        mirror.cover();
        mirror.expect(&["wait init"]);
        mirror.advance();
        mirror.expect(&["in-flight init"]);
        mirror.write("a", EntryKind::Other);
        mirror.expect(&["in-flight init", "deferred Entry /a"]);
        mirror.end(Outcome::Retry(failure()));
        assert_eq!(mirror.0.last_failure(), Some(&failure()));
        mirror.expect(&["wait init"]);
        mirror.advance();
        mirror.end(Outcome::Done);
        assert_eq!(mirror.0.last_failure(), None);
        mirror.expect(&[]);
    }

    #[test]
    fn paths_are_counted_except_during_a_full_transfer() {
        let full = |is_first, is_running| Backlog::FullTransfer { is_first, is_running };
        let mut mirror = TestMirror::new(true);
        assert_eq!(mirror.0.backlog(), full(true, false));
        mirror.cover();
        mirror.advance();
        mirror.write("a", EntryKind::Other);
        assert_eq!(mirror.0.backlog(), full(true, true));
        mirror.end(Outcome::Done);
        assert_eq!(mirror.0.backlog(), Backlog::Paths(1));
        mirror.advance();
        assert_eq!(mirror.0.backlog(), Backlog::Paths(1));
        mirror.end(Outcome::Done);
        assert_eq!(mirror.0.backlog(), Backlog::Nothing);
        mirror.0.full_due(mirror.now(), &mut Vec::new());
        assert_eq!(mirror.0.backlog(), full(false, false));
        mirror.advance();
        assert_eq!(mirror.0.backlog(), full(false, true));
        mirror.end(Outcome::Done);
        mirror.write("a", EntryKind::Other);
        mirror.advance();
        let action = HookFailureAction::Retry;
        mirror.end(Outcome::HookFailed { failure: failure(), action, held: Vec::new() });
        assert_eq!(mirror.0.backlog(), Backlog::AfterHook(1));
    }

    #[test]
    fn a_lost_source_leaves_the_first_transfer_pending() {
        let mut mirror = TestMirror::new(true);
        mirror.cover();
        mirror.advance();
        mirror.0.on_fs_event(
            FsEventKind::RootGone(RootGone::Unmounted),
            mirror.now(),
            &mut Vec::new(),
        );
        mirror.expect(&["wait init"]);
        mirror.end(Outcome::Done);
        mirror.expect(&["wait init"]);
    }

    #[test]
    fn delays_show_paths_with_stages_and_full_transfers() {
        let mut mirror = TestMirror::new(false);
        mirror.expect(&[]);
        mirror.cover();
        mirror.write("a", EntryKind::Other);
        mirror.write("d", EntryKind::Directory);
        mirror.expect(&["wait Entry /a", "wait Tree /d"]);
        mirror.advance();
        mirror.write("a", EntryKind::Other);
        mirror.write("b", EntryKind::Other);
        let flies =
            ["in-flight Entry /a", "in-flight Tree /d", "deferred Entry /a", "wait Entry /b"];
        mirror.expect(&flies);
        let failed = DirtyPath { path: TreePath::new(b"d").unwrap(), scope: Scope::Tree };
        let failed = Outcome::Partial(Vec::from([(failed, failure())]));
        mirror.end(failed);
        mirror.expect(&["wait Entry /a", "wait Entry /b", "backing-off Tree /d"]);
        mirror.0.full_due(mirror.now(), &mut Vec::new());
        mirror.advance();
        mirror.expect(&["in-flight full"]);
    }
}
