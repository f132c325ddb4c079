//! Streams of file system events in the form of FSEvents: a path, merged flags, and an id.
//!
//! `fsevents` implements the trait by the service of macOS; tests implement it by a played one, on
//! any system.

use std::{io, os::fd::AsFd, path::Path, time::Duration};

/// The number of a stream. It is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventStreamId(pub u64);

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEvent {
    /// The absolute path; empty if the service did not report one.
    pub path: Vec<u8>,
    /// The flags of `<FSEvents.h>`, merged over a time of any length.
    pub flags: u32,
    /// The id, which grows until the counter wraps. Events about the root itself have the id 0.
    pub id: u64,
    /// The inode of the entry, if the service knows it.
    pub inode: Option<u64>,
}

/// A stream to be opened.
#[derive(Clone, Copy, Debug)]
pub struct StreamRequest<'a> {
    /// The directory: absolute and without symbolic links.
    pub root: &'a Path,
    /// The id after which events are reported.
    pub since: u64,
    /// The time in which the service gathers events before it reports them.
    pub latency: Duration,
}

/// A service that reports the changes below directories, and of the paths of these directories.
///
/// Its descriptor is readable while there are events to take.
pub trait EventStreams: AsFd + Send {
    /// Returns the id of the latest event of the whole machine.
    fn current_id(&mut self) -> u64;

    /// Opens a stream. It reports everything that happened after the requested id.
    ///
    /// # Errors
    ///
    /// If the service is not available, or has too many streams.
    fn open(&mut self, request: StreamRequest<'_>) -> io::Result<EventStreamId>;

    /// Closes a stream. Events that it has reported before may still be taken.
    fn close(&mut self, stream: EventStreamId);

    /// Waits until everything that has happened up to now can be taken.
    fn flush(&mut self);

    /// Takes the reported events, in order. Never blocks.
    fn take(&mut self) -> Vec<(EventStreamId, StreamEvent)>;
}
