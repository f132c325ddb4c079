//! `-check`: what a command line or a configuration file would do, in words.
//!
//! Nothing is started, written or reached, except that rsync is asked for its version, and that
//! `-try` asks the targets.

mod programs;
mod repeated;
mod words;

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::{
    path::{Escaped, TreePath},
    plan::{
        rsync::{Call, DeletePolicy, Deletions, Phase, RsyncPlan},
        target::Target,
    },
    queue::Pace,
};

use crate::setup::{Daemon, Kind, Setup, Sync, place::is_remote};

/// What is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What would be run.
    pub setup: &'a Setup,
    /// The configuration file, if it was one.
    pub file: Option<&'a Path>,
    /// What was found odd already.
    pub warnings: &'a [String],
    /// Whether the targets are to be reached.
    pub reach: bool,
}

/// What there is to say of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What would be done, and what looks wrong.
    pub text: String,
    /// Targets that can't be reached.
    pub errors: Vec<String>,
}

impl Report {
    /// Looks at a subject.
    #[must_use]
    pub fn of(subject: Subject<'_>) -> Self {
        let mut report = Self::default();
        for sync in &subject.setup.syncs {
            describe(&mut report.text, sync);
        }
        for warning in subject.warnings.iter().cloned().chain(warnings(subject)) {
            // Writing to a text can't fail.
            let _ = writeln!(report.text, "Warning: {warning}");
        }
        if subject.reach {
            let tried = subject.setup.syncs.iter().map(programs::try_target);
            report.errors.extend(tried.filter_map(Result::err));
        }
        if report.errors.is_empty() {
            report.text += "OK\n";
        }
        report
    }
}

fn describe(text: &mut String, sync: &Sync) {
    let kind = match sync.kind {
        Kind::Rsync => "default.rsync",
        Kind::Rsyncssh => "default.rsyncssh",
        Kind::Direct => "default.direct",
    };
    let mut lines = vec![
        ("source", format!("{}/", shown(&sync.source).trim_end_matches('/'))),
        ("target", Escaped(sync.target.as_bytes()).to_string()),
        ("delay", delay(sync.pace)),
        ("delete", delete(sync.delete).to_owned()),
        ("init", if sync.init { "a full transfer" } else { "none" }.to_owned()),
        ("insist", if sync.insist { "yes" } else { "no" }.to_owned()),
    ];
    let limit = sync.batch_size_limit.map(|limit| ("batchSizeLimit", format!("{limit} bytes")));
    lines.extend(limit);
    lines.extend(sync.crontab.iter().map(|rule| ("crontab", rule.to_string())));
    let listed = |texts: &[Vec<u8>]| -> Vec<String> {
        texts.iter().map(|text| Escaped(text).to_string()).collect()
    };
    lines.extend(listed(&sync.exclusions.filters).into_iter().map(|rule| ("filter", rule)));
    lines.extend(listed(&sync.exclusions.excludes).into_iter().map(|rule| ("exclude", rule)));
    // Writing to a text can't fail, here and below.
    let _ = writeln!(text, "{}: {kind}", sync.name);
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<8} {value}");
    }
    describe_calls(text, sync);
    text.push('\n');
}

fn describe_calls(text: &mut String, sync: &Sync) {
    let Ok(target) = Target::new(sync.target.as_bytes()) else { return };
    if sync.kind == Kind::Direct {
        *text += "  carried out by this program, without others\n";
        return;
    }
    let plan = RsyncPlan::new(sync.rsync.clone(), sync.source.as_os_str().as_bytes(), target);
    let example: Vec<TreePath> = TreePath::new(b"NAME").into_iter().collect();
    let mut tell = |what: &str, call: &Call| {
        let binary = sync.binary.as_bytes().to_vec();
        let line = words::line(std::iter::once(binary).chain(call.args.iter().cloned()));
        let _ = writeln!(text, "  {what}\n    {line}");
        if let Some(stdin) = &call.stdin {
            for line in stdin.split(|&byte| byte == b'\n' || byte == 0).filter(|l| !l.is_empty()) {
                let _ = writeln!(text, "    < {}", Escaped(line));
            }
        }
    };
    if sync.init {
        tell("at the start", &plan.full(Phase::Startup, Deletions::Allowed, &[]));
    }
    tell("for what changed or is gone", &plan.list(&example, &[]));
    tell("for new directories", &plan.trees(&example, Deletions::Allowed, &[]));
}

