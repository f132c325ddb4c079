//! The programs that tests need: found, or installed where that is possible.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program, and where it comes from.
struct Program {
    name: &'static str,
    debian_package: &'static str,
    needed_for: &'static str,
}

const PROGRAMS: [Program; 5] = [
    Program { name: "rsync", debian_package: "rsync", needed_for: "everything with -rsync" },
    Program { name: "sshd", debian_package: "openssh-server", needed_for: "targets behind ssh" },
    Program { name: "setfacl", debian_package: "acl", needed_for: "access control lists" },
    Program { name: "setfattr", debian_package: "attr", needed_for: "extended attributes" },
    Program {
        name: "lsyncd",
        debian_package: "lsyncd",
        needed_for: "all that is compared with it",
    },
];

/// Installs what is missing, if it may, and returns a line for each program that stays missing.
pub(crate) fn install_missing() -> Vec<String> {
    let missing: Vec<&Program> = PROGRAMS.iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let obstacle = install(&missing).err();
    missing
        .iter()
        .filter(|program| !is_there(program))
        .map(|program| {
            let Program { name, debian_package, needed_for } = program;
            let why = obstacle.as_deref().unwrap_or("the package was installed, but lacks it");
            format!("{needed_for}: {name} (Debian: {debian_package}) is missing; {why}")
        })
        .collect()
}

fn is_there(program: &Program) -> bool {
    find(program.name).is_some()
}

/// Where `name` is, on the path or among the system's daemons.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned(), Path::new("/sbin").to_owned()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Installs the packages, or says what stands in the way.
fn install(programs: &[&Program]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root, so nothing was installed".to_owned());
    }
    if find("apt-get").is_none() {
        return Err("no apt-get, so nothing was installed".to_owned());
    }
    let packages: Vec<&str> = programs.iter().map(|program| program.debian_package).collect();
    println!("installing {}", packages.join(", "));
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let words = || format!("apt-get {}", arguments.join(" "));
    let output = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} could not be run: {error}", words()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed: {}", words(), said.trim().replace('\n', " / ")))
}
