//! Comments and documents: their summaries and their width.

use std::path::Path;

use super::source::SourceFile;

/// Words with which no summary of a doc comment begins: a summary says, it does not ask.
const INTERROGATIVES: [&str; 12] = [
    "What", "Whatever", "Whether", "Who", "Whoever", "Whom", "Whose", "How", "Where", "When",
    "Which", "Why",
];

/// Columns that a line of a comment or a document may have.
const WIDTH: usize = 100;

/// Reports summaries of doc comments that begin with an interrogative.
pub(super) fn interrogative_summaries(source: &SourceFile) -> Vec<String> {
    let found = summaries(source).filter(|(_, summary)| {
        let first = summary.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        INTERROGATIVES.contains(&first)
    });
    let text = "a summary that begins with an interrogative: say what it is or does";
    found.map(|(line, _)| source.problem(line, text)).collect()
}

/// Returns the first line of each doc comment with its number.
pub(super) fn summaries(source: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let mut before = None;
    source.lines().filter_map(move |(number, line)| {
        let line = line.trim_start();
        let mark = ["///", "//!"].into_iter().find(|mark| line.starts_with(mark));
        let is_first = mark != before;
        before = mark;
        let text = line.strip_prefix(mark.filter(|_| is_first)?)?;
        Some((number, text.trim_start()))
    })
}

/// Reports comments that do not fit into the width, addresses excepted.
pub(super) fn wide_comments(source: &SourceFile) -> Vec<String> {
    let found = source.lines().filter(|(_, line)| {
        line.trim_start().starts_with("//") && line.chars().count() > WIDTH && !line.contains("://")
    });
    found.map(|(line, _)| source.problem(line, &too_wide())).collect()
}

/// Reports lines of a document in Markdown that do not fit into the width. Tables, code and
/// addresses can't be broken.
pub(super) fn wide_lines(path: &Path, text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        let fixed = in_code
            || is_fence
            || line.starts_with('|')
            || line.starts_with("    ")
            || line.contains("](");
        if !fixed && line.chars().count() > WIDTH && !line.contains("://") {
            problems.push(format!("{}:{}: {}", path.display(), index + 1, too_wide()));
        }
    }
    problems
}

fn too_wide() -> String {
    format!("more than {WIDTH} columns")
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn source(text: &str) -> SourceFile {
        source::all(vec![("src/a.rs".into(), text.into())]).remove(0)
    }

    #[test]
    fn summaries_say_and_do_not_ask() {
        let lines = |text: &str| interrogative_summaries(&source(text)).len();
        assert_eq!(lines("/// Whether it is so.\nfn a() {}"), 1);
        assert_eq!(lines("//! What is there.\n\n    /// How it is.\n    fn a() {}"), 2);
        assert_eq!(lines("/// Returns true if it is so.\n/// What else."), 0);
        assert_eq!(lines("// What it is.\n/// Whatsoever.\n/// Whereas."), 0);
    }

    #[test]
    fn comments_and_documents_have_a_width() {
        let long = "a ".repeat(60);
        assert_eq!(wide_comments(&source(&format!("    // {long}"))).len(), 1);
        assert_eq!(
            wide_comments(&source(&format!("// ssh://{long}\nlet a = \"{long}\";"))).len(),
            0
        );
        let document = format!("{long}\n|{long}\n```\n{long}\n```\n    {long}\n{long}\n");
        let found = wide_lines(Path::new("docs/a.md"), &document);
        assert_eq!(
            found,
            ["docs/a.md:1: more than 100 columns", "docs/a.md:7: more than 100 columns"]
        );
    }
}
