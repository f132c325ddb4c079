//! What a mirror tells about itself.

use super::{Flight, Mirror, Purpose, Resume, State};
use crate::{
    job::{Failure, Place, Scope},
    path::TreePath,
    queue::Stage,
    time::Moment,
};

/// Something that is not known to be on the target: what the original calls a delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// What has to be done.
    pub what: What,
    /// How far it has come.
    pub stage: Stage,
}

/// What a [`Delay`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The first full transfer.
    Init,
    /// Another full transfer.
    Full,
    /// A place below the root.
    Place(Place),
}

/// What is not known to be on the target.
impl Mirror {
    /// How many delays there are.
    #[must_use]
    pub fn delay_count(&self) -> usize {
        let queued = self.queue.counts().total() + self.open.len();
        if !self.is_starting() {
            return queued;
        }
        // The first transfer is in the queue once the source is watched, but not before.
        if self.queue.holds_all() { queued } else { queued + 1 }
    }

    /// All delays: first what is being carried out and what has to wait for that, then what waits,
    /// then what failed.
    pub fn delays(&self) -> impl Iterator<Item = Delay> {
        let is_starting = self.is_starting();
        let init = is_starting.then(|| Delay { what: What::Init, stage: self.startup_stage() });
        let is_init = move |place: &Place, stage: Stage| {
            is_starting && is_all(place) && matches!(stage, Stage::Waiting | Stage::InFlight)
        };
        let file = |path: &TreePath| Place { path: path.clone(), scope: Scope::Entry };
        let open = self.open.paths().map(move |path| (file(path), Stage::Waiting));
        let queued = self.queue.iter().chain(open);
        let queued = queued.filter(move |(place, stage)| !is_init(place, *stage));
        init.into_iter().chain(queued.map(|(place, stage)| {
            let what = if is_all(&place) { What::Full } else { What::Place(place) };
            Delay { what, stage }
        }))
    }

    /// How many files wait since somebody is writing them.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// When the oldest change was heard of that is not known to be on the target.
    #[must_use]
    pub fn oldest(&self) -> Option<Moment> {
        self.queue.oldest().into_iter().chain(self.open.oldest()).min()
    }

    /// Why the last job failed. `None` if it did not.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    /// Whether the first full transfer is not done yet.
    fn is_starting(&self) -> bool {
        match &self.state {
            State::Covering => self.settings.init,
            State::Starting => true,
            State::Live => false,
            State::Away(away) => away.resume == Resume::Starting,
            State::Held { resume, .. } => *resume == Resume::Starting,
        }
    }

    fn startup_stage(&self) -> Stage {
        let is_startup = |flight: &Flight| flight.purpose == Purpose::Startup;
        if self.flights.iter().any(is_startup) { Stage::InFlight } else { Stage::Waiting }
    }
}

fn is_all(place: &Place) -> bool {
    place.path.is_root() && place.scope == Scope::Tree
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, sync::Arc, vec::Vec};
    use core::time::Duration;

    use super::*;
    use crate::{
        input::Gate,
        job::{JobId, Outcome},
        mirror::{Insist, Settings},
        notice::{Change, Edit, Gone, Kind, MirrorId, News},
        path::TreePath,
        queue::{OpenWait, Pace},
        time::Moment,
    };

    /// A mirror, the time, and its next job.
    struct Played(Mirror, u64);

    impl Played {
        fn new(init: bool) -> Self {
            let pace = Pace::Fixed { delay: Duration::from_secs(1), max_waiting: 1000 };
            let filter = Arc::default();
            let (insist, max_jobs, connection) = (Insist::Yes, 1, None);
            let settings = Settings {
                delete: crate::plan::options::DeletePolicy::Always,
                pace,
                open_wait: OpenWait::NONE,
                init,
                insist,
                filter,
                gate: Gate::Open,
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

        /// Two seconds later: what is due starts.
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
            let job = self.0.jobs().next().unwrap();
            let _ = self.0.job_ended(job, outcome, self.now(), &mut Vec::new());
        }

        fn write(&mut self, path: &str, kind: Kind) {
            let path = TreePath::new(path.as_bytes()).unwrap();
            let change = Change { edit: Edit::Create, kind, path };
            self.0.hear(News::Changed(change), self.now(), &mut Vec::new());
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
            Stage::Behind => "behind",
            Stage::InFlight => "flies",
            Stage::Resting { .. } => "rests",
        };
        match &delay.what {
            What::Init => format!("{stage} init"),
            What::Full => format!("{stage} full"),
            What::Place(Place { path, scope }) => format!("{stage} {scope:?} {path}"),
        }
    }

    fn failure() -> Failure {
        Failure { code: Some(12), why: "no".into() }
    }

    #[test]
    fn the_first_transfer_is_one_delay_from_the_start_to_its_success() {
        let mut played = Played::new(true);
        played.expect(&["wait init"]);
        played.cover();
        played.expect(&["wait init"]);
        played.advance();
        played.expect(&["flies init"]);
        played.write("a", Kind::Other);
        played.expect(&["flies init", "behind Entry /a"]);
        played.end(Outcome::Again(failure()));
        assert_eq!(played.0.trouble(), Some(&failure()));
        played.expect(&["wait init"]);
        played.advance();
        played.end(Outcome::Done);
        assert_eq!(played.0.trouble(), None);
        played.expect(&[]);
    }

    #[test]
    fn a_source_that_is_gone_leaves_the_first_transfer_to_be_done() {
        let mut played = Played::new(true);
        played.cover();
        played.advance();
        played.0.hear(News::Gone(Gone::Unmounted), played.now(), &mut Vec::new());
        played.expect(&["wait init"]);
        played.end(Outcome::Done);
        played.expect(&["wait init"]);
    }

    #[test]
    fn places_are_told_with_their_stage_and_a_full_transfer_as_such() {
        let mut played = Played::new(false);
        played.expect(&[]);
        played.cover();
        played.write("a", Kind::Other);
        played.write("d", Kind::Directory);
        played.expect(&["wait Entry /a", "wait Tree /d"]);
        played.advance();
        played.write("a", Kind::Other);
        played.write("b", Kind::Other);
        let flies = ["flies Entry /a", "flies Tree /d", "behind Entry /a", "wait Entry /b"];
        played.expect(&flies);
        let failed = Place { path: TreePath::new(b"d").unwrap(), scope: Scope::Tree };
        let failed = Outcome::Partly(Vec::from([(failed, failure())]));
        played.end(failed);
        played.expect(&["wait Entry /a", "wait Entry /b", "rests Tree /d"]);
        played.0.full_due(played.now(), &mut Vec::new());
        played.advance();
        played.expect(&["flies full"]);
    }
}
