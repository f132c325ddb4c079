//! Fifos and devices: `mkfifoat(2)` and `mknodat(2)`.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    mem,
    os::fd::{AsFd, AsRawFd},
};

use rustix::{
    fs::{FileType, makedev},
    io::Errno,
};

use crate::stat::Stat;

/// `mknodat`, since macOS 13.
type MakeNode = unsafe extern "C" fn(c_int, *const c_char, libc::mode_t, libc::dev_t) -> c_int;

/// `mkfifoat`, since macOS 13.
type MakeFifo = unsafe extern "C" fn(c_int, *const c_char, libc::mode_t) -> c_int;

/// Permission of the owner only.
const OWNER_ONLY: libc::mode_t = libc::S_IRUSR | libc::S_IWUSR;

/// Creates an entry of the type and the device that `like` has, accessible by its owner only.
///
/// # Errors
///
/// As `mknodat(2)` and `mkfifoat(2)`; `EPERM` for a socket, which no call creates without binding
/// it, and `ENOSYS` before macOS 13.
pub fn create(dir: impl AsFd, name: &[u8], like: &Stat) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let dir = dir.as_fd().as_raw_fd();
    let file_type = like.file_type();
    let (major, minor) = like.special_device;
    let done = match file_type {
        FileType::Fifo => {
            let found = symbol(c"mkfifoat").ok_or(Errno::NOSYS)?;
            // SAFETY: the symbol of this name has this type, see `sys/stat.h`.
            let make = unsafe { mem::transmute::<*mut c_void, MakeFifo>(found) };
            // SAFETY: the descriptor is borrowed for the call, and the name has a NUL.
            unsafe { make(dir, name.as_ptr(), OWNER_ONLY) }
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            let found = symbol(c"mknodat").ok_or(Errno::NOSYS)?;
            // SAFETY: the symbol of this name has this type, see `sys/stat.h`.
            let make = unsafe { mem::transmute::<*mut c_void, MakeNode>(found) };
            let mode = file_type.as_raw_mode() | OWNER_ONLY;
            // SAFETY: the descriptor is borrowed for the call, and the name has a NUL.
            unsafe { make(dir, name.as_ptr(), mode, makedev(major, minor)) }
        }
        FileType::Socket
        | FileType::RegularFile
        | FileType::Directory
        | FileType::Symlink
        | FileType::Unknown => return Err(Errno::PERM),
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Returns the address of a function that older systems lack.
fn symbol(name: &std::ffi::CStr) -> Option<*mut c_void> {
    // SAFETY: the name has a NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
