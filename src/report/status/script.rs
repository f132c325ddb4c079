//! What there is to tell of a sync with a script: the events as the original lists them.

use std::{
    fmt::Display,
    io::{self, Write},
};

use mirror_core::{
    input::Gate,
    mirror::{State, scripted::Scripted},
    notice::Kind,
    path::{Escaped, TreePath},
    queue::ordered::{Entry, Status},
    time::Moment,
};

use super::{MOST_FAILED, tell_rest};

/// One event that waits or is worked on.
pub(super) fn write_entry(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let slash = if entry.kind() == Kind::Directory { "/" } else { "" };
    let named = |path: &TreePath| format!("{path}{slash}");
    write!(out, "{:<7}{} ", entry.status().name(), entry.etype().name())?;
    // The blank at the end is the original's.
    if !entry.etype().is_barrier() {
        let is_all = entry.path().is_root();
        write!(out, "{}", if is_all { "/".into() } else { named(entry.path()) })?;
    }
    if let Some(to) = entry.to() {
        write!(out, " -> {}", named(to))?;
    }
    writeln!(out)
}

/// In words, how it is. What its script makes of the events, nobody knows.
pub(super) fn write_state(mirror: &Scripted, out: &mut Vec<u8>) -> io::Result<()> {
    if mirror.gate() == Gate::Closed {
        write!(out, "waits for its tunnel, ")?;
    }
    match mirror.state() {
        State::Covering => write!(out, "its source is being watched for the first time")?,
        State::Starting => write!(out, "the beginning")?,
        State::Live | State::Away(_) => write!(out, "live")?,
        State::Held { why, .. } => write!(out, "the source is lost, {why}")?,
    }
    write!(out, ", {}", left(mirror))?;
    match mirror.queue().failed_count() {
        0 => writeln!(out),
        failed => writeln!(out, ", {failed} of them failed"),
    }
}

/// What is left to be done.
pub(super) fn left(mirror: &Scripted) -> String {
    match mirror.queue().len() {
        0 => "all events are done".into(),
        1 => "1 event waits or is worked on".into(),
        count => format!("{count} events wait or are worked on"),
    }
}

/// The events that have failed, with the reason and the time of the next try.
pub(super) fn write_failed<D: Display>(
    mirror: &Scripted,
    date: impl Fn(Moment) -> D,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let queue = mirror.queue();
    for (entry, trouble) in queue.failed().take(MOST_FAILED) {
        let tries = trouble.tries.max(1);
        write!(out, "  failed, try {tries}, ")?;
        match entry.status() {
            Status::Active => write!(out, "tried again now")?,
            Status::Block => write!(out, "waits for another one")?,
            Status::Wait => write!(out, "the next at {}", date(entry.alarm()))?,
        }
        writeln!(out, ": {}: {}", entry.title(), Escaped(trouble.why.as_bytes()))?;
    }
    tell_rest(out, queue.failed_count().saturating_sub(MOST_FAILED), "")
}
