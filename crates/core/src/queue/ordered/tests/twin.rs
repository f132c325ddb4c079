//! The same queue written straight from the table of the original: a list that is searched from
//! its newest end, with names as texts that end in a slash for directories.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    queue::ordered::{Bond, Etype, OrderedPace},
    time::Moment,
};

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: u64,
    etype: Etype,
    from: String,
    to: Option<String>,
    pub(super) status: &'static str,
    alarm: Moment,
    /// Whether the alarm is that of its arrival, so that it does not count with much in the queue.
    has_arrived: bool,
    blocker: Option<u64>,
}

pub(super) struct Twin {
    pace: OrderedPace,
    pub(super) items: Vec<Item>,
    next: u64,
}

/// What follows from a relation.
#[derive(PartialEq)]
enum Action {
    None,
    Stack,
    Replace,
    ToDelete,
    Split,
}

impl Twin {
    pub(super) const fn new(pace: OrderedPace) -> Self {
        Self { pace, items: Vec::new(), next: 1 }
    }

    pub(super) fn push(&mut self, etype: Etype, from: &str, to: Option<&str>, now: Moment) {
        let meets = |item: &Item| self.action(item, etype, from, to) != Action::None;
        let Some(at) = self.items.iter().rposition(meets) else {
            return self.append((etype, from, to), now + self.pace.delay, None);
        };
        let is_active = self.items[at].status == "active";
        match self.action(&self.items[at], etype, from, to) {
            Action::Replace if !is_active => self.exchange(at, etype, from),
            Action::ToDelete if !is_active => {
                let old = self.items[at].from.clone();
                self.exchange(at, Etype::Delete, &old);
                self.append((etype, from, to), now + self.pace.delay, Some(at));
            }
            Action::Split => {
                self.push(Etype::Delete, from, None, now);
                self.push(Etype::Create, to.unwrap(), None, now);
            }
            _ => self.append((etype, from, to), now + self.pace.delay, Some(at)),
        }
    }

    pub(super) fn push_at_once(&mut self, etype: Etype, path: &str) {
        self.append((etype, path, None), Moment::ORIGIN, None);
        self.items.last_mut().unwrap().has_arrived = false;
    }

    fn append(
        &mut self,
        (etype, from, to): (Etype, &str, Option<&str>),
        alarm: Moment,
        blocker: Option<usize>,
    ) {
        self.items.push(Item {
            id: self.next,
            etype,
            from: from.into(),
            to: to.map(Into::into),
            status: if blocker.is_some() { "block" } else { "wait" },
            alarm,
            has_arrived: true,
            blocker: blocker.map(|at| self.items[at].id),
        });
        self.next += 1;
    }

    fn exchange(&mut self, at: usize, etype: Etype, from: &str) {
        let was = self.items[at].id;
        for item in self.items.iter_mut().filter(|item| item.blocker == Some(was)) {
            item.blocker = Some(self.next);
        }
        let item = &mut self.items[at];
        (item.id, item.etype, item.from, item.to) = (self.next, etype, from.into(), None);
        self.next += 1;
    }

    fn action(&self, old: &Item, etype: Etype, from: &str, to: Option<&str>) -> Action {
        let tight = self.pace.bond == Bond::Tight;
        let same =
            |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
        let binds = |one: &str, other: &str| same(one, other) && (tight || one != other);
        let near = |one: &str, other: &str| {
            one.ends_with('/') && other.starts_with(one)
                || other.ends_with('/') && one.starts_with(other)
        };
        let met = |one: &str, other: &str| same(one, other) || near(one, other);
        let when = |is: bool, action| if is { action } else { Action::None };
        match (old.etype, &old.to, to) {
            (Etype::Full, ..) => Action::None,
            (Etype::Init | Etype::Blanket, ..) => Action::Stack,
            (_, None, Some(to)) => when(met(&old.from, from) || met(&old.from, to), Action::Split),
            (_, Some(old_to), Some(to)) => {
                let met = met(&old.from, from)
                    || met(&old.from, to)
                    || met(old_to, from)
                    || near(old_to, to)
                    || binds(old_to, to);
                when(met, Action::Split)
            }
            (_, Some(_), None) if met(&old.from, from) => Action::Stack,
            (_, Some(old_to), None) if same(old_to, from) => {
                let is_other = matches!(etype, Etype::Create | Etype::Delete);
                if is_other { Action::ToDelete } else { Action::Stack }
            }
            (_, Some(old_to), None) => when(near(old_to, from), Action::Stack),
            (was, None, None) => {
                let is_file = old.from == from && !from.ends_with('/');
                if is_file && (was, etype) == (Etype::Delete, Etype::Create) {
                    return Action::Replace;
                }
                let stacks = near(&old.from, from) || binds(&old.from, from);
                when(stacks, Action::Stack)
            }
        }
    }

