//! The mount table of this process: `/proc/self/mountinfo`, see proc(5).

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::event::PollFlags;

use super::known_file_systems::KnownFileSystem;
use crate::mounts::MountInfo;

/// The mount table. Its descriptor reports priority data to `poll(2)` after each change.
#[derive(Debug)]
pub struct MountTable {
    file: File,
}

impl MountTable {
    /// The readiness of the descriptor after a change.
    pub const CHANGED: PollFlags = PollFlags::PRI.union(PollFlags::ERR);

    /// Opens the mount table.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `ENOENT` if `/proc` is not mounted.
    pub fn open() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/self/mountinfo")? })
    }

    /// Reads all entries.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    pub fn read(&mut self) -> io::Result<Vec<MountInfo>> {
        // The kernel formats the table again for each read, from the start.
        let mut table = Vec::with_capacity(16 * 1024);
        self.file.rewind()?;
        self.file.read_to_end(&mut table)?;
        Ok(table.split(|&b| b == b'\n').filter_map(parse).collect())
    }
}

impl AsFd for MountTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Parses a line: mount id, parent id, device, root, mount point, options, any number of optional
/// fields, a dash, file system type, source, and more.
fn parse(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = unescape(fields.nth(3)?);
    fields.find(|field| *field == b"-")?;
    let keeper = KnownFileSystem::keeper_of(&unescape(fields.next()?));
    let (may_block, is_shared) = (keeper.may_block(), keeper.is_shared());
    Some(MountInfo { id, point, may_block, is_shared, source: unescape(fields.next()?) })
}

/// Decodes spaces, tabs, newlines and backslashes, which are written as `\` with three octal
/// digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        if let Some(code) = code.filter(|_| byte == b'\\') {
            bytes.push(code);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_mount_points_are_decoded() {
        let line = b"36 35 98:0 /mnt1 /a\\040b\\134c/\xff rw,noatime master:1 - ext3 /dev/root rw";
        let (point, source) = (b"/a b\\c/\xff".to_vec(), b"/dev/root".to_vec());
        assert_eq!(
            parse(line),
            Some(MountInfo { id: 36, point, may_block: false, is_shared: false, source })
        );
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn mounts_that_depend_on_others_may_block() {
        let may_block = |line: &[u8]| parse(line).unwrap().may_block;
        assert!(may_block(b"40 35 0:50 / /mnt rw - fuse.sshfs host:/ rw,user_id=0"));
        assert!(may_block(b"41 35 0:51 / /share rw,nodev - virtiofs share rw"));
        assert!(!may_block(b"42 35 8:1 / /boot rw - vfat /dev/sda1 rw"));
    }

    #[test]
    fn the_mount_of_a_directory_is_in_the_table() {
        let id = crate::dir::Dir::open(std::path::Path::new("/")).unwrap().stat(b"").unwrap();
        let mut mounts = MountTable::open().unwrap();
        for _ in 0..2 {
            let table = mounts.read().unwrap();
            assert!(table.iter().any(|it| it.id == id.mount && it.point == b"/"));
        }
    }
}
