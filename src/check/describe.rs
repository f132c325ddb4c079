//! Describes a configuration for `-check`: every setting and every rsync command line.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt};

use mirror_core::{
    guard::{MaxDelete, ReplacedSource},
    job::HookFailureAction,
    path::{Escaped, TreePath},
    plan::{
        exit::ExitCodes,
        options::{DeletePolicy, TransferPhase},
        rsync::{Deletions, QuickCheck, RsyncCall, RsyncPlan, TransferPaths, UnwantedKind},
        target::Target,
    },
    queue::Debounce,
};

use super::{shell_line, shown, tunnels};
use crate::{
    config::{
        DaemonConfig, Hook, HookCall, ScriptConfig, SocketSetting, SyncConfig, SyncKind,
        WatchBackend,
    },
    report::{LogFormat, RunMode},
};

/// Appends the settings of the whole process.
pub(super) fn daemon(text: &mut String, daemon: &DaemonConfig) {
    section(text, &daemon_title(daemon), &daemon_settings(daemon));
    text.push('\n');
}

/// Returns the title of the whole process.
pub(super) fn daemon_title(daemon: &DaemonConfig) -> String {
    let mode = match daemon.mode {
        RunMode::Daemon => "runs in the background",
        RunMode::Foreground => "runs in the foreground",
    };
    format!("lsyncd: {mode}")
}

/// Returns the settings of the whole process.
pub(super) fn daemon_settings(daemon: &DaemonConfig) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let paths = [("logfile", &daemon.logfile), ("pidfile", &daemon.pidfile)];
    for (name, path) in paths {
        lines.extend(path.as_deref().map(|path| (name, shown(path))));
    }
    if daemon.log_format != LogFormat::default() {
        lines.push(("logFormat", daemon.log_format.name().into()));
    }
    if daemon.mode == RunMode::Daemon && daemon.logfile.is_none() {
        lines.push(("syslog", format!("{} as {}", daemon.log_facility, daemon.log_ident)));
    }
    lines.extend(daemon.status_file.as_deref().map(|path| {
        let seconds = daemon.status_interval.as_secs_f64();
        ("statusFile", format!("{}, every {seconds} s", shown(path)))
    }));
    lines.extend(daemon.state_dir.as_deref().map(|path| ("stateDir", shown(path))));
    match &daemon.socket {
        SocketSetting::Default => {}
        SocketSetting::Off => lines.push(("socket", "none".into())),
        SocketSetting::At(path) => lines.push(("socket", shown(path))),
    }
    lines.extend(daemon.socket_group.as_ref().map(|group| ("socketGroup", group.clone())));
    lines.extend(daemon.max_processes.map(|most| ("maxProcesses", most.to_string())));
    if daemon.onepass {
        lines.push(("onepass", "exits once everything is transferred".into()));
    }
    let watch = match daemon.watch {
        WatchBackend::Auto => "auto",
        WatchBackend::Inotify => "inotify",
        WatchBackend::Fanotify => "fanotify",
    };
    lines.push(("watch", watch.into()));
    lines
}

/// Appends one sync and its rsync command lines.
pub(super) fn sync(text: &mut String, sync: &SyncConfig) {
    section(text, &format!("{}: {}", sync.name, kind(sync)), &settings(sync));
    if sync.script.is_none() {
        rsync_command_lines(text, sync);
    }
    text.push('\n');
}

/// Returns the name of the kind of a sync.
pub(super) fn kind(sync: &SyncConfig) -> String {
    let kind = match sync.kind {
        SyncKind::Rsync => "default.rsync",
        SyncKind::Rsyncssh => "default.rsyncssh",
        SyncKind::Direct => "default.direct",
        SyncKind::Script => "a script",
    };
    let suffix =
        if sync.script.is_some() && sync.kind != SyncKind::Script { ", with a script" } else { "" };
    format!("{kind}{suffix}")
}

