//! `filter`, `exclude`, `filterFrom` and `excludeFrom`.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    filter::{Builder, Filter},
    path::Escaped,
    plan::{
        direct::{DirectWords, ExtraRule},
        options::Rules,
    },
};

use super::{
    error::Fault,
    fields::{Fields, quoted},
};
use crate::{
    config::{Exclusions, Sync},
    report::reason,
};

/// What is left out of a sync, in all the forms in which it is needed.
pub(super) struct Patterns {
    pub(super) exclusions: Exclusions,
    pub(super) filter: Arc<Filter>,
    pub(super) rules: Rules,
}

/// The roots that rules about absolute paths need.
#[derive(Clone, Copy)]
pub(super) struct Roots<'a> {
    pub(super) here: &'a Path,
    pub(super) source: &'a Path,
    pub(super) delete_excluded: bool,
    /// The rules of the user's words for rsync, where rsync is not given them.
    pub(super) extra: &'a [ExtraRule],
}

impl Patterns {
    /// The rules of a sync. Filters come before excludes, and those of the file behind those that
    /// stand in the configuration.
    pub(super) fn read(fields: Fields<'_>, roots: Roots<'_>) -> Result<Self, Fault> {
        let exclusions = Exclusions {
            filters: filters(fields, roots.here)?,
            excludes: excludes(fields, roots.here)?,
        };
        let mut builder = Builder::new().source(roots.source.as_os_str().as_bytes());
        if roots.delete_excluded {
            builder = builder.delete_excluded();
        }
        for rule in roots.extra {
            add_extra(&mut builder, rule, roots.here)?;
        }
        for rule in &exclusions.filters {
            add_rule(&mut builder, rule, roots.here)?;
        }
        for pattern in &exclusions.excludes {
            builder.exclude(pattern).map_err(|error| {
                Fault::Fatal(format!("cannot exclude {}: {error}", quoted(pattern)))
            })?;
        }
        let filter = builder.build();
        let rules = rules(&exclusions, &filter);
        Ok(Self { exclusions, filter: Arc::new(filter), rules })
    }
}

/// As the user's own words where these mean the same to rsync, as the original gives them to it.
fn rules(exclusions: &Exclusions, filter: &Filter) -> Rules {
    if filter.is_empty() {
        return Rules::None;
    }
    // A line of `--exclude-from` that begins so is a comment, a rule or a command to forget all.
    let is_plain = |pattern: &Vec<u8>| {
        !pattern.contains(&b'\n')
            && !pattern.contains(&b'\r')
            && !matches!(&**pattern, [b'#' | b';', ..] | [b'+' | b'-', b' ', ..] | b"!")
    };
    if exclusions.filters.is_empty() && exclusions.excludes.iter().all(is_plain) {
        Rules::Excludes(exclusions.excludes.clone())
    } else {
        Rules::Filters(filter.to_rsync_rules().collect())
    }
}

fn add_rule(builder: &mut Builder, rule: &[u8], here: &Path) -> Result<(), Fault> {
    let mut read = |name: &[u8]| {
        fs::read(here.join(OsStr::from_bytes(name))).map_err(|error| error.to_string())
    };
    let Err(error) = builder.rule(rule, &mut read) else { return Ok(()) };
    // The original takes the rule without a blank, too: `-*.tmp`.
    if let [name @ (b'+' | b'-'), pattern @ ..] = rule
        && builder.rule(&[&[*name, b' '], pattern].concat(), &mut read).is_ok()
    {
        return Ok(());
    }
    Err(Fault::Fatal(format!("Unknown filter rule: {}: {}", quoted(rule), error.fault)))
}

/// The rules that rsync is given by the user's own words. Those that can't be read are told by rsync.
pub(super) fn of_extra(sync: &Sync, here: &Path) -> Filter {
    let words = DirectWords::read(&sync.rsync).unwrap_or_default();
    let mut builder = Builder::new().source(sync.source.as_os_str().as_bytes());
    for rule in &words.rules {
        // Another rule may be one that has to be refused.
        let _ = add_extra(&mut builder, rule, here);
    }
    builder.build()
}

