//! What the words of the command line mean on this machine.

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
        options::{RsyncOptions, Rules},
        ssh,
    },
    queue::Pace,
};

use super::words::{Ending, Invocation, SyncWords};
use crate::{
    config::{
        Base, Daemon, Exclusions, Kind, MOST_WAITING, PACE, Setup, Sync, absolute, awaited_source,
        canonical_source, check_target, delay, place::with_slash,
    },
    report::Mode,
};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is to be run.
    pub setup: Setup,
    /// What is odd, but no reason to refuse it.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Looks up what `invocation` means for somebody in the directory `here`.
    ///
    /// # Errors
    ///
    /// Why it can't be run.
    pub fn make(invocation: &Invocation, here: &Path) -> Result<Self, Ending> {
        let daemon = daemon(invocation, here);
        let base = Base { mode: daemon.mode, here };
        let mut plan = Self {
            setup: Setup { daemon, syncs: Vec::new(), tunnels: Vec::new() },
            warnings: Vec::new(),
        };
        for (words, number) in invocation.syncs.iter().zip(1..) {
            let sync = sync(invocation, words, number, here)?;
            let odd = check_target(sync.kind, &sync.source, &sync.target, &[&*sync.filter], base);
            plan.warnings.extend(odd.map_err(Ending::refused)?);
            plan.setup.syncs.push(Sync { target: with_slash(&sync.target), ..sync });
        }
        Ok(plan)
    }
}

/// A sync of the command line, with the target as it was given, which is not checked yet.
fn sync(
    invocation: &Invocation,
    words: &SyncWords,
    number: usize,
    here: &Path,
) -> Result<Sync, Ending> {
    let (kind, source, target) = match words {
        SyncWords::Rsync { source, target } => (Kind::Rsync, source, target.clone()),
        SyncWords::Direct { source, target } => (Kind::Direct, source, target.clone()),
        SyncWords::Rsyncssh { source, host, targetdir } => {
            (Kind::Rsyncssh, source, behind_ssh(host, targetdir)?)
        }
    };
    let given = absolute(here, source);
    let source = present_or_awaited(invocation, source, here)?;
    check_monitor(invocation.monitor.as_deref())?;
    let pace = pace(invocation.delay)?;
    let filter = Arc::new(filter(&invocation.excludes)?);
    let mut rsync = RsyncOptions { rules: rules(&filter), ..RsyncOptions::default() };
    if let (Kind::Rsyncssh, Some(words)) = (kind, &invocation.sshopts) {
        rsync.long.push(remote_shell(words)?);
    }
    Ok(Sync {
        given,
        pace,
        insist: invocation.insist,
        max_delete: invocation.max_delete.unwrap_or_default(),
        filter,
        exclusions: exclusions(&invocation.excludes),
        rsync,
        ..Sync::new(format!("Sync{number}"), kind, source, target)
    })
}

/// The path of a source, which with `-insist` need not be there yet.
fn present_or_awaited(
    invocation: &Invocation,
    source: &OsStr,
    here: &Path,
) -> Result<PathBuf, Ending> {
    canonical_source(here, source).or_else(|bad| {
        let awaited = awaited_source(here, source).filter(|_| invocation.insist);
        awaited.ok_or(Ending::Refused(bad.0))
    })
}

/// With the slash that is appended, an empty directory would be the root of the other machine.
fn behind_ssh(host: &OsStr, targetdir: &OsStr) -> Result<OsString, Ending> {
    for (name, word) in [("host", host), ("target directory", targetdir)] {
        if word.is_empty() {
            return Err(Ending::refused(format!("the {name} of -rsyncssh is empty")));
        }
    }
    let mut target = host.to_owned();
    target.push(":");
    target.push(targetdir);
    Ok(target)
}

fn remote_shell(words: &OsStr) -> Result<Vec<u8>, Ending> {
    let mut all = vec![b"ssh".to_vec()];
    let words = ssh::split_words(words.as_bytes()).map_err(|quote| {
        let (words, quote) = (Escaped(words.as_bytes()), char::from(quote));
        Ending::refused(format!("missing the second {quote} in -sshopts [{words}]"))
    })?;
    all.extend(words);
    Ok(ssh::rsh_word(&all))
}

