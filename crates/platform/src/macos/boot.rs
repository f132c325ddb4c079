//! The boot of the machine.

use std::{io, ptr};

/// Returns the identity of this boot of the machine: `sysctl(3)`, `kern.bootsessionuuid`.
///
/// # Errors
///
/// As `sysctl(3)`.
pub fn boot_id() -> io::Result<String> {
    let mut bytes = [0_u8; 64];
    let mut length = bytes.len();
    let name = c"kern.bootsessionuuid".as_ptr();
    // SAFETY: the buffer is as long as told, and nothing is set.
    let done = unsafe {
        libc::sysctlbyname(name, bytes.as_mut_ptr().cast(), &raw mut length, ptr::null_mut(), 0)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let id = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(id.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into())
}
