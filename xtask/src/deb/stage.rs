//! The tree of files that the package installs.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{PACKAGE, changelog};
use crate::build::{has_name, run_command, workspace};

/// Documents for users.
const DOCUMENTS: [&str; 19] = [
    "SUMMARY.md",
    "comparison.md",
    "configuration.md",
    "deploy.md",
    "faq.md",
    "filters.md",
    "install.md",
    "known-differences.md",
    "log-messages.md",
    "lsyncctl.md",
    "migrating.md",
    "modes.md",
    "monitoring.md",
    "operating.md",
    "quick-start.md",
    "remote.md",
    "scripts.md",
    "threat-model.md",
    "troubleshooting.md",
];

/// A temporary tree with the files of a package.
pub(crate) struct PackageTree {
    directory: TempDir,
}

/// A kind of generated files: its directory below the assets, and what the package has of it.
struct AssetKind {
    directory: &'static str,
    target: &'static str,
    name: &'static str,
}

/// Completions by shell. Man pages are sorted by their sections.
const COMPLETIONS: [AssetKind; 3] = [
    AssetKind {
        directory: "completions/bash",
        target: "usr/share/bash-completion/completions",
        name: "completions for bash",
    },
    AssetKind {
        directory: "completions/zsh",
        target: "usr/share/zsh/vendor-completions",
        name: "completions for zsh",
    },
    AssetKind {
        directory: "completions/fish",
        target: "usr/share/fish/vendor_completions.d",
        name: "completions for fish",
    },
];

impl PackageTree {
    pub(crate) fn new() -> Result<Self, String> {
        let permissions = mode(0o755);
        let directory = tempfile::Builder::new().prefix("deb-").permissions(permissions).tempdir();
        let directory = directory.map_err(|error| format!("cannot stage: {error}"))?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Copies a file to a path relative to the root of the tree.
    pub(super) fn copy(&self, from: &Path, to: &str, permissions: u32) -> Result<(), String> {
        let path = self.create_parent(to)?;
        fs::copy(from, &path)
            .and_then(|_| fs::set_permissions(&path, mode(permissions)))
            .map_err(|error| format!("cannot copy {} to {to}: {error}", from.display()))
    }

    /// Writes a file with mode 0644.
    pub(super) fn write(&self, to: &str, text: &str) -> Result<(), String> {
        let path = self.create_parent(to)?;
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, mode(0o644)))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn create_parent(&self, to: &str) -> Result<PathBuf, String> {
        let path = self.path().join(to);
        let parent = path.parent().unwrap_or(self.path());
        fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        Ok(path)
    }

    /// Adds the programs without their debug information.
    pub(crate) fn add_programs(&self, programs: &[PathBuf]) -> Result<(), String> {
        for program in programs {
            let to = format!("usr/bin/{}", file_name(program));
            self.copy(program, &to, 0o755)?;
            let mut strip = Command::new("strip");
            strip.args(["--strip-unneeded", "--remove-section=.comment"]);
            strip.arg(self.path().join(to));
            run_command(strip)?;
        }
        Ok(())
    }

    /// Adds the units of the programs that the package has.
    pub(crate) fn add_units(&self, programs: &[PathBuf]) -> Result<(), String> {
        let dist = workspace().join("dist");
        let system = "usr/lib/systemd/system";
        for unit in ["lsyncd.service", "lsyncd@.service"] {
            self.copy(&dist.join(unit), &format!("{system}/{unit}"), 0o644)?;
        }
        let user = "usr/lib/systemd/user/lsyncd.service";
        self.copy(&dist.join("user/lsyncd.service"), user, 0o644)?;
        if programs.iter().any(|program| has_name(program, "lsyncctl")) {
            let unit = "lsyncctl-serve.service";
            self.copy(&dist.join(unit), &format!("{system}/{unit}"), 0o644)?;
        }
        Ok(())
    }

    /// Adds the default configuration and that of logrotate.
    pub(super) fn add_configuration(&self) -> Result<(), String> {
        let debian = workspace().join("dist/debian");
        let own = "lsyncd.conf.lua";
        self.copy(&debian.join(own), &format!("etc/lsyncd/{own}"), 0o644)?;
        self.copy(&debian.join("logrotate"), "etc/logrotate.d/lsyncd", 0o644)
    }

