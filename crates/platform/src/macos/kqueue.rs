//! Kernel event queues: `kqueue(2)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

/// A kernel event queue. It is readable for `poll(2)` if it has events. Children do not inherit it.
#[derive(Debug)]
pub(crate) struct KernelQueue {
    fd: OwnedFd,
}

/// An event, or the registration of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueEvent {
    /// The subject: a descriptor, a process id, or any number.
    pub(crate) ident: usize,
    /// The filter: `EVFILT_PROC`.
    pub(crate) filter: i16,
    /// The action: `EV_ADD`.
    pub(crate) flags: u16,
    /// The flags of the filter: `NOTE_EXIT`.
    pub(crate) notes: u32,
}

impl KernelQueue {
    /// Creates an empty queue.
    ///
    /// # Errors
    ///
    /// As `kqueue(2)`.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes nothing.
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, so nothing else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Registers an event, or changes a registration.
    ///
    /// # Errors
    ///
    /// As `kevent(2)`.
    pub(crate) fn add(&self, event: QueueEvent) -> io::Result<()> {
        let QueueEvent { ident, filter, flags, notes } = event;
        let change =
            libc::kevent { ident, filter, flags, fflags: notes, data: 0, udata: ptr::null_mut() };
        let fd = self.fd.as_raw_fd();
        // SAFETY: one change is read, and no event is written.
        let done =
            unsafe { libc::kevent(fd, &raw const change, 1, ptr::null_mut(), 0, ptr::null()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes one event, if there is any. Never blocks.
    ///
    /// # Errors
    ///
    /// As `kevent(2)`.
    pub(crate) fn take(&self) -> io::Result<Option<QueueEvent>> {
        // SAFETY: an event is plain memory.
        let mut event: libc::kevent = unsafe { std::mem::zeroed() };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let fd = self.fd.as_raw_fd();
        // SAFETY: no change is read, and at most one event is written.
        let count = unsafe { libc::kevent(fd, ptr::null(), 0, &raw mut event, 1, &raw const now) };
        match count {
            0 => Ok(None),
            1 => Ok(Some(QueueEvent {
                ident: event.ident,
                filter: event.filter,
                flags: event.flags,
                notes: event.fflags,
            })),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for KernelQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
