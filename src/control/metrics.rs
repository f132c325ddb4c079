//! The status document as metrics: the text format of Prometheus.
//!
//! `docs/monitoring.md` has the table of the metrics, and `contrib` alerts and a dashboard that use
//! them. Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Write as _};

use super::status::{Histogram, StatusDocument, SyncReport, SyncState};

/// Content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric: all its samples have this name.
#[derive(Clone, Copy, Debug)]
pub struct ControlMetric {
    /// Name.
    pub name: &'static str,
    /// Type: it determines how the samples may be used.
    pub kind: MetricKind,
    /// Explanation for people.
    pub help: &'static str,
    samples: SampleWriter,
}

/// Types of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that rises and falls.
    Gauge,
    /// A number that only grows, until the daemon is restarted.
    Counter,
    /// Counters of values by their size.
    Histogram,
}

impl MetricKind {
    /// The name in the text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// All metrics, in the order of the text.
pub const METRICS: [ControlMetric; 23] = [
    gauge("lsyncd_up", "1 if the daemon answers, 0 if not.", |_, out| out.sample(&[], 1)),
    gauge("lsyncd_build_info", "Always 1. The label is the version of the daemon.", |doc, out| {
        out.sample(&[("version", &doc.daemon.version)], 1);
    }),
    gauge("lsyncd_start_time_seconds", "Start of the daemon, since the epoch.", |doc, out| {
        out.sample(&[], doc.daemon.started);
    }),
    gauge(
        "lsyncd_config_hash",
        "Always 1. The label is the hash of the configuration in force.",
        |doc, out| out.sample(&[("hash", &doc.daemon.config_hash)], 1),
    ),
    gauge("lsyncd_reload_success", "0 if the last reload was refused, otherwise 1.", |doc, out| {
        let is_refused = doc.daemon.reload.as_ref().is_some_and(|it| it.error.is_some());
        out.sample(&[], u8::from(!is_refused));
    }),
    gauge("lsyncd_watches", "Watches of single directories.", |doc, out| {
        out.sample(&[], doc.daemon.watches);
    }),
    gauge("lsyncd_watch_limit", "The kernel's limit of such watches for the user.", |doc, out| {
        if let Some(limit) = doc.daemon.watch_limit {
            out.sample(&[], limit);
        }
    }),
    counter("lsyncd_overflows_total", "Overflows of the kernel's event queues.", |doc, out| {
        out.sample(&[], doc.daemon.overflows);
    }),
    gauge("lsyncd_processes", "Running child processes.", |doc, out| {
        out.sample(&[], doc.daemon.processes);
    }),
    gauge("lsyncd_sync_state", "1 for the present state of a sync, otherwise 0.", |doc, out| {
        for sync in &doc.syncs {
            for state in SyncState::ALL {
                let labels = [identity(sync), vec![("state", state.name())]].concat();
                out.sample(&labels, u8::from(state == sync.state));
            }
        }
    }),
    gauge(
        "lsyncd_oldest_change_seconds",
        "Age of the oldest change that is not known to be on the target. Absent while unknown.",
        |doc, out| out.per_sync(doc, SyncReport::known_lag),
    ),
    gauge("lsyncd_pending_paths", "Paths that wait or are being transferred.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.pending.waiting + sync.pending.in_flight));
    }),
    gauge("lsyncd_failed_paths", "Paths that fail and are retried.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.pending.failed));
    }),
    gauge("lsyncd_held", "Deletions that wait for an operator.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.held_count()));
    }),
    gauge(
        "lsyncd_last_success_timestamp_seconds",
        "End of the last successful transfer, since the epoch. Absent before the first one.",
        |doc, out| out.per_sync(doc, |sync| sync.last_success),
    ),
    gauge(
        "lsyncd_polled_directories",
        "Directories of the source that are polled, since they cannot be watched.",
        |doc, out| out.per_sync(doc, |sync| Some(sync.polled_directories)),
    ),
    gauge("lsyncd_paused", "1 if an operator has paused the sync.", |doc, out| {
        out.per_sync(doc, |sync| Some(u8::from(sync.is_paused)));
    }),
    counter(
        "lsyncd_transfers_total",
        "Transfers, by the exit code of their program: done or failed if there was none.",
        |doc, out| {
            for sync in &doc.syncs {
                for (code, count) in &sync.totals.transfers {
                    let labels = [identity(sync), vec![("code", code.as_str())]].concat();
                    out.sample(&labels, count);
                }
            }
        },
    ),
    counter("lsyncd_sent_files_total", "Files sent to the target, as far as known.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.totals.sent_files));
    }),
    counter("lsyncd_sent_bytes_total", "Bytes sent to the target, as far as known.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.totals.sent_bytes));
    }),
    counter("lsyncd_deleted_total", "Deletions on the target, as far as known.", |doc, out| {
        out.per_sync(doc, |sync| Some(sync.totals.deleted));
    }),
    histogram("lsyncd_batch_duration_seconds", "Durations of the batches.", |doc, out| {
        out.histograms(doc, |sync| &sync.totals.batch_duration);
    }),
    histogram(
        "lsyncd_lag_seconds",
        "Ages of the oldest changes of batches at their ends.",
        |doc, out| out.histograms(doc, |sync| &sync.totals.lag),
    ),
];