/// Refuses rules that rsync reads from a file in each directory. It does so where it walks through
/// the source, and not for the names of a batch: what such a rule hides would be sent once it changes.
pub(super) fn refuse_per_directory(sync: &Sync, extra: &Filter) -> Result<(), Fault> {
    let (place, rule) = match (sync.filter.per_directory(), extra.per_directory()) {
        (Some(rule), _) => ("filter", rule),
        (None, Some(rule)) if rule == b":C .cvsignore" && sync.rsync.short.contains(&b'C') => {
            ("rsync.cvs_exclude", rule)
        }
        (None, Some(rule)) => ("rsync._extra", rule),
        (None, None) => return Ok(()),
    };
    Err(Fault::Lua(format!(
        "{place} has the merge rule {}, whose files in each directory are read at a start only, and \
         not for what changes later: write the patterns into exclude, excludeFrom or filter",
        quoted(&rule)
    )))
}

/// A rule of the user's own words. They come first, as in a call of rsync.
fn add_extra(builder: &mut Builder, rule: &ExtraRule, here: &Path) -> Result<(), Fault> {
    let read = |name: &[u8]| {
        fs::read(here.join(OsStr::from_bytes(name))).map_err(|error| {
            let (name, why) = (Escaped(name), reason(&error));
            Fault::Fatal(format!("Cannot open the file \"{name}\" of rsync._extra: {why}"))
        })
    };
    let (added, text) = match rule {
        ExtraRule::Filter(rule) => return add_rule(builder, rule, here),
        ExtraRule::Exclude(pattern) => (builder.exclude(pattern), pattern),
        ExtraRule::Include(pattern) => (builder.include(pattern), pattern),
        ExtraRule::ExcludeFrom(file) => (builder.exclude_from(&read(file)?), file),
        ExtraRule::IncludeFrom(file) => (builder.include_from(&read(file)?), file),
    };
    added.map_err(|error| {
        Fault::Fatal(format!("cannot use {} of rsync._extra: {error}", quoted(text)))
    })
}

fn filters(fields: Fields<'_>, here: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let mut filters: Vec<Vec<u8>> =
        fields.texts("filter")?.iter().map(|rule| trimmed(rule).to_vec()).collect();
    if let Some(text) = file(fields, "filterFrom", "filter", here)? {
        let name = fields.text("filterFrom")?.unwrap_or_default();
        for (number, line) in lines(&text).filter(|(_, line)| !line.starts_with(b"#")) {
            // Here it is known where it stands.
            if let Err(Fault::Fatal(why)) = add_rule(&mut Builder::new(), line, here) {
                let name = Escaped(&name);
                let why = why.replacen(
                    "Unknown filter rule",
                    &format!("Unknown filter rule in {name}:{number}"),
                    1,
                );
                return Err(Fault::Fatal(why));
            }
            filters.push(line.to_vec());
        }
    }
    Ok(filters)
}

/// Each pattern once: the first that matches decides, so a second one of the same text is idle.
fn excludes(fields: Fields<'_>, here: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let mut excludes = fields.texts("exclude")?;
    excludes.retain(|pattern| !pattern.is_empty());
    if let Some(text) = file(fields, "excludeFrom", "exclude", here)? {
        let is_pattern = |line: &&[u8]| !line.starts_with(b"#") && !line.starts_with(b";");
        excludes.extend(lines(&text).map(|(_, line)| line).filter(is_pattern).map(<[u8]>::to_vec));
    }
    let mut seen = std::collections::HashSet::new();
    excludes.retain(|pattern| seen.insert(pattern.clone()));
    Ok(excludes)
}

fn file(fields: Fields<'_>, name: &str, what: &str, here: &Path) -> Result<Option<Vec<u8>>, Fault> {
    let Some(path) = fields.text(name)? else { return Ok(None) };
    let named = Escaped(&path);
    let path: PathBuf = here.join(OsStr::from_bytes(&path));
    let cannot = |error: io::Error| {
        let why = reason(&error);
        Fault::Fatal(format!("Cannot open {what} file \"{named}\": {named}: {why}"))
    };
    fs::read(path).map(Some).map_err(cannot)
}

/// The lines that say something, with their numbers from 1, without the blanks in front and the end of
/// line of other systems.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(text.split(|&byte| byte == b'\n'));
    lines
        .map(|(number, line)| (number, trimmed(line.strip_suffix(b"\r").unwrap_or(line))))
        .filter(|(_, line)| !line.is_empty())
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}
