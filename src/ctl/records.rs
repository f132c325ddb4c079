//! Texts of results other than the status.

use std::fmt::Write as _;

use super::{
    failure::Severity,
    output::{OutputStyle, Tint, TintedText},
    table::{Column, ColumnForm, Table},
    text::{self, clean, count, duration},
};
use crate::{
    control::request::{
        BatchRecord, ExplainDocument, FlushResult, HistoryDocument, PathExplanation, SyncDrift,
        TextResult, VerifyDocument,
    },
    report::size_text,
};

/// The columns of the history.
const HISTORY: [Column; 9] = [
    Column { title: "STARTED", form: ColumnForm::Word, rank: 0 },
    Column { title: "SYNC", form: ColumnForm::Name, rank: 0 },
    Column { title: "RESULT", form: ColumnForm::Word, rank: 0 },
    Column { title: "TOOK", form: ColumnForm::Number, rank: 1 },
    Column { title: "LAG", form: ColumnForm::Number, rank: 4 },
    Column { title: "SENT", form: ColumnForm::Number, rank: 5 },
    Column { title: "DELETED", form: ColumnForm::Number, rank: 6 },
    Column { title: "PATHS", form: ColumnForm::Number, rank: 2 },
    Column { title: "FIRST PATH OR REASON", form: ColumnForm::Name, rank: 3 },
];

/// Returns the lines of a text of the daemon.
pub(super) fn result_text(result: &TextResult) -> String {
    text::clean_lines(&result.text).map(|line| line + "\n").collect()
}

/// Returns the text of a flush: a line for each sync or obstacle.
pub(super) fn flushed(result: &FlushResult) -> String {
    let mut text = String::new();
    let is_blocked = |name: &String| result.obstacles.iter().any(|it| it.sync == *name);
    for name in result.syncs.iter().filter(|name| !is_blocked(name)) {
        let _ = writeln!(text, "{}: complete", clean(name));
    }
    for obstacle in &result.obstacles {
        let _ = writeln!(text, "{}: {}", clean(&obstacle.sync), clean(&obstacle.message));
    }
    text
}

/// Returns the text of a history.
pub(super) fn history(document: &HistoryDocument, style: OutputStyle) -> String {
    if document.batches.is_empty() {
        return "no transfer has ended yet\n".to_owned();
    }
    let mut table = Table::new(&HISTORY);
    for batch in &document.batches {
        table.push(batch_row(batch));
    }
    style.lines(&table.lines(style))
}

fn batch_row(batch: &BatchRecord) -> Vec<TintedText> {
    let optional = |text: Option<String>| TintedText::plain(&text.unwrap_or("-".to_owned()));
    let paths = if batch.is_full { "all".to_owned() } else { batch.paths.to_string() };
    let result = TintedText::new(
        &result(batch),
        if batch.outcome == "done" { Tint::Good } else { Tint::Warning },
    );
    vec![
        TintedText::plain(&text::local_time(batch.started)),
        TintedText::plain(&batch.sync),
        result,
        TintedText::plain(&duration(batch.duration)),
        optional(batch.lag.map(duration)),
        optional(batch.sent_bytes.map(size_text)),
        optional(batch.deleted.map(|deleted| deleted.to_string())),
        TintedText::plain(&paths),
        optional(batch.message.clone().or_else(|| batch.names.first().cloned())),
    ]
}

fn result(batch: &BatchRecord) -> String {
    let outcome = batch.outcome.replace('_', " ");
    match batch.code.filter(|code| *code != 0) {
        Some(code) => format!("{outcome} ({code})"),
        None => outcome,
    }
}

/// Returns the text of an explanation.
pub(super) fn explanation(document: &ExplainDocument) -> String {
    let mut text = format!("{} ({})\n", clean(&document.path), clean(&document.kind));
    if document.syncs.is_empty() {
        text += "  in the source of no sync\n";
    }
    for sync in &document.syncs {
        explain_sync(sync, &mut text);
    }
    text
}

fn explain_sync(sync: &PathExplanation, text: &mut String) {
    let stage = clean(&sync.stage.replace('_', " "));
    let _ = writeln!(text, "\n{}: {stage}", clean(&sync.sync));
    if let Some(message) = &sync.message {
        let _ = writeln!(text, "  reason: {}", clean(message));
    }
    if let Some(rule) = &sync.excluded_by {
        let _ = writeln!(text, "  excluded by: {}", clean(rule));
    }
    let _ = writeln!(text, "  target: {}", clean(&sync.target));
    let _ = writeln!(text, "  watched by: {}", clean(&sync.watched));
    for batch in &sync.batches {
        let (started, took) = (text::local_time(batch.started), duration(batch.duration));
        let _ = write!(text, "  transfer at {started}: {}, took {took}", clean(&result(batch)));
        match &batch.message {
            Some(message) => drop(writeln!(text, ": {}", clean(message))),
            None => text.push('\n'),
        }
    }
}

