//! A reference implementation, written directly from the table of the original: a list that is
//! searched from its newest end, with names as strings that end in a slash for directories.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use crate::{
    queue::event_queue::{
        Coupling, Etype, EventQueueSettings, FailureRule, failed::backoff_after,
        index::QueuePosition,
    },
    time::Moment,
};

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: u64,
    /// Its first id, which stays at a replacement.
    turn: u64,
    etype: Etype,
    from: String,
    to: Option<String>,
    pub(super) status: &'static str,
    alarm: Moment,
    /// True if the alarm is that of its arrival, for which later events wait, too.
    has_arrived: bool,
    /// True if the alarm is its own.
    rests: bool,
    blocker: Option<u64>,
    /// The number of failures alone, whether the last failure was alone, and the earliest retry.
    failed: Option<(u32, bool, Moment)>,
    /// True if it is not retried after a failure.
    is_last_try: bool,
    /// The consequence of a failure.
    rule: FailureRule,
}

pub(super) struct ReferenceEventQueue {
    settings: EventQueueSettings,
    pub(super) items: Vec<Item>,
    next: u64,
    most: usize,
}

/// The consequence of a relation.
#[derive(PartialEq)]
enum ReferenceAction {
    None,
    Stack,
    Replace,
    ToDelete,
    Split,
}

impl ReferenceEventQueue {
    pub(super) const fn new(settings: EventQueueSettings) -> Self {
        Self { settings, items: Vec::new(), next: 1, most: usize::MAX }
    }

    pub(super) fn push(&mut self, etype: Etype, from: &str, to: Option<&str>, now: Moment) {
        self.take_in_news((etype, from, to), now);
        let meets = |item: &Item| self.meets(item, etype, from, to);
        let Some(at) = self.items.iter().rposition(meets) else {
            return self.append((etype, from, to), now + self.settings.delay, None);
        };
        let is_active = self.items[at].status == "active";
        match self.action(&self.items[at], etype, from, to) {
            ReferenceAction::Replace if !is_active => self.exchange(at, etype, from, now),
            ReferenceAction::ToDelete if !is_active => {
                let old = self.items[at].from.clone();
                self.exchange(at, Etype::Delete, &old, now);
                self.append((etype, from, to), now + self.settings.delay, Some(at));
            }
            ReferenceAction::Split => {
                self.push(Etype::Delete, from, None, now);
                self.push(Etype::Create, to.unwrap(), None, now);
            }
            _ => self.append((etype, from, to), now + self.settings.delay, Some(at)),
        }
    }

    pub(super) fn push_at_once(&mut self, etype: Etype, path: &str) {
        let has_full = self.items.iter().any(|item| item.etype == Etype::Full);
        self.append((etype, path, None), Moment::ORIGIN, None);
        let item = self.items.last_mut().unwrap();
        (item.alarm, item.has_arrived) = (Moment::ORIGIN, false);
        if etype == Etype::Full && !has_full {
            let moves = self.items.iter().filter(|item| item.to.is_some());
            for id in moves.map(|item| item.id).collect::<Vec<_>>() {
                self.split_waiting(id);
            }
        }
    }

    /// Splits a move beside a full event: at once, or when it fails.
    fn split_waiting(&mut self, id: u64) {
        // The create of another move may have replaced it.
        let Some(item) = self.items.iter_mut().find(|item| item.id == id) else { return };
        if item.status == "active" {
            item.rule = FailureRule::Split;
        } else if item.failed.is_some() {
            self.split(id, Moment::ORIGIN);
        } else {
            let to = item.to.clone().unwrap();
            let from = item.from.clone();
            let at = self.items.iter().position(|item| item.id == id).unwrap();
            let is_over = self.is_over(at);
            self.exchange(at, Etype::Delete, &from, Moment::ORIGIN);
            if !is_over {
                self.push(Etype::Create, &to, None, Moment::ORIGIN);
            }
        }
    }

    /// Splits a move that has failed.
    fn split(&mut self, id: u64, now: Moment) {
        let at = self.items.iter().position(|item| item.id == id).unwrap();
        let to = self.items[at].to.clone().unwrap();
        let is_over = self.is_over(at);
        self.drop_all(&[id], now);
        if !is_over {
            self.push(Etype::Create, &to, None, now);
        }
    }

