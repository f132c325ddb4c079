//! File systems on which names that differ only in case lead to the same entry.

use std::{io, os::fd::AsFd};

use rustix::fs::FileType;

use crate::{dir::Dir, entries::ReadBuffer, stat::Stat, stored_names::StoredNames};

/// The most entries that are read to find out whether a file system ignores case.
const MAX_PROBED: usize = 200;

impl Dir {
    /// Finds out whether names that differ only in case lead to the same entry here, by looking at
    /// what exists. `name` is that of this directory in its parent. `None` if nothing tells: there
    /// is no name with a letter, or it can't be read.
    #[must_use]
    pub fn ignores_case(&self, name: Option<&[u8]>) -> Option<bool> {
        if let Some((name, parent)) = name.zip(self.open_parent().ok())
            && let (Ok(above), Ok(here)) = (parent.stat(b""), self.stat(b""))
            && above.device == here.device
            && let Some(answer) = leads_elsewhere(&parent, name)
        {
            return Some(answer);
        }
        let mut below: Vec<Vec<u8>> = vec![Vec::new()];
        let mut left = MAX_PROBED;
        let mut buffer = ReadBuffer::new();
        while let Some(path) = below.pop() {
            let Ok(dir) = self.open_below(&path) else { continue };
            let mut names: Vec<Box<[u8]>> = Vec::new();
            // The error only ends the listing.
            let _ = dir.read(&mut buffer, |entry| {
                left = left.checked_sub(1).ok_or(io::ErrorKind::Interrupted)?;
                names.push(entry.name.into());
                if entry.file_type == FileType::Directory {
                    let end: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    below.push([&*path, end, entry.name].concat());
                }
                Ok(())
            });
            let found = names.iter().find_map(|name| leads_elsewhere(&dir, name));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Returns true if `name`, which exists, is also found in the other case, although the directory
/// keeps no such name. `None` if it has no letter of ASCII, or is gone.
fn leads_elsewhere(directory: &Dir, name: &[u8]) -> Option<bool> {
    let swap = |byte: &u8| match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        _ => byte.to_ascii_lowercase(),
    };
    let other: Vec<u8> = name.iter().map(swap).collect();
    if other == name || Stat::at(directory.as_fd(), name).is_err() {
        return None;
    }
    if Stat::at(directory.as_fd(), &other).is_err() {
        return Some(false);
    }
    Some(StoredNames::default().check(directory.as_fd(), &other).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_system_that_distinguishes_case_is_recognized() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("1");
        fs::create_dir_all(root.join("2/3")).unwrap();
        let dir = Dir::open(&root).unwrap();
        assert_eq!(dir.ignores_case(Some(b"1")), None);
        let name = place.path().file_name().unwrap().as_encoded_bytes();
        let above = Dir::open(place.path()).unwrap();
        assert_eq!(above.ignores_case(Some(name)), Some(false));
        // Both names exist.
        for name in ["Name", "nAME"] {
            fs::write(root.join("2/3").join(name), "").unwrap();
        }
        assert_eq!(dir.ignores_case(Some(b"1")), Some(false));
    }
}
