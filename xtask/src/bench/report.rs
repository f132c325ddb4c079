//! The results, for people and for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    figure::{Figure, Sample},
    rows::Row,
    tool::Tool,
};

/// The medians of each tool in one row.
pub(crate) type Results = BTreeMap<Tool, Sample>;

/// The row as text: a line for each tool, and one for each bound.
pub(crate) fn table(row: &Row, results: &Results) -> String {
    let figures: BTreeSet<Figure> =
        results.values().flat_map(|sample| sample.keys().copied()).collect();
    let mut text = format!("\n{}: {}\n{:14}", row.name, row.title, "");
    for figure in &figures {
        let _ = write!(text, "{:>20}", figure.heading());
    }
    text.push('\n');
    let floor = results.get(&Tool::Floor);
    for (tool, sample) in results {
        let _ = write!(text, "  {:12}", tool.name());
        for figure in &figures {
            let _ = write!(text, "{:>20}", cell(*figure, sample, floor));
        }
        text.push('\n');
    }
    text.push_str(&verdicts(row, results));
    text
}

/// A figure, with how many times that of the floor it is.
fn cell(figure: Figure, sample: &Sample, floor: Option<&Sample>) -> String {
    let Some(value) = sample.get(&figure) else { return "-".to_owned() };
    match floor.and_then(|floor| floor.get(&figure)) {
        Some(least) if *least > 0.0 => format!("{value:.2} ({:.2} x)", value / least),
        _ => format!("{value:.2}"),
    }
}

fn verdicts(row: &Row, results: &Results) -> String {
    let delay = row.delay.map_or(0.0, f64::from);
    let mut text = String::new();
    for verdict in row.bounds.iter().filter_map(|bound| bound.judge(results, delay)) {
        let word = if verdict.is_met() { "met" } else { "MISSED" };
        let heading = verdict.figure.heading();
        let _ =
            writeln!(text, "  {word}: {heading} {:.3} <= {:.3}", verdict.value, verdict.allowed);
    }
    text
}

/// Everything as JSON: rows, tools, figures.
pub(crate) fn json(all: &[(&Row, Results)]) -> String {
    let rows = all.iter().map(|(row, results)| {
        let tools = results.iter().map(|(tool, sample)| {
            let figures = sample.iter().map(|(figure, value)| pair(figure.heading(), value));
            pair(tool.name(), object(figures))
        });
        pair(row.name, object(tools))
    });
    object(rows) + "\n"
}

// The names are ours and hold nothing that would have to be escaped.
fn pair(name: &str, value: impl std::fmt::Display) -> String {
    format!("\"{name}\": {value}")
}

fn object(pairs: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::{super::rows::ROWS, *};

    fn example() -> Results {
        BTreeMap::from([
            (Tool::Floor, Sample::from([(Figure::Wall, 1.0)])),
            (Tool::Ours, Sample::from([(Figure::Wall, 1.25)])),
        ])
    }

    #[test]
    fn a_row_shows_ratios_and_says_what_is_missed() {
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
