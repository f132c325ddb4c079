//! What is measured, and what the measures have to be.

use std::collections::BTreeMap;

use super::tool::Tool;

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Figure {
    /// Seconds until the target was equal.
    Wall,
    /// CPU seconds of the daemon without its children.
    OwnCpu,
    /// CPU seconds of the daemon with its children.
    AllCpu,
    /// The largest resident size of the daemon in megabytes.
    Memory,
    /// Milliseconds after which half of the changes were on the target.
    Median,
    /// Milliseconds after which 99 of 100 changes were on the target.
    Percentile99,
    /// How often a thread of the daemon was woken up.
    WakeUps,
    /// Queue overflows that the log tells of.
    Overflows,
    /// Megabytes that went over the line, both ways together.
    Wire,
    /// Kilobytes of memory for each further target.
    PerTarget,
    /// Connections that were made, from the start of the daemon on.
    Logins,
    /// How many times as long it took as without what is measured.
    Times,
    /// Seconds until the first try after the target was back.
    Waited,
}

impl Figure {
    /// The heading in the table, with the unit.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Wall => "wall s",
            Self::OwnCpu => "own CPU s",
            Self::AllCpu => "all CPU s",
            Self::Memory => "RSS MB",
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

/// The figures of one run, or their medians over several.
pub(crate) type Sample = BTreeMap<Figure, f64>;

/// The median of each figure.
pub(crate) fn medians(samples: &[Sample]) -> Sample {
    let mut columns: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in samples.iter().flatten() {
        columns.entry(*figure).or_default().push(*value);
    }
    columns
        .into_iter()
        .filter_map(|(figure, mut values)| Some((figure, median(&mut values)?)))
        .collect()
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The value below which `share` of the sorted `values` lie.
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

/// What a figure of ours may be at most.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// A fixed value.
    AtMost(f64),
    /// A fixed value and the delay of the sync.
    AtMostPlusDelay(f64),
    /// So many times the figure of another tool, and the delay of the sync where it is wanted.
    Times(f64, Tool),
    /// As `Times`, and the delay of the sync.
    TimesPlusDelay(f64, Tool),
}

/// The limit of one figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// What is limited.
    pub(crate) figure: Figure,
    /// To what.
    pub(crate) limit: Limit,
}

/// What came out for a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// What was measured.
    pub(crate) figure: Figure,
    /// Our value.
    pub(crate) value: f64,
    /// The value that was allowed.
    pub(crate) allowed: f64,
}

impl Verdict {
    /// Whether the bound was kept.
    pub(crate) fn is_met(&self) -> bool {
        self.value <= self.allowed
    }
}

impl Bound {
    /// Compares our figures with the bound; nothing where a figure is missing.
    pub(crate) fn judge(&self, results: &BTreeMap<Tool, Sample>, delay: f64) -> Option<Verdict> {
        let of = |tool: Tool| results.get(&tool)?.get(&self.figure).copied();
        let allowed = match self.limit {
            Limit::AtMost(value) => value,
            Limit::AtMostPlusDelay(value) => value + delay,
            Limit::Times(factor, tool) => factor * of(tool)?,
            Limit::TimesPlusDelay(factor, tool) => factor * of(tool)? + delay,
        };
        Some(Verdict { figure: self.figure, value: of(Tool::Ours)?, allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&values, 0.5) - 101.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 199.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_delay_is_added_only_where_the_bound_says_so() {
        let results = BTreeMap::from([
            (Tool::Floor, Sample::from([(Figure::Wall, 2.0)])),
            (Tool::Ours, Sample::from([(Figure::Wall, 3.5)])),
        ]);
        let judge = |limit| Bound { figure: Figure::Wall, limit }.judge(&results, 1.0).unwrap();
        assert!(!judge(Limit::Times(1.5, Tool::Floor)).is_met());
        assert!(judge(Limit::TimesPlusDelay(1.5, Tool::Floor)).is_met());
        assert!(!judge(Limit::AtMost(3.0)).is_met());
        assert!(judge(Limit::AtMostPlusDelay(3.0)).is_met());
    }
}
