//! Files that a configuration names, read again at each reload.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// The most bytes that are read.
const MAX_SIZE: u64 = 64 << 20;

/// Reads a regular file. A pipe or a terminal would block the daemon, and a device may be endless.
///
/// # Errors
///
/// As `open(2)` and `read(2)`; also if it is no regular file, or has more than 64 MiB.
pub fn read_regular_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() && !found.is_dir() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("larger than 64 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn only_regular_files_are_read() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("file"), "text").unwrap();
        assert_eq!(read_regular_file(&at("file")).unwrap(), b"text");
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let refused = |path: &Path| read_regular_file(path).unwrap_err().to_string();
        assert_eq!(refused(&at("pipe")), "not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "not a regular file");
        assert!(refused(place.path()).contains("Is a directory"));
        fs::File::create(at("large")).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert_eq!(refused(&at("large")), "larger than 64 MiB");
    }
}