    /// Returns true if a later event says that the entry is gone.
    fn is_over(&self, at: usize) -> bool {
        let it = &self.items[at];
        let path = it.to.as_ref().unwrap_or(&it.from);
        let is_end = |item: &Item| {
            let is_above =
                same(&item.from, path) || item.from.ends_with('/') && is_below(path, &item.from);
            item.etype == Etype::Delete && is_above && brings_below(it, path)
        };
        it.is_last_try || self.items[at + 1..].iter().any(is_end)
    }

    fn append(
        &mut self,
        (etype, from, to): (Etype, &str, Option<&str>),
        alarm: Moment,
        blocker: Option<usize>,
    ) {
        let waits = |it: &&Item| it.has_arrived && it.status != "active";
        let last = self.items.iter().filter(waits).map(|it| it.alarm).max();
        let alarm = alarm.max(last.unwrap_or(alarm));
        self.items.push(Item {
            id: self.next,
            turn: self.next,
            etype,
            from: from.into(),
            to: to.map(Into::into),
            status: if blocker.is_some() { "block" } else { "wait" },
            alarm,
            has_arrived: true,
            rests: false,
            blocker: blocker.map(|at| self.items[at].id),
            failed: None,
            is_last_try: false,
            rule: FailureRule::Retry,
        });
        self.next += 1;
    }

    fn exchange(&mut self, at: usize, etype: Etype, from: &str, now: Moment) {
        if self.items[at].failed.take().is_some() {
            self.items[at].alarm = now + self.settings.delay;
        }
        let was = self.items[at].id;
        for item in self.items.iter_mut().filter(|item| item.blocker == Some(was)) {
            item.blocker = Some(self.next);
        }
        let item = &mut self.items[at];
        (item.is_last_try, item.rule) = (false, FailureRule::Retry);
        (item.id, item.etype, item.from, item.to) = (self.next, etype, from.into(), None);
        self.next += 1;
    }

    /// A failed event is related to all events of its name.
    fn meets(&self, old: &Item, etype: Etype, from: &str, to: Option<&str>) -> bool {
        let is_failed = old.failed.is_some();
        self.action(old, etype, from, to) != ReferenceAction::None
            || is_failed && action(Coupling::Tight, old, etype, from, to) != ReferenceAction::None
    }

    fn action(&self, old: &Item, etype: Etype, from: &str, to: Option<&str>) -> ReferenceAction {
        action(self.settings.coupling, old, etype, from, to)
    }

    fn take_in_news(&mut self, (etype, from, to): (Etype, &str, Option<&str>), now: Moment) {
        if etype == Etype::Delete {
            self.drop_deleted(from, now);
        }
        let is_same = |name: &str| same(name, from) || to.is_some_and(|to| same(name, to));
        for item in self.items.iter_mut().filter(|item| item.status != "active") {
            let is_about = is_same(&item.from) || item.to.as_deref().is_some_and(is_same);
            match item.failed {
                Some((_, _, soonest)) if is_about && !is_apart(item.etype) => {
                    item.alarm = item.alarm.min(soonest);
                }
                _ => {}
            }
        }
    }

    /// Drops failed events that would transfer an entry at or below `path`, and their dependents.
    fn drop_deleted(&mut self, path: &str, now: Moment) {
        let may_be_tried =
            |it: &Item| it.failed.is_some_and(|(tries, ..)| tries < 2 || it.status == "active");
        for item in self.items.iter_mut().filter(|it| may_be_tried(it)) {
            item.is_last_try |= brings_below(item, path);
        }
        let mut over: Vec<u64> = Vec::new();
        loop {
            let is_over = |item: &&Item| {
                let waits =
                    item.status == "block" && item.blocker.is_some_and(|it| over.contains(&it));
                let is_met = match item.failed {
                    Some((tries, ..)) => tries >= 2,
                    None => item.to.is_none() && waits,
                };
                !over.contains(&item.id)
                    && item.status != "active"
                    && is_met
                    && brings_below(item, path)
            };
            let Some(item) = self.items.iter().find(is_over) else { break };
            over.push(item.id);
        }
        self.drop_all(&over, now);
    }

    fn drop_all(&mut self, ids: &[u64], now: Moment) {
        for id in ids {
            let at = self.items.iter().position(|item| item.id == *id).unwrap();
            if self.items[at].to.is_none() {
                self.settle(&[*id], None);
                continue;
            }
            let from = self.items[at].from.clone();
            self.exchange(at, Etype::Delete, &from, now);
            let item = &mut self.items[at];
            (item.alarm, item.rests, item.has_arrived) = (now, true, false);
            item.status = if item.blocker.is_some() { "block" } else { "wait" };
        }
    }
}

