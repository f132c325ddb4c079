//! Access control lists of `acl(3)`, as text.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
};

use rustix::io::Errno;

/// `ACL_TYPE_EXTENDED`, the only type on macOS.
const EXTENDED: c_uint = 0x100;

/// `ACL_FIRST_ENTRY`.
const FIRST_ENTRY: c_int = 0;

unsafe extern "C" {
    fn acl_get_fd_np(fd: c_int, kind: c_uint) -> *mut c_void;
    fn acl_set_fd_np(fd: c_int, acl: *mut c_void, kind: c_uint) -> c_int;
    fn acl_get_entry(acl: *mut c_void, which: c_int, entry: *mut *mut c_void) -> c_int;
    fn acl_to_text(acl: *mut c_void, length: *mut libc::ssize_t) -> *mut c_char;
    fn acl_from_text(text: *const c_char) -> *mut c_void;
    fn acl_init(count: c_int) -> *mut c_void;
    fn acl_free(object: *mut c_void) -> c_int;
}

/// Memory of the library, freed when dropped.
struct AclMemory(NonNull<c_void>);

impl AclMemory {
    /// Takes the result of a call, which is null after an error.
    fn new(made: *mut c_void) -> io::Result<Self> {
        NonNull::new(made).map(Self).ok_or_else(io::Error::last_os_error)
    }

    const fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl Drop for AclMemory {
    fn drop(&mut self) {
        // SAFETY: the library made the object, and nothing else frees it.
        unsafe { acl_free(self.as_ptr()) };
    }
}

/// Returns the list of an open file as text. `None` if it has none, or the file system does not
/// support lists.
pub(crate) fn read(file: BorrowedFd<'_>) -> io::Result<Option<CString>> {
    // SAFETY: the descriptor is borrowed for the call.
    let list = match AclMemory::new(unsafe { acl_get_fd_np(file.as_raw_fd(), EXTENDED) }) {
        Err(error) if is_without_list(&error) => return Ok(None),
        list => list?,
    };
    let mut entry = ptr::null_mut();
    // SAFETY: the list is valid, and the pointer is for the call.
    if unsafe { acl_get_entry(list.as_ptr(), FIRST_ENTRY, &raw mut entry) } != 0 {
        return Ok(None);
    }
    // SAFETY: the list is valid, and null means that the length is not requested.
    let text = AclMemory::new(unsafe { acl_to_text(list.as_ptr(), ptr::null_mut()) }.cast())?;
    // SAFETY: the library returns a string with a NUL, which lives until `text` is dropped.
    Ok(Some(unsafe { CStr::from_ptr(text.as_ptr().cast()) }.to_owned()))
}

/// Sets the list of an open file.
pub(crate) fn write(file: BorrowedFd<'_>, text: &CStr) -> io::Result<()> {
    // SAFETY: the text is a string with a NUL.
    let list = AclMemory::new(unsafe { acl_from_text(text.as_ptr()) })?;
    set(file, &list)
}

/// Removes all entries of the list of an open file.
pub(crate) fn remove(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes a number.
    let list = AclMemory::new(unsafe { acl_init(1) })?;
    set(file, &list)
}

fn set(file: BorrowedFd<'_>, list: &AclMemory) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, and the list is valid.
    match unsafe { acl_set_fd_np(file.as_raw_fd(), list.as_ptr(), EXTENDED) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_without_list(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::NOENT | Errno::NOTSUP | Errno::OPNOTSUPP))
}