fn daemon(invocation: &Invocation, here: &Path) -> Daemon {
    Daemon {
        mode: if invocation.nodaemon { Mode::Foreground } else { Mode::Daemon },
        logfile: invocation.logfile.as_deref().map(|path| absolute(here, path)),
        pidfile: invocation.pidfile.as_deref().map(|path| absolute(here, path)),
        onepass: invocation.onepass,
        watch: invocation.watch,
        ..Daemon::default()
    }
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

fn pace(seconds: Option<f64>) -> Result<Pace, Ending> {
    let Some(seconds) = seconds else { return Ok(PACE) };
    if seconds < 0.0 {
        return Err(Ending::refused("delay must be a number and >= 0"));
    }
    Ok(Pace::Fixed { delay: delay(seconds), max_waiting: MOST_WAITING })
}

fn filter(excludes: &[OsString]) -> Result<Filter, Ending> {
    let mut builder = Filter::builder();
    for pattern in excludes {
        let pattern = pattern.as_bytes();
        builder.exclude(pattern).map_err(|error| {
            Ending::refused(format!("cannot use -exclude {}: {error}", Escaped(pattern)))
        })?;
    }
    Ok(builder.build())
}

fn rules(filter: &Filter) -> Rules {
    if filter.is_empty() {
        return Rules::None;
    }
    // As rules and not as the user's words: among the lines of `--exclude-from`, a pattern that
    // begins with `#` would be a comment.
    Rules::Filters(filter.to_rsync_rules().collect())
}

fn exclusions(excludes: &[OsString]) -> Exclusions {
    let excludes = excludes.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
    Exclusions { filters: Vec::new(), excludes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LONGEST_DELAY;
    use std::{fs, os::unix::fs::symlink, time::Duration};

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
                let found: Vec<_> = plan
                    .setup
                    .syncs
                    .iter()
                    .map(|sync| {
                        assert_eq!(sync.source, top.join("src"));
                        (&*sync.name, sync.kind, sync.target.to_str().unwrap())
                    })
                    .collect();
                let expected = [
                    ("Sync1", Kind::Rsync, "host:x/"),
                    ("Sync2", Kind::Rsync, "host:"),
                    ("Sync3", Kind::Direct, "dst/"),
                ];
                assert_eq!(found, expected);
                let told = &plan.warnings;
                assert!(
                    told.len() == 1 && told[0].contains("'host:' is the whole home"),
                    "{told:?}"
                );
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
            let daemon = plan.unwrap().setup.daemon;
            assert_eq!(daemon.logfile, Some(top.join("log")));
            assert_eq!(daemon.pidfile, Some("/run/x.pid".into()));
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
                let pace = plan.unwrap().setup.syncs[0].pace;
                assert_eq!(pace, Pace::Fixed { delay, max_waiting: MOST_WAITING }, "{word}");
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
            check(
                "-nodaemon",
                "src/x",
                "the target 'src/x' lies inside its source '@/src', and no exclude leaves it out: it would have to hold itself",
            );
            check(
                "",
                "@/src/x",
                "the target '@/src/x' lies inside its source '@/src', and no exclude leaves it out: it would have to hold itself",
            );
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
    fn a_sync_behind_ssh_has_its_host_and_its_words() {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().canonicalize().unwrap();
        fs::create_dir(here.join("src")).unwrap();
        let check = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Plan::make(&Invocation::parse(&words).unwrap(), &here).map(|plan| plan.setup.syncs)
        };
        let words = ["-sshopts", "-p 22 -o 'A=b c'", "-rsyncssh", "src", "me@h", "~/x"];
        let syncs = check(&words).unwrap();
        assert_eq!((syncs[0].kind, &*syncs[0].target), (Kind::Rsyncssh, OsStr::new("me@h:~/x/")));
        assert_eq!(syncs[0].rsync.long, [b"--rsh=ssh -p 22 -o 'A=b c'".to_vec()]);
        for (sshopts, host, directory, why) in [
            ("'", "h", "x", "missing the second ' in -sshopts [']"),
            ("", "", "x", "the host of -rsyncssh is empty"),
            ("", "h", "", "the target directory of -rsyncssh is empty"),
        ] {
            let words = ["-sshopts", sshopts, "-rsyncssh", "src", host, directory];
            assert_eq!(check(&words), Err(Ending::refused(why)));
        }
    }
}
