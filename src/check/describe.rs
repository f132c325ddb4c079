//! What would be done.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt};

use mirror_core::{
    guard::{MaxDelete, ReplacedSource},
    job::AfterHook,
    path::{Escaped, TreePath},
    plan::{
        exit::ExitCodes,
        options::{DeletePolicy, Phase},
        rsync::{Call, Deletions, Equal, Parts, RsyncPlan, Unwanted},
        target::Target,
    },
    queue::Pace,
};

use super::{shown, tunnels, words};
use crate::{
    config::{Daemon, Hook, HookCall, Kind, Script, Sync, Watch},
    report::Mode,
};

/// What holds for the whole process.
pub(super) fn daemon(text: &mut String, daemon: &Daemon) {
    let mut lines = Vec::new();
    let paths = [("logfile", &daemon.logfile), ("pidfile", &daemon.pidfile)];
    for (name, path) in paths {
        lines.extend(path.as_deref().map(|path| (name, shown(path))));
    }
    if daemon.mode == Mode::Daemon && daemon.logfile.is_none() {
        lines.push(("syslog", format!("{} as {}", daemon.log_facility, daemon.log_ident)));
    }
    lines.extend(daemon.status_file.as_deref().map(|path| {
        let seconds = daemon.status_interval.as_secs_f64();
        ("statusFile", format!("{}, every {seconds} s", shown(path)))
    }));
    lines.extend(daemon.max_processes.map(|most| ("maxProcesses", most.to_string())));
    if daemon.onepass {
        lines.push(("onepass", "ends when all is transferred".into()));
    }
    let watch = match daemon.watch {
        Watch::Auto => "auto",
        Watch::Inotify => "inotify",
        Watch::Fanotify => "fanotify",
    };
    lines.push(("watch", watch.into()));
    let mode = match daemon.mode {
        Mode::Daemon => "a daemon in the background",
        Mode::Foreground => "stays in the foreground",
    };
    section(text, &format!("lsyncd: {mode}"), &lines);
    text.push('\n');
}

/// One sync, and how it calls rsync.
pub(super) fn sync(text: &mut String, sync: &Sync) {
    let kind = match sync.kind {
        Kind::Rsync => "default.rsync",
        Kind::Rsyncssh => "default.rsyncssh",
        Kind::Direct => "default.direct",
        Kind::Own => "a script",
    };
    let mut lines = vec![("source", format!("{}/", shown(&sync.source).trim_end_matches('/')))];
    // A script needs none.
    if !sync.target.is_empty() {
        lines.push(("target", Escaped(sync.target.as_bytes()).to_string()));
    }
    if let Some(told) = &sync.script {
        lines.extend(script(told));
    } else {
        lines.push(("delay", delay(sync.pace)));
    }
    if sync.kind != Kind::Own {
        lines.push(("delete", delete(sync.delete).to_owned()));
        lines.push(("maxDelete", budgets(sync)));
        lines.push(("init", if sync.init { "a full transfer" } else { "none" }.to_owned()));
    }
    lines.extend(source(sync));
    lines.push(("insist", if sync.insists() { "yes" } else { "no" }.to_owned()));
    let limit = sync.batch_size_limit.map(|limit| ("batchSizeLimit", format!("{limit} bytes")));
    lines.extend(limit);
    if sync.max_processes > 1 && sync.script.is_none() {
        lines.push(("maxProcesses", sync.max_processes.to_string()));
    }
    lines.extend(sync.tunnel.as_ref().map(|plan| ("tunnel", tunnels::described(plan))));
    lines.extend(sync.hook.as_ref().map(|hook| ("onSynced", described(hook))));
    lines.extend(sync.crontab.iter().map(|rule| ("crontab", rule.to_string())));
    if sync.codes != ExitCodes::rsync() {
        lines.push(("exitcodes", "of the configuration".into()));
    }
    let listed = |name: &'static str, texts: &[Vec<u8>]| -> Vec<(&str, String)> {
        texts.iter().map(|text| (name, Escaped(text).to_string())).collect()
    };
    lines.extend(listed("filter", &sync.exclusions.filters));
    lines.extend(listed("exclude", &sync.exclusions.excludes));
    let own = if sync.script.is_some() && sync.kind != Kind::Own { ", with a script" } else { "" };
    section(text, &format!("{}: {kind}{own}", sync.name), &lines);
    if sync.script.is_none() {
        calls(text, sync);
    }
    text.push('\n');
}

/// How many deletions are carried out at once.
fn budgets(sync: &Sync) -> String {
    let of = |budget: MaxDelete| match budget {
        MaxDelete::Unlimited => "any number".to_owned(),
        MaxDelete::Share(percent) => format!("{percent}% of the target"),
        MaxDelete::Count(most) => most.to_string(),
    };
    format!(
        "{} that nobody saw happen, {} that were seen",
        of(sync.max_delete),
        of(sync.max_delete_seen)
    )
}

