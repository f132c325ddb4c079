//! What the words of the command line mean on this machine.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mirror_core::path::Escaped;

use super::{
    place::{self, Conflict},
    words::{Ending, Invocation, SyncWords, Watch},
};
use crate::report::Mode;

/// The longest delay that is told apart from for ever: about a hundred years.
const LONGEST_DELAY: Duration = Duration::from_hours(100 * 365 * 24);

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they were given, at least one.
    pub syncs: Vec<Sync>,
    /// What `-delay` gave; without it a change goes out after a short quiet time.
    pub delay: Option<Duration>,
    /// Patterns of rsync that hold for all syncs, in their order.
    pub excludes: Vec<OsString>,
    /// How changes are noticed.
    pub watch: Watch,
    /// Whether a failed startup is tried again.
    pub insist: bool,
    /// Whether to end after the startup of all syncs.
    pub onepass: bool,
    /// Whether to detach.
    pub mode: Mode,
    /// Absolute.
    pub logfile: Option<PathBuf>,
    /// Absolute.
    pub pidfile: Option<PathBuf>,
    /// What is odd, but no reason to refuse it.
    pub warnings: Vec<String>,
}

/// One sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Who carries it out.
    pub kind: Kind,
    /// A canonical path of a directory, without a slash at the end unless it is the root.
    pub source: PathBuf,
    /// For rsync a target in rsync's syntax; for direct a path. As it was given, with a slash at
    /// the end unless it ends in `:`. A relative one is resolved where it is used: a daemon works
    /// in `/`.
    ///
    /// **Invariants.** It is not empty. A local one is neither the root of this machine nor the
    /// source, and neither lies in the other.
    pub target: OsString,
}

/// Who carries out a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program rsync.
    Rsync,
    /// The copier in this process.
    Direct,
}

impl Plan {
    /// Looks up what `invocation` means for somebody in the directory `here`.
    ///
    /// # Errors
    ///
    /// Why it can't be run.
    pub fn make(invocation: &Invocation, here: &Path) -> Result<Self, Ending> {
        refuse_what_comes_later(invocation)?;
        let mode = if invocation.nodaemon { Mode::Foreground } else { Mode::Daemon };
        let mut plan = Self {
            syncs: Vec::new(),
            delay: None,
            excludes: invocation.excludes.clone(),
            watch: invocation.watch,
            insist: invocation.insist,
            onepass: invocation.onepass,
            mode,
            logfile: invocation.logfile.as_deref().map(|path| absolute(here, path)),
            pidfile: invocation.pidfile.as_deref().map(|path| absolute(here, path)),
            warnings: Vec::new(),
        };
        for words in &invocation.syncs {
            let (kind, source, target) = match words {
                SyncWords::Rsync { source, target } => (Kind::Rsync, source, target),
                SyncWords::Direct { source, target } => (Kind::Direct, source, target),
                SyncWords::Rsyncssh { .. } => {
                    return Err(Ending::refused("rsyncssh is not supported yet"));
                }
            };
            let source = canonical(here, source)?;
            check_monitor(invocation.monitor.as_deref())?;
            plan.delay = invocation.delay.map(delay).transpose()?;
            plan.check_target(kind, &source, target, here)?;
            plan.syncs.push(Sync { kind, source, target: place::with_slash(target) });
        }
        Ok(plan)
    }

    fn check_target(
        &mut self,
        kind: Kind,
        source: &Path,
        target: &OsStr,
        here: &Path,
    ) -> Result<(), Ending> {
        if target.is_empty() {
            let source = Escaped(source.as_os_str().as_bytes());
            return Err(Ending::refused(format!("the target for the source '{source}' is empty")));
        }
        let named = Escaped(target.as_bytes());
        if place::is_remote(target) {
            return match kind {
                Kind::Rsync => Ok(()),
                Kind::Direct => Err(Ending::refused(format!(
                    "the target '{named}' is not on this machine: direct needs a directory here; \
                     use rsync, or write './{named}' for a directory of that name"
                ))),
            };
        }
        let base = match self.mode {
            Mode::Daemon => Path::new("/"),
            Mode::Foreground => here,
        };
        if self.mode == Mode::Daemon && !target.as_bytes().starts_with(b"/") {
            self.warnings.push(format!(
                "the target '{named}' is relative: a daemon works in /, so it is '/{named}'"
            ));
        }
        refuse_conflict(source, target, &base.join(target))
    }
}

