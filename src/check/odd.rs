//! What looks wrong, though it can be run.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::{
    notice::Kind as EntryKind,
    path::{Escaped, TreePath},
    plan::options::DeletePolicy,
    queue::Pace,
    settings::keys,
};

use super::{Subject, options, patterns, programs, shown, tunnels, watches};
use crate::{
    report::Mode,
    setup::{Daemon, Kind, Setup, Sync, place},
};

/// All that looks wrong.
pub(super) fn warnings(subject: Subject<'_>) -> Vec<String> {
    let Setup { daemon, syncs, .. } = subject.setup;
    let mut found = at_start(subject.setup, subject.files, subject.here);
    let binaries = binaries(syncs).into_iter();
    // One that is missing is told already.
    found.extend(
        binaries.filter(|it| programs::missing(it).is_none()).filter_map(programs::odd_rsync),
    );
    found.extend(own_files(daemon, syncs));
    found.extend(watches::too_many(subject.setup, subject.can_mark));
    found.extend(remote(syncs));
    found.extend(tunnels::odd(subject.setup));
    found
}

/// What looks wrong, as far as it is found without work.
pub(super) fn at_start(setup: &Setup, files: &[PathBuf], here: &Path) -> Vec<String> {
    let Setup { daemon, syncs, .. } = setup;
    let mut found = Vec::new();
    found.extend(files.iter().flat_map(|file| repeated_keys(file)));
    found.extend(names(syncs));
    found.extend(targets(&Place::of_all(daemon.mode, here, syncs)));
    found.extend(syncs.iter().flat_map(options::odd));
    found.extend(syncs.iter().flat_map(patterns::that_never_match));
    found.extend(syncs.iter().flat_map(patterns::that_are_misread));
    found.extend(missing_programs(syncs));
    found
}

/// The syncs that call a program in the place of rsync.
fn that_call(syncs: &[Sync]) -> impl Iterator<Item = &Sync> {
    syncs
        .iter()
        .filter(|sync| matches!(sync.kind, Kind::Rsync | Kind::Rsyncssh) && sync.script.is_none())
}

/// These programs.
fn binaries(syncs: &[Sync]) -> BTreeSet<&OsStr> {
    that_call(syncs).map(|sync| sync.binary.as_os_str()).collect()
}

/// Those that are not there.
fn missing_programs(syncs: &[Sync]) -> Vec<String> {
    let told = |binary| {
        let why = programs::missing(binary)?;
        let whose = that_call(syncs).filter(|sync| sync.binary == binary);
        Some(format!("{}: {why}", names_of(whose)))
    };
    binaries(syncs).into_iter().filter_map(told).collect()
}

fn names_of<'a>(syncs: impl Iterator<Item = &'a Sync>) -> String {
    syncs.map(|sync| &*sync.name).collect::<Vec<_>>().join(", ")
}

/// Names that several syncs have.
fn names(syncs: &[Sync]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again: BTreeSet<&str> =
        syncs.iter().map(|sync| &*sync.name).filter(|name| !seen.insert(*name)).collect();
    again
        .into_iter()
        .map(|name| {
            format!(
                "{name}: several syncs have the name {name}: the log and the status can't tell \
                 which is meant"
            )
        })
        .collect()
}

fn repeated_keys(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let found = keys::repeated_keys(&text).into_iter().map(|repeated| {
        let keys::Repeated { key, first, again } = repeated;
        let (file, key) = (shown(file), Escaped(key.as_bytes()));
        format!(
            "{file}:{again}: {key} is written again, it stands in line {first} already: the last \
             one wins"
        )
    });
    found.collect()
}

/// A sync, and where on this machine its target is.
struct Place<'a> {
    sync: &'a Sync,
    /// `None` for a target that is reached through a program or the network.
    target: Option<PathBuf>,
}

impl<'a> Place<'a> {
    fn of_all(mode: Mode, here: &Path, syncs: &'a [Sync]) -> Vec<Self> {
        let top = match mode {
            Mode::Daemon => Path::new("/"),
            Mode::Foreground => here,
        };
        // What a target means to a script is its own business.
        let of_ours = syncs.iter().filter(|sync| sync.script.is_none());
        let target = |sync: &Sync| {
            let is_remote = place::is_remote(&sync.target);
            // Those that can't be looked up were refused.
            if is_remote { None } else { place::resolve(&top.join(&sync.target)).ok() }
        };
        of_ours.map(|sync| Self { sync, target: target(sync) }).collect()
    }