/// Function that writes the samples of a metric.
type SampleWriter = fn(&StatusDocument, &mut Exposition);

const fn gauge(name: &'static str, help: &'static str, samples: SampleWriter) -> ControlMetric {
    ControlMetric { name, kind: MetricKind::Gauge, help, samples }
}

const fn counter(name: &'static str, help: &'static str, samples: SampleWriter) -> ControlMetric {
    ControlMetric { name, kind: MetricKind::Counter, help, samples }
}

const fn histogram(name: &'static str, help: &'static str, samples: SampleWriter) -> ControlMetric {
    ControlMetric { name, kind: MetricKind::Histogram, help, samples }
}

/// Returns the metrics of a daemon that answered with this document.
#[must_use]
pub fn exposition(document: &StatusDocument) -> String {
    let mut text = String::new();
    for metric in &METRICS {
        let mut out = Exposition { name: metric.name, samples: String::new() };
        (metric.samples)(document, &mut out);
        if !out.samples.is_empty() {
            text.push_str(&heading(metric));
            text.push_str(&out.samples);
        }
    }
    text
}

/// Returns the metrics of a daemon that does not answer: `lsyncd_up 0`.
#[must_use]
pub fn exposition_without_daemon() -> String {
    let [up, ..] = &METRICS;
    format!("{}{} 0\n", heading(up), up.name)
}

fn heading(metric: &ControlMetric) -> String {
    let ControlMetric { name, kind, help, .. } = metric;
    format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name())
}

impl SyncReport {
    /// The age in seconds of the oldest change that is not on the target: zero if there is none.
    /// `None`: unknown, since a comparison of the trees is due.
    #[must_use]
    pub fn known_lag(&self) -> Option<f64> {
        let otherwise = match self.state {
            SyncState::InSync
            | SyncState::Pending
            | SyncState::Failing
            | SyncState::Held
            | SyncState::Paused => Some(0.0),
            SyncState::FullTransfer
            | SyncState::SettingUp
            | SyncState::Retrying
            | SyncState::SourceUnavailable
            | SyncState::NoTunnel
            | SyncState::Stopped => None,
        };
        self.oldest_change.or(otherwise)
    }
}

/// The labels that all metrics of a sync have.
fn identity(sync: &SyncReport) -> Vec<Label<'_>> {
    vec![("sync", sync.name.as_str()), ("target", sync.target.as_str())]
}

/// Name and value.
type Label<'a> = (&'static str, &'a str);

/// The samples of one metric.
struct Exposition {
    name: &'static str,
    samples: String,
}

