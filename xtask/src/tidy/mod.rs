//! `cargo xtask tidy`: checks that the compiler does not make.
//!
//! Each rule is a function from sources to problems, so that its test can pass a source that
//! violates it.

mod circles;
mod layers;
mod licence;
mod names;
mod prose;
mod report;
mod rules;
mod source;
mod tuples;

use std::{fs, io, path::Path};

use crate::build::workspace;
use report::Report;
use source::SourceFile;

/// Directories with sources, relative to the root of the workspace.
const DIRECTORIES: [&str; 8] =
    ["src", "crates", "tests", "xtask", "examples", "benches", "compat", "fuzz"];

/// Checks the workspace, or prints its measures for `--report`.
///
/// # Errors
///
/// Returns one line for each problem.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    let top = workspace();
    let files = read_all(top).map_err(|error| vec![format!("cannot read the sources: {error}")])?;
    let sources = source::all(files);
    match words {
        [] => {}
        [word] if word == "--report" => {
            println!("{}", Report::of(&sources));
            return Ok(());
        }
        [word, ..] => return Err(vec![format!("{word} is no option of tidy")]),
    }
    let mut problems = licence::problems(top);
    problems.extend(check(&sources));
    problems.extend(
        documents(top).map_err(|error| vec![format!("cannot read the documents: {error}")])?,
    );
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Applies all rules about sources.
fn check(sources: &[SourceFile]) -> Vec<String> {
    let rules = [
        layers::problems,
        rules::unsafe_elsewhere,
        rules::system_elsewhere,
        rules::unsafe_not_forbidden,
        rules::too_long,
        rules::reminders,
        rules::sleeping_tests,
        rules::paths_of_a_machine,
        names::aliases,
        prose::interrogative_summaries,
        prose::wide_comments,
        tuples::problems,
    ];
    let of_one = sources.iter().flat_map(|source| rules.iter().flat_map(move |rule| rule(source)));
    of_one.chain(names::problems(sources)).chain(circles::problems(sources)).collect()
}

/// Checks the width of the documents: those in the root of the workspace and below `docs`.
fn documents(top: &Path) -> io::Result<Vec<String>> {
    let mut problems = Vec::new();
    for directory in ["", "docs", "docs/decisions", "compat", "fuzz"] {
        let Ok(entries) = fs::read_dir(top.join(directory)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(top).unwrap_or(&path);
                problems.extend(prose::wide_lines(name, &fs::read_to_string(&path)?));
            }
        }
    }
    problems.sort();
    Ok(problems)
}

/// Returns the paths and texts of all Rust files, sorted by path.
fn read_all(top: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for directory in DIRECTORIES.map(|name| top.join(name)).iter().filter(|path| path.is_dir()) {
        read_below(top, directory, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn read_below(top: &Path, directory: &Path, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                read_below(top, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_this_workspace_are_found() {
        let files = read_all(workspace()).unwrap();
        for name in ["src/lib.rs", "crates/platform/src/lib.rs", "xtask/src/tidy/mod.rs"] {
            assert!(files.iter().any(|(path, _)| path == name), "{name}");
        }
    }

    #[test]
    fn every_rule_is_applied() {
        let text = "use crate::watch::Tree;\nfn f() { unsafe { } } // TO".to_owned() + "DO\n";
        let sources = source::all(vec![("src/exec/mod.rs".to_owned(), text)]);
        let problems = check(&sources).join("\n");
        for part in ["src/exec/mod.rs:1: ", "src/exec/mod.rs:2: `unsafe`", ":2: a reminder"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }
}
