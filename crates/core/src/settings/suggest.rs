//! What to say of a name that no setting has.

use alloc::vec::Vec;

use super::{Base, Setting, Table, of};

/// What there is to say of an unknown name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It was probably meant as this one.
    Perhaps(&'static str),
    /// What is written today: a sentence without a full stop.
    Instead(&'static str),
    /// It stands in this table.
    Belongs(&'static str),
}

/// Names that others tried, or that had a meaning once.
const OLD: [(Table, &str, &str); 17] = [
    (Table::Settings, "delay", "write delay in each sync{}, or -delay on the command line"),
    (Table::Settings, "log", "write -log CATEGORY on the command line"),
    (Table::Settings, "monitor", "how changes are noticed is chosen with -watch"),
    (Table::Settings, "stubborn", "write insist = true"),
    (Table::Settings, "exclude", "write exclude in each sync{}"),
    (Table::Settings, "rsync", "write rsync = {..} in each sync{}"),
    (Table::Sync, "rsyncOps", "write rsync = {..} with its options, such as archive = true"),
    (Table::Sync, "rsyncOpts", "write rsync = {..} with its options, such as archive = true"),
    (Table::Sync, "rsyncOptions", "write rsync = {..} with its options, such as archive = true"),
    (Table::Sync, "log", "write -log CATEGORY on the command line"),
    (
        Table::Sync,
        "host",
        "host belongs to default.rsyncssh; for default.rsync write target = \"host:dir\"",
    ),
    (
        Table::Sync,
        "targetdir",
        "targetdir belongs to default.rsyncssh; for default.rsync write target = \"host:dir\"",
    ),
    (Table::Sync, "target", "default.rsyncssh has host and targetdir in its place"),
    (
        Table::Rsync,
        "delete",
        "write delete beside rsync, not in it: sync{ .., delete = true, rsync = {..} }",
    ),
    (Table::Rsync, "exclude", "write exclude beside rsync, not in it: sync{ .., exclude = {..} }"),
    (Table::Rsync, "ssh", "write rsh = \"ssh ..\" here, or use default.rsyncssh with ssh = {..}"),
    (Table::Rsync, "recursive", "rsync is always called with -r"),
];

/// What else there is to say of a name in a script's sync: it has no options of rsync.
const OF_SCRIPT: &str = "a script calls rsync by itself, so this sync has no options of rsync; to use \
    the name in the script, let it pass with checkgauge = { default.checkgauge, NAME = true }";

/// What there is to say of a name that only rsync may know.
const OF_RSYNC: &str =
    "what has no name here is written as a word of rsync: _extra = { \"--NAME=VALUE\" }";

/// Names for the options of rsync.
const RSYNC_OPTIONS: [&str; 4] = ["rsync", "rsyncOps", "rsyncOpts", "rsyncOptions"];

pub(super) fn hint(table: Table, name: &str, base: Option<Base>) -> Option<Hint> {
    if table == Table::Sync && base == Some(Base::Own) && RSYNC_OPTIONS.contains(&name) {
        return Some(Hint::Instead(OF_SCRIPT));
    }
    let old = OLD.iter().find(|(of, old, _)| *of == table && *old == name);
    if let Some((_, _, instead)) = old {
        return Some(Hint::Instead(instead));
    }
    if let Some(place) = place(table, name, base) {
        return Some(Hint::Belongs(place));
    }
    let is_known = |setting: &&Setting| {
        matches!(table, Table::Settings | Table::Ssh)
            || base.is_none_or(|base| setting.is_for(base))
    };
    let nearest = nearest(name, of(table).filter(is_known).map(|setting| setting.name));
    let other = (table == Table::Rsync).then_some(Hint::Instead(OF_RSYNC));
    nearest.map(Hint::Perhaps).or(other)
}

pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (steps, nearest) = known.map(|known| (distance(name, known), known)).min()?;
    (steps <= MOST_STEPS && steps < name.len()).then_some(nearest)
}

/// Where a name belongs that is known to another table.
fn place(table: Table, name: &str, base: Option<Base>) -> Option<&'static str> {
    let is_of = |other| of(other).any(|setting| setting.name == name);
    let has = |wanted: &[Base]| base.is_some_and(|base| wanted.contains(&base));
    let calls_rsync = has(&[Base::Rsync, Base::Rsyncssh, Base::Direct]);
    match table {
        Table::Settings if is_of(Table::Sync) => Some("sync{ .. }"),
        Table::Sync if is_of(Table::Settings) && !is_of(Table::Sync) => Some("settings{ .. }"),
        Table::Sync if is_of(Table::Rsync) && calls_rsync => Some("rsync = { .. }"),
        Table::Sync if is_of(Table::Ssh) && has(&[Base::Rsyncssh]) => Some("ssh = { .. }"),
        Table::Rsync | Table::Ssh if is_of(Table::Sync) => Some("sync{ .. }, beside this table"),
        _ => None,
    }
}

/// More slips than this are no slip.
const MOST_STEPS: usize = 2;

/// How many letters have to be changed, added or removed to get from one to the other, whatever
/// their case (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
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
    fn slips_are_counted() {
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
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }
}
