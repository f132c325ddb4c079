//! Texts of `-help`, `-version` and `-monitor`, and the table of options that help, manual and
//! completions are made from.

use std::fmt::Write as _;

/// Version of the package.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names that `-monitor` accepts on this system. `fsevents` is accepted too, as by the original.
pub(super) const MONITORS: &str = "\
This Lsyncd supports these monitors:
   inotify

";

/// An option of the command line, as people read about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    /// Its names, with one dash.
    pub names: &'static [&'static str],
    /// Its arguments; empty if it has none.
    pub arguments: &'static str,
    /// The words that a shell may complete.
    pub completion: OptionCompletion,
    /// Description: a sentence without a full stop.
    pub text: &'static str,
}

/// The words that may follow an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionCompletion {
    /// None: the option has no argument.
    Nothing,
    /// Any text.
    Text,
    /// A file.
    File,
    /// One of these words, or another one.
    Words(&'static [&'static str]),
    /// A directory, and then any words.
    Source,
}

/// The options that declare a sync.
pub const SYNC_OPTIONS: [OptionHelp; 3] = [
    OptionHelp {
        names: &["-rsync"],
        arguments: "SOURCE TARGET",
        completion: OptionCompletion::Source,
        text: "by rsync, to any target that rsync accepts",
    },
    OptionHelp {
        names: &["-rsyncssh"],
        arguments: "SOURCE HOST TARGETDIR",
        completion: OptionCompletion::Source,
        text: "by rsync over ssh, with renames on the target",
    },
    OptionHelp {
        names: &["-direct"],
        arguments: "SOURCE TARGET",
        completion: OptionCompletion::Source,
        text: "to another directory of this machine, without rsync",
    },
];

/// All other options. One with several forms is listed for each form.
pub const OPTIONS: [OptionHelp; 24] = [
    switch(
        &["-check"],
        "print the syncs and all warnings, and exit; with -check=strict, exit with 1 if there are \
         warnings",
    ),
    option(
        &["-configExitCode"],
        "N",
        OptionCompletion::Text,
        "exit with N instead of 255 if the command line or the configuration is invalid",
    ),
    option(
        &["-delay"],
        "SECONDS",
        OptionCompletion::Text,
        "transfer changes after this time; without it, a change is transferred after a short quiet \
         time",
    ),
    option(
        &["-exclude"],
        "PATTERN",
        OptionCompletion::Text,
        "exclude what matches this rsync pattern; repeatable",
    ),
    switch(&["-full"], "start with full transfers, whatever the snapshots in stateDir say"),
    switch(&["-help", "-h"], "print this text"),
    switch(&["-insist"], "retry a failed startup instead of exiting"),
    option(&["-log"], "all", LOG_LEVELS, "log all categories"),
    option(&["-log"], "scarce", LOG_LEVELS, "log errors and warnings only"),
    option(&["-log"], "CATEGORY", LOG_LEVELS, "log this category, too, such as Exec; repeatable"),
    option(
        &["-logfile"],
        "FILE",
        OptionCompletion::File,
        "append to FILE; a daemon without one uses syslog",
    ),
    option(
        &["-logFormat"],
        "FORMAT",
        OptionCompletion::Words(&["text", "json"]),
        "text (the default), or json: one object a line",
    ),
    option(
        &["-maxDelete"],
        "BUDGET",
        OptionCompletion::Words(&["false"]),
        "limit of deletions that no event reported: a share such as 50% (the default), a number, \
         or false for no limit",
    ),
    option(
        &["-monitor"],
        "NAME",
        OptionCompletion::Words(&["inotify"]),
        "accepted for compatibility; alone it lists the names",
    ),
    switch(&["-nodaemon"], "stay in the foreground"),
    switch(&["-onepass"], "exit once all targets equal their sources"),
    option(
        &["-pidfile"],
        "FILE",
        OptionCompletion::File,
        "write the process id to FILE, and lock it",
    ),
    option(&["-script"], "FILE", OptionCompletion::File, "run a Lua file first; repeatable"),
    option(
        &["-sshopts"],
        "ARGS",
        OptionCompletion::Text,
        "additional arguments of ssh for -rsyncssh",
    ),
    option(
        &["-stateDir"],
        "DIR",
        OptionCompletion::File,
        "keep snapshots in DIR, so that a restart transfers only what has changed",
    ),
    switch(
        &["-try"],
        "like -check, and print for each target what the first transfer would send and delete",
    ),
    switch(&["-v"], "with -check: print every setting and rsync call"),
    switch(&["-version", "-V"], "print the version"),
    option(
        &["-watch"],
        "BACKEND",
        OptionCompletion::Words(&["auto", "inotify", "fanotify"]),
        "auto (selects by the source), inotify or fanotify",
    ),
];

