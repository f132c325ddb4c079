//! The mount table: `getfsstat(2)`.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::event::PollFlags;

use super::{
    known_file_systems::is_shared,
    kqueue::{KernelQueue, QueueEvent},
};
use crate::mounts::MountInfo;

/// A file system was mounted, or unmounted: `<sys/mount.h>`.
const VQ_MOUNT_AND_UNMOUNT: u32 = 0x0008 | 0x0010;

/// The mount table. Its descriptor is ready after each change, until the table is read.
#[derive(Debug)]
pub struct MountTable {
    changes: KernelQueue,
}

impl MountTable {
    /// The readiness of the descriptor after a change.
    pub const CHANGED: PollFlags = PollFlags::IN;

    /// Opens the mount table.
    ///
    /// # Errors
    ///
    /// As `kqueue(2)` and `kevent(2)`.
    pub fn open() -> io::Result<Self> {
        let changes = KernelQueue::new()?;
        changes.add(QueueEvent {
            ident: 0,
            filter: libc::EVFILT_FS,
            flags: libc::EV_ADD | libc::EV_CLEAR,
            notes: VQ_MOUNT_AND_UNMOUNT,
        })?;
        Ok(Self { changes })
    }

    /// Reads all entries. Does not contact servers of network file systems.
    ///
    /// # Errors
    ///
    /// As `getfsstat(2)`.
    pub fn read(&mut self) -> io::Result<Vec<MountInfo>> {
        /// Entries for what is mounted between two calls.
        const SPARE: usize = 16;
        // What changes after this is ready again.
        while self.changes.take()?.is_some() {}
        loop {
            let mut table = vec![empty(); fill(&mut [])? + SPARE];
            let found = fill(&mut table)?;
            // A full table may be truncated.
            if found < table.len() {
                return Ok(table.iter().take(found).map(MountInfo::new).collect());
            }
        }
    }
}

impl AsFd for MountTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

impl MountInfo {
    fn new(found: &libc::statfs) -> Self {
        let is_shared = is_shared(found);
        Self {
            id: mount_id(found),
            point: text(&found.f_mntonname),
            may_block: is_shared,
            is_shared,
            source: text(&found.f_mntfromname),
        }
    }
}

/// Returns the id of the mount, which is the device number of the files in it.
pub(crate) fn mount_id(found: &libc::statfs) -> u64 {
    // SAFETY: `fsid_t` is a struct of two numbers of 32 bits, and all bit patterns are valid. The
    // compiler checks that both have the same size.
    let [device, _] = unsafe { mem::transmute::<libc::fsid_t, [u32; 2]>(found.f_fsid) };
    device.into()
}

/// Returns the text of a field that ends with a NUL.
pub(crate) fn text(field: &[libc::c_char]) -> Vec<u8> {
    field.iter().map(|byte| byte.cast_unsigned()).take_while(|&byte| byte != 0).collect()
}

fn empty() -> libc::statfs {
    // SAFETY: `statfs` is plain memory.
    unsafe { mem::zeroed() }
}

/// Fills the table in. Returns the number of entries; of all mounts, if the table has no room.
fn fill(table: &mut [libc::statfs]) -> io::Result<usize> {
    let size = libc::c_int::try_from(size_of_val(table)).map_err(io::Error::other)?;
    let start = if table.is_empty() { std::ptr::null_mut() } else { table.as_mut_ptr() };
    // SAFETY: the table is writable for the stated number of bytes, or null.
    let found = unsafe { libc::getfsstat(start, size, libc::MNT_NOWAIT) };
    usize::try_from(found).map_err(|_| io::Error::last_os_error())
}
