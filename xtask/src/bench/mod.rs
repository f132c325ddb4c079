//! `cargo xtask bench`: compares our daemon with the original, its competitors and the floor.
//!
//! All tools of a row are measured in turn, several times, so that temporary load of the machine
//! affects all of them. The results are medians.

mod arrival;
pub(crate) mod floor;
mod measure;
mod metric;
pub(crate) mod process;
mod report;
mod rows;
pub(crate) mod scratch;
pub(crate) mod sshd;
pub(crate) mod tool;
pub(crate) mod usage;
mod workload;

use std::{collections::BTreeMap, fs, path::PathBuf};

use measure::BenchEnv;
use metric::{Sample, medians};
use report::RowResults;
use rows::{BenchRow, ROWS};
use scratch::ScratchDir;
use tool::Tool;

use crate::{
    arguments::number,
    build::{self, BuildProfile},
};

/// Command line options.
#[derive(Debug)]
struct BenchOptions {
    rows: Vec<&'static BenchRow>,
    runs: usize,
    json: Option<PathBuf>,
    base: PathBuf,
}

/// Measures the selected rows, or all.
///
/// # Errors
///
/// If the command line is invalid, our daemon cannot be built, or a result cannot be written.
/// A missed bound is not an error, but part of the result.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let options = parse(arguments).map_err(|problem| vec![problem])?;
    let ours = build::daemon(BuildProfile::Release).map_err(|problem| vec![problem])?;
    let bench = BenchEnv { ours, base: options.base.clone() };
    let mut all = Vec::new();
    for row in &options.rows {
        let results = measure_row(row, &bench, options.runs);
        println!("{}", report::table(row, &results));
        all.push((*row, results));
    }
    if let Some(file) = &options.json {
        fs::write(file, report::json(&all))
            .map_err(|error| vec![format!("cannot write {}: {error}", file.display())])?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<BenchOptions, String> {
    let base = ScratchDir::default_base();
    let mut options = BenchOptions { rows: Vec::new(), runs: 3, json: None, base };
    let mut args = arguments.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--runs" => options.runs = number(value()?)?,
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--directory" => options.base = PathBuf::from(value()?),
            name => options.rows.push(find_row(name)?),
        }
    }
    if options.rows.is_empty() {
        options.rows = ROWS.iter().collect();
    }
    Ok(options)
}

fn find_row(name: &str) -> Result<&'static BenchRow, String> {
    ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row {name}; there are {}", names.join(", "))
    })
}

fn measure_row(row: &BenchRow, bench: &BenchEnv, runs: usize) -> RowResults {
    let tools: Vec<Tool> = row.tools.iter().copied().filter(|tool| is_installed(*tool)).collect();
    let mut samples: BTreeMap<Tool, Vec<Sample>> = BTreeMap::new();
    for run in 1..=runs {
        for tool in &tools {
            eprintln!("{} {run}/{runs}: {}", row.name, tool.name());
            match row.measure(bench, *tool) {
                Ok(sample) => samples.entry(*tool).or_default().push(sample),
                Err(error) => println!("{}: {} failed: {error}", row.name, tool.name()),
            }
        }
    }
    samples.into_iter().map(|(tool, samples)| (tool, medians(&samples))).collect()
}

fn is_installed(tool: Tool) -> bool {
    let missing = tool.required_program().filter(|program| build::find_program(program).is_none());
    if let Some(program) = missing {
        println!("not compared with {}: there is no {program}", tool.name());
    }
    missing.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn args(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_parsed() {
        let options = parse(&args("mixed --runs 5 idle --json out.json")).unwrap();
        let names: Vec<&str> = options.rows.iter().map(|row| row.name).collect();
        assert_eq!(names, ["mixed", "idle"]);
        assert_eq!(options.runs, 5);
        assert_eq!(options.json.as_deref(), Some(Path::new("out.json")));
        assert_eq!(parse(&[]).unwrap().rows.len(), ROWS.len());
    }

    #[test]
    fn an_unknown_row_is_rejected_with_the_known_ones() {
        assert!(parse(&args("nonsense")).unwrap_err().contains("create-10k"));
        assert!(parse(&args("--runs many")).is_err());
        assert!(parse(&args("--json")).is_err());
    }
}
