//! Resolves the parsed command line on this machine.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    filter::Filter,
    path::Escaped,
    plan::{
        options::{ExcludeRules, RsyncOptions},
        ssh,
    },
    queue::Debounce,
};

use super::args::{EarlyExit, Invocation, SyncArgs};
use crate::{
    config::{
        Config, DEFAULT_MAX_DELAYS, DaemonConfig, Exclusions, SyncConfig, SyncKind, TargetBase,
        absolute, awaited_source, canonical_source, check_target, delay_from_secs,
        target_path::with_slash,
    },
    report::RunMode,
};

/// Configuration of a command line.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedArgs {
    /// The configuration. It has no syncs if a configuration file is given.
    pub config: Config,
    /// Warnings about doubtful values.
    pub warnings: Vec<String>,
}

impl ResolvedArgs {
    /// Resolves `invocation` relative to the directory `start_dir`.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be run.
    pub fn new(invocation: &Invocation, start_dir: &Path) -> Result<Self, EarlyExit> {
        let daemon = daemon(invocation, start_dir);
        let base = TargetBase { mode: daemon.mode, start_dir };
        let mut resolved = Self {
            config: Config { daemon, syncs: Vec::new(), tunnels: Vec::new() },
            warnings: Vec::new(),
        };
        for (args, number) in invocation.syncs.iter().zip(1..) {
            let mut sync = sync(invocation, args, number, start_dir)?;
            let filters = [Arc::clone(&sync.filter)];
            let checked = check_target(sync.kind, &sync.source, &sync.target, &filters, base);
            let checked = checked.map_err(EarlyExit::invalid)?;
            resolved.warnings.extend(checked.warning);
            sync.unchecked_target = checked.unchecked;
            resolved.config.syncs.push(SyncConfig { target: with_slash(&sync.target), ..sync });
        }
        Ok(resolved)
    }
}

/// Creates a sync of the command line. Its target is neither checked nor completed yet.
fn sync(
    invocation: &Invocation,
    args: &SyncArgs,
    number: usize,
    start_dir: &Path,
) -> Result<SyncConfig, EarlyExit> {
    let (kind, source, target) = match args {
        SyncArgs::Rsync { source, target } => (SyncKind::Rsync, source, target.clone()),
        SyncArgs::Direct { source, target } => (SyncKind::Direct, source, target.clone()),
        SyncArgs::Rsyncssh { source, host, targetdir } => {
            (SyncKind::Rsyncssh, source, ssh_target(host, targetdir)?)
        }
    };
    let given = absolute(start_dir, source);
    let source = resolve_source(invocation, source, start_dir)?;
    check_monitor(invocation.monitor.as_deref())?;
    let debounce = debounce(invocation.delay)?;
    let filter = Arc::new(filter(&invocation.excludes)?);
    let mut rsync = RsyncOptions { rules: rules(&filter), ..RsyncOptions::default() };
    if let (SyncKind::Rsyncssh, Some(args)) = (kind, &invocation.sshopts) {
        rsync.long.push(remote_shell(args)?);
    }
    Ok(SyncConfig {
        source_as_given: given,
        debounce,
        insist: invocation.insist,
        max_delete: invocation.max_delete.unwrap_or_default(),
        filter,
        exclusions: exclusions(&invocation.excludes),
        rsync,
        ..SyncConfig::new(format!("Sync{number}"), kind, source, target)
    })
}

/// Resolves a source, which need not exist yet with `-insist`.
fn resolve_source(
    invocation: &Invocation,
    source: &OsStr,
    start_dir: &Path,
) -> Result<PathBuf, EarlyExit> {
    canonical_source(start_dir, source).or_else(|bad| match awaited_source(start_dir, source) {
        Some(awaited) if invocation.insist => Ok(awaited),
        Some(_) => Err(EarlyExit::MissingSource(bad.0)),
        None => Err(EarlyExit::Invalid(bad.0)),
    })
}

/// Combines host and directory. With the slash that is appended, an empty directory would be the
/// root of the other machine.
fn ssh_target(host: &OsStr, targetdir: &OsStr) -> Result<OsString, EarlyExit> {
    for (name, arg) in [("host", host), ("target directory", targetdir)] {
        if arg.is_empty() {
            return Err(EarlyExit::invalid(format!("the {name} of -rsyncssh is empty")));
        }
    }
    let mut target = host.to_owned();
    target.push(":");
    target.push(targetdir);
    Ok(target)
}

fn remote_shell(args: &OsStr) -> Result<Vec<u8>, EarlyExit> {
    let mut all = vec![b"ssh".to_vec()];
    let args = ssh::split_words(args.as_bytes()).map_err(|quote| {
        let (args, quote) = (Escaped(args.as_bytes()), char::from(quote));
        EarlyExit::invalid(format!("unterminated {quote} in -sshopts [{args}]"))
    })?;
    all.extend(args);
    Ok(ssh::rsh_arg(&all))
}

