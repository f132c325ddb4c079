//! Compilers for other targets, fetched into the target directory.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{packages, target::CrossTarget};
use crate::{
    apt::apt_get,
    build::{find_program, output_of, run_command, target_dir, workspace},
};

/// Wrappers of zig, with their names.
const WRAPPERS: [(&str, &str); 2] =
    [("zig-cc", include_str!("zig-cc.sh")), ("zig-ar", include_str!("zig-ar.sh"))];

/// Names and versions of C compiler and linker, for pip.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// Programs without which nothing can be fetched or built, and their packages in Debian.
const PROGRAMS: [(&str, &str); 4] =
    [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("pip3", "python3-pip"), ("cc", "gcc")];

/// File in a directory of fetched tools that is complete: what was fetched.
const MARK: &str = "complete";

/// Compilers in a directory of their own.
#[derive(Debug)]
pub(super) struct CrossTools {
    directory: PathBuf,
}

impl CrossTools {
    /// Fetches what is not there yet.
    ///
    /// # Errors
    ///
    /// Returns what is missing on this machine, or why something can't be fetched.
    pub(super) fn fetch() -> Result<Self, String> {
        for (program, package) in PROGRAMS {
            if find_program(program).is_none() {
                return Err(format!("{program} is missing: install {package}"));
            }
        }
        let directory = absolute(&target_dir().join("cross"))?;
        let tools = Self { directory };
        // A workspace that needs a newer Rust fetches again.
        let minimum = concat!("for Rust ", env!("CARGO_PKG_RUST_VERSION"), "\n");
        tools.fetch_once("rust", minimum, fetch_rust)?;
        tools.fetch_once("zig", REQUIREMENTS, fetch_zig)?;
        tools.write_wrappers()?;
        tools.fetch_sources()?;
        Ok(tools)
    }

    /// Fetches tools into the directory `name`, unless those of this mark are there.
    fn fetch_once(
        &self,
        name: &str,
        mark: &str,
        fetch: fn(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let directory = self.directory.join(name);
        let file = directory.join(MARK);
        if fs::read_to_string(&file).is_ok_and(|found| found == mark) {
            return Ok(());
        }
        let failed = |error| format!("{}: {error}", directory.display());
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(failed)?;
        }
        fs::create_dir_all(&directory).map_err(failed)?;
        println!("fetching into {}", directory.display());
        fetch(&directory)?;
        fs::write(&file, mark).map_err(failed)
    }

    /// Writes the wrappers of zig.
    fn write_wrappers(&self) -> Result<(), String> {
        for (name, text) in WRAPPERS {
            let path = self.directory.join(name);
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, PermissionsExt::from_mode(0o755)))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Downloads the sources of all dependencies, also those of the standard library.
    fn fetch_sources(&self) -> Result<(), String> {
        let mut command = self.cargo();
        command.args(["fetch", "--quiet", "--locked"]);
        output_of(command).map(drop).map_err(|why| not_fetched("the dependencies", &why))
    }

    /// Returns the command of cargo for a target.
    pub(super) fn cargo_for(&self, target: CrossTarget, subcommand: &str) -> Command {
        let mut command = self.cargo();
        command.args([subcommand, "--locked", "--target", target.rust]);
        let compiler = self.directory.join("zig-cc");
        let suffix = target.cc_suffix();
        let stubs = workspace().join("xtask/src/cross/stubs");
        command
            .env(format!("CC_{suffix}"), &compiler)
            .env(format!("AR_{suffix}"), self.directory.join("zig-ar"))
            .env(target.cargo_variable("LINKER"), compiler)
            .env(target.cargo_variable("RUSTFLAGS"), target.rustc_flags())
            .env("CROSS_ZIG", self.directory.join("zig/ziglang/zig"))
            .env("CROSS_ZIG_TARGET", target.zig)
            .env("CROSS_STUBS", &stubs)
            // Otherwise rustc looks for it, and the wrapper does not need it.
            .env("SDKROOT", stubs)
            .env("ZIG_GLOBAL_CACHE_DIR", self.directory.join("zig-cache"))
            .env("ZIG_LOCAL_CACHE_DIR", self.directory.join("zig-cache"));
        command
    }

    /// Returns the command of the fetched cargo, with the standard library from its source.
    fn cargo(&self) -> Command {
        let rust = self.directory.join("rust/usr");
        let mut command = Command::new(rust.join("bin/cargo"));
        command
            .current_dir(workspace())
            .env("LD_LIBRARY_PATH", library_path(&rust))
            .env("RUSTC", rust.join("bin/rustc"))
            .env("RUSTDOC", rust.join("bin/rustdoc"))
            // The standard library can be compiled by nightly versions only, or with this.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_UNSTABLE_BUILD_STD", "std")
            .env("CARGO_TARGET_DIR", self.directory.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_UNSTABLE_WARNINGS", "true")
            .env("CARGO_BUILD_WARNINGS", "deny")
            // Flags for all targets would replace those of one.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        command
    }
}

/// Returns the value of `LD_LIBRARY_PATH` for the fetched programs.
fn library_path(rust: &Path) -> OsString {
    let triplet = format!("{}-linux-gnu", env::consts::ARCH);
    let mut paths = vec![rust.join("lib").join(triplet)];
    paths.extend(env::split_paths(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default()));
    env::join_paths(&paths).unwrap_or_else(|_| paths.swap_remove(0).into())
}

/// Downloads a Rust compiler with its libraries and sources, and unpacks it.
fn fetch_rust(directory: &Path) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        apt_get(&["update"])?;
    }
    let mut download = Command::new("apt-get");
    download.args(["-qq", "download"]).args(packages::compiler()?).current_dir(directory);
    output_of(download).map_err(|why| not_fetched("a Rust compiler", &why))?;
    let unreadable = |error| format!("{}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let package = entry.map_err(unreadable)?.path();
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(&package).arg(directory);
        run_command(unpack)?;
        fs::remove_file(&package).map_err(|error| format!("{}: {error}", package.display()))?;
    }
    Ok(())
}

/// Downloads zig, and unpacks it.
fn fetch_zig(directory: &Path) -> Result<(), String> {
    let requirements = directory.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)
        .map_err(|error| format!("{}: {error}", requirements.display()))?;
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.arg("--requirement").arg(&requirements).arg("--target").arg(directory);
    output_of(pip).map(drop).map_err(|why| not_fetched("zig", &why))
}

/// Returns a message with the first line of `why` that apt, pip or cargo marks as an error, or else
/// with all.
fn not_fetched(what: &str, why: &str) -> String {
    let marks = ["E: ", "ERROR: ", "error: "];
    let marked =
        |line| marks.iter().filter_map(move |mark| Some(str::find(line, mark)? + mark.len()));
    let reason = why.lines().find_map(|line| line.get(marked(line).min()?..)).unwrap_or(why);
    format!("{what} cannot be fetched: {reason}")
}

/// Returns the absolute path of a directory that is created if it is missing.
fn absolute(directory: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(directory)
        .and_then(|()| directory.canonicalize())
        .map_err(|error| format!("{}: {error}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_fetch_is_the_reason() {
        let apt =
            "\"apt-get\" \"download\": exit status: 100: W: not sandboxed\nE: no route\nE: more";
        let pip = "\"pip3\" \"install\": exit status: 1: ERROR: no zig for this machine";
        assert_eq!(not_fetched("rustc", apt), "rustc cannot be fetched: no route");
        assert_eq!(not_fetched("zig", pip), "zig cannot be fetched: no zig for this machine");
        assert_eq!(not_fetched("zig", "killed"), "zig cannot be fetched: killed");
    }
}
