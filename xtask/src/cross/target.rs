//! The targets that the task builds for.

use std::env::consts::ARCH;

/// A Rust target that is not that of this machine's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CrossTarget {
    /// Name for Rust.
    pub(super) rust: &'static str,
    /// Name for zig.
    pub(super) zig: &'static str,
    /// Architecture, as Rust names it.
    architecture: &'static str,
    system: CrossSystem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CrossSystem {
    Mac,
    StaticLinux,
}

/// All targets.
pub(super) const TARGETS: [CrossTarget; 4] = [
    CrossTarget {
        rust: "aarch64-apple-darwin",
        zig: "aarch64-macos",
        architecture: "aarch64",
        system: CrossSystem::Mac,
    },
    CrossTarget {
        rust: "x86_64-apple-darwin",
        zig: "x86_64-macos",
        architecture: "x86_64",
        system: CrossSystem::Mac,
    },
    CrossTarget {
        rust: "aarch64-unknown-linux-musl",
        zig: "aarch64-linux-musl",
        architecture: "aarch64",
        system: CrossSystem::StaticLinux,
    },
    CrossTarget {
        rust: "x86_64-unknown-linux-musl",
        zig: "x86_64-linux-musl",
        architecture: "x86_64",
        system: CrossSystem::StaticLinux,
    },
];

impl CrossTarget {
    /// Returns the target of this name.
    ///
    /// # Errors
    ///
    /// Returns a message with the names of all targets.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        TARGETS.into_iter().find(|target| target.rust == name).ok_or_else(|| {
            let names = TARGETS.map(|target| target.rust).join(", ");
            format!("{name} is none of the targets: {names}")
        })
    }

    /// Returns true if this machine runs its programs.
    pub(super) fn is_native(self) -> bool {
        self.system == CrossSystem::StaticLinux && self.architecture == ARCH
    }

    /// Returns true if the tests are checked, too: once for macOS, because they hardly depend on
    /// the architecture. Those of Linux run elsewhere.
    pub(super) fn checks_tests(self) -> bool {
        self.system == CrossSystem::Mac && self.architecture == "aarch64"
    }

    /// Returns the flags for rustc.
    pub(super) fn rustc_flags(self) -> &'static str {
        match self.system {
            // rustc would run a program that the packages lack.
            CrossSystem::Mac => "-Cstrip=none",
            // zig has the C library and the start files.
            CrossSystem::StaticLinux => "-Clink-self-contained=no -Ctarget-feature=+crt-static",
        }
    }

    /// Returns the suffix of an environment variable of the crate `cc`, as in `CC_suffix`.
    pub(super) fn cc_suffix(self) -> String {
        self.rust.replace('-', "_")
    }

    /// Returns the name of cargo's environment variable for `setting` of this target.
    pub(super) fn cargo_variable(self, setting: &str) -> String {
        format!("CARGO_TARGET_{}_{setting}", self.cc_suffix().to_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_target_is_native_and_no_mac() {
        let native: Vec<&str> =
            TARGETS.iter().filter(|target| target.is_native()).map(|target| target.rust).collect();
        assert!(native.len() <= 1, "{native:?}");
        assert!(native.iter().all(|name| name.ends_with("-linux-musl")), "{native:?}");
    }

    #[test]
    fn the_tests_are_checked_for_one_target() {
        let checked = TARGETS.iter().filter(|target| target.checks_tests());
        let names: Vec<&str> = checked.map(|target| target.rust).collect();
        assert_eq!(names, ["aarch64-apple-darwin"]);
    }

    #[test]
    fn variables_are_named_as_cargo_and_cc_read_them() {
        let target = CrossTarget::named("aarch64-apple-darwin").unwrap();
        assert_eq!(target.cc_suffix(), "aarch64_apple_darwin");
        assert_eq!(target.cargo_variable("LINKER"), "CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER");
    }

    #[test]
    fn an_unknown_target_is_answered_with_the_known_ones() {
        let error = CrossTarget::named("riscv64").unwrap_err();
        assert!(error.contains("x86_64-apple-darwin"), "{error}");
    }
}
