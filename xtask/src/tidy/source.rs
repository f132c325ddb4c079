//! A Rust source file: its code without comments and literals, and its test-only lines.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct SourceFile {
    /// The path from the root of the workspace.
    pub(super) path: String,
    /// The original text.
    pub(super) text: String,
    /// The tokens of its code, in order.
    pub(super) tokens: Vec<SourceToken>,
    /// The test-only lines, from 1 on.
    test_lines: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceToken {
    /// An identifier or number, `::`, or one other character.
    pub(super) text: String,
    /// Line number, from 1 on.
    pub(super) line: usize,
}

impl SourceFile {
    /// Returns true if a line is test-only.
    pub(super) fn is_test(&self, line: usize) -> bool {
        self.test_lines.contains(&line)
    }

    /// Returns the lines of the text with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Formats a message about a line.
    pub(super) fn problem(&self, line: usize, message: &str) -> String {
        format!("{}:{line}: {message}", self.path)
    }
}

/// Parses all files, given as paths and texts. They are parsed together because a `mod` line of one
/// file affects another.
pub(super) fn all(files: Vec<(String, String)>) -> Vec<SourceFile> {
    let mut sources: Vec<SourceFile> = files
        .into_iter()
        .map(|(path, text)| {
            let tokens = tokens(&without_comments(&text));
            SourceFile { path, text, tokens, test_lines: BTreeSet::new() }
        })
        .collect();
    let modules: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let in_module = |module: &String| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        };
        if is_test_file(source) || modules.iter().any(in_module) {
            source.test_lines = (1..=source.text.lines().count()).collect();
        } else {
            source.test_lines = test_items(&source.tokens).flat_map(|item| item.lines).collect();
        }
    }
    sources
}

/// Returns true if a file is test-only by its path or its first attribute.
fn is_test_file(source: &SourceFile) -> bool {
    let whole: Vec<&str> = source.tokens.iter().take(8).map(|token| &*token.text).collect();
    let path = &source.path;
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || whole == ["#", "!", "[", "cfg", "(", "test", ")", "]"]
}

/// Returns the paths, without `.rs`, of the test-only modules that a file declares.
fn test_modules(source: &SourceFile) -> Vec<String> {
    let directory = match source.path.rsplit_once('/') {
        Some((directory, "mod.rs" | "lib.rs" | "main.rs")) => directory,
        _ => source.path.strip_suffix(".rs").unwrap_or(&source.path),
    };
    let names = test_items(&source.tokens).filter_map(|item| item.module);
    names.map(|name| format!("{directory}/{name}")).collect()
}

/// An item with `#[cfg(test)]`.
struct TestItem {
    lines: std::ops::RangeInclusive<usize>,
    /// Its name if it is a module in a separate file.
    module: Option<String>,
}

fn test_items(tokens: &[SourceToken]) -> impl Iterator<Item = TestItem> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_attribute = |at: &usize| {
        let here = tokens.iter().skip(*at).map(|token| &*token.text);
        here.take(ATTRIBUTE.len()).eq(ATTRIBUTE)
    };
    (0..tokens.len()).filter(is_attribute).map(move |at| {
        let after = tokens.get(at + ATTRIBUTE.len()..).unwrap_or_default();
        let end = end_of_item(after);
        let first = tokens.get(at).map_or(1, |token| token.line);
        let last = after.get(end).or(after.last()).map_or(first, |token| token.line);
        let texts: Vec<&str> = after.iter().take(end + 1).map(|token| &*token.text).collect();
        let module = match &*texts {
            [.., "mod", name, ";"] => Some((*name).to_owned()),
            _ => None,
        };
        TestItem { lines: first..=last, module }
    })
}

/// Returns the index of the last token of an item: the `;`, or the `}` of its body.
pub(super) fn end_of_item(tokens: &[SourceToken]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match &*token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (token.text == ";" || token.text == "}") {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

fn tokens(code: &str) -> Vec<SourceToken> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found: Vec<SourceToken> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, after) = rest.split_at(length);
            found.push(SourceToken { text: text.to_owned(), line: index + 1 });
            rest = after.trim_start();
        }
    }
    found
}

