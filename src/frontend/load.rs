//! From the command line, and the files that it names, to what is to be run.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mirror_core::path::Escaped;
use mirror_platform::{
    dir::Dir,
    fanotify::{Group, Queue},
};

use crate::{
    check::{self, Report, Subject},
    config::{Overrides, Places, Watch, absolute},
    frontend::{
        Loaded,
        cli::{Check, Ending, Invocation, Plan},
        lua::{self, Purpose, Refusal, Request},
    },
    report::{Category, Log, Mode},
};

/// The exit code of a failed start: `exit(-1)`.
const FAILURE: u8 = 255;

/// The exit code of a strict check that has warned.
const WARNED: u8 = 1;

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

    /// Loads at the start, and says why it can't. If only a check was asked for, it is made. Returns
    /// also what is to be said once the log is open.
    ///
    /// # Errors
    ///
    /// The exit code.
    pub fn start(&self) -> Result<Loaded, ExitCode> {
        let purpose = match self.invocation.check {
            Check::No => Purpose::Run,
            Check::Look | Check::Reach => Purpose::Check,
        };
        let mut loaded = self.load(purpose).map_err(|refusal| match refusal {
            // Else a file that only says `os.exit(0)` would look as if all were well with it.
            Refusal::Exit(code) if purpose == Purpose::Check => self.fail(&[asked_to_end(code)]),
            Refusal::Exit(code) => ExitCode::from(code),
            Refusal::Because(lines) => self.fail(&lines),
        })?;
        if purpose == Purpose::Check {
            return Err(self.check(&loaded));
        }
        loaded.warnings = self.warnings(&loaded);
        if loaded.setup.daemon.mode == Mode::Daemon {
            // Whoever starts it looks at the terminal, and later at the log.
            lua::say_warnings(&loaded.warnings, &self.log);
        }
        Ok(loaded)
    }

    /// What looks wrong about what is to be run.
    fn warnings(&self, loaded: &Loaded) -> Vec<String> {
        let Loaded { setup, warnings, places, .. } = loaded;
        let odd = check::warnings_at_start(setup, &self.files(), &self.here, places);
        warnings.iter().cloned().chain(odd).collect()
    }

    /// The files that are run.
    fn files(&self) -> Vec<PathBuf> {
        let said = &self.invocation;
        said.scripts.iter().chain(&said.config).map(|file| self.here.join(file)).collect()
    }

    fn fail(&self, lines: &[String]) -> ExitCode {
        for line in lines {
            self.log.say(Category::Error, line);
        }
        ExitCode::from(FAILURE)
    }

    fn check(&self, loaded: &Loaded) -> ExitCode {
        let said = &self.invocation;
        let files = self.files();
        let Loaded { setup, warnings, places, .. } = loaded;
        let (reach, here) = (said.check == Check::Reach, &*self.here);
        let report =
            Report::of(Subject { setup, files: &files, here, places, warnings, reach, can_mark });
        // Whoever closed our stdout does not want to know.
        let _ = io::stdout().lock().write_all(report.text.as_bytes());
        match (report.errors.is_empty(), report.warnings) {
            (false, _) => self.fail(&report.errors),
            (true, 1..) if said.strict => ExitCode::from(WARNED),
            (true, _) => ExitCode::SUCCESS,
        }
    }

    /// Loads again while the daemon runs.
    ///
    /// # Errors
    ///
    /// Why it can't: lines for people. Nothing has changed then.
    pub fn reload(&self) -> Result<Loaded, Vec<String>> {
        // The file may name others by relative paths, and a daemon has left the directory.
        let working_directory = env::current_dir();
        let moved = env::set_current_dir(&self.here);
        let loaded = self.load(Purpose::Run);
        if let (Ok(directory), Ok(())) = (working_directory, moved) {
            // It was left a moment ago.
            let _ = env::set_current_dir(directory);
        }
        let mut loaded = loaded.map_err(|refusal| match refusal {
            Refusal::Exit(code) => vec![asked_to_end(code)],
            Refusal::Because(lines) => lines,
        })?;
        loaded.warnings = self.warnings(&loaded);
        lua::say_warnings(&loaded.warnings, &self.log);
        Ok(loaded)
    }

    fn load(&self, purpose: Purpose) -> Result<Loaded, Refusal> {
        let plan = Plan::make(&self.invocation, &self.here).map_err(refusal)?;
        let mut warnings = plan.warnings;
        let (mut setup, mut scripts, mut places) = (plan.setup, None, Places::default());
        if self.has_files() {
            let loaded = lua::load(&self.request(purpose)?, &self.log)?;
            warnings.extend(loaded.warnings);
            (scripts, places) = (loaded.scripts, loaded.places);
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
        if setup.syncs.is_empty() {
            return Err(Refusal::Because(vec!["Nothing to watch!".into(), self.no_sync()]));
        }
        Ok(Loaded { setup, warnings, places, scripts })
    }

    /// What a sync looks like, for somebody whose file has none.
    fn no_sync(&self) -> String {
        let files: Vec<String> = self
            .files()
            .iter()
            .map(|file| Escaped(file.as_os_str().as_bytes()).to_string())
            .collect();
        format!(
            "{} has no sync{{}}: write for example sync{{ default.rsync, source = \"/srv/www\", \
             target = \"host:/srv/www\" }}",
            files.join(", ")
        )
    }

    fn request(&self, purpose: Purpose) -> Result<Request, Refusal> {
        let file = self.invocation.config.as_deref().map(|file| self.find(file)).transpose()?;
        let scripts = self.invocation.scripts.iter().map(|script| self.here.join(script)).collect();
        Ok(Request { scripts, file, overrides: self.overrides(), here: self.here.clone(), purpose })
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
        let path = |path: &Option<std::ffi::OsString>| {
            path.as_ref().map(|path| absolute(&self.here, path))
        };
        Overrides {
            delay: said.delay,
            max_delete: said.max_delete,
            insist: said.insist,
            nodaemon: said.nodaemon,
            onepass: said.onepass,
            logfile: path(&said.logfile),
            pidfile: path(&said.pidfile),
            watch: (said.watch != Watch::Auto).then_some(said.watch),
        }
    }
}

fn asked_to_end(code: u8) -> String {
    format!("the configuration asked to end with code {code}")
}

/// Whether the file system that holds a directory can be watched as a whole.
fn can_mark(directory: &Path) -> bool {
    let mark = |group: Group| group.mark(Dir::open(directory)?);
    Group::new(Queue::Unlimited).and_then(mark).is_ok()
}

fn refusal(ending: Ending) -> Refusal {
    match ending {
        Ending::Refused(lines) => Refusal::Because(lines),
        // The words were read already, and asked for none of these.
        Ending::Help | Ending::Nothing | Ending::Version | Ending::Monitors => {
            Refusal::Exit(FAILURE)
        }
    }
}