impl Exposition {
    fn sample(&mut self, labels: &[Label<'_>], value: impl fmt::Display) {
        self.suffixed("", labels, value);
    }

    /// Adds a sample for each sync that has a value.
    fn per_sync<V: fmt::Display>(
        &mut self,
        document: &StatusDocument,
        value: impl Fn(&SyncReport) -> Option<V>,
    ) {
        for sync in &document.syncs {
            if let Some(value) = value(sync) {
                self.sample(&identity(sync), value);
            }
        }
    }

    fn histograms(&mut self, document: &StatusDocument, of: impl Fn(&SyncReport) -> &Histogram) {
        for sync in &document.syncs {
            let histogram = of(sync);
            let labels = identity(sync);
            let mut below = 0;
            for (bound, count) in Histogram::BOUNDS.iter().zip(&histogram.counts) {
                below += count;
                let bound = bound.to_string();
                let labels = [&labels[..], &[("le", bound.as_str())]].concat();
                self.suffixed("_bucket", &labels, below);
            }
            let all = [&labels[..], &[("le", "+Inf")]].concat();
            self.suffixed("_bucket", &all, histogram.count());
            self.suffixed("_sum", &labels, histogram.sum);
            self.suffixed("_count", &labels, histogram.count());
        }
    }

    fn suffixed(&mut self, suffix: &str, labels: &[Label<'_>], value: impl fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing into a string cannot fail.
        let _ = writeln!(self.samples, "{}{suffix}{labels} {value}", self.name);
    }
}

/// The value of a label as it is written between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{
        super::status::{DaemonReport, HeldReport, PendingReport, ReloadReport},
        *,
    };

    fn document(syncs: Vec<SyncReport>) -> StatusDocument {
        StatusDocument {
            time: 2000.5,
            daemon: DaemonReport {
                version: "3.0".to_owned(),
                pid: 7,
                started: 1000.25,
                is_exiting: false,
                config_files: Vec::new(),
                config_hash: "abc".to_owned(),
                reload: None,
                watches: 12,
                watch_limit: None,
                polled_directories: 0,
                overflows: 3,
                processes: 0,
            },
            syncs,
        }
    }

    fn sync(name: &str, state: SyncState) -> SyncReport {
        let base = SyncReport::new(name.to_owned(), "rsync", "/s".to_owned(), "/t".to_owned());
        SyncReport { state, since: 1500.0, watcher: "inotify".to_owned(), ..base }
    }

    /// Checks that the text has this line.
    fn check(text: &str, line: &str) {
        assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
    }

