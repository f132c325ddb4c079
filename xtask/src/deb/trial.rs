//! A trial of the package in a minimal system, which is created for it.

use std::{fs, path::Path, process::Command};

use crate::build::{find_program, output_of, run_command, target_dir};

/// Programs that the trial needs.
const PROGRAMS: [&str; 5] = ["debootstrap", "unshare", "chroot", "apt-get", "dpkg-deb"];

/// Returns the reason for which there can be no trial.
pub(super) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("this needs the rights of root".into());
    }
    let missing = PROGRAMS.iter().find(|program| find_program(program).is_none());
    missing.map(|program| format!("this needs {program}"))
}

/// Installs the package, upgrades it to the newer one, and purges it.
///
/// # Errors
///
/// Returns the reason if the system can't be created, or a step failed.
pub(super) fn run(package: &Path, newer: &Path) -> Result<(), String> {
    if let Some(obstacle) = obstacle() {
        return Err(obstacle);
    }
    let directory = tempfile::Builder::new().prefix("deb-trial-").tempdir();
    let directory = directory.map_err(|error| format!("cannot try the package: {error}"))?;
    let root = directory.path().join("root");
    bootstrap(&root)?;
    let write = |name: &str, text: &str| {
        let path = root.join("trial").join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    fs::create_dir(root.join("trial")).map_err(|error| format!("/trial: {error}"))?;
    for (name, from) in [("first.deb", package), ("newer.deb", newer)] {
        let to = root.join("trial").join(name);
        fs::copy(from, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    write("run", include_str!("trial.sh"))?;
    // No network, and no process is left: the first one of the namespace takes all with it.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "sh", "-ec"]);
    command.arg(r#"mount -t proc proc "$0/proc"; exec chroot "$0" /bin/sh -e /trial/run"#);
    command.arg(&root).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    run_command(command)
}

/// Creates a minimal system of the release that runs here, from the archive that apt uses.
fn bootstrap(root: &Path) -> Result<(), String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.ok_or("/etc/os-release names no release of Debian or Ubuntu")?;
    let mut archive = Command::new("apt-get");
    archive.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Identifier: Packages"]);
    let archive = archive_of(&output_of(archive)?, codename)
        .ok_or_else(|| format!("apt has no archive of {codename}"))?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--merged-usr"]);
    // Downloaded packages are kept for the next trial.
    let cache = target_dir().join("deb/cache");
    let cache = fs::create_dir_all(&cache)
        .and_then(|()| cache.canonicalize())
        .map_err(|error| format!("{}: {error}", cache.display()))?;
    command.arg(format!("--cache-dir={}", cache.display()));
    command.arg(codename).arg(root).arg(archive).env_remove("TMPDIR");
    output_of(command).map(drop)
}

/// Returns the first archive of a release.
fn archive_of(targets: &str, codename: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let (archive, of) = line.rsplit_once(' ')?;
        (of == codename).then(|| archive.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_of_the_release_is_found() {
        let targets = "http://a.example/security/ b-security\nhttp://a.example/main/ b\n";
        assert_eq!(archive_of(targets, "b").as_deref(), Some("http://a.example/main/"));
        assert_eq!(archive_of(targets, "c"), None);
    }
}
