//! Lints for exclude patterns.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    filter::{Pattern, PatternRoot},
    path::Escaped,
    plan::direct::{DirectTranslation, ExtraRule},
};

use crate::config::SyncConfig;

/// Warns of patterns that can never match.
pub(super) fn never_matching(sync: &SyncConfig) -> Vec<String> {
    let rules = sync.exclusions.filters.iter().filter_map(|rule| pattern_of_rule(rule));
    let patterns = rules.chain(sync.exclusions.excludes.iter().map(Vec::as_slice));
    let args = extra_patterns(sync);
    let patterns = patterns.chain(args.iter().map(|(pattern, _)| pattern.as_slice()));
    let found = patterns.filter_map(|pattern| {
        let why = never_matches_because(pattern, &sync.source)
            .or_else(|| never_matches_because(pattern, &sync.source_as_given))?;
        Some(format!("{}: the pattern {} never matches: {why}", sync.name, Escaped(pattern)))
    });
    found.collect()
}

/// Collects the patterns in `rsync._extra`. The flag is true if a leading `!` is part of the
/// pattern.
fn extra_patterns(sync: &SyncConfig) -> Vec<(Vec<u8>, bool)> {
    let mut found = Vec::new();
    for rule in DirectTranslation::rules(&sync.rsync) {
        match rule {
            ExtraRule::Exclude(pattern) | ExtraRule::Include(pattern) => {
                found.push((pattern, true));
            }
            ExtraRule::Filter(rule) => {
                found.extend(pattern_of_rule(&rule).map(|pattern| (pattern.to_vec(), false)));
            }
            ExtraRule::ExcludeFrom(file) | ExtraRule::IncludeFrom(file) => {
                let text = fs::read(OsStr::from_bytes(&file)).unwrap_or_default();
                let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
                found.extend(lines.map(|line| (line.to_vec(), true)));
            }
        }
    }
    found
}

/// Warns of patterns with another meaning in other programs.
pub(super) fn misread(sync: &SyncConfig) -> Vec<String> {
    let args = extra_patterns(sync);
    let args = args.iter().filter(|(_, is_whole)| *is_whole).map(|(pattern, _)| pattern);
    let patterns = sync.exclusions.excludes.iter().chain(args);
    let patterns = patterns.filter_map(|pattern| pattern.strip_prefix(b"!"));
    let warnings = patterns.filter(|rest| !rest.is_empty()).map(|rest| {
        let rest = Escaped(rest);
        format!(
            "{}: the pattern !{rest} excludes the name \"!{rest}\", and includes nothing as it \
             would for git: write filter = {{ \"+ {rest}\" }}, which precedes all patterns",
            sync.name
        )
    });
    warnings.collect()
}

/// Returns the pattern of a rule without modifiers: `- *.o`, `+ /x`.
fn pattern_of_rule(rule: &[u8]) -> Option<&[u8]> {
    match rule {
        [b'-' | b'+', b' ' | b'_', pattern @ ..] => Some(pattern),
        _ => None,
    }
}

fn never_matches_because(pattern: &[u8], source: &Path) -> Option<String> {
    if let Some(below) = relative_to_source(pattern, source) {
        return Some(format!("patterns are relative to the source: write {}", Escaped(&below)));
    }
    if let Some(rest) = pattern.strip_prefix(b"./") {
        return Some(format!("no path begins with a dot component: write /{}", Escaped(rest)));
    }
    if Pattern::new(pattern, PatternRoot::Mirror).never_matches() {
        return Some("no path has this form".into());
    }
    None
}

/// Returns the pattern that was probably meant by an absolute path in the source. `None` if the
/// source contains that path once more.
fn relative_to_source(pattern: &[u8], source: &Path) -> Option<Vec<u8>> {
    let below = pattern.strip_prefix(source.as_os_str().as_bytes())?;
    let is_inside = source != Path::new("/") && (below.is_empty() || below.starts_with(b"/"));
    let inside = source.join(OsStr::from_bytes(pattern.strip_prefix(b"/")?));
    let repeats = inside
        .ancestors()
        .any(|above| above.starts_with(source) && above != source && above.exists());
    let meant = if below.is_empty() { b"/*".to_vec() } else { below.to_vec() };
    (is_inside && !repeats).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_matching_patterns_are_reported_with_a_fix() {
        let source = Path::new("/nonexistent/www");
        for (pattern, why) in [
            ("/nonexistent/www/cache", "patterns are relative to the source: write /cache"),
            ("/nonexistent/www", "patterns are relative to the source: write /*"),
            ("./cache", "no path begins with a dot component: write /cache"),
            ("a/../b", "no path has this form"),
            ("a//b", "no path has this form"),
            ("/", "no path has this form"),
            ("[a", "no path has this form"),
        ] {
            assert_eq!(
                never_matches_because(pattern.as_bytes(), source).as_deref(),
                Some(why),
                "{pattern}"
            );
        }
    }

    #[test]
    fn matching_patterns_cause_no_warning() {
        let source = Path::new("/nonexistent/www");
        for pattern in [
            "a",
            "/a",
            "a/",
            "/nonexistent/www2",
            "*.o",
            "a/**/b",
            "**",
            "[a]",
            ".git",
            "..a",
            "/*",
        ] {
            assert_eq!(never_matches_because(pattern.as_bytes(), source), None, "{pattern}");
        }
        assert_eq!(never_matches_because(b"/usr", Path::new("/")), None);
    }

    #[test]
    fn source_that_repeats_its_own_path_causes_no_warning() {
        let temp_dir = tempfile::tempdir().unwrap();
        let source = temp_dir.path().canonicalize().unwrap();
        let again = source.join(source.strip_prefix("/").unwrap());
        let pattern = source.join("x");
        let why = || never_matches_because(pattern.as_os_str().as_bytes(), &source);
        assert!(why().is_some());
        std::fs::create_dir_all(again).unwrap();
        assert_eq!(why(), None);
    }

    #[test]
    fn patterns_of_rules_are_checked() {
        assert_eq!(pattern_of_rule(b"- ./x"), Some(&b"./x"[..]));
        assert_eq!(pattern_of_rule(b"+ y"), Some(&b"y"[..]));
        assert_eq!(pattern_of_rule(b". file"), None);
    }
}
