//! Status of a sync with a script: its events as the original lists them.

use std::io::{self, Write};

use mirror_core::{
    fs_event::EntryKind,
    input::TargetLink,
    mirror::{Availability, SyncMember, scripted::ScriptedMirror},
    path::{Escaped, TreePath},
    queue::event_queue::{EventStatus, QueuedEvent},
    time::Moment,
};

use super::{MAX_FAILED, write_omitted_count};

/// Writes one event that waits or is being handled.
pub(super) fn write_entry(entry: &QueuedEvent, out: &mut Vec<u8>) -> io::Result<()> {
    let slash = if entry.kind() == EntryKind::Directory { "/" } else { "" };
    let named = |path: &TreePath| format!("{path}{slash}");
    write!(out, "{:<7}{} ", entry.status().name(), entry.etype().name())?;
    // The trailing blank is in the original.
    if !entry.etype().is_barrier() {
        let is_all = entry.path().is_root();
        write!(out, "{}", if is_all { "/".into() } else { named(entry.path()) })?;
    }
    if let Some(to) = entry.to() {
        write!(out, " -> {}", named(to))?;
    }
    writeln!(out)
}

/// Writes the state in readable form. The effect of the script's work is unknown.
pub(super) fn write_state(mirror: &ScriptedMirror, out: &mut Vec<u8>) -> io::Result<()> {
    if mirror.target_link() == TargetLink::Down {
        write!(out, "waiting for its tunnel, ")?;
    }
    match (mirror.source().why_unavailable(), mirror.source().availability()) {
        (Some(reason), _) => write!(out, "source unavailable: {reason}")?,
        (None, Availability::Covering) => write!(out, "setting up watches")?,
        (None, _) if mirror.is_live() => write!(out, "live")?,
        (None, _) => write!(out, "starting")?,
    }
    write!(out, ", {}", remaining_events(mirror))?;
    match mirror.queue().failed_count() {
        0 => writeln!(out),
        failed => writeln!(out, ", {failed} of them failed"),
    }
}

/// Describes the remaining events.
pub(super) fn remaining_events(mirror: &ScriptedMirror) -> String {
    match mirror.queue().len() {
        0 => "no event is pending".into(),
        1 => "1 event is pending".into(),
        count => format!("{count} events are pending"),
    }
}

/// Writes the failed events, with the reason and the time of the next attempt.
pub(super) fn write_failed(
    mirror: &ScriptedMirror,
    is_final: bool,
    next_try: impl Fn(Moment) -> String,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let queue = mirror.queue();
    for (entry, failure) in queue.failed().take(MAX_FAILED) {
        let tries = failure.tries.max(1);
        write!(out, "  failed, try {tries}")?;
        match entry.status() {
            EventStatus::Active | EventStatus::Block | EventStatus::Wait if is_final => {}
            EventStatus::Active => write!(out, ", retrying now")?,
            EventStatus::Block => write!(out, ", blocked by another event")?,
            EventStatus::Wait => write!(out, ", {}", next_try(entry.alarm()))?,
        }
        writeln!(out, ": {}: {}", entry.title(), Escaped(failure.message.as_bytes()))?;
    }
    write_omitted_count(out, queue.failed_count().saturating_sub(MAX_FAILED), "")
}
