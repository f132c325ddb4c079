//! What is to be run is read again while it runs: who stays, who goes, who comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use mirror_core::{
    effect::Effect,
    fleet::{Charter, Entrant},
    guard::ReplacedSource,
    mirror::{Insist, Settings, scripted::Reset},
    notice::MirrorId,
};

use super::{
    Engine,
    follow::follow_link,
    here,
    member::{Ground, Member, rules},
    roster::Roster,
    synced::Synced,
    tunnels::Tunnels,
    words::{self, Counts},
};
use crate::{
    config::{Daemon, Sync},
    frontend::Loaded,
    report::Category,
};

/// Makes the mirror of a sync, or that which goes on with other settings.
type Make<'a> = &'a dyn Fn(Sync, Option<&Member>) -> Result<Member, String>;

/// Reads what is to be run. If it can't be run, the lines that say why.
pub type Load = Box<dyn FnMut() -> Result<Loaded, Vec<String>>>;

/// Takes over the settings of the process, as far as they can change while it runs. It is given
/// those that are in force and those that are wanted, and returns those that are in force then.
pub type Adapt = Box<dyn FnMut(&Daemon, &Daemon) -> Daemon>;

/// How what is to be run is read again when somebody asks for it.
pub struct Reload {
    /// Reads it.
    pub load: Load,
    /// Takes over the settings of the process.
    pub adapt: Adapt,
}

/// What becomes of one sync of the new setup.
pub(super) enum Slot {
    /// It is the same as this one, but for the name.
    Kept(MirrorId, String),
    /// It differs from this one in nothing that says what the target has to hold.
    Changed(MirrorId, Box<Member>),
    /// It is new, or not the same as before.
    New(Box<Member>),
}

impl Engine {
    /// Somebody sent `SIGHUP` to a daemon that has something to read again.
    ///
    /// What can't be run changes nothing. In any case what waits for a later try is tried at once.
    pub(super) fn reload(&mut self, effects: &mut Vec<Effect>) {
        let Some(Reload { load, adapt }) = &mut self.reload else { return };
        self.log.say(Category::Normal, "--- HUP signal, resetting ---");
        self.connections.try_again();
        let synced = Synced { inbox: self.inbox.clone(), generation: self.generation + 1 };
        let read = load().and_then(|Loaded { mut setup, scripts, .. }| {
            for sync in &mut setup.syncs {
                follow_link(sync, &self.roster, &self.log);
            }
            let Self { tunnels, inbox, log, connections, .. } = self;
            let scripts = Self::adopt(scripts, inbox, log).map_err(|why| vec![why])?;
            let tunnels = Tunnels::start(&setup.tunnels, tunnels, inbox, log);
            let tunnels = tunnels.map_err(|why| vec![why])?;
            let ground = Ground { here: here(), connections, tunnels: &tunnels, synced, log };
            let make = |sync, before: Option<&Member>| match before {
                Some(before) => before.with(sync, &ground),
                None => Member::new(sync, &ground),
            };
            let slots = Self::slots(&self.roster, setup.syncs, &make).map_err(|why| vec![why])?;
            Ok((setup.daemon, slots, tunnels, scripts))
        });
        let (daemon, slots, tunnels, scripts) = match read {
            Ok(read) => read,
            Err(lines) => {
                for line in lines {
                    self.log.say(Category::Error, line);
                }
                let text = "the configuration can't be used: the one before stays in force";
                self.log.say(Category::Error, text);
                self.tunnels.hangup();
                return self.fleet.retry(self.now(), effects);
            }
        };
        self.tunnels = tunnels;
        self.tunnels.hangup();
        let in_force = adapt(&self.daemon, &daemon);
        let was = std::mem::replace(&mut self.daemon, in_force);
        self.renew_status(&was);
        self.ignore_own_files();
        self.touch_status();
        self.fleet.limit_jobs(self.daemon.max_processes);
        self.jobs.limit(self.daemon.max_processes);
        // What came due while it was read.
        self.ring(effects);
        // What the scripts before had planned goes with them.
        self.descriptors = None;
        self.scripts = scripts;
        self.generation += 1;
        let counts = self.replace(slots, effects);
        self.plan_calendar();
        words::say_reloaded(&self.log, counts);
    }

