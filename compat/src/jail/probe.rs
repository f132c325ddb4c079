//! Tests that a jail is sealed.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process,
};

use super::mounts;

/// Directories that must not be writable, in addition to every mount.
const PROTECTED: [&str; 8] = ["/", "/etc", "/usr", "/home", "/tmp", "/var/tmp", "/run", "/dev"];

/// Checks that a file can be created in `directory` and nowhere else, and that there are no block
/// devices.
pub(super) fn check(directory: &Path) -> Result<(), String> {
    if !directory.is_absolute() || directory.parent().is_none() {
        return Err(format!("{} cannot be the directory of a case", directory.display()));
    }
    if let WriteProbe::Refused(error) = create_file(directory) {
        return Err(format!("cannot write to {}: {error}", directory.display()));
    }
    for other in other_directories(directory)? {
        if let WriteProbe::Created = create_file(&other) {
            return Err(format!("{} is writable", other.display()));
        }
    }
    check_no_block_devices()?;
    check_no_rsync(directory)
}

/// Checks that every rsync is the recorder.
fn check_no_rsync(directory: &Path) -> Result<(), String> {
    let recorder = identity(&directory.join("program/recorder"));
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
    fs::metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Returns all directories to probe: every mount except `own`, and more.
fn other_directories(own: &Path) -> Result<Vec<PathBuf>, String> {
    let mut directories: Vec<PathBuf> = PROTECTED.map(PathBuf::from).to_vec();
    directories.extend(mounts::all()?.into_iter().map(|mount| mount.at));
    directories.extend(env::current_dir());
    directories.extend(env::var_os("HOME").map(PathBuf::from));
    directories.extend(env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)));
    directories.extend(own.parent().map(Path::to_owned));
    directories.retain(|directory| directory != own && directory.is_dir());
    Ok(directories)
}

enum WriteProbe {
    Created,
    Refused(io::Error),
}

fn create_file(directory: &Path) -> WriteProbe {
    let probe = directory.join(format!(".compat-probe-{}", process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(file) => {
            drop::<File>(file);
            // This process has just created it.
            let _ = fs::remove_file(&probe);
            WriteProbe::Created
        }
        Err(error) => WriteProbe::Refused(error),
    }
}

fn check_no_block_devices() -> Result<(), String> {
    let entries = fs::read_dir("/dev").map_err(|error| format!("cannot read /dev: {error}"))?;
    let is_disk = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_block_device());
    match entries.filter_map(Result::ok).find(is_disk) {
        Some(disk) => Err(format!("there is a block device: {}", disk.path().display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsealed_process_fails_the_check() {
        let directory = tempfile::tempdir().unwrap();
        // Its parent is writable, because the directory was created there.
        assert!(check(directory.path()).unwrap_err().contains("is writable"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_root_and_relative_paths_are_rejected_as_directory_of_a_case() {
        for path in ["/", "relative", ""] {
            assert!(check(Path::new(path)).unwrap_err().contains("cannot be the directory"));
        }
    }
}
