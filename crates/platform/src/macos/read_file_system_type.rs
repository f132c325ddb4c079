//! Reading of [`FileSystemType`]: `statfs(2)`.

use std::{
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::known_file_systems::is_shared;
use crate::file_system_type::FileSystemType;

impl FileSystemType {
    /// Determines the type of the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// As `statfs(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut found = MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the path ends in a zero, and the struct is written.
        if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has succeeded.
        let found = unsafe { found.assume_init() };
        // SAFETY: the kernel ends the name with a zero.
        let name = unsafe { CStr::from_ptr(found.f_fstypename.as_ptr()) };
        Ok(Self { name: name.to_str().ok().map(Into::into), is_shared: is_shared(&found) })
    }
}
