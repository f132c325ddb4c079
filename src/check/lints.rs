//! Lints: settings that are valid and probably wrong.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    iter,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use mirror_core::{
    fs_event::EntryKind,
    path::{Escaped, TreePath},
    plan::{
        options::DeletePolicy,
        target::{Target, TargetPath, strip_url},
    },
    queue::Debounce,
};
use mirror_platform::answers::within_limit;

use super::{
    CheckInput, duplicate_keys, patterns, programs, rsync_options, shown, tunnels, watch_limit,
};
use crate::{
    config::{Config, DaemonConfig, SyncConfig, SyncKind, target_path},
    report::RunMode,
};

pub(super) fn warnings(input: CheckInput<'_>) -> Vec<String> {
    let Config { daemon, syncs, .. } = input.config;
    let mut found = at_start(input.config, input.files, input.start_dir);
    let rsync_programs = rsync_programs(syncs).into_iter();
    // `at_start` has reported missing programs.
    found.extend(
        rsync_programs
            .filter(|it| programs::missing_warning(it).is_none())
            .filter_map(programs::rsync_warning),
    );
    found.extend(daemon_files(daemon, syncs));
    found.extend(watch_limit::warning(input.config, input.can_watch_file_system));
    found.extend(remote_targets(syncs));
    found.extend(tunnels::warnings(input.config));
    found
}

/// Returns the warnings that are cheap enough for each start.
pub(super) fn at_start(config: &Config, files: &[PathBuf], start_dir: &Path) -> Vec<String> {
    let Config { daemon, syncs, .. } = config;
    let mut found = Vec::new();
    found.extend(files.iter().flat_map(|file| duplicate_keys::warnings(file)));
    found.extend(duplicate_names(syncs));
    found.extend(targets(&LocatedSync::all(daemon.mode, start_dir, syncs)));
    found.extend(misread_targets(syncs));
    found.extend(syncs.iter().flat_map(rsync_options::warnings));
    found.extend(syncs.iter().flat_map(patterns::never_matching));
    found.extend(syncs.iter().flat_map(patterns::misread));
    found.extend(missing_programs(syncs));
    found
}

/// Iterates over the syncs that run an rsync program.
fn calling_rsync(syncs: &[SyncConfig]) -> impl Iterator<Item = &SyncConfig> {
    syncs.iter().filter(|sync| {
        matches!(sync.kind, SyncKind::Rsync | SyncKind::Rsyncssh) && sync.script.is_none()
    })
}

/// Collects the programs that are run as rsync.
fn rsync_programs(syncs: &[SyncConfig]) -> BTreeSet<&OsStr> {
    calling_rsync(syncs).map(|sync| sync.binary.as_os_str()).collect()
}

/// Warns of programs that are not installed.
fn missing_programs(syncs: &[SyncConfig]) -> Vec<String> {
    let warnings = |binary| {
        let why = programs::missing_warning(binary)?;
        let users = calling_rsync(syncs).filter(|sync| sync.binary == binary);
        Some(format!("{}: {why}", names_of(users)))
    };
    rsync_programs(syncs).into_iter().filter_map(warnings).collect()
}

fn names_of<'a>(syncs: impl Iterator<Item = &'a SyncConfig>) -> String {
    syncs.map(|sync| &*sync.name).collect::<Vec<_>>().join(", ")
}

/// Warns of names that several syncs share.
fn duplicate_names(syncs: &[SyncConfig]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again: BTreeSet<&str> =
        syncs.iter().map(|sync| &*sync.name).filter(|name| !seen.insert(*name)).collect();
    again
        .into_iter()
        .map(|name| {
            format!(
                "{name}: several syncs have this name: the log and the status file cannot \
                 distinguish them"
            )
        })
        .collect()
}

/// A sync and the location of its target.
struct LocatedSync<'a> {
    sync: &'a SyncConfig,
    target: TargetLocation,
}

