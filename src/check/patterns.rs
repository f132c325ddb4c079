//! Patterns that leave nothing out, whatever was meant.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    filter::{Base, Pattern},
    path::Escaped,
    plan::direct::{DirectWords, ExtraRule},
};

use crate::config::Sync;

/// What is to be said of the patterns of a sync that can never match.
pub(super) fn that_never_match(sync: &Sync) -> Vec<String> {
    let rules = sync.exclusions.filters.iter().filter_map(|rule| pattern_of_rule(rule));
    let patterns = rules.chain(sync.exclusions.excludes.iter().map(Vec::as_slice));
    let words = of_words(sync);
    let patterns = patterns.chain(words.iter().map(|(pattern, _)| pattern.as_slice()));
    let found = patterns.filter_map(|pattern| {
        let why = why_never(pattern, &sync.source).or_else(|| why_never(pattern, &sync.given))?;
        Some(format!("{}: the pattern {} never matches: {why}", sync.name, Escaped(pattern)))
    });
    found.collect()
}

/// The patterns among the user's own words for rsync, and of which of them `!` is a part.
fn of_words(sync: &Sync) -> Vec<(Vec<u8>, bool)> {
    let words = DirectWords::read(&sync.rsync).unwrap_or_default();
    let mut found = Vec::new();
    for rule in words.rules {
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

/// What is to be said of patterns that other programs read otherwise.
pub(super) fn that_are_misread(sync: &Sync) -> Vec<String> {
    let words = of_words(sync);
    let words = words.iter().filter(|(_, is_whole)| *is_whole).map(|(pattern, _)| pattern);
    let patterns = sync.exclusions.excludes.iter().chain(words);
    let patterns = patterns.filter_map(|pattern| pattern.strip_prefix(b"!"));
    let told = patterns.filter(|rest| !rest.is_empty()).map(|rest| {
        let rest = Escaped(rest);
        format!(
            "{}: the pattern !{rest} leaves out the name \"!{rest}\": it brings nothing back, as it \
             would for git; write filter = {{ \"+ {rest}\" }}, which comes before all patterns",
            sync.name
        )
    });
    told.collect()
}

/// The pattern of a rule that has one and no modifiers: `- *.o`, `+ /x`.
fn pattern_of_rule(rule: &[u8]) -> Option<&[u8]> {
    match rule {
        [b'-' | b'+', b' ' | b'_', pattern @ ..] => Some(pattern),
        _ => None,
    }
}

fn why_never(pattern: &[u8], source: &Path) -> Option<String> {
    if let Some(below) = below_source(pattern, source) {
        return Some(format!("patterns count from the source: write {}", Escaped(&below)));
    }
    if let Some(rest) = pattern.strip_prefix(b"./") {
        return Some(format!("no name is a dot: write /{}", Escaped(rest)));
    }
    if Pattern::new(pattern, Base::Mirror).is_void() {
        return Some("no path is like that".into());
    }
    None
}

/// What an absolute path in the source should be, unless the source has that path once more.
fn below_source(pattern: &[u8], source: &Path) -> Option<Vec<u8>> {
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
    fn what_never_matches_is_told_with_what_was_meant() {
        let source = Path::new("/nonexistent/www");
        for (pattern, why) in [
            ("/nonexistent/www/cache", "patterns count from the source: write /cache"),
            ("/nonexistent/www", "patterns count from the source: write /*"),
            ("./cache", "no name is a dot: write /cache"),
            ("a/../b", "no path is like that"),
            ("a//b", "no path is like that"),
            ("/", "no path is like that"),
            ("[a", "no path is like that"),
        ] {
            assert_eq!(why_never(pattern.as_bytes(), source).as_deref(), Some(why), "{pattern}");
        }
    }

    #[test]
    fn what_may_match_is_left_alone() {
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
            assert_eq!(why_never(pattern.as_bytes(), source), None, "{pattern}");
        }
        assert_eq!(why_never(b"/usr", Path::new("/")), None);
    }

    #[test]
    fn a_source_that_has_its_own_path_once_more_is_believed() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().canonicalize().unwrap();
        let again = source.join(source.strip_prefix("/").unwrap());
        let pattern = source.join("x");
        let why = || why_never(pattern.as_os_str().as_bytes(), &source);
        assert!(why().is_some());
        std::fs::create_dir_all(again).unwrap();
        assert_eq!(why(), None);
    }

    #[test]
    fn rules_have_patterns_too() {
        assert_eq!(pattern_of_rule(b"- ./x"), Some(&b"./x"[..]));
        assert_eq!(pattern_of_rule(b"+ y"), Some(&b"y"[..]));
        assert_eq!(pattern_of_rule(b". file"), None);
    }
}
