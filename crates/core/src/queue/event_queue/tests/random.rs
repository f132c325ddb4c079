//! Random histories: the queue and its reference implementation agree.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::reference::{ReferenceEventQueue, at};
use crate::{
    fs_event::{Change, Edit, EntryKind},
    path::TreePath,
    queue::event_queue::{
        Blame, Coupling, Etype, EventId, EventOutcome, EventQueue, EventQueueSettings,
        FailedAttempt, Pick, QueuedEvent,
    },
    sim::random::SimRng,
    time::Moment,
};

const NAMES: [&str; 12] =
    ["/a", "/a/", "/a/x", "/a/x/", "/a/x/p", "/a/y", "/b", "/b/", "/b/x", "/c", "/c/", "/ab"];

const EDITS: [Edit; 4] = [Edit::Attrib, Edit::Create, Edit::Modify, Edit::Delete];

struct QueuePair {
    queue: EventQueue,
    reference: ReferenceEventQueue,
    now: Moment,
}

impl QueuePair {
    fn step(&mut self, random: &mut SimRng) -> String {
        match random.below(17) {
            0..6 => self.push(random),
            6..8 => self.push_move(random),
            8 => self.push_at_once(random),
            9 => {
                self.now = self.now + Duration::from_millis(random.below(3_000) as u64);
                "wait".into()
            }
            10 | 11 => {
                let Some(id) = self.queue.first_due(self.now).map(QueuedEvent::id) else {
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
                self.reference.retry_now();
                "try again now".into()
            }
            _ => self.settle(random),
        }
    }

    fn push(&mut self, random: &mut SimRng) -> String {
        let (edit, name) = (random.pick(&EDITS), random.pick(&NAMES));
        let (path, kind) = spell(name);
        self.queue.push(&Change { edit, kind, path }, self.now);
        self.reference.push(edit.into(), name, None, self.now);
        format!("push {edit:?} {name}")
    }

    fn push_move(&mut self, random: &mut SimRng) -> String {
        let (from, to) = (random.pick(&NAMES), random.pick(&NAMES));
        if from == to || from.ends_with('/') != to.ends_with('/') {
            return "no move".into();
        }
        let (path, kind) = spell(from);
        self.queue.push_move(&path, &spell(to).0, kind, self.now);
        self.reference.push(Etype::Move, from, Some(to), self.now);
        format!("push Move {from} {to}")
    }

    fn push_at_once(&mut self, random: &mut SimRng) -> String {
        match random.below(3) {
            0 => {
                self.queue.push_init();
                self.reference.push_at_once(Etype::Init, "/");
            }
            1 => {
                self.queue.push_blanket();
                self.reference.push_at_once(Etype::Blanket, "/");
            }
            _ => {
                self.queue.push_full(spell("/a/").0);
                self.reference.push_at_once(Etype::Full, "/a/");
            }
        }
        "push something that is due at once".into()
    }

    fn select(&self, seed: u64) -> Vec<EventId> {
        let mut random = SimRng::new(seed);
        let taken = self
            .queue
            .select(self.now, |_| if random.once_in(4) { Pick::Skip } else { Pick::Take });
        let mut random = SimRng::new(seed);
        assert_eq!(numbers(&taken), self.reference.select(self.now, |_| !random.once_in(4)));
        taken
    }

    fn activate(&mut self, ids: &[EventId]) {
        assert_eq!(self.queue.activate(ids), Ok(()));
        self.reference.activate(&numbers(ids));
    }

    fn discard(&mut self, random: &mut SimRng) -> String {
        let ids: Vec<_> = self.queue.iter().map(QueuedEvent::id).collect();
        if ids.is_empty() {
            return "nothing to discard".into();
        }
        let id = random.pick(&ids);
        let item = self.reference.items.iter().find(|item| item.id == id.0).unwrap();
        let waits = item.status == "wait";
        assert_eq!(self.queue.discard(id).is_ok(), waits);
        if waits {
            self.reference.settle(&[id.0], Some(()));
        }
        format!("discard {id:?}")
    }

    fn settle(&mut self, random: &mut SimRng) -> String {
        let active = self.reference.items.iter().filter(|item| item.status == "active");
        let ids: Vec<_> =
            active.filter(|_| random.once_in(2)).map(|item| EventId(item.id)).collect();
        let pause = Duration::from_secs(2);
        let (is_failed, is_each) = (random.once_in(3), random.once_in(3));
        if is_failed {
            let blame = if is_each { Blame::Each } else { Blame::Some };
            let attempt = FailedAttempt { now: self.now, pause, blame, message: "no".into() };
            self.queue.settle(&ids, EventOutcome::Failed(attempt));
            self.reference.fail(&numbers(&ids), (self.now, pause, is_each));
        } else {
            self.queue.settle(&ids, EventOutcome::Done);
            self.reference.settle(&numbers(&ids), Some(()));
        }
        format!("settle {ids:?}, failed {is_failed}, each {is_each}")
    }

    fn compare(&self) {
        assert_eq!(self.show(), self.reference.show());
        let first = self.queue.first_due(self.now).map(|event| event.id().0);
        assert_eq!(first, self.reference.first_due(self.now));
        assert_eq!(self.queue.next_due(), self.reference.next_due());
        assert_eq!(self.queue.len(), self.reference.items.len());
    }

    fn show(&self) -> Vec<String> {
        let name = |path: &TreePath, kind| {
            let is_bare = kind == EntryKind::Other || path.is_root();
            if is_bare { path.to_string() } else { format!("{path}/") }
        };
        let show = |event: &QueuedEvent| {
            let from = name(event.path(), event.kind());
            let to = event.to().map_or(String::new(), |to| format!(" {}", name(to, event.kind())));
            let blocker = self.queue.blocker(event.id()).map_or("-".into(), |id| id.0.to_string());
            let (id, etype, status) = (event.id().0, event.etype().name(), event.status().name());
            format!("{id} {etype} {from}{to} {status} {} {blocker}", event.alarm())
        };
        self.queue.iter().map(show).collect()
    }
}

fn numbers(ids: &[EventId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

fn spell(name: &str) -> (TreePath, EntryKind) {
    let kind = if name.ends_with('/') { EntryKind::Directory } else { EntryKind::Other };
    (TreePath::new(name.as_bytes()).unwrap(), kind)
}

fn play(seed: u64) {
    let mut random = SimRng::new(seed);
    let delay = Duration::from_millis(random.below(3) as u64 * 700);
    let max_delays = random.pick(&[1_000, 1_000, 6]);
    let coupling = random.pick(&[Coupling::Loose, Coupling::Tight]);
    let settings = EventQueueSettings { delay, max_delays, coupling };
    let mut pair = QueuePair {
        queue: EventQueue::new(settings),
        reference: ReferenceEventQueue::new(settings),
        now: at(10),
    };
    let mut history = Vec::new();
    for _ in 0..10 + random.below(60) {
        history.push(pair.step(&mut random));
        let compared = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| pair.compare()));
        assert!(compared.is_ok(), "history {seed}, {settings:?}: {history:#?}");
    }
}

#[test]
fn the_event_queue_agrees_with_its_reference() {
    (0..500).for_each(play);
}

#[test]
#[ignore = "takes minutes"]
fn the_event_queue_agrees_with_its_reference_for_long() {
    (500..1_000_000).for_each(play);
}
