//! `lsyncctl status`: a table, the details that need attention, and the severity.

mod details;
mod health;
mod plugin;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    output::{OutputStyle, Tint, TintedLine, TintedText},
    table::{Column, ColumnForm, Table},
    text,
};
use crate::{
    control::status::{DaemonReport, StatusDocument, SyncReport},
    ctl::failure::Severity,
};

pub(super) use health::severity;
pub(super) use plugin::{plugin_failure, plugin_output};

/// The columns of the table.
const COLUMNS: [Column; 10] = [
    Column { title: "SYNC", form: ColumnForm::Name, rank: 0 },
    Column { title: "STATE", form: ColumnForm::Word, rank: 0 },
    Column { title: "SINCE", form: ColumnForm::Number, rank: 8 },
    Column { title: "OLDEST", form: ColumnForm::Number, rank: 1 },
    Column { title: "WAITING", form: ColumnForm::Number, rank: 2 },
    Column { title: "IN FLIGHT", form: ColumnForm::Number, rank: 5 },
    Column { title: "FAILED", form: ColumnForm::Number, rank: 3 },
    Column { title: "HELD", form: ColumnForm::Number, rank: 4 },
    Column { title: "LAST SUCCESS", form: ColumnForm::Number, rank: 7 },
    Column { title: "TARGET", form: ColumnForm::Name, rank: 6 },
];

/// Options of the view.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatusView {
    /// Maximum age of the oldest change.
    pub(super) max_age: Option<Duration>,
    /// True if the details of all syncs are shown.
    pub(super) is_verbose: bool,
}

impl StatusView {
    /// Returns the lines for a document.
    pub(super) fn lines(self, document: &StatusDocument, style: OutputStyle) -> Vec<TintedLine> {
        let mut lines = daemon_lines(document);
        let mut table = Table::new(&COLUMNS);
        for sync in &document.syncs {
            table.push(self.row(document.time, sync));
        }
        if document.syncs.is_empty() {
            lines.push(TintedLine::plain("no sync is configured"));
        } else {
            lines.extend(table.lines(style));
        }
        for sync in &document.syncs {
            lines.extend(details::lines(document.time, sync, self));
        }
        lines
    }

    fn row(self, now: f64, sync: &SyncReport) -> Vec<TintedText> {
        let number = |number: u64, tint| {
            let tint = if number == 0 { Tint::Plain } else { tint };
            TintedText::new(&number.to_string(), tint)
        };
        let age = |seconds: Option<f64>| seconds.map_or("-".to_owned(), text::duration);
        let state = sync.state.words();
        let last_success = sync.last_success.map(|time| now - time);
        vec![
            TintedText::plain(&sync.name),
            TintedText::new(&state, tint(health::state_severity(sync.state))),
            TintedText::plain(&text::duration(now - sync.since)),
            TintedText::new(&age(sync.oldest_change), self.age_tint(sync)),
            number(sync.pending.waiting, Tint::Plain),
            number(sync.pending.in_flight, Tint::Plain),
            number(health::failed_paths(sync), Tint::Warning),
            number(sync.held_count(), Tint::Critical),
            TintedText::plain(&last_success.map_or("-".to_owned(), text::duration)),
            TintedText::plain(&sync.target),
        ]
    }

    fn age_tint(self, sync: &SyncReport) -> Tint {
        match health::age_severity(sync, self.max_age) {
            Severity::Ok => Tint::Plain,
            late @ (Severity::Warning | Severity::Critical | Severity::Unknown) => tint(late),
        }
    }
}

/// Returns the colour of a severity.
const fn tint(severity: Severity) -> Tint {
    match severity {
        Severity::Ok => Tint::Good,
        Severity::Warning => Tint::Warning,
        Severity::Critical | Severity::Unknown => Tint::Critical,
    }
}

/// Returns the lines about the daemon.
fn daemon_lines(document: &StatusDocument) -> Vec<TintedLine> {
    let DaemonReport { version, pid, started, is_exiting, config_files, .. } = &document.daemon;
    let age = text::duration(document.time - started);
    let files: Vec<String> = config_files.iter().map(|file| format!(", {file}")).collect();
    let files = files.concat();
    let state = if *is_exiting { ", exiting" } else { "" };
    let mut lines =
        vec![TintedLine::plain(&format!("lsyncd {version}, pid {pid}, up {age}{state}{files}"))];
    if let Some(error) = health::refused_reload(&document.daemon) {
        let text = "the last reload was refused, the previous configuration is in force: ";
        lines.push(TintedLine(vec![TintedText::new(&format!("{text}{error}"), Tint::Warning)]));
    }
    lines
}
