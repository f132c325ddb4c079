//! The sources and targets of a soak run.

use std::path::PathBuf;

use crate::{bench::scratch::ScratchPath, damage::matrix::DamageKind};

/// Number of sources.
pub(crate) const SOURCES: usize = 10;
/// Number of targets.
pub(crate) const TARGETS: usize = 50;
/// The distance of two targets with a file system of their own: each kind has one.
const DISK_DISTANCE: usize = 7;

/// A target.
#[derive(Clone, Debug)]
pub(crate) struct SoakTarget {
    pub(crate) number: usize,
    pub(crate) directory: ScratchPath,
    /// The small file system on which it is, if it is not that of all others.
    pub(crate) disk: Option<PathBuf>,
}

impl SoakTarget {
    /// Returns the name of a sync, which is that of its module and its directory.
    pub(crate) fn name_of(number: usize) -> String {
        format!("target{number:02}")
    }

    /// Finds the number in a name.
    pub(crate) fn number_of(name: &str) -> Option<usize> {
        name.strip_prefix("target")?.parse().ok().filter(|number| *number < TARGETS)
    }

    /// Returns the kind of a target.
    pub(crate) fn kind_of(number: usize) -> DamageKind {
        let kinds = DamageKind::ALL;
        kinds.get(number % kinds.len()).copied().unwrap_or(DamageKind::Direct)
    }

    /// Returns true if it has a file system of its own.
    pub(crate) fn has_disk(number: usize) -> bool {
        number.is_multiple_of(DISK_DISTANCE) && number / DISK_DISTANCE < DamageKind::ALL.len()
    }

    /// Returns the numbers for which a predicate holds.
    pub(crate) fn numbers(is_meant: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..TARGETS).filter(|number| is_meant(*number)).collect()
    }

    pub(crate) fn name(&self) -> String {
        Self::name_of(self.number)
    }

    pub(crate) fn kind(&self) -> DamageKind {
        Self::kind_of(self.number)
    }

    /// Returns the number of its source.
    pub(crate) const fn source(&self) -> usize {
        self.number / (TARGETS / SOURCES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_targets_and_one_with_a_disk() {
        for kind in DamageKind::ALL {
            let of_kind = SoakTarget::numbers(|number| SoakTarget::kind_of(number) == kind);
            assert!(of_kind.len() >= 8, "{kind:?}");
            assert_eq!(of_kind.iter().filter(|number| SoakTarget::has_disk(**number)).count(), 1);
        }
    }

    #[test]
    fn a_name_has_the_number() {
        assert!((0..TARGETS).all(|it| SoakTarget::number_of(&SoakTarget::name_of(it)) == Some(it)));
        assert_eq!(SoakTarget::number_of("target50"), None);
        assert_eq!(SoakTarget::number_of("other"), None);
    }
}
