//! Verifies that the tables of `docs/configuration.md` match the table of settings, and those of
//! `docs/log-messages.md` the messages in the sources.
//!
//! `BLESS=1 cargo test --test docs_in_sync` regenerates the former.
#![cfg(test)]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use mirror_core::settings::{
    self, RsyncArgForm, Setting, SettingScope, SettingsTable, SyncBase, ValueType,
};

#[test]
fn the_page_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut expected = page.clone();
    for (name, table) in [
        ("settings", SettingsTable::Settings),
        ("sync", SettingsTable::Sync),
        ("rsync", SettingsTable::Rsync),
        ("ssh", SettingsTable::Ssh),
        ("tunnel", SettingsTable::Tunnel),
    ] {
        let start = format!("<!-- {name} -->\n");
        let (before, rest) = expected.split_once(&start).expect(name);
        let (_, after) = rest.split_once("<!-- end -->").expect(name);
        expected = format!("{before}{start}{}<!-- end -->{after}", rows(table));
    }
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(
            page == expected,
            "the tables are outdated: BLESS=1 cargo test --test docs_in_sync"
        );
    }
}

fn rows(table: SettingsTable) -> String {
    let last = match table {
        SettingsTable::Rsync => " | rsync option",
        SettingsTable::Sync => " | for",
        SettingsTable::Settings | SettingsTable::Ssh | SettingsTable::Tunnel => "",
    };
    let mut text = format!("| name | type | default | meaning{last} |\n");
    text += if last.is_empty() { "|---|---|---|---|\n" } else { "|---|---|---|---|---|\n" };
    for setting in settings::of(table) {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let value_type = type_cell(setting.value_type);
        let last = last_cell(setting);
        writeln!(text, "| `{}` | {value_type} | {default} | {}{last} |", setting.name, setting.doc)
            .unwrap();
    }
    text
}

fn type_cell(value_type: ValueType) -> String {
    let text = match value_type {
        ValueType::Flag => "flag",
        ValueType::Number(least) => return format!("number, at least {least}"),
        ValueType::Text => "string",
        ValueType::OneOf(choices) => {
            let choices: Vec<String> =
                choices.iter().map(|choice| format!("`\"{choice}\"`")).collect();
            return choices.join(", ");
        }
        ValueType::Path => "path",
        ValueType::List => "list of strings",
        ValueType::Patterns | ValueType::Command => "string or list of strings",
        ValueType::CommandOrFunction => "string, list of strings or function",
        ValueType::Budget => "share such as `\"50%\"`, number, or `false` for no limit",
        ValueType::Delete => "`true`, `false`, `\"startup\"`, `\"running\"`",
        ValueType::Table => "table",
        ValueType::Codes => "table from exit codes to `\"ok\"`, `\"again\"`, `\"die\"`",
        ValueType::Function => "function",
        ValueType::FlagOrFunction => "flag or function",
    };
    text.into()
}

fn last_cell(setting: &Setting) -> String {
    match (setting.scope, setting.rsync_arg) {
        (SettingScope::Rsync, RsyncArgForm::Short(letter)) => {
            format!(" | `-{}`", char::from(letter))
        }
        (SettingScope::Rsync, RsyncArgForm::Long(option)) => format!(" | `{option}`"),
        (SettingScope::Rsync, RsyncArgForm::Value(option)) => format!(" | `{option}..`"),
        (SettingScope::Rsync, RsyncArgForm::None) => " | ".into(),
        (SettingScope::Sync(bases), _) if bases.len() == 4 => " | all".into(),
        (SettingScope::Sync(bases), _) => {
            let name = |base: &SyncBase| match base {
                SyncBase::Own => "own",
                SyncBase::Rsync => "rsync",
                SyncBase::Rsyncssh => "rsyncssh",
                SyncBase::Direct => "direct",
            };
            format!(" | {}", bases.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        (SettingScope::Settings | SettingScope::Ssh | SettingScope::Tunnel, _) => String::new(),
    }
}

#[test]
fn every_log_message_is_documented_and_every_documented_message_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/log-messages.md")).unwrap();
    let mut files = Vec::new();
    for directory in ["src", "crates/core/src"] {
        collect_sources(&root.join(directory), &mut files);
    }
    let mut problems = Vec::new();
    let mut literals = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        if path.extension().is_some_and(|extension| extension == "lua") {
            literals.push(text);
            continue;
        }
        let file =
            RustLiterals::of(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        let mut messages = Vec::new();
        if path.ends_with("src/engine/log_events.rs") {
            messages.extend(file.literals.iter().map(|it| &*it.text).filter(|it| it.contains(' ')));
        }
        if !path.starts_with(root.join("src/check")) {
            messages.extend(file.logged());
        }
        for part in messages.into_iter().map(longest_fixed_part) {
            if part.chars().count() >= 8 && !page.contains(part) {
                problems.push(format!("{}: not on the page: {part}", path.display()));
            }
        }
        literals.extend(file.literals.into_iter().map(|it| it.text));
    }
    for cell in page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")) {
        let part = longest_part(cell.0.split("..")).trim_matches([' ', ':', '(']);
        if !is_composed(part, &literals) {
            problems.push(format!("docs/log-messages.md: not in the sources: {}", cell.0));
        }
    }
    assert!(problems.is_empty(), "docs/log-messages.md is outdated:\n{}", problems.join("\n"));
}

