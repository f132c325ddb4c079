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

use super::Errand;
use crate::call::PROGRAMS;

/// All that there is of devices.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// Where programs are that are called by their whole paths.
const SYSTEM: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Options of mounts that a remount has to repeat, and what they are called.
const KEPT: [(&str, MountFlags); 6] = [
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
];

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) at: PathBuf,
    pub(super) flags: MountFlags,
}

/// Makes all mounts read-only but a new one at the errand's place, where the programs are found.
///
/// Returns what is sent to the log of the system from now on.
pub(super) fn seal(errand: &Errand) -> Result<UnixDatagram, String> {
    let place = &*errand.place;
    try_to("keep the mounts to oneself", || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        Ok(())
    })?;
    for mount in all()? {
        let at = &*mount.at;
        try_to(&format!("make {} read-only", at.display()), || read_only(at, mount.flags))?;
    }
    try_to("mount the case's own directory", || temporary(place, c"mode=755"))?;
    try_to("find the programs", || programs(errand))?;
    let syslog = try_to("have devices of one's own", || devices(&place.join("dev")))?;
    try_to("see only one's own processes", || {
        let flags =
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Ok(mount("proc", "/proc", "proc", flags, None)?)
    })?;
    Ok(syslog)
}

fn try_to<T>(what: &str, act: impl FnOnce() -> io::Result<T>) -> Result<T, String> {
    act().map_err(|error| format!("cannot {what}: {error}"))
}

fn read_only(at: &Path, flags: MountFlags) -> io::Result<()> {
    match mount_remount(at, MountFlags::BIND | MountFlags::RDONLY | flags, "") {
        // Nobody can reach what lies below another mount or a closed directory; all that can be
        // reached is tried later.
        Err(Errno::NOENT | Errno::INVAL | Errno::ACCESS) => Ok(()),
        result => Ok(result?),
    }
}

fn temporary(at: &Path, options: &CStr) -> io::Result<()> {
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)?)
}

/// The programs in `program`, and a `bin` for the path in which there is only the recorder, and a
/// shell. The recorder also takes the place of the real programs.
fn programs(errand: &Errand) -> io::Result<()> {
    let place = &errand.place;
    let (program, bin) = (place.join("program"), place.join("bin"));
    fs::create_dir(&program)?;
    for (name, from) in
        [("lsyncd", &errand.programs.tested), ("recorder", &errand.programs.recorder)]
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
    // Lsyncd 2.2.3 calls them by their whole paths.
    for name in PROGRAMS {
        for real in SYSTEM.map(|directory| Path::new(directory).join(name)) {
            if real.is_file() {
                mount_bind(&*program.join("recorder"), &*real)?;
            }
        }
    }
    Ok(())
}

/// A `/dev` in which there is nothing but what is harmless, and a socket for the system's log.
fn devices(draft: &Path) -> io::Result<UnixDatagram> {
    fs::create_dir(draft)?;
    temporary(draft, c"mode=755")?;
    for name in DEVICES {
        let node = draft.join(name);
        fs::write(&node, "")?;
        mount_bind(Path::new("/dev").join(name), &*node)?;
    }
    symlink("/proc/self/fd", draft.join("fd"))?;
    let syslog = UnixDatagram::bind(draft.join("log"))?;
    mount_move(draft, "/dev")?;
    let kept = MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount("/dev", MountFlags::BIND | MountFlags::RDONLY | kept, "")?;
    Ok(syslog)
}

/// All mounts that this process sees.
pub(super) fn all() -> Result<Vec<Mount>, String> {
    let text = fs::read("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read the list of mounts: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(|line| Mount::parse(line).ok_or_else(|| format!("not a mount: {line}")))
        .collect()
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (fields.next()?, fields.next()?);
        let kept = KEPT.iter().filter(|(name, _)| options.split(',').any(|option| option == *name));
        let flags = kept.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
        Some(Self { at: PathBuf::from(unescaped(at)), flags })
    }
}

/// The kernel writes blanks, tabs, newlines and backslashes as octal numbers.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read() {
        let line = "30 25 0:27 / /mnt/a\\040b rw,nosuid,relatime shared:1 - tmpfs tmpfs rw,nodev";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.at, Path::new("/mnt/a b"));
        assert_eq!(mount.flags, MountFlags::NOSUID | MountFlags::RELATIME);
        assert_eq!(Mount::parse("30 25"), None);
    }
}