    #[test]
    fn a_daemon_without_syncs_has_its_own_metrics_only() {
        let text = exposition(&document(Vec::new()));
        check(&text, "# HELP lsyncd_up 1 if the daemon answers, 0 if not.");
        check(&text, "# TYPE lsyncd_up gauge");
        check(&text, "lsyncd_up 1");
        check(&text, "lsyncd_build_info{version=\"3.0\"} 1");
        check(&text, "lsyncd_start_time_seconds 1000.25");
        check(&text, "lsyncd_config_hash{hash=\"abc\"} 1");
        check(&text, "# TYPE lsyncd_overflows_total counter");
        check(&text, "lsyncd_overflows_total 3");
        assert!(!text.contains("lsyncd_watch_limit"), "{text}");
        assert!(!text.contains("lsyncd_sync_state"), "{text}");
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_down() {
        let text = exposition_without_daemon();
        check(&text, "# TYPE lsyncd_up gauge");
        check(&text, "lsyncd_up 0");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_refused_reload_is_no_success() {
        let mut document = document(Vec::new());
        check(&exposition(&document), "lsyncd_reload_success 1");
        document.daemon.reload = Some(ReloadReport { time: 1.0, error: None });
        check(&exposition(&document), "lsyncd_reload_success 1");
        document.daemon.reload = Some(ReloadReport { time: 1.0, error: Some("x".to_owned()) });
        check(&exposition(&document), "lsyncd_reload_success 0");
    }

    #[test]
    fn exactly_one_state_of_a_sync_is_1() {
        for state in SyncState::ALL {
            let text = exposition(&document(vec![sync("a", state)]));
            let ones: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("lsyncd_sync_state{") && line.ends_with(" 1"))
                .collect();
            let name = state.name();
            let expected =
                format!("lsyncd_sync_state{{sync=\"a\",target=\"/t\",state=\"{name}\"}} 1");
            assert_eq!(ones, [expected]);
        }
    }

    #[test]
    fn the_age_of_the_oldest_change_is_absent_only_while_unknown() {
        let line = |state, oldest_change| {
            let text =
                exposition(&document(vec![SyncReport { oldest_change, ..sync("a", state) }]));
            let line = text.lines().find(|it| it.starts_with("lsyncd_oldest_change_seconds{"));
            line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
        };
        assert_eq!(line(SyncState::InSync, None).unwrap(), "0");
        assert_eq!(line(SyncState::Pending, Some(1.5)).unwrap(), "1.5");
        assert_eq!(line(SyncState::FullTransfer, None), None);
        assert_eq!(line(SyncState::FullTransfer, Some(9.0)).unwrap(), "9");
        assert_eq!(line(SyncState::SourceUnavailable, None), None);
    }

    #[test]
    fn values_of_syncs_are_labelled_with_name_and_target() {
        let mut one = sync("a", SyncState::Held);
        one.pending = PendingReport { waiting: 3, in_flight: 2, failed: 1, ..one.pending };
        let held = HeldReport {
            count: 5,
            total: None,
            reason: "observed".to_owned(),
            message: String::new(),
            names: Vec::new(),
        };
        one.held = vec![held.clone(), HeldReport { count: 6, ..held }];
        one.last_success = Some(1999.5);
        one.totals.transfers = [("0".to_owned(), 8), ("23".to_owned(), 1)].into();
        one.totals.sent_bytes = 4096;
        one.totals.sent_files = 7;
        let text = exposition(&document(vec![one, sync("b", SyncState::InSync)]));
        check(&text, "lsyncd_pending_paths{sync=\"a\",target=\"/t\"} 5");
        check(&text, "lsyncd_pending_paths{sync=\"b\",target=\"/t\"} 0");
        check(&text, "lsyncd_sent_files_total{sync=\"a\",target=\"/t\"} 7");
        check(&text, "lsyncd_failed_paths{sync=\"a\",target=\"/t\"} 1");
        check(&text, "lsyncd_held{sync=\"a\",target=\"/t\"} 11");
        check(&text, "lsyncd_last_success_timestamp_seconds{sync=\"a\",target=\"/t\"} 1999.5");
        check(&text, "lsyncd_transfers_total{sync=\"a\",target=\"/t\",code=\"23\"} 1");
        check(&text, "lsyncd_sent_bytes_total{sync=\"a\",target=\"/t\"} 4096");
        let families: Vec<&str> =
            text.lines().filter(|line| line.starts_with("# TYPE lsyncd_pending")).collect();
        assert_eq!(families.len(), 1);
    }

    #[test]
    fn the_buckets_of_a_histogram_are_cumulated() {
        let mut one = sync("a", SyncState::InSync);
        for seconds in [0.01, 0.02, 5.0, 20_000.0] {
            one.totals.lag.add(seconds);
        }
        let text = exposition(&document(vec![one]));
        check(&text, "# TYPE lsyncd_lag_seconds histogram");
        for bucket in ["0.005\"} 0", "0.02\"} 2", "3\"} 2", "10\"} 3", "10000\"} 3", "+Inf\"} 4"] {
            let line = format!("lsyncd_lag_seconds_bucket{{sync=\"a\",target=\"/t\",le=\"{bucket}");
            check(&text, &line);
        }
        check(&text, "lsyncd_lag_seconds_sum{sync=\"a\",target=\"/t\"} 20005.03");
        check(&text, "lsyncd_lag_seconds_count{sync=\"a\",target=\"/t\"} 4");
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let text = exposition(&document(vec![sync("a\"} 1\nx\\", SyncState::InSync)]));
        check(&text, r#"lsyncd_held{sync="a\"} 1\nx\\",target="/t"} 0"#);
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("lsyncd_")));
    }

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
        }
    }
}