/// Returns the settings of a sync, with their names.
pub(super) fn settings(sync: &SyncConfig) -> Vec<(&'static str, String)> {
    let mut lines = vec![("source", format!("{}/", shown(&sync.source).trim_end_matches('/')))];
    // A script needs no target.
    if !sync.target.is_empty() {
        lines.push(("target", Escaped(sync.target.as_bytes()).to_string()));
    }
    if let Some(script_config) = &sync.script {
        lines.extend(script(script_config));
    } else {
        lines.push(("delay", delay(sync.debounce)));
    }
    if sync.kind != SyncKind::Script {
        lines.push(("delete", delete(sync.delete).to_owned()));
        lines.push(("maxDelete", deletion_limits(sync)));
        lines.push(("init", if sync.init { "a full transfer" } else { "none" }.to_owned()));
    }
    lines.extend(source(sync));
    lines.push(("insist", if sync.retries_startup() { "yes" } else { "no" }.to_owned()));
    let limit = sync.batch_size_limit.map(|limit| ("batchSizeLimit", format!("{limit} bytes")));
    lines.extend(limit);
    if sync.max_processes > 1 && sync.script.is_none() {
        lines.push(("maxProcesses", sync.max_processes.to_string()));
    }
    lines.extend(sync.tunnel.as_ref().map(|plan| ("tunnel", tunnels::description(plan))));
    lines.extend(sync.hook.as_ref().map(|hook| ("onSynced", hook_description(hook))));
    lines.extend(sync.crontab.iter().map(|rule| ("crontab", rule.to_string())));
    if sync.exit_codes != ExitCodes::rsync() {
        lines.push(("exitcodes", "user-defined".into()));
    }
    let listed = |name: &'static str, texts: &[Vec<u8>]| -> Vec<(&'static str, String)> {
        texts.iter().map(|text| (name, Escaped(text).to_string())).collect()
    };
    lines.extend(listed("filter", &sync.exclusions.filters));
    lines.extend(listed("exclude", &sync.exclusions.excludes));
    lines
}

/// Formats the limits of deletions.
fn deletion_limits(sync: &SyncConfig) -> String {
    let of = |limit: MaxDelete| match limit {
        MaxDelete::Unlimited => "no limit".to_owned(),
        MaxDelete::Share(percent) => format!("{percent}% of the target"),
        MaxDelete::Count(most) => most.to_string(),
    };
    format!("{} if unseen, {} if seen", of(sync.max_delete), of(sync.max_delete_seen))
}

/// Lists the settings of the source and of file times that differ from the default.
fn source(sync: &SyncConfig) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if sync.replaced_source != ReplacedSource::default() {
        lines.push(("replacedSource", sync.replaced_source.name().to_owned()));
    }
    let marker = sync.marker.as_deref();
    lines.extend(marker.map(|name| ("marker", Escaped(name.as_bytes()).to_string())));
    let window = sync.modify_window.map(|window| window.as_secs_f64());
    lines.extend(window.map(|seconds| ("modifyWindow", format!("{seconds} s"))));
    if sync.durable {
        lines.push(("durable", "each file and its directory are flushed to disk".into()));
    }
    lines
}

/// Lists the settings of a script: its delay, its limits and the events it receives.
fn script(script: &ScriptConfig) -> Vec<(&'static str, String)> {
    let ScriptConfig { delay, max_delays, .. } = script;
    let mut lines = vec![("delay", format!("{} s, or {max_delays} events", delay.as_secs_f64()))];
    if script.max_jobs > 1 {
        lines.push(("maxProcesses", script.max_jobs.to_string()));
    }
    let moves = if script.wants_renames {
        "reported as moves"
    } else {
        "reported as a deletion and a creation"
    };
    lines.push(("moves", moves.to_owned()));
    if !script.subdirectories {
        lines.push(("subdirs", "events below subdirectories are not reported".to_owned()));
    }
    lines
}