    /// Replaces the mirrors by these, in their order, and tells of it.
    pub(super) fn replace(&mut self, slots: Vec<Slot>, effects: &mut Vec<Effect>) -> Counts {
        let kept: BTreeSet<MirrorId> = slots.iter().filter_map(Slot::kept).collect();
        let ended = self.roster.iter().count() - kept.len();
        let changed = slots.iter().filter(|slot| matches!(slot, Slot::Changed(..))).count();
        let (same, started) = (kept.len() - changed, slots.len() - kept.len());
        let counts = Counts { kept: same, changed, started, ended };
        let leaving = self.roster.iter().filter(|(id, _)| !kept.contains(id));
        let leaving = leaving.map(|(_, member)| &member.sync).collect();
        let coming: Vec<_> = slots.iter().filter_map(Slot::coming).collect();
        words::say_exchanged(&self.log, leaving, &coming);
        for (id, is) in slots.iter().filter_map(Slot::changed) {
            if let Some(was) = self.roster.get(id) {
                words::say_changed(&self.log, &was.sync, is);
            }
        }
        let entrant = |slot: &Slot| match slot {
            Slot::Kept(id, _) => Entrant::Stays(*id),
            Slot::Changed(id, member) => changes(*id, member, &self.roster),
            Slot::New(member) => joins(member, &self.roster, &kept),
        };
        let entrants = slots.iter().map(entrant).collect();
        for slot in &slots {
            slot.agree_on_source(&self.roster);
        }
        let names = self.fleet.replace(entrants, self.now(), effects);
        for (slot, id) in slots.into_iter().zip(&names) {
            match slot {
                Slot::Kept(id, name) => self.roster.rename(id, name),
                Slot::Changed(id, member) => self.roster.add(id, *member),
                Slot::New(member) => self.roster.add(*id, *member),
            }
        }
        self.seat_scripts(&names, |mirror| !kept.contains(&mirror));
        self.carry_out_orders();
        self.roster.line_up(names);
        counts
    }

    /// Finds for each sync the mirror that is the same but for the name, or else one that can go on
    /// with other settings; no mirror is found twice.
    fn slots(roster: &Roster, syncs: Vec<Sync>, make: Make<'_>) -> Result<Vec<Slot>, String> {
        let mut free: BTreeMap<Route, Vec<(MirrorId, &Member)>> = BTreeMap::new();
        for (id, member) in roster.iter() {
            free.entry(route(&member.sync)).or_default().push((id, member));
        }
        let mut find = |sync: &Sync, is_like: fn(&Sync, &Sync) -> bool| {
            let free = free.get_mut(&route(sync))?;
            let at = free.iter().position(|(_, member)| is_like(&member.sync, sync))?;
            Some(free.remove(at))
        };
        let same: Vec<_> = syncs.iter().map(|sync| find(sync, is_same)).collect();
        let slot = |(sync, same): (Sync, Option<(MirrorId, &Member)>)| {
            if let Some((id, _)) = same {
                return Ok(Slot::Kept(id, sync.name));
            }
            let before = find(&sync, mirrors_alike);
            let member = Box::new(make(sync, before.map(|(_, member)| member))?);
            Ok(match before {
                Some((id, _)) => Slot::Changed(id, member),
                None => Slot::New(member),
            })
        };
        syncs.into_iter().zip(same).map(slot).collect()
    }
}

impl Slot {
    /// Lets a sync accept no other source than one before it on the same path did, unless a person
    /// has just said so: that a file is read again is no word about a source.
    fn agree_on_source(&self, roster: &Roster) {
        let (member, before) = match self {
            Self::Kept(..) => return,
            Self::Changed(id, member) => (member, roster.get(*id)),
            Self::New(member) => {
                let sync = &member.sync;
                let is_like =
                    |it: &&Member| it.sync.source == sync.source || are_named_alike(&it.sync, sync);
                let before = roster.iter().map(|(_, it)| it).filter(is_like);
                (member, before.max_by_key(|it| route(&it.sync) == route(&member.sync)))
            }
        };
        let Some(before) = before else { return };
        match self {
            Self::New(_) => member.source.succeed(&before.source),
            Self::Kept(..) | Self::Changed(..) => member.source.set_rules(rules(&member.sync)),
        }
        if accepts(&member.sync) && !accepts(&before.sync) {
            member.source.accept();
        }
    }

    const fn kept(&self) -> Option<MirrorId> {
        match self {
            Self::Kept(id, _) | Self::Changed(id, _) => Some(*id),
            Self::New(_) => None,
        }
    }

    fn coming(&self) -> Option<&Sync> {
        match self {
            Self::Kept(..) | Self::Changed(..) => None,
            Self::New(member) => Some(&member.sync),
        }
    }

    fn changed(&self) -> Option<(MirrorId, &Sync)> {
        match self {
            Self::Kept(..) | Self::New(_) => None,
            Self::Changed(id, member) => Some((*id, &member.sync)),
        }
    }
}

/// Whether whatever stands at the path of the source is taken for it, once that is said.
pub(super) fn accepts(sync: &Sync) -> bool {
    sync.replaced_source == ReplacedSource::Accept
}

/// From where to where.
type Route = (PathBuf, OsString);

fn route(sync: &Sync) -> Route {
    (sync.source.clone(), sync.target.clone())
}