    fn name(&self) -> &str {
        &self.sync.name
    }

    fn deletes(&self) -> bool {
        self.sync.delete != DeletePolicy::Never
    }

    fn has_same_target(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.sync.target == other.sync.target,
            _ => false,
        }
    }

    /// Where in its target that of another lies, if this sync would delete there.
    fn deletes_in(&self, other: &Self) -> Option<TreePath> {
        let below = other.target.as_ref()?.strip_prefix(self.target.as_ref()?).ok()?;
        let below = TreePath::new(below.as_os_str().as_bytes()).filter(|path| !path.is_root())?;
        let is_kept = self.sync.filter.protects(&below, EntryKind::Directory);
        (self.deletes() && !is_kept).then_some(below)
    }

    /// Whether what this sync writes is what the other one reads.
    fn feeds(&self, other: &Self) -> bool {
        self.target.as_ref().is_some_and(|target| {
            target.starts_with(&other.sync.source) || other.sync.source.starts_with(target)
        })
    }
}

fn targets(places: &[Place<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, one) in places.iter().enumerate() {
        for two in places.get(at + 1..).unwrap_or_default() {
            found.extend(collision(one, two));
        }
    }
    found
}

fn collision(one: &Place<'_>, two: &Place<'_>) -> Option<String> {
    let names = format!("{} and {}", one.name(), two.name());
    if one.has_same_target(two) {
        let target = Escaped(one.sync.target.as_bytes());
        let what = if one.deletes() || two.deletes() {
            "what the one brings the other deletes"
        } else {
            "of files with one name the last one wins"
        };
        return Some(format!("{names} have the same target {target}: {what}"));
    }
    for (outer, inner) in [(one, two), (two, one)] {
        if let Some(below) = outer.deletes_in(inner) {
            let target = Escaped(outer.sync.target.as_bytes());
            return Some(format!(
                "{}: its target lies in the target {target} of {}, which deletes what its own \
                 source does not have: exclude {below} there",
                inner.name(),
                outer.name()
            ));
        }
    }
    let in_a_circle = one.feeds(two) && two.feeds(one);
    in_a_circle.then(|| format!("{names} mirror each other: each change goes round and round"))
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
        found.extend(syncs.iter().filter(|sync| mirrors(sync, path)).map(|sync| {
            let (path, source) = (shown(path), shown(&sync.source));
            format!("{name}: {path} lies in the source {source}, and is mirrored with it")
        }));
    }
    found
}

fn mirrors(sync: &Sync, path: &Path) -> bool {
    let Ok(resolved) = place::resolve(path) else { return false };
    let Ok(below) = resolved.strip_prefix(&sync.source) else { return false };
    let below = TreePath::new(below.as_os_str().as_bytes());
    below.is_some_and(|below| !sync.filter.excludes(&below, EntryKind::Other))
}

/// What is only odd if the target is on another machine.
fn remote(syncs: &[Sync]) -> Vec<String> {
    let names = |odd: &dyn Fn(&Sync) -> bool| {
        let odd = syncs.iter().filter(|sync| place::is_remote(&sync.target) && odd(sync));
        let names = names_of(odd);
        (!names.is_empty()).then_some(names)
    };
    let hasty = names(&|sync| matches!(sync.pace, Pace::Fixed { delay, .. } if delay.is_zero()));
    let faint = names(&|sync| sync.init && !sync.insists());
    let hasty = hasty.map(|names| {
        format!(
            "{names}: the target is on another machine, and delay is 0: each change is a \
             transfer of its own; leave delay out, or set it to 1"
        )
    });
    let faint = faint.map(|names| {
        format!(
            "{names}: the target is on another machine, and insist is not set: if it can't be \
             reached at the start, the daemon ends"
        )
    });
    hasty.into_iter().chain(faint).collect()
}

#[cfg(test)]
pub(super) mod tests;
