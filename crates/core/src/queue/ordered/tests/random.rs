//! Random histories: the queue and its twin answer the same.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::twin::{Twin, at};
use crate::{
    notice::{Change, Edit, Kind},
    path::TreePath,
    queue::ordered::{
        Attempt, Blame, Bond, Ended, Entry, Etype, EventId, Ordered, OrderedPace, Pick,
    },
    sim::random::Random,
    time::Moment,
};

const NAMES: [&str; 12] =
    ["/a", "/a/", "/a/x", "/a/x/", "/a/x/p", "/a/y", "/b", "/b/", "/b/x", "/c", "/c/", "/ab"];

const EDITS: [Edit; 4] = [Edit::Attrib, Edit::Create, Edit::Modify, Edit::Delete];

struct Pair {
    queue: Ordered,
    twin: Twin,
    now: Moment,
}

impl Pair {
    fn step(&mut self, random: &mut Random) -> String {
        match random.below(17) {
            0..6 => self.push(random),
            6..8 => self.push_move(random),
            8 => self.push_at_once(random),
            9 => {
                self.now = self.now + Duration::from_millis(random.below(3_000) as u64);
                "wait".into()
            }
            10 | 11 => {
                let Some(id) = self.queue.first_due(self.now).map(Entry::id) else {
                    return "nothing is due".into();
                };
                self.activate(&[id]);
                format!("activate {id:?}")
            }
            12 => {
                let seed = random.below(1_000) as u64;
                let taken = self.select(seed);
                self.activate(&taken);
                format!("activate {taken:?}")
            }
            13 => self.discard(random),
            14 if random.once_in(4) => {
                self.queue.retry_now();
                self.twin.retry_now();
                "try again now".into()
            }
            _ => self.settle(random),
        }
    }

    fn push(&mut self, random: &mut Random) -> String {
        let (edit, name) = (random.pick(&EDITS), random.pick(&NAMES));
        let (path, kind) = spell(name);
        self.queue.push(&Change { edit, kind, path }, self.now);
        self.twin.push(edit.into(), name, None, self.now);
        format!("push {edit:?} {name}")
    }

    fn push_move(&mut self, random: &mut Random) -> String {
        let (from, to) = (random.pick(&NAMES), random.pick(&NAMES));
        if from == to || from.ends_with('/') != to.ends_with('/') {
            return "no move".into();
        }
        let (path, kind) = spell(from);
        self.queue.push_move(&path, &spell(to).0, kind, self.now);
        self.twin.push(Etype::Move, from, Some(to), self.now);
        format!("push Move {from} {to}")
    }

    fn push_at_once(&mut self, random: &mut Random) -> String {
        match random.below(3) {
            0 => {
                self.queue.push_init();
                self.twin.push_at_once(Etype::Init, "/");
            }
            1 => {
                self.queue.push_blanket();
                self.twin.push_at_once(Etype::Blanket, "/");
            }
            _ => {
                self.queue.push_full(spell("/a/").0);
                self.twin.push_at_once(Etype::Full, "/a/");
            }
        }
        "push something that is due at once".into()
    }

    fn select(&self, seed: u64) -> Vec<EventId> {
        let mut random = Random::new(seed);
        let taken = self
            .queue
            .select(self.now, |_| if random.once_in(4) { Pick::Skip } else { Pick::Take });
        let mut random = Random::new(seed);
        assert_eq!(numbers(&taken), self.twin.select(self.now, |_| !random.once_in(4)));
        taken
    }

    fn activate(&mut self, ids: &[EventId]) {
        assert_eq!(self.queue.activate(ids), Ok(()));
        self.twin.activate(&numbers(ids));
    }

    fn discard(&mut self, random: &mut Random) -> String {
        let ids: Vec<_> = self.queue.iter().map(Entry::id).collect();
        if ids.is_empty() {
            return "nothing to discard".into();
        }
        let id = random.pick(&ids);
        let item = self.twin.items.iter().find(|item| item.id == id.0).unwrap();
        let waits = item.status == "wait";
        assert_eq!(self.queue.discard(id).is_ok(), waits);
        if waits {
            self.twin.settle(&[id.0], Some(()));
        }
        format!("discard {id:?}")
    }

    fn settle(&mut self, random: &mut Random) -> String {
        let active = self.twin.items.iter().filter(|item| item.status == "active");
        let ids: Vec<_> =
            active.filter(|_| random.once_in(2)).map(|item| EventId(item.id)).collect();
        let pause = Duration::from_secs(2);
        let (is_failed, is_each) = (random.once_in(3), random.once_in(3));
        if is_failed {
            let blame = if is_each { Blame::Each } else { Blame::Some };
            let attempt = Attempt { now: self.now, pause, blame, why: "no".into() };
            self.queue.settle(&ids, Ended::Failed(attempt));
            self.twin.fail(&numbers(&ids), (self.now, pause, is_each));
        } else {
            self.queue.settle(&ids, Ended::Done);
            self.twin.settle(&numbers(&ids), Some(()));
        }
        format!("settle {ids:?}, failed {is_failed}, each {is_each}")
    }

    fn compare(&self) {
        assert_eq!(self.show(), self.twin.show());
        let first = self.queue.first_due(self.now).map(|entry| entry.id().0);
        assert_eq!(first, self.twin.first_due(self.now));
        assert_eq!(self.queue.next_due(), self.twin.next_due());
        assert_eq!(self.queue.len(), self.twin.items.len());
    }

    fn show(&self) -> Vec<String> {
        let name = |path: &TreePath, kind| {
            let is_bare = kind == Kind::Other || path.is_root();
            if is_bare { path.to_string() } else { format!("{path}/") }
        };
        let show = |entry: &Entry| {
            let from = name(entry.path(), entry.kind());
            let to = entry.to().map_or(String::new(), |to| format!(" {}", name(to, entry.kind())));
            let blocker = self.queue.blocker(entry.id()).map_or("-".into(), |id| id.0.to_string());
            let (id, etype, status) = (entry.id().0, entry.etype().name(), entry.status().name());
            format!("{id} {etype} {from}{to} {status} {} {blocker}", entry.alarm())
        };
        self.queue.iter().map(show).collect()
    }
}

fn numbers(ids: &[EventId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

fn spell(name: &str) -> (TreePath, Kind) {
    let kind = if name.ends_with('/') { Kind::Directory } else { Kind::Other };
    (TreePath::new(name.as_bytes()).unwrap(), kind)
}

fn play(seed: u64) {
    let mut random = Random::new(seed);
    let delay = Duration::from_millis(random.below(3) as u64 * 700);
    let max_delays = random.pick(&[1_000, 1_000, 6]);
    let bond = random.pick(&[Bond::Loose, Bond::Tight]);
    let pace = OrderedPace { delay, max_delays, bond };
    let mut pair = Pair { queue: Ordered::new(pace), twin: Twin::new(pace), now: at(10) };
    let mut history = Vec::new();
    for _ in 0..10 + random.below(60) {
        history.push(pair.step(&mut random));
        let compared = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| pair.compare()));
        assert!(compared.is_ok(), "history {seed}, {pace:?}: {history:#?}");
    }
}

#[test]
fn the_queue_and_its_twin_answer_the_same() {
    (0..500).for_each(play);
}

#[test]
#[ignore = "takes minutes"]
fn the_queue_and_its_twin_answer_the_same_for_long() {
    (500..1_000_000).for_each(play);
}
