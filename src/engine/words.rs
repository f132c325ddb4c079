//! The words and the level of each event in the log.
//!
//! Where the original has a line for it, that line is kept to the letter, since monitoring matches
//! it; what it does not tell follows on a line of its own.

use std::{os::unix::ffi::OsStrExt, time::Duration};

use mirror_core::{
    event::{Event, MirrorEvent},
    job::{Failure, Grounds, HeldDeletions, HeldFor, Place},
    path::{Escaped, TreePath},
    plan::options::RsyncOptions,
};

use super::{member::Member, roster::Roster};
use crate::{
    config::{Kind, Sync},
    exec::source_root::Succession,
    report::{Category, Log},
};

/// What the original says last when an exit code ends it.
const CRITICAL: &str = "Critical exitcode.";

/// The most failed places that are named; the others are counted.
const MOST_NAMED: usize = 20;

/// Tells an event.
pub(super) fn say(log: &Log, roster: &Roster, event: &Event) {
    match event {
        Event::Mirror(id, event) => {
            if let Some(member) = roster.get(*id) {
                say_of(log, member, event);
            }
        }
        Event::Draining(signal, jobs) => {
            log.say(Category::Normal, format_args!("--- {} signal, fading ---", signal.name()));
            if *jobs > 0 {
                let text = format_args!("waiting for {jobs} more child processes.");
                log.say(Category::Normal, text);
            }
        }
        Event::Hangup => {
            log.say(Category::Normal, "--- HUP signal, trying again at once what waits ---");
        }
        Event::Stopping(jobs) => {
            log.say(Category::Warn, format_args!("ending {jobs} jobs that still run"));
        }
        Event::OnepassFailed(id, events) => {
            let name = roster.get(*id).map(|member| &*member.sync.name).unwrap_or_default();
            for (event, failure) in events.iter().take(MOST_NAMED) {
                let text = format!("{name}: {event}: not done: {}", failure.why);
                log.say(Category::Error, text);
            }
            if let Some(more @ 1..) = events.len().checked_sub(MOST_NAMED) {
                log.say(Category::Error, format_args!("{name}: and {more} more events not done"));
            }
        }
        Event::OnepassStuck(id) => {
            let name = roster.get(*id).map(|member| &*member.sync.name).unwrap_or_default();
            let text = "nothing is left that could end the startup, so one pass has no end";
            log.say(Category::Error, format_args!("{name}: {text}"));
        }
        Event::OnepassLeft(id, names, count) => {
            if let Some(member) = roster.get(*id) {
                say_onepass_failed(log, member, names, *count);
            }
        }
        Event::OnepassDone => log.say(Category::Normal, "onepass config set, exiting"),
    }
}

fn say_onepass_failed(log: &Log, member: &Member, names: &[TreePath], count: usize) {
    let whose = whose(member);
    let text = if count == 0 {
        format!("{whose}: not all of it was done in this pass")
    } else {
        let more = count.saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        format!("{whose}: not on the target after this pass: {}{more}", names.join(", "))
    };
    log.say(Category::Error, text);
}

/// How many mirrors a reload kept, kept with other settings, started and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) kept: usize,
    pub(super) changed: usize,
    pub(super) started: usize,
    pub(super) ended: usize,
}

/// Tells what a reload did. That a count is zero is not worth a line.
pub(super) fn say_reloaded(log: &Log, counts: Counts) {
    let what = [
        (counts.kept, "kept as it is", "kept as they are"),
        (counts.changed, "kept with other settings", "kept with other settings"),
        (counts.started, "new or changed: it starts", "new or changed: they start"),
        (counts.ended, "gone or changed: it ends", "gone or changed: they end"),
    ];
    for (count, one, many) in what {
        match count {
            0 => {}
            1 => log.say(Category::Normal, format_args!("1 sync is {one}")),
            _ => log.say(Category::Normal, format_args!("{count} syncs are {many}")),
        }
    }
}

/// Tells which syncs end with a reload, and which begin: first those that do both.
pub(super) fn say_exchanged(log: &Log, mut ended: Vec<&Sync>, begun: &[&Sync]) {
    for sync in begun {
        let is_like = |it: &&Sync| {
            it.target == sync.target && (it.source == sync.source || it.given == sync.given)
        };
        let before = ended.iter().position(is_like).map(|at| ended.remove(at));
        let text = match before {
            None => "is new and begins".into(),
            Some(before) => format!("has changed ({}) and begins anew", changes(before, sync)),
        };
        log.say(Category::Normal, format_args!("{} {text}", name(sync)));
    }
    for sync in ended {
        log.say(Category::Normal, format_args!("{} is gone and ends", name(sync)));
    }
}

/// Tells that a sync goes on with other settings.
pub(super) fn say_changed(log: &Log, was: &Sync, is: &Sync) {
    let text = format!("{} has changed ({}) and goes on", name(is), changes(was, is));
    log.say(Category::Normal, text);
}

