//! What looks wrong, though it can be run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    fs, iter,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use mirror_core::{
    notice::Kind as EntryKind,
    path::{Escaped, TreePath},
    plan::{
        options::DeletePolicy,
        target::{Target, TargetPath},
    },
    queue::Pace,
    settings::keys,
};

use super::{Subject, options, patterns, programs, shown, tunnels, watches};
use crate::{
    config::{Daemon, Kind, Setup, Sync, place},
    report::Mode,
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
    found.extend(misread_targets(syncs));
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

/// A sync, and where its target is.
struct Place<'a> {
    sync: &'a Sync,
    target: Spot,
}

/// Where a target is.
enum Spot {
    /// On this machine.
    Here(PathBuf),
    /// On the machine of this name: there, or from a home there.
    There(Vec<u8>, PathBuf),
    /// Reached in another way.
    Elsewhere,
}

impl Spot {
    fn new(target: &OsStr, top: &Path) -> Self {
        if !place::is_remote(target) {
            // Those that can't be looked up were refused.
            return place::resolve(&top.join(target)).map_or(Self::Elsewhere, Self::Here);
        }
        let Ok(target) = Target::new(target.as_bytes()) else { return Self::Elsewhere };
        if target.is_module() {
            return Self::in_module(target.word());
        }
        let Some(host) = target.host() else { return Self::Elsewhere };
        let machine = host.rsplit(|&byte| byte == b'@').next().unwrap_or(host).to_ascii_lowercase();
        match target.path() {
            TargetPath::Absolute(path) if is_here(&machine) => {
                let path = Path::new(OsStr::from_bytes(path));
                place::resolve(path).map_or(Self::Elsewhere, Self::Here)
            }
            TargetPath::Absolute(path) => Self::There(machine, plain(path)),
            // In the home of that user.
            TargetPath::Relative(path) => Self::There(host.to_ascii_lowercase(), plain(path)),
            TargetPath::Unknown => Self::Elsewhere,
        }
    }

    /// In a module of a daemon: `rsync://HOST:PORT/MODULE/PATH` or `HOST::MODULE/PATH`.
    fn in_module(word: &[u8]) -> Self {
        let text = String::from_utf8_lossy(word);
        let parts = match text.strip_prefix("rsync://") {
            Some(rest) => rest.split_once('/'),
            None => text.split_once("::"),
        };
        let Some((host, path)) = parts else { return Self::Elsewhere };
        let host = host.rsplit('@').next().unwrap_or(host).to_ascii_lowercase();
        let host = host.strip_suffix(":873").unwrap_or(&host);
        Self::There(format!("{host}::").into_bytes(), plain(path.as_bytes()))
    }

    /// The way from here to another one that lies in it. Empty if they are one.
    fn to<'a>(&self, other: &'a Self) -> Option<&'a Path> {
        match (self, other) {
            (Self::Here(outer), Self::Here(inner)) => inner.strip_prefix(outer).ok(),
            (Self::There(host, outer), Self::There(its, inner)) if host == its => {
                inner.strip_prefix(outer).ok()
            }
            _ => None,
        }
    }
}

/// Whether this name is always one of this machine.
fn is_here(machine: &[u8]) -> bool {
    matches!(machine, b"localhost" | b"127.0.0.1" | b"[::1]")
}

/// A path without what leads nowhere, as far as its words tell.
fn plain(path: &[u8]) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(path)).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

impl<'a> Place<'a> {
    fn of_all(mode: Mode, here: &Path, syncs: &'a [Sync]) -> Vec<Self> {
        let top = match mode {
            Mode::Daemon => Path::new("/"),
            Mode::Foreground => here,
        };
        // What a target means to a script is its own business.
        let of_ours = syncs.iter().filter(|sync| sync.script.is_none());
        of_ours.map(|sync| Self { sync, target: Spot::new(&sync.target, top) }).collect()
    }

    fn name(&self) -> &str {
        &self.sync.name
    }

    fn deletes(&self) -> bool {
        self.sync.delete != DeletePolicy::Never
    }

    fn has_same_target(&self, other: &Self) -> bool {
        let way = self.target.to(&other.target);
        way.map_or(self.sync.target == other.sync.target, |way| way.as_os_str().is_empty())
    }