/// What is read, but not built yet.
fn refuse_what_comes_later(invocation: &Invocation) -> Result<(), Ending> {
    if let Some(script) = invocation.scripts.first() {
        let script = Escaped(script.as_bytes());
        return Err(Ending::refused(format!("scripts are not supported yet: '{script}'")));
    }
    if let Some(config) = &invocation.config {
        let named = Escaped(config.as_bytes());
        return Err(Ending::refused(match fs::metadata(config) {
            Ok(_) => format!("configuration files are not supported yet: '{named}'"),
            Err(_) => format!("Cannot find config file at '{named}'."),
        }));
    }
    Ok(())
}

/// The words are the original's.
fn canonical(here: &Path, source: &OsStr) -> Result<PathBuf, Ending> {
    let named = Escaped(source.as_bytes());
    let refused = |why: String| {
        Ending::Refused(vec![why, format!("Cannot access source directory: {named}")])
    };
    // `join` would make the directory itself of an empty word.
    let found = if source.is_empty() {
        Err(io::ErrorKind::NotFound.into())
    } else {
        fs::canonicalize(here.join(source))
    };
    let found =
        found.map_err(|_| refused(format!("failure getting absolute path of [{named}]")))?;
    if found.is_dir() {
        return Ok(found);
    }
    Err(refused(format!("cannot get absolute path of dir '{named}': is not a directory")))
}

/// Where changes come from is chosen with `-watch`; the original's names are only checked.
fn check_monitor(name: Option<&OsStr>) -> Result<(), Ending> {
    match name.map(OsStrExt::as_bytes) {
        None | Some(b"inotify" | b"fsevents") => Ok(()),
        Some(other) => {
            Err(Ending::refused(format!("event monitor \"{}\" unknown.", Escaped(other))))
        }
    }
}

fn delay(seconds: f64) -> Result<Duration, Ending> {
    if seconds < 0.0 {
        return Err(Ending::refused("delay must be a number and >= 0"));
    }
    // What is left that can't be a duration is too long, even infinite.
    Ok(Duration::try_from_secs_f64(seconds).map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY)))
}

fn refuse_conflict(source: &Path, target: &OsStr, path: &Path) -> Result<(), Ending> {
    let found = place::conflict(source, path);
    let (source, target) = (Escaped(source.as_os_str().as_bytes()), Escaped(target.as_bytes()));
    let found = found.map_err(|error| {
        Ending::refused(format!("cannot look up the target '{target}': {error}"))
    })?;
    let why: &dyn fmt::Display = match found {
        None => return Ok(()),
        Some(Conflict::IsRoot) => &"is the root directory of this machine: all of it would go",
        Some(Conflict::IsSource) => &format_args!("is the same directory as its source '{source}'"),
        Some(Conflict::InSource) => &format_args!("lies inside its source '{source}'"),
        Some(Conflict::HoldsSource) => &format_args!("holds its source '{source}'"),
    };
    Err(Ending::refused(format!("the target '{target}' {why}")))
}