fn daemon(invocation: &Invocation, start_dir: &Path) -> DaemonConfig {
    DaemonConfig {
        mode: if invocation.nodaemon { RunMode::Foreground } else { RunMode::Daemon },
        logfile: invocation.logfile.as_deref().map(|path| absolute(start_dir, path)),
        pidfile: invocation.pidfile.as_deref().map(|path| absolute(start_dir, path)),
        log_format: invocation.log_format.unwrap_or_default(),
        onepass: invocation.onepass,
        state_dir: invocation.state_dir.as_deref().map(|path| absolute(start_dir, path)),
        full: invocation.full,
        watch: invocation.watch,
        ..DaemonConfig::default()
    }
}

/// Checks the name of a monitor. `-watch` selects the backend; the original's names are only
/// validated.
fn check_monitor(name: Option<&OsStr>) -> Result<(), EarlyExit> {
    match name.map(OsStrExt::as_bytes) {
        None | Some(b"inotify" | b"fsevents") => Ok(()),
        Some(other) => {
            Err(EarlyExit::invalid(format!("event monitor \"{}\" unknown.", Escaped(other))))
        }
    }
}

fn debounce(seconds: Option<f64>) -> Result<Debounce, EarlyExit> {
    let Some(seconds) = seconds else { return Ok(Debounce::DEFAULT) };
    if seconds < 0.0 {
        return Err(EarlyExit::invalid("delay must be a number and >= 0"));
    }
    Ok(Debounce::FixedDelay { delay: delay_from_secs(seconds), max_waiting: DEFAULT_MAX_DELAYS })
}

fn filter(excludes: &[OsString]) -> Result<Filter, EarlyExit> {
    let mut builder = Filter::builder();
    for pattern in excludes {
        let pattern = pattern.as_bytes();
        builder.exclude(pattern).map_err(|error| {
            EarlyExit::invalid(format!("cannot use -exclude {}: {error}", Escaped(pattern)))
        })?;
    }
    Ok(builder.build())
}

fn rules(filter: &Filter) -> ExcludeRules {
    if filter.is_empty() {
        return ExcludeRules::None;
    }
    // Rules are used instead of the patterns: in a file for `--exclude-from`, a pattern that begins
    // with `#` would be a comment.
    ExcludeRules::Filters(filter.to_rsync_rules().collect())
}

