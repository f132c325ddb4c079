//! Watching of the source trees.
//!
//! [`Watcher`] is the engine's interface: it takes the trees to cover, and delivers events. One
//! thread drains the kernel events of one or two backends, and another one polls directories that
//! the kernel does not watch. `backends` selects the backend of each tree.

#[cfg_attr(target_os = "macos", allow(dead_code, reason = "the other backends need it"))]
mod backend;
mod backends;
mod counters;
#[cfg(target_os = "linux")]
mod fanotify;
#[cfg(any(test, target_os = "macos"))]
mod fsevents;
#[cfg(target_os = "linux")]
mod inotify;
#[cfg_attr(target_os = "macos", allow(dead_code, reason = "inotify has these limits"))]
mod limits;
mod open_files;
mod outbox;
mod poll;
mod reader;
mod resolution;
mod root_monitor;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use mirror_core::fs_event::MirrorId;
use mirror_platform::waker::Waker;

use crate::report::Log;
pub(crate) use backend::WatchTree;
pub(crate) use counters::WatchCounters;
pub(crate) use outbox::WatchMessage;

use outbox::Outbox;
use reader::{ReaderChannels, WatchCommand, WatchReader};

/// Preferred watch backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preference {
    /// The backend that suits a tree best.
    #[default]
    Auto,
    /// inotify.
    Inotify,
    /// fanotify where it is available, else inotify.
    Fanotify,
}

/// Coverage of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Name of the backend.
    pub backend: &'static str,
    /// Reason for the backend, for the log: `inotify: 120 directories`.
    pub reason: String,
    /// Number of individually watched directories.
    pub directories: usize,
    /// Number of polled directories.
    pub polled: usize,
}

/// Current watches, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    /// Number of individually watched directories.
    pub watched: usize,
    /// At most [`MAX_LISTED`] of them: the watch descriptor, and the absolute path without a
    /// trailing slash.
    pub listed: Vec<(i32, Vec<u8>)>,
    /// The mirrors that are covered by a mark on their file system.
    pub marked: Vec<MirrorId>,
    /// The mirrors with polled directories, and the number of these.
    pub polled: Vec<(MirrorId, usize)>,
    /// The limit to raise to reduce polling, as a sentence without a full stop.
    pub advice: Option<String>,
}

/// Maximum number of individually listed directories: a listing must not delay the reading of
/// events.
pub(crate) const MAX_LISTED: usize = 10_000;

/// Watches trees until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    commands: CommandSender,
    outbox: Arc<Outbox>,
    counters: Arc<WatchCounters>,
    reader: Option<JoinHandle<()>>,
}

/// Sender of commands to the reader: a channel, and a waker.
#[derive(Clone, Debug)]
struct CommandSender {
    sender: Sender<WatchCommand>,
    waker: Arc<Waker>,
}

impl CommandSender {
    fn send(&self, command: WatchCommand) {
        // The reader is gone only while the program exits, or after a panic, which is reported.
        if self.sender.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

impl Watcher {
    /// Starts the threads, without a tree. Calls `wake`, on another thread, when there are messages
    /// to [`take`](Self::take); it must not block.
    ///
    /// # Errors
    ///
    /// If no inotify instance or thread can be created, or `/proc` is not mounted. The message says
    /// what to do about it.
    pub(crate) fn start(
        preference: Preference,
        log: Log,
        wake: Box<dyn Fn() + Send>,
    ) -> io::Result<Self> {
        let (sender, inbox) = mpsc::channel();
        let commands = CommandSender { sender, waker: Arc::new(Waker::new()?) };
        let outbox = Arc::new(Outbox::new());
        let counters = Arc::new(WatchCounters::default());
        let channels = ReaderChannels {
            commands: commands.clone(),
            inbox,
            outbox: outbox.clone(),
            counters: counters.clone(),
            wake,
        };
        let reader = WatchReader::new(preference, log, channels)?;
        let reader = thread::Builder::new().name("watch".into()).spawn(move || reader.run())?;
        Ok(Self { commands, outbox, counters, reader: Some(reader) })
    }

    /// Starts to cover a tree, instead of the one that was covered for that mirror. The result is
    /// [`WatchMessage::Covered`] or [`WatchMessage::CannotCover`]. `given` is another path of its
    /// root, with symbolic links in it: if that is changed to lead to another directory,
    /// [`WatchMessage::RootRepointed`] reports it.
    pub(crate) fn cover(&self, tree: WatchTree, given: Option<PathBuf>) {
        self.commands.send(WatchCommand::Cover(tree, given));
    }

    /// Stops covering a mirror. Events that were already read may still be delivered.
    pub(crate) fn uncover(&self, mirror: MirrorId) {
        self.commands.send(WatchCommand::Uncover(mirror));
    }

    /// Ignores changes of the file at this absolute path from now on, because the daemon itself
    /// writes it: log, pidfile, status file. Its directory may be reached through links.
    pub(crate) fn ignore(&self, path: PathBuf) {
        if let Some(real) = real_path(&path) {
            self.commands.send(WatchCommand::Ignore(real));
        }
        self.commands.send(WatchCommand::Ignore(path));
    }

    /// Requests a [`WatchMessage::Listed`] with the current watches.
    pub(crate) fn list(&self) {
        self.commands.send(WatchCommand::List);
    }

    /// Returns the counters.
    pub(crate) fn counters(&self) -> &WatchCounters {
        &self.counters
    }

    /// Requests a [`WatchMessage::Barrier`] with this number, after everything that has happened up
    /// to now in the sources at these paths.
    pub(crate) fn barrier(&self, id: u64, sources: BTreeSet<PathBuf>) {
        self.commands.send(WatchCommand::Barrier(id, sources));
    }

    /// Takes all messages, in order.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<WatchMessage> {
        self.outbox.take()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.commands.send(WatchCommand::Stop);
        if let Some(reader) = self.reader.take() {
            // A panic of the thread was already reported.
            let _ = reader.join();
        }
    }
}

/// Returns the path by which the kernel knows a file whose directory is reached through links.
fn real_path(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?)).filter(|real| real != path)
}
