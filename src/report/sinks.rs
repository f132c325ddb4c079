//! Sinks of the log: terminal, logfile and syslog.

use std::{io, mem, path::PathBuf, sync::Arc, time::Instant};

use super::{
    Category, LogFileError, RunMode,
    file::LogFile,
    journal::JournalStreams,
    json::{self, LogFormat},
    meter::TransferMeter,
    progress::ProgressLine,
    repeat::{RepeatFilter, RepeatVerdict},
    stream::StdStream,
    style::TerminalStyle,
    syslog::Syslog,
    terminal::{Terminal, to_stderr},
    text::{self, LogMessage},
};

/// Sinks and their state.
#[derive(Debug, Default)]
pub(super) struct LogSinks {
    pub(super) stage: LogStage,
    pub(super) mode: RunMode,
    pub(super) file: Option<LogFile>,
    pub(super) is_file_failing: bool,
    pub(super) syslog: Syslog,
    format: LogFormat,
    terminal: Terminal,
    progress: ProgressLine,
    repeat: RepeatFilter,
}

/// Progress of the startup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LogStage {
    /// All messages are written to stderr, without the time.
    #[default]
    Starting,
    /// Messages are written to the terminal and to the sinks of the mode.
    Attached,
    /// Messages are written to the sinks of the mode only.
    Detached,
}

