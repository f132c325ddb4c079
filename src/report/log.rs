//! Log with its sinks.

use std::{
    fmt::{self, Display},
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
};

use mirror_platform::descriptor::null_device;

use super::{
    Category, LogFileError, LogFilter, LogFormat, SyslogIdentity,
    meter::TransferMeter,
    progress::REDRAW_INTERVAL,
    sinks::{LogSinks, LogStage, open_log_file},
    stream::StdStream,
    text::LogMessage,
};
use crate::lock;

/// Log of the daemon. It is cheap to clone, usable from every thread, and writes each line
/// atomically.
///
/// It starts with stderr as its only sink, without timestamps. [`begin`](Self::begin) switches to
/// the sinks of a running daemon, and [`leave_terminal`](Self::leave_terminal) to those of a
/// detached one. Writing never fails: a message that can't be written is dropped, or written to
/// another sink.
///
/// Messages must not contain control characters from foreign names; callers escape them.
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<LogState>,
    /// Name of the sync that the messages of this handle are about.
    sync: Option<Arc<str>>,
}

#[derive(Default)]
struct LogState {
    filter: RwLock<LogFilter>,
    sinks: Mutex<LogSinks>,
}

/// Mode in which the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunMode {
    /// Detached from the terminal.
    #[default]
    Daemon,
    /// As a child of the process that started it: `-nodaemon`.
    Foreground,
}

/// Destination of the output of child processes.
#[derive(Debug)]
pub enum ChildStdio {
    /// The same streams as the daemon's.
    Inherit,
    /// The logfile.
    Append(File),
    /// Discarded.
    Null,
    /// [`Log::forward`], called by the thread that reads the child's output.
    Forward,
}

impl ChildStdio {
    /// Returns one output stream for a child. A child has two, each with its own descriptor.
    #[must_use]
    pub fn stream(&self) -> Stdio {
        match self {
            Self::Inherit => Stdio::inherit(),
            Self::Append(file) => file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from),
            Self::Null | Self::Forward => Stdio::null(),
        }
    }

    /// Returns a descriptor for the stdout of a child. `None`: its output has to be forwarded.
    ///
    /// # Errors
    ///
    /// As `fcntl(2)` with `F_DUPFD_CLOEXEC`.
    pub fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Inherit => io::stdout().as_fd().try_clone_to_owned().map(Some),
            Self::Append(file) => file.try_clone().map(|file| Some(file.into())),
            Self::Null => null_device().map(Some),
            Self::Forward => Ok(None),
        }
    }
}

impl Log {
    /// Creates a log that writes the messages selected by `filter`.
    #[must_use]
    pub fn new(filter: LogFilter) -> Self {
        let filter = RwLock::new(filter);
        let shared = Arc::new(LogState { filter, sinks: Mutex::default() });
        Self { shared, sync: None }
    }