    fn is_early(&self, item: &Item, now: Moment) -> bool {
        let counts = !item.has_arrived || self.items.len() < self.pace.max_delays;
        item.status != "active" && counts && item.alarm > now
    }

    pub(super) fn due(&self, now: Moment) -> Vec<u64> {
        let due = self.items.iter().take_while(|item| !self.is_early(item, now));
        due.map(|item| item.id).collect()
    }

    pub(super) fn first_due(&self, now: Moment) -> Option<u64> {
        let mut due = self.items.iter().take_while(|item| !self.is_early(item, now));
        due.find(|item| item.status == "wait").map(|item| item.id)
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        let alarms = self.items.iter().map(|item| item.alarm).chain([Moment::ORIGIN]);
        let mut alarms: Vec<_> = alarms.collect();
        alarms.sort();
        alarms.into_iter().find(|&at| self.first_due(at).is_some())
    }

    /// What is wanted of everything but what waits for something that is not.
    pub(super) fn select(&self, mut wants: impl FnMut(u64) -> bool) -> Vec<u64> {
        let mut taken: Vec<u64> = Vec::new();
        let mut left: Vec<&Item> = Vec::new();
        for item in &self.items {
            let Item { etype, from, to, blocker, .. } = item;
            let is_met = |it: &&Item| {
                Some(it.id) == *blocker
                    || self.action(it, *etype, from, to.as_deref()) != Action::None
            };
            if item.status == "active" || left.iter().any(is_met) || !wants(item.id) {
                left.push(item);
            } else {
                taken.push(item.id);
            }
        }
        taken
    }

    pub(super) fn activate(&mut self, ids: &[u64]) {
        for item in self.items.iter_mut().filter(|item| ids.contains(&item.id)) {
            item.status = "active";
        }
    }

    pub(super) fn settle(&mut self, ids: &[u64], again: Option<Moment>) {
        if let Some(alarm) = again {
            for item in self.items.iter_mut().filter(|item| ids.contains(&item.id)) {
                item.status = if item.blocker.is_some() { "block" } else { "wait" };
                item.alarm = alarm;
                item.has_arrived = false;
            }
            return;
        }
        self.items.retain(|item| !ids.contains(&item.id));
        for at in 0..self.items.len() {
            let Some(blocker) = self.items[at].blocker.filter(|it| ids.contains(it)) else {
                continue;
            };
            debug_assert_ne!(self.items[at].id, blocker, "nothing waits for itself");
            self.items[at].blocker = None;
            if self.items[at].status == "block" {
                let Item { etype, from, to, .. } = self.items[at].clone();
                let meets =
                    |old: &Item| self.action(old, etype, &from, to.as_deref()) != Action::None;
                let next = self.items[..at].iter().rfind(|old| meets(old)).map(|old| old.id);
                self.items[at].blocker = next;
                self.items[at].status = if next.is_some() { "block" } else { "wait" };
            }
        }
    }

    pub(super) fn show(&self) -> Vec<String> {
        let show = |item: &Item| {
            let to = item.to.as_ref().map_or(String::new(), |to| format!(" {to}"));
            let blocker = item.blocker.map_or("-".into(), |id| id.to_string());
            let Item { id, etype, from, status, alarm, .. } = item;
            format!("{id} {} {from}{to} {status} {alarm} {blocker}", etype.name())
        };
        self.items.iter().map(show).collect()
    }
}

/// So many seconds after the origin.
pub(super) fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}