fn exclusions(excludes: &[OsString]) -> Exclusions {
    let excludes = excludes.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
    Exclusions { filters: Vec::new(), excludes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MAX_DELAY;
    use std::{fs, os::unix::fs::symlink, time::Duration};

    /// Resolves `args` and passes the result to `check`. `@` stands for a directory with the
    /// directories `src` and `src/in`, the file `file`, and the symbolic link `link` to `src`.
    fn resolved(args: &str, check: impl Fn(&Path, Result<ResolvedArgs, EarlyExit>)) {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("src/in")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink("src", top.join("link")).unwrap();
        let at = top.to_str().unwrap();
        // `''` is the empty argument.
        let args: Vec<OsString> = args
            .split_whitespace()
            .map(|arg| arg.replace("''", "").replace('@', at).into())
            .collect();
        check(&top, Invocation::parse(&args).and_then(|args| ResolvedArgs::new(&args, &top)));
    }

    fn refused(args: &str, lines: &[&str]) {
        resolved(args, |top, resolved| {
            let at = top.to_str().unwrap();
            let lines = lines.iter().map(|line| line.replace('@', at)).collect();
            let error = match resolved {
                Err(EarlyExit::MissingSource(missing)) => Err(EarlyExit::Invalid(missing)),
                other => other,
            };
            assert_eq!(error, Err(EarlyExit::Invalid(lines)), "{args}");
        });
    }

    #[test]
    fn a_source_is_canonical_and_a_target_ends_in_a_slash() {
        resolved(
            "-nodaemon -rsync link host:x -rsync src/in/.. host: -direct @/src dst",
            |top, resolved| {
                let resolved = resolved.unwrap();
                let found: Vec<_> = resolved
                    .config
                    .syncs
                    .iter()
                    .map(|sync| {
                        assert_eq!(sync.source, top.join("src"));
                        (&*sync.name, sync.kind, sync.target.to_str().unwrap())
                    })
                    .collect();
                let expected = [
                    ("Sync1", SyncKind::Rsync, "host:x/"),
                    ("Sync2", SyncKind::Rsync, "host:"),
                    ("Sync3", SyncKind::Direct, "dst/"),
                ];
                assert_eq!(found, expected);
                let warnings = &resolved.warnings;
                assert!(
                    warnings.len() == 1 && warnings[0].contains("'host:' is the home directory"),
                    "{warnings:?}"
                );
            },
        );
    }

    #[test]
    fn relative_target_of_a_daemon_causes_a_warning() {
        resolved("-rsync src somewhere/x -rsync src host:x -rsync src @/dst", |_, resolved| {
            let warnings = resolved.unwrap().warnings;
            assert_eq!(
                warnings,
                ["the target 'somewhere/x' is relative: a daemon runs in /, so it means \
                     '/somewhere/x'"]
            );
        });
    }

    #[test]
    fn log_and_pid_file_paths_are_made_absolute() {
        resolved("-logfile log -pidfile /run/x.pid -rsync src host:", |top, resolved| {
            let daemon = resolved.unwrap().config.daemon;
            assert_eq!(daemon.logfile, Some(top.join("log")));
            assert_eq!(daemon.pidfile, Some("/run/x.pid".into()));
        });
    }

    #[test]
    fn delay_is_any_nonnegative_number() {
        for (arg, delay) in [
            ("0", Duration::ZERO),
            ("-0", Duration::ZERO),
            ("0.25", Duration::from_millis(250)),
            ("1e400", MAX_DELAY),
            ("99999999999999999999", MAX_DELAY),
        ] {
            resolved(&format!("-delay {arg} -rsync src host:"), |_, resolved| {
                let debounce = resolved.unwrap().config.syncs[0].debounce;
                assert_eq!(
                    debounce,
                    Debounce::FixedDelay { delay, max_waiting: DEFAULT_MAX_DELAYS },
                    "{arg}"
                );
            });
        }
    }

    #[test]
    fn syncs_are_checked_in_the_order_of_the_original() {
        let no_source =
            ["failure getting absolute path of [no]", "Cannot access source directory: no"];
        refused("-monitor x -delay -1 -rsync no /", &no_source);
        refused("-rsync src host: -rsync no host:", &no_source);
        refused("-monitor x -delay -1 -rsync src /", &["event monitor \"x\" unknown."]);
        refused("-monitor -nodaemon -rsync src /", &["event monitor \"-nodaemon\" unknown."]);
        refused("-delay -1 -rsync src /", &["delay must be a number and >= 0"]);
        refused("-monitor fsevents -delay -1 -rsync src /", &["delay must be a number and >= 0"]);
        refused(
            "-rsync '' host:",
            &["failure getting absolute path of []", "Cannot access source directory: "],
        );
        refused(
            "-rsync @/file host:",
            &[
                "cannot get absolute path of dir '@/file': is not a directory",
                "Cannot access source directory: @/file",
            ],
        );
    }

    #[test]
    fn dangerous_targets_are_refused() {
        for kind in ["rsync", "direct"] {
            let check = |mode: &str, target: &str, line: &str| {
                refused(&format!("{mode} -{kind} src {target}"), &[line]);
            };
            let root = |target: &str| {
                format!(
                    "the target '{target}' is the root directory of this machine, which would be \
                     erased"
                )
            };
            check("-nodaemon", "''", "the target for the source '@/src' is empty");
            for target in ["/", "//", "/.", "/usr/.."] {
                check("-nodaemon", target, &root(target));
            }
            // A daemon works in the root.
            check("", ".", &root("."));
            check("-nodaemon", ".", "the target '.' contains its source '@/src'");
            check(
                "-nodaemon",
                "link",
                "the target 'link' is the same directory as its source '@/src'",
            );
            check(
                "-nodaemon",
                "src/x",
                "the target 'src/x' is inside its source '@/src' and not excluded: it would be \
                 copied into itself",
            );
            check(
                "",
                "@/src/x",
                "the target '@/src/x' is inside its source '@/src' and not excluded: it would be \
                 copied into itself",
            );
            check("", "@", "the target '@' contains its source '@/src'");
        }
    }

    #[test]
    fn direct_refuses_remote_targets() {
        refused(
            "-direct src host:x",
            &["the target 'host:x' is remote: direct requires a local directory; use rsync, or \
               write './host:x' for a directory of that name"],
        );
    }

    #[test]
    fn rsyncssh_combines_host_directory_and_sshopts() {
        let dir = tempfile::tempdir().unwrap();
        let start_dir = dir.path().canonicalize().unwrap();
        fs::create_dir(start_dir.join("src")).unwrap();
        let check = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            ResolvedArgs::new(&Invocation::parse(&args).unwrap(), &start_dir)
                .map(|resolved| resolved.config.syncs)
        };
        let args = ["-sshopts", "-p 22 -o 'A=b c'", "-rsyncssh", "src", "me@h", "~/x"];
        let syncs = check(&args).unwrap();
        assert_eq!(
            (syncs[0].kind, &*syncs[0].target),
            (SyncKind::Rsyncssh, OsStr::new("me@h:~/x/"))
        );
        assert_eq!(syncs[0].rsync.long, [b"--rsh=ssh -p 22 -o 'A=b c'".to_vec()]);
        for (sshopts, host, directory, why) in [
            ("'", "h", "x", "unterminated ' in -sshopts [']"),
            ("", "", "x", "the host of -rsyncssh is empty"),
            ("", "h", "", "the target directory of -rsyncssh is empty"),
        ] {
            let args = ["-sshopts", sshopts, "-rsyncssh", "src", host, directory];
            assert_eq!(check(&args), Err(EarlyExit::invalid(why)));
        }
    }
}