fn is_apart(etype: Etype) -> bool {
    etype == Etype::Full || etype.is_barrier()
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Returns true if `path` is `above` or below it, whatever their kinds.
fn is_below(path: &str, above: &str) -> bool {
    let above = above.trim_end_matches('/');
    same(path, above) || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

fn brings_below(item: &Item, path: &str) -> bool {
    let brings = matches!(item.etype, Etype::Create | Etype::Modify | Etype::Attrib);
    match &item.to {
        Some(to) => is_below(to, path),
        None => brings && is_below(&item.from, path),
    }
}

fn action(
    coupling: Coupling,
    old: &Item,
    etype: Etype,
    from: &str,
    to: Option<&str>,
) -> ReferenceAction {
    let tight = coupling == Coupling::Tight;
    let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
    let binds = |one: &str, other: &str| same(one, other) && (tight || one != other);
    let near = |one: &str, other: &str| {
        one.ends_with('/') && other.starts_with(one)
            || other.ends_with('/') && one.starts_with(other)
    };
    let met = |one: &str, other: &str| same(one, other) || near(one, other);
    let when = |is: bool, action| if is { action } else { ReferenceAction::None };
    match (old.etype, &old.to, to) {
        (Etype::Full, ..) => ReferenceAction::None,
        (Etype::Init | Etype::Blanket, ..) => ReferenceAction::Stack,
        (_, None, Some(to)) => {
            when(met(&old.from, from) || met(&old.from, to), ReferenceAction::Split)
        }
        (_, Some(old_to), Some(to)) => {
            let met = met(&old.from, from)
                || met(&old.from, to)
                || met(old_to, from)
                || near(old_to, to)
                || binds(old_to, to);
            when(met, ReferenceAction::Split)
        }
        (_, Some(_), None) if met(&old.from, from) => ReferenceAction::Stack,
        (_, Some(old_to), None) if same(old_to, from) => {
            let is_other = matches!(etype, Etype::Create | Etype::Delete);
            if is_other { ReferenceAction::ToDelete } else { ReferenceAction::Stack }
        }
        (_, Some(old_to), None) => when(near(old_to, from), ReferenceAction::Stack),
        (was, None, None) => {
            let is_file = old.from == from && !from.ends_with('/');
            if is_file && (was, etype) == (Etype::Delete, Etype::Create) {
                return ReferenceAction::Replace;
            }
            let stacks = near(&old.from, from) || binds(&old.from, from);
            when(stacks, ReferenceAction::Stack)
        }
    }
}

impl ReferenceEventQueue {
    fn is_early(&self, item: &Item, now: Moment) -> bool {
        let counts = item.has_arrived && self.items.len() < self.settings.max_delays;
        item.status != "active" && counts && item.alarm > now
    }

    pub(super) fn first_due(&self, now: Moment) -> Option<u64> {
        let mut due = self.items.iter().take_while(|item| !self.is_early(item, now));
        let fresh = due.find(|item| item.status == "wait" && !item.rests);
        let resting = self.items.iter().filter(|it| it.status == "wait" && it.rests);
        let resting = resting.filter(|item| item.alarm <= now).min_by_key(|item| item.alarm);
        let place = |id| self.items.iter().position(|item| item.id == id);
        let ids = fresh.into_iter().chain(resting).map(|item| item.id);
        ids.min_by_key(|id| place(*id))
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        let alarms = self.items.iter().map(|item| item.alarm).chain([Moment::ORIGIN]);
        let mut alarms: Vec<_> = alarms.collect();
        alarms.sort();
        alarms.into_iter().find(|&at| self.first_due(at).is_some())
    }

    /// The wanted events of one class, except those that are blocked by others.
    pub(super) fn select(&self, now: Moment, mut wants: impl FnMut(u64) -> bool) -> Vec<u64> {
        let mut taken: Vec<u64> = Vec::new();
        let mut left: Vec<&Item> = Vec::new();
        let mut sort = None;
        for item in &self.items {
            let Item { etype, from, to, blocker, .. } = item;
            let its = item.failed.map(|(_, is_alone, _)| is_alone);
            let most = match sort {
                Some(Some(true)) => 1,
                Some(Some(false)) => self.most,
                _ => usize::MAX,
            };
            if taken.len() >= most {
                break;
            }
            let is_met = |it: &&Item| {
                Some(it.id) == *blocker
                    || self.action(it, *etype, from, to.as_deref()) != ReferenceAction::None
            };
            let is_other =
                sort.is_some_and(|sort| sort != its) || its.is_some() && item.alarm > now;
            if item.status == "active" || is_other || left.iter().any(is_met) || !wants(item.id) {
                left.push(item);
            } else {
                taken.push(item.id);
                sort = Some(its);
            }
        }
        taken
    }

    pub(super) fn activate(&mut self, ids: &[u64]) {
        for item in self.items.iter_mut().filter(|item| ids.contains(&item.id)) {
            item.status = "active";
        }
    }

    /// `ids` have failed: each of them, alone or by name, or together.
    pub(super) fn fail(&mut self, ids: &[u64], (now, pause, is_each): (Moment, Duration, bool)) {
        let is_alone = is_each || ids.len() == 1;
        if !is_alone && !ids.is_empty() {
            let has_failed = |it: &Item| ids.contains(&it.id) && it.failed.is_some();
            let part = if self.items.iter().any(has_failed) { 2 } else { 1 };
            self.most = self.most.min(ids.len() / part).max(1);
        }
        for id in ids {
            let Some(at) = self.items.iter().position(|item| item.id == *id) else { continue };
            if self.items[at].rule == FailureRule::Split {
                self.split(*id, now);
                continue;
            }
            let has_failed = self.items[at].failed.is_some();
            if has_failed && self.is_over(at) {
                self.drop_all(&[*id], now);
                continue;
            }
            let item = &mut self.items[at];
            let was = item.failed;
            let tries = was.map_or(0, |(tries, ..)| tries) + u32::from(is_alone);
            item.alarm = match was {
                _ if is_alone => now + backoff_after(pause, tries, QueuePosition(item.turn)),
                Some(_) => now,
                None => now + pause,
            };
            item.failed = Some((tries, is_alone, now + pause));
            (item.rests, item.has_arrived) = (true, false);
            item.status = "block";
            if item.blocker.is_none() {
                item.status = "wait";
                self.wait_for_failed(at);
            }
            let Item { etype, from, to, .. } = self.items[at].clone();
            for later in (at + 1..self.items.len()).filter(|_| !is_apart(etype)) {
                let it = &self.items[later];
                let names = [Some(&it.from), it.to.as_ref()];
                let is_same = |name: &String| {
                    same(name, &from) || to.as_ref().is_some_and(|to| same(name, to))
                };
                let is_about = names.into_iter().flatten().any(is_same) && !is_apart(it.etype);
                if is_about && it.status == "wait" {
                    (self.items[later].status, self.items[later].blocker) = ("block", Some(*id));
                }
            }
        }
    }

    fn wait_for_failed(&mut self, at: usize) {
        let Item { etype, from, to, .. } = self.items[at].clone();
        if is_apart(etype) {
            return;
        }
        let meets = |old: &&Item| {
            old.failed.is_some()
                && action(Coupling::Tight, old, etype, &from, to.as_deref())
                    != ReferenceAction::None
        };
        if let Some(old) = self.items[..at].iter().rfind(meets).map(|old| old.id) {
            (self.items[at].status, self.items[at].blocker) = ("block", Some(old));
        }
    }

    pub(super) fn retry_now(&mut self) {
        self.most = usize::MAX;
        for item in self.items.iter_mut().filter(|item| item.rests) {
            if let Some((tries, is_alone, _)) = &mut item.failed {
                *tries = 0;
                *is_alone &= item.status == "active";
                if item.status == "block" {
                    item.alarm = Moment::ORIGIN;
                }
            }
            if item.status == "wait" {
                item.alarm = Moment::ORIGIN;
            }
        }
    }

    pub(super) fn settle(&mut self, ids: &[u64], done: Option<()>) {
        let has_failed = |item: &Item| ids.contains(&item.id) && item.failed.is_some();
        if done.is_some() && self.items.iter().any(has_failed) {
            self.most = self.most.saturating_mul(2);
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
                let meets = |old: &&Item| self.meets(old, etype, &from, to.as_deref());
                let next = self.items[..at].iter().rfind(meets).map(|old| old.id);
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

/// This many seconds after the origin.
pub(super) fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}
