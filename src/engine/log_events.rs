//! Log level and text of each event.
//!
//! Where the original has a line for an event, it is kept literally, since monitoring matches it.
//! Further details follow on a separate line.

use std::time::Duration;

use mirror_core::{
    job::{DirtyPath, Failure, FatalReason, HeldDeletions, HoldReason},
    log_event::{
        BatchEvent, DeletionEvent, FullEvent, HoldEnd, LogEvent, MirrorEvent, ScriptEvent,
        SourceEvent, StartupEvent,
    },
    path::TreePath,
};

use super::{registry::SyncRegistry, sync::SyncInstance};
use crate::{
    config::SyncKind,
    exec::source_root::Succession,
    report::{Category, Log},
};

/// Final message of the original when an exit code ends the daemon.
const CRITICAL_EXIT_CODE: &str = "Critical exitcode.";

/// Maximum number of failed paths that are listed; the others are counted.
const MAX_LISTED: usize = 20;

pub(super) fn log_event(log: &Log, registry: &SyncRegistry, event: &LogEvent) {
    match event {
        LogEvent::Mirror(id, event) => {
            if let Some(instance) = registry.get(*id) {
                log_mirror_event(&log.for_sync(&instance.config.name), instance, event);
            }
        }
        LogEvent::Draining(signal, jobs) => {
            log.say(Category::Normal, format_args!("--- {} signal, fading ---", signal.name()));
            if *jobs > 0 {
                let text = format_args!("waiting for {jobs} more child processes.");
                log.say(Category::Normal, text);
            }
        }
        LogEvent::Hangup => {
            log.say(Category::Normal, "--- HUP signal, trying again at once what waits ---");
        }
        LogEvent::Stopping(jobs) => {
            log.say(
                Category::Warn,
                format_args!("grace period expired: terminating {jobs} running jobs"),
            );
        }
        LogEvent::OnepassFailed(id, events) => {
            let name = registry.get(*id).map(|instance| &*instance.config.name).unwrap_or_default();
            for (event, failure) in events.iter().take(MAX_LISTED) {
                let text = format!("{name}: {event}: not done: {}", failure.message);
                log.say(Category::Error, text);
            }
            if let Some(more @ 1..) = events.len().checked_sub(MAX_LISTED) {
                log.say(Category::Error, format_args!("{name}: and {more} more events not done"));
            }
        }
        LogEvent::OnepassStuck(id) => {
            let name = registry.get(*id).map(|instance| &*instance.config.name).unwrap_or_default();
            let text = "nothing is left that could end the startup, so one pass has no end";
            log.say(Category::Error, format_args!("{name}: {text}"));
        }
        LogEvent::OnepassLeft(id, names, count) => {
            if let Some(instance) = registry.get(*id) {
                log_onepass_failure(&log.for_sync(&instance.config.name), instance, names, *count);
            }
        }
        LogEvent::OnepassDone => log.say(Category::Normal, "onepass config set, exiting"),
    }
}

fn log_onepass_failure(log: &Log, instance: &SyncInstance, names: &[TreePath], count: usize) {
    let label = sync_label(instance);
    let text = if count == 0 {
        format!("{label}: not all of it was done in this pass")
    } else {
        let more = count.saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        format!("{label}: not on the target after this pass: {}{more}", names.join(", "))
    };
    log.say(Category::Error, text);
}

fn log_mirror_event(log: &Log, instance: &SyncInstance, event: &MirrorEvent) {
    match event {
        MirrorEvent::Startup(event) => log_startup_event(log, instance, event),
        MirrorEvent::Full(event) => log_full_event(log, instance, event),
        MirrorEvent::Batch(event) => log_batch_event(log, instance, event),
        MirrorEvent::HookFailed(failure, Some(wait)) => log_retry(log, instance, failure, *wait),
        MirrorEvent::HookFailed(failure, None) => {
            let end = format!("; {} waits for SIGHUP", instance.config.name);
            log.say(Category::Error, end_first_line(&failure.message, &end));
        }
        MirrorEvent::ComparedAgain(count) => {
            let route = route(instance);
            let text = format_args!(
                "{route}: to compare once more, because a transfer broke off before: {count}"
            );
            log.say(Category::Normal, text);
        }
        MirrorEvent::Recovered => {
            log.say(Category::Normal, format_args!("{}: transfers succeed again", route(instance)));
        }
        MirrorEvent::PathsFailed(failed) => log_failed_paths(log, instance, failed),
        MirrorEvent::Deletions(event) => log_deletion_event(log, instance, event),
        MirrorEvent::Script(event) => log_script_event(log, instance, event),
        MirrorEvent::Source(event) => log_source_event(log, instance, event),
    }
}

