//! Where changes come from.
//!
//! [`Watch`] is the door for the engine: it says which trees are to be covered, and takes what
//! happened. Behind it one thread drains what the kernel tells, through one or two sources, and
//! another one polls what the kernel does not tell. Which source serves a tree, `choose` decides.

mod choose;
mod fanotify;
mod forest;
mod inotify;
mod limits;
mod open;
mod outbox;
mod poll;
mod reader;
mod resolution;
mod sentinel;
mod source;

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use mirror_core::notice::MirrorId;
use rustix::event::EventfdFlags;

use crate::report::Log;
pub use outbox::Told;
pub use source::{Skip, Tree};

use outbox::Outbox;
use reader::{Command, Reader};

/// Which source is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The one that serves a tree best.
    #[default]
    Auto,
    /// inotify.
    Inotify,
    /// fanotify, where it is possible; else inotify.
    Fanotify,
}

/// How a tree is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The name of the source.
    pub by: &'static str,
    /// Why this one, for the log: `inotify: 120 directories`.
    pub reason: String,
    /// How many directories are watched one by one.
    pub directories: usize,
    /// How many directories are polled.
    pub polled: usize,
}

/// What is watched at a moment, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// How many directories are watched one by one.
    pub watched: usize,
    /// At most [`MOST_LISTED`] of them: the number of the watch, and the absolute path without a
    /// slash at the end.
    pub listed: Vec<(i32, Vec<u8>)>,
    /// The mirrors that are served by a mark on their file system.
    pub marked: Vec<MirrorId>,
    /// The mirrors of which so many directories are polled.
    pub polled: Vec<(MirrorId, usize)>,
    /// What to raise so that less has to be polled, as a sentence without a full stop.
    pub advice: Option<String>,
}

/// The most watched directories that are listed one by one: a list must not hold up the reading of
/// events.
pub const MOST_LISTED: usize = 10_000;

/// Somebody's wish to know that all is told that happened before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Barrier(pub u64);

/// The watching of trees. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    asks: Asks,
    outbox: Arc<Outbox>,
    reader: Option<JoinHandle<()>>,
}

/// The way to the reader: a channel, and the bell that makes it look.
#[derive(Clone, Debug)]
struct Asks {
    commands: Sender<Command>,
    bell: Arc<OwnedFd>,
}

impl Asks {
    fn send(&self, command: Command) {
        // The reader is gone only when the whole program ends, or by a panic, which is reported.
        if self.commands.send(command).is_ok() {
            // The bell can't be too full: it counts to 2^64 - 2 before it blocks.
            let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
        }
    }
}

impl Watch {
    /// Starts to watch, nothing yet. `wake` is called, on another thread, when there is something
    /// to [`take`](Self::take); it must not block.
    ///
    /// # Errors
    ///
    /// If there can be no inotify instance or no thread, or if there is no `/proc`. It says what to
    /// do about it.
    pub fn start(preference: Preference, log: Log, wake: Box<dyn Fn() + Send>) -> io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (commands, inbox) = mpsc::channel();
        let asks = Asks { commands, bell: Arc::new(bell) };
        let outbox = Arc::new(Outbox::new());
        let reader = Reader::new(preference, log, (asks.clone(), inbox), (outbox.clone(), wake))?;
        let reader = thread::Builder::new().name("watch".into()).spawn(move || reader.run())?;
        Ok(Self { asks, outbox, reader: Some(reader) })
    }

    /// Begins to cover a tree, in place of the one that was covered for that mirror. The end is
    /// told as [`Told::Covered`] or [`Told::CannotCover`]. `given` is another path of its root, with
    /// symbolic links in it: where that leads elsewhere, [`Told::Elsewhere`] says so.
    pub fn cover(&self, tree: Tree, given: Option<PathBuf>) {
        self.asks.send(Command::Cover(tree, given));
    }

    /// Ends the covering of a mirror. What was found before may still be told.
    pub fn uncover(&self, mirror: MirrorId) {
        self.asks.send(Command::Uncover(mirror));
    }

    /// Tells nothing of the file at this absolute path from now on, as it is our own: the log, the
    /// pidfile, the status.
    pub fn ignore(&self, path: PathBuf) {
        self.asks.send(Command::Ignore(path));
    }

    /// Asks to be told, as [`Told::Drained`], when all is told that has happened till now.
    pub fn drain(&self, barrier: Barrier) {
        self.asks.send(Command::Drain(barrier));
    }

    /// Asks to be told, as [`Told::Listed`], what is watched.
    pub fn list(&self) {
        self.asks.send(Command::List);
    }

    /// What there is to be told, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Told> {
        self.outbox.take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.asks.send(Command::Stop);
        if let Some(reader) = self.reader.take() {
            // A panic there was reported when it happened.
            let _ = reader.join();
        }
    }
}
