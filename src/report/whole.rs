//! A file that is always whole: whoever reads it sees the old text or the new one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Writes the file at `path` anew, under another name first. Where the directory does not take
/// another name, it is written in place.
///
/// # Errors
///
/// As opening and writing the file.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_name(path);
    let (file, name) = match File::create(&temporary) {
        Ok(file) => (file, Some(temporary)),
        Err(_) => (File::create(path)?, None),
    };
    let mut file = BufWriter::new(file);
    let written = write(&mut file).and_then(|()| file.flush());
    let Some(name) = name else { return written };
    let done = written.and_then(|()| fs::rename(&name, path));
    if done.is_err() {
        // It is of no use to anybody; if it can't be removed, the next one replaces it.
        let _ = fs::remove_file(&name);
    }
    done
}

/// The other name: beside the file, so that it is on the same file system.
#[must_use]
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_never_sees_half_a_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("status");
        write_whole(&path, |file| file.write_all(b"one\n")).unwrap();
        write_whole(&path, |file| {
            file.write_all(b"two\n")?;
            assert_eq!(fs::read_to_string(&path)?, "one\n");
            Ok(())
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        let failed = write_whole(&path, |_| Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_it_cannot_be_written_is_told() {
        let failed = write_whole(Path::new("/nonexistent/status"), |_| Ok(()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