/// Returns the text of a comparison.
pub(super) fn drift(document: &VerifyDocument) -> String {
    let mut text = String::new();
    for SyncDrift { sync, target, error, different, extra, names } in &document.syncs {
        let sync = clean(sync);
        let _ = match (error, different + extra) {
            (Some(error), _) => writeln!(text, "{sync}: not compared: {}", clean(error)),
            (None, 0) => writeln!(text, "{sync}: no difference at {}", clean(target)),
            (None, all) => {
                let (different, extra) = (
                    format!("{different} missing or different"),
                    count(*extra, "extra entry", "extra entries"),
                );
                let _ = writeln!(text, "{sync}: {different}, {extra} at {}", clean(target));
                for name in names {
                    let _ = writeln!(text, "  {}", clean(name));
                }
                let shown = u64::try_from(names.len()).unwrap_or(u64::MAX);
                if shown < all { writeln!(text, "  and {} more", all - shown) } else { Ok(()) }
            }
        };
    }
    text
}

/// Returns the severity of a comparison.
pub(super) fn drift_severity(document: &VerifyDocument) -> Severity {
    let severity = |drift: &SyncDrift| match (&drift.error, drift.different + drift.extra) {
        (Some(_), _) => Severity::Critical,
        (None, 0) => Severity::Ok,
        (None, _) => Severity::Warning,
    };
    document.syncs.iter().map(severity).max().unwrap_or(Severity::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::SyncObstacle;

    fn batch() -> BatchRecord {
        BatchRecord {
            number: 7,
            sync: "web".into(),
            started: 0.0,
            duration: 1.25,
            lag: Some(2.0),
            is_full: false,
            paths: 3,
            names: vec!["/a\u{1b}".into()],
            outcome: "done".into(),
            code: Some(0),
            message: None,
            sent_bytes: Some(2048),
            deleted: None,
        }
    }

    /// Replaces local times, which depend on the machine.
    fn without_time(text: &str) -> String {
        text.replace(&text::local_time(0.0), "1970-01-01 TIME    ")
    }

    #[test]
    fn a_history_is_a_table() {
        let failed = BatchRecord {
            outcome: "hook_failed".into(),
            code: Some(3),
            is_full: true,
            message: Some("onSynced failed".into()),
            ..batch()
        };
        let document = HistoryDocument { batches: vec![batch(), failed] };
        let text = history(&document, OutputStyle::default());
        let expected = "\
STARTED              SYNC  RESULT           TOOK   LAG    SENT  DELETED  PATHS  FIRST PATH OR REASON
1970-01-01 TIME      web   done             1.2s  2.0s  2.0 kB        -      3  /a\\u{1b}
1970-01-01 TIME      web   hook failed (3)  1.2s  2.0s  2.0 kB        -    all  onSynced failed
";
        assert_eq!(without_time(&text), expected);
        let empty = HistoryDocument { batches: Vec::new() };
        assert_eq!(history(&empty, OutputStyle::default()), "no transfer has ended yet\n");
    }

    #[test]
    fn an_explanation_names_the_rule_and_the_batches() {
        let sync = PathExplanation {
            sync: "web".into(),
            target: "host:/w".into(),
            watched: "inotify".into(),
            excluded_by: Some("*.tmp of web.conf:3".into()),
            stage: "in_flight".into(),
            message: Some("Permission denied".into()),
            batches: vec![batch()],
        };
        let document =
            ExplainDocument { path: "/s/a\n".into(), kind: "file".into(), syncs: vec![sync] };
        let expected = "\
/s/a\\n (file)

web: in flight
  reason: Permission denied
  excluded by: *.tmp of web.conf:3
  target: host:/w
  watched by: inotify
  transfer at 1970-01-01 TIME    : done, took 1.2s
";
        assert_eq!(without_time(&explanation(&document)), expected);
        let nowhere = ExplainDocument { syncs: Vec::new(), ..document };
        assert_eq!(explanation(&nowhere), "/s/a\\n (file)\n  in the source of no sync\n");
    }

    #[test]
    fn drift_is_a_warning_and_an_error_critical() {
        let same = SyncDrift {
            sync: "web".into(),
            target: "t".into(),
            error: None,
            different: 0,
            extra: 0,
            names: Vec::new(),
        };
        let drifted =
            SyncDrift { different: 2, extra: 1, names: vec!["/a".into()], ..same.clone() };
        let failed = SyncDrift { error: Some("no route".into()), ..same.clone() };
        let check = |syncs: &[&SyncDrift], severity, expected: &str| {
            let document = VerifyDocument { syncs: syncs.iter().map(|it| (*it).clone()).collect() };
            assert_eq!(drift_severity(&document), severity);
            assert_eq!(drift(&document), expected);
        };
        check(&[], Severity::Ok, "");
        check(&[&same], Severity::Ok, "web: no difference at t\n");
        check(
            &[&same, &drifted],
            Severity::Warning,
            "web: no difference at t\n\
             web: 2 missing or different, 1 extra entry at t\n  /a\n  and 2 more\n",
        );
        check(&[&failed], Severity::Critical, "web: not compared: no route\n");
    }

    #[test]
    fn obstacles_of_a_flush_have_a_line_each() {
        let mut result =
            FlushResult { is_complete: true, syncs: vec!["web".into()], obstacles: Vec::new() };
        assert_eq!(flushed(&result), "web: complete\n");
        result.is_complete = false;
        result.obstacles =
            vec![SyncObstacle { sync: "web".into(), message: "it is\npaused".into() }];
        assert_eq!(flushed(&result), "web: it is\\npaused\n");
    }
}
