//! `cargo xtask tidy --report`: the measures of the sources.

use std::fmt;

use super::{
    names, prose,
    source::{self, SourceFile},
};

/// Measures of the sources of the workspace.
#[derive(Debug)]
pub(super) struct Report {
    /// Lines of each file that has code, tests not counted.
    files: Spread,
    /// Lines of each function that is not for tests.
    functions: Spread,
    types: usize,
    types_with_several_meanings: usize,
    summaries: usize,
    interrogative_summaries: usize,
    lines_of_code: usize,
    lines_of_tests: usize,
}

impl Report {
    /// Measures these sources.
    pub(super) fn of(sources: &[SourceFile]) -> Self {
        let code = |source: &SourceFile| {
            source.lines().filter(|(number, _)| !source.is_test(*number)).count()
        };
        let all_lines: usize = sources.iter().map(|source| source.lines().count()).sum();
        let lines_of_code = sources.iter().map(code).sum();
        Self {
            files: Spread::of(sources.iter().map(code).filter(|&lines| lines > 0).collect()),
            functions: Spread::of(sources.iter().flat_map(functions).collect()),
            types: names::definitions(sources).len(),
            types_with_several_meanings: names::with_several_meanings(sources),
            summaries: sources.iter().map(|source| prose::summaries(source).count()).sum(),
            interrogative_summaries: sources
                .iter()
                .map(|source| prose::interrogative_summaries(source).len())
                .sum(),
            lines_of_code,
            lines_of_tests: all_lines - lines_of_code,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "files, lines:      {}", self.files)?;
        writeln!(f, "functions, lines:  {}", self.functions)?;
        writeln!(
            f,
            "type names:        {}, {} of them with several meanings",
            self.types, self.types_with_several_meanings
        )?;
        writeln!(
            f,
            "doc summaries:     {}, {} of them interrogative",
            self.summaries, self.interrogative_summaries
        )?;
        // A ratio for people: a few digits are enough.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 lines")]
        let ratio = self.lines_of_tests as f64 / self.lines_of_code.max(1) as f64;
        write!(
            f,
            "test : code:       {} : {} lines, {ratio:.2}",
            self.lines_of_tests, self.lines_of_code
        )
    }
}

/// The number of values, their median, the value that nine of ten do not exceed, and the largest.
#[derive(Debug, PartialEq, Eq)]
struct Spread {
    count: usize,
    median: usize,
    p90: usize,
    max: usize,
}

impl Spread {
    fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let at = |part: usize| {
            let index = (values.len() * part / 10).min(values.len().saturating_sub(1));
            values.get(index).copied().unwrap_or_default()
        };
        Self {
            count: values.len(),
            median: at(5),
            p90: at(9),
            max: values.last().copied().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, median, p90, max } = self;
        write!(f, "{count}; median {median}, p90 {p90}, max {max}")
    }
}

/// Returns the lines of each function of a file, from `fn` to its closing brace. Those for tests
/// are not counted.
fn functions(source: &SourceFile) -> Vec<usize> {
    let tokens = &source.tokens;
    let starts = tokens.windows(2).enumerate().filter(|(_, pair)| {
        let [keyword, name] = pair else { return false };
        keyword.text == "fn"
            && name.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && !source.is_test(keyword.line)
    });
    starts
        .filter_map(|(index, _)| {
            let body = tokens.get(index..)?;
            let first = body.first()?.line;
            let last = body.get(source::end_of_item(body))?;
            // A declaration has no body.
            (last.text == "}").then(|| last.line - first + 1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    #[test]
    fn the_measures_of_a_small_workspace() {
        let text = "//! A module.\n/// Whether.\nfn a() {\n    if b {}\n}\ntrait T { fn c(); fn e(a: [u8; 2]) {} }\n\
                    #[cfg(test)]\nmod tests {\n fn d() {}\n}\n";
        let files =
            vec![("src/a.rs".into(), text.into()), ("tests/b.rs".into(), "struct T;\n".into())];
        let report = Report::of(&source::all(files)).to_string();
        let expected = "files, lines:      1; median 6, p90 6, max 6\n\
                        functions, lines:  2; median 3, p90 3, max 3\n\
                        type names:        1, 1 of them with several meanings\n\
                        doc summaries:     2, 1 of them interrogative\n\
                        test : code:       5 : 6 lines, 0.83";
        assert_eq!(report, expected);
    }

    #[test]
    fn a_spread_has_its_median_and_its_ends() {
        let spread = Spread::of((1..=10).rev().collect());
        assert_eq!(spread, Spread { count: 10, median: 6, p90: 10, max: 10 });
        assert_eq!(Spread::of(Vec::new()), Spread { count: 0, median: 0, p90: 0, max: 0 });
    }
}
