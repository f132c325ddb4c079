//! The command line of `lsyncctl`. Completions and the man page are made from it.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Command, Parser, Subcommand, ValueEnum};
use clap_complete::{Shell, generate};

use crate::control::location::SOCKET_VARIABLE;

/// Shows and controls a running lsyncd.
#[derive(Debug, Parser)]
#[command(name = "lsyncctl", version, max_term_width = 100)]
#[command(about = "Show and control a running lsyncd")]
#[command(disable_help_subcommand = true, after_long_help = EXIT_CODES)]
pub struct CtlArgs {
    /// Options of all commands.
    #[command(flatten)]
    pub options: CtlOptions,
    /// The command.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// Text about exit codes, for help and manual.
const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 a negative result, 2 failure (no daemon runs, or it refused), 3 usage or \
protocol error. Those of `status` are the codes of a Nagios plugin: 0 OK, 1 WARNING, 2 CRITICAL, \
3 UNKNOWN.";

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct CtlOptions {
    /// Control socket of the daemon; without it, the only running daemon is used
    #[arg(long, global = true, env = SOCKET_VARIABLE, value_name = "PATH")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// Maximum time for an answer; `verify`, and `flush` without `--timeout`, have no limit
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub answer_timeout: Option<Duration>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Show the state of the syncs
    Status(StatusArgs),
    /// Transfer all present changes now, and wait until they are on the targets
    Flush(FlushArgs),
    /// Start no transfer until `resume`; running ones end
    Pause(SelectionArgs),
    /// End a pause
    Resume(SelectionArgs),
    /// Start a full transfer
    Resync(SelectionArgs),
    /// Accept what syncs are held for: counted deletions, another source, a failed onSynced
    Release(SyncSelectionArgs),
    /// Retry at once everything that waits after a failure
    Retry(SyncSelectionArgs),
    /// Reload the configuration
    Reload,
    /// Explain the treatment of a path
    Explain(ExplainArgs),
    /// Compare the targets with their sources, without any change
    Verify(SelectionArgs),
    /// Change the level of the log until the daemon exits
    Log(LogArgs),
    /// Stop the daemon, and wait until it has exited
    Stop(StopArgs),
    /// Print metrics as Prometheus text
    Metrics,
    /// List the latest transfers
    History(HistoryArgs),
    /// Serve a status page, metrics and documents over HTTP
    Serve(ServeArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
}

/// A selection of syncs.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectionArgs {
    /// Name or target of a sync, or a path in its source, which begins with `/`, `./` or `../`;
    /// all syncs without it
    #[arg(value_name = "SYNC|PATH", value_hint = clap::ValueHint::AnyPath)]
    pub selection: Option<OsString>,
}

/// A selection of whole syncs.
#[derive(Clone, Debug, Default, Args)]
pub struct SyncSelectionArgs {
    /// Name or target of a sync; all syncs without it
    #[arg(value_name = "SYNC")]
    pub sync: Option<String>,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Default, Args)]
pub struct StatusArgs {
    /// The syncs.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Redraw it regularly until `q` is pressed, by default each second
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = interval, require_equals = true, conflicts_with_all = ["json", "nagios"])]
    pub watch: Option<Duration>,
    /// Report a warning if a change is older than this, and a critical state beyond twice this
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub max_age: Option<Duration>,
    /// Print the output of a Nagios plugin, with performance data
    #[arg(long, conflicts_with = "json")]
    pub nagios: bool,
    /// Show details of each sync
    #[arg(long, short)]
    pub verbose: bool,
}

/// Arguments of `flush`.
#[derive(Clone, Debug, Args)]
pub struct FlushArgs {
    /// Names or targets of syncs, or paths in their sources, which begin with `/`, `./` or `../`;
    /// all syncs without any
    #[arg(value_name = "SYNC|PATH", value_hint = clap::ValueHint::AnyPath)]
    pub selections: Vec<OsString>,
    /// Keep on retrying failures for this time; without it, the first obstacle ends the command
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// File or directory in a source; it need not exist
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub path: PathBuf,
}

/// Arguments of `log`.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// An argument of lsyncd's option -log: all, scarce, or a category
    pub level: String,
}

/// Arguments of `stop`.
#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// Return as soon as the daemon has begun to exit
    #[arg(long)]
    pub no_wait: bool,
}

/// Arguments of `history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The syncs.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Maximum number of transfers of each sync
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9783")]
    pub listen: SocketAddr,
    /// Name by which browsers may address the server, besides addresses and localhost; repeatable
    #[arg(long, value_name = "NAME", value_hint = clap::ValueHint::Hostname)]
    pub allow_host: Vec<String>,
    /// Permit to pause, resume, flush, retry, resync and release, to whoever has the token
    #[arg(long)]
    pub control: bool,
    /// File with the token, for its owner only; without it a token is made and printed
    #[arg(long, value_name = "FILE", requires = "control")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: CompletionShell,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    /// Completions in `bash`.
    #[value(help = None)]
    Bash,
    /// Completions in `zsh`.
    #[value(help = None)]
    Zsh,
    /// Completions in `fish`.
    #[value(help = None)]
    Fish,
}

impl CompletionShell {
    /// Returns the completions of a command.
    #[must_use]
    pub fn script(self, mut command: Command) -> Vec<u8> {
        let shell = match self {
            Self::Bash => Shell::Bash,
            Self::Zsh => Shell::Zsh,
            Self::Fish => Shell::Fish,
        };
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        generate(shell, &mut command, name, &mut script);
        script
    }
}

/// Parses a number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds".to_owned())
}

/// Parses the interval of a live view.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    let least = Duration::from_millis(100);
    if interval < least { Err("at least 0.1 is needed".to_owned()) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        CtlArgs::command().debug_assert();
    }
}
