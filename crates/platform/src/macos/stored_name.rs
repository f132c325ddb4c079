//! Entries, and the names under which their directories keep them.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use crate::stored_entry::StoredEntry;

/// `VDIR` of `<sys/vnode.h>`.
const DIRECTORY: u32 = 2;

/// The attributes in the order in which getattrlist(2) returns them, each aligned to four bytes.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct EntryAttributes {
    length: u32,
    name_offset: i32,
    name_length: u32,
    device: i32,
    object_type: u32,
    inode: u64,
    /// A name has at most 255 characters, each of at most three bytes, and a NUL.
    name: [u8; 768],
}

/// Reads the entry at `path` below an open directory; the empty path is the directory itself, whose
/// name is empty. The last name may be a symbolic link, which is not followed. The caller has
/// checked that the others are directories.
///
/// # Errors
///
/// As `getattrlist(2)`.
pub fn stored_entry(directory: impl AsFd, path: &[u8]) -> io::Result<StoredEntry> {
    let c_path = CString::new(if path.is_empty() { b"." } else { path })?;
    let mut wanted = libc::attrlist {
        bitmapcount: libc::ATTR_BIT_MAP_COUNT,
        reserved: 0,
        commonattr: libc::ATTR_CMN_NAME
            | libc::ATTR_CMN_DEVID
            | libc::ATTR_CMN_OBJTYPE
            | libc::ATTR_CMN_FILEID,
        volattr: 0,
        dirattr: 0,
        fileattr: 0,
        forkattr: 0,
    };
    let mut attributes = EntryAttributes {
        length: 0,
        name_offset: 0,
        name_length: 0,
        device: 0,
        object_type: 0,
        inode: 0,
        name: [0; 768],
    };
    // SAFETY: The path ends with a NUL. Both structures are exclusively borrowed for the call, and
    // the size is that of the second one, which any bytes are valid for.
    let result = unsafe {
        libc::getattrlistat(
            directory.as_fd().as_raw_fd(),
            c_path.as_ptr(),
            (&raw mut wanted).cast(),
            (&raw mut attributes).cast(),
            mem::size_of::<EntryAttributes>(),
            libc::FSOPT_NOFOLLOW.into(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let name = if path.is_empty() { Vec::new() } else { name_of(&attributes)? };
    Ok(StoredEntry {
        name,
        is_directory: attributes.object_type == DIRECTORY,
        inode: attributes.inode,
        device: u64::from(attributes.device.cast_unsigned()),
    })
}

/// Returns the name under which a directory keeps the entry that `name` leads to. `None` if only a
/// listing tells: the root of a volume may have the name of the volume instead of that of its
/// directory.
///
/// # Errors
///
/// As `getattrlist(2)`.
pub(crate) fn stored_name(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let found = stored_entry(directory, name)?;
    if found.name == name || found.device == stored_entry(directory, b"")?.device {
        return Ok(Some(found.name));
    }
    Ok(None)
}

/// True if another form of a name leads to an entry on each file system, whether or not it ignores
/// case: APFS and HFS+ ignore the form of Unicode.
pub const HAS_OTHER_FORMS: bool = true;

/// Returns the name, without the NUL that ends it. Its offset counts from the field of the offset.
fn name_of(attributes: &EntryAttributes) -> io::Result<Vec<u8>> {
    let before =
        mem::offset_of!(EntryAttributes, name) - mem::offset_of!(EntryAttributes, name_offset);
    let start = usize::try_from(attributes.name_offset).ok().and_then(|at| at.checked_sub(before));
    let name = attributes.name;
    let name = start.and_then(|start| {
        let length = usize::try_from(attributes.name_length).ok()?.checked_sub(1)?;
        name.get(start..start.checked_add(length)?)
    });
    name.map(<[u8]>::to_vec).ok_or_else(|| io::Error::other("a name is too long"))
}
