//! The manual in `docs`: its commands and configurations are run, its links lead somewhere.
//!
//! A page is a session in a sandbox: its files are written, its configurations are checked by
//! `lsyncd -check=strict`, and its commands run in their order. The words behind the language of a
//! fenced block decide what is done with it; see [`blocks`]. Directories of the manual, such as
//! `/srv`, are directories of the sandbox, and other hosts, such as `web1:`, too.
#![cfg(test)]

mod blocks;
mod commands;
mod links;
mod session;
mod transcript;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use blocks::{BlockAction, ManualPage, PageItem};
use session::ManualSession;

/// Declares a test for each page of the manual.
macro_rules! pages {
    ($($test:ident: $file:literal),+ $(,)?) => {
        const PAGES: &[&str] = &[$($file),+];

        $(
            #[test]
            fn $test() {
                run($file);
            }
        )+
    };
}

pages! {
    quick_start: "quick-start.md",
    installation: "install.md",
    modes: "modes.md",
    configuration: "configuration.md",
    filters: "filters.md",
    scripts: "scripts.md",
    remote_targets: "remote.md",
    deploying_a_web_site: "deploy.md",
    operating: "operating.md",
    the_control_tool: "lsyncctl.md",
    monitoring: "monitoring.md",
    macos: "macos.md",
    migrating: "migrating.md",
    known_differences: "known-differences.md",
    comparison: "comparison.md",
    troubleshooting: "troubleshooting.md",
    log_messages: "log-messages.md",
    questions_and_answers: "faq.md",
}

/// The directory of the manual.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Reads a page.
fn page(name: &str) -> ManualPage {
    let text = fs::read_to_string(docs().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    ManualPage::parse(name, &text)
}

/// Does what the blocks of a page say.
fn run(name: &str) {
    let page = page(name);
    let needs_rsync = page.items.iter().any(PageItem::is_run);
    let has_rsync = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join("rsync").is_file())
    });
    if needs_rsync && !has_rsync {
        println!("skipped: this needs rsync");
        return;
    }
    let mut session = ManualSession::new(name);
    for item in &page.items {
        match item {
            PageItem::Setup { line, command } => session.at(*line).run_hidden(command),
            PageItem::HiddenDaemon { line, command } => session.at(*line).start(command, &[]),
            PageItem::Block(block) => {
                let session = session.at(block.line);
                match &block.action {
                    BlockAction::Check { is_strict } => {
                        session.check_config(&block.text, block.file.as_deref(), *is_strict);
                    }
                    BlockAction::Transcript { code } => session.transcript(&block.text, *code),
                    BlockAction::Daemon => session.start_shown(&block.text),
                    BlockAction::Script => session.script(&block.text),
                    BlockAction::ParseOnly => {
                        let problems = commands::problems(block);
                        assert!(problems.is_empty(), "{name}:{}: {problems:?}", block.line);
                    }
                    BlockAction::Keep => session.keep(&block.text, block.file.as_deref()),
                }
            }
        }
    }
}

#[test]
fn the_summary_lists_every_page_and_no_other() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let listed = links::targets(&summary);
    let unique: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    let mut existing = BTreeSet::new();
    for directory in ["", "decisions/"] {
        for entry in fs::read_dir(docs().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{directory}{}", path.file_name().unwrap().display());
            if path.extension().is_some_and(|it| it == "md") && name != "SUMMARY.md" {
                existing.insert(name);
            }
        }
    }
    let existing: BTreeSet<&str> = existing.iter().map(String::as_str).collect();
    assert_eq!(unique, existing, "SUMMARY.md (left) and the pages (right)");
    let manual = summary.split("# For developers").next().unwrap();
    let chapters: BTreeSet<String> = links::targets(manual).into_iter().collect();
    let tested: BTreeSet<String> = PAGES.iter().map(|&page| page.to_owned()).collect();
    assert_eq!(chapters, tested, "the chapters (left) and those that a test runs (right)");
}

#[test]
fn the_book_is_made_from_this_directory() {
    let text = fs::read_to_string(docs().join("book.toml")).unwrap();
    for line in ["[book]", "src = \".\"", "title = \"Lsyncd\""] {
        assert!(text.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut problems = Vec::new();
    for name in PAGES.iter().chain(&["SUMMARY.md", "../README.md"]) {
        let text = fs::read_to_string(docs().join(name)).unwrap();
        problems.extend(links::problems(&docs().join(name), &text));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_messages_of_the_symptoms_are_documented() {
    let read = |name: &str| fs::read_to_string(docs().join(name)).unwrap();
    let (page, messages) = (read("troubleshooting.md"), read("log-messages.md"));
    let symptoms = page.split("\n## ").find(|it| it.starts_with("The ten")).unwrap();
    let rows: Vec<&str> = symptoms.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 10);
    for row in rows {
        let cell = row.split('|').nth(2).unwrap().trim();
        let message = cell.trim_matches('`');
        assert!(cell == "none" || messages.contains(message), "{message}");
    }
}

#[test]
fn commands_within_the_text_exist() {
    let mut problems = Vec::new();
    for name in PAGES {
        let text = fs::read_to_string(docs().join(name)).unwrap();
        problems.extend(commands::inline_problems(name, &text));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
