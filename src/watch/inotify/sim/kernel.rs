//! System calls of the simulated kernel.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use mirror_platform::{
    entries::ReadBuffer,
    inotify::{InotifyEvents, WatchId},
    thread_cwd::ThreadCwd,
};
use rustix::io::Errno;

use super::{
    super::kernel::{DirId, Kernel},
    file_system::SimFileSystem,
};

/// Size of an event without its name.
const HEADER_SIZE: usize = 16;

/// Kernel with a simulated file system.
#[derive(Debug)]
pub(super) struct SimKernel {
    pub(super) fs: Arc<Mutex<SimFileSystem>>,
    /// If true, the link count reveals directories without subdirectories.
    pub(super) counts_links: bool,
    /// A descriptor that nothing polls.
    nothing: File,
}

/// Open directory: its inode.
#[derive(Debug)]
pub(super) struct SimDir(usize);

impl SimKernel {
    pub(super) fn new(fs: Arc<Mutex<SimFileSystem>>, counts_links: bool) -> Self {
        Self { fs, counts_links, nothing: File::open("/dev/null").unwrap() }
    }

    /// Returns the file system, in which something may have happened just now.
    fn lock(&self) -> MutexGuard<'_, SimFileSystem> {
        let mut fs = self.fs.lock().unwrap();
        fs.interleave();
        fs
    }
}

fn directory(fs: &SimFileSystem, inode: Option<usize>, reads: bool) -> io::Result<SimDir> {
    let inode = inode.ok_or(Errno::NOENT)?;
    let it = &fs.inodes[inode];
    if !it.is_directory {
        return Err(Errno::NOTDIR.into());
    }
    if reads && !it.is_readable {
        return Err(Errno::ACCESS.into());
    }
    Ok(SimDir(inode))
}

impl AsFd for SimKernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }
}

impl Kernel for SimKernel {
    type Dir = SimDir;
    type LeafDirs = ();
    type LookupDir<'a> = usize;

    fn open(&self, path: &[u8]) -> io::Result<SimDir> {
        let mut fs = self.lock();
        let inode = fs.find(path);
        fs.note(|| format!("open {} is {inode:?}", String::from_utf8_lossy(path)));
        directory(&fs, inode, true)
    }

    fn open_in(&self, parent: &SimDir, name: &[u8]) -> io::Result<SimDir> {
        let mut fs = self.lock();
        let inode = fs.child(parent.0, name);
        fs.note(|| format!("open {}/{} is {inode:?}", parent.0, String::from_utf8_lossy(name)));
        directory(&fs, inode, true)
    }

    fn open_for_lookup(&self, path: &[u8]) -> io::Result<SimDir> {
        let fs = self.lock();
        directory(&fs, fs.find(path), false)
    }

    fn identity(&self, dir: &SimDir) -> io::Result<DirId> {
        Ok(DirId { device: (0, 0), inode: dir.0 as u64, mount: 0 })
    }

    /// The entries may change during the listing.
    fn list(
        &self,
        dir: &SimDir,
        _buffer: &mut ReadBuffer,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut last = "";
        loop {
            let mut fs = self.lock();
            fs.note(|| format!("list {} after {last}", dir.0));
            let children = &fs.inodes[dir.0].children;
            let rest = children.iter().filter(|(name, _)| **name > last);
            let is_directory = |inode: usize| fs.inodes[inode].is_directory;
            let piece: Vec<_> = rest.take(2).map(|(&name, &it)| (name, is_directory(it))).collect();
            drop(fs);
            let Some((name, _)) = piece.last() else { return Ok(()) };
            last = name;
            for (name, _) in piece.iter().filter(|(_, is_directory)| *is_directory) {
                each(name.as_bytes());
            }
        }
    }

    fn leaf_dirs(&self, _dir: &SimDir) -> io::Result<()> {
        Ok(())
    }

    fn is_leaf(&self, (): (), dir: &SimDir, name: &[u8]) -> io::Result<bool> {
        let fs = self.lock();
        let inode = fs.child(dir.0, name).ok_or(Errno::NOENT)?;
        let children = &fs.inodes[inode].children;
        let holds_none = !children.values().any(|&it| fs.inodes[it].is_directory);
        Ok(self.counts_links && fs.inodes[inode].is_directory && holds_none)
    }

    fn lookup_dir<'a>(
        &'a self,
        dir: &'a SimDir,
        _: Option<&'a mut ThreadCwd>,
    ) -> io::Result<usize> {
        Ok(dir.0)
    }

    fn watch(&self, dir: &SimDir) -> io::Result<WatchId> {
        let mut fs = self.lock();
        if !fs.inodes[dir.0].is_readable {
            return Err(Errno::ACCESS.into());
        }
        Ok(WatchId(fs.watch(dir.0).ok_or(Errno::NOSPC)?))
    }

    fn watch_lookup_dir(&self, lookup: &usize) -> io::Result<WatchId> {
        self.watch(&SimDir(*lookup))
    }

    fn watch_new(&self, lookup: &usize, name: &[u8]) -> io::Result<WatchId> {
        let mut fs = self.lock();
        let inode = fs.child(*lookup, name);
        let SimDir(inode) = directory(&fs, inode, true)?;
        if fs.inodes[inode].watch.is_some() {
            return Err(Errno::EXIST.into());
        }
        Ok(WatchId(fs.watch(inode).ok_or(Errno::NOSPC)?))
    }

    fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        let mut fs = self.lock();
        if fs.end_watch(watch.0) { Ok(()) } else { Err(Errno::INVAL.into()) }
    }

    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<InotifyEvents<'a>>> {
        let mut fs = self.lock();
        let mut length = 0;
        while let Some(record) = fs.queue.front() {
            let name_length = record.name.len().next_multiple_of(HEADER_SIZE);
            let Some(space) = buffer.get_mut(length..length + HEADER_SIZE + name_length) else {
                break;
            };
            space.fill(0);
            let name_size = u32::try_from(name_length).unwrap();
            let numbers = [record.watch.cast_unsigned(), record.mask, record.cookie, name_size];
            let (header, name) = space.split_at_mut(HEADER_SIZE);
            header.copy_from_slice(&numbers.map(u32::to_ne_bytes).concat());
            name[..record.name.len()].copy_from_slice(record.name.as_bytes());
            length += HEADER_SIZE + name_length;
            let record = fs.queue.pop_front();
            fs.note(|| format!("read {record:x?}"));
        }
        Ok((length > 0).then(|| InotifyEvents::new(&buffer[..length])))
    }
}
