//! From the command line, and the files that it names, to what is to be run.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mirror_core::path::Escaped;

use crate::{
    cli::{Ending, Invocation, Plan},
    config::{self, Refusal, Request},
    report::{Category, Log},
    setup::{Overrides, Setup, Watch},
};

/// The exit code of a failed start: `exit(-1)`.
const FAILURE: u8 = 255;

/// Loads what is to be run, at the start and whenever it is asked again.
#[derive(Debug)]
pub struct Loader {
    invocation: Invocation,
    /// Where the process was started, from which relative paths count also later.
    here: PathBuf,
    log: Log,
}

impl Loader {
    /// For somebody who said this in the current directory.
    #[must_use]
    pub fn new(invocation: Invocation, log: Log) -> Self {
        let here = env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        Self { invocation, here, log }
    }

    /// Whether there are files that may say something else the next time.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.invocation.config.is_some() || !self.invocation.scripts.is_empty()
    }

    /// Loads at the start, and says why it can't.
    ///
    /// # Errors
    ///
    /// The exit code.
    pub fn start(&self) -> Result<Setup, ExitCode> {
        self.load().map_err(|refusal| match refusal {
            Refusal::Exit(code) => ExitCode::from(code),
            Refusal::Because(lines) => {
                for line in lines {
                    self.log.say(Category::Error, line);
                }
                ExitCode::from(FAILURE)
            }
        })
    }

    /// Loads again while the daemon runs.
    ///
    /// # Errors
    ///
    /// Why it can't: lines for people. Nothing has changed then.
    pub fn reload(&self) -> Result<Setup, Vec<String>> {
        // The file may name others by relative paths, and a daemon has left the directory.
        let working_directory = env::current_dir();
        let moved = env::set_current_dir(&self.here);
        let loaded = self.load();
        if let (Ok(directory), Ok(())) = (working_directory, moved) {
            // It was left a moment ago.
            let _ = env::set_current_dir(directory);
        }
        loaded.map_err(|refusal| match refusal {
            Refusal::Exit(code) => vec![format!("the configuration asked to end with code {code}")],
            Refusal::Because(lines) => lines,
        })
    }

    fn load(&self) -> Result<Setup, Refusal> {
        let plan = Plan::make(&self.invocation, &self.here).map_err(refusal)?;
        let mut warnings = plan.warnings;
        let mut setup = plan.setup;
        if self.has_files() {
            let loaded = config::load(&self.request(false)?, &self.log)?;
            warnings.extend(loaded.warnings);
            // A script may add syncs to those of the command line, which come behind it.
            let of_command_line = std::mem::replace(&mut setup, loaded.setup).syncs;
            let numbers = setup.syncs.len() + 1..;
            setup.syncs.extend(of_command_line.into_iter().zip(numbers).map(
                |(mut sync, number)| {
                    sync.name = format!("Sync{number}");
                    sync
                },
            ));
        }
        config::say_warnings(&warnings, &self.log);
        if setup.syncs.is_empty() {
            return Err(Refusal::Because(vec!["Nothing to watch!".into()]));
        }
        Ok(setup)
    }

    /// What is to be asked of the files. To `pretend` is to look at them only.
    ///
    /// # Errors
    ///
    /// If the configuration file is not there.
    pub fn request(&self, pretend: bool) -> Result<Request, Refusal> {
        let file = self.invocation.config.as_deref().map(|file| self.find(file)).transpose()?;
        let scripts = self.invocation.scripts.iter().map(|script| self.here.join(script)).collect();
        Ok(Request { scripts, file, overrides: self.overrides(), here: self.here.clone(), pretend })
    }

    fn find(&self, file: &OsStr) -> Result<PathBuf, Refusal> {
        let not_there = || {
            let named = Escaped(file.as_bytes());
            Refusal::Because(vec![format!("Cannot find config file at '{named}'.")])
        };
        if file.is_empty() {
            return Err(not_there());
        }
        fs::canonicalize(self.here.join(file)).map_err(|_| not_there())
    }

    fn overrides(&self) -> Overrides {
        let said = &self.invocation;
        let path =
            |path: &Option<std::ffi::OsString>| path.as_ref().map(|path| self.here.join(path));
        Overrides {
            delay: said.delay,
            insist: said.insist,
            nodaemon: said.nodaemon,
            onepass: said.onepass,
            logfile: path(&said.logfile),
            pidfile: path(&said.pidfile),
            watch: (said.watch != Watch::Auto).then_some(said.watch),
        }
    }
}

fn refusal(ending: Ending) -> Refusal {
    match ending {
        Ending::Refused(lines) => Refusal::Because(lines),
        // The words were read already, and asked for none of these.
        Ending::Help | Ending::Version | Ending::Monitors => Refusal::Exit(FAILURE),
    }
}
