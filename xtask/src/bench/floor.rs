//! The least that a daemon could do, as programs of their own: this program plays them, so that
//! they are counted like daemons.

use std::{
    ffi::OsStr,
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
};

use super::{
    place::{Arena, Place},
    running::{OWN_PROGRAM, Running},
};

/// The task of the command line that plays the bare reader.
pub(crate) const READER: &str = "bare-reader";
/// The task of the command line that plays the bare copier.
pub(crate) const COPIER: &str = "bare-copier";

/// The name that ends the work of the reader.
const LAST: &str = "the last event";
/// How long an event may take.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// A directory of which events are read.
#[derive(Debug)]
pub(crate) struct Watch {
    queue: OwnedFd,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Watch {
    /// Watches one directory.
    ///
    /// # Errors
    ///
    /// As `inotify_add_watch(2)`.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let watch = Self { queue, buffer: vec![MaybeUninit::uninit(); 1 << 16] };
        watch.add(directory)?;
        Ok(watch)
    }

    fn add(&self, directory: &Path) -> io::Result<()> {
        let events = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE
            | WatchFlags::MOVE;
        inotify::add_watch(&self.queue, directory, events)?;
        Ok(())
    }

    /// Waits until the file `name` in `directory` has `length` bytes.
    ///
    /// It is looked at with each event that names it: a file may be written in place, renamed, or
    /// linked into its place as a whole.
    ///
    /// # Errors
    ///
    /// When it takes too long.
    pub(crate) fn wait_for_file(
        &mut self,
        directory: &Path,
        name: &str,
        length: u64,
    ) -> io::Result<()> {
        let path = directory.join(name);
        self.read_until(|_, found| {
            found == name.as_bytes() && fs::metadata(&path).is_ok_and(|it| it.len() == length)
        })
    }

    /// Reads events until `is_last` says so.
    fn read_until(&mut self, mut is_last: impl FnMut(ReadFlags, &[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut waiting = [PollFd::new(&self.queue, PollFlags::IN)];
            if poll(&mut waiting, Some(&PATIENCE))? == 0 {
                return Err(io::Error::other("waited in vain for an event"));
            }
            let mut reader = inotify::Reader::new(&self.queue, &mut self.buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
                        if is_last(event.events(), name) {
                            return Ok(());
                        }
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// The events after which a file of ours is complete.
const COMPLETE: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::MOVED_TO);

/// Plays one of the programs; returns nothing when `task` is none of them.
pub(crate) fn play(task: &str, arguments: &[String]) -> Option<io::Result<()>> {
    match (task, arguments) {
        (READER, [directory]) => Some(read_events(Path::new(directory))),
        (COPIER, [from, to]) => Some(copy_events(Path::new(from), Path::new(to))),
        _ => None,
    }
}

/// Reads the events of a directory and of those in it, and does nothing with them.
fn read_events(directory: &Path) -> io::Result<()> {
    let mut watch = Watch::new(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            watch.add(&entry.path())?;
        }
    }
    println!("ready");
    watch.read_until(|_, name| name == LAST.as_bytes())?;
    println!("done");
    // It stays, so that what it used can be looked up; whoever started it ends it.
    watch.read_until(|_, _| false)
}

/// Copies each file as soon as it is complete.
fn copy_events(from: &Path, to: &Path) -> io::Result<()> {
    let mut watch = Watch::new(from)?;
    println!("ready");
    watch.read_until(|event, name| {
        if event.intersects(COMPLETE) {
            let name = OsStr::from_bytes(name);
            if let Err(error) = fs::copy(from.join(name), to.join(name)) {
                eprintln!("not copied: {error}");
            }
        }
        false
    })
}

/// The CPU seconds that the bare reader of `directory` needs while `change` happens.
///
/// # Errors
///
/// When something cannot be done.
pub(crate) fn cost_of_reading(
    arena: &Arena,
    directory: &Place,
    change: impl FnOnce() -> io::Result<()>,
) -> io::Result<f64> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(READER).arg(directory.path());
    let mut reader = start(&command, arena)?;
    change()?;
    let last: PathBuf = directory.path().join(LAST);
    fs::write(&last, "")?;
    reader.wait_until("all events were read", |reader| reader.output().contains("done"))?;
    Ok(reader.usage()?.own)
}

/// Starts the bare copier.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn start_copier(arena: &Arena, from: &Place, to: &Place) -> io::Result<Running> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(COPIER).args([from.path(), to.path()]);
    start(&command, arena)
}

fn start(command: &Command, arena: &Arena) -> io::Result<Running> {
    let mut running = Running::start(command, &arena.place("floor")?)?;
    running.wait_until("the floor is ready", |running| running.output().contains("ready"))?;
    Ok(running)
}