    /// Returns a handle for messages about the sync of this name. Lines in JSON have the name.
    #[must_use]
    pub fn for_sync(&self, name: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), sync: Some(name.into()) }
    }

    /// Returns a handle for messages about no single sync.
    #[must_use]
    pub fn for_all_syncs(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), sync: None }
    }

    /// Writes a message.
    pub fn say(&self, category: Category, message: impl Display) {
        if self.wants(category) {
            self.sinks().say(self.message(category, &message.to_string()));
        }
    }

    /// Writes the answer to a request of an operator, even if messages of its category are not
    /// enabled.
    pub fn answer(&self, message: impl Display) {
        self.sinks().say(self.message(Category::Normal, &message.to_string()));
    }

    /// Returns true if messages of this category are enabled. Check it before formatting an
    /// expensive message.
    #[must_use]
    pub fn wants(&self, category: Category) -> bool {
        self.shared.filter.read().unwrap_or_else(PoisonError::into_inner).wants(category)
    }

    /// Replaces the selection of messages.
    pub fn set_filter(&self, filter: LogFilter) {
        *self.shared.filter.write().unwrap_or_else(PoisonError::into_inner) = filter;
    }

    /// Writes `greeting` to all sinks of the mode: the terminal, and the logfile (an absolute path)
    /// or syslog. Later messages have timestamps.
    ///
    /// # Errors
    ///
    /// If the logfile can't be opened. The greeting is written to the terminal even then.
    pub fn begin(
        &self,
        mode: RunMode,
        logfile: Option<PathBuf>,
        greeting: &str,
    ) -> Result<(), LogFileError> {
        let greeting = self.message(Category::Normal, greeting);
        let mut sinks = self.sinks();
        sinks.mode = mode;
        sinks.stage = LogStage::Attached;
        if self.wants(Category::Normal) {
            sinks.write_terminal(greeting);
        }
        if let Some(path) = logfile {
            sinks.file = Some(open_log_file(path)?);
        }
        if self.wants(Category::Normal) {
            sinks.write_sink(greeting);
        }
        Ok(())
    }

    /// Sets facility and name for syslog messages.
    pub fn set_syslog_identity(&self, identity: SyslogIdentity) {
        self.sinks().syslog.identity = identity;
    }

    /// Sets the format of the logfile and of the terminal. Programs that already write to the
    /// logfile by themselves continue to write text.
    pub fn set_format(&self, format: LogFormat) {
        self.sinks().set_format(format);
    }

    /// Returns true if the output of children has to be forwarded in whole lines.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        self.sinks().format() == LogFormat::Json
    }

    /// Switches to another logfile, an absolute path.
    ///
    /// # Errors
    ///
    /// If it can't be opened. The previous one stays in use then.
    pub fn change_file(&self, logfile: Option<PathBuf>) -> Result<(), LogFileError> {
        let file = logfile.map(open_log_file).transpose()?;
        let mut sinks = self.sinks();
        sinks.file = file;
        sinks.is_file_failing = false;
        Ok(())
    }

    /// Returns true if messages have a sink after the terminal is left.
    #[must_use]
    pub fn has_detached_sink(&self) -> bool {
        let mut sinks = self.sinks();
        sinks.file.is_some() || sinks.syslog.is_reachable()
    }

    /// Forwards whole lines that a child has written to this stream.
    pub fn forward(&self, stream: StdStream, lines: &[u8]) {
        self.sinks().forward(stream, lines, self.sync.as_deref());
    }

    /// Stops writing to the terminal.
    pub fn leave_terminal(&self) {
        self.sinks().stage = LogStage::Detached;
    }

    /// Shows the progress of a transfer until the result is dropped. `None` where there is no
    /// terminal for it. `meter` counts what is transferred.
    #[must_use]
    pub fn show_progress(&self, meter: &Arc<TransferMeter>) -> Option<ShownProgress> {
        let mut sinks = self.sinks();
        if !sinks.can_show_progress() {
            return None;
        }
        let id = sinks.show_progress(self.sync.as_deref().unwrap_or("transfer"), meter);
        if sinks.needs_progress_thread() {
            let state = Arc::downgrade(&self.shared);
            let redraw = move || {
                loop {
                    thread::sleep(REDRAW_INTERVAL);
                    let Some(state) = state.upgrade() else { return };
                    if !lock(&state.sinks).redraw_progress() {
                        return;
                    }
                }
            };
            // Without a thread, nothing is drawn.
            let _ = thread::Builder::new().name("progress".into()).spawn(redraw);
        }
        drop(sinks);
        Some(ShownProgress { log: self.clone(), id })
    }

    /// Erases the progress, and shows none any more: the process ends.
    pub fn close_progress(&self) {
        self.sinks().close_progress();
    }

    /// Returns the destination for the output of child processes.
    #[must_use]
    pub fn child_output(&self) -> ChildStdio {
        let mut sinks = self.sinks();
        let is_json = sinks.format() == LogFormat::Json;
        match (sinks.stage, &mut sinks.file) {
            (LogStage::Detached, None) => ChildStdio::Null,
            (LogStage::Starting | LogStage::Attached, _) | (LogStage::Detached, Some(_))
                if is_json =>
            {
                ChildStdio::Forward
            }
            (LogStage::Starting | LogStage::Attached, _) => ChildStdio::Inherit,
            (LogStage::Detached, Some(file)) => match file.duplicate() {
                Ok(Some(file)) => ChildStdio::Append(file),
                Ok(None) => ChildStdio::Forward,
                Err(_) => ChildStdio::Null,
            },
        }
    }

    fn message<'a>(&'a self, category: Category, text: &'a str) -> LogMessage<'a> {
        LogMessage { category, text, sync: self.sync.as_deref() }
    }

    fn sinks(&self) -> MutexGuard<'_, LogSinks> {
        lock(&self.shared.sinks)
    }
}

/// Progress of a transfer on the terminal, until it is dropped.
#[derive(Debug)]
pub struct ShownProgress {
    log: Log,
    id: u64,
}

impl Drop for ShownProgress {
    fn drop(&mut self) {
        self.log.sinks().hide_progress(self.id);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("filter", &self.shared.filter).finish_non_exhaustive()
    }
}