    /// Where in its target that of another lies, if this sync would delete there.
    fn deletes_in(&self, other: &Self) -> Option<TreePath> {
        let below = self.target.to(&other.target)?;
        let below = TreePath::new(below.as_os_str().as_bytes()).filter(|path| !path.is_root())?;
        let is_kept = self.sync.filter.protects(&below, EntryKind::Directory);
        (self.deletes() && !is_kept).then_some(below)
    }

    /// Whether it writes into what it reads.
    fn feeds_itself(&self) -> bool {
        let is_inside = |target: &Path| target.starts_with(&self.sync.source);
        matches!(&self.target, Spot::Here(target) if is_inside(target)) && self.feeds(self)
    }

    /// Whether what this sync writes is what the other one reads.
    fn feeds(&self, other: &Self) -> bool {
        let (Spot::Here(target), source) = (&self.target, &other.sync.source) else { return false };
        let Ok(below) = target.strip_prefix(source) else { return source.starts_with(target) };
        let below = TreePath::new(below.as_os_str().as_bytes());
        !below.is_some_and(|below| other.sync.filter.excludes(&below, EntryKind::Directory))
    }
}

fn targets(places: &[Place<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, one) in places.iter().enumerate() {
        for two in places.get(at + 1..).unwrap_or_default() {
            found.extend(collision(one, two));
        }
    }
    // One that is written as a path was refused.
    found.extend(places.iter().filter(|place| place.feeds_itself()).map(|place| {
        format!("{}: its target lies in its source: each change goes round and round", place.name())
    }));
    found.extend(circles(places));
    found
}

/// Three syncs or more of which each writes what the next one reads.
fn circles(places: &[Place<'_>]) -> Vec<String> {
    let fed = |one: &Place<'_>| {
        let others = places.iter().enumerate();
        others.filter(|(_, two)| one.feeds(two)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let fed: Vec<_> = places.iter().map(fed).collect();
    let circles = (0..places.len()).filter_map(|start| circle(start, &fed));
    let told = circles.filter(|circle| circle.len() > 2).map(|circle| {
        let names = names_of(circle.iter().filter_map(|&at| Some(places.get(at)?.sync)));
        format!(
            "{names}: each writes what the next one mirrors, and the last one what the first \
                 does: each change goes round and round"
        )
    });
    told.collect()
}

/// The shortest way from `start` back to it that leads only to what comes behind it.
fn circle(start: usize, fed: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &next in fed.get(at)? {
            if next == start && at != start {
                let back = iter::successors(Some(at), |at| from.get(at).copied());
                let mut circle: Vec<_> = back.collect();
                circle.reverse();
                return Some(circle);
            }
            if next > start && !from.contains_key(&next) {
                from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Targets that mean something else to rsync than to who wrote them.
fn misread_targets(syncs: &[Sync]) -> Vec<String> {
    that_call(syncs).filter_map(misread_target).collect()
}

fn misread_target(sync: &Sync) -> Option<String> {
    let target = sync.target.as_bytes();
    let (name, shown) = (&sync.name, Escaped(target));
    let (host, rest) = target.split_at_checked(target.iter().position(|&byte| byte == b':')?)?;
    let rest = rest.get(1..)?;
    if host.contains(&b'/') || host.contains(&b'[') || host.eq_ignore_ascii_case(b"rsync") {
        return None;
    }
    let host = Escaped(host);
    if rest.starts_with(b"//") && !shown.0.contains(&b'@') {
        return Some(format!(
            "{name}: to rsync, the target '{shown}' is a directory on the machine {host}: write \
             HOST:DIRECTORY for ssh, or rsync://HOST/MODULE for a daemon of rsync"
        ));
    }
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    (digits > 0 && rest.get(digits) == Some(&b':')).then(|| {
        let port = Escaped(rest.get(..digits).unwrap_or_default());
        let write = if sync.kind == Kind::Rsyncssh {
            format!("ssh = {{ port = {port} }}")
        } else {
            format!("rsync = {{ rsh = \"ssh -p {port}\" }}")
        };
        format!(
            "{name}: the target '{shown}' is a directory that begins with {port}: on the machine \
             {host}; if a port is meant, write {write}"
        )
    })
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
        } else if path.is_dir() {
            found.push(format!("{name}: {} is a directory: name a file in it", shown(path)));
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