/// Returns true if one literal has this text, or two have its parts before and after a blank.
fn is_composed(text: &str, literals: &[String]) -> bool {
    let has = |part: &str| literals.iter().any(|it| it.contains(part));
    let is_long = |part: &str| part.len() >= 6;
    let mut halves = text.match_indices(' ').map(|(at, _)| text.split_at(at));
    !text.is_empty()
        && (has(text)
            || halves.any(|(one, two)| {
                let [one, two] = [one, two].map(|half| half.trim_matches([' ', ':']));
                is_long(one) && is_long(two) && has(one) && has(two)
            }))
}

/// Collects the Rust and Lua files below a directory, without those of tests.
fn collect_sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "tests" && name != "sim" {
                collect_sources(&path, files);
            }
        } else if path.extension().is_some_and(|it| it == "rs" || it == "lua") && name != "tests.rs"
        {
            files.push(path);
        }
    }
}

/// Returns the longest part of a format string outside of its placeholders.
fn longest_fixed_part(format: &str) -> &str {
    let parts = format.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after));
    longest_part(parts.flat_map(|part| part.split('\n')))
}

fn longest_part<'a>(parts: impl Iterator<Item = &'a str>) -> &'a str {
    parts.map(str::trim).max_by_key(|part| part.len()).unwrap_or_default()
}

/// A string literal and its position in the file.
struct LocatedLiteral {
    start: usize,
    text: String,
}

/// The string literals of a file, and its code with all literals and comments blanked out.
struct RustLiterals {
    source: String,
    code: String,
    literals: Vec<LocatedLiteral>,
}

impl RustLiterals {
    fn of(source: &str) -> Self {
        let mut code = source.as_bytes().to_vec();
        let mut literals = Vec::new();
        let mut at = 0;
        while let Some(rest) = source.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let length = match rest {
                [b'/', b'/', ..] => rest.iter().take_while(|&&byte| byte != b'\n').count(),
                [b'"', ..] => {
                    let (text, length) = unquote(&source[at..]);
                    literals.push(LocatedLiteral { start: at, text });
                    length
                }
                [b'\'', b'\\', _, inner @ ..] => {
                    3 + inner.iter().take_while(|&&byte| byte != b'\'').count() + 1
                }
                [b'\'', _, b'\'', ..] => 3,
                _ => {
                    at += 1;
                    continue;
                }
            };
            let end = (at + length).min(code.len());
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            at = end;
        }
        // Other characters than those of ASCII stand in comments and literals only.
        let code = String::from_utf8(code).expect("code is ASCII");
        Self { source: source.to_owned(), code, literals }
    }

    /// Returns the literals that are logged as Normal, Warn or Error.
    fn logged(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for (call, _) in self.code.match_indices(".say(") {
            let end = call + call_length(&self.code[call..]);
            let category = self.code[call..].trim_start_matches(".say(").trim_start();
            let is_shown = ["Normal", "Warn", "Error"].iter().any(|name| {
                category.strip_prefix("Category::").is_some_and(|it| it.starts_with(name))
            });
            if is_shown {
                found.extend(self.between(call, end));
                found.extend(self.let_literals(call, end));
            }
        }
        found
    }

    fn between(&self, start: usize, end: usize) -> impl Iterator<Item = &str> {
        let is_inside = move |it: &&LocatedLiteral| (start..end).contains(&it.start);
        self.literals.iter().filter(is_inside).map(|it| &*it.text)
    }

    /// Returns the literals of the variables of a call that are set before in the same function.
    fn let_literals(&self, call: usize, end: usize) -> Vec<&str> {
        let function = self.code[..call].rfind("fn ").unwrap_or_default();
        let words = self.source[call..end].split(|c: char| !c.is_alphanumeric() && c != '_');
        let mut found = Vec::new();
        for word in words.filter(|word| !word.is_empty()) {
            let binding = format!("let {word} =");
            if let Some(at) = self.code[function..call].rfind(&binding) {
                let start = function + at;
                let end = start + self.code[start..].find(';').unwrap_or_default();
                found.extend(self.between(start, end));
            }
        }
        found
    }
}

/// Returns the length of a call up to its closing parenthesis.
fn call_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth <= 1 => return at,
            b')' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Returns the value of the string literal that `source` begins with, and its length in bytes.
fn unquote(source: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = source.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match chars.next() {
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, source.len())
}
