//! File handles: names of files that last as long as the file, `name_to_handle_at(2)`.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

/// The size of `struct file_handle` without its bytes: their number, and the type.
const HEADER: usize = 8;

/// The most bytes of a handle, `MAX_HANDLE_SZ`.
const MOST: u32 = 128;

/// The size of the largest `struct file_handle`.
const LARGEST: usize = HEADER + MOST as usize;

/// How long it is tried again where the kernel says that it has no memory: with pauses from the first
/// of these on, each twice as long as the one before, to the last.
const PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(50));

/// Memory for a `struct file_handle`, which the kernel wants aligned.
#[repr(C, align(8))]
struct Raw([u8; LARGEST]);

/// A file handle in the kernel's own form: `struct file_handle` with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle(Box<[u8]>);

impl Handle {
    /// The handle of an open file or directory.
    ///
    /// # Errors
    ///
    /// As `name_to_handle_at(2)`: `EOPNOTSUPP` if the file system has no handles.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        const EMPTY: &CStr = c"";
        let mut raw = Raw([0; LARGEST]);
        let mut mount = 0;
        if let Some(size) = raw.0.first_chunk_mut() {
            *size = u32::to_ne_bytes(MOST);
        }
        // SAFETY: the name is a C string; `raw` is aligned for and as large as a `file_handle` of
        // the size that it states, and `mount` an int. All of them live through the call.
        let done = unsafe {
            libc::name_to_handle_at(
                file.as_fd().as_raw_fd(),
                EMPTY.as_ptr(),
                raw.0.as_mut_ptr().cast(),
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Self::from_bytes(&raw.0).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The handle at the beginning of `bytes`, as in an event of fanotify. `None` if it is cut.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.get(..length(bytes)?)?.into()))
    }

    /// The kernel's own form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The length of the `struct file_handle` at the beginning of `bytes`, with its header.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_ne_bytes(*bytes.first_chunk()?);
    (size <= MOST).then_some(HEADER + size as usize)
}

/// Opens, as a path, the file that a handle names. `mount` is any open file of the file system,
/// not itself opened as a path; the file is seen through its mount.
///
/// # Errors
///
/// As `open_by_handle_at(2)`: `ESTALE` if the file is gone, `EPERM` without
/// `CAP_DAC_READ_SEARCH`, `EINVAL` if `handle` is none.
pub fn open(mount: impl AsFd, handle: &[u8]) -> io::Result<OwnedFd> {
    let mut raw = Raw([0; LARGEST]);
    let handle = length(handle).and_then(|length| handle.get(..length));
    let (Some(handle), flags) = (handle, libc::O_PATH | libc::O_CLOEXEC) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if let Some(start) = raw.0.get_mut(..handle.len()) {
        start.copy_from_slice(handle);
    }
    let (mut pause, longest) = PAUSES;
    loop {
        // SAFETY: `raw` is aligned for and at least as large as a `file_handle` of the size that it
        // states, which `length` has checked, and lives through the call.
        let fd = unsafe {
            libc::open_by_handle_at(mount.as_fd().as_raw_fd(), raw.0.as_mut_ptr().cast(), flags)
        };
        if fd >= 0 {
            // SAFETY: the call has just made this descriptor, so nobody else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        // ext4 says so of one that is gone, too, while its number is given to a new file: seen with
        // Linux 6.18. That is soon over.
        if error.raw_os_error() != Some(libc::ENOMEM) || pause > longest {
            return Err(error);
        }
        thread::sleep(pause);
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::Dir;
    use std::{
        collections::BTreeSet,
        iter,
        sync::atomic::{AtomicBool, Ordering},
    };

    #[test]
    fn a_handle_outlives_a_rename_and_not_a_removal() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        std::fs::create_dir(&path).unwrap();
        let root = Dir::open(place.path()).unwrap();
        let before = root.stat(b"d").unwrap().stx_ino;
        let handle = Handle::of(Dir::open(&path).unwrap()).unwrap();
        std::fs::rename(&path, place.path().join("e")).unwrap();
        match open(&root, handle.as_bytes()) {
            Ok(fd) => assert_eq!(rustix::fs::fstat(fd).unwrap().st_ino, before),
            // Only the rights of the one who runs the tests can be the reason.
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                return;
            }
        }
        std::fs::remove_dir(place.path().join("e")).unwrap();
        let error = open(&root, handle.as_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    }

    /// On ext4 the next directory gets the same number.
    #[test]
    fn what_is_gone_is_gone_also_while_another_one_gets_its_number() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        let root = Dir::open(place.path()).unwrap();
        let handles: Vec<_> = (0..100)
            .map(|_| {
                std::fs::create_dir(&path).unwrap();
                let handle = Handle::of(Dir::open(&path).unwrap()).unwrap();
                std::fs::remove_dir(&path).unwrap();
                handle
            })
            .collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::create_dir(&path).unwrap();
                    std::fs::remove_dir(&path).unwrap();
                }
            });
            let open = |handle: &Handle| open(&root, handle.as_bytes()).unwrap_err();
            let all = iter::repeat_n(&handles, 100).flatten();
            let errors: BTreeSet<_> = all.map(|handle| open(handle).raw_os_error()).collect();
            done.store(true, Ordering::Relaxed);
            let [gone, not_allowed] = [libc::ESTALE, libc::EPERM].map(Some);
            assert!(errors == [gone].into() || errors == [not_allowed].into(), "{errors:?}");
        });
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let root = Dir::open(std::path::Path::new("/")).unwrap();
        for bytes in [&b""[..], b"\xff\xff\xff\xff\0\0\0\0", b"\x20\0\0\0\x01\0\0\0short"] {
            assert!(open(&root, bytes).is_err());
        }
    }
}