fn hook_description(hook: &Hook) -> String {
    let called = match &hook.call {
        HookCall::Function(_) => "a function".into(),
        HookCall::Program(program, args) => {
            shell_line::join_quoted(std::iter::once(program).chain(args).map(|arg| arg.as_bytes()))
        }
    };
    let then = match hook.on_failure {
        None => "warn",
        Some(HookFailureAction::Retry) => "retry",
        Some(HookFailureAction::Hold) => "hold",
    };
    format!("{called}; on failure: {then}")
}

fn section(text: &mut String, title: &str, lines: &[(&str, String)]) {
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(text, "{title}");
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<8} {value}");
    }
}

fn rsync_command_lines(text: &mut String, sync: &SyncConfig) {
    let Ok(target) = Target::new(sync.target.as_bytes()) else { return };
    if sync.kind == SyncKind::Direct {
        *text += "  copied by lsyncd itself, without rsync\n";
        return;
    }
    let plan = RsyncPlan::new(sync.rsync.clone(), sync.source.as_os_str().as_bytes(), target);
    let name = |name: &[u8]| -> Vec<TreePath> { TreePath::new(name).into_iter().collect() };
    let (changed, gone) = (name(b"CHANGED"), name(b"GONE"));
    let mut append = |when: &str, call: &RsyncCall| {
        let _ = writeln!(
            text,
            "  {when}\n    {}",
            shell_line::command_line(sync.binary.as_bytes(), call.command_line())
        );
    };
    let limit = match sync.max_delete {
        MaxDelete::Unlimited => Deletions::Allowed,
        MaxDelete::Share(_) | MaxDelete::Count(_) => Deletions::AtMost(0),
    };
    let equal = QuickCheck::Nanoseconds;
    if sync.init {
        if sync.modify_window.is_none() && plan.needs_time_probe() {
            let probe = plan.probe_times(&name(b"SOME"), plan.source());
            append(
                "before the startup, to detect the precision of file times on the target",
                &probe,
            );
        }
        append("at the startup", &plan.full(TransferPhase::Startup, limit, equal, &[]));
        if sync.delete.applies(TransferPhase::Startup) && limit != Deletions::Allowed {
            let with_deletions =
                &plan.full(TransferPhase::Startup, Deletions::AtMost(1), equal, &[]);
            append("then, if deletions are due and within the limit (here one)", with_deletions);
        }
    }
    let existing = |call: RsyncCall| plan.requiring_target(&call).unwrap_or(call);
    let parts = TransferPaths { entries: &changed, missing: &gone, ..TransferPaths::default() };
    let list = plan.partial(&parts, Deletions::Allowed, QuickCheck::Never);
    append("for changed and deleted entries", &existing(list));
    let parts = TransferPaths { trees: &name(b"NEW"), ..TransferPaths::default() };
    append("for new directories", &existing(plan.partial(&parts, limit, QuickCheck::Never)));
    if sync.delete.applies(TransferPhase::Running) {
        let when = "for deleted entries, if the rsync on the target refuses them in that list";
        let gone: Vec<_> = gone.into_iter().map(|path| (path, UnwantedKind::Any)).collect();
        append(when, &existing(plan.removal(&gone, Deletions::Allowed)));
    }
}

fn delay(debounce: Debounce) -> String {
    match debounce {
        Debounce::FixedDelay { delay, max_waiting } => {
            format!("{} s, or {max_waiting} changes", delay.as_secs_f64())
        }
        Debounce::Quiet { quiet, max_wait } => {
            let (quiet, max_wait) = (quiet.as_secs_f64(), max_wait.as_secs_f64());
            format!("{quiet} s after the last change, at most {max_wait} s; a lone change at once")
        }
    }
}

const fn delete(policy: DeletePolicy) -> &'static str {
    match policy {
        DeletePolicy::Never => "never",
        DeletePolicy::Always => "always",
        DeletePolicy::Startup => "only at the startup",
        DeletePolicy::Running => "only after the startup",
    }
}
