//! Metrics, and the bounds of our values.

use std::collections::BTreeMap;

use super::tool::Tool;

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Metric {
    /// Seconds until the target was equal.
    Wall,
    /// CPU seconds of the daemon without its children.
    OwnCpu,
    /// CPU seconds of the daemon with its children.
    AllCpu,
    /// The largest resident size of the daemon in megabytes.
    Memory,
    /// The resident size of the daemon once it is live, in megabytes.
    KeptMemory,
    /// Median latency of a change in milliseconds.
    Median,
    /// 99th percentile of the latency of a change in milliseconds.
    Percentile99,
    /// Number of wake-ups of the daemon's threads.
    WakeUps,
    /// Number of queue overflows in the log.
    Overflows,
    /// Megabytes transferred over the network, both ways together.
    Wire,
    /// Kilobytes of memory for each further target.
    PerTarget,
    /// Number of connections since the start of the daemon.
    Logins,
    /// Ratio of the time to that without the measured influence.
    Times,
    /// Seconds until the first attempt after the target was back.
    Waited,
}

impl Metric {
    /// Returns the heading in the table, with the unit.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Wall => "wall s",
            Self::OwnCpu => "own CPU s",
            Self::AllCpu => "all CPU s",
            Self::Memory => "RSS MB",
            Self::KeptMemory => "RSS kept MB",
            Self::Median => "p50 ms",
            Self::Percentile99 => "p99 ms",
            Self::WakeUps => "wake-ups",
            Self::Overflows => "overflows",
            Self::Wire => "wire MB",
            Self::PerTarget => "kB/target",
            Self::Logins => "logins",
            Self::Times => "times",
            Self::Waited => "waited s",
        }
    }
}

/// The metrics of one run, or their medians over several.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// Returns the median of each metric.
pub(crate) fn medians(samples: &[Sample]) -> Sample {
    let mut columns: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
    for (metric, value) in samples.iter().flatten() {
        columns.entry(*metric).or_default().push(*value);
    }
    columns
        .into_iter()
        .filter_map(|(metric, mut values)| Some((metric, median(&mut values)?)))
        .collect()
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Returns the smallest of the sorted values that `share` of them do not exceed.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let ranks = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index among some hundred values"
    )]
    let index = (ranks as f64 * share).ceil() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// The upper limit of one of our metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricLimit {
    /// A fixed value.
    AtMost(f64),
    /// A fixed value plus the delay of the sync.
    AtMostPlusDelay(f64),
    /// A multiple of the metric of another tool.
    Times(f64, Tool),
    /// A multiple of the metric of another tool plus the delay of the sync.
    TimesPlusDelay(f64, Tool),
}

/// The limit of one metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricBound {
    /// The limited metric.
    pub(crate) metric: Metric,
    pub(crate) limit: MetricLimit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BoundResult {
    /// The limited metric.
    pub(crate) metric: Metric,
    /// Our value.
    pub(crate) value: f64,
    /// The permitted value.
    pub(crate) allowed: f64,
}

impl BoundResult {
    /// Returns true if the bound is met.
    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.allowed
    }
}

impl MetricBound {
    /// Compares our metric with the bound. `None`: a metric is missing.
    pub(crate) fn evaluate(
        &self,
        results: &BTreeMap<Tool, Sample>,
        delay: f64,
    ) -> Option<BoundResult> {
        let of = |tool: Tool| results.get(&tool)?.get(&self.metric).copied();
        let allowed = match self.limit {
            MetricLimit::AtMost(value) => value,
            MetricLimit::AtMostPlusDelay(value) => value + delay,
            MetricLimit::Times(factor, tool) => factor * of(tool)?,
            MetricLimit::TimesPlusDelay(factor, tool) => factor * of(tool)? + delay,
        };
        Some(BoundResult { metric: self.metric, value: of(Tool::Ours)?, allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_midpoint() {
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn percentiles_are_measured_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&values, 0.5) - 101.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 199.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_delay_is_added_only_where_the_bound_says_so() {
        let results = BTreeMap::from([
            (Tool::Floor, Sample::from([(Metric::Wall, 2.0)])),
            (Tool::Ours, Sample::from([(Metric::Wall, 3.5)])),
        ]);
        let evaluate =
            |limit| MetricBound { metric: Metric::Wall, limit }.evaluate(&results, 1.0).unwrap();
        assert!(!evaluate(MetricLimit::Times(1.5, Tool::Floor)).is_met());
        assert!(evaluate(MetricLimit::TimesPlusDelay(1.5, Tool::Floor)).is_met());
        assert!(!evaluate(MetricLimit::AtMost(3.0)).is_met());
        assert!(evaluate(MetricLimit::AtMostPlusDelay(3.0)).is_met());
    }
}
