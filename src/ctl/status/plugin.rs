//! Output of a Nagios plugin: a line with performance data, and a line for each problem.
//!
//! The format is that of the Monitoring Plugins Development Guidelines.

use std::{fmt::Write as _, time::Duration};

use super::health;
use crate::{
    control::status::{StatusDocument, SyncReport},
    ctl::{
        failure::{CtlFailure, Severity},
        text,
    },
};

/// Returns the output for a document.
pub(in crate::ctl) fn plugin_output(
    document: &StatusDocument,
    max_age: Option<Duration>,
) -> String {
    let severity = health::severity(document, max_age);
    let syncs = &document.syncs;
    let problem = |sync: &&SyncReport| health::sync_severity(sync, max_age) != Severity::Ok;
    let mut problems: Vec<&SyncReport> = syncs.iter().filter(problem).collect();
    // The worst one first; the order of the configuration among equals.
    problems.sort_by_key(|sync| std::cmp::Reverse(health::sync_severity(sync, max_age)));
    let mut lines: Vec<String> = problems.iter().map(|sync| problem_line(sync, max_age)).collect();
    if let Some(error) = health::refused_reload(&document.daemon) {
        lines.push(format!("the last reload was refused: {error}"));
    }
    if document.daemon.is_exiting {
        lines.push("lsyncd is exiting".to_owned());
    }
    let summary = match (lines.first(), problems.len()) {
        (None, _) => format!("{} in a good state", text::count(number(syncs), "sync", "syncs")),
        (Some(first), 0 | 1) => first.clone(),
        (Some(first), count) => format!("{count} of {} syncs: {first}", syncs.len()),
    };
    let mut output = format!("LSYNCD {} - {}", severity.name(), harmless(&summary));
    let _ = writeln!(output, " | {}", performance_data(document, max_age));
    for line in &lines {
        let _ = writeln!(output, "{}", harmless(line));
    }
    output
}

/// Returns the output for a failure.
pub(in crate::ctl) fn plugin_failure(failure: &CtlFailure) -> String {
    let text = failure.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
    format!("LSYNCD {} - {}\n", failure.severity().name(), harmless(&text))
}

fn problem_line(sync: &SyncReport, max_age: Option<Duration>) -> String {
    let mut line = format!("{}: {}", sync.name, sync.state.words());
    if let Some(message) = &sync.message {
        let _ = write!(line, ": {message}");
    }
    let held = sync.held_count();
    if held > 0 {
        let _ = write!(line, ", {} held", text::count(held, "deletion", "deletions"));
    }
    let failed = health::failed_paths(sync);
    if failed > 0 {
        let _ = write!(line, ", {}", text::count(failed, "failing path", "failing paths"));
    }
    if let Some(age) = sync.oldest_change
        && health::age_severity(sync, max_age) != Severity::Ok
    {
        let _ = write!(line, ", oldest change {}", text::duration(age));
    }
    line
}

fn performance_data(document: &StatusDocument, max_age: Option<Duration>) -> String {
    let sum = |value: fn(&SyncReport) -> u64| document.syncs.iter().map(value).sum::<u64>();
    let oldest = document.syncs.iter().filter_map(|sync| sync.oldest_change);
    let oldest = oldest.fold(0.0, f64::max);
    let limits = max_age.map_or(";;".to_owned(), |limit| {
        let limit = limit.as_secs_f64();
        format!(";{limit};{}", 2.0 * limit)
    });
    let problems = document.syncs.iter();
    let problems = problems.filter(|sync| health::sync_severity(sync, max_age) != Severity::Ok);
    format!(
        "syncs={};;;0 problems={};;;0 oldest_change={oldest:.3}s{limits};0 waiting={};;;0 \
         in_flight={};;;0 failed={};;;0 held={};;;0",
        document.syncs.len(),
        problems.count(),
        sum(|sync| sync.pending.waiting),
        sum(|sync| sync.pending.in_flight),
        sum(health::failed_paths),
        sum(SyncReport::held_count),
    )
}

/// Returns a clean text without `|`, which begins performance data.
fn harmless(text: &str) -> String {
    text::clean(text).replace('|', "\\x7c")
}

fn number(syncs: &[SyncReport]) -> u64 {
    u64::try_from(syncs.len()).unwrap_or(u64::MAX)
}
