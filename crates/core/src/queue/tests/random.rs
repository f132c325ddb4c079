//! Random histories: the queue does what its twin does, and what its invariants say.

use alloc::{format, string::String, vec::Vec};
use core::{fmt::Write as _, ops::Range, time::Duration};

use super::{
    script::{Player, Real, Step, at, play},
    twin::{Twin, covers},
};
use crate::{
    job::{Place, Scope},
    path::TreePath,
    queue::{Limits, Pace, PlaceSet, Settled, Stage},
    sim::random::Random,
};

/// A history as it unfolds: what was done, and what has to come of it.
struct History {
    random: Random,
    now: u64,
    script: String,
    real: Real,
    twin: Twin,
    /// Marks that are not on the target: their number, place and time.
    open: Vec<(usize, Place, u64)>,
    /// What each mark says, by its number.
    said: Vec<Said>,
    marks: usize,
    /// The batches taken so far: how many marks there were, the places, and whether it flies.
    batches: Vec<(usize, PlaceSet, bool)>,
    /// The marks at each barrier.
    barriers: Vec<usize>,
}

/// What a mark says beside that its place is to be looked at.
#[derive(Clone, Copy, Debug)]
enum Said {
    Nothing,
    Written,
    Gone,
}

fn settings(random: &mut Random) -> (Pace, Limits) {
    let delay = Duration::from_millis(10);
    let pace = random.pick(&[
        Pace::Fixed { delay, max_waiting: 6 },
        Pace::Quiet { quiet: delay, ceiling: delay * 5 },
    ]);
    let small = Limits { in_directory: 3, places: 8, failures: 4, hints: 3 };
    (pace, random.pick(&[small, Limits::default()]))
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (pace, limits) = settings(&mut random);
        Self {
            random,
            now: 0,
            script: format!("{pace:?} {limits:?}\n"),
            real: Real::new(pace, limits),
            twin: Twin::new(pace, limits),
            open: Vec::new(),
            said: Vec::new(),
            marks: 0,
            batches: Vec::new(),
            barriers: Vec::new(),
        }
    }

    fn path(&mut self) -> TreePath {
        let path = self.below();
        if self.random.once_in(50) { TreePath::root() } else { path }
    }

    /// A path that is not the root, which does not go and gets no other name.
    fn below(&mut self) -> TreePath {
        let mut path = TreePath::root();
        for _ in 0..=self.random.below(3) {
            path.push(self.random.pick(&[b"a", b"b", b"c"])).unwrap();
        }
        path
    }

    fn place(&mut self) -> Place {
        let scope = if self.random.once_in(5) { Scope::Tree } else { Scope::Entry };
        Place { path: self.path(), scope }
    }

    /// Some places of a batch, or below them.
    fn failed(&mut self, batch: usize) -> Vec<Place> {
        let mut failed = Vec::new();
        for place in &self.batches[batch - 1].1 {
            match self.random.below(4) {
                0 => failed.push(place),
                1 if place.scope == Scope::Tree => failed.push(Place {
                    path: place.path.join(b"a").unwrap(),
                    scope: self.random.pick(&[Scope::Entry, Scope::Tree]),
                }),
                _ => {}
            }
        }
        failed
    }

    fn settlement(&mut self) -> Option<Step> {
        let flying = self.batches.iter().enumerate().filter(|(_, (.., flies))| *flies);
        let flying: Vec<_> = flying.map(|(at, _)| at + 1).collect();
        if flying.is_empty() {
            return None;
        }
        let batch = self.random.pick(&flying);
        let settled = match self.random.below(5) {
            0 => Settled::Nothing,
            1 | 2 => Settled::Except(self.failed(batch)),
            _ => Settled::All,
        };
        Some(Step::Settle(batch, settled))
    }

    fn step(&mut self) -> Step {
        match self.random.below(20) {
            0..3 => Step::Mark(self.place()),
            3..5 => Step::Write(self.place()),
            5 | 6 => Step::Remove(Place { path: self.below(), ..self.place() }),
            7 => Step::Hurry(self.place()),
            8 | 9 => {
                let scope = self.random.pick(&[Scope::Tree, Scope::Entry]);
                let [from, to] = [self.below(), self.below()].map(|path| Place { path, scope });
                Step::Move { from, to }
            }
            10..14 => Step::Take,
            14 => Step::Flush,
            15 => Step::Barrier,
            _ => self.settlement().unwrap_or(Step::Take),
        }
    }

    /// Plays a step to both.
    fn play(&mut self, step: &Step) {
        let expected = self.twin.play(step, at(self.now));
        let arrow = if expected.is_empty() { "" } else { " -> " };
        writeln!(self.script, "{} {step}{arrow}{expected}", self.now).unwrap();
        let answer = self.real.play(step, at(self.now));
        assert_eq!(answer, expected, "at the last line of:\n{}", self.script);
        self.note(step, &answer);
    }

    /// Keeps the books for the invariants.
    fn note(&mut self, step: &Step, answer: &str) {
        match step {
            Step::Mark(place) | Step::Hurry(place) => self.mark(place, Said::Nothing),
            Step::Write(place) => self.mark(place, Said::Written),
            Step::Remove(place) => self.mark(place, Said::Gone),
            Step::Move { from, to } => {
                self.mark(from, Said::Gone);
                self.mark(to, Said::Written);
            }
            Step::Take | Step::Flush if !answer.is_empty() => {
                let places = answer.split('|').next().unwrap();
                let places = super::script::places(places).into_iter().collect();
                self.check_apart(&places);
                self.check_heard(&places);
                self.batches.push((self.marks, places, true));
            }
            Step::Settle(batch, settled) => {
                let (marks, places, flies) = &mut self.batches[batch - 1];
                *flies = false;
                let failed = match settled {
                    Settled::All => &[],
                    Settled::Except(failed) => &failed[..],
                    Settled::Nothing => return,
                };
                let (flown, mut open): (Vec<_>, Vec<_>) = core::mem::take(&mut self.open)
                    .into_iter()
                    .partition(|(mark, it, _)| mark <= marks && places.covers(&it.path, it.scope));
                // Of a mark that failed in part, that part is open.
                for (mark, it, time) in flown {
                    let within = failed.iter().filter(|one| covers(&it, one) || covers(one, &it));
                    open.extend(within.map(|one| {
                        (mark, if covers(&it, one) { one.clone() } else { it.clone() }, time)
                    }));
                }
                self.open = open;
            }
            Step::Barrier => self.barriers.push(self.marks),
            _ => {}
        }
    }

    fn mark(&mut self, place: &Place, said: Said) {
        self.marks += 1;
        self.said.push(said);
        self.open.push((self.marks, place.clone(), self.now));
    }

    /// No two batches in flight touch the same place.
    fn check_apart(&self, taken: &PlaceSet) {
        for (_, flying, _) in self.batches.iter().filter(|(.., flies)| *flies) {
            for Place { path, scope } in taken {
                assert!(!flying.overlaps(&path, scope), "{path} flies twice:\n{}", self.script);
            }
        }
    }

    /// What was heard comes with its place until that is on the target.
    fn check_heard(&self, taken: &PlaceSet) {
        let heard = self.real.heard(self.batches.len() + 1);
        let open = self.open.iter().filter(|(_, it, _)| taken.covers(&it.path, it.scope));
        for (mark, Place { path, scope }, _) in open {
            let is_known = match self.said[mark - 1] {
                Said::Nothing => true,
                Said::Written => {
                    [&heard.written, &heard.moved].iter().any(|set| set.covers(path, *scope))
                }
                Said::Gone => heard.is_gone(path),
            };
            assert!(is_known, "what was heard of {path} was forgotten:\n{}", self.script);
        }
        let something_went = self.said.iter().any(|said| matches!(said, Said::Gone));
        assert!(something_went || heard.gone.is_empty(), "nobody saw that:\n{}", self.script);
    }

    /// What is not on the target is known, and is as old as the queue says.
    fn check(&mut self) {
        for step in [Step::Due, Step::Counts, Step::Waiting, Step::Oldest] {
            self.play(&step);
        }
        let queue = &self.real.queue;
        let not_flying = |(_, stage): &(Place, Stage)| *stage != Stage::InFlight;
        let kept: PlaceSet = queue.iter().filter(not_flying).map(|(place, _)| place).collect();
        let flights = self.batches.iter().filter(|(.., flies)| *flies);
        for (mark, Place { path, scope }, time) in &self.open {
            let mut flights = flights.clone().filter(|(marks, ..)| marks >= mark);
            let known = kept.covers(path, *scope)
                || flights.any(|(_, places, _)| places.covers(path, *scope));
            assert!(known, "{path} was lost:\n{}", self.script);
            let oldest = queue.oldest().expect("a change is not on the target");
            assert!(oldest <= at(*time), "{path} is older than {oldest}:\n{}", self.script);
        }
        for (at, marks) in self.barriers.clone().iter().enumerate() {
            let settled = self.real.play(&Step::IsSettled(at + 1), super::script::at(self.now));
            assert_eq!(
                settled,
                self.twin.play(&Step::IsSettled(at + 1), super::script::at(self.now))
            );
            let open = self.open.iter().any(|(mark, ..)| mark <= marks);
            assert!(settled == "no" || !open, "barrier {} fell early:\n{}", at + 1, self.script);
        }
    }

    /// Settles all, until nothing is left.
    fn end(&mut self) {
        for _ in 0..100 {
            self.now += 400_000;
            self.play(&Step::Take);
            while let Some(Step::Settle(batch, _)) = self.settlement() {
                self.play(&Step::Settle(batch, Settled::All));
            }
        }
        assert!(self.real.queue.is_empty(), "it never ends:\n{}", self.script);
        assert_eq!(self.real.queue.oldest(), None, "\n{}", self.script);
        assert_eq!(self.open, [], "\n{}", self.script);
    }
}