impl LogSinks {
    pub(super) fn say(&mut self, message: LogMessage<'_>) {
        if self.stage == LogStage::Starting {
            let stream = StdStream::Err;
            let as_text = |message: LogMessage<'_>| {
                if TerminalStyle::of_process().has_colours(stream) {
                    message.coloured(None)
                } else {
                    message.plain()
                }
            };
            return to_stderr(&self.format_for(stream, message, as_text));
        }
        let LogMessage { category, text, .. } = message;
        if let RepeatVerdict::Write(repeated) =
            self.repeat.check_message(category, text, Instant::now())
        {
            if let Some(repeated) = repeated {
                self.write(repeated.message(&repeated.text()));
            }
            self.write(message);
        }
    }

    /// Writes the last repeat count.
    pub(super) fn finish(&mut self) {
        if let Some(repeated) = self.repeat.take() {
            self.write(repeated.message(&repeated.text()));
        }
    }

    pub(super) const fn format(&self) -> LogFormat {
        self.format
    }

    pub(super) const fn set_format(&mut self, format: LogFormat) {
        self.format = format;
        self.terminal.set_format(format);
    }

    /// Writes whole lines that a child has written to this stream.
    pub(super) fn forward(&mut self, stream: StdStream, lines: &[u8], sync: Option<&str>) {
        let json;
        let lines = match self.format {
            LogFormat::Text => lines,
            LogFormat::Json => {
                json = json::child_lines(lines, stream, sync, &text::now());
                json.as_bytes()
            }
        };
        match (self.stage, &mut self.file) {
            (LogStage::Starting | LogStage::Attached, _) => {
                self.progress.erase(&mut self.terminal);
                self.terminal.write(stream, lines);
            }
            (LogStage::Detached, None) => {}
            // A full disk under the log must not stop mirroring.
            (LogStage::Detached, Some(file)) => drop(file.append(lines)),
        }
    }

    /// Returns true if progress can be shown: in the foreground, on a terminal.
    pub(super) fn can_show_progress(&self) -> bool {
        let is_text = match self.format {
            LogFormat::Text => true,
            LogFormat::Json => false,
        };
        let is_attached = self.stage == LogStage::Attached && self.mode == RunMode::Foreground;
        is_text && is_attached && TerminalStyle::of_process().redraws && !self.progress.is_closed
    }

    /// Shows the progress of a transfer, and returns its number.
    pub(super) fn show_progress(&mut self, name: &str, meter: &Arc<TransferMeter>) -> u64 {
        self.progress.add(name, meter, Instant::now())
    }

    /// Hides the progress of a transfer.
    pub(super) fn hide_progress(&mut self, id: u64) {
        self.progress.remove(id, &mut self.terminal);
    }

    /// Erases the progress for good.
    pub(super) fn close_progress(&mut self) {
        self.progress.erase(&mut self.terminal);
        self.progress.is_closed = true;
    }

    /// Returns true if a thread has to be started that redraws the progress.
    pub(super) fn needs_progress_thread(&mut self) -> bool {
        !std::mem::replace(&mut self.progress.has_thread, true)
    }

    /// Redraws the progress. Returns false if there is none: its thread ends.
    pub(super) fn redraw_progress(&mut self) -> bool {
        self.progress.has_thread = self.progress.draw(&mut self.terminal, Instant::now());
        self.progress.has_thread
    }

    fn write(&mut self, message: LogMessage<'_>) {
        if self.stage == LogStage::Attached {
            self.write_terminal(message);
        }
        self.write_sink(message);
    }

    pub(super) fn write_terminal(&mut self, message: LogMessage<'_>) {
        let stream = match message.category {
            Category::Error => StdStream::Err,
            Category::Normal | Category::Warn | Category::Debug(_) => StdStream::Out,
        };
        let now = text::now();
        let as_text = |message: LogMessage<'_>| -> String {
            let has_colours = TerminalStyle::of_process().has_colours(stream);
            let format = |part: LogMessage<'_>| {
                if has_colours { part.coloured(Some(&now)) } else { part.with_clock(&now) }
            };
            message.parts().map(format).collect()
        };
        let line = self.format_for(stream, message, as_text);
        self.progress.erase(&mut self.terminal);
        self.terminal.write(stream, line.as_bytes());
    }

    /// Formats a message for a stream, by `as_text` where it is neither JSON nor for the journal.
    fn format_for(
        &self,
        stream: StdStream,
        message: LogMessage<'_>,
        as_text: impl Fn(LogMessage<'_>) -> String,
    ) -> String {
        match self.format {
            LogFormat::Json => json::message_line(message, &text::now()),
            LogFormat::Text if JournalStreams::of_process().contains(stream) => {
                message.for_journal()
            }
            LogFormat::Text => as_text(message),
        }
    }

    /// Writes to the logfile, or to syslog in a daemon that has none.
    pub(super) fn write_sink(&mut self, message: LogMessage<'_>) {
        match &mut self.file {
            None if self.mode == RunMode::Foreground => {}
            None => self.send_to_syslog(message),
            Some(file) => {
                let now = text::now();
                let lines = match self.format {
                    LogFormat::Json => json::message_line(message, &now),
                    LogFormat::Text => message.parts().map(|part| part.with_date(&now)).collect(),
                };
                let appended = file.append(lines.as_bytes());
                self.handle_append_result(message, appended);
            }
        }
    }

    fn send_to_syslog(&mut self, message: LogMessage<'_>) {
        message.parts().for_each(|part| self.syslog.send(part));
    }

    /// Handles a failed append: the message is written to another sink, and the error is reported
    /// once until the logfile works again.
    fn handle_append_result(&mut self, message: LogMessage<'_>, appended: io::Result<()>) {
        let Err(source) = appended else {
            self.is_file_failing = false;
            return;
        };
        if !mem::replace(&mut self.is_file_failing, true)
            && let Some(file) = &self.file
        {
            let error = LogFileError { path: file.path().to_owned(), source };
            let text = format!("{error} ({})", error.source);
            let message = LogMessage { category: Category::Error, text: &text, sync: None };
            match self.mode {
                RunMode::Daemon => self.syslog.send(message),
                RunMode::Foreground => self.write_terminal(message),
            }
        }
        // In the foreground the message has already been written to the terminal.
        if self.mode == RunMode::Daemon {
            self.send_to_syslog(message);
        }
    }
}

/// Opens the logfile at this path.
pub(super) fn open_log_file(path: PathBuf) -> Result<LogFile, LogFileError> {
    let mut file = LogFile::new(path);
    match file.check_writable() {
        Ok(()) => Ok(file),
        Err(source) => Err(LogFileError { path: file.path().to_owned(), source }),
    }
}