/// Writes the last repeat count when the last handle is dropped.
impl Drop for LogState {
    fn drop(&mut self) {
        self.sinks.get_mut().unwrap_or_else(PoisonError::into_inner).finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, thread};

    fn detached(path: PathBuf) -> Log {
        let log = Log::default();
        log.begin(RunMode::Daemon, Some(path), "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        log
    }

    /// Returns the lines of a logfile without their dates.
    fn texts(file: &str) -> Vec<&str> {
        let date = "Mon Nov  2 22:04:05 2026 ".len();
        file.lines().map(|line| &line[date..]).collect()
    }

    #[test]
    fn each_line_of_an_error_has_date_and_category() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = detached(path.clone());
        log.say(Category::Error, "no\nstack traceback:\n\tconf.lua:1: in function 'f'");
        let file = fs::read_to_string(path).unwrap();
        let expected =
            ["Error: no", "Error: stack traceback:", "Error: \tconf.lua:1: in function 'f'"];
        assert_eq!(texts(&file)[1..], expected, "{file}");
        // Lists are those of the original.
        log.say(Category::Normal, "list\n*.o");
        assert!(fs::read_to_string(dir.path().join("log")).unwrap().ends_with("list\n*.o\n"));
    }

    #[test]
    fn several_threads_write_whole_lines() {
        const THREADS: usize = 8;
        const LINES: usize = 200;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = detached(path.clone());
        thread::scope(|scope| {
            for name in 0..THREADS {
                let log = log.clone();
                scope.spawn(move || {
                    for line in 0..LINES {
                        log.say(Category::Warn, format_args!("{name} {line} {}", "x".repeat(300)));
                    }
                });
            }
        });
        let file = fs::read_to_string(&path).unwrap();
        let mut lines = texts(&file);
        assert_eq!(lines.remove(0), "Normal: --- Startup, daemonizing ---");
        lines.sort_unstable();
        let end = "x".repeat(300);
        let mut expected: Vec<String> = (0..THREADS * LINES)
            .map(|n| format!("Warn: {} {} {end}", n / LINES, n % LINES))
            .collect();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_repeat_count_is_written_when_the_log_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = detached(path.clone());
        for _ in 0..3 {
            log.say(Category::Error, "no");
        }
        log.say(Category::Debug("Exec"), "not asked for");
        drop(log);
        let file = fs::read_to_string(&path).unwrap();
        let end = ["Error: no", "Error: last message repeated 2 times"];
        assert_eq!(texts(&file)[1..], end);
    }

    #[test]
    fn an_unopenable_logfile_is_reported_with_its_path() {
        let path = PathBuf::from("/nonexistent/log");
        let error = Log::default().begin(RunMode::Foreground, Some(path), "--- Startup ---");
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "Cannot open logfile [/nonexistent/log]!");
        let reason = "No such file or directory: create its directory";
        assert_eq!(error.reason().to_string(), reason);
    }

    #[test]
    fn a_failing_logfile_does_not_stop_logging() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::default();
        log.begin(RunMode::Foreground, Some(path.clone()), "--- Startup ---").unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        log.say(Category::Normal, "one");
        log.say(Category::Normal, "two");
        assert!(log.sinks().is_file_failing);
        fs::remove_dir(&path).unwrap();
        log.say(Category::Normal, "three");
        assert!(!log.sinks().is_file_failing);
        assert_eq!(texts(&fs::read_to_string(&path).unwrap()), ["Normal: three"]);
    }

    #[test]
    fn change_file_switches_the_logfile() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        let log = detached(one.clone());
        log.change_file(Some(two.clone())).unwrap();
        log.say(Category::Normal, "here");
        let error = log.change_file(Some("/nonexistent/log".into())).unwrap_err();
        assert_eq!(error.to_string(), "Cannot open logfile [/nonexistent/log]!");
        log.say(Category::Normal, "still here");
        assert_eq!(texts(&fs::read_to_string(&one).unwrap()).len(), 1);
        let lines = ["Normal: here", "Normal: still here"];
        assert_eq!(texts(&fs::read_to_string(&two).unwrap()), lines);
    }

    #[test]
    fn children_write_to_the_sinks_of_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::default();
        assert!(matches!(log.child_output(), ChildStdio::Inherit));
        log.begin(RunMode::Daemon, None, "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        assert!(matches!(log.child_output(), ChildStdio::Null));
        let ChildStdio::Append(mut file) = detached(path.clone()).child_output() else {
            panic!("not the logfile");
        };
        file.write_all(b"rsync: no\n").unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nrsync: no\n"));
    }
}
