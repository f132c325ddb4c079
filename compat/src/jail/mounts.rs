//! The mounts of a jail.

use std::{
    ffi::CStr,
    fs, io,
    os::unix::{fs::symlink, net::UnixDatagram},
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_move,
        mount_remount,
    },
};

use super::JailRequest;
use crate::call_log::PROGRAMS;

/// The only device nodes in the jail.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// Directories of programs that are called by their full paths.
const SYSTEM_BIN: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Mount options that a remount has to repeat, with their names in `mountinfo`.
const KEPT_OPTIONS: [(&str, MountFlags); 6] = [
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
];

/// An entry of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JailMount {
    pub(super) at: PathBuf,
    pub(super) flags: MountFlags,
}

/// Makes all mounts read-only except a new one at the directory of the request, and provides the
/// programs there.
///
/// Returns the socket that receives syslog messages from now on.
pub(super) fn seal(request: &JailRequest) -> Result<UnixDatagram, String> {
    let directory = &*request.directory;
    try_to("make the mounts private", || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(())
    })?;
    for mount in all()? {
        let at = &*mount.at;
        try_to(&format!("make {} read-only", at.display()), || read_only(at, mount.flags))?;
    }
    try_to("mount the case's own directory", || temporary(directory, c"mode=755"))?;
    try_to("provide the programs", || programs(request))?;
    let syslog = try_to("create /dev", || devices(&directory.join("dev")))?;
    try_to("mount /proc", || {
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount("proc", "/proc", "proc", flags, None)?)
    })?;
    Ok(syslog)
}

fn try_to<T>(action: &str, act: impl FnOnce() -> io::Result<T>) -> Result<T, String> {
    act().map_err(|error| format!("cannot {action}: {error}"))
}

fn read_only(at: &Path, flags: MountFlags) -> io::Result<()> {
    match mount_remount(at, MountFlags::BIND | MountFlags::RDONLY | flags, "") {
        // A mount that is covered or below an inaccessible directory is unreachable. Everything
        // that is reachable is probed later.
        Err(Errno::NOENT | Errno::INVAL | Errno::ACCESS) => Ok(()),
        result => Ok(result?),
    }
}

fn temporary(at: &Path, options: &CStr) -> io::Result<()> {
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)?)
}

/// Provides the tested program and the recorder in `program`, and a `bin` for `PATH` with nothing
/// but the recorder and a shell. The recorder also covers the real programs.
fn programs(request: &JailRequest) -> io::Result<()> {
    let directory = &request.directory;
    let (program, bin) = (directory.join("program"), directory.join("bin"));
    fs::create_dir(&program)?;
    for (name, from) in
        [("lsyncd", &request.programs.tested), ("recorder", &request.programs.recorder)]
    {
        let to = program.join(name);
        fs::write(&to, "")?;
        mount_bind(&**from, &*to)?;
    }
    fs::create_dir(&bin)?;
    for name in PROGRAMS {
        symlink(program.join("recorder"), bin.join(name))?;
    }
    symlink("/bin/sh", bin.join("sh"))?;
    // Lsyncd 2.2.3 calls them by their full paths.
    for name in PROGRAMS {
        for real in SYSTEM_BIN.map(|directory| Path::new(directory).join(name)) {
            if real.is_file() {
                mount_bind(&*program.join("recorder"), &*real)?;
            }
        }
    }
    Ok(())
}

/// Mounts a `/dev` with harmless nodes only, and a socket for syslog.
fn devices(new_dev: &Path) -> io::Result<UnixDatagram> {
    fs::create_dir(new_dev)?;
    temporary(new_dev, c"mode=755")?;
    for name in DEVICES {
        let node = new_dev.join(name);
        fs::write(&node, "")?;
        mount_bind(Path::new("/dev").join(name), &*node)?;
    }
    symlink("/proc/self/fd", new_dev.join("fd"))?;
    let syslog = UnixDatagram::bind(new_dev.join("log"))?;
    mount_move(new_dev, "/dev")?;
    let kept = MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount("/dev", MountFlags::BIND | MountFlags::RDONLY | kept, "")?;
    Ok(syslog)
}

/// Returns all mounts that this process sees.
pub(super) fn all() -> Result<Vec<JailMount>, String> {
    let text = fs::read("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read the list of mounts: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(|line| JailMount::parse(line).ok_or_else(|| format!("not a mount: {line}")))
        .collect()
}

impl JailMount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (fields.next()?, fields.next()?);
        let kept = KEPT_OPTIONS
            .iter()
            .filter(|(name, _)| options.split(',').any(|option| option == *name));
        let flags = kept.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
        Some(Self { at: PathBuf::from(unescaped(at)), flags })
    }
}

/// Decodes the octal escapes that the kernel writes for blanks, tabs, newlines and backslashes.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_is_parsed() {
        let line = "30 25 0:27 / /mnt/a\\040b rw,nosuid,relatime shared:1 - tmpfs tmpfs rw,nodev";
        let mount = JailMount::parse(line).unwrap();
        assert_eq!(mount.at, Path::new("/mnt/a b"));
        assert_eq!(mount.flags, MountFlags::NOSUID | MountFlags::RELATIME);
        assert_eq!(JailMount::parse("30 25"), None);
    }
}
