//! Links between the pages.

use std::{collections::BTreeSet, fs, path::Path};

/// Returns the text outside of code.
pub(crate) fn prose(text: &str) -> String {
    let mut in_block = false;
    let mut result = String::new();
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        if !in_block && !is_fence && !line.starts_with("    ") {
            // Even parts are outside of code spans.
            let parts = line.split('`').enumerate();
            result.extend(parts.map(|(index, part)| if index % 2 == 0 { part } else { "`" }));
        }
        result.push('\n');
    }
    result
}

/// Returns the targets of all links of a page.
pub(crate) fn targets(text: &str) -> Vec<String> {
    let prose = prose(text);
    let links = prose.split("](").skip(1);
    links.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Returns the links of a page that lead nowhere.
pub(crate) fn problems(page: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for target in targets(text) {
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let file =
            if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
        let problem = if !file.exists() {
            "no such file"
        } else if !anchor.is_empty() && !anchors(&file).contains(anchor) {
            "no such heading"
        } else {
            continue;
        };
        problems.push(format!("{}: {target}: {problem}", page.display()));
    }
    problems
}

/// Returns the anchors of the headings of a page, as mdBook and common servers of code make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut in_block = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        in_block ^= line.starts_with("```");
        if !in_block && line.starts_with('#') {
            anchors.insert(anchor(line.trim_start_matches('#').trim()));
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn broken_links_are_found() {
    let page = super::docs().join("install.md");
    let text = "[a](#container) [b](glossary.md) [c](glossary.md#tests-and-comments)\n\
                [d](#nothing) [e](nothing.md) `[f](code.md)` [g](https://example.com/)\n";
    let problems = problems(&page, text);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(anchor("`rsync = {}` and -more"), "rsync---and--more");
}