    /// Adds documents, examples, the copyright and the changelog.
    pub(crate) fn add_documents(&self) -> Result<(), String> {
        let top = workspace();
        let doc = |name: &str| format!("usr/share/doc/{PACKAGE}/{name}");
        self.copy(&top.join("dist/debian/copyright"), &doc("copyright"), 0o644)?;
        self.copy(&top.join("README.md"), &doc("README.md"), 0o644)?;
        for name in DOCUMENTS {
            self.copy(&top.join("docs").join(name), &doc(name), 0o644)?;
        }
        for file in list(&top.join("examples"))? {
            self.copy(&file, &doc(&format!("examples/{}", file_name(&file))), 0o644)?;
        }
        self.copy(&top.join("CHANGELOG.md"), &doc("changelog"), 0o644)?;
        self.compress(&doc("changelog"))
    }

    /// Adds the changelog in Debian's format.
    pub(super) fn add_changelog(&self, version: &str) -> Result<(), String> {
        let path = format!("usr/share/doc/{PACKAGE}/changelog.Debian");
        let entry = changelog::text(version)?;
        self.write(&path, &entry)?;
        self.compress(&path)
    }

    /// Adds the generated man pages and completions. Returns the kinds that are missing.
    pub(crate) fn add_assets(&self, assets: &Path) -> Result<Vec<&'static str>, String> {
        let mut missing = Vec::new();
        let pages = list(&assets.join("man")).unwrap_or_default();
        for page in &pages {
            let section = page.extension().unwrap_or_default().to_string_lossy();
            let to = format!("usr/share/man/man{section}/{}", file_name(page));
            self.copy(page, &to, 0o644)?;
            self.compress(&to)?;
        }
        if pages.is_empty() {
            missing.push("man pages");
        }
        for kind in &COMPLETIONS {
            let files = list(&assets.join(kind.directory)).unwrap_or_default();
            for file in &files {
                self.copy(file, &format!("{}/{}", kind.target, file_name(file)), 0o644)?;
            }
            if files.is_empty() {
                missing.push(kind.name);
            }
        }
        Ok(missing)
    }

    fn compress(&self, path: &str) -> Result<(), String> {
        let mut gzip = Command::new("gzip");
        gzip.arg("-9n").arg(self.path().join(path));
        run_command(gzip)
    }

    /// Returns the paths of all files below a directory of the tree, relative to its root.
    pub(super) fn files_below(&self, directory: &str) -> Result<Vec<String>, String> {
        let mut files = Vec::new();
        collect(&self.path().join(directory), &mut files)
            .map_err(|error| format!("cannot list {directory}: {error}"))?;
        let relative = files.iter().filter_map(|path| path.strip_prefix(self.path()).ok());
        let mut relative: Vec<String> = relative.map(|path| path.display().to_string()).collect();
        relative.sort_unstable();
        Ok(relative)
    }

    /// Returns the size of all files of the tree.
    pub(super) fn installed_kib(&self) -> Result<u64, String> {
        let files = self.files_below("")?;
        let size = |path: &String| {
            fs::metadata(self.path().join(path)).map_or(0, |found| found.len().div_ceil(1024))
        };
        Ok(files.iter().map(size).sum())
    }
}

fn mode(bits: u32) -> fs::Permissions {
    fs::Permissions::from_mode(bits)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the files of a directory in the order of their names.
fn list(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(failed)?.path());
    }
    files.retain(|path| path.is_file());
    files.sort_unstable();
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_go_to_their_directories_and_missing_ones_are_reported() {
        let assets = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = assets.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        };
        let stage = PackageTree::new().unwrap();
        assert_eq!(stage.add_assets(assets.path()).unwrap().len(), 4);
        for name in ["man/lsyncd.1", "man/lsyncd.conf.lua.5", "completions/zsh/_lsyncd"] {
            write(name);
        }
        let missing = stage.add_assets(assets.path()).unwrap();
        assert_eq!(missing, ["completions for bash", "completions for fish"]);
        let expected = [
            "usr/share/man/man1/lsyncd.1.gz",
            "usr/share/man/man5/lsyncd.conf.lua.5.gz",
            "usr/share/zsh/vendor-completions/_lsyncd",
        ];
        assert_eq!(stage.files_below("usr").unwrap(), expected);
    }
}
