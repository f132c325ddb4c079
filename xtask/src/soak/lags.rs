//! The lag of each batch: the age of its oldest change when the target had it.

use serde_json::Value;

use super::targets::SoakTarget;
use crate::damage::matrix::DamageKind;

/// Time in seconds for which a fault has consequences after its end: retries wait longer each time.
const CONSEQUENCES: f64 = 30.0;

/// A batch that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BatchLag {
    pub(crate) target: usize,
    /// Its end, in seconds since the epoch.
    pub(crate) end: f64,
    /// In seconds.
    pub(crate) lag: f64,
}

/// A time in which a fault may have delayed batches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FaultWindow {
    /// Its begin and end, in seconds since the epoch.
    pub(crate) begin: f64,
    pub(crate) end: f64,
    /// The targets that it may affect, by their numbers.
    pub(crate) targets: Vec<usize>,
}

/// All batches so far.
#[derive(Debug, Default)]
pub(crate) struct BatchLog {
    lags: Vec<BatchLag>,
    windows: Vec<FaultWindow>,
    /// The number of the last known batch.
    last: u64,
    /// Number of batches that have ended.
    pub(crate) batches: u64,
    /// Number of them that the daemon has forgotten before they were asked for: those of a sync
    /// that a reload has replaced.
    pub(crate) missed: u64,
    /// Number of them that did not end well.
    pub(crate) failed: u64,
}

/// Figures of some lags in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LagSummary {
    pub(crate) count: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) maximum: f64,
}

impl BatchLog {
    /// Adds the batches of an answer to `history` that are not known yet.
    ///
    /// # Errors
    ///
    /// If the answer has another form.
    pub(crate) fn add(&mut self, answer: &str) -> Result<(), String> {
        let parsed: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
        let batches = parsed.pointer("/ok/batches").and_then(Value::as_array);
        let batches = batches.ok_or_else(|| format!("no history: {answer}"))?;
        let number = |batch: &Value, name: &str| batch.get(name).and_then(Value::as_f64);
        for batch in batches {
            let id = batch.get("number").and_then(Value::as_u64).ok_or("a batch has no number")?;
            if id <= self.last {
                continue;
            }
            self.missed += id - self.last - 1;
            (self.last, self.batches) = (id, id);
            if batch.get("outcome").and_then(Value::as_str) != Some("done") {
                self.failed += 1;
                continue;
            }
            let sync = batch.get("sync").and_then(Value::as_str).unwrap_or_default();
            let target = SoakTarget::number_of(sync).ok_or_else(|| format!("unknown {sync}"))?;
            let start = number(batch, "started").ok_or("a batch has no start")?;
            let end = start + number(batch, "duration").unwrap_or_default();
            // A full transfer has no lag if it was not caused by a change.
            if let Some(lag) = number(batch, "lag") {
                self.lags.push(BatchLag { target, end, lag });
            }
        }
        Ok(())
    }

    /// Adds faults that have ended.
    pub(crate) fn add_windows(&mut self, windows: Vec<FaultWindow>) {
        self.windows.extend(windows);
    }

    /// Returns the figures of a kind. With `is_undisturbed`, those of batches during which no fault
    /// had consequences.
    pub(crate) fn summary(&self, kind: DamageKind, is_undisturbed: bool) -> LagSummary {
        let is_meant = |lag: &&BatchLag| {
            SoakTarget::kind_of(lag.target) == kind && !(is_undisturbed && self.is_disturbed(lag))
        };
        LagSummary::of(self.lags.iter().filter(is_meant).map(|lag| lag.lag).collect())
    }

    fn is_disturbed(&self, lag: &BatchLag) -> bool {
        let begin = lag.end - lag.lag;
        self.windows.iter().any(|window| {
            window.begin <= lag.end
                && begin <= window.end + CONSEQUENCES
                && window.targets.contains(&lag.target)
        })
    }
}

impl LagSummary {
    fn of(mut lags: Vec<f64>) -> Self {
        lags.sort_by(f64::total_cmp);
        Self {
            count: lags.len(),
            median: percentile(&lags, 50),
            p99: percentile(&lags, 99),
            maximum: percentile(&lags, 100),
        }
    }
}

/// Returns the smallest of these sorted numbers that so many percent of them do not exceed. 0 if
/// there are none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, target: &str, outcome: &str, lag: &str) -> String {
        format!(
            r#"{{"number":{number},"sync":"{target}","started":100.0,"duration":1.0,"lag":{lag},"outcome":"{outcome}"}}"#
        )
    }

    #[test]
    fn percentiles_are_values_of_the_list() {
        let lags: Vec<f64> = (1..=200).map(f64::from).collect();
        let shown = |lags: &[f64]| [50, 99, 100].map(|it| percentile(lags, it).to_string());
        assert_eq!(shown(&lags), ["100", "198", "200"]);
        assert_eq!(shown(&[7.0]), ["7", "7", "7"]);
        assert_eq!(shown(&[]), ["0", "0", "0"]);
    }

    #[test]
    fn each_batch_counts_once_and_missed_ones_are_known() {
        let mut log = BatchLog::default();
        let answer =
            |batches: &[String]| format!(r#"{{"ok":{{"batches":[{}]}}}}"#, batches.join(","));
        let first = [batch(1, "target00", "done", "0.5"), batch(2, "target00", "failed", "1.0")];
        log.add(&answer(&first)).unwrap();
        let more = [batch(2, "target00", "failed", "1.0"), batch(5, "target06", "done", "2.5")];
        log.add(&answer(&more)).unwrap();
        log.add(&answer(&[batch(6, "target06", "done", "null")])).unwrap();
        assert_eq!((log.batches, log.missed, log.failed), (6, 2, 1));
        let all = log.summary(DamageKind::Rsync, false);
        assert_eq!(format!("{} {} {}", all.count, all.median, all.maximum), "2 0.5 2.5");
        assert!(log.add("{\"error\":{}}").is_err());
        assert!(log.add(&answer(&[batch(7, "other", "done", "1.0")])).is_err());
    }

    #[test]
    fn a_batch_is_disturbed_if_a_fault_of_its_target_had_consequences() {
        let mut log = BatchLog::default();
        log.lags.extend([
            BatchLag { target: 0, end: 100.0, lag: 1.0 },
            BatchLag { target: 6, end: 100.0, lag: 2.0 },
            BatchLag { target: 0, end: 200.0, lag: 3.0 },
        ]);
        log.add_windows(vec![FaultWindow { begin: 90.0, end: 99.5, targets: vec![0] }]);
        assert_eq!(log.summary(DamageKind::Rsync, false).count, 3);
        let calm = log.summary(DamageKind::Rsync, true);
        assert_eq!(format!("{} {} {}", calm.count, calm.median, calm.maximum), "2 2 3");
    }
}