fn name(sync: &Sync) -> String {
    let [source, target] = [sync.source.as_os_str(), &sync.target].map(|it| Escaped(it.as_bytes()));
    format!("{}: {source} -> {target}", Escaped(sync.name.as_bytes()))
}

/// What is different in two syncs, by the names that it has in a configuration.
fn changes(was: &Sync, is: &Sync) -> String {
    let was_rules = (&was.filter, &was.exclusions);
    // It says some of the other things once more.
    let (rules, delete) = (is.rsync.rules.clone(), is.rsync.delete);
    let was_rsync = RsyncOptions { rules, delete, ..was.rsync.clone() };
    let all = [
        ("kind", was.kind != is.kind),
        ("source", was.source != is.source),
        ("delay", was.pace != is.pace),
        ("insist", was.insist != is.insist),
        ("init", was.init != is.init),
        ("delete", was.delete != is.delete),
        ("maxDelete", was.max_delete != is.max_delete),
        ("maxDeleteSeen", was.max_delete_seen != is.max_delete_seen),
        ("replacedSource", was.replaced_source != is.replaced_source),
        ("marker", was.marker != is.marker),
        ("modifyWindow", was.modify_window != is.modify_window),
        ("durable", was.durable != is.durable),
        ("onMove", was.moves != is.moves),
        ("exclude or filter", was_rules != (&is.filter, &is.exclusions)),
        ("rsync", (&was_rsync, &was.binary) != (&is.rsync, &is.binary) || was.direct != is.direct),
        ("exitcodes", (&was.codes, &was.ssh_codes) != (&is.codes, &is.ssh_codes)),
        ("batchSizeLimit", was.batch_size_limit != is.batch_size_limit),
        ("maxProcesses", was.max_processes != is.max_processes),
        ("crontab", was.crontab != is.crontab),
        ("onSynced", was.hook != is.hook),
        ("tunnel", was.tunnel != is.tunnel),
        ("functions", was.script.is_some() || is.script.is_some()),
    ];
    let names: Vec<_> = all.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    names.join(", ")
}

fn say_of(log: &Log, member: &Member, event: &MirrorEvent) {
    match event {
        MirrorEvent::StartupFinished(_)
        | MirrorEvent::StartupRetry(..)
        | MirrorEvent::StartupGivenUp(_)
        | MirrorEvent::StartupFatal(..) => say_of_startup(log, member, event),
        MirrorEvent::FullDue
        | MirrorEvent::FullFinished(_)
        | MirrorEvent::FullRetry(..)
        | MirrorEvent::FullFatal(_) => say_of_full(log, member, event),
        MirrorEvent::BatchFinished(_)
        | MirrorEvent::BatchRetry(..)
        | MirrorEvent::BatchFatal(_) => {
            say_of_batch(log, member, event);
        }
        MirrorEvent::HookFailed(failure, Some(wait)) => say_why(log, member, failure, *wait),
        MirrorEvent::HookFailed(failure, None) => {
            let text = format!("{}; {} waits for SIGHUP", failure.why, member.sync.name);
            log.say(Category::Error, text);
        }
        MirrorEvent::PlacesFailed(failed) => say_failed(log, member, failed),
        MirrorEvent::DeletionsHeld(all) => {
            for it in all {
                log.say(Category::Warn, format_args!("{}: {}", route(member), held(it)));
            }
        }
        MirrorEvent::NothingHeld => {
            log.say(Category::Normal, format_args!("{}: no deletions are held", route(member)));
        }
        MirrorEvent::ScriptFailed { .. }
        | MirrorEvent::ScriptAgain { .. }
        | MirrorEvent::ScriptIdle
        | MirrorEvent::BeginningIdle
        | MirrorEvent::ChildKilled { .. } => say_of_script(log, member, event),
        MirrorEvent::Lost(_)
        | MirrorEvent::SourceGone(_)
        | MirrorEvent::SourceStillGone(_)
        | MirrorEvent::SourceBack => say_of_source(log, member, event),
    }
}

/// Deletions that are held, and the remedy.
pub(super) fn held(held: &HeldDeletions) -> String {
    let HeldDeletions { places, count, of, names, why } = held;
    let of = of.map_or(String::new(), |of| format!(" of {of}"));
    let at = match &**places {
        [Place { path, .. }] if !path.is_root() => format!(" in {path}"),
        _ => String::new(),
    };
    let more = if *count > names.len() as u64 { ", .." } else { "" };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let first =
        if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) };
    let (what, setting) = match why {
        HeldFor::Budget => {
            ("are missing in the source, and nobody saw them being deleted", "maxDelete")
        }
        HeldFor::Seen => ("were deleted in the source", "maxDeleteSeen"),
        HeldFor::EmptySource => {
            return format!(
                "the source was empty, as it is when its disk is not mounted: deletions held of \
                 {count}{of} entries of the target{at}{first}. If that is right, delete them there \
                 by hand; or, once something is in the source, set another maxDelete in this sync \
                 and send SIGHUP"
            );
        }
    };
    format!(
        "{count}{of} entries of the target{at} {what}: deletions held{first}. To make them, set \
         {setting} = false in this sync (or a number of at least {count}) and send SIGHUP; to keep \
         them, bring them back to the source"
    )
}

