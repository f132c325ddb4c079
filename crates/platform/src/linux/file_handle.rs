//! File handles: identifiers that are valid as long as the file exists, `name_to_handle_at(2)`.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

/// Size of `struct file_handle` without the handle's bytes: their number, and the type.
const HEADER_SIZE: usize = 8;

/// Largest number of bytes in a handle, `MAX_HANDLE_SZ`.
const MAX_HANDLE_BYTES: u32 = 128;

/// Size of the largest `struct file_handle`.
const MAX_STRUCT_SIZE: usize = HEADER_SIZE + MAX_HANDLE_BYTES as usize;

/// First and longest pause between retries when the kernel reports `ENOMEM`. Each is a quarter
/// longer than the one before: while directories come and go all the time, two of five tries fail,
/// however long the pauses are, so it is their number that counts.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(100));

/// Memory for a `struct file_handle`, with the alignment that the kernel requires.
#[repr(C, align(8))]
struct RawHandle([u8; MAX_STRUCT_SIZE]);

/// File handle in the kernel's binary format: `struct file_handle` with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileHandle(Box<[u8]>);

impl FileHandle {
    /// Returns the handle of an open file or directory.
    ///
    /// # Errors
    ///
    /// As `name_to_handle_at(2)`: `EOPNOTSUPP` if the file system has no handles.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        const EMPTY: &CStr = c"";
        let mut raw = RawHandle([0; MAX_STRUCT_SIZE]);
        let mut mount = 0;
        if let Some(size) = raw.0.first_chunk_mut() {
            *size = u32::to_ne_bytes(MAX_HANDLE_BYTES);
        }
        // SAFETY: the name is a C string; `raw` is aligned for and as large as a `file_handle` of
        // the size that it states, and `mount` is an int. All of them outlive the call.
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

    /// Parses the handle at the start of `bytes`, as in an event of fanotify. `None` if it is
    /// truncated.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.get(..length(bytes)?)?.into()))
    }

    /// Returns the handle in the kernel's binary format.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns the length of the `struct file_handle` at the start of `bytes`, header included.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_ne_bytes(*bytes.first_chunk()?);
    (size <= MAX_HANDLE_BYTES).then_some(HEADER_SIZE + size as usize)
}

/// Opens the file of a handle with `O_PATH`. `mount` is any open file of the file system, not
/// itself opened with `O_PATH`; it decides through which mount the file is accessed.
///
/// # Errors
///
/// As `open_by_handle_at(2)`: `ESTALE` if the file no longer exists, `EPERM` without
/// `CAP_DAC_READ_SEARCH`, `EINVAL` if `handle` is not a handle.
pub fn open(mount: impl AsFd, handle: &[u8]) -> io::Result<OwnedFd> {
    let mut raw = RawHandle([0; MAX_STRUCT_SIZE]);
    let handle = length(handle).and_then(|length| handle.get(..length));
    let (Some(handle), flags) = (handle, libc::O_PATH | libc::O_CLOEXEC) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if let Some(start) = raw.0.get_mut(..handle.len()) {
        start.copy_from_slice(handle);
    }
    let (mut pause, longest) = RETRY_PAUSES;
    loop {
        // SAFETY: `raw` is aligned for and at least as large as a `file_handle` of the size that it
        // states, which `length` has checked, and outlives the call.
        let fd = unsafe {
            libc::open_by_handle_at(mount.as_fd().as_raw_fd(), raw.0.as_mut_ptr().cast(), flags)
        };
        if fd >= 0 {
            // SAFETY: the call has just made this descriptor, so nothing else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        // ext4 also returns it for a deleted file while its inode number is being reused (seen with
        // Linux 6.18). That state is short.
        if error.raw_os_error() != Some(libc::ENOMEM) || pause > longest {
            return Err(error);
        }
        thread::sleep(pause);
        pause += pause / 4;
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
        let before = root.stat(b"d").unwrap().inode;
        let handle = FileHandle::of(Dir::open(&path).unwrap()).unwrap();
        std::fs::rename(&path, place.path().join("e")).unwrap();
        match open(&root, handle.as_bytes()) {
            Ok(fd) => assert_eq!(rustix::fs::fstat(fd).unwrap().st_ino, before),
            // Missing privileges of the user who runs the tests are the only other reason.
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EPERM));
                return;
            }
        }
        std::fs::remove_dir(place.path().join("e")).unwrap();
        let error = open(&root, handle.as_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    }

    /// On ext4 the next directory gets the same inode number.
    #[test]
    fn a_handle_stays_stale_while_its_inode_number_is_reused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("d");
        let root = Dir::open(place.path()).unwrap();
        let handles: Vec<_> = (0..100)
            .map(|_| {
                std::fs::create_dir(&path).unwrap();
                let handle = FileHandle::of(Dir::open(&path).unwrap()).unwrap();
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
            let open = |handle: &FileHandle| open(&root, handle.as_bytes()).unwrap_err();
            let all = iter::repeat_n(&handles, 100).flatten();
            let errors: BTreeSet<_> = all.map(|handle| open(handle).raw_os_error()).collect();
            done.store(true, Ordering::Relaxed);
            let [gone, not_allowed] = [libc::ESTALE, libc::EPERM].map(Some);
            assert!(errors == [gone].into() || errors == [not_allowed].into(), "{errors:?}");
        });
    }

    #[test]
    fn invalid_handles_are_rejected() {
        let root = Dir::open(std::path::Path::new("/")).unwrap();
        for bytes in [&b""[..], b"\xff\xff\xff\xff\0\0\0\0", b"\x20\0\0\0\x01\0\0\0short"] {
            assert!(open(&root, bytes).is_err());
        }
    }
}