fn log_deletion_event(log: &Log, instance: &SyncInstance, event: &DeletionEvent) {
    let route = route(instance);
    match event {
        DeletionEvent::Held { found, all } => {
            log_held(log, &format!("{route}: "), found, all);
        }
        DeletionEvent::NoneHeld(end) => {
            let why = match end {
                HoldEnd::Released => "they were released",
                HoldEnd::Obsolete => {
                    "their entries are in the source again, or were deleted there after all"
                }
            };
            log.say(
                Category::Normal,
                format_args!("{route}: no deletions are held any more: {why}"),
            );
        }
    }
}

/// Warns of the deletions `found`, which are held together with `all` others.
pub(super) fn log_held(log: &Log, prefix: &str, found: &[HeldDeletions], all: &[HeldDeletions]) {
    for held in found {
        let text = describe_held(held, held.sufficient_budget(all));
        log.say(Category::Warn, format_args!("{prefix}{text}"));
    }
}

/// Describes held deletions and their remedy. `budget` suffices for them and for all others that
/// are held for the same reason.
pub(super) fn describe_held(held: &HeldDeletions, budget: u64) -> String {
    let HeldDeletions { paths, count, total, names, reason } = held;
    let of_total = total.map_or(String::new(), |total| format!(" of {total}"));
    let directory = common_directory(paths).filter(|path| !path.is_root());
    let at = directory.map_or(String::new(), |path| format!(" in {path}"));
    let more = if *count > names.len() as u64 { ", .." } else { "" };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let first =
        if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) };
    let (what, setting) = match reason {
        HoldReason::Unobserved => {
            ("are missing in the source, and nobody saw them being deleted", "maxDelete")
        }
        HoldReason::Observed => ("were deleted in the source", "maxDeleteSeen"),
        HoldReason::EmptySource => {
            return format!(
                "the source was empty, as it is when its disk is not mounted: deletions held of \
                 {count}{of_total} entries of the target{at}{first}. If that is right, use lsyncctl \
                 release; or, once something is in the source, set another maxDelete in this sync \
                 and send SIGHUP"
            );
        }
    };
    format!(
        "{count}{of_total} entries of the target{at} {what}: deletions held{first}. To make them, use \
         lsyncctl release, or set {setting} = false in this sync (or a number of at least {budget}) and \
         send SIGHUP; to keep them, bring them back to the source"
    )
}

/// Returns the only path, or the deepest directory that contains all of them.
fn common_directory(paths: &[DirtyPath]) -> Option<TreePath> {
    let (first, others) = paths.split_first()?;
    if others.is_empty() {
        return Some(first.path.clone());
    }
    let mut directory = first.path.parent()?;
    while !others.iter().all(|other| directory.contains(&other.path)) {
        directory.pop();
    }
    Some(directory)
}

fn log_batch_event(log: &Log, instance: &SyncInstance, event: &BatchEvent) {
    let kind = instance.config.kind;
    match event {
        BatchEvent::Finished(code) => {
            let text = match kind {
                SyncKind::Rsync => "Finished a list after exitcode: ",
                SyncKind::Rsyncssh => "Finished (list): ",
                SyncKind::Direct | SyncKind::Script => return,
            };
            log.say(Category::Normal, format_args!("{text}{code}"));
        }
        BatchEvent::Retry(failure, wait) => {
            let text = match kind {
                SyncKind::Rsync | SyncKind::Direct | SyncKind::Script => {
                    "Retrying a list after exitcode = "
                }
                SyncKind::Rsyncssh => "Retrying (list): ",
            };
            log.say(Category::Normal, format_args!("{text}{}", exit_code(failure)));
            log_retry(log, instance, failure, *wait);
        }
        BatchEvent::Fatal(failure) => {
            log.say(Category::Error, &failure.message);
            let text = match kind {
                SyncKind::Rsync | SyncKind::Direct | SyncKind::Script => {
                    "Failure with a list with exitcode = "
                }
                SyncKind::Rsyncssh => "Failure (list): ",
            };
            log.say(Category::Error, format_args!("{text}{}", exit_code(failure)));
            log.say(Category::Error, CRITICAL_EXIT_CODE);
        }
    }
}

/// Describes the number of paths that a first transfer is reduced to.
fn differences_text(count: usize) -> String {
    match count {
        0 => "nothing has changed since the last snapshot".into(),
        1 => "1 path may have changed since the last snapshot".into(),
        _ => format!("{count} paths may have changed since the last snapshot"),
    }
}