fn say_of_batch(log: &Log, member: &Member, event: &MirrorEvent) {
    let kind = member.sync.kind;
    match event {
        MirrorEvent::BatchFinished(code) => {
            let text = match kind {
                Kind::Rsync => "Finished a list after exitcode: ",
                Kind::Rsyncssh => "Finished (list): ",
                Kind::Direct | Kind::Own => return,
            };
            log.say(Category::Normal, format_args!("{text}{code}"));
        }
        MirrorEvent::BatchRetry(failure, wait) => {
            let text = match kind {
                Kind::Rsync | Kind::Direct | Kind::Own => "Retrying a list after exitcode = ",
                Kind::Rsyncssh => "Retrying (list): ",
            };
            log.say(Category::Normal, format_args!("{text}{}", code(failure)));
            say_why(log, member, failure, *wait);
        }
        MirrorEvent::BatchFatal(failure) => {
            log.say(Category::Error, &failure.why);
            let text = match kind {
                Kind::Rsync | Kind::Direct | Kind::Own => "Failure with a list with exitcode = ",
                Kind::Rsyncssh => "Failure (list): ",
            };
            log.say(Category::Error, format_args!("{text}{}", code(failure)));
            log.say(Category::Error, CRITICAL);
        }
        _ => {}
    }
}

fn say_of_startup(log: &Log, member: &Member, event: &MirrorEvent) {
    let route = route(member);
    match event {
        MirrorEvent::StartupFinished(code) => {
            let end = match member.sync.kind {
                Kind::Rsync => format_args!("."),
                Kind::Rsyncssh | Kind::Direct | Kind::Own => format_args!(": {code}"),
            };
            log.say(Category::Normal, format_args!("Startup of {route} finished{end}"));
        }
        MirrorEvent::StartupRetry(failure, wait) => {
            let text = format!("Retrying startup of {route}: {}", code(failure));
            log.say(Category::Normal, text);
            say_why(log, member, failure, *wait);
        }
        MirrorEvent::StartupGivenUp(failure) => {
            log.say(Category::Error, &failure.why);
            let text = format!(
                "Temporary or permanent failure on startup of {route}. \
                 Terminating since \"insist\" is not set."
            );
            log.say(Category::Error, text);
        }
        MirrorEvent::StartupFatal(failure, grounds) => {
            log.say(Category::Error, &failure.why);
            let code = code(failure);
            match (grounds, member.sync.kind) {
                (Grounds::Unknown, _) => {
                    let text = format!("Unknown exitcode \"{code}\" on startup of {route}.");
                    log.say(Category::Error, text);
                    log.say(Category::Error, CRITICAL);
                }
                (Grounds::User | Grounds::Program, Kind::Rsync) => {
                    log.say(Category::Error, format_args!("Failure on startup of {route}."));
                }
                (Grounds::User | Grounds::Program, Kind::Rsyncssh | Kind::Direct | Kind::Own) => {
                    log.say(Category::Error, format_args!("Failure on startup of {route}: {code}"));
                    log.say(Category::Error, CRITICAL);
                }
            }
        }
        _ => {}
    }
}

fn say_of_full(log: &Log, member: &Member, event: &MirrorEvent) {
    let source = member.source_text();
    match event {
        MirrorEvent::FullDue => log.say(Category::Debug("Info"), "Crontab triggered full sync"),
        MirrorEvent::FullFinished(code) => {
            log.say(Category::Normal, format_args!("Finished Full on {source} = {code}"));
        }
        MirrorEvent::FullRetry(failure, wait) => {
            let text = format!("Retrying Full on {source} = {}", code(failure));
            log.say(Category::Normal, text);
            say_why(log, member, failure, *wait);
        }
        MirrorEvent::FullFatal(failure) => {
            log.say(Category::Error, &failure.why);
            let text = format!("Failure with Full on {source} = {}", code(failure));
            log.say(Category::Error, text);
            log.say(Category::Error, CRITICAL);
        }
        _ => {}
    }
}

