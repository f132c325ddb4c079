//! `-check`: what a command line or a configuration file would do, in words.
//!
//! Nothing is started, written or reached, except that rsync is asked for its version, and that
//! `-try` asks the targets.

mod describe;
mod odd;
mod options;
mod patterns;
mod programs;
mod tunnels;
mod watches;
mod words;

use std::{
    fmt::Write as _,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::path::Escaped;

use crate::{
    config::{Places, Setup},
    report::Mode,
};

/// What is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What would be run.
    pub setup: &'a Setup,
    /// The files that were run for it.
    pub files: &'a [PathBuf],
    /// The directory from which relative paths count.
    pub here: &'a Path,
    /// Where the syncs stand.
    pub places: &'a Places,
    /// What was found odd already.
    pub warnings: &'a [String],
    /// Whether the targets are to be reached.
    pub reach: bool,
    /// Whether the file system of a directory can be watched as a whole.
    pub can_mark: fn(&Path) -> bool,
}

/// What there is to say of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What would be done, and what looks wrong.
    pub text: String,
    /// How many warnings are in it.
    pub warnings: usize,
    /// Targets that can't be reached.
    pub errors: Vec<String>,
}

impl Report {
    /// Looks at a subject.
    #[must_use]
    pub fn of(subject: Subject<'_>) -> Self {
        let mut report = Self::default();
        describe::daemon(&mut report.text, &subject.setup.daemon);
        for sync in &subject.setup.syncs {
            describe::sync(&mut report.text, sync);
        }
        let found = odd::warnings(subject).into_iter().map(|text| subject.places.located(text));
        for warning in subject.warnings.iter().cloned().chain(found) {
            report.warnings += 1;
            // Writing to a text can't fail.
            let _ = writeln!(report.text, "Warning: {warning}");
        }
        if subject.reach {
            let here = match subject.setup.daemon.mode {
                Mode::Daemon => Path::new("/"),
                Mode::Foreground => subject.here,
            };
            for sync in &subject.setup.syncs {
                if sync.tunnel.is_some() {
                    let target = Escaped(sync.target.as_bytes());
                    let name = &sync.name;
                    let text = format!("{name}: its tunnel is not up, so {target} was not tried");
                    let _ = writeln!(report.text, "{text}");
                } else {
                    report.errors.extend(programs::try_target(sync, here).err());
                }
            }
        }
        if report.errors.is_empty() {
            report.text += "OK\n";
        }
        report
    }
}

/// What looks wrong about what is about to be run, as far as it is found without work: the daemon
/// says it when it starts.
#[must_use]
pub fn warnings_at_start(
    setup: &Setup,
    files: &[PathBuf],
    here: &Path,
    places: &Places,
) -> Vec<String> {
    let found = odd::at_start(setup, files, here);
    found.into_iter().map(|text| places.located(text)).collect()
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}