fn check(seeds: Range<u64>) {
    for seed in seeds {
        let mut history = History::new(seed);
        writeln!(history.script, "seed {seed}").unwrap();
        for _ in 0..60 {
            let rest = history.random.pick(&[0, 0, 1, 5, 20, 1_500]);
            history.now += u64::try_from(rest).unwrap();
            let step = history.step();
            history.play(&step);
            if history.random.once_in(4) {
                history.check();
            }
        }
        history.end();
    }
}

#[test]
fn the_queue_does_what_its_twin_does() {
    check(0..1_000);
}

#[test]
fn the_queue_does_what_its_twin_does_in_other_histories() {
    check(1_000..2_000);
}

/// For a night: `cargo test --release -p mirror-core -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn the_queue_does_what_its_twin_does_for_long() {
    check(2_000..200_000);
}

#[test]
fn the_script_of_a_history_plays_again() {
    let mut history = History::new(7);
    for _ in 0..60 {
        let step = history.step();
        history.play(&step);
        history.now += 3;
    }
    let (pace, limits) = settings(&mut Random::new(7));
    let script: Vec<_> = history.script.lines().skip(1).collect();
    play(&mut Real::new(pace, limits), &script.join("\n"));
    play(&mut Twin::new(pace, limits), &script.join("\n"));
}
