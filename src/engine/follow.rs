//! The name of a source leads to another directory than before.
//!
//! A symbolic link in the name that the user gave is followed, unless a less trusted user could have
//! put it there. What was a directory and is a link now is not.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{effect::Effect, notice::MirrorId, path::Escaped};

use super::{
    Engine, here,
    member::{Ground, Member},
    reload::{Slot, accepts},
    roster::Roster,
};
use crate::{
    config::{Base, Sync, check_target},
    exec::trusted::{self, Refused},
    report::{Category, Log, Mode},
};

/// Directory to which the name of a source leads.
enum Lead {
    /// The source, or none.
    Unchanged,
    /// Another one, which may take its place.
    Elsewhere(PathBuf),
    /// Another one, by way of a link that a less trusted user could have put there.
    Planted(PathBuf, Refused),
    /// Another one, by way of a link where a directory was.
    Displaced(PathBuf),
}

impl Engine {
    /// Follows the names of the sources of these mirrors: where one leads elsewhere, another mirror
    /// takes the place of that one, as it would after `SIGHUP`.
    pub(super) fn follow(&mut self, mirrors: &[MirrorId], effects: &mut Vec<Effect>) {
        // One pass mirrors what was there when it began.
        if self.daemon.onepass || !self.fleet.is_running() {
            return;
        }
        let synced = self.synced();
        let Self { roster, tunnels, connections, log, .. } = self;
        let ground = Ground { here: here(), connections, tunnels, synced, log };
        let mode = self.daemon.mode;
        let slot = |(id, member): (MirrorId, &Member)| {
            let moved = mirrors.contains(&id).then(|| moved(member, mode, &ground)).flatten();
            let kept = || Slot::Kept(id, member.sync.name.clone());
            moved.map_or_else(kept, |moved| Slot::New(Box::new(moved)))
        };
        let slots: Vec<_> = roster.iter().map(slot).collect();
        if slots.iter().any(|slot| matches!(slot, Slot::New(_))) {
            self.touch_status();
            self.replace(slots, effects);
            self.plan_calendar();
        }
    }
}

/// The mirror that takes the place of this one, if the name of its source leads elsewhere. If it may
/// not, that is told once.
fn moved(member: &Member, mode: Mode, ground: &Ground<'_>) -> Option<Member> {
    let lead = lead(member);
    let is_new = member.source.is_newly_elsewhere(!matches!(lead, Lead::Unchanged));
    let refused = match lead {
        // That it is displaced is told when it is lost.
        Lead::Unchanged | Lead::Displaced(_) => return None,
        Lead::Planted(now, refused) => (now, refused.to_string()),
        // Its functions know the source as it was when the file was read.
        Lead::Elsewhere(now) if member.sync.script.is_some() => {
            (now, "a script follows at SIGHUP".to_owned())
        }
        Lead::Elsewhere(now) => {
            let filter = Arc::new(member.sync.filter.for_source(now.as_os_str().as_bytes()));
            let sync = Sync { source: now.clone(), filter, ..member.sync.clone() };
            let base = Base { mode, here: &ground.here };
            let filters = [&*sync.filter];
            let checked = check_target(sync.kind, &now, &sync.target, &filters, base);
            match checked.and_then(|_| Member::new(sync, ground)) {
                Ok(other) => {
                    say_followed(ground.log, &member.sync, &now);
                    return Some(other);
                }
                Err(why) => (now, why),
            }
        }
    };
    if is_new {
        say_refused(ground.log, &member.sync, &refused.0, &refused.1);
    }
    None
}

/// Lets a sync that was read again stay where the one before was, if its name leads elsewhere and
/// may not be followed.
pub(super) fn follow_link(sync: &mut Sync, roster: &Roster, log: &Log) {
    let is_moved = |it: &&Member| {
        let it = &it.sync;
        (&it.given, &it.target, it.kind) == (&sync.given, &sync.target, sync.kind)
            && it.source != sync.source
    };
    let Some(before) = roster.iter().map(|(_, it)| it).find(is_moved) else { return };
    match lead(before) {
        Lead::Unchanged => {}
        Lead::Elsewhere(now) => {
            say_followed(log, &before.sync, &now);
            sync.source = now;
            return;
        }
        Lead::Planted(now, refused) => {
            say_refused(log, &before.sync, &now, &refused.to_string());
        }
        // A person has just said that it is right.
        Lead::Displaced(now) if accepts(sync) && !accepts(&before.sync) => {
            say_followed(log, &before.sync, &now);
            sync.source = now;
            return;
        }
        Lead::Displaced(now) => {
            let why = "a directory in its path is a symbolic link now";
            say_refused(log, &before.sync, &now, why);
        }
    }
    sync.source.clone_from(&before.sync.source);
}

fn lead(member: &Member) -> Lead {
    let (given, was) = (&member.sync.given, member.source.path());
    match trusted::canonical(given) {
        Ok(now) if now == was => Lead::Unchanged,
        // Where nothing was yet, nothing is displaced.
        Ok(now) if member.source.is_known() && was.canonicalize().is_ok_and(|it| it == now) => {
            Lead::Displaced(now)
        }
        Ok(now) => Lead::Elsewhere(now),
        Err(refused @ Refused::Planted(_)) => match given.canonicalize() {
            Ok(now) if now != was => Lead::Planted(now, refused),
            Ok(_) | Err(_) => Lead::Unchanged,
        },
        Err(Refused::System(_)) => Lead::Unchanged,
    }
}

fn say_followed(log: &Log, sync: &Sync, now: &Path) {
    let [given, was, now] = [&*sync.given, &*sync.source, now].map(text);
    let what = format_args!("leads to {now} now, and no more to {was}: it is followed");
    log.say(Category::Warn, format_args!("source {given} {what} ({})", sync.name));
}

fn say_refused(log: &Log, sync: &Sync, now: &Path, why: &str) {
    let [given, now] = [&*sync.given, now].map(text);
    let what = format_args!("leads to {now}, and stays where it was: {why}");
    log.say(Category::Warn, format_args!("source {given} {what} ({})", sync.name));
}

fn text(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}