/// Returns true if the two name their sources alike, wherever that leads, and have one target.
fn are_named_alike(one: &Sync, other: &Sync) -> bool {
    (&one.given, &one.target) == (&other.given, &other.target)
}

/// A script is never the same: it is in another state of Lua.
fn is_same(one: &Sync, other: &Sync) -> bool {
    !one.has_script() && *one == Sync { name: one.name.clone(), ..other.clone() }
}

/// Returns true if the two say the same of what the target has to hold, and differ only in when and
/// how it gets there.
fn mirrors_alike(one: &Sync, other: &Sync) -> bool {
    let essence = |sync: &Sync| {
        let mut sync = sync.clone();
        for words in [&mut sync.rsync.extra, &mut sync.rsync.long] {
            words.retain(|word| !MANNERS.iter().any(|manner| word.starts_with(manner)));
        }
        sync.rsync.short.retain(|letter| !b"hqvWz".contains(letter));
        sync
    };
    let (one, other) = (essence(one), essence(other));
    !one.has_script()
        && !other.has_script()
        && other
            == Sync {
                name: other.name.clone(),
                given: other.given.clone(),
                pace: other.pace,
                open_wait: other.open_wait,
                insist: other.insist,
                init: other.init,
                max_delete: other.max_delete,
                max_delete_seen: other.max_delete_seen,
                replaced_source: other.replaced_source,
                marker: other.marker.clone(),
                modify_window: other.modify_window,
                durable: other.durable,
                moves: other.moves,
                codes: other.codes.clone(),
                ssh_codes: other.ssh_codes.clone(),
                batch_size_limit: other.batch_size_limit,
                max_processes: other.max_processes,
                crontab: other.crontab.clone(),
                hook: other.hook.clone(),
                ..one
            }
}

/// Words for rsync that say how it works, and not what comes of it.
const MANNERS: [&[u8]; 8] = [
    b"--bwlimit=",
    b"--contimeout=",
    b"--info=",
    b"--log-file=",
    b"--progress",
    b"--stats",
    b"--timeout=",
    b"--verbose",
];

/// How a mirror goes on with other settings.
fn changes(id: MirrorId, member: &Member, roster: &Roster) -> Entrant {
    let budgets = |sync: &Sync| (sync.max_delete, sync.max_delete_seen);
    let before = roster.get(id).map(|before| budgets(&before.sync));
    match member.charter() {
        Charter::Built(settings) => Entrant::Changes {
            mirror: id,
            settings: Settings { insist: Insist::Always, ..settings },
            recount: before != Some(budgets(&member.sync)),
        },
        Charter::Scripted(_) => Entrant::Stays(id),
    }
}

/// How a new mirror takes its place.
fn joins(member: &Member, roster: &Roster, kept: &BTreeSet<MirrorId>) -> Entrant {
    let sync = &member.sync;
    let leaving: Vec<_> = roster.all().filter(|(id, _)| !kept.contains(id)).collect();
    let after = leaving.iter().filter(|(_, it)| overlap(&it.sync.target, &sync.target));
    // What waited in the one before, and what happens until the new one is watched, is in no
    // queue; and if the name leads elsewhere, all of it may be another.
    let is_before = |it: &Sync| route(it) == route(sync) || are_named_alike(it, sync);
    let succeeds = leaving.iter().any(|(_, it)| is_before(&it.sync));
    let settings = match member.charter() {
        Charter::Built(settings) => {
            let init = settings.init || succeeds;
            Settings { init, insist: Insist::Always, ..settings }.into()
        }
        scripted @ Charter::Scripted(_) => scripted,
    };
    let heir_of = testator(sync, roster, kept);
    Entrant::Joins { after: after.map(|(id, _)| *id).collect(), settings, heir_of }
}

/// The one of which a sync takes over what was told and is not done: the one of its name, or the only
/// one, from where it is to where it goes. A script that has a function for the beginning makes up
/// for it by that.
fn testator(sync: &Sync, roster: &Roster, kept: &BTreeSet<MirrorId>) -> Option<MirrorId> {
    if sync.script.as_ref().is_some_and(|script| script.anew != Reset::Keep) {
        return None;
    }
    let is_like = |it: &Sync| it.has_script() == sync.has_script() && route(it) == route(sync);
    let leaving = roster.iter().filter(|(id, it)| !kept.contains(id) && is_like(&it.sync));
    let leaving: Vec<_> = leaving.collect();
    let only = leaving.first().filter(|_| leaving.len() == 1);
    let named = leaving.iter().find(|(_, it)| it.sync.name == sync.name);
    named.or(only).map(|(id, _)| *id)
}

/// Whether two targets have something in common, as far as their words tell. They end in `/` or
/// `:`.
fn overlap(one: &OsStr, other: &OsStr) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one.starts_with(other) || other.starts_with(one)
}
