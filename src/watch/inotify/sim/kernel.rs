//! The calls of the simulated kernel.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use mirror_platform::{
    entries::ReadBuffer,
    inotify::{Events, WatchId},
    stand::Stand,
};
use rustix::io::Errno;

use super::{
    super::kernel::{Identity, Kernel},
    world::World,
};

/// The size of an event without its name.
const HEADER: usize = 16;

/// A kernel for one world.
#[derive(Debug)]
pub(super) struct Simulated {
    pub(super) world: Arc<Mutex<World>>,
    /// Whether directories are known by their links to hold no others.
    pub(super) counts_links: bool,
    /// Something to poll, which nobody does.
    nothing: File,
}

/// An open directory: its inode.
#[derive(Debug)]
pub(super) struct Opened(usize);

impl Simulated {
    pub(super) fn new(world: Arc<Mutex<World>>, counts_links: bool) -> Self {
        Self { world, counts_links, nothing: File::open("/dev/null").unwrap() }
    }

    /// The world, in which something may have happened just now.
    fn look(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.disturb();
        world
    }
}

fn directory(world: &World, inode: Option<usize>, reads: bool) -> io::Result<Opened> {
    let inode = inode.ok_or(Errno::NOENT)?;
    let it = &world.inodes[inode];
    if !it.is_directory {
        return Err(Errno::NOTDIR.into());
    }
    if reads && !it.is_readable {
        return Err(Errno::ACCESS.into());
    }
    Ok(Opened(inode))
}

impl AsFd for Simulated {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }
}

impl Kernel for Simulated {
    type Dir = Opened;
    type Leaves = ();
    type Vantage<'a> = usize;

    fn open(&self, path: &[u8]) -> io::Result<Opened> {
        let mut world = self.look();
        let inode = world.find(path);
        world.note(|| format!("open {} is {inode:?}", String::from_utf8_lossy(path)));
        directory(&world, inode, true)
    }

    fn open_in(&self, parent: &Opened, name: &[u8]) -> io::Result<Opened> {
        let mut world = self.look();
        let inode = world.child(parent.0, name);
        world.note(|| format!("open {}/{} is {inode:?}", parent.0, String::from_utf8_lossy(name)));
        directory(&world, inode, true)
    }

    fn search(&self, path: &[u8]) -> io::Result<Opened> {
        let world = self.look();
        directory(&world, world.find(path), false)
    }

    fn identity(&self, dir: &Opened) -> io::Result<Identity> {
        Ok(Identity { device: (0, 0), inode: dir.0 as u64, mount: 0 })
    }

    /// The names may change while they are read.
    fn list(
        &self,
        dir: &Opened,
        _buffer: &mut ReadBuffer,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut last = "";
        loop {
            let mut world = self.look();
            world.note(|| format!("list {} after {last}", dir.0));
            let children = &world.inodes[dir.0].children;
            let rest = children.iter().filter(|(name, _)| **name > last);
            let is_directory = |inode: usize| world.inodes[inode].is_directory;
            let piece: Vec<_> = rest.take(2).map(|(&name, &it)| (name, is_directory(it))).collect();
            drop(world);
            let Some((name, _)) = piece.last() else { return Ok(()) };
            last = name;
            for (name, _) in piece.iter().filter(|(_, is_directory)| *is_directory) {
                each(name.as_bytes());
            }
        }
    }

    fn leaves(&self, _dir: &Opened) -> io::Result<()> {
        Ok(())
    }

    fn is_leaf(&self, (): (), dir: &Opened, name: &[u8]) -> io::Result<bool> {
        let world = self.look();
        let inode = world.child(dir.0, name).ok_or(Errno::NOENT)?;
        let children = &world.inodes[inode].children;
        let holds_none = !children.values().any(|&it| world.inodes[it].is_directory);
        Ok(self.counts_links && world.inodes[inode].is_directory && holds_none)
    }

    fn vantage<'a>(&'a self, dir: &'a Opened, _: Option<&'a mut Stand>) -> io::Result<usize> {
        Ok(dir.0)
    }

    fn watch(&self, dir: &Opened) -> io::Result<WatchId> {
        let mut world = self.look();
        if !world.inodes[dir.0].is_readable {
            return Err(Errno::ACCESS.into());
        }
        Ok(WatchId(world.watch(dir.0).ok_or(Errno::NOSPC)?))
    }

    fn watch_here(&self, there: &usize) -> io::Result<WatchId> {
        self.watch(&Opened(*there))
    }

    fn watch_new(&self, there: &usize, name: &[u8]) -> io::Result<WatchId> {
        let mut world = self.look();
        let inode = world.child(*there, name);
        let Opened(inode) = directory(&world, inode, true)?;
        if world.inodes[inode].watch.is_some() {
            return Err(Errno::EXIST.into());
        }
        Ok(WatchId(world.watch(inode).ok_or(Errno::NOSPC)?))
    }

    fn unwatch(&self, watch: WatchId) -> io::Result<()> {
        let mut world = self.look();
        if world.end_watch(watch.0) { Ok(()) } else { Err(Errno::INVAL.into()) }
    }

    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Events<'a>>> {
        let mut world = self.look();
        let mut length = 0;
        while let Some(record) = world.queue.front() {
            let name_length = record.name.len().next_multiple_of(HEADER);
            let Some(space) = buffer.get_mut(length..length + HEADER + name_length) else { break };
            space.fill(0);
            let name_size = u32::try_from(name_length).unwrap();
            let numbers = [record.watch.cast_unsigned(), record.mask, record.cookie, name_size];
            let (header, name) = space.split_at_mut(HEADER);
            header.copy_from_slice(&numbers.map(u32::to_ne_bytes).concat());
            name[..record.name.len()].copy_from_slice(record.name.as_bytes());
            length += HEADER + name_length;
            let record = world.queue.pop_front();
            world.note(|| format!("read {record:x?}"));
        }
        Ok((length > 0).then(|| Events::new(&buffer[..length])))
    }
}