fn say_of_source(log: &Log, member: &Member, event: &MirrorEvent) {
    let (source, name) = (member.source_text(), &member.sync.name);
    match event {
        MirrorEvent::Lost(path) if path.is_root() => {
            let text = format!("changes may have been missed: reading {source} again");
            log.say(Category::Normal, text);
        }
        MirrorEvent::Lost(path) => {
            log.say(Category::Debug("Inotify"), format_args!("{source}: reading {path} again"));
        }
        MirrorEvent::SourceGone(why) => {
            let text = format!(
                "source {source} unavailable ({why}): sync suspended, target left untouched ({name})"
            );
            log.say(Category::Error, text);
        }
        MirrorEvent::SourceStillGone(why) => {
            log.say(
                Category::Error,
                format_args!("source {source} still unavailable: {why} ({name})"),
            );
        }
        MirrorEvent::SourceBack => {
            log.say(
                Category::Normal,
                format_args!("source {source} is back: full transfer ({name})"),
            );
        }
        _ => {}
    }
}

/// Tells that another directory than before is the source from now on.
pub(super) fn say_found(log: &Log, member: &Member, found: &Succession) {
    let (source, name) = (member.source_text(), &member.sync.name);
    let what = match found {
        Succession::First | Succession::Same => return,
        Succession::Replaced => "was replaced on its file system",
        Succession::Accepted => "is another one than before, which was accepted",
        Succession::Snapshot => "is another mount than before, which replacedSource accepts",
    };
    let text = "full transfer, and what it lacks counts as unseen deletions";
    log.say(Category::Warn, format_args!("source {source} {what}: {text} ({name})"));
}

fn say_of_script(log: &Log, member: &Member, event: &MirrorEvent) {
    let name = &member.sync.name;
    match event {
        MirrorEvent::ScriptFailed { about, failure, wait } => {
            let about = about_of(about.as_ref());
            log.say(Category::Error, format_args!("{name}: {about}{}", failure.why));
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                let text = format!("{name}: {about}next try in {:.1} seconds", wait.as_secs_f64());
                log.say(Category::Normal, text);
            }
        }
        MirrorEvent::ScriptAgain { about, failure, wait } => {
            let (about, why) = (about_of(about.as_ref()), &failure.why);
            let next = wait.map(|wait| match wait {
                Duration::ZERO => "; trying shorter lists".into(),
                _ => format!("; next try in {:.1} seconds", wait.as_secs_f64()),
            });
            log.say(
                Category::Warn,
                format_args!("{name}: {about}{why}{}", next.unwrap_or_default()),
            );
        }
        MirrorEvent::ScriptIdle => {
            let text = "the script neither spawns nor discards what is due: it waits for changes";
            log.say(Category::Warn, format_args!("{name}: {text}"));
        }
        MirrorEvent::BeginningIdle => {
            let text = "its init neither spawns nor discards its event: all else waits for that";
            log.say(Category::Warn, format_args!("{name}: {text}"));
        }
        MirrorEvent::ChildKilled { about, signal } => {
            let about = about_of(about.as_ref());
            let text =
                format!("{name}: {about}a child was killed by signal {signal}: trying again");
            log.say(Category::Warn, text);
        }
        _ => {}
    }
}

/// What failed, in front of why.
fn about_of(about: Option<&String>) -> String {
    about.map(|about| format!("{about}: ")).unwrap_or_default()
}

/// How the original names a sync in what it says of its startup.
fn route(member: &Member) -> String {
    let source = member.source_text();
    match member.sync.kind {
        Kind::Rsync => format!("{source} -> {}", member.target_text()),
        Kind::Rsyncssh | Kind::Direct | Kind::Own => format!("\"{source}\""),
    }
}

/// Whose trouble it is: others may have some at the same time.
fn whose(member: &Member) -> String {
    let (name, target) = (&member.sync.name, member.target_text());
    if target.is_empty() { name.clone() } else { format!("{name} -> {target}") }
}

fn say_why(log: &Log, member: &Member, failure: &Failure, wait: Duration) {
    // What Lua says has many lines.
    let (first, rest) = failure.why.split_once('\n').unwrap_or((&failure.why, ""));
    let target = whose(member);
    let text = format!("{target}: {first}; next try in {:.1} seconds", wait.as_secs_f64());
    log.say(Category::Warn, if rest.is_empty() { text } else { format!("{text}\n{rest}") });
}

fn say_failed(log: &Log, member: &Member, failed: &[(Place, Failure)]) {
    let target = whose(member);
    for (place, failure) in failed.iter().take(MOST_NAMED) {
        let text = format!("{target}: {}: {}; it is tried again", place.path, failure.why);
        log.say(Category::Warn, text);
    }
    if let Some(more @ 1..) = failed.len().checked_sub(MOST_NAMED) {
        log.say(Category::Warn, format_args!("{target}: and {more} more places failed"));
    }
}

/// The exit code that stands for a failure. Where no program returned one, it is that of
/// `exit(-1)`, as the original counts a program that could not be started.
fn code(failure: &Failure) -> i32 {
    failure.code.unwrap_or(255)
}
