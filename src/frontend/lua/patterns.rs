//! Reader of `filter`, `exclude`, `filterFrom` and `excludeFrom`.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mirror_core::{
    filter::{Builder, Filter},
    path::Escaped,
    plan::{
        direct::{DirectTranslation, ExtraRule},
        options::ExcludeRules,
    },
};

use super::{
    error::SettingError,
    fields::{Fields, quoted},
};
use crate::{
    config::{Exclusions, RuleSource, RuleSources, SyncConfig, read_regular_file},
    report::os_error_text,
};

/// Exclusions of a sync in all forms that are needed.
pub(super) struct SyncPatterns {
    pub(super) exclusions: Exclusions,
    pub(super) filter: Arc<Filter>,
    pub(super) rules: ExcludeRules,
}

/// Context of the rules: directories, `delete_excluded`, and the rules of `rsync._extra`.
#[derive(Clone, Copy)]
pub(super) struct PatternContext<'a> {
    pub(super) start_dir: &'a Path,
    pub(super) source: &'a Path,
    pub(super) delete_excluded: bool,
    pub(super) extra: ExtraRules<'a>,
}

/// Rules of `rsync._extra`.
#[derive(Clone, Copy)]
pub(super) enum ExtraRules<'a> {
    /// Those of a sync without rsync. They come first, and all must be right.
    Only(&'a [ExtraRule]),
    /// Those that rsync gets, too, after the other rules. It does not apply them to the parent
    /// directories of the names in a list, so a batch must not have names in excluded directories.
    Passed(&'a [ExtraRule]),
}

impl SyncPatterns {
    /// Reads the rules of a sync. Filters precede excludes, and those in the configuration precede
    /// those of files.
    pub(super) fn read(
        fields: Fields<'_>,
        context: PatternContext<'_>,
    ) -> Result<Self, SettingError> {
        let exclusions = Exclusions {
            filters: filters(fields, context.start_dir)?,
            excludes: excludes(fields, context.start_dir)?,
        };
        let mut builder = Builder::new().source(context.source.as_os_str().as_bytes());
        if context.delete_excluded {
            builder = builder.delete_excluded();
        }
        if let ExtraRules::Only(rules) = context.extra {
            for rule in rules {
                add_extra(&mut builder, rule, context.start_dir)?;
            }
        }
        for rule in &exclusions.filters {
            add_rule(&mut builder, rule, context.start_dir)?;
        }
        for pattern in &exclusions.excludes {
            builder.exclude(pattern).map_err(|error| {
                SettingError::Fatal(format!("cannot exclude {}: {error}", quoted(pattern)))
            })?;
        }
        let mut filter = builder.clone().build();
        let rules = rules(&exclusions, &filter);
        if let ExtraRules::Passed(extra) = context.extra {
            add_extra_rules(&mut builder, extra, context.start_dir);
            filter = builder.build();
        }
        Ok(Self { exclusions, filter: Arc::new(filter), rules })
    }
}

/// Returns the rules for rsync. The user's patterns are passed unchanged, as by the original, if
/// they mean the same to rsync.
fn rules(exclusions: &Exclusions, filter: &Filter) -> ExcludeRules {
    if filter.is_empty() {
        return ExcludeRules::None;
    }
    // In a file for `--exclude-from`, such a line is a comment, a rule or the command to clear the
    // list.
    let is_plain = |pattern: &Vec<u8>| {
        !pattern.contains(&b'\n')
            && !pattern.contains(&b'\r')
            && !matches!(&**pattern, [b'#' | b';', ..] | [b'+' | b'-', b' ', ..] | b"!")
    };
    if exclusions.filters.is_empty() && exclusions.excludes.iter().all(is_plain) {
        ExcludeRules::Excludes(exclusions.excludes.clone())
    } else {
        ExcludeRules::Filters(filter.to_rsync_rules().collect())
    }
}

fn add_rule(builder: &mut Builder, rule: &[u8], start_dir: &Path) -> Result<(), SettingError> {
    let mut read = |name: &[u8]| {
        let path = start_dir.join(OsStr::from_bytes(name));
        read_regular_file(&path).map_err(|error| error.to_string())
    };
    let Err(error) = builder.rule(rule, &mut read) else { return Ok(()) };
    // The original accepts the rule without a blank, too: `-*.tmp`.
    if let [name @ (b'+' | b'-'), pattern @ ..] = rule
        && builder.rule(&[&[*name, b' '], pattern].concat(), &mut read).is_ok()
    {
        return Ok(());
    }
    Err(SettingError::Fatal(format!("Unknown filter rule: {}: {}", quoted(rule), error.kind)))
}

/// Compiles the rules of `rsync._extra`.
fn extra_filter(sync: &SyncConfig, start_dir: &Path) -> Filter {
    let rules = DirectTranslation::rules(&sync.rsync);
    let mut builder = Builder::new().source(sync.source.as_os_str().as_bytes());
    add_extra_rules(&mut builder, &rules, start_dir);
    builder.build()
}

/// Adds the rules of `rsync._extra`. Invalid ones are skipped: rsync reports them.
fn add_extra_rules(builder: &mut Builder, rules: &[ExtraRule], start_dir: &Path) {
    for rule in rules {
        // A later rule may still have to be refused.
        let _ = add_extra(builder, rule, start_dir);
    }
}

/// Refuses rules that rsync reads from a file in each directory. rsync reads those files only when
/// it walks through the source, and not for the names of a batch. A file that such a rule excludes
/// would be sent after its next change.
pub(super) fn refuse_per_directory(
    sync: &SyncConfig,
    start_dir: &Path,
) -> Result<(), SettingError> {
    let Some(any) = sync.filter.per_directory() else { return Ok(()) };
    let (setting, rule) = match extra_filter(sync, start_dir).per_directory() {
        Some(rule) if rule == b":C .cvsignore" && sync.rsync.short.contains(&b'C') => {
            ("rsync.cvs_exclude", rule)
        }
        Some(rule) => ("rsync._extra", rule),
        None => ("filter", any),
    };
    Err(SettingError::Lua(format!(
        "{setting} has the merge rule {}, whose per-directory files would apply to full transfers \
         only: write the patterns into exclude, excludeFrom or filter",
        quoted(&rule)
    )))
}

/// Adds a rule of `rsync._extra`. These rules come first, as on rsync's command line.
fn add_extra(
    builder: &mut Builder,
    rule: &ExtraRule,
    start_dir: &Path,
) -> Result<(), SettingError> {
    let read = |name: &[u8]| {
        read_regular_file(&start_dir.join(OsStr::from_bytes(name))).map_err(|error| {
            let (name, why) = (Escaped(name), os_error_text(&error));
            SettingError::Fatal(format!("Cannot open the file \"{name}\" of rsync._extra: {why}"))
        })
    };
    let (added, text) = match rule {
        ExtraRule::Filter(rule) => return add_rule(builder, rule, start_dir),
        ExtraRule::Exclude(pattern) => (builder.exclude(pattern), pattern),
        ExtraRule::Include(pattern) => (builder.include(pattern), pattern),
        ExtraRule::ExcludeFrom(file) => (builder.exclude_from(&read(file)?), file),
        ExtraRule::IncludeFrom(file) => (builder.include_from(&read(file)?), file),
    };
    added.map_err(|error| {
        SettingError::Fatal(format!("cannot use {} of rsync._extra: {error}", quoted(text)))
    })
}

fn filters(fields: Fields<'_>, start_dir: &Path) -> Result<Vec<Vec<u8>>, SettingError> {
    let mut filters: Vec<Vec<u8>> =
        fields.texts("filter")?.iter().map(|rule| trimmed(rule).to_vec()).collect();
    if let Some(text) = file(fields, "filterFrom", "filter", start_dir)? {
        let name = fields.text("filterFrom")?.unwrap_or_default();
        for (number, line) in lines(&text).filter(|(_, line)| !line.starts_with(b"#")) {
            // Only here the line number is known.
            if let Err(SettingError::Fatal(why)) = add_rule(&mut Builder::new(), line, start_dir) {
                let name = Escaped(&name);
                let why = why.replacen(
                    "Unknown filter rule",
                    &format!("Unknown filter rule in {name}:{number}"),
                    1,
                );
                return Err(SettingError::Fatal(why));
            }
            filters.push(line.to_vec());
        }
    }
    Ok(filters)
}

/// Returns the sources of the rules of a sync.
pub(super) fn rule_sources(fields: Fields<'_>, start_dir: &Path) -> RuleSources {
    let source = |setting, from| RuleSource {
        listed: fields.texts(setting).unwrap_or_default(),
        file: match fields.text(from) {
            Ok(Some(name)) => Some(start_dir.join(OsStr::from_bytes(&name))),
            Ok(None) | Err(_) => None,
        },
    };
    RuleSources {
        start_dir: start_dir.to_owned(),
        filters: source("filter", "filterFrom"),
        excludes: source("exclude", "excludeFrom"),
        find: find_rule,
    }
}

/// Finds a rule, as the filter formats it, in the files of rules. If it is there twice, or in the
/// configuration, too, the first one decides.
fn find_rule(sources: &RuleSources, rule: &[u8]) -> Option<String> {
    for (source, is_filter) in [(&sources.filters, true), (&sources.excludes, false)] {
        let is_it = |text: &[u8]| {
            let mut builder = Builder::new();
            let added = if is_filter {
                add_rule(&mut builder, text, &sources.start_dir).is_ok()
            } else {
                builder.exclude(text).is_ok()
            };
            added && builder.build().to_rsync_rules().any(|it| it == rule)
        };
        if source.listed.iter().any(|text| is_it(if is_filter { trimmed(text) } else { text })) {
            return None;
        }
        let Some(path) = &source.file else { continue };
        let text = read_regular_file(path).unwrap_or_default();
        let mut rules = lines(&text).filter(|(_, line)| !line.starts_with(b"#"));
        if let Some((number, _)) = rules.find(|(_, line)| is_it(line)) {
            return Some(format!("{}:{number}", Escaped(path.as_os_str().as_bytes())));
        }
    }
    None
}

/// Reads the exclude patterns without duplicates. The first match decides, so a duplicate has no
/// effect.
fn excludes(fields: Fields<'_>, start_dir: &Path) -> Result<Vec<Vec<u8>>, SettingError> {
    let mut excludes = fields.texts("exclude")?;
    excludes.retain(|pattern| !pattern.is_empty());
    if let Some(text) = file(fields, "excludeFrom", "exclude", start_dir)? {
        let is_pattern = |line: &&[u8]| !line.starts_with(b"#") && !line.starts_with(b";");
        excludes.extend(lines(&text).map(|(_, line)| line).filter(is_pattern).map(<[u8]>::to_vec));
    }
    let mut seen = HashSet::new();
    excludes.retain(|pattern| seen.insert(pattern.clone()));
    Ok(excludes)
}

fn file(
    fields: Fields<'_>,
    name: &str,
    what: &str,
    start_dir: &Path,
) -> Result<Option<Vec<u8>>, SettingError> {
    let Some(path) = fields.text(name)? else { return Ok(None) };
    let name = Escaped(&path);
    let path: PathBuf = start_dir.join(OsStr::from_bytes(&path));
    let cannot = |error: io::Error| {
        let why = os_error_text(&error);
        SettingError::Fatal(format!("Cannot open {what} file \"{name}\": {name}: {why}"))
    };
    read_regular_file(&path).map(Some).map_err(cannot)
}

/// Iterates over the lines that are not empty, with their numbers from 1, without leading blanks
/// and carriage returns.
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
