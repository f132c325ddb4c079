//! The language of the scripts: one step a line, with its time in milliseconds, what is done, and
//! after `->` what the queue has to answer.
//!
//! A place is written `/d/` with all below it, and `/d` without; the root is `/` and `.`.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::{fmt, str::FromStr, time::Duration};

use crate::{
    job::{Place, Rename, Scope},
    notice::Kind,
    path::TreePath,
    queue::{Batch, Counts, Heard, Limits, Pace, PlaceSet, Places, Seq, Settled},
    time::Moment,
};

/// What can be asked of a queue. Batches and barriers are numbered in their order, from 1 on.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Mark(Place),
    Write(Place),
    Remove(Place),
    Hurry(Place),
    Move { from: Place, to: Place },
    Take,
    Flush,
    Settle(usize, Settled),
    Due,
    Counts,
    Waiting,
    Oldest,
    Barrier,
    IsSettled(usize),
    Heard(usize),
}

/// Who plays a script.
pub(super) trait Player {
    /// Does a step, and says what came of it.
    fn play(&mut self, step: &Step, now: Moment) -> String;
}

pub(super) fn at(milliseconds: u64) -> Moment {
    Moment::new(Duration::from_millis(milliseconds))
}

pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

pub(super) fn place(text: &str) -> Place {
    let scope = if text.ends_with('/') { Scope::Tree } else { Scope::Entry };
    Place { path: path(text.strip_prefix('.').unwrap_or(text)), scope }
}

pub(super) fn places(text: &str) -> Vec<Place> {
    text.split_whitespace().map(place).collect()
}

/// How a place is written in a script.
pub(super) struct Written<'a>(pub(super) &'a Place);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { path, scope } = self.0;
        match (path.is_root(), scope) {
            (true, Scope::Entry) => f.write_str("."),
            (false, Scope::Tree) => write!(f, "{path}/"),
            (true, Scope::Tree) | (false, Scope::Entry) => write!(f, "{path}"),
        }
    }
}

pub(super) fn written<'a>(places: impl IntoIterator<Item = &'a Place>) -> String {
    let all: Vec<_> = places.into_iter().map(|place| Written(place).to_string()).collect();
    all.join(" ")
}

pub(super) fn written_moment(moment: Option<Moment>) -> String {
    moment.map_or("none".into(), |it| it.since_origin().as_millis().to_string())
}

pub(super) fn written_batch(places: &[Place], moves: &[Rename]) -> String {
    let moves: Vec<_> = moves.iter().map(|it| format!("{}=>{}", it.from, it.to)).collect();
    [&written(places), "|", &moves.join(" ")].join(" ").trim_end_matches([' ', '|']).into()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark(place) => write!(f, "mark {}", Written(place)),
            Self::Write(place) => write!(f, "write {}", Written(place)),
            Self::Remove(place) => write!(f, "remove {}", Written(place)),
            Self::Hurry(place) => write!(f, "hurry {}", Written(place)),
            Self::Move { from, to } => write!(f, "move {} {}", Written(from), Written(to)),
            Self::Take => f.write_str("take"),
            Self::Flush => f.write_str("flush"),
            Self::Settle(batch, Settled::All) => write!(f, "settle {batch} all"),
            Self::Settle(batch, Settled::Nothing) => write!(f, "settle {batch} nothing"),
            Self::Settle(batch, Settled::Except(failed)) => {
                write!(f, "settle {batch} except {}", written(failed))
            }
            Self::Due => f.write_str("due"),
            Self::Counts => f.write_str("counts"),
            Self::Waiting => f.write_str("waiting"),
            Self::Oldest => f.write_str("oldest"),
            Self::Barrier => f.write_str("barrier"),
            Self::IsSettled(barrier) => write!(f, "settled {barrier}"),
            Self::Heard(batch) => write!(f, "heard {batch}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        Ok(match *words {
            ["mark", it] => Self::Mark(place(it)),
            ["write", it] => Self::Write(place(it)),
            ["remove", it] => Self::Remove(place(it)),
            ["heard", batch] => Self::Heard(batch.parse().unwrap()),
            ["hurry", it] => Self::Hurry(place(it)),
            ["move", from, to] => Self::Move { from: place(from), to: place(to) },
            ["take"] => Self::Take,
            ["flush"] => Self::Flush,
            ["settle", batch, "all"] => Self::Settle(batch.parse().unwrap(), Settled::All),
            ["settle", batch, "nothing"] => Self::Settle(batch.parse().unwrap(), Settled::Nothing),
            ["settle", batch, "except", ref failed @ ..] => {
                let failed = failed.iter().map(|it| place(it)).collect();
                Self::Settle(batch.parse().unwrap(), Settled::Except(failed))
            }
            ["due"] => Self::Due,
            ["counts"] => Self::Counts,
            ["waiting"] => Self::Waiting,
            ["oldest"] => Self::Oldest,
            ["barrier"] => Self::Barrier,
            ["settled", barrier] => Self::IsSettled(barrier.parse().unwrap()),
            _ => return Err(format!("no step: {text}")),
        })
    }
}

