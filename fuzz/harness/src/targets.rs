//! The table of all targets.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    control_requests, cron_rules, filter_rules, kernel_events, lua_config, rsync_messages,
    shell_quoting,
};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget {
    /// Name of its module, of its file in `fuzz/fuzz_targets` and of its directory in
    /// `fuzz/corpus`.
    pub name: &'static str,
    /// Checks the invariants for one input, and panics if one is violated.
    pub run: fn(&[u8]),
    /// Returns the tokens of its input language.
    pub dictionary: fn() -> Vec<&'static [u8]>,
    /// Maximum length of an input in bytes.
    pub max_length: usize,
    /// Another directory with seeds, from the root of the repository; of its files, those that end
    /// in `.lua` are read.
    pub more_seeds: Option<&'static str>,
}

/// All targets.
pub const TARGETS: [FuzzTarget; 7] = [
    FuzzTarget {
        name: "kernel_events",
        run: kernel_events::run,
        dictionary: kernel_events::dictionary,
        max_length: 2048,
        more_seeds: None,
    },
    FuzzTarget {
        name: "filter_rules",
        run: filter_rules::run,
        dictionary: filter_rules::dictionary,
        max_length: 4096,
        more_seeds: None,
    },
    FuzzTarget {
        name: "rsync_messages",
        run: rsync_messages::run,
        dictionary: rsync_messages::dictionary,
        max_length: 1024,
        more_seeds: None,
    },
    FuzzTarget {
        name: "shell_quoting",
        run: shell_quoting::run,
        dictionary: shell_quoting::dictionary,
        max_length: 1024,
        more_seeds: None,
    },
    FuzzTarget {
        name: "control_requests",
        run: control_requests::run,
        dictionary: control_requests::dictionary,
        max_length: 4096,
        more_seeds: None,
    },
    FuzzTarget {
        name: "cron_rules",
        run: cron_rules::run,
        dictionary: cron_rules::dictionary,
        max_length: 256,
        more_seeds: None,
    },
    FuzzTarget {
        name: "lua_config",
        run: lua_config::run,
        dictionary: lua_config::dictionary,
        max_length: 4096,
        more_seeds: Some("tests/configs"),
    },
];

impl FuzzTarget {
    /// Returns the target of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Reads the seeds, sorted by the names of their files.
    ///
    /// # Errors
    ///
    /// If a directory or a file can't be read.
    pub fn seeds(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut files = files_in(&fuzz_dir().join("corpus").join(self.name))?;
        if let Some(more) = self.more_seeds {
            let others = files_in(&fuzz_dir().join("..").join(more))?;
            files
                .extend(others.into_iter().filter(|file| file.extension() == Some("lua".as_ref())));
        }
        files.iter().map(fs::read).collect()
    }

    /// Returns the directory for inputs that violate an invariant.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        fuzz_dir().join("artifacts").join(self.name)
    }
}

/// Returns the directory `fuzz` of the repository.
fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new(".")).to_owned()
}

/// Returns the files in a directory, sorted by name.
fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_file_for_cargo_fuzz_and_a_corpus() {
        let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
        for target in TARGETS {
            let name = target.name;
            let file = fs::read_to_string(fuzz_dir().join(format!("fuzz_targets/{name}.rs")));
            assert!(file.unwrap().contains(&format!("fuzz_harness::{name}::run(data)")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            let seeds = files_in(&fuzz_dir().join("corpus").join(name)).unwrap();
            assert!(seeds.len() >= 5, "{name} has {} seeds", seeds.len());
            assert!(!(target.dictionary)().is_empty(), "{name}");
        }
    }
}
