//! Routes the output of a child to the log and to a reader of its lines.

use std::{cell::Cell, io::PipeReader, time::Instant};

use super::pipe::LineReader;
use crate::report::{Log, StdStream};

/// Filter for the lines of a child's output.
pub(in crate::exec) struct OutputFilter<'a> {
    /// Receives each line, without the line feed.
    pub(in crate::exec) on_line: &'a mut dyn FnMut(StdStream, &[u8]) -> bool,
    /// True if only those lines of stdout for which `on_line` returns true reach the log. Otherwise
    /// stdout is copied to the log unchanged.
    pub(in crate::exec) filters_stdout: bool,
    /// True if a carriage return ends a line of stdout, too.
    pub(in crate::exec) splits_returns: bool,
    /// Time at which the child is killed together with all its descendants. `on_line` can set it.
    pub(in crate::exec) kill_at: &'a Cell<Option<Instant>>,
}

/// Destinations of a child's output.
pub(super) struct OutputRouter<'a> {
    /// Receives a copy of everything that the filter does not remove.
    pub(super) log: Option<&'a Log>,
    pub(super) filter: OutputFilter<'a>,
}

impl OutputRouter<'_> {
    /// Reads and routes the available output.
    pub(super) fn route_available(
        &mut self,
        stdout: &mut LineReader<PipeReader>,
        stderr: &mut LineReader<PipeReader>,
    ) {
        let Self { log, filter: OutputFilter { on_line, filters_stdout, .. } } = self;
        let forward = |stream, text: &[u8]| {
            if let Some(log) = log.filter(|_| !text.is_empty()) {
                log.forward(stream, text);
            }
        };
        let by_line = *filters_stdout || log.is_some_and(Log::takes_lines);
        let mut selected = Vec::new();
        let mut stdout_line = |line: &[u8]| {
            if (on_line(StdStream::Out, line) || !*filters_stdout) && by_line {
                selected.extend_from_slice(line);
                selected.push(b'\n');
            }
        };
        let raw = |bytes: &[u8]| {
            if !by_line {
                forward(StdStream::Out, bytes);
            }
        };
        stdout.read(&mut { raw }, &mut stdout_line);
        forward(StdStream::Out, &selected);
        let mut copy = Vec::new();
        let mut stderr_line = |line: &[u8]| {
            // Complete lines only, so that lines of several children do not interleave.
            copy.extend_from_slice(line);
            copy.push(b'\n');
            on_line(StdStream::Err, line);
        };
        stderr.read(&mut |_| (), &mut stderr_line);
        forward(StdStream::Err, &copy);
    }

    /// Routes the incomplete last lines.
    pub(super) fn finish(
        &mut self,
        stdout: &mut LineReader<PipeReader>,
        stderr: &mut LineReader<PipeReader>,
    ) {
        let Self { log, filter: OutputFilter { on_line, filters_stdout, .. } } = self;
        stdout.finish(&mut |line| {
            if (on_line(StdStream::Out, line) || !*filters_stdout)
                && let Some(log) = log.filter(|log| *filters_stdout || log.takes_lines())
            {
                log.forward(StdStream::Out, &[line, b"\n"].concat());
            }
        });
        stderr.finish(&mut |line| {
            if let Some(log) = log {
                log.forward(StdStream::Err, &[line, b"\n"].concat());
            }
            on_line(StdStream::Err, line);
        });
    }
}