/// An empty path stays so, and can't be opened.
fn absolute(here: &Path, path: &OsStr) -> PathBuf {
    if path.is_empty() { PathBuf::new() } else { here.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The plan, or the lines of the refusal, for words in which `@` stands for a place that
    /// holds the directories `src` and `src/in`, the file `file`, and `link` to `src`.
    fn plan(words: &str, check: impl Fn(&Path, Result<Plan, Ending>)) {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("src/in")).unwrap();
        fs::write(top.join("file"), "").unwrap();
        symlink("src", top.join("link")).unwrap();
        let at = top.to_str().unwrap();
        // `''` is the empty word.
        let words: Vec<OsString> = words
            .split_whitespace()
            .map(|word| word.replace("''", "").replace('@', at).into())
            .collect();
        check(&top, Invocation::parse(&words).and_then(|words| Plan::make(&words, &top)));
    }

    fn refused(words: &str, lines: &[&str]) {
        plan(words, |top, plan| {
            let at = top.to_str().unwrap();
            let lines = lines.iter().map(|line| line.replace('@', at)).collect();
            assert_eq!(plan, Err(Ending::Refused(lines)), "{words}");
        });
    }

    #[test]
    fn a_source_is_canonical_and_a_target_ends_in_a_slash() {
        plan(
            "-nodaemon -rsync link host:x -rsync src/in/.. host: -direct @/src dst",
            |top, plan| {
                let plan = plan.unwrap();
                let sync = |kind, target: &str| Sync {
                    kind,
                    source: top.join("src"),
                    target: target.into(),
                };
                let expected = [
                    sync(Kind::Rsync, "host:x/"),
                    sync(Kind::Rsync, "host:"),
                    sync(Kind::Direct, "dst/"),
                ];
                assert_eq!(plan.syncs, expected);
                assert_eq!(plan.warnings, [""; 0]);
            },
        );
    }

    #[test]
    fn a_relative_target_of_a_daemon_is_told() {
        plan("-rsync src somewhere/x -rsync src host:x -rsync src @/dst", |_, plan| {
            let warnings = plan.unwrap().warnings;
            assert_eq!(
                warnings,
                [
                    "the target 'somewhere/x' is relative: a daemon works in /, so it is '/somewhere/x'"
                ]
            );
        });
    }

    #[test]
    fn files_of_our_own_are_found_from_anywhere() {
        plan("-logfile log -pidfile /run/x.pid -rsync src host:", |top, plan| {
            let plan = plan.unwrap();
            assert_eq!(plan.logfile, Some(top.join("log")));
            assert_eq!(plan.pidfile, Some("/run/x.pid".into()));
        });
    }

    #[test]
    fn a_delay_is_any_number_that_is_not_negative() {
        for (word, delay) in [
            ("0", Duration::ZERO),
            ("-0", Duration::ZERO),
            ("0.25", Duration::from_millis(250)),
            ("1e400", LONGEST_DELAY),
            ("99999999999999999999", LONGEST_DELAY),
        ] {
            plan(&format!("-delay {word} -rsync src host:"), |_, plan| {
                assert_eq!(plan.unwrap().delay, Some(delay), "{word}");
            });
        }
    }

    #[test]
    fn a_sync_is_checked_in_the_order_of_the_original() {
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
    fn a_target_that_would_be_a_catastrophe_is_refused() {
        for kind in ["rsync", "direct"] {
            let check = |mode: &str, target: &str, line: &str| {
                refused(&format!("{mode} -{kind} src {target}"), &[line]);
            };
            let root = |target: &str| {
                format!(
                    "the target '{target}' is the root directory of this machine: all of it would go"
                )
            };
            check("-nodaemon", "''", "the target for the source '@/src' is empty");
            for target in ["/", "//", "/.", "/usr/.."] {
                check("-nodaemon", target, &root(target));
            }
            // A daemon works in the root.
            check("", ".", &root("."));
            check("-nodaemon", ".", "the target '.' holds its source '@/src'");
            check(
                "-nodaemon",
                "link",
                "the target 'link' is the same directory as its source '@/src'",
            );
            check("-nodaemon", "src/x", "the target 'src/x' lies inside its source '@/src'");
            check("", "@/src/x", "the target '@/src/x' lies inside its source '@/src'");
            check("", "@", "the target '@' holds its source '@/src'");
        }
    }

    #[test]
    fn direct_stays_on_this_machine() {
        refused(
            "-direct src host:x",
            &["the target 'host:x' is not on this machine: direct needs a directory here; \
               use rsync, or write './host:x' for a directory of that name"],
        );
    }

    #[test]
    fn what_is_not_built_yet_is_told() {
        refused("@/file", &["configuration files are not supported yet: '@/file'"]);
        refused("@/no", &["Cannot find config file at '@/no'."]);
        refused("''", &["Cannot find config file at ''."]);
        refused("-script a -rsync no /", &["scripts are not supported yet: 'a'"]);
        refused("-rsyncssh src host dir", &["rsyncssh is not supported yet"]);
    }
}
