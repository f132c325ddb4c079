//! The fenced blocks of a page.
//!
//! | first word | further words | meaning |
//! |---|---|---|
//! | `lua` | `file=PATH` | a complete configuration: checked, and kept for later commands |
//! | `lua` | `warns` | the same with warnings |
//! | `console` | `exit=N` | lines `$ command`, each followed by its output |
//! | `console` | `daemon` | one command that keeps running, and the beginning of its output |
//! | `sh` | `file=PATH` | a script: run, or with a file kept as an executable program |
//! | each of them | `norun=REASON` | cannot be run here: only its syntax and options are checked |
//! | `ini`, `json`, `text` | `file=PATH` | anything else; `json` is parsed |
//!
//! `<!-- run: COMMAND -->` and `<!-- daemon: COMMAND -->` on a line of their own prepare what the
//! blocks after them need. In an output, `..` stands for any text, and a line of that for any
//! lines. Durations, times, process ids and versions may differ.

/// Reasons that forbid to run a block in a sandbox.
const REASONS: [&str; 8] =
    ["build", "example", "foreground", "install", "macos", "other-host", "root", "systemd"];

/// A page of the manual.
#[derive(Debug)]
pub(crate) struct ManualPage {
    /// Its parts, in order.
    pub(crate) items: Vec<PageItem>,
}

/// A part of a page.
#[derive(Debug)]
pub(crate) enum PageItem {
    /// A command that readers do not see.
    Setup { line: usize, command: String },
    /// A daemon that readers do not see.
    HiddenDaemon { line: usize, command: String },
    /// A fenced block.
    Block(FencedBlock),
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct FencedBlock {
    /// The line of its fence.
    pub(crate) line: usize,
    /// Its language.
    pub(crate) language: String,
    /// Its treatment.
    pub(crate) action: BlockAction,
    /// The file that it is the content of.
    pub(crate) file: Option<String>,
    pub(crate) text: String,
}

/// The treatment of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BlockAction {
    /// A configuration that is checked, for warnings, too, if it is strict.
    Check { is_strict: bool },
    /// Commands with their output; the last one ends with this code.
    Transcript { code: i32 },
    /// A daemon in the foreground.
    Daemon,
    /// A script that is run.
    Script,
    /// Commands that are not run.
    ParseOnly,
    /// A text that is written to its file, if it has one.
    Keep,
}

impl PageItem {
    /// Returns true if it runs something.
    pub(crate) const fn is_run(&self) -> bool {
        match self {
            Self::Setup { .. } | Self::HiddenDaemon { .. } => true,
            Self::Block(block) => !matches!(block.action, BlockAction::ParseOnly),
        }
    }
}

impl ManualPage {
    /// Reads a page; an unknown word or an unmarked block fails the test.
    pub(crate) fn parse(name: &str, text: &str) -> Self {
        let mut items = Vec::new();
        let mut lines = text.lines().enumerate();
        let mut before = "";
        while let Some((index, line)) = lines.next() {
            let number = index + 1;
            if let Some(info) = line.strip_prefix("```") {
                let body: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|it| *it != "```").collect();
                let text = body.iter().flat_map(|line| [line, "\n"]).collect();
                let block = FencedBlock::new(number, info, text);
                items.push(PageItem::Block(
                    block.unwrap_or_else(|problem| panic!("{name}:{number}: {problem}")),
                ));
            } else if let Some(item) = directive(line, number) {
                items.push(item);
            } else {
                let is_code = line.starts_with("    ") && before.is_empty();
                let is_tested_elsewhere = name == "scripts.md";
                assert!(!is_code || is_tested_elsewhere, "{name}:{number}: use a fenced block");
            }
            before = line;
        }
        Self { items }
    }
}

/// Reads a comment `<!-- run: .. -->` or `<!-- daemon: .. -->`; any other one fails the test.
fn directive(line: &str, number: usize) -> Option<PageItem> {
    let text = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    // The tables of configuration.md.
    if ["settings", "sync", "rsync", "ssh", "tunnel", "end"].contains(&text) {
        return None;
    }
    let (kind, command) = text.split_once(": ").unwrap_or((text, ""));
    let command = command.to_owned();
    match kind {
        "run" => Some(PageItem::Setup { line: number, command }),
        "daemon" => Some(PageItem::HiddenDaemon { line: number, command }),
        _ => panic!("line {number}: {line}"),
    }
}

impl FencedBlock {
    fn new(line: usize, info: &str, text: String) -> Result<Self, String> {
        let mut words = info.split_whitespace();
        let language = words.next().ok_or("a block without a language")?.to_owned();
        let mut action = match &*language {
            "lua" => BlockAction::Check { is_strict: true },
            "console" => BlockAction::Transcript { code: 0 },
            "sh" => BlockAction::Script,
            "ini" | "json" | "text" => BlockAction::Keep,
            _ => return Err(format!("unknown language {language}")),
        };
        let mut file = None;
        for word in words {
            let is_console = language == "console";
            match word.split_once('=').unwrap_or((word, "")) {
                ("norun", reason) if REASONS.contains(&reason) => action = BlockAction::ParseOnly,
                ("file", path) if path.starts_with(['/', '~']) && !is_console => {
                    file = Some(path.to_owned());
                }
                ("warns", "") if language == "lua" => {
                    action = BlockAction::Check { is_strict: false };
                }
                ("daemon", "") if is_console => action = BlockAction::Daemon,
                ("exit", code) if is_console => {
                    let code = code.parse().map_err(|_| format!("{code} is no exit code"))?;
                    action = BlockAction::Transcript { code };
                }
                _ => return Err(format!("unknown word {word}")),
            }
        }
        if language == "sh" && file.is_some() && action == BlockAction::Script {
            action = BlockAction::Keep;
        }
        if language == "json" {
            serde_json::from_str::<serde_json::Value>(&text).map_err(|it| it.to_string())?;
        }
        Ok(Self { line, language, action, file, text })
    }
}

/// Returns the commands of a transcript, each with its output.
pub(crate) fn transcript(text: &str) -> Vec<ShownCommand> {
    let mut commands: Vec<ShownCommand> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            commands.push(ShownCommand { command, output: Vec::new() });
            continue;
        }
        let last = commands.last_mut().expect("a console block begins with a command");
        if last.output.is_empty() && last.command.ends_with('\\') {
            last.command = format!("{}\n{line}", last.command);
        } else {
            last.output.push(line.to_owned());
        }
    }
    commands
}

/// A command with its output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShownCommand {
    pub(crate) command: String,
    pub(crate) output: Vec<String>,
}

#[test]
fn a_block_needs_a_known_language_and_known_words() {
    let block = |info: &str| FencedBlock::new(1, info, String::new());
    for info in ["", "bash", "lua run", "sh norun=laziness", "sh norun", "text daemon", "lua file="]
    {
        assert!(block(info).is_err(), "{info}");
    }
    assert_eq!(block("console exit=1").unwrap().action, BlockAction::Transcript { code: 1 });
    assert_eq!(block("sh norun=root").unwrap().action, BlockAction::ParseOnly);
    assert_eq!(block("sh file=/etc/a").unwrap().action, BlockAction::Keep);
    assert!(FencedBlock::new(1, "json", "{,}".into()).is_err());
}

#[test]
fn commands_are_separated_from_their_output() {
    let commands = transcript("$ a \\\n  b\n1\n2\n$ c\n");
    assert_eq!(commands[0].command, "a \\\n  b");
    assert_eq!(commands[0].output, ["1", "2"]);
    assert_eq!(commands[1], ShownCommand { command: "c".into(), output: Vec::new() });
}
