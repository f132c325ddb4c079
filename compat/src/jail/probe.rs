//! Tries whether a jail is one.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process,
};

use super::mounts;

/// Where nothing may be written, beside every mount.
const ELSEWHERE: [&str; 8] = ["/", "/etc", "/usr", "/home", "/tmp", "/var/tmp", "/run", "/dev"];

/// Checks that a file can be made in `place` and nowhere else, and that there are no disks.
pub(super) fn check(place: &Path) -> Result<(), String> {
    if !place.is_absolute() || place.parent().is_none() {
        return Err(format!("{} cannot be the place of a case", place.display()));
    }
    match make_file(place) {
        Made::Yes => {}
        Made::No(error) => return Err(format!("cannot write to {}: {error}", place.display())),
    }
    for directory in directories(place)? {
        if let Made::Yes = make_file(&directory) {
            return Err(format!("{} can be written to", directory.display()));
        }
    }
    no_disks()?;
    no_rsync(place)
}

/// The only rsync that can be called is the recorder.
fn no_rsync(place: &Path) -> Result<(), String> {
    let recorder = identity(&place.join("program/recorder"));
    let found = ["/usr/bin/rsync", "/bin/rsync", "/usr/local/bin/rsync"];
    match found
        .into_iter()
        .map(Path::new)
        .find(|rsync| rsync.exists() && identity(rsync) != recorder)
    {
        Some(rsync) => Err(format!("{} is not the recorder", rsync.display())),
        None => Ok(()),
    }
}

fn identity(file: &Path) -> Option<(u64, u64)> {
    fs::metadata(file).ok().map(|about| (about.dev(), about.ino()))
}

/// All mounts but `place`, and more.
fn directories(place: &Path) -> Result<Vec<PathBuf>, String> {
    let mut directories: Vec<PathBuf> = ELSEWHERE.map(PathBuf::from).to_vec();
    directories.extend(mounts::all()?.into_iter().map(|mount| mount.at));
    directories.extend(env::current_dir());
    directories.extend(env::var_os("HOME").map(PathBuf::from));
    directories.extend(env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)));
    directories.extend(place.parent().map(Path::to_owned));
    directories.retain(|directory| directory != place && directory.is_dir());
    Ok(directories)
}

enum Made {
    Yes,
    No(io::Error),
}

fn make_file(directory: &Path) -> Made {
    let probe = directory.join(format!(".compat-probe-{}", process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(file) => {
            drop::<File>(file);
            // It was made a moment ago, by us.
            let _ = fs::remove_file(&probe);
            Made::Yes
        }
        Err(error) => Made::No(error),
    }
}

fn no_disks() -> Result<(), String> {
    let entries = fs::read_dir("/dev").map_err(|error| format!("cannot read /dev: {error}"))?;
    let is_disk = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_block_device());
    match entries.filter_map(Result::ok).find(is_disk) {
        Some(disk) => Err(format!("there is a disk: {}", disk.path().display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_a_jail_nothing_would_be_started() {
        let place = tempfile::tempdir().unwrap();
        // The directory that it is in can be written to, since it was made there.
        assert!(check(place.path()).unwrap_err().contains("can be written to"));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_root_is_no_place_for_a_case() {
        for place in ["/", "relative", ""] {
            assert!(check(Path::new(place)).unwrap_err().contains("cannot be the place"));
        }
    }
}