/// What is said about the source, beside where it is, and about the target.
fn source(sync: &Sync) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if sync.replaced_source != ReplacedSource::default() {
        lines.push(("replacedSource", sync.replaced_source.name().to_owned()));
    }
    let marker = sync.marker.as_deref();
    lines.extend(marker.map(|name| ("marker", Escaped(name.as_bytes()).to_string())));
    let window = sync.modify_window.map(|window| window.as_secs_f64());
    lines.extend(window.map(|seconds| ("modifyWindow", format!("{seconds} s"))));
    if sync.durable {
        lines.push(("durable", "each file and its directory are synced".into()));
    }
    lines
}

/// What a script is told, and when.
fn script(script: &Script) -> Vec<(&'static str, String)> {
    let Script { delay, max_delays, .. } = script;
    let mut lines = vec![("delay", format!("{} s, or {max_delays} events", delay.as_secs_f64()))];
    if script.max_jobs > 1 {
        lines.push(("maxProcesses", script.max_jobs.to_string()));
    }
    let moves = if script.moves { "are told" } else { "are told as a delete and a create" };
    lines.push(("moves", moves.to_owned()));
    if !script.subdirectories {
        lines.push(("subdirs", "nothing is told of what is below the directories".to_owned()));
    }
    lines
}

fn described(hook: &Hook) -> String {
    let called = match &hook.call {
        HookCall::Function(_) => "a function".into(),
        HookCall::Program(program, words) => {
            words::line(std::iter::once(program).chain(words).map(|word| word.as_bytes()))
        }
    };
    let then = match hook.on_failure {
        None => "a warning if it fails",
        Some(AfterHook::Retry) => "again if it fails",
        Some(AfterHook::Hold) => "nothing more if it fails",
    };
    format!("{called}, {then}")
}

fn section(text: &mut String, title: &str, lines: &[(&str, String)]) {
    // Writing to a text can't fail, here and below.
    let _ = writeln!(text, "{title}");
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<8} {value}");
    }
}

fn calls(text: &mut String, sync: &Sync) {
    let Ok(target) = Target::new(sync.target.as_bytes()) else { return };
    if sync.kind == Kind::Direct {
        *text += "  carried out by this program, without others\n";
        return;
    }
    let plan = RsyncPlan::new(sync.rsync.clone(), sync.source.as_os_str().as_bytes(), target);
    let name = |name: &[u8]| -> Vec<TreePath> { TreePath::new(name).into_iter().collect() };
    let (changed, gone) = (name(b"CHANGED"), name(b"GONE"));
    let mut tell = |what: &str, call: &Call| {
        let _ = writeln!(text, "  {what}\n    {}", words::of_call(sync.binary.as_bytes(), call));
    };
    let bound = match sync.max_delete {
        MaxDelete::Unlimited => Deletions::Allowed,
        MaxDelete::Share(_) | MaxDelete::Count(_) => Deletions::AtMost(0),
    };
    let equal = Equal::Nanoseconds;
    if sync.init {
        if sync.modify_window.is_none() && plan.has_to_look_at_times() {
            let look = plan.look_at_times(&name(b"SOME"), plan.source());
            tell(
                "before the start, to find out whether fractions of seconds are kept there",
                &look,
            );
        }
        tell("at the start", &plan.full(Phase::Startup, bound, equal, &[]));
        if sync.delete.applies(Phase::Startup) && bound != Deletions::Allowed {
            let allowed = &plan.full(Phase::Startup, Deletions::AtMost(1), equal, &[]);
            tell("then, if something (here one entry) has to be deleted, and may be", allowed);
        }
    }
    let existing = |call: Call| plan.to_existing(&call).unwrap_or(call);
    let parts = Parts { entries: &changed, gone: &gone, ..Parts::default() };
    let list = plan.parts(&parts, Deletions::Allowed, Equal::Never);
    tell("for what changed or is gone", &existing(list));
    let parts = Parts { trees: &name(b"NEW"), ..Parts::default() };
    tell("for new directories", &existing(plan.parts(&parts, bound, Equal::Never)));
    if sync.delete.applies(Phase::Running) {
        let what = "for what is gone, where the other side refuses it in that list";
        let gone: Vec<_> = gone.into_iter().map(|path| (path, Unwanted::Anything)).collect();
        tell(what, &existing(plan.removal(&gone, Deletions::Allowed)));
    }
}

fn delay(pace: Pace) -> String {
    match pace {
        Pace::Fixed { delay, max_waiting } => {
            format!("{} s, or {max_waiting} changes", delay.as_secs_f64())
        }
        Pace::Quiet { quiet, ceiling } => {
            let (quiet, ceiling) = (quiet.as_secs_f64(), ceiling.as_secs_f64());
            format!("{quiet} s after the last change, at most {ceiling} s")
        }
    }
}

const fn delete(policy: DeletePolicy) -> &'static str {
    match policy {
        DeletePolicy::Never => "never",
        DeletePolicy::Always => "always",
        DeletePolicy::Startup => "at the start only",
        DeletePolicy::Running => "after the start only",
    }
}