/// Removes comments and literals, but keeps line breaks.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = non_code_length(rest, code.chars().next_back());
        if length == 0 {
            code.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            let (gone, after) = rest.split_at(length);
            code.push(' ');
            code.extend(gone.chars().filter(|&c| c == '\n'));
            rest = after;
        }
    }
    code
}

/// Returns the length of the comment or literal at the start of `rest`, or 0.
fn non_code_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let literal = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - literal.len();
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with('"') || (!in_word && prefix == 1 && literal.starts_with('"')) {
        prefix + quoted(literal, '"')
    } else if !in_word && prefix <= 1 && literal.starts_with('r') {
        raw_string(literal.get(1..).unwrap_or_default()).map_or(0, |length| prefix + 1 + length)
    } else if literal.starts_with('\'') && (prefix == 0 || (!in_word && prefix == 1)) {
        character(literal).checked_add(prefix).filter(|&length| length > prefix).unwrap_or(0)
    } else {
        0
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth.saturating_sub(1), at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Returns the length of a literal with its quotes; a backslash escapes the next character.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns the length of `#"..."#` with as many `#` at the end as at the start.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inner = rest.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + inner.find(&end)? + end.len())
}

/// Returns the length of a character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let (inner, after) = (chars.next(), chars.next());
    match (inner, after) {
        (Some((_, '\\')), _) => quoted(rest, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let texts: Vec<String> =
            tokens(&without_comments(text)).into_iter().map(|token| token.text).collect();
        texts.join(" ")
    }

    #[test]
    fn comments_and_literals_are_removed() {
        for (text, expected) in [
            ("a // b\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"f("a\"b", c)"#, "f ( , c )"),
            (r##"f(r#"a"b"#, br"\", c"d\"", 'x', '\'', b'"')"##, "f ( , , , , , )"),
            ("fn f<'a>(x: &'a str)", "fn f < ' a > ( x : & ' a str )"),
            ("var\"x\" + numb(b) + r", "var + numb ( b ) + r"),
            ("crate::a::b2", "crate :: a :: b2"),
            ("'/' \"//\" x", "x"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn line_numbers_are_kept() {
        let tokens = tokens(&without_comments("a /* \n */ b\n\"\n\n\" c"));
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 5]);
    }

    /// Checks the test-only lines of the first of these files.
    fn check(files: &[(&str, &str)], expected: &[usize]) {
        let files =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let sources = all(files);
        let lines: Vec<usize> = sources[0].test_lines.iter().copied().collect();
        assert_eq!(lines, expected, "{}", sources[0].path);
    }

    #[test]
    fn test_only_lines_are_recognized() {
        check(&[("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\nfn b() {}")], &[2, 3, 4]);
        check(&[("src/a.rs", "#[cfg(test)]\nuse b::{c, d};\nfn b() {}")], &[1, 2]);
        check(
            &[("src/a.rs", "#[cfg(test)]\n#[inline]\nfn f(a: [u8; 2]) {\n}\nfn b() {}")],
            &[1, 2, 3, 4],
        );
        check(&[("tests/a.rs", "fn a() {}\n\n")], &[1, 2]);
        check(&[("src/a_tests.rs", "a")], &[1]);
        check(&[("src/a.rs", "#![cfg(test)]\na")], &[1, 2]);
        check(&[("src/a.rs", "// #[cfg(test)]\nfn a() {}")], &[]);
    }

    #[test]
    fn a_module_declared_for_tests_is_test_only() {
        let lib = ("src/lib.rs", "#[cfg(test)]\nmod sim;\nmod a;");
        check(&[("src/sim/world.rs", "a\nb"), lib], &[1, 2]);
        check(&[("src/sim.rs", "a"), lib], &[1]);
        check(&[("src/a.rs", "a"), lib], &[]);
        check(&[("src/a/twin.rs", "a"), ("src/a.rs", "#[cfg(test)] mod twin;")], &[1]);
    }
}
