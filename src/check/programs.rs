//! What can be asked of the machine: which rsync it has, and whether targets can be reached.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::config::{Kind, Sync};

/// The oldest rsync on which the calls were proved.
const OLDEST: (u32, u32) = (3, 1);

/// How long a target may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is odd about a program that is to be rsync.
pub(super) fn odd_rsync(binary: &OsStr) -> Option<String> {
    let named = Escaped(binary.as_bytes());
    if is_script(binary) {
        // It need not know the question, and might do its work.
        return None;
    }
    let output = match Command::new(binary).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            return Some(format!(
                "cannot run {named}: {error}: install rsync, or set rsync.binary"
            ));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A program that stands in the place of rsync need not answer.
    let version = version(&text)?;
    (version < OLDEST).then(|| {
        let (major, minor) = version;
        let (least, of) = OLDEST;
        format!("{named} is version {major}.{minor}: at least {least}.{of} is needed")
    })
}

/// What is to be said of a program in the place of rsync that is not there.
pub(super) fn missing(binary: &OsStr) -> Option<String> {
    let is_there = if binary.as_bytes().contains(&b'/') {
        Path::new(binary).is_file()
    } else {
        in_path(binary).is_some()
    };
    let named = Escaped(binary.as_bytes());
    (!is_there).then(|| format!("cannot find {named}: install rsync, or set rsync.binary"))
}

fn in_path(binary: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(binary)).find(|path| path.is_file())
}

/// Whether this program is a script, such as one that calls rsync and does something of its own.
fn is_script(binary: &OsStr) -> bool {
    let found = if binary.as_bytes().contains(&b'/') {
        Some(PathBuf::from(binary))
    } else {
        in_path(binary)
    };
    let mut start = [0; 2];
    let read = found.and_then(|path| File::open(path).ok()?.read_exact(&mut start).ok());
    read.is_some() && start == *b"#!"
}

/// The first two numbers behind `version`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.trim_start_matches(['v', ' ']).split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries to reach the target of a sync from the directory `here`, without changing anything there.
///
/// # Errors
///
/// What went wrong.
pub(super) fn try_target(sync: &Sync, here: &Path) -> Result<(), String> {
    let tried = match sync.kind {
        Kind::Direct => try_directory(sync, here),
        Kind::Rsync | Kind::Rsyncssh => try_rsync(sync, here),
        // Only its script knows what it is.
        Kind::Own => Ok(()),
    };
    let target = Escaped(sync.target.as_bytes());
    tried.map_err(|why| format!("{}: cannot reach the target {target}: {why}", sync.name))
}

fn try_directory(sync: &Sync, here: &Path) -> Result<(), String> {
    let path = here.join(&sync.target);
    let above = path.ancestors().find_map(|above| fs::metadata(above).ok());
    match above {
        Some(found) if found.is_dir() => Ok(()),
        Some(_) => Err("something on the way is not a directory".into()),
        None => Err("nothing of it is there".into()),
    }
}

/// A dry run from an empty directory, which can send and delete nothing. That it is one comes last:
/// the user's own words can't change it.
fn try_rsync(sync: &Sync, here: &Path) -> Result<(), String> {
    let empty = EmptyDirectory::new().map_err(|error| error.to_string())?;
    let words = sync.rsync.extra.iter().chain(&sync.rsync.long);
    let child = Command::new(&sync.binary)
        .arg("-d")
        .args(words.map(|word| OsString::from_vec(word.clone())))
        .arg("--dry-run")
        .arg(empty.0.join(""))
        .arg(&sync.target)
        .current_dir(here)
        // With an ssh that would wait for a password it is ended as a whole.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    if !ends_in_time(&mut child).map_err(|error| error.to_string())? {
        return Err(format!("no answer in {} seconds", PATIENCE.as_secs()));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = output.stderr.split(|&byte| byte == b'\n').find(|line| !line.is_empty());
    Err(Escaped(said.unwrap_or(b"rsync failed")).to_string())
}

fn ends_in_time(child: &mut Child) -> io::Result<bool> {
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            // The group was made for this child, which has not been waited for.
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// A new directory, removed at the end.
struct EmptyDirectory(PathBuf);

impl EmptyDirectory {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("lsyncd-check-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for EmptyDirectory {
    fn drop(&mut self) {
        // It is empty; if it is gone, all the better.
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_version_is_found_behind_its_word() {
        assert_eq!(version("rsync  version 3.2.7  protocol version 31\n"), Some((3, 2)));
        assert_eq!(version("rsync  version v3.4.1  protocol version 32"), Some((3, 4)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_script_is_not_asked() {
        let place = tempfile::tempdir().unwrap();
        let script = place.path().join("wrapper");
        let touched = place.path().join("touched");
        fs::write(&script, format!("#!/bin/sh\ntouch {}\n", touched.display())).unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(odd_rsync(script.as_os_str()), None);
        assert!(!touched.exists());
    }

    #[test]
    fn a_missing_rsync_is_told_with_the_remedy() {
        for name in ["/nonexistent/rsync", "no-such-program"] {
            let why = missing(OsStr::new(name)).unwrap();
            assert_eq!(why, format!("cannot find {name}: install rsync, or set rsync.binary"));
        }
        assert_eq!(missing(OsStr::new("sh")), None);
        assert_eq!(missing(OsStr::new("/bin/sh")), None);
    }
}
