//! `cargo xtask deb`: builds the Debian package, and tries it in a minimal system.

mod changelog;
mod control;
mod stage;
mod trial;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    assets,
    build::{self, BuildProfile, find_program, run_command, target_dir},
};
use control::Control;
pub(crate) use stage::PackageTree;

/// Name of the package. That of Debian's package of the original differs, so that neither replaces
/// the other in an upgrade.
pub(crate) const PACKAGE: &str = "lsyncd-rs";

/// Options of the task.
#[derive(Clone, Debug, Default)]
struct DebOptions {
    is_debug: bool,
    is_tried: bool,
    only_trial: bool,
}

/// Builds the package, and with `--try` tries it.
///
/// # Errors
///
/// Returns the reason if it can't be built, or did not behave.
pub(crate) fn run(words: &[String]) -> Result<(), Vec<String>> {
    let mut options = DebOptions::default();
    for word in words {
        match &**word {
            "--debug" => options.is_debug = true,
            "--try" => options.is_tried = true,
            other => return Err(vec![format!("{other} is no option of deb")]),
        }
    }
    perform(&options).map_err(|why| vec![format!("deb: {why}")])
}

/// Tries a package with a debug build. Returns the reason if that is impossible here.
///
/// # Errors
///
/// Returns the reason if it did not behave.
pub(crate) fn test() -> Result<Option<String>, String> {
    if let Some(missing) = trial::obstacle() {
        return Ok(Some(missing));
    }
    perform(&DebOptions { is_debug: true, is_tried: true, only_trial: true }).map(|()| None)
}

fn perform(options: &DebOptions) -> Result<(), String> {
    let programs = if options.is_tried { &["dpkg-deb", "debootstrap"][..] } else { &["dpkg-deb"] };
    for program in programs {
        find_program(program).ok_or_else(|| format!("{program} is missing: install {program}"))?;
    }
    let profile = if options.is_debug { BuildProfile::Debug } else { BuildProfile::Release };
    let programs = build::programs(profile, None)?;
    let directory = target_dir().join("deb");
    let package = build_package(&programs, &directory, &version())?;
    if !options.only_trial {
        println!("{}", package.display());
    }
    if options.is_tried {
        let next = directory.join("next");
        let newer = build_package(&programs, &next, &format!("{}+next", version()))?;
        trial::run(&package, &newer)?;
        // It is no release.
        fs::remove_dir_all(&next).map_err(|error| format!("{}: {error}", next.display()))?;
    }
    Ok(())
}

/// Returns the version of the package: pre-releases sort before the release.
fn version() -> String {
    env!("CARGO_PKG_VERSION").replace('-', "~")
}

/// Builds a package of these programs in `directory`, and returns its path.
fn build_package(programs: &[PathBuf], directory: &Path, version: &str) -> Result<PathBuf, String> {
    let stage = PackageTree::new()?;
    stage.add_programs(programs)?;
    stage.add_units(programs)?;
    stage.add_documents()?;
    stage.add_changelog(version)?;
    stage.add_configuration()?;
    let missing = stage.add_assets(&assets::generate()?)?;
    if !missing.is_empty() {
        return Err(format!("the package would have no {}", missing.join(", no ")));
    }
    let control = Control { version, depends: control::depends(programs)?, stage: &stage };
    control.write()?;
    let architecture = control::architecture()?;
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let package = directory.join(format!("{PACKAGE}_{version}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    command.args(["--build", "--root-owner-group", "-Zxz"]).arg(stage.path()).arg(&package);
    run_command(command)?;
    Ok(package)
}