enum TargetLocation {
    /// Path on this machine.
    Local(PathBuf),
    /// Path on another machine. The key is the host for an absolute path, `user@host` for a path
    /// relative to a home, and `host::` for a module.
    Remote(Vec<u8>, PathBuf),
    /// Location that cannot be determined.
    Unknown,
}

impl TargetLocation {
    fn new(target: &OsStr, top: &Path) -> Self {
        if !target_path::is_remote(target) {
            // Targets that cannot be resolved are already refused, unless they do not answer.
            let resolved = within_limit(&top.join(target), target_path::resolve);
            return resolved.and_then(Result::ok).map_or(Self::Unknown, Self::Local);
        }
        let Ok(target) = Target::new(target.as_bytes()) else { return Self::Unknown };
        if target.is_module() {
            return Self::in_module(target.as_arg());
        }
        let Some(host) = target.host() else { return Self::Unknown };
        let machine = host.rsplit(|&byte| byte == b'@').next().unwrap_or(host).to_ascii_lowercase();
        match target.path() {
            TargetPath::Absolute(path) if is_this_machine(&machine) => {
                let path = Path::new(OsStr::from_bytes(path));
                target_path::resolve(path).map_or(Self::Unknown, Self::Local)
            }
            TargetPath::Absolute(path) => Self::Remote(machine, normalised(path)),
            // The path is relative to the home of that user.
            TargetPath::Relative(path) => Self::Remote(host.to_ascii_lowercase(), normalised(path)),
            TargetPath::Unknown => Self::Unknown,
        }
    }

    /// Parses a module of an rsync daemon: `rsync://HOST:PORT/MODULE/PATH` or `HOST::MODULE/PATH`.
    fn in_module(target: &[u8]) -> Self {
        let (target, separator) = match strip_url(target) {
            Some(target) => (target, "/"),
            None => (target, "::"),
        };
        let text = String::from_utf8_lossy(target);
        let parts = text.split_once(separator);
        let Some((host, path)) = parts else { return Self::Unknown };
        let host = host.rsplit('@').next().unwrap_or(host).to_ascii_lowercase();
        let host = host.strip_suffix(":873").unwrap_or(&host);
        Self::Remote(format!("{host}::").into_bytes(), normalised(path.as_bytes()))
    }

    /// Returns the path of `other` relative to this location, if it lies in it. Empty if both are
    /// equal.
    fn relative<'a>(&self, other: &'a Self) -> Option<&'a Path> {
        match (self, other) {
            (Self::Local(outer), Self::Local(inner)) => inner.strip_prefix(outer).ok(),
            (Self::Remote(host, outer), Self::Remote(other_host, inner)) if host == other_host => {
                inner.strip_prefix(outer).ok()
            }
            _ => None,
        }
    }
}

/// Returns true if this host name always means this machine.
fn is_this_machine(machine: &[u8]) -> bool {
    matches!(machine, b"localhost" | b"127.0.0.1" | b"[::1]")
}

/// Normalises a path lexically: removes `.` and resolves `..`.
fn normalised(path: &[u8]) -> PathBuf {
    let mut normalised = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(path)).components() {
        if part == Component::ParentDir && normalised.file_name().is_some() {
            normalised.pop();
        } else if part != Component::CurDir {
            normalised.push(part);
        }
    }
    normalised
}

impl<'a> LocatedSync<'a> {
    fn all(mode: RunMode, start_dir: &Path, syncs: &'a [SyncConfig]) -> Vec<Self> {
        let top = match mode {
            RunMode::Daemon => Path::new("/"),
            RunMode::Foreground => start_dir,
        };
        // A script may use its target in any way.
        let of_ours = syncs.iter().filter(|sync| sync.script.is_none());
        of_ours.map(|sync| Self { sync, target: TargetLocation::new(&sync.target, top) }).collect()
    }

    fn name(&self) -> &str {
        &self.sync.name
    }

    fn deletes(&self) -> bool {
        self.sync.delete != DeletePolicy::Never
    }

    fn has_same_target(&self, other: &Self) -> bool {
        let path = self.target.relative(&other.target);
        path.map_or(self.sync.target == other.sync.target, |path| path.as_os_str().is_empty())
    }