fn delay(pace: Pace) -> String {
    match pace {
        Pace::Fixed { delay, max_waiting } => {
            format!("{} s, or {max_waiting} changes", delay.as_secs_f64())
        }
        Pace::Quiet { quiet, ceiling } => {
            let (quiet, ceiling) = (quiet.as_secs_f64(), ceiling.as_secs_f64());
            format!("{quiet} s after the last change, at most {ceiling} s")
        }
    }
}

const fn delete(policy: DeletePolicy) -> &'static str {
    match policy {
        DeletePolicy::Never => "never",
        DeletePolicy::Always => "always",
        DeletePolicy::Startup => "at the start only",
        DeletePolicy::Running => "after the start only",
    }
}

/// What looks wrong.
fn warnings(subject: Subject<'_>) -> Vec<String> {
    let Setup { daemon, syncs } = subject.setup;
    let mut found = Vec::new();
    found.extend(subject.file.into_iter().flat_map(repeated_keys));
    found.extend(same_targets(syncs));
    let mut binaries: Vec<_> = syncs
        .iter()
        .filter(|sync| sync.kind != Kind::Direct)
        .map(|sync| sync.binary.as_os_str())
        .collect();
    binaries.sort_unstable();
    binaries.dedup();
    found.extend(binaries.into_iter().filter_map(programs::odd_rsync));
    found.extend(own_files(daemon, syncs));
    let remote = syncs.iter().filter(|sync| is_remote(&sync.target));
    let risky: Vec<&str> = remote.filter(|sync| !sync.insist).map(|sync| &*sync.name).collect();
    if !risky.is_empty() {
        let names = risky.join(", ");
        found.push(format!(
            "{names}: the target is on another machine, and insist is not set: if it can't be \
             reached at the start, the daemon ends"
        ));
    }
    found
}

fn repeated_keys(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let found = repeated::repeated_keys(&text).into_iter().map(|repeated| {
        let repeated::Repeated { key, first, again } = repeated;
        let file = shown(file);
        format!("{file}:{again}: {key} is written again, it stands in line {first} already: the last one wins")
    });
    found.collect()
}

fn same_targets(syncs: &[Sync]) -> Vec<String> {
    let mut first: HashMap<_, &str> = HashMap::new();
    let mut found = Vec::new();
    for sync in syncs {
        if let Some(other) = first.insert(&sync.target, &sync.name) {
            let target = Escaped(sync.target.as_bytes());
            found.push(format!(
                "{other} and {} have the same target {target}: each deletes what the other brings",
                sync.name
            ));
        }
    }
    found
}

/// Files of our own that can't be written, or that lie in what is watched.
fn own_files(daemon: &Daemon, syncs: &[Sync]) -> Vec<String> {
    let files = [
        ("logfile", &daemon.logfile),
        ("pidfile", &daemon.pidfile),
        ("statusFile", &daemon.status_file),
    ];
    let mut found = Vec::new();
    for (name, path) in files {
        let Some(path) = path else { continue };
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        if !directory.is_dir() {
            found.push(format!("{name}: there is no directory {}", shown(&directory)));
        }
        found.extend(syncs.iter().filter(|sync| holds(&sync.source, &directory)).map(|sync| {
            let (path, source) = (shown(path), shown(&sync.source));
            format!("{name}: {path} lies in the source {source}, and is mirrored with it")
        }));
    }
    found
}

fn holds(source: &Path, directory: &PathBuf) -> bool {
    fs::canonicalize(directory).is_ok_and(|directory| directory.starts_with(source))
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}
