//! `cargo xtask bench`: our daemon beside the original, its rivals and the floor.
//!
//! All tools of a row are measured in turn, several times, so that a machine that is busy for a
//! while is busy for all of them; what is shown are medians.

mod expected;
mod figure;
pub(crate) mod floor;
mod measure;
pub(crate) mod place;
mod report;
mod rows;
pub(crate) mod running;
mod scene;
pub(crate) mod sshd;
pub(crate) mod tool;
pub(crate) mod usage;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use figure::{Sample, medians};
use measure::Bench;
use report::Results;
use rows::{ROWS, Row};
use tool::Tool;

use crate::build::{self, Profile};

/// What the command line asks for.
#[derive(Debug)]
struct Request {
    rows: Vec<&'static Row>,
    runs: usize,
    json: Option<PathBuf>,
    base: PathBuf,
}

/// Measures the rows that are asked for, or all.
///
/// # Errors
///
/// When the command line is wrong, our daemon cannot be built, or a result cannot be written.
/// A bound that is missed is no error, but part of the result.
pub(crate) fn run(arguments: &[String]) -> Result<(), Vec<String>> {
    let request = parse(arguments).map_err(|problem| vec![problem])?;
    let ours = build::daemon(Profile::Release).map_err(|problem| vec![problem])?;
    let bench = Bench { ours, base: request.base.clone() };
    let mut all = Vec::new();
    for row in &request.rows {
        let results = measure_row(row, &bench, request.runs);
        println!("{}", report::table(row, &results));
        all.push((*row, results));
    }
    if let Some(file) = &request.json {
        fs::write(file, report::json(&all))
            .map_err(|error| vec![format!("cannot write {}: {error}", file.display())])?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let shared_memory = Path::new("/dev/shm");
    let base = if shared_memory.is_dir() { shared_memory.to_owned() } else { env::temp_dir() };
    let mut request = Request { rows: Vec::new(), runs: 3, json: None, base };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--runs" => {
                let runs = value()?;
                request.runs = runs.parse().map_err(|_| format!("{runs} is no number"))?;
            }
            "--json" => request.json = Some(PathBuf::from(value()?)),
            "--directory" => request.base = PathBuf::from(value()?),
            name => request.rows.push(find_row(name)?),
        }
    }
    if request.rows.is_empty() {
        request.rows = ROWS.iter().collect();
    }
    Ok(request)
}

fn find_row(name: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        format!("there is no row {name}; there are {}", names.join(", "))
    })
}

fn measure_row(row: &Row, bench: &Bench, runs: usize) -> Results {
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
    let missing = tool.program().filter(|program| tool::find(program).is_none());
    if let Some(program) = missing {
        println!("not compared with {}: there is no {program}", tool.name());
    }
    missing.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_request_names_rows_runs_and_files() {
        let request = parse(&words("mixed --runs 5 idle --json out.json")).unwrap();
        let names: Vec<&str> = request.rows.iter().map(|row| row.name).collect();
        assert_eq!(names, ["mixed", "idle"]);
        assert_eq!(request.runs, 5);
        assert_eq!(request.json.as_deref(), Some(Path::new("out.json")));
        assert_eq!(parse(&[]).unwrap().rows.len(), ROWS.len());
    }

    #[test]
    fn an_unknown_row_is_refused_with_the_known_ones() {
        assert!(parse(&words("nonsense")).unwrap_err().contains("create-10k"));
        assert!(parse(&words("--runs many")).is_err());
        assert!(parse(&words("--json")).is_err());
    }
}