fn written_heard(heard: &Heard) -> String {
    let sets = [("written", &heard.written), ("moved", &heard.moved), ("gone", &heard.gone)];
    let sets = sets.into_iter().filter(|(_, set)| !set.is_empty());
    let said = |(name, set): (&str, &PlaceSet)| {
        let places: Vec<_> = set.iter().collect();
        [name, &written(&places)].join(" ")
    };
    sets.map(said).collect::<Vec<_>>().join(", ")
}

/// The queue itself as a player.
pub(super) struct Real {
    pub(super) queue: Places,
    batches: Vec<Option<Batch>>,
    barriers: Vec<Seq>,
}

impl Real {
    pub(super) fn new(pace: Pace, limits: Limits) -> Self {
        let queue = Places::with_limits(pace, limits);
        Self { queue, batches: Vec::new(), barriers: Vec::new() }
    }

    /// What was heard of the places of a batch in flight.
    pub(super) fn heard(&self, batch: usize) -> &Heard {
        self.batches[batch - 1].as_ref().unwrap().heard()
    }

    fn taken(&mut self, batch: Option<Batch>) -> String {
        let Some(batch) = batch else { return String::new() };
        let places: Vec<_> = batch.places().iter().collect();
        let text = written_batch(&places, batch.moves());
        self.batches.push(Some(batch));
        text
    }
}

impl Player for Real {
    fn play(&mut self, step: &Step, now: Moment) -> String {
        match step {
            Step::Mark(place) => self.queue.mark(&place.path, place.scope, now),
            Step::Write(place) => self.queue.mark_written(&place.path, place.scope, now),
            Step::Remove(place) => self.queue.mark_gone(&place.path, place.scope, now),
            Step::Hurry(place) => self.queue.mark_due(&place.path, place.scope, now),
            Step::Move { from, to } => {
                let is_dir = from.scope == Scope::Tree;
                let kind = if is_dir { Kind::Directory } else { Kind::Other };
                self.queue.mark_move(&from.path, &to.path, kind, now);
            }
            Step::Take => {
                let batch = self.queue.take_due(now);
                return self.taken(batch);
            }
            Step::Flush => {
                let batch = self.queue.take_all(now);
                return self.taken(batch);
            }
            Step::Settle(batch, settled) => {
                let batch = self.batches[batch - 1].take().unwrap();
                self.queue.settle(batch, settled.clone(), now);
            }
            Step::Heard(batch) => return written_heard(self.heard(*batch)),
            Step::Due => return written_moment(self.queue.next_due()),
            Step::Counts => {
                let Counts { waiting, behind, in_flight, resting } = self.queue.counts();
                return format!("{waiting} {behind} {in_flight} {resting}");
            }
            Step::Waiting => {
                let all = self.queue.iter();
                let waiting = all.filter(|(_, stage)| *stage == crate::queue::Stage::Waiting);
                return written(
                    &waiting
                        .map(|(place, _)| place)
                        .collect::<PlaceSet>()
                        .iter()
                        .collect::<Vec<_>>(),
                );
            }
            Step::Oldest => return written_moment(self.queue.oldest()),
            Step::Barrier => self.barriers.push(self.queue.mark_of_now()),
            Step::IsSettled(barrier) => {
                let settled = self.queue.is_settled(self.barriers[barrier - 1]);
                return if settled { "yes" } else { "no" }.into();
            }
        }
        String::new()
    }
}

/// Plays a script and compares the answers.
pub(super) fn play(player: &mut impl Player, script: &str) {
    let mut now = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, rest) = line.split_once(' ').unwrap();
        let (step, expected) = rest.split_once("->").unwrap_or((rest, ""));
        let time: u64 = time.parse().unwrap();
        assert!(time >= now, "time runs backwards at: {line}");
        now = time;
        let answer = player.play(&step.parse().unwrap(), at(time));
        assert_eq!(answer, expected.trim(), "at: {line}");
    }
}
