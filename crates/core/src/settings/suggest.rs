//! Hints for unknown names.

use alloc::vec::Vec;

use super::{Setting, SettingsTable, SyncBase, of};

/// A hint for an unknown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameHint {
    /// The name is probably a misspelling of this one.
    DidYouMean(&'static str),
    /// The replacement: a sentence without a full stop.
    Instead(&'static str),
    /// The name belongs in this table.
    BelongsIn(&'static str),
}

/// Names that users tried, or that had a meaning once.
const KNOWN_MISTAKES: [(SettingsTable, &str, &str); 17] = [
    (SettingsTable::Settings, "delay", "write delay in each sync{}, or -delay on the command line"),
    (SettingsTable::Settings, "log", "write -log CATEGORY on the command line"),
    (SettingsTable::Settings, "monitor", "select the watch backend with -watch"),
    (SettingsTable::Settings, "stubborn", "write insist = true"),
    (SettingsTable::Settings, "exclude", "write exclude in each sync{}"),
    (SettingsTable::Settings, "rsync", "write rsync = {..} in each sync{}"),
    (
        SettingsTable::Sync,
        "rsyncOps",
        "write rsync = {..} with its options, such as archive = true",
    ),
    (
        SettingsTable::Sync,
        "rsyncOpts",
        "write rsync = {..} with its options, such as archive = true",
    ),
    (
        SettingsTable::Sync,
        "rsyncOptions",
        "write rsync = {..} with its options, such as archive = true",
    ),
    (SettingsTable::Sync, "log", "write -log CATEGORY on the command line"),
    (
        SettingsTable::Sync,
        "host",
        "host belongs to default.rsyncssh; for default.rsync write target = \"host:dir\"",
    ),
    (
        SettingsTable::Sync,
        "targetdir",
        "targetdir belongs to default.rsyncssh; for default.rsync write target = \"host:dir\"",
    ),
    (SettingsTable::Sync, "target", "default.rsyncssh has host and targetdir instead"),
    (
        SettingsTable::Rsync,
        "delete",
        "write delete next to rsync, not in it: sync{ .., delete = true, rsync = {..} }",
    ),
    (
        SettingsTable::Rsync,
        "exclude",
        "write exclude next to rsync, not in it: sync{ .., exclude = {..} }",
    ),
    (
        SettingsTable::Rsync,
        "ssh",
        "write rsh = \"ssh ..\" here, or use default.rsyncssh with ssh = {..}",
    ),
    (SettingsTable::Rsync, "recursive", "rsync is always called with -r"),
];

/// Hint for a name in a script's sync, which has no options of rsync.
const SCRIPT_HINT: &str = "a script calls rsync itself, so this sync has no rsync options; to use the \
    name in the script, allow it with checkgauge = { default.checkgauge, NAME = true }";

/// Hint for a name that only rsync may know.
const RSYNC_HINT: &str = "write other options as arguments of rsync: _extra = { \"--NAME=VALUE\" }";

/// Names for the options of rsync.
const RSYNC_OPTIONS: [&str; 4] = ["rsync", "rsyncOps", "rsyncOpts", "rsyncOptions"];

pub(super) fn hint(table: SettingsTable, name: &str, base: Option<SyncBase>) -> Option<NameHint> {
    if table == SettingsTable::Sync && base == Some(SyncBase::Own) && RSYNC_OPTIONS.contains(&name)
    {
        return Some(NameHint::Instead(SCRIPT_HINT));
    }
    let old = KNOWN_MISTAKES.iter().find(|(of, old, _)| *of == table && *old == name);
    if let Some((_, _, instead)) = old {
        return Some(NameHint::Instead(instead));
    }
    if let Some(owner) = owning_table(table, name, base) {
        return Some(NameHint::BelongsIn(owner));
    }
    let is_known = |setting: &&Setting| {
        matches!(table, SettingsTable::Settings | SettingsTable::Ssh)
            || base.is_none_or(|base| setting.is_for(base))
    };
    let nearest = nearest(name, of(table).filter(is_known).map(|setting| setting.name));
    let other = (table == SettingsTable::Rsync).then_some(NameHint::Instead(RSYNC_HINT));
    nearest.map(NameHint::DidYouMean).or(other)
}

pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (steps, nearest) = known.map(|known| (edit_distance(name, known), known)).min()?;
    (steps <= MAX_EDIT_DISTANCE && steps < name.len()).then_some(nearest)
}

/// Returns the table to which a name belongs that another table knows.
fn owning_table(table: SettingsTable, name: &str, base: Option<SyncBase>) -> Option<&'static str> {
    let is_of = |other| of(other).any(|setting| setting.name == name);
    let has = |wanted: &[SyncBase]| base.is_some_and(|base| wanted.contains(&base));
    let calls_rsync = has(&[SyncBase::Rsync, SyncBase::Rsyncssh, SyncBase::Direct]);
    match table {
        SettingsTable::Settings if is_of(SettingsTable::Sync) => Some("sync{ .. }"),
        SettingsTable::Sync if is_of(SettingsTable::Settings) && !is_of(SettingsTable::Sync) => {
            Some("settings{ .. }")
        }
        SettingsTable::Sync if is_of(SettingsTable::Rsync) && calls_rsync => Some("rsync = { .. }"),
        SettingsTable::Sync if is_of(SettingsTable::Ssh) && has(&[SyncBase::Rsyncssh]) => {
            Some("ssh = { .. }")
        }
        SettingsTable::Rsync | SettingsTable::Ssh if is_of(SettingsTable::Sync) => {
            Some("sync{ .. }, next to this table")
        }
        SettingsTable::Settings
        | SettingsTable::Sync
        | SettingsTable::Rsync
        | SettingsTable::Ssh
        | SettingsTable::Tunnel => None,
    }
}

/// Beyond this distance a name is no misspelling.
const MAX_EDIT_DISTANCE: usize = 2;

/// Returns the Levenshtein distance, ignoring case.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let differs = usize::from(!x.eq_ignore_ascii_case(&y));
            left = (diagonal + differs).min(left + 1).min(*above + 1);
            diagonal = core::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_slips() {
        for (a, b, steps) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("delay", "Delay", 0),
            ("delya", "delay", 2),
            ("dellay", "delay", 1),
            ("bwlimt", "bwlimit", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(a, b), steps, "{a} {b}");
            assert_eq!(edit_distance(b, a), steps, "{b} {a}");
        }
    }
}
