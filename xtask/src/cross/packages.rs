//! The packages of Debian with a rustc, its cargo, and the source of its standard library.

use std::process::Command;

use crate::build::output_of;

/// Names of packages that belong together; the first one is rustc.
type CompilerPackages = [&'static str; 4];

/// Newest first: in a stable release, `rustc-web` is the one that web browsers are built with.
const CANDIDATES: [CompilerPackages; 2] = [
    ["rustc-web", "cargo-web", "libstd-rust-web-dev", "rust-web-src"],
    ["rustc", "cargo", "libstd-rust-dev", "rust-src"],
];

/// The oldest version of Rust that compiles this workspace.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// Returns packages with a rustc that is new enough, and all that they need and this machine lacks,
/// each as `NAME=VERSION`.
///
/// # Errors
///
/// Returns a message if apt knows none.
pub(super) fn compiler() -> Result<Vec<String>, String> {
    let mut reasons = Vec::new();
    for names in CANDIDATES {
        let mut command = Command::new("apt-get");
        command.args(["--simulate", "--reinstall", "--no-install-recommends", "install"]);
        command.args(names).env("LC_ALL", "C.UTF-8");
        match output_of(command).and_then(|plan| new_enough(&plan, names[0])) {
            Ok(packages) => return Ok(packages),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(format!("apt has no rustc from {MINIMUM} on with its source: {}", reasons.join("; ")))
}

/// Returns the packages of a simulated installation if its rustc is new enough.
fn new_enough(plan: &str, rustc: &str) -> Result<Vec<String>, String> {
    let packages = planned(plan);
    let prefix = format!("{rustc}=");
    let version = packages.iter().find_map(|package| package.strip_prefix(&prefix));
    let version = version.ok_or_else(|| format!("apt would not install {rustc}"))?;
    if release(version) < release(MINIMUM) {
        return Err(format!("{rustc} is {version}"));
    }
    Ok(packages)
}

/// Returns the packages that a simulated installation unpacks, from its lines
/// `Inst NAME [OLD-VERSION] (VERSION ..)`.
fn planned(plan: &str) -> Vec<String> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.split_once('(')?.1.split([' ', ')']).next()?;
        Some(format!("{name}={version}"))
    };
    plan.lines().filter_map(package).collect()
}

/// Returns the first two numbers of a version of Rust.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "\
NOTE: This is only a simulation!
Inst libllvm22 (1:22.1.8-1~deb12u1 Debian-Security:12/oldstable-security [amd64])
Inst rustc-web [1.85.0+dfsg3-1] (1.96.0+dfsg1-1~deb12u2 Debian-Security:12 [amd64])
Conf libllvm22 (1:22.1.8-1~deb12u1 Debian-Security:12/oldstable-security [amd64])";

    #[test]
    fn planned_packages_have_their_new_versions() {
        let expected = ["libllvm22=1:22.1.8-1~deb12u1", "rustc-web=1.96.0+dfsg1-1~deb12u2"];
        assert_eq!(planned(PLAN), expected);
        assert_eq!(new_enough(PLAN, "rustc-web").unwrap(), expected);
    }

    #[test]
    fn an_old_or_missing_rustc_is_refused() {
        let old = "Inst rustc (1.63.0+dfsg1-2 Debian:12 [amd64])";
        assert_eq!(new_enough(old, "rustc").unwrap_err(), "rustc is 1.63.0+dfsg1-2");
        assert!(new_enough(PLAN, "rustc").is_err());
        assert!(new_enough("", "rustc").is_err());
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(release("1.100.0+dfsg1-1") > release("1.95"));
        assert!(release("1.95") >= release("1.95.0"));
        assert_eq!(release("nightly"), None);
    }
}
