//! Where messages go.

use std::{
    fmt::{self, Display},
    fs::File,
    io, mem,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    CannotOpen, Category, Filter, Marks,
    file::LogFile,
    repeat::{Repeat, Verdict},
    syslog::Syslog,
    terminal::{Stream, Terminal, to_stderr},
    text::{self, Message},
};

/// Where messages go. Cheap to clone, and usable from every thread; a line is written whole.
///
/// It begins with everything on stderr, without the time. [`begin`](Self::begin) gives it the
/// sinks of a running daemon, and [`leave_terminal`](Self::leave_terminal) those of a detached one.
/// Writing never fails: what can't be written is dropped, or goes to another sink.
///
/// Texts must not hold control characters of foreign names: those are escaped by the caller.
#[derive(Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    filter: Filter,
    output: Mutex<Output>,
}

/// How the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Detached from the terminal.
    #[default]
    Daemon,
    /// As a child of who started it: `-nodaemon`.
    Foreground,
}

/// Where what child processes write goes.
#[derive(Debug)]
pub enum ChildOutput {
    /// To where ours goes.
    Inherit,
    /// To the logfile.
    Append(File),
    /// Nowhere.
    Null,
    /// To [`Log::pass`], by whoever reads it from the child.
    Pass,
}

impl ChildOutput {
    /// One stream of a child. It has two of them, each with its own descriptor.
    #[must_use]
    pub fn stream(&self) -> Stdio {
        match self {
            Self::Inherit => Stdio::inherit(),
            Self::Append(file) => file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from),
            Self::Null | Self::Pass => Stdio::null(),
        }
    }
}

#[derive(Debug, Default)]
struct Output {
    stage: Stage,
    mode: Mode,
    file: Option<LogFile>,
    file_fails: bool,
    syslog: Syslog,
    terminal: Terminal,
    repeat: Repeat,
}

/// How far the start has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Everything goes to stderr, as it is.
    #[default]
    Starting,
    /// The terminal is there, and the sinks of the mode are there too.
    Attached,
    /// Without the terminal.
    Detached,
}

impl Log {
    /// A log that shows what `filter` wants.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self { shared: Arc::new(Shared { filter, output: Mutex::default() }) }
    }

    /// Writes a message.
    pub fn say(&self, category: Category, message: impl Display) {
        if self.wants(category) {
            self.output().say(category, &message.to_string());
        }
    }

    /// Whether messages of this category are wanted. Ask before making a costly one.
    #[must_use]
    pub fn wants(&self, category: Category) -> bool {
        self.shared.filter.wants(category)
    }

    /// Says `greeting` with all that the mode has: the terminal, and the logfile (an absolute
    /// path) or the system's log. From now on messages have the time.
    ///
    /// # Errors
    ///
    /// If the logfile can't be opened. The greeting is on the terminal even then.
    pub fn begin(
        &self,
        mode: Mode,
        logfile: Option<PathBuf>,
        greeting: &str,
    ) -> Result<(), CannotOpen> {
        let mut output = self.output();
        output.mode = mode;
        output.stage = Stage::Attached;
        if self.wants(Category::Normal) {
            output.on_terminal(Message { category: Category::Normal, text: greeting });
        }
        if let Some(path) = logfile {
            output.file = Some(usable(path)?);
        }
        if self.wants(Category::Normal) {
            output.behind_terminal(Category::Normal, greeting);
        }
        Ok(())
    }

    /// Says how messages are marked in the system's log.
    pub fn mark_for_syslog(&self, marks: Marks) {
        self.output().syslog.marks = marks;
    }

    /// From now on messages go to this logfile, an absolute path, in the place of the one before.
    ///
    /// # Errors
    ///
    /// If it can't be opened. Then everything stays as it is.
    pub fn change_file(&self, logfile: Option<PathBuf>) -> Result<(), CannotOpen> {
        let file = logfile.map(usable).transpose()?;
        let mut output = self.output();
        output.file = file;
        output.file_fails = false;
        Ok(())
    }

    /// Whether somebody can hear of what is said when the terminal is not used any more.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        let mut output = self.output();
        output.file.is_some() || output.syslog.is_there()
    }

    /// Passes on whole lines that a child has written to this stream.
    pub fn pass(&self, stream: Stream, lines: &[u8]) {
        let mut output = self.output();
        match (output.stage, &mut output.file) {
            (Stage::Starting | Stage::Attached, _) => output.terminal.write(stream, lines),
            (Stage::Detached, None) => {}
            // A full disk under the log is no reason to stop mirroring.
            (Stage::Detached, Some(file)) => drop(file.append(lines)),
        }
    }

    /// The terminal is not used any more.
    pub fn leave_terminal(&self) {
        self.output().stage = Stage::Detached;
    }

    /// Where what child processes write goes.
    #[must_use]
    pub fn child_output(&self) -> ChildOutput {
        let mut output = self.output();
        match (output.stage, &mut output.file) {
            (Stage::Starting | Stage::Attached, _) => ChildOutput::Inherit,
            (Stage::Detached, None) => ChildOutput::Null,
            (Stage::Detached, Some(file)) => match file.duplicate() {
                Ok(Some(file)) => ChildOutput::Append(file),
                Ok(None) => ChildOutput::Pass,
                Err(_) => ChildOutput::Null,
            },
        }
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.shared.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("filter", &self.shared.filter).finish_non_exhaustive()
    }
}

