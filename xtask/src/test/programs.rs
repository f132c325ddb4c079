//! Finds the programs that tests need, and installs missing ones where possible.

use crate::{apt::apt_get, build::find_program};

/// A program and its package.
struct RequiredProgram {
    name: &'static str,
    debian_package: &'static str,
    needed_for: &'static str,
}

const PROGRAMS: [RequiredProgram; 14] = [
    RequiredProgram {
        name: "rsync",
        debian_package: "rsync",
        needed_for: "everything with -rsync",
    },
    RequiredProgram {
        name: "sshd",
        debian_package: "openssh-server",
        needed_for: "targets behind ssh",
    },
    RequiredProgram { name: "setfacl", debian_package: "acl", needed_for: "access control lists" },
    RequiredProgram { name: "setfattr", debian_package: "attr", needed_for: "extended attributes" },
    RequiredProgram {
        name: "systemd-analyze",
        debian_package: "systemd",
        needed_for: "units for systemd",
    },
    RequiredProgram {
        name: "groff",
        debian_package: "groff-base",
        needed_for: "checks of the manual pages",
    },
    RequiredProgram {
        name: "lsyncd",
        debian_package: "lsyncd",
        needed_for: "all that is compared with it",
    },
    RequiredProgram {
        name: "faketime",
        debian_package: "faketime",
        needed_for: "clocks that step",
    },
    RequiredProgram {
        name: "sshfs",
        debian_package: "sshfs",
        needed_for: "file systems that others change",
    },
    RequiredProgram {
        name: "mount.exfat-fuse",
        debian_package: "exfat-fuse",
        needed_for: "file systems that ignore case",
    },
    RequiredProgram {
        name: "mkfs.exfat",
        debian_package: "exfatprogs",
        needed_for: "file systems that ignore case",
    },
    RequiredProgram { name: "chromium", debian_package: "chromium", needed_for: "the status page" },
    RequiredProgram {
        name: "chromedriver",
        debian_package: "chromium-driver",
        needed_for: "the status page",
    },
    RequiredProgram {
        name: "promtool",
        debian_package: "prometheus",
        needed_for: "metrics and alerts",
    },
];

/// Installs missing programs if permitted, and returns a line for each that is still missing.
pub(crate) fn install_missing() -> Vec<String> {
    let missing: Vec<&RequiredProgram> =
        PROGRAMS.iter().filter(|program| !is_installed(program)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let obstacle = install(&missing).err();
    missing
        .iter()
        .filter(|program| !is_installed(program))
        .map(|program| {
            let RequiredProgram { name, debian_package, needed_for } = program;
            let reason = obstacle.as_deref().unwrap_or("the package was installed, but lacks it");
            format!("{needed_for}: {name} (Debian: {debian_package}) is missing; {reason}")
        })
        .collect()
}

fn is_installed(program: &RequiredProgram) -> bool {
    find_program(program.name).is_some()
}

/// Installs the packages.
///
/// # Errors
///
/// Returns the reason if that is impossible or fails.
fn install(programs: &[&RequiredProgram]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root, so nothing was installed".to_owned());
    }
    if find_program("apt-get").is_none() {
        return Err("no apt-get, so nothing was installed".to_owned());
    }
    let packages: Vec<&str> = programs.iter().map(|program| program.debian_package).collect();
    println!("installing {}", packages.join(", "));
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())
}