    /// Returns the path of the other target within this one, if this sync would delete there.
    fn deletes_in(&self, other: &Self) -> Option<TreePath> {
        let below = self.target.relative(&other.target)?;
        let below = TreePath::new(below.as_os_str().as_bytes()).filter(|path| !path.is_root())?;
        let is_kept = self.sync.filter.protects(&below, EntryKind::Directory);
        (self.deletes() && !is_kept).then_some(below)
    }

    /// Returns true if this sync writes into its own source.
    fn writes_into_own_source(&self) -> bool {
        let is_inside = |target: &Path| target.starts_with(&self.sync.source);
        matches!(&self.target, TargetLocation::Local(target) if is_inside(target))
            && self.writes_into_source_of(self)
    }

    /// Returns true if this sync writes into the source of the other one.
    fn writes_into_source_of(&self, other: &Self) -> bool {
        let (TargetLocation::Local(target), source) = (&self.target, &other.sync.source) else {
            return false;
        };
        let Ok(below) = target.strip_prefix(source) else { return source.starts_with(target) };
        let below = TreePath::new(below.as_os_str().as_bytes());
        !below.is_some_and(|below| other.sync.filter.excludes(&below, EntryKind::Directory))
    }
}

fn targets(located: &[LocatedSync<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, one) in located.iter().enumerate() {
        for two in located.get(at + 1..).unwrap_or_default() {
            found.extend(collision(one, two));
        }
    }
    // A target in its source that is given as a path is already refused.
    found.extend(located.iter().filter(|sync| sync.writes_into_own_source()).map(|sync| {
        format!("{}: its target is inside its source: endless sync loop", sync.name())
    }));
    found.extend(cycles(located));
    found
}

/// Warns of cycles of three or more syncs, each of which writes into the source of the next.
fn cycles(located: &[LocatedSync<'_>]) -> Vec<String> {
    let successors = |one: &LocatedSync<'_>| {
        let others = located.iter().enumerate();
        others
            .filter(|(_, two)| one.writes_into_source_of(two))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let successors: Vec<_> = located.iter().map(successors).collect();
    let cycles = (0..located.len()).filter_map(|start| cycle(start, &successors));
    let warnings = cycles.filter(|cycle| cycle.len() > 2).map(|cycle| {
        let names = names_of(cycle.iter().filter_map(|&at| Some(located.get(at)?.sync)));
        format!(
            "{names}: each writes into the source of the next one, and the last into that of the \
             first: endless sync loop"
        )
    });
    warnings.collect()
}

/// Returns the shortest cycle through `start` that has no index below `start`, so that each cycle
/// is found once.
fn cycle(start: usize, successors: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &next in successors.get(at)? {
            if next == start && at != start {
                let back = iter::successors(Some(at), |at| from.get(at).copied());
                let mut cycle: Vec<_> = back.collect();
                cycle.reverse();
                return Some(cycle);
            }
            if next > start && !from.contains_key(&next) {
                from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// Warns of targets that rsync parses differently from what was probably meant.
fn misread_targets(syncs: &[SyncConfig]) -> Vec<String> {
    calling_rsync(syncs).filter_map(misread_target).collect()
}

fn misread_target(sync: &SyncConfig) -> Option<String> {
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
            "{name}: rsync reads the target '{shown}' as a directory on the host {host}: write \
             HOST:DIRECTORY for ssh, or rsync://HOST/MODULE for an rsync daemon"
        ));
    }
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    (digits > 0 && rest.get(digits) == Some(&b':')).then(|| {
        let port = Escaped(rest.get(..digits).unwrap_or_default());
        let write = if sync.kind == SyncKind::Rsyncssh {
            format!("ssh = {{ port = {port} }}")
        } else {
            format!("rsync = {{ rsh = \"ssh -p {port}\" }}")
        };
        format!(
            "{name}: rsync reads the target '{shown}' as a directory that begins with '{port}:' on \
             the host {host}; if {port} is a port, write {write}"
        )
    })
}

fn collision(one: &LocatedSync<'_>, two: &LocatedSync<'_>) -> Option<String> {
    let names = format!("{} and {}", one.name(), two.name());
    if one.has_same_target(two) {
        let target = Escaped(one.sync.target.as_bytes());
        let effect = if one.deletes() || two.deletes() {
            "each deletes the other's files"
        } else {
            "each overwrites the other's files"
        };
        return Some(format!("{names} have the same target {target}: {effect}"));
    }
    for (outer, inner) in [(one, two), (two, one)] {
        if let Some(below) = outer.deletes_in(inner) {
            let target = Escaped(outer.sync.target.as_bytes());
            return Some(format!(
                "{}: its target is inside the target {target} of {}, which would delete it: \
                 exclude {below} there",
                inner.name(),
                outer.name()
            ));
        }
    }
    let is_mutual = one.writes_into_source_of(two) && two.writes_into_source_of(one);
    is_mutual.then(|| format!("{names} mirror each other: endless sync loop"))
}

/// Warns of files of the daemon that cannot be written, or that lie in a watched source.
fn daemon_files(daemon: &DaemonConfig, syncs: &[SyncConfig]) -> Vec<String> {
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
            found.push(format!("{name}: no such directory: {}", shown(&directory)));
        } else if path.is_dir() {
            found.push(format!("{name}: {} is a directory: name a file in it", shown(path)));
        }
        found.extend(syncs.iter().filter(|sync| mirrors(sync, path)).map(|sync| {
            let (path, source) = (shown(path), shown(&sync.source));
            format!("{name}: {path} is inside the source {source}, and is mirrored with it")
        }));
    }
    found
}

