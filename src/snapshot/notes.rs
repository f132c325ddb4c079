//! Notes on a source: what a person has accepted, or still has to decide.
//!
//! They are a file of their own, because they hold also if the snapshot can't be used: after a
//! crash of the machine, or with another version of the program. It is one line, with a checksum,
//! which is written as soon as something changes.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    file::TempSnapshot,
    journal::{decode_line, encode_line, open_file},
};

/// Maximum size of a believable file in bytes.
const MAX_SIZE: usize = 64 << 20;

/// Reads the notes at a path. `None` if there are none.
///
/// # Errors
///
/// A message if they can't be read or are damaged.
pub(crate) fn read_notes<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let read = || {
        let (mut file, size) = open_file(path, File::options().read(true))?;
        let mut bytes = Vec::new();
        if size <= MAX_SIZE {
            file.read_to_end(&mut bytes)?;
        }
        Ok::<_, io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => decode_line(&bytes).map(Some).ok_or_else(|| "they are damaged".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Replaces the notes at a path.
///
/// # Errors
///
/// As `open(2)`, `write(2)`, `fsync(2)` and `rename(2)`: the previous ones are still
/// there.
pub(crate) fn write_notes(path: &Path, notes: &impl Serialize) -> io::Result<()> {
    let (temp, mut file) = TempSnapshot::create(path)?;
    file.write_all(&encode_line(notes)?)?;
    file.sync_all()?;
    temp.publish(path)
}
