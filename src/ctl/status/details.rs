//! Lines below the table: the reasons of problems, and with `-v` everything else.

use super::{StatusView, health, tint};
use crate::{
    control::status::{FailedPathReport, HeldReport, SnapshotReport, SyncReport, Totals},
    ctl::{
        failure::Severity,
        output::{Tint, TintedLine, TintedText},
        text,
    },
    report::size_text,
};

/// Maximum number of names of each list without `-v`.
const SHOWN_NAMES: usize = 5;

/// Returns the lines about a sync. Without `-v` there are none if it is in a good state.
pub(super) fn lines(now: f64, sync: &SyncReport, view: StatusView) -> Vec<TintedLine> {
    let StatusView { max_age, is_verbose } = view;
    let severity = health::sync_severity(sync, max_age);
    let is_quiet = severity == Severity::Ok && sync.message.is_none();
    if is_quiet && !is_verbose {
        return Vec::new();
    }
    let state = sync.state.words();
    let message = sync.message.as_ref().map_or(String::new(), |message| format!(": {message}"));
    let mut lines = vec![
        TintedLine::default(),
        TintedLine(vec![
            TintedText::new(&sync.name, Tint::Heading),
            TintedText::plain(": "),
            TintedText::new(&state, tint(severity)),
            TintedText::plain(&message),
        ]),
    ];
    if health::age_severity(sync, max_age) != Severity::Ok {
        let age = text::duration(sync.oldest_change.unwrap_or_default());
        lines.push(TintedLine::plain(&format!("  oldest change: {age}, above the limit")));
    }
    let limit = if is_verbose { usize::MAX } else { SHOWN_NAMES };
    lines.extend(problems(now, sync, limit).iter().map(|line| TintedLine::plain(line)));
    if is_verbose {
        lines.extend(facts(now, sync).iter().map(|line| TintedLine::plain(line)));
    }
    lines
}

fn problems(now: f64, sync: &SyncReport, limit: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if sync.is_paused {
        lines.push("  paused by an operator: `lsyncctl resume` ends it".to_owned());
    }
    if let Some(failure) =
        sync.last_failure.as_ref().filter(|it| Some(*it) != sync.message.as_ref())
    {
        lines.push(format!("  last failure: {failure}"));
    }
    if let Some(failure) = sync.hook_failure.as_ref().filter(|it| is_new(it, sync)) {
        lines.push(format!("  last failure of {failure}"));
    }
    if let Some(time) = sync.next_try {
        lines.push(format!("  next try: in {}", text::duration(time - now)));
    }
    for held in &sync.held {
        lines.extend(held_lines(held, limit));
    }
    lines.extend(sync.failed.iter().take(limit).map(|path| failed_line(now, path)));
    let shown = sync.failed.len().min(limit);
    let more = health::failed_paths(sync) - u64::try_from(shown).unwrap_or_default();
    if more > 0 {
        lines.push(format!("  failing: {}", text::count(more, "more path", "more paths")));
    }
    lines
}

/// Returns true if the failure of a hook is not that of the transfer as well.
fn is_new(failure: &str, sync: &SyncReport) -> bool {
    let known = [&sync.message, &sync.last_failure];
    !known.into_iter().flatten().any(|text| text.contains(failure))
}

fn held_lines(held: &HeldReport, limit: usize) -> Vec<String> {
    let HeldReport { count, total, reason, message, names } = held;
    let of = total.map_or(String::new(), |total| format!(" of {total} entries"));
    let deletions = text::count(*count, "deletion", "deletions");
    let reason = reason.replace('_', " ");
    let mut lines = vec![format!("  held: {deletions}{of} ({reason}): {message}")];
    lines.extend(names.iter().take(limit).map(|name| format!("    {name}")));
    let shown = u64::try_from(names.len().min(limit)).unwrap_or_default();
    if shown > 0 && shown < *count {
        lines.push(format!("    and {} more", count - shown));
    }
    lines
}

fn failed_line(now: f64, failed: &FailedPathReport) -> String {
    let FailedPathReport { path, reason, tries, next_try } = failed;
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let next =
        next_try.map_or(String::new(), |time| format!(", next in {}", text::duration(time - now)));
    let tries = text::count(u64::from(*tries), "try", "tries");
    format!("  failing: {path}{reason} ({tries}{next})")
}

/// Returns the lines that `-v` adds.
fn facts(now: f64, sync: &SyncReport) -> Vec<String> {
    let mut lines = vec![
        format!("  source: {}", sync.source),
        format!("  target: {} ({})", sync.target, sync.kind),
        format!("  watched by: {}", sync.watcher),
    ];
    if sync.polled_directories > 0 {
        lines.push(format!("  polled directories: {}", sync.polled_directories));
    }
    if let Some(connection) = &sync.connection {
        lines.push(format!("  connection: {connection}"));
    }
    lines.extend(sync.snapshot.as_ref().map(|snapshot| snapshot_line(now, snapshot)));
    if let Some(time) = sync.last_success {
        let (local, age) = (text::local_time(time), text::duration(now - time));
        lines.push(format!("  last success: {local} ({age} ago)"));
    }
    if let Some(code) = sync.last_exit {
        lines.push(format!("  last exit code: {code}"));
    }
    if sync.pending.open > 0 {
        lines.push(format!("  open files: {} wait for their writers", sync.pending.open));
    }
    if let Some(bytes) = sync.pending.in_flight_bytes {
        lines.push(format!("  running transfer: {} sent so far", size_text(bytes)));
    }
    lines.extend(totals(&sync.totals));
    lines.extend(sync.pending.names.iter().map(|name| format!("  pending: {name}")));
    lines
}

fn snapshot_line(now: f64, snapshot: &SnapshotReport) -> String {
    let SnapshotReport { taken, compared_paths, full_reason } = snapshot;
    let age = taken.map_or_else(|| "none yet".into(), |time| text::duration(now - time) + " old");
    let start = match (compared_paths, full_reason) {
        (Some(count), _) => {
            format!("; the start has compared {}", text::count(*count, "path", "paths"))
        }
        (None, Some(reason)) => format!("; the start transfers everything: {reason}"),
        (None, None) => String::new(),
    };
    format!("  snapshot: {age}{start}")
}

fn totals(totals: &Totals) -> Option<String> {
    let transfers = totals.transfers.iter().map(|(code, count)| format!("{count} with {code}"));
    let transfers = transfers.collect::<Vec<_>>().join(", ");
    let Totals { sent_files, deleted, .. } = totals;
    let size = size_text(totals.sent_bytes);
    let text =
        format!("  transfers: {transfers}; sent {sent_files} files, {size}, deleted {deleted}");
    (!transfers.is_empty()).then_some(text)
}