/// Returns the errors of a `stateDir` that is mirrored: each snapshot would cause a transfer, and
/// each transfer a snapshot.
pub(super) fn mirrored_state(config: &Config) -> Vec<String> {
    let Some(path) = &config.daemon.state_dir else { return Vec::new() };
    let mirroring = config.syncs.iter().filter(|sync| contains(sync, path, EntryKind::Directory));
    let errors = mirroring.map(|sync| {
        let (path, source) = (shown(path), shown(&sync.source));
        format!(
            "stateDir: {path} is inside the source {source} of {}, and would be mirrored with it: \
             name another directory, or exclude it there",
            sync.name
        )
    });
    errors.collect()
}

fn mirrors(sync: &SyncConfig, path: &Path) -> bool {
    contains(sync, path, EntryKind::Other)
}

/// Returns true if a path is in the source of this sync, and not excluded.
fn contains(sync: &SyncConfig, path: &Path, kind: EntryKind) -> bool {
    let Ok(resolved) = target_path::resolve(path) else { return false };
    let Ok(below) = resolved.strip_prefix(&sync.source) else { return false };
    let below = TreePath::new(below.as_os_str().as_bytes());
    below.is_some_and(|below| !sync.filter.excludes(&below, kind))
}

/// Warns of settings that are unsuitable for remote targets only.
fn remote_targets(syncs: &[SyncConfig]) -> Vec<String> {
    let names = |is_doubtful: &dyn Fn(&SyncConfig) -> bool| {
        let is_doubtful =
            syncs.iter().filter(|sync| target_path::is_remote(&sync.target) && is_doubtful(sync));
        let names = names_of(is_doubtful);
        (!names.is_empty()).then_some(names)
    };
    let without_delay = names(
        &|sync| matches!(sync.debounce, Debounce::FixedDelay { delay, .. } if delay.is_zero()),
    );
    let without_insist = names(&|sync| sync.init && !sync.retries_startup());
    let without_delay = without_delay.map(|names| {
        format!(
            "{names}: the target is remote and delay is 0, so each change causes a transfer of its \
             own: remove delay, or set it to 1"
        )
    });
    let without_insist = without_insist.map(|names| {
        format!(
            "{names}: the target is remote and insist is not set: the daemon exits if the target \
             is unreachable at the startup"
        )
    });
    without_delay.into_iter().chain(without_insist).collect()
}

#[cfg(test)]
pub(super) mod tests;
