//! The memory, descriptors and threads of the daemon, as `/proc` shows them.

use std::{fmt, fs, io};

use crate::bench::usage::{self, ProcessUsage};

/// The percentage by which a figure may differ from the first one.
const TOLERANCE: u64 = 5;

/// The figures of a process at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProcessGauges {
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// The part of it that is not backed by files.
    pub(crate) anonymous: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// CPU seconds so far, without those of its children.
    pub(crate) cpu: f64,
}

impl ProcessGauges {
    /// Reads the figures of a process.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub(crate) fn read(process: &str) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let found = usage::field(&status, name);
            found.ok_or_else(|| io::Error::other(format!("no {name} in {status}")))
        };
        Ok(Self {
            resident: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64,
            threads: field("Threads:")?,
            cpu: ProcessUsage::of(process)?.own,
        })
    }

    /// Returns the smaller of each figure, except the CPU time.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            resident: self.resident.min(other.resident),
            anonymous: self.anonymous.min(other.anonymous),
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            cpu: other.cpu,
        }
    }

    /// Returns the greater of each figure.
    pub(crate) fn greatest(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            anonymous: self.anonymous.max(other.anonymous),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            cpu: self.cpu.max(other.cpu),
        }
    }

    /// Returns a message for each figure that has changed since `first` by more than the tolerance.
    pub(crate) fn changes_since(self, first: Self) -> Vec<String> {
        let figures = [
            ("resident memory in KiB", first.resident, self.resident),
            ("descriptors", first.descriptors, self.descriptors),
        ];
        let changed = figures.into_iter().filter(|(_, first, now)| !is_flat(*first, *now));
        changed.map(|(what, first, now)| format!("{what}: {first}, later {now}")).collect()
    }
}

impl fmt::Display for ProcessGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anonymous, descriptors, threads, cpu } = self;
        write!(
            f,
            "resident {resident} KiB (anonymous {anonymous}), {descriptors} descriptors, {threads} \
             threads, CPU {cpu:.1} s"
        )
    }
}

/// Returns true if two figures differ by at most the tolerance.
fn is_flat(first: u64, now: u64) -> bool {
    first.abs_diff(now) * 100 <= first * TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_more_or_less_is_flat() {
        assert!(is_flat(20_000, 21_000) && is_flat(20_000, 19_000) && is_flat(0, 0));
        assert!(!is_flat(20_000, 21_001) && !is_flat(20_000, 18_999) && !is_flat(0, 1));
    }

    #[test]
    fn each_figure_that_changes_is_named() {
        let first = ProcessGauges::read("self").unwrap();
        assert_eq!(first.changes_since(first), Vec::<String>::new());
        let grown = ProcessGauges {
            resident: first.resident * 2,
            descriptors: first.descriptors * 2,
            ..first
        };
        assert_eq!(grown.changes_since(first).len(), 2);
        assert_eq!(grown.least(first).changes_since(first), Vec::<String>::new());
    }
}
