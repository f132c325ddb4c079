//! Formats the results as text and as JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    metric::{Metric, Sample},
    rows::BenchRow,
    tool::Tool,
};

/// The medians of all tools in one row.
pub(crate) type RowResults = BTreeMap<Tool, Sample>;

/// Formats a row as text: a line for each tool, and one for each bound.
pub(crate) fn table(row: &BenchRow, results: &RowResults) -> String {
    let metrics: BTreeSet<Metric> =
        results.values().flat_map(|sample| sample.keys().copied()).collect();
    let mut text = format!("\n{}: {}\n{:14}", row.name, row.title, "");
    for metric in &metrics {
        let _ = write!(text, "{:>20}", metric.heading());
    }
    text.push('\n');
    let floor = results.get(&Tool::Floor);
    for (tool, sample) in results {
        let _ = write!(text, "  {:12}", tool.name());
        for metric in &metrics {
            let _ = write!(text, "{:>20}", cell(*metric, sample, floor));
        }
        text.push('\n');
    }
    text.push_str(&bound_lines(row, results));
    text
}

/// Formats a metric, with its ratio to that of the floor.
fn cell(metric: Metric, sample: &Sample, floor: Option<&Sample>) -> String {
    let Some(value) = sample.get(&metric) else { return "-".to_owned() };
    match floor.and_then(|floor| floor.get(&metric)) {
        Some(least) if *least > 0.0 => format!("{value:.2} ({:.2} x)", value / least),
        _ => format!("{value:.2}"),
    }
}

fn bound_lines(row: &BenchRow, results: &RowResults) -> String {
    let delay = row.delay.map_or(0.0, f64::from);
    let mut text = String::new();
    for result in row.bounds.iter().filter_map(|bound| bound.evaluate(results, delay)) {
        let word = if result.is_met() { "met" } else { "MISSED" };
        let heading = result.metric.heading();
        let _ = writeln!(text, "  {word}: {heading} {:.3} <= {:.3}", result.value, result.allowed);
    }
    text
}

/// Formats everything as JSON: rows, tools, metrics.
pub(crate) fn json(all: &[(&BenchRow, RowResults)]) -> String {
    let rows = all.iter().map(|(row, results)| {
        let tools = results.iter().map(|(tool, sample)| {
            let metrics = sample.iter().map(|(metric, value)| pair(metric.heading(), value));
            pair(tool.name(), object(metrics))
        });
        pair(row.name, object(tools))
    });
    object(rows) + "\n"
}

// The names are ours and need no escaping.
fn pair(name: &str, value: impl std::fmt::Display) -> String {
    format!("\"{name}\": {value}")
}

fn object(pairs: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::{super::rows::ROWS, *};

    fn example() -> RowResults {
        BTreeMap::from([
            (Tool::Floor, Sample::from([(Metric::Wall, 1.0)])),
            (Tool::Ours, Sample::from([(Metric::Wall, 1.25)])),
        ])
    }

    #[test]
    fn a_row_shows_ratios_and_missed_bounds() {
        let row = ROWS.iter().find(|row| row.name == "rename-rsync").unwrap();
        let text = table(row, &example());
        assert!(text.contains("1.25 (1.25 x)"), "{text}");
        assert!(text.contains("MISSED: wall s 1.250 <= 1.200"), "{text}");
    }

    #[test]
    fn the_names_of_rows_are_unique() {
        let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn json_is_nested_by_row_and_tool() {
        let row = &ROWS[0];
        let text = json(&[(row, example())]);
        assert_eq!(
            text,
            "{\"create-10k\": {\"floor\": {\"wall s\": 1}, \"ours\": {\"wall s\": 1.25}}}\n"
        );
    }
}
