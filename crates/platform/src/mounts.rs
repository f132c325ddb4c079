//! The mount points that this process sees: `/proc/self/mountinfo`, see proc(5).

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd},
};

/// The table of mounts. Polled for priority data, its descriptor is ready after each change.
#[derive(Debug)]
pub struct Mounts {
    file: File,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number, which `statx(2)` tells as well. It may be used again when the mount is gone.
    pub id: u64,
    /// Where it is: an absolute path.
    pub point: Vec<u8>,
    /// What is mounted there: a device, the export of a server, or any word.
    pub source: Vec<u8>,
}

impl Mounts {
    /// Opens the table.
    ///
    /// # Errors
    ///
    /// As `open(2)`: `ENOENT` without `/proc`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { file: File::open("/proc/self/mountinfo")? })
    }

    /// Reads the table.
    ///
    /// # Errors
    ///
    /// As `read(2)`.
    pub fn read(&mut self) -> io::Result<Vec<Mount>> {
        let mut table = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut table)?;
        Ok(table.split(|&b| b == b'\n').filter_map(parse).collect())
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A line: number, number of the parent, device, root, mount point, options, any number of other
/// fields, a dash, the type of the file system, its source, and more.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let point = unescape(words.nth(3)?);
    words.find(|word| *word == b"-")?;
    Some(Mount { id, point, source: unescape(words.nth(1)?) })
}

/// Blanks, tabs, newlines and backslashes stand as `\` with three octal digits.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
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
    fn a_mount_point_of_any_name_is_read() {
        let line = b"36 35 98:0 /mnt1 /a\\040b\\134c/\xff rw,noatime master:1 - ext3 /dev/root rw";
        let (point, source) = (b"/a b\\c/\xff".to_vec(), b"/dev/root".to_vec());
        assert_eq!(parse(line), Some(Mount { id: 36, point, source }));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn the_mount_of_a_directory_is_in_the_table() {
        let id = crate::dir::Dir::open(std::path::Path::new("/")).unwrap().stat(b"").unwrap();
        let mut mounts = Mounts::open().unwrap();
        for _ in 0..2 {
            let table = mounts.read().unwrap();
            assert!(table.iter().any(|it| it.id == id.stx_mnt_id && it.point == b"/"));
        }
    }
}
