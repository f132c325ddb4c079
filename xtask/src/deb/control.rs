//! The control files of the package.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use super::{PACKAGE, changelog::maintainer, stage::PackageTree};
use crate::build::{output_of, workspace};

/// Files that dpkg runs.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// The control files of a staged package.
pub(super) struct Control<'a> {
    pub(super) version: &'a str,
    /// The packages that the programs need.
    pub(super) depends: String,
    pub(super) stage: &'a PackageTree,
}

impl Control<'_> {
    /// Writes the directory `DEBIAN`.
    pub(super) fn write(&self) -> Result<(), String> {
        let size = self.stage.installed_kib()?;
        let text = self.text(&architecture()?, size);
        self.stage.write("DEBIAN/control", &text)?;
        let conffiles = self.stage.files_below("etc")?;
        let conffiles: Vec<String> = conffiles.iter().map(|path| format!("/{path}")).collect();
        self.stage.write("DEBIAN/conffiles", &(conffiles.join("\n") + "\n"))?;
        for script in SCRIPTS {
            let from = workspace().join("dist/debian").join(script);
            self.stage.copy(&from, &format!("DEBIAN/{script}"), 0o755)?;
        }
        let control = self.stage.path().join("DEBIAN");
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755))
            .map_err(|error| format!("{}: {error}", control.display()))
    }

    fn text(&self, architecture: &str, size_kib: u64) -> String {
        let Self { version, depends, .. } = self;
        format!(
            "Package: {PACKAGE}\n\
             Version: {version}\n\
             Architecture: {architecture}\n\
             Maintainer: {}\n\
             Installed-Size: {size_kib}\n\
             Depends: {depends}, passwd\n\
             Recommends: rsync, openssh-client\n\
             Suggests: logrotate\n\
             Conflicts: lsyncd\n\
             Replaces: lsyncd\n\
             Provides: lsyncd (= {version})\n\
             Section: admin\n\
             Priority: optional\n\
             Description: daemon that keeps mirrors of directory trees up to date\n \
             Watches directories and transfers each change to one or several targets: with\n \
             rsync to any target that rsync supports, or with its own copier to another\n \
             directory. It accepts the command line and the configuration files of Lsyncd.\n",
            maintainer()
        )
    }
}

/// Returns the name that dpkg has for the architecture of this machine.
pub(super) fn architecture() -> Result<String, String> {
    let mut command = Command::new("dpkg");
    command.arg("--print-architecture");
    Ok(output_of(command)?.trim().to_owned())
}

/// Returns the packages with the libraries of these programs, with the least versions that have the
/// symbols that they use.
pub(super) fn depends(programs: &[PathBuf]) -> Result<String, String> {
    // The tool expects a source package.
    let source = tempfile::tempdir().map_err(|error| format!("cannot compute Depends: {error}"))?;
    let control = source.path().join("debian/control");
    let text = format!("Source: {PACKAGE}\n\nPackage: {PACKAGE}\nArchitecture: any\n");
    let written =
        fs::create_dir(source.path().join("debian")).and_then(|()| fs::write(&control, text));
    written.map_err(|error| format!("{}: {error}", control.display()))?;
    let mut command = Command::new("dpkg-shlibdeps");
    command.arg("-O").args(programs).current_dir(source.path());
    let output = output_of(command).map_err(|why| format!("{why}: install dpkg-dev"))?;
    parse_depends(&output).ok_or_else(|| format!("dpkg-shlibdeps reports no packages: {output}"))
}

fn parse_depends(output: &str) -> Option<String> {
    let line = output.lines().find_map(|line| line.strip_prefix("shlibs:Depends="))?;
    (!line.trim().is_empty()).then(|| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_those_that_the_tool_reports() {
        let output = "shlibs:Depends=libc6 (>= 2.34), libgcc-s1 (>= 4.2)\n";
        let expected = "libc6 (>= 2.34), libgcc-s1 (>= 4.2)";
        assert_eq!(parse_depends(output).as_deref(), Some(expected));
        assert_eq!(parse_depends("shlibs:Depends=\n"), None);
        assert_eq!(parse_depends(""), None);
    }
}
