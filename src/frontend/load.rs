//! Loading: the configuration from the command line and the files that it names.

use std::{
    env,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mirror_core::path::Escaped;
use mirror_platform::{dir::Dir, watch_support};

use crate::{
    check::{self, CheckInput, CheckReport, TrySync},
    config::{Config, Overrides, SyncPositions, WatchBackend, absolute, read_regular_file},
    frontend::{
        Loaded,
        cli::{CheckMode, EarlyExit, Invocation, ResolvedArgs},
        lua::{self, ConfigError, LoadPurpose, LoadRequest},
    },
    report::{Category, Log, RunMode},
};

/// Returns a hash of a configuration and the content of its files: monitoring sees by it whether
/// all hosts run the same one.
fn config_hash(config: &Config, files: &[PathBuf]) -> String {
    // Its keys are fixed, so the hash depends on the version of the program only.
    let mut hasher = DefaultHasher::new();
    format!("{config:?}").hash(&mut hasher);
    for file in files {
        // One that can't be read any more was read a moment ago.
        read_regular_file(file).unwrap_or_default().hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Exit code of a failed start: `exit(-1)`.
const FAILURE: u8 = 255;

/// Exit code of a strict check with warnings.
const WARNINGS: u8 = 1;

/// Loader of the configuration, for the start and for each reload.
#[derive(Debug)]
pub struct Loader {
    invocation: Invocation,
    /// Directory in which the process was started. Relative paths count from it at each reload,
    /// too.
    start_dir: PathBuf,
    log: Log,
    /// Describes what the first transfer of a sync would do, for `-try`.
    try_sync: Option<TrySync>,
}

impl Loader {
    /// Creates a loader for an invocation in the current directory.
    #[must_use]
    pub fn new(invocation: Invocation, log: Log) -> Self {
        let start_dir = env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        Self { invocation, start_dir, log, try_sync: None }
    }

    /// Sets the function that describes for `-try` what the first transfer of a sync would do.
    #[must_use]
    pub fn with_try(self, try_sync: TrySync) -> Self {
        Self { try_sync: Some(try_sync), ..self }
    }

    /// Returns true if there are files that may have changed at the next load.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.invocation.config.is_some() || !self.invocation.scripts.is_empty()
    }

    /// Loads the configuration at the start and prints errors. If a check was requested, runs it
    /// instead.
    ///
    /// # Errors
    ///
    /// The exit code.
    pub fn start(&self) -> Result<Loaded, ExitCode> {
        let purpose = match self.invocation.check {
            CheckMode::Off => LoadPurpose::Run,
            CheckMode::Offline | CheckMode::Online => LoadPurpose::Check,
        };
        let mut loaded = self.load(purpose).map_err(|error| match error {
            // Otherwise a file that only calls `os.exit(0)` would pass the check.
            ConfigError::Exit(code) if purpose == LoadPurpose::Check => {
                self.fail(&[exit_request_message(code)])
            }
            ConfigError::Exit(code) => ExitCode::from(code),
            ConfigError::Invalid(lines) => self.fail(&lines),
            ConfigError::MissingSource(lines) => {
                self.fail(&lines);
                ExitCode::from(FAILURE)
            }
        })?;
        if purpose == LoadPurpose::Check {
            return Err(self.check(&loaded));
        }
        loaded.warnings = self.warnings(&loaded);
        if loaded.config.daemon.mode == RunMode::Daemon {
            // The user is at the terminal now; the log gets the warnings later.
            lua::log_warnings(&loaded.warnings, &self.log);
        }
        Ok(loaded)
    }

    /// Returns the warnings of the loading and of the lints.
    fn warnings(&self, loaded: &Loaded) -> Vec<String> {
        let Loaded { config, warnings, positions, .. } = loaded;
        let lints = check::warnings_at_start(config, &self.files(), &self.start_dir, positions);
        warnings.iter().cloned().chain(lints).collect()
    }

    /// Returns the paths of the files that are run.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let invocation = &self.invocation;
        invocation
            .scripts
            .iter()
            .chain(&invocation.config)
            .map(|file| self.start_dir.join(file))
            .collect()
    }

    /// Prints errors of the configuration, and returns the exit code for them.
    fn fail(&self, lines: &[String]) -> ExitCode {
        for line in lines {
            self.log.say(Category::Error, line);
        }
        ExitCode::from(self.invocation.config_exit_code.unwrap_or(FAILURE))
    }

    fn check(&self, loaded: &Loaded) -> ExitCode {
        let invocation = &self.invocation;
        let files = self.files();
        let Loaded { config, warnings, positions, .. } = loaded;
        let (contact_targets, start_dir) =
            (invocation.check == CheckMode::Online, &*self.start_dir);
        let report = CheckReport::new(CheckInput {
            config,
            files: &files,
            start_dir,
            positions,
            warnings,
            is_verbose: invocation.verbose,
            contact_targets,
            try_sync: self.try_sync,
            can_watch_file_system,
        });
        // A closed stdout is the caller's choice.
        let _ = io::stdout().lock().write_all(report.text.as_bytes());
        match (report.errors.is_empty(), report.warnings) {
            (false, _) => self.fail(&report.errors),
            (true, 1..) if invocation.strict => ExitCode::from(WARNINGS),
            (true, _) => ExitCode::SUCCESS,
        }
    }

    /// Loads the configuration again while the daemon runs.
    ///
    /// # Errors
    ///
    /// Lines for people. The running configuration is not affected.
    pub fn reload(&self) -> Result<Loaded, Vec<String>> {
        // The file may name others by relative paths, and a daemon has left the directory.
        let working_directory = env::current_dir();
        let moved = env::set_current_dir(&self.start_dir);
        let loaded = self.load(LoadPurpose::Run);
        if let (Ok(directory), Ok(())) = (working_directory, moved) {
            // The directory was the current one a moment ago.
            let _ = env::set_current_dir(directory);
        }
        let mut loaded = loaded.map_err(|error| match error {
            ConfigError::Exit(code) => vec![exit_request_message(code)],
            ConfigError::Invalid(lines) | ConfigError::MissingSource(lines) => lines,
        })?;
        loaded.warnings = self.warnings(&loaded);
        lua::log_warnings(&loaded.warnings, &self.log);
        Ok(loaded)
    }

    fn load(&self, purpose: LoadPurpose) -> Result<Loaded, ConfigError> {
        let resolved =
            ResolvedArgs::new(&self.invocation, &self.start_dir).map_err(config_error)?;
        let mut warnings = resolved.warnings;
        let (mut config, mut scripts, mut positions) =
            (resolved.config, None, SyncPositions::default());
        if self.has_files() {
            let loaded = lua::load(&self.request(purpose)?, &self.log)?;
            warnings.extend(loaded.warnings);
            (scripts, positions) = (loaded.scripts, loaded.positions);
            // A script may add syncs to those of the command line, which follow it.
            let of_command_line = std::mem::replace(&mut config, loaded.config).syncs;
            let numbers = config.syncs.len() + 1..;
            config.syncs.extend(of_command_line.into_iter().zip(numbers).map(
                |(mut sync, number)| {
                    sync.name = format!("Sync{number}");
                    sync
                },
            ));
        }
        if config.syncs.is_empty() {
            return Err(ConfigError::Invalid(vec![
                "Nothing to watch!".into(),
                self.no_sync_message(),
            ]));
        }
        let errors = check::errors(&config);
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        let hash = config_hash(&config, &self.files());
        Ok(Loaded { config, warnings, positions, scripts, hash })
    }

    /// Returns an example of a sync, for a file without one.
    fn no_sync_message(&self) -> String {
        let files: Vec<String> = self
            .files()
            .iter()
            .map(|file| format!("{:#}", Escaped(file.as_os_str().as_bytes())))
            .collect();
        format!(
            "{} has no sync{{}}: write for example sync{{ default.rsync, source = \"/srv/www\", \
             target = \"host:/srv/www\" }}",
            files.join(", ")
        )
    }

    fn request(&self, purpose: LoadPurpose) -> Result<LoadRequest, ConfigError> {
        let file =
            self.invocation.config.as_deref().map(|file| self.find_file(file)).transpose()?;
        let scripts =
            self.invocation.scripts.iter().map(|script| self.start_dir.join(script)).collect();
        Ok(LoadRequest {
            scripts,
            file,
            overrides: self.overrides(),
            start_dir: self.start_dir.clone(),
            purpose,
        })
    }

    fn find_file(&self, file: &OsStr) -> Result<PathBuf, ConfigError> {
        let not_found = || {
            let named = Escaped(file.as_bytes());
            ConfigError::Invalid(vec![format!("Cannot find config file at '{named}'.")])
        };
        if file.is_empty() {
            return Err(not_found());
        }
        fs::canonicalize(self.start_dir.join(file)).map_err(|_| not_found())
    }

    fn overrides(&self) -> Overrides {
        let invocation = &self.invocation;
        let path = |path: &Option<std::ffi::OsString>| {
            path.as_ref().map(|path| absolute(&self.start_dir, path))
        };
        Overrides {
            delay: invocation.delay,
            max_delete: invocation.max_delete,
            insist: invocation.insist,
            nodaemon: invocation.nodaemon,
            onepass: invocation.onepass,
            state_dir: path(&invocation.state_dir),
            full: invocation.full,
            logfile: path(&invocation.logfile),
            pidfile: path(&invocation.pidfile),
            log_format: invocation.log_format,
            watch: (invocation.watch != WatchBackend::Auto).then_some(invocation.watch),
        }
    }
}

fn exit_request_message(code: u8) -> String {
    format!("the configuration requested exit code {code}")
}

/// Returns true if the file system of a directory can be watched as a whole.
fn can_watch_file_system(directory: &Path) -> bool {
    Dir::open(directory).is_ok_and(|directory| watch_support::can_watch_file_system(&directory))
}

fn config_error(exit: EarlyExit) -> ConfigError {
    match exit {
        EarlyExit::Invalid(lines) => ConfigError::Invalid(lines),
        EarlyExit::MissingSource(lines) => ConfigError::MissingSource(lines),
        // The arguments were parsed before, and requested none of these.
        EarlyExit::Help | EarlyExit::NoSync | EarlyExit::Version | EarlyExit::Monitors => {
            ConfigError::Exit(FAILURE)
        }
    }
}
