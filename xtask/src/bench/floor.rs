//! The floors: minimal programs as a lower bound. They run as internal tasks of this program in
//! processes of their own, so that their usage is measured like that of daemons.

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
    fs::{
        AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    },
};

use super::{
    process::{MeteredProcess, OWN_PROGRAM},
    scratch::{ScratchDir, ScratchPath},
};

/// The internal task that only reads events.
pub(crate) const READER: &str = "bare-reader";
/// The internal task that copies each completed file.
pub(crate) const COPIER: &str = "bare-copier";

/// The internal task that reads the metadata of a tree.
const WALKER: &str = "bare-walker";

/// The file name whose event ends the measurement of the reader.
const LAST: &str = "the last event";
/// Time limit for an event.
const TIMEOUT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// An inotify watch on a directory.
#[derive(Debug)]
pub(crate) struct DirectoryWatch {
    queue: OwnedFd,
    buffer: Vec<MaybeUninit<u8>>,
}

impl DirectoryWatch {
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
    /// Checks it at each event that names it: a file may be written in place, renamed, or linked as
    /// a whole.
    ///
    /// # Errors
    ///
    /// If it takes too long.
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

    /// Reads events until `is_last` returns true.
    fn read_until(&mut self, mut is_last: impl FnMut(ReadFlags, &[u8]) -> bool) -> io::Result<()> {
        loop {
            let mut descriptors = [PollFd::new(&self.queue, PollFlags::IN)];
            if poll(&mut descriptors, Some(&TIMEOUT))? == 0 {
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

/// The events that complete a file.
const COMPLETE: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::MOVED_TO);

/// Runs one of the programs. `None`: `task` is not one of them.
pub(crate) fn run(task: &str, arguments: &[String]) -> Option<io::Result<()>> {
    match (task, arguments) {
        (READER, [directory]) => Some(read_events(Path::new(directory))),
        (WALKER, [directory]) => {
            Some(fs::File::open(directory).and_then(|root| walk_tree(&root.into())))
        }
        (COPIER, [from, to]) => Some(copy_events(Path::new(from), Path::new(to))),
        _ => None,
    }
}

/// Reads and ignores the events of a directory and of its subdirectories.
fn read_events(directory: &Path) -> io::Result<()> {
    let mut watch = DirectoryWatch::new(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            watch.add(&entry.path())?;
        }
    }
    println!("ready");
    watch.read_until(|_, name| name == LAST.as_bytes())?;
    println!("done");
    // Keeps running, so that its usage stays readable; the process that started it kills it.
    watch.read_until(|_, _| false)
}

/// Copies each file once it is complete.
fn copy_events(from: &Path, to: &Path) -> io::Result<()> {
    let mut watch = DirectoryWatch::new(from)?;
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

/// Reads each directory of a tree, and the metadata of each entry by `statx(2)`.
fn walk_tree(directory: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); 1 << 16];
    let mut reader = RawDir::new(directory, &mut buffer);
    let mut below = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)?;
        if entry.file_type() == FileType::Directory {
            below.push(name.to_owned());
        }
    }
    let open = |name| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        rustix::fs::openat(directory, name, flags, Mode::empty())
    };
    below.into_iter().try_for_each(|name| walk_tree(&open(name)?))
}

/// Runs the bare walk of a source.
///
/// # Errors
///
/// If it fails.
pub(crate) fn walk(source: &ScratchPath) -> io::Result<()> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(WALKER).arg(source.path());
    super::measure::run(command)
}

/// Measures the CPU seconds of the bare reader of `directory` during `change`.
///
/// # Errors
///
/// If a step fails.
pub(crate) fn cost_of_reading(
    scratch: &ScratchDir,
    directory: &ScratchPath,
    change: impl FnOnce() -> io::Result<()>,
) -> io::Result<f64> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(READER).arg(directory.path());
    let mut reader = start(&command, scratch)?;
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
/// If it cannot be started.
pub(crate) fn start_copier(
    scratch: &ScratchDir,
    from: &ScratchPath,
    to: &ScratchPath,
) -> io::Result<MeteredProcess> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(COPIER).args([from.path(), to.path()]);
    start(&command, scratch)
}

fn start(command: &Command, scratch: &ScratchDir) -> io::Result<MeteredProcess> {
    let mut running = MeteredProcess::start(command, &scratch.path("floor")?)?;
    running.wait_until("the floor is ready", |running| running.output().contains("ready"))?;
    Ok(running)
}