fn log_startup_event(log: &Log, instance: &SyncInstance, event: &StartupEvent) {
    let route = route(instance);
    match event {
        StartupEvent::Full(reason) => {
            let text = format!("Startup of {route}: everything is transferred: {reason}");
            log.say(Category::Normal, text);
        }
        StartupEvent::Reduced(count) => {
            let text = format!("Startup of {route}: {}", differences_text(*count));
            log.say(Category::Normal, text);
        }
        StartupEvent::Finished(code) => {
            let end = match instance.config.kind {
                SyncKind::Rsync => format_args!("."),
                SyncKind::Rsyncssh | SyncKind::Direct | SyncKind::Script => {
                    format_args!(": {code}")
                }
            };
            log.say(Category::Normal, format_args!("Startup of {route} finished{end}"));
        }
        StartupEvent::Retry(failure, wait) => {
            let text = format!("Retrying startup of {route}: {}", exit_code(failure));
            log.say(Category::Normal, text);
            log_retry(log, instance, failure, *wait);
        }
        StartupEvent::GivenUp(failure) => {
            log.say(Category::Error, &failure.message);
            let text = format!(
                "Temporary or permanent failure on startup of {route}. \
                 Terminating since \"insist\" is not set."
            );
            log.say(Category::Error, text);
        }
        StartupEvent::Fatal(failure, grounds) => {
            log_fatal_startup(log, instance, failure, *grounds);
        }
    }
}

fn log_fatal_startup(log: &Log, instance: &SyncInstance, failure: &Failure, grounds: FatalReason) {
    let route = route(instance);
    log.say(Category::Error, &failure.message);
    let code = exit_code(failure);
    match (grounds, instance.config.kind) {
        (FatalReason::Unknown, _) => {
            let text = format!("Unknown exitcode \"{code}\" on startup of {route}.");
            log.say(Category::Error, text);
            log.say(Category::Error, CRITICAL_EXIT_CODE);
        }
        (FatalReason::User | FatalReason::Program, SyncKind::Rsync) => {
            log.say(Category::Error, format_args!("Failure on startup of {route}."));
        }
        (
            FatalReason::User | FatalReason::Program,
            SyncKind::Rsyncssh | SyncKind::Direct | SyncKind::Script,
        ) => {
            log.say(Category::Error, format_args!("Failure on startup of {route}: {code}"));
            log.say(Category::Error, CRITICAL_EXIT_CODE);
        }
    }
}

fn log_full_event(log: &Log, instance: &SyncInstance, event: &FullEvent) {
    let source = instance.source_text();
    match event {
        FullEvent::Due => log.say(Category::Debug("Info"), "Crontab triggered full sync"),
        FullEvent::Finished(code) => {
            log.say(Category::Normal, format_args!("Finished Full on {source} = {code}"));
        }
        FullEvent::Retry(failure, wait) => {
            let text = format!("Retrying Full on {source} = {}", exit_code(failure));
            log.say(Category::Normal, text);
            log_retry(log, instance, failure, *wait);
        }
        FullEvent::Fatal(failure) => {
            log.say(Category::Error, &failure.message);
            let text = format!("Failure with Full on {source} = {}", exit_code(failure));
            log.say(Category::Error, text);
            log.say(Category::Error, CRITICAL_EXIT_CODE);
        }
    }
}

fn log_source_event(log: &Log, instance: &SyncInstance, event: &SourceEvent) {
    let (source, name) = (instance.source_text(), &instance.config.name);
    match event {
        SourceEvent::EventsLost(path) if path.is_root() => {
            let text = format!("events lost: rescanning {source}");
            log.say(Category::Normal, text);
        }
        SourceEvent::EventsLost(path) => {
            log.say(
                Category::Debug("Inotify"),
                format_args!("events lost: rescanning {path} of {source}"),
            );
        }
        SourceEvent::Gone(why) => {
            let text = format!(
                "source {source} unavailable ({why}): sync suspended, target left untouched ({name})"
            );
            log.say(Category::Error, text);
        }
        SourceEvent::StillGone(why) => {
            log.say(
                Category::Error,
                format_args!("source {source} still unavailable: {why} ({name})"),
            );
        }
        SourceEvent::Back => {
            log.say(
                Category::Normal,
                format_args!("source {source} is back: full transfer ({name})"),
            );
        }
        SourceEvent::Silent => {
            let text = format!(
                "source {source} does not answer: changes are found when its server or its FUSE \
                 program does ({name})"
            );
            log.say(Category::Warn, text);
        }
        SourceEvent::Answers => {
            log.say(Category::Normal, format_args!("source {source} answers again ({name})"));
        }
    }
}

