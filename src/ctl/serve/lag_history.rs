//! The lag of each sync over the last hours, in bounded memory.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use crate::control::status::SyncReport;

/// Duration of a sample.
pub(super) const SAMPLE: Duration = Duration::from_secs(10);

/// Number of samples: those of six hours.
const SAMPLES: usize = 6 * 360;

/// Number of samples that one point of a chart combines.
const SAMPLES_PER_POINT: usize = 18;

/// Maximum number of syncs. Further ones have no history.
const MAX_SYNCS: usize = 1000;

/// The lag of each sync over the last hours: the largest one of each sample.
#[derive(Debug, Default)]
pub(super) struct LagHistory {
    /// Number of the latest sample, since the start of the process.
    latest: u64,
    syncs: BTreeMap<String, VecDeque<Option<f64>>>,
}

/// Points for charts.
#[derive(Debug, Serialize)]
pub(super) struct LagChart {
    seconds_per_point: u64,
    syncs: Vec<LagCurve>,
}

/// The chart of one sync.
#[derive(Debug, Serialize)]
pub(super) struct LagCurve {
    sync: String,
    /// The largest lag in seconds of each interval, oldest first. `None`: unknown.
    points: Vec<Option<f64>>,
}

impl LagHistory {
    /// Adds the present lags, at a time since the start of the process. Syncs that are not among
    /// them are forgotten.
    pub(super) fn add(&mut self, time: Duration, syncs: &[SyncReport]) {
        self.advance(time);
        self.syncs.retain(|name, _| syncs.iter().any(|sync| sync.name == *name));
        for sync in syncs {
            if self.syncs.len() >= MAX_SYNCS && !self.syncs.contains_key(&sync.name) {
                continue;
            }
            let samples = self.syncs.entry(sync.name.clone()).or_default();
            if samples.is_empty() {
                samples.push_back(None);
            }
            if let Some(latest) = samples.back_mut() {
                // `None` is less than any number.
                *latest = max(*latest, sync.known_lag());
            }
        }
    }

    /// Begins the sample of a time. Those between the latest one and it are unknown.
    pub(super) fn advance(&mut self, time: Duration) {
        let number = time.as_secs() / SAMPLE.as_secs();
        let passed = usize::try_from(number.saturating_sub(self.latest)).unwrap_or(SAMPLES);
        self.latest = self.latest.max(number);
        for samples in self.syncs.values_mut() {
            for _ in 0..passed.min(SAMPLES) {
                samples.push_back(None);
            }
            samples.drain(..samples.len().saturating_sub(SAMPLES));
        }
    }

    /// Returns the points of all syncs.
    pub(super) fn chart(&self) -> LagChart {
        let syncs = self
            .syncs
            .iter()
            .map(|(name, samples)| LagCurve { sync: name.clone(), points: self.points(samples) });
        let seconds_per_point = SAMPLE.as_secs() * SAMPLES_PER_POINT as u64;
        LagChart { seconds_per_point, syncs: syncs.collect() }
    }

    /// Combines samples. The borders of the points are fixed, so that a curve moves but does not
    /// change.
    fn points(&self, samples: &VecDeque<Option<f64>>) -> Vec<Option<f64>> {
        let mut points = Vec::new();
        let mut point = None;
        for (at, sample) in samples.iter().enumerate() {
            point = max(point, *sample);
            let number = self.latest.saturating_sub((samples.len() - 1 - at) as u64);
            let is_last_of_point = (number + 1).is_multiple_of(SAMPLES_PER_POINT as u64);
            if is_last_of_point || at + 1 == samples.len() {
                points.push(point.take().map(|lag| (lag * 1000.0).round() / 1000.0));
            }
        }
        points
    }
}

/// The larger one of two lags, of which each may be unknown.
fn max(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::SyncState;

    fn sync(name: &str, lag: f64) -> SyncReport {
        let base = SyncReport::new(name.to_owned(), "rsync", "/s".to_owned(), "/t".to_owned());
        SyncReport { state: SyncState::Pending, oldest_change: Some(lag), ..base }
    }

    fn points(history: &LagHistory, name: &str) -> Vec<Option<f64>> {
        let curves = history.chart().syncs;
        curves.into_iter().find(|curve| curve.sync == name).unwrap().points
    }

    fn add(history: &mut LagHistory, seconds: u64, lag: f64) {
        history.add(Duration::from_secs(seconds), &[sync("a", lag)]);
    }

    #[test]
    fn a_point_is_the_largest_lag_of_its_interval() {
        let mut history = LagHistory::default();
        add(&mut history, 1, 2.0);
        add(&mut history, 4, 5.0);
        add(&mut history, 9, 1.0);
        add(&mut history, 170, 3.0004);
        assert_eq!(points(&history, "a"), [Some(5.0)]);
        add(&mut history, 185, 1.0004);
        assert_eq!(points(&history, "a"), [Some(5.0), Some(1.0)]);
    }

    #[test]
    fn time_without_an_answer_is_unknown() {
        let mut history = LagHistory::default();
        add(&mut history, 0, 1.0);
        for seconds in (10..540).step_by(10) {
            history.advance(Duration::from_secs(seconds));
        }
        add(&mut history, 540, 2.0);
        assert_eq!(points(&history, "a"), [Some(1.0), None, None, Some(2.0)]);
        // As after a suspend: the clock jumps.
        add(&mut history, 540 + 400, 3.0);
        assert_eq!(points(&history, "a"), [Some(1.0), None, None, Some(2.0), None, Some(3.0)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = LagHistory::default();
        for hour in 0..100 {
            add(&mut history, hour * 3600, 1.0);
        }
        assert_eq!(history.syncs["a"].len(), SAMPLES);
        assert!(points(&history, "a").len() <= SAMPLES / SAMPLES_PER_POINT + 1);
        add(&mut history, u64::MAX, 1.0);
        assert_eq!(history.syncs["a"].len(), SAMPLES);
        let many: Vec<SyncReport> =
            (0..2 * MAX_SYNCS).map(|number| sync(&number.to_string(), 1.0)).collect();
        history.add(Duration::MAX, &many);
        assert_eq!(history.syncs.len(), MAX_SYNCS);
        history.add(Duration::MAX, &[]);
        assert!(history.syncs.is_empty());
    }
}
