//! Short description of a configuration for `-check`: a line for each sync, equal ones together.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt};

use mirror_core::path::Escaped;

use super::{describe, shell_line, shown};
use crate::config::{DaemonConfig, SyncConfig, SyncKind};

/// Maximum number of further targets that are all listed.
const MAX_LISTED: usize = 3;

/// Letters of rsync options that are the default.
const DEFAULT_SHORT: &[u8] = b"lts";

/// Appends the settings of the whole process.
pub(super) fn daemon(text: &mut String, daemon: &DaemonConfig) {
    let settings = describe::daemon_settings(daemon);
    let settings = settings.iter().filter(|setting| **setting != ("watch", "auto".to_owned()));
    let settings = settings.map(|(name, value)| format!("; {name} {value}"));
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(text, "{}{}", describe::daemon_title(daemon), settings.collect::<String>());
}

/// Appends a line for each sync. Those that differ only in name and target are one.
pub(super) fn syncs(text: &mut String, syncs: &[SyncConfig]) {
    let mut groups: Vec<SyncGroup<'_>> = Vec::new();
    for sync in syncs {
        let (kind, settings) = (describe::kind(sync), noteworthy(sync));
        let is_equal = |group: &&mut SyncGroup<'_>| {
            (group.first.kind, &group.first.source) == (sync.kind, &sync.source)
                && (&group.kind, &group.settings) == (&kind, &settings)
        };
        match groups.iter_mut().find(is_equal) {
            Some(group) => group.others.push(sync),
            None => groups.push(SyncGroup { first: sync, kind, settings, others: Vec::new() }),
        }
    }
    for group in &groups {
        group.write(text);
    }
}

/// Syncs that differ only in name and target.
struct SyncGroup<'a> {
    first: &'a SyncConfig,
    kind: String,
    /// Settings that differ from the default.
    settings: String,
    others: Vec<&'a SyncConfig>,
}

impl SyncGroup<'_> {
    fn write(&self, text: &mut String) {
        let Self { first, kind, settings, others } = self;
        let source = shown(&first.source);
        let _ = write!(text, "{}: {kind} {}/", first.name, source.trim_end_matches('/'));
        if !first.target.is_empty() {
            let _ = write!(text, " -> {}", target(first));
        }
        if !settings.is_empty() {
            let _ = write!(text, " ({settings})");
        }
        let targets: Vec<String> = others.iter().map(|sync| target(sync)).collect();
        let to = match &*targets {
            [] => String::new(),
            all if all.iter().all(String::is_empty) => String::new(),
            all if all.len() <= MAX_LISTED => format!(", to {}", all.join(", ")),
            [second, .., last] => format!(", to {second} … {last}"),
            [only] => format!(", to {only}"),
        };
        if !others.is_empty() {
            let _ = write!(text, "\n  and {} more like it{to}", others.len());
        }
        text.push('\n');
    }
}

fn target(sync: &SyncConfig) -> String {
    Escaped(sync.target.as_bytes()).to_string()
}

/// Lists the settings that differ from the default.
fn noteworthy(sync: &SyncConfig) -> String {
    let (name, target) = (sync.name.clone(), sync.target.clone());
    let plain = SyncConfig::new(name, sync.kind, sync.source.clone(), target);
    let usual = describe::settings(&plain);
    let mut settings = describe::settings(sync);
    settings.retain(|setting| !usual.contains(setting));
    if matches!(sync.kind, SyncKind::Rsync | SyncKind::Rsyncssh) && sync.script.is_none() {
        settings.extend(rsync_options(sync).map(|options| ("rsync", options)));
    }
    let mut parts: Vec<String> = Vec::new();
    let mut rest = &*settings;
    while let [(name, value), more @ ..] = rest {
        // Such as many excludes.
        let same = more.iter().take_while(|(other, _)| other == name).count();
        let others = if same > 0 { format!(" and {same} more") } else { String::new() };
        parts.push(format!("{name} {value}{others}"));
        rest = more.get(same..).unwrap_or_default();
    }
    parts.join("; ")
}

/// Returns the options of rsync, if they differ from the default.
fn rsync_options(sync: &SyncConfig) -> Option<String> {
    let options = &sync.rsync;
    let short = (options.short != DEFAULT_SHORT).then(|| [b"-", &*options.short].concat());
    let args: Vec<Vec<u8>> =
        short.into_iter().chain(options.extra.iter().chain(&options.long).cloned()).collect();
    (!args.is_empty()).then(|| shell_line::join_quoted(args.iter().map(Vec::as_slice)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mirror_core::queue::Debounce;

    use super::*;

    fn sync(name: &str, kind: SyncKind, target: &str) -> SyncConfig {
        let mut sync = SyncConfig::new(name.into(), kind, "/src".into(), target.into());
        sync.rsync.short = DEFAULT_SHORT.to_vec();
        sync
    }

    fn summary(all: &[SyncConfig]) -> String {
        let mut text = String::new();
        syncs(&mut text, all);
        text
    }

    #[test]
    fn a_sync_is_a_line_with_its_unusual_settings() {
        let plain = sync("a", SyncKind::Direct, "/dst/");
        let mut other = sync("b", SyncKind::Rsync, "host:/dst/");
        let delay = Duration::from_secs(3);
        other.debounce = Debounce::FixedDelay { delay, max_waiting: 1000 };
        other.exclusions.excludes = vec![b"*.tmp".to_vec(), b"b".to_vec(), b"c".to_vec()];
        other.rsync.long = vec![b"--bwlimit=5".to_vec()];
        assert_eq!(
            summary(&[plain, other]),
            "a: default.direct /src/ -> /dst/\n\
             b: default.rsync /src/ -> host:/dst/ (delay 3 s, or 1000 changes; exclude *.tmp and 2 \
             more; rsync --bwlimit=5)\n"
        );
    }

    #[test]
    fn equal_syncs_are_one_line() {
        let to = |number: usize| {
            sync(&format!("Sync{number}"), SyncKind::Rsync, &format!("host{number}:/dst/"))
        };
        let all: Vec<_> = (1..=99).map(to).collect();
        let first = "Sync1: default.rsync /src/ -> host1:/dst/\n";
        let folded = format!("{first}  and 98 more like it, to host2:/dst/ … host99:/dst/\n");
        assert_eq!(summary(&all), folded);
        let few = format!("{first}  and 2 more like it, to host2:/dst/, host3:/dst/\n");
        assert_eq!(summary(&all[..3]), few);
        assert_eq!(summary(&all[..1]), first);
        let mut other = to(2);
        other.durable = true;
        assert_eq!(summary(&[to(1), other]).lines().count(), 2);
    }
}