/// Logs that the source is another directory than before.
pub(super) fn log_source_change(log: &Log, instance: &SyncInstance, found: &Succession) {
    let (source, name) = (instance.source_text(), &instance.config.name);
    let log = log.for_sync(name);
    let what = match found {
        Succession::First | Succession::Same => return,
        Succession::Replaced => "was replaced on its file system",
        Succession::Accepted => "is another one than before, which was accepted",
        Succession::Snapshot => "is another mount than before, which replacedSource accepts",
    };
    let text = "full transfer, and what it lacks counts as unseen deletions";
    log.say(Category::Warn, format_args!("source {source} {what}: {text} ({name})"));
}

fn log_script_event(log: &Log, instance: &SyncInstance, event: &ScriptEvent) {
    let name = &instance.config.name;
    match event {
        ScriptEvent::Failed { about, failure, wait } => {
            let about = subject_prefix(about.as_ref());
            log.say(Category::Error, format_args!("{name}: {about}{}", failure.message));
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                let text = format!("{name}: {about}retrying in {:.1} s", wait.as_secs_f64());
                log.say(Category::Normal, text);
            }
        }
        ScriptEvent::Retry { about, failure, wait } => {
            let (about, why) = (subject_prefix(about.as_ref()), &failure.message);
            let next = wait.map(|wait| match wait {
                Duration::ZERO => "; trying shorter lists".into(),
                _ => format!("; next try in {:.1} seconds", wait.as_secs_f64()),
            });
            log.say(
                Category::Warn,
                format_args!("{name}: {about}{why}{}", next.unwrap_or_default()),
            );
        }
        ScriptEvent::Idle => {
            let text = "the script neither spawns nor discards what is due: it waits for changes";
            log.say(Category::Warn, format_args!("{name}: {text}"));
        }
        ScriptEvent::InitIdle => {
            let text = "its init neither spawns nor discards its event: all else waits for that";
            log.say(Category::Warn, format_args!("{name}: {text}"));
        }
        ScriptEvent::ChildKilled { about, signal } => {
            let about = subject_prefix(about.as_ref());
            let text =
                format!("{name}: {about}a child was killed by signal {signal}: trying again");
            log.say(Category::Warn, text);
        }
    }
}

/// Formats the subject of a failure as a prefix.
fn subject_prefix(about: Option<&String>) -> String {
    about.map(|about| format!("{about}: ")).unwrap_or_default()
}

/// Formats a sync as the original does in its startup messages.
fn route(instance: &SyncInstance) -> String {
    let source = instance.source_text();
    match instance.config.kind {
        SyncKind::Rsync => format!("{source} -> {}", instance.target_text()),
        SyncKind::Rsyncssh | SyncKind::Direct | SyncKind::Script => format!("\"{source}\""),
    }
}

/// Formats the sync that an error belongs to: several may fail at the same time.
pub(super) fn sync_label(instance: &SyncInstance) -> String {
    let (name, target) = (&instance.config.name, instance.target_text());
    if target.is_empty() { name.clone() } else { format!("{name} -> {target}") }
}

fn log_retry(log: &Log, instance: &SyncInstance, failure: &Failure, wait: Duration) {
    let end = format!("; retrying in {:.1} s", wait.as_secs_f64());
    let text = end_first_line(&failure.message, &end);
    log.say(Category::Warn, format_args!("{}: {text}", sync_label(instance)));
}

/// Appends `end` to the first line of an error. Those of Lua have several lines.
fn end_first_line(message: &str, end: &str) -> String {
    match message.split_once('\n') {
        Some((first, rest)) => format!("{first}{end}\n{rest}"),
        None => format!("{message}{end}"),
    }
}

fn log_failed_paths(log: &Log, instance: &SyncInstance, failed: &[(DirtyPath, Failure)]) {
    let label = sync_label(instance);
    for (dirty, failure) in failed.iter().take(MAX_LISTED) {
        let text = format!("{label}: {}: {}; it is retried", dirty.path, failure.message);
        log.say(Category::Warn, text);
    }
    if let Some(more @ 1..) = failed.len().checked_sub(MAX_LISTED) {
        log.say(Category::Warn, format_args!("{label}: and {more} more places failed"));
    }
}

/// Returns the exit code of a failure. Where no program returned one, it is that of `exit(-1)`, as
/// in the original for a program that could not be started.
fn exit_code(failure: &Failure) -> i32 {
    failure.code.unwrap_or(255)
}
