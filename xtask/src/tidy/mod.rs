//! `cargo xtask tidy`: what the compiler does not see to.
//!
//! Each rule is a function from sources to problems, so that its test can give it a source that
//! breaks it.

mod layers;
mod licence;
mod rules;
mod source;

use std::{fs, io, path::Path};

use source::Source;

/// Where sources are looked for, from the root of the workspace on.
const DIRECTORIES: [&str; 8] =
    ["src", "crates", "tests", "xtask", "examples", "benches", "compat", "fuzz"];

/// Checks the workspace.
///
/// # Errors
///
/// One line for each thing that is not as it should be.
pub(crate) fn run() -> Result<(), Vec<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let files = read_all(top).map_err(|error| vec![format!("cannot read the sources: {error}")])?;
    let sources = source::all(files);
    let mut problems = licence::problems(top);
    problems.extend(check(&sources));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// All rules about sources.
fn check(sources: &[Source]) -> Vec<String> {
    let rules = [
        layers::problems,
        rules::unsafe_elsewhere,
        rules::unsafe_not_forbidden,
        rules::too_long,
        rules::reminders,
        rules::sleeping_tests,
        rules::paths_of_a_machine,
    ];
    sources.iter().flat_map(|source| rules.iter().flat_map(move |rule| rule(source))).collect()
}

/// The paths and texts of all Rust files, in the order of the paths.
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
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = read_all(top).unwrap();
        for name in ["src/lib.rs", "crates/platform/src/lib.rs", "xtask/src/tidy/mod.rs"] {
            assert!(files.iter().any(|(path, _)| path == name), "{name}");
        }
    }

    #[test]
    fn every_rule_is_asked() {
        let text = "use crate::watch::Tree;\nfn f() { unsafe { } } // TO".to_owned() + "DO\n";
        let sources = source::all(vec![("src/exec/mod.rs".to_owned(), text)]);
        let problems = check(&sources).join("\n");
        for part in ["src/exec/mod.rs:1: ", "src/exec/mod.rs:2: `unsafe`", ":2: a reminder"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }
}
