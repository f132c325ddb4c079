//! The words and the level of each event in the log.
//!
//! Where the original has a line for it, that line is kept to the letter, since monitoring matches
//! it; what it does not tell follows on a line of its own.

use std::time::Duration;

use mirror_core::{
    event::{Event, MirrorEvent},
    fleet::GRACE,
    job::{Failure, Place},
};

use super::roster::{Member, Roster};
use crate::{
    report::{Category, Log},
    setup::Kind,
};

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
            let text = format!("ending {jobs} jobs, {} seconds are over", GRACE.as_secs());
            log.say(Category::Warn, text);
        }
        Event::OnepassDone => log.say(Category::Normal, "onepass config set, exiting"),
    }
}

fn say_of(log: &Log, member: &Member, event: &MirrorEvent) {
    match event {
        MirrorEvent::StartupFinished
        | MirrorEvent::StartupRetry(..)
        | MirrorEvent::StartupGivenUp(_)
        | MirrorEvent::StartupFatal(_) => say_of_startup(log, member, event),
        MirrorEvent::BatchFinished => {
            if member.sync.kind != Kind::Direct {
                log.say(Category::Normal, "Finished a list after exitcode: 0");
            }
        }
        MirrorEvent::BatchRetry(failure, wait) => {
            let text = format!("Retrying a list after exitcode = {}", code(failure));
            log.say(Category::Normal, text);
            say_why(log, failure, *wait);
        }
        MirrorEvent::BatchFatal(failure, wait) => {
            let text = format!("Failure with a list with exitcode = {}", code(failure));
            log.say(Category::Error, text);
            say_why(log, failure, *wait);
        }
        MirrorEvent::PlacesFailed(failed) => say_failed(log, failed),
        MirrorEvent::Lost(_)
        | MirrorEvent::SourceGone(_)
        | MirrorEvent::SourceStillGone(_)
        | MirrorEvent::SourceBack => say_of_source(log, member, event),
    }
}

fn say_of_startup(log: &Log, member: &Member, event: &MirrorEvent) {
    let route = route(member);
    match event {
        MirrorEvent::StartupFinished => {
            let end = match member.sync.kind {
                Kind::Rsync | Kind::Rsyncssh => "finished.",
                Kind::Direct => "finished: 0",
            };
            log.say(Category::Normal, format_args!("Startup of {route} {end}"));
        }
        MirrorEvent::StartupRetry(failure, wait) => {
            let text = format!("Retrying startup of {route}: {}", code(failure));
            log.say(Category::Normal, text);
            say_why(log, failure, *wait);
        }
        MirrorEvent::StartupGivenUp(failure) => {
            log.say(Category::Error, &failure.why);
            let text = format!(
                "Temporary or permanent failure on startup of {route}. \
                 Terminating since \"insist\" is not set."
            );
            log.say(Category::Error, text);
        }
        MirrorEvent::StartupFatal(failure) => {
            log.say(Category::Error, &failure.why);
            let text = match member.sync.kind {
                Kind::Rsync | Kind::Rsyncssh => format!("Failure on startup of {route}."),
                Kind::Direct => format!("Failure on startup of {route}: {}", code(failure)),
            };
            log.say(Category::Error, text);
        }
        _ => {}
    }
}

fn say_of_source(log: &Log, member: &Member, event: &MirrorEvent) {
    let source = member.source_text();
    match event {
        MirrorEvent::Lost(path) if path.is_root() => {
            let text = format!("changes may have been missed: reading {source} again");
            log.say(Category::Normal, text);
        }
        MirrorEvent::Lost(path) => {
            log.say(Category::Debug("Inotify"), format_args!("{source}: reading {path} again"));
        }
        MirrorEvent::SourceGone(why) => {
            let text = format!("the source {source} is lost, {why}: the target stays as it is");
            log.say(Category::Error, text);
        }
        MirrorEvent::SourceStillGone(why) => {
            log.say(Category::Error, format_args!("the source {source} is not back: {why}"));
        }
        MirrorEvent::SourceBack => {
            log.say(Category::Normal, format_args!("the source {source} is back"));
        }
        _ => {}
    }
}

/// How the original names a sync in what it says of its startup.
fn route(member: &Member) -> String {
    let source = member.source_text();
    match member.sync.kind {
        Kind::Rsync | Kind::Rsyncssh => format!("{source} -> {}", member.target_text()),
        Kind::Direct => format!("\"{source}\""),
    }
}

fn say_why(log: &Log, failure: &Failure, wait: Duration) {
    let text = format!("{}; next try in {:.1} seconds", failure.why, wait.as_secs_f64());
    log.say(Category::Warn, text);
}

fn say_failed(log: &Log, failed: &[(Place, Failure)]) {
    for (place, failure) in failed.iter().take(MOST_NAMED) {
        let text = format!("{}: {}; it is tried again", place.path, failure.why);
        log.say(Category::Warn, text);
    }
    if let Some(more @ 1..) = failed.len().checked_sub(MOST_NAMED) {
        log.say(Category::Warn, format_args!("and {more} more places failed"));
    }
}

/// The exit code that stands for a failure. Where no program returned one, it is that of
/// `exit(-1)`, as the original counts a program that could not be started.
fn code(failure: &Failure) -> i32 {
    failure.code.unwrap_or(255)
}
