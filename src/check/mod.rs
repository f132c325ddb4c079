//! `-check`: validates the configuration and describes what it would do.
//!
//! Nothing is started or written and no target is contacted, with two exceptions: rsync is asked
//! for its version, and `-try` contacts the targets.

mod describe;
mod duplicate_keys;
mod lints;
mod patterns;
mod programs;
mod rsync_options;
pub mod shell_line;
mod summary;
mod tunnels;
mod watch_limit;

use std::{
    fmt::Write as _,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;

use crate::{
    config::{Config, SyncConfig, SyncKind, SyncPositions},
    report::RunMode,
};

/// Describes what the first transfer of a sync would do, with relative targets in a directory. An
/// error is the reason for which source and target cannot be compared.
pub type TrySync = fn(&SyncConfig, &Path) -> Result<String, String>;

/// Configuration to check, with its context.
#[derive(Clone, Copy, Debug)]
pub struct CheckInput<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Configuration files it was loaded from.
    pub files: &'a [PathBuf],
    /// Directory that relative paths are resolved against.
    pub start_dir: &'a Path,
    /// Positions of the syncs in the files.
    pub positions: &'a SyncPositions,
    /// Warnings found while loading.
    pub warnings: &'a [String],
    /// True to describe all settings and rsync calls.
    pub is_verbose: bool,
    /// True if the targets are to be contacted.
    pub contact_targets: bool,
    /// Describes what the first transfer of a sync would do, once its target was reached.
    pub try_sync: Option<TrySync>,
    /// Returns true if the file system of a directory can be watched as a whole.
    pub can_watch_file_system: fn(&Path) -> bool,
}

/// Result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Description of the configuration, and the warnings.
    pub text: String,
    /// Number of warnings in the text.
    pub warnings: usize,
    /// One message for each target that cannot be reached.
    pub errors: Vec<String>,
}

impl CheckReport {
    /// Checks and describes a configuration.
    #[must_use]
    pub fn new(input: CheckInput<'_>) -> Self {
        let mut report = Self::default();
        let Config { daemon, syncs, .. } = input.config;
        if input.is_verbose {
            describe::daemon(&mut report.text, daemon);
            for sync in syncs {
                describe::sync(&mut report.text, sync);
            }
        } else {
            summary::daemon(&mut report.text, daemon);
            summary::syncs(&mut report.text, syncs);
        }
        let found =
            lints::warnings(input).into_iter().map(|text| input.positions.with_position(text));
        for warning in input.warnings.iter().cloned().chain(found) {
            report.warnings += 1;
            // Writing to a `String` cannot fail.
            let _ = writeln!(report.text, "Warning: {warning}");
        }
        if let count @ 1.. = report.warnings {
            let noun = if count == 1 { "warning" } else { "warnings" };
            let _ = writeln!(report.text, "{count} {noun}");
        }
        if input.contact_targets {
            let start_dir = match input.config.daemon.mode {
                RunMode::Daemon => Path::new("/"),
                RunMode::Foreground => input.start_dir,
            };
            for sync in &input.config.syncs {
                if sync.tunnel.is_some() {
                    let target = Escaped(sync.target.as_bytes());
                    let name = &sync.name;
                    let text = format!("{name}: target {target} not tried: its tunnel is not up");
                    let _ = writeln!(report.text, "{text}");
                } else {
                    match try_target(sync, start_dir, input.try_sync) {
                        Ok(text) => report.text += &text,
                        Err(why) => report.errors.push(why),
                    }
                }
            }
        }
        if report.errors.is_empty() {
            report.text += "OK\n";
        }
        report
    }
}

/// Contacts the target of a sync, and describes what its first transfer would do. Changes nothing.
fn try_target(
    sync: &SyncConfig,
    start_dir: &Path,
    try_sync: Option<TrySync>,
) -> Result<String, String> {
    programs::try_target(sync, start_dir)?;
    let (name, target) = (&sync.name, Escaped(sync.target.as_bytes()));
    if sync.kind == SyncKind::Script {
        let why = "only its functions know what they transfer";
        return Ok(format!("{name}: target {target} not tried: {why}\n"));
    }
    let Some(try_sync) = try_sync else { return Ok(String::new()) };
    let differences = try_sync(sync, start_dir)
        .map_err(|why| format!("{name}: cannot compare the target {target}: {why}"))?;
    Ok(format!("{name}: target {target} reached\n{differences}"))
}

/// Returns the errors that concern settings of the daemon and of its syncs together.
#[must_use]
pub fn errors(config: &Config) -> Vec<String> {
    lints::mirrored_state(config)
}

/// Returns the warnings that are cheap to find. The daemon logs them when it starts.
#[must_use]
pub fn warnings_at_start(
    config: &Config,
    files: &[PathBuf],
    start_dir: &Path,
    positions: &SyncPositions,
) -> Vec<String> {
    let found = lints::at_start(config, files, start_dir);
    found.into_iter().map(|text| positions.with_position(text)).collect()
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}
