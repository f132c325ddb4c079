//! What can be asked of the machine: which rsync it has, and whether targets can be reached.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mirror_core::path::Escaped;

use crate::setup::{Kind, Sync};

/// The oldest rsync on which the calls were proved.
const OLDEST: (u32, u32) = (3, 1);

/// How long a target may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is odd about a program that is to be rsync.
pub(super) fn odd_rsync(binary: &OsStr) -> Option<String> {
    let named = Escaped(binary.as_bytes());
    let output = match Command::new(binary).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => {
            return Some(format!(
                "cannot run {named}: {error}: install rsync, or set rsync.binary"
            ));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A program that stands in the place of rsync need not know the question.
    let version = version(&text)?;
    (version < OLDEST).then(|| {
        let (major, minor) = version;
        let (least, of) = OLDEST;
        format!("{named} is version {major}.{minor}: at least {least}.{of} is needed")
    })
}

/// The first two numbers behind `version`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("version ")?;
    let mut numbers = rest.trim_start_matches(['v', ' ']).split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries to reach the target of a sync without changing anything there. What went wrong.
pub(super) fn try_target(sync: &Sync) -> Result<(), String> {
    let target = Escaped(sync.target.as_bytes());
    match sync.kind {
        Kind::Direct => try_directory(sync),
        Kind::Rsync | Kind::Rsyncssh => try_rsync(sync),
    }
    .map_err(|why| format!("cannot reach the target {target}: {why}"))
}

fn try_directory(sync: &Sync) -> Result<(), String> {
    let path = PathBuf::from(&sync.target);
    let above = path.ancestors().find_map(|above| fs::metadata(above).ok());
    match above {
        Some(found) if found.is_dir() => Ok(()),
        Some(_) => Err("something on the way is not a directory".into()),
        None => Err("nothing of it is there".into()),
    }
}

/// A dry run from an empty directory, which can send and delete nothing.
fn try_rsync(sync: &Sync) -> Result<(), String> {
    let empty = EmptyDirectory::new().map_err(|error| error.to_string())?;
    let words = sync.rsync.extra.iter().chain(&sync.rsync.long);
    let child = Command::new(&sync.binary)
        .arg("--dry-run")
        .arg("-d")
        .args(words.map(|word| OsString::from_vec(word.clone())))
        .arg(empty.0.join(""))
        .arg(&sync.target)
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
            child.kill()?;
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

    #[test]
    fn a_version_is_found_behind_its_word() {
        assert_eq!(version("rsync  version 3.2.7  protocol version 31\n"), Some((3, 2)));
        assert_eq!(version("rsync  version v3.4.1  protocol version 32"), Some((3, 4)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_missing_rsync_is_told_with_the_remedy() {
        let why = odd_rsync(OsStr::new("/nonexistent/rsync")).unwrap();
        assert!(why.starts_with("cannot run /nonexistent/rsync: "), "{why}");
        assert!(why.ends_with("install rsync, or set rsync.binary"), "{why}");
    }
}