/// The last count is told when nobody can say anything any more.
impl Drop for Shared {
    fn drop(&mut self) {
        let output = self.output.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = output.repeat.take() {
            output.write(counted.category, &counted.text());
        }
    }
}

impl Output {
    fn say(&mut self, category: Category, text: &str) {
        if self.stage == Stage::Starting {
            return to_stderr(&Message { category, text }.plain());
        }
        if let Verdict::Tell(counted) = self.repeat.judge(category, text, Instant::now()) {
            if let Some(counted) = counted {
                self.write(counted.category, &counted.text());
            }
            self.write(category, text);
        }
    }

    fn write(&mut self, category: Category, text: &str) {
        if self.stage == Stage::Attached {
            self.on_terminal(Message { category, text });
        }
        self.behind_terminal(category, text);
    }

    fn on_terminal(&mut self, message: Message<'_>) {
        let stream = match message.category {
            Category::Error => Stream::Err,
            Category::Normal | Category::Warn | Category::Debug(_) => Stream::Out,
        };
        self.terminal.write(stream, message.with_clock(&text::now()).as_bytes());
    }

    /// The logfile; or the system's log, for a daemon that has none.
    fn behind_terminal(&mut self, category: Category, text: &str) {
        let message = Message { category, text };
        match &mut self.file {
            None if self.mode == Mode::Foreground => {}
            None => self.syslog.send(message),
            Some(file) => {
                let appended = file.append(message.with_date(&text::now()).as_bytes());
                self.settle(message, appended);
            }
        }
    }

    /// What the logfile did not take goes elsewhere, and this is told once for each time of
    /// trouble.
    fn settle(&mut self, message: Message<'_>, appended: io::Result<()>) {
        let Err(source) = appended else {
            self.file_fails = false;
            return;
        };
        if !mem::replace(&mut self.file_fails, true)
            && let Some(file) = &self.file
        {
            let error = CannotOpen { path: file.path().to_owned(), source };
            let text = format!("{error} ({})", error.source);
            let message = Message { category: Category::Error, text: &text };
            match self.mode {
                Mode::Daemon => self.syslog.send(message),
                Mode::Foreground => self.on_terminal(message),
            }
        }
        // In the foreground the message itself is on the terminal already.
        if self.mode == Mode::Daemon {
            self.syslog.send(message);
        }
    }
}

/// A logfile at this path, if it can be opened.
fn usable(path: PathBuf) -> Result<LogFile, CannotOpen> {
    let mut file = LogFile::new(path);
    match file.check() {
        Ok(()) => Ok(file),
        Err(source) => Err(CannotOpen { path: file.path().to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, thread};

    fn detached(path: PathBuf) -> Log {
        let log = Log::default();
        log.begin(Mode::Daemon, Some(path), "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        log
    }

    /// The lines of a logfile without their dates.
    fn texts(file: &str) -> Vec<&str> {
        let date = "Mon Nov  2 22:04:05 2026 ".len();
        file.lines().map(|line| &line[date..]).collect()
    }

    #[test]
    fn several_threads_write_whole_lines() {
        const THREADS: usize = 8;
        const LINES: usize = 200;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
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
    fn a_count_is_told_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
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
    fn a_logfile_that_cannot_be_opened_is_told_with_its_name() {
        let path = PathBuf::from("/nonexistent/log");
        let error = Log::default().begin(Mode::Foreground, Some(path), "--- Startup ---");
        assert_eq!(error.unwrap_err().to_string(), "Cannot open logfile [/nonexistent/log]!");
    }

    #[test]
    fn trouble_with_the_logfile_while_running_ends_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let log = Log::default();
        log.begin(Mode::Foreground, Some(path.clone()), "--- Startup ---").unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        log.say(Category::Normal, "one");
        log.say(Category::Normal, "two");
        assert!(log.output().file_fails);
        fs::remove_dir(&path).unwrap();
        log.say(Category::Normal, "three");
        assert!(!log.output().file_fails);
        assert_eq!(texts(&fs::read_to_string(&path).unwrap()), ["Normal: three"]);
    }

    #[test]
    fn another_logfile_takes_the_place_of_the_first() {
        let place = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| place.path().join(name));
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
    fn children_write_where_the_daemon_does() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let log = Log::default();
        assert!(matches!(log.child_output(), ChildOutput::Inherit));
        log.begin(Mode::Daemon, None, "--- Startup, daemonizing ---").unwrap();
        log.leave_terminal();
        assert!(matches!(log.child_output(), ChildOutput::Null));
        let ChildOutput::Append(mut file) = detached(path.clone()).child_output() else {
            panic!("not the logfile");
        };
        file.write_all(b"rsync: no\n").unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nrsync: no\n"));
    }
}