/// Arguments of `-log` that a shell completes.
const LOG_LEVELS: OptionCompletion =
    OptionCompletion::Words(&["all", "scarce", "Exec", "Normal", "Warn", "Error"]);

const fn switch(names: &'static [&'static str], text: &'static str) -> OptionHelp {
    OptionHelp { names, arguments: "", completion: OptionCompletion::Nothing, text }
}

const fn option(
    names: &'static [&'static str],
    arguments: &'static str,
    completion: OptionCompletion,
    text: &'static str,
) -> OptionHelp {
    OptionHelp { names, arguments, completion, text }
}

/// Column in which the descriptions begin, and the width of the text.
const DESCRIPTION_COLUMN: usize = 24;
const WIDTH: usize = 82;

/// Returns the help text.
pub(super) fn text() -> String {
    let mut text = format!("lsyncd version: {VERSION}\n\n{USAGE}");
    for OptionHelp { names, arguments, text: meaning, .. } in &SYNC_OPTIONS {
        let names = names.join(", ");
        let _ = writeln!(text, "  {meaning}:\n    lsyncd [OPTIONS] {names} {arguments}");
    }
    text += "  The last three can be repeated and mixed.\n\nOPTIONS: (one dash or two)\n";
    for option in &OPTIONS {
        write_option(option, &mut text);
    }
    text + END
}

fn write_option(option: &OptionHelp, text: &mut String) {
    let head = format!("  {} {}", option.names.join(", "), option.arguments);
    let mut column = DESCRIPTION_COLUMN;
    let _ = write!(text, "{:DESCRIPTION_COLUMN$}", head.trim_end());
    for (number, word) in option.text.split(' ').enumerate() {
        if column + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n{:DESCRIPTION_COLUMN$}", "");
            column = DESCRIPTION_COLUMN;
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

const USAGE: &str = "\
USAGE:
  from a configuration file:
    lsyncd [OPTIONS] CONFIG-FILE
";

const END: &str = "
LICENSE:
  GPL version 2, or any later version.

SEE:
  docs/configuration.md

";

#[cfg(test)]
mod tests {
    use super::{super::args::Invocation, *};
    use std::ffi::OsString;

    #[test]
    fn each_option_of_the_table_is_parsed_with_its_arguments() {
        for option in SYNC_OPTIONS.iter().chain(&OPTIONS) {
            for name in option.names {
                let argument = match option.completion {
                    OptionCompletion::Words(words) => words[0],
                    _ => "1",
                };
                let count = option.arguments.split_whitespace().count();
                let mut args = vec![OsString::from(name)];
                args.extend(vec![OsString::from(argument); count]);
                let has_sync = matches!(option.completion, OptionCompletion::Source);
                args.extend(["-rsync", "a", "b"].iter().filter(|_| !has_sync).map(OsString::from));
                let result = Invocation::parse(&args);
                let is_exit = ["-help", "-h", "-version", "-V"].contains(name);
                assert!(result.is_ok() != is_exit, "{name}: {result:?}");
            }
        }
    }

    #[test]
    fn the_help_lists_each_option() {
        let text = text();
        let part = "
  -check                print the syncs and all warnings, and exit; with
                        -check=strict, exit with 1 if there are warnings
  -configExitCode N     exit";
        assert!(text.contains(part), "{text}");
        for option in SYNC_OPTIONS.iter().chain(&OPTIONS) {
            assert!(text.contains(&option.names.join(", ")));
        }
        assert!(text.lines().all(|line| line.len() <= WIDTH));
    }
}
