//! Probes the system: the installed rsync, and reachability of the targets.

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

use crate::config::{SyncConfig, SyncKind};

/// Oldest rsync version that is supported.
const MIN_VERSION: (u32, u32) = (3, 1);

/// Timeout for contacting a target.
const TARGET_TIMEOUT: Duration = Duration::from_secs(20);

/// Warns if a program cannot be run or is too old to serve as rsync.
pub(super) fn rsync_warning(binary: &OsStr) -> Option<String> {
    let named = Escaped(binary.as_bytes());
    if is_script(binary) {
        // A wrapper script may not know `--version`, and could start a transfer instead.
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
    // A replacement for rsync need not print a version.
    let version = version(&text)?;
    (version < MIN_VERSION).then(|| {
        let (major, minor) = version;
        let (major_min, minor_min) = MIN_VERSION;
        format!("{named} is version {major}.{minor}: {major_min}.{minor_min} or later is required")
    })
}

/// Warns if a program that is run as rsync is not installed.
pub(super) fn missing_warning(binary: &OsStr) -> Option<String> {
    let is_there = if binary.as_bytes().contains(&b'/') {
        Path::new(binary).is_file()
    } else {
        find_in_path(binary).is_some()
    };
    let named = Escaped(binary.as_bytes());
    (!is_there).then(|| format!("cannot find {named}: install rsync, or set rsync.binary"))
}

fn find_in_path(binary: &OsStr) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(binary)).find(|path| path.is_file())
}

/// Returns true if this program is a script, such as a wrapper around rsync.
fn is_script(binary: &OsStr) -> bool {
    let found = if binary.as_bytes().contains(&b'/') {
        Some(PathBuf::from(binary))
    } else {
        find_in_path(binary)
    };
    let mut start = [0; 2];
    let read = found.and_then(|path| File::open(path).ok()?.read_exact(&mut start).ok());
    read.is_some() && start == *b"#!"
}

/// Parses the first two numbers after `version`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.trim_start_matches(['v', ' ']).split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries to contact the target of a sync from the directory `start_dir`. Changes nothing there.
///
/// # Errors
///
/// The reason why the target cannot be reached.
pub(super) fn try_target(sync: &SyncConfig, start_dir: &Path) -> Result<(), String> {
    let result = match sync.kind {
        SyncKind::Direct => try_directory(sync, start_dir),
        SyncKind::Rsync | SyncKind::Rsyncssh => try_rsync(sync, start_dir),
        // Only the script knows the meaning of its target.
        SyncKind::Script => Ok(()),
    };
    let target = Escaped(sync.target.as_bytes());
    result.map_err(|why| format!("{}: cannot reach the target {target}: {why}", sync.name))
}

fn try_directory(sync: &SyncConfig, start_dir: &Path) -> Result<(), String> {
    let path = start_dir.join(&sync.target);
    let above = path.ancestors().find_map(|above| fs::metadata(above).ok());
    match above {
        Some(found) if found.is_dir() => Ok(()),
        Some(_) => Err("a component of its path is not a directory".into()),
        None => Err("no component of its path exists".into()),
    }
}

/// Runs rsync from an empty directory, so that it can neither send nor delete. `--dry-run` is the
/// last option, so that no user option overrides it.
fn try_rsync(sync: &SyncConfig, start_dir: &Path) -> Result<(), String> {
    let empty = EmptyDirectory::new().map_err(|error| error.to_string())?;
    let args = sync.rsync.extra.iter().chain(&sync.rsync.long);
    let child = Command::new(&sync.binary)
        .arg("-d")
        .args(args.map(|arg| OsString::from_vec(arg.clone())))
        .arg("--dry-run")
        .arg(empty.0.join(""))
        .arg(&sync.target)
        .current_dir(start_dir)
        // rsync and an ssh that waits for a password are killed together.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    if !wait_with_timeout(&mut child).map_err(|error| error.to_string())? {
        return Err(format!("no answer within {} s", TARGET_TIMEOUT.as_secs()));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let first_line = output.stderr.split(|&byte| byte == b'\n').find(|line| !line.is_empty());
    Err(Escaped(first_line.unwrap_or(b"rsync failed")).to_string())
}

fn wait_with_timeout(child: &mut Child) -> io::Result<bool> {
    let end = Instant::now() + TARGET_TIMEOUT;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            // The group was created for this child, which has not been waited for yet.
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// Temporary empty directory that is removed on drop.
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
        // It is empty. A failure is harmless.
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn version_is_parsed() {
        assert_eq!(version("rsync  version 3.2.7  protocol version 31\n"), Some((3, 2)));
        assert_eq!(version("rsync  version v3.4.1  protocol version 32"), Some((3, 4)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn wrapper_scripts_are_not_run() {
        let temp_dir = tempfile::tempdir().unwrap();
        let script = temp_dir.path().join("wrapper");
        let touched = temp_dir.path().join("touched");
        fs::write(&script, format!("#!/bin/sh\ntouch {}\n", touched.display())).unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(rsync_warning(script.as_os_str()), None);
        assert!(!touched.exists());
    }

    #[test]
    fn missing_rsync_causes_a_warning_with_a_remedy() {
        for name in ["/nonexistent/rsync", "no-such-program"] {
            let why = missing_warning(OsStr::new(name)).unwrap();
            assert_eq!(why, format!("cannot find {name}: install rsync, or set rsync.binary"));
        }
        assert_eq!(missing_warning(OsStr::new("sh")), None);
        assert_eq!(missing_warning(OsStr::new("/bin/sh")), None);
    }
}
