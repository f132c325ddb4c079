//! The tables of `docs/configuration.md` say what the table of settings says.
//!
//! `BLESS=1 cargo test --test manual` writes them anew.
#![cfg(test)]

use std::{env, fmt::Write as _, fs, path::Path};

use mirror_core::settings::{self, Base, Scope, Setting, Table, Takes, Word};

#[test]
fn the_page_has_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut expected = page.clone();
    for (name, table) in [
        ("settings", Table::Settings),
        ("sync", Table::Sync),
        ("rsync", Table::Rsync),
        ("ssh", Table::Ssh),
        ("tunnel", Table::Tunnel),
    ] {
        let start = format!("<!-- {name} -->\n");
        let (before, rest) = expected.split_once(&start).expect(name);
        let (_, after) = rest.split_once("<!-- end -->").expect(name);
        expected = format!("{before}{start}{}<!-- end -->{after}", rows(table));
    }
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    } else {
        assert!(page == expected, "the tables are old: BLESS=1 cargo test --test manual");
    }
}

fn rows(table: Table) -> String {
    let last = match table {
        Table::Rsync => " | rsync's word",
        Table::Sync => " | for",
        Table::Settings | Table::Ssh | Table::Tunnel => "",
    };
    let mut text = format!("| name | takes | default | what it does{last} |\n");
    text += if last.is_empty() { "|---|---|---|---|\n" } else { "|---|---|---|---|---|\n" };
    for setting in settings::of(table) {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let takes = takes(setting.takes);
        let last = last_cell(setting);
        writeln!(text, "| `{}` | {takes} | {default} | {}{last} |", setting.name, setting.doc)
            .unwrap();
    }
    text
}

fn takes(takes: Takes) -> String {
    let words = match takes {
        Takes::Flag => "a flag",
        Takes::Number(least) => return format!("a number, at least {least}"),
        Takes::Text => "a text",
        Takes::OneOf(choices) => {
            let choices: Vec<String> =
                choices.iter().map(|choice| format!("`\"{choice}\"`")).collect();
            return choices.join(", ");
        }
        Takes::Path => "a path",
        Takes::List => "a list of texts",
        Takes::Patterns | Takes::Command => "a text or a list of texts",
        Takes::CommandOrFunction => "a text, a list of texts or a function",
        Takes::Budget => "a share such as `\"50%\"`, a number, or `false` for any",
        Takes::Delete => "`true`, `false`, `\"startup\"`, `\"running\"`",
        Takes::Table => "a table",
        Takes::Codes => "a table from codes to `\"ok\"`, `\"again\"`, `\"die\"`",
        Takes::Function => "a function",
        Takes::FlagOrFunction => "a flag or a function",
    };
    words.into()
}

fn last_cell(setting: &Setting) -> String {
    match (setting.scope, setting.word) {
        (Scope::Rsync, Word::Short(letter)) => format!(" | `-{}`", char::from(letter)),
        (Scope::Rsync, Word::Long(word)) => format!(" | `{word}`"),
        (Scope::Rsync, Word::Value(word)) => format!(" | `{word}..`"),
        (Scope::Rsync, Word::None) => " | ".into(),
        (Scope::Sync(bases), _) if bases.len() == 4 => " | all".into(),
        (Scope::Sync(bases), _) => {
            let name = |base: &Base| match base {
                Base::Own => "own",
                Base::Rsync => "rsync",
                Base::Rsyncssh => "rsyncssh",
                Base::Direct => "direct",
            };
            format!(" | {}", bases.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        (Scope::Settings | Scope::Ssh | Scope::Tunnel, _) => String::new(),
    }
}
