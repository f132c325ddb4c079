//! Selection of syncs by name, target or path.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf};

use mirror_core::{
    fs_event::MirrorId,
    path::{Escaped, TreePath},
};

use crate::{
    config::SyncConfig,
    control::{
        frame::{ErrorKind, RequestError},
        request::{ByteText, Selection},
    },
    engine::{Engine, registry::SyncRegistry},
};

/// Returns the name of each sync: the configured one, or the target, so that it does not depend on
/// the position of the sync. Equal ones are told apart by their source.
pub(super) fn labels(registry: &SyncRegistry) -> BTreeMap<MirrorId, String> {
    let base = |sync: &SyncConfig| {
        if is_numbered(&sync.name) { target_text(sync) } else { sync.name.clone() }
    };
    let mut uses = BTreeMap::<String, usize>::new();
    registry.iter().for_each(|(_, it)| *uses.entry(base(&it.config)).or_default() += 1);
    let mut labels = BTreeMap::new();
    let mut known = BTreeMap::<String, usize>::new();
    for (id, instance) in registry.iter() {
        let sync = &instance.config;
        let mut label = base(sync);
        if uses.get(&label).is_some_and(|count| *count > 1) {
            label = format!("{label} from {:#}", Escaped(sync.source.as_os_str().as_bytes()));
        }
        let count = known.entry(label.clone()).or_default();
        *count += 1;
        if *count > 1 {
            label = format!("{label} ({count})");
        }
        labels.insert(id, label);
    }
    labels
}

/// A sync, and whether a person has paused it.
#[derive(Debug)]
pub(in crate::engine) struct SyncPause {
    /// The configured source, and the target.
    pub(super) endpoints: (PathBuf, OsString),
    pub(super) label: String,
    pub(super) is_paused: bool,
}

impl SyncPause {
    /// Returns true if this is one of the syncs that were paused, given those `before` a reload and
    /// those after it: the one with the same source and target, whatever its name, or else the one
    /// with the same name.
    pub(super) fn was_paused(&self, before: &[Self], now: &[Self]) -> bool {
        let is_only = |syncs: &[Self], sync: &Self| {
            syncs.iter().filter(|it| it.endpoints == sync.endpoints).count() == 1
        };
        let is_matched = |sync: &Self| is_only(before, sync) && is_only(now, sync);
        let is_same = |it: &&Self| {
            if is_matched(self) {
                it.endpoints == self.endpoints
            } else {
                it.label == self.label && !is_matched(it)
            }
        };
        before.iter().find(is_same).is_some_and(|it| it.is_paused)
    }
}

/// Returns true if this is the default name of a sync.
fn is_numbered(name: &str) -> bool {
    let number = name.strip_prefix("Sync");
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

fn target_text(sync: &SyncConfig) -> String {
    let target = sync.target.as_bytes();
    let shown = target.strip_suffix(b"/").filter(|it| !it.is_empty()).unwrap_or(target);
    if shown.is_empty() { sync.name.clone() } else { format!("{:#}", Escaped(shown)) }
}

impl Engine {
    /// Returns the selected mirrors, each with the selected path of its source.
    pub(super) fn select(
        &self,
        selection: &Selection,
    ) -> Result<Vec<(MirrorId, TreePath)>, RequestError> {
        let labels = labels(&self.registry);
        let Selection { sync, path } = selection;
        let path = path.as_ref().map(absolute_path).transpose()?;
        let mut found = Vec::new();
        for (id, instance) in self.registry.iter() {
            let config = &instance.config;
            let is_named = |name: &String| {
                let target = name.strip_suffix('/').unwrap_or(name);
                labels.get(&id) == Some(name)
                    || config.name == *name
                    || target_text(config) == target
            };
            if !sync.as_ref().is_none_or(is_named) {
                continue;
            }
            match &path {
                None => found.push((id, TreePath::root())),
                Some(path) => found.extend(path_in(config, path).map(|path| (id, path))),
            }
        }
        if found.is_empty() {
            return Err(RequestError::new(ErrorKind::NoSuchSync, no_such_sync(selection)));
        }
        Ok(found)
    }

    /// Returns the selected mirrors.
    pub(super) fn select_mirrors(
        &self,
        selection: &Selection,
    ) -> Result<Vec<MirrorId>, RequestError> {
        Ok(self.select(selection)?.into_iter().map(|(id, _)| id).collect())
    }
}

fn no_such_sync(Selection { sync, path }: &Selection) -> String {
    let bytes = |path: &ByteText| path.bytes().unwrap_or_default();
    match (sync, path) {
        (Some(sync), _) => {
            format!("no sync has the name or target {}", Escaped(sync.as_bytes()))
        }
        (None, Some(path)) => {
            format!("no sync has a source with the path {}", Escaped(&bytes(path)))
        }
        (None, None) => "there is no sync".into(),
    }
}

/// Returns the bytes of a path without trailing slashes.
///
/// # Errors
///
/// If it is not absolute.
pub(super) fn absolute_path(path: &ByteText) -> Result<Vec<u8>, RequestError> {
    let invalid = |text: String| RequestError::new(ErrorKind::InvalidRequest, text);
    let mut bytes = path.bytes().ok_or_else(|| invalid("invalid hexadecimal digits".into()))?;
    if !bytes.starts_with(b"/") {
        return Err(invalid(format!("the path {} is not absolute", Escaped(&bytes))));
    }
    while bytes.len() > 1 && bytes.ends_with(b"/") {
        bytes.pop();
    }
    Ok(bytes)
}

/// Returns the part of an absolute path below the source, whichever way that is spelled.
pub(super) fn path_in(config: &SyncConfig, path: &[u8]) -> Option<TreePath> {
    let sources = [&config.source, &config.source_as_given];
    sources.into_iter().find_map(|source| {
        let source = source.as_os_str().as_bytes();
        let rest = path.strip_prefix(source.strip_suffix(b"/").unwrap_or(source))?;
        if rest.is_empty() {
            Some(TreePath::root())
        } else {
            TreePath::new(rest.strip_prefix(b"/")?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_both_spellings_of_its_source() {
        let kind = crate::config::SyncKind::Direct;
        let mut config = SyncConfig::new("a".into(), kind, "/srv/www".into(), "/t/".into());
        config.source_as_given = "/link".into();
        let found = |path: &[u8]| path_in(&config, path).map(|path| path.to_string());
        assert_eq!(found(b"/srv/www").unwrap(), "/");
        assert_eq!(found(b"/srv/www/a/b").unwrap(), "/a/b");
        assert_eq!(found(b"/link/a").unwrap(), "/a");
        assert_eq!(found(b"/srv/www2"), None);
        assert_eq!(found(b"/srv"), None);
    }

    #[test]
    fn a_pause_follows_source_and_target_and_else_the_name() {
        let sync = |text: &str| {
            let words: Vec<_> = text.split(' ').collect();
            SyncPause {
                endpoints: (words[0].into(), words[1].into()),
                label: words[2].into(),
                is_paused: words.get(3).is_some(),
            }
        };
        let syncs = |text: &str| text.split(", ").map(sync).collect::<Vec<_>>();
        let paused = |before: &str, now: &str| {
            let (before, now) = (syncs(before), syncs(now));
            let paused = now.iter().filter(|it| it.was_paused(&before, &now));
            paused.map(|it| it.label.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paused("s t x paused", "s t x"), "x");
        assert_eq!(paused("s t x paused", "s t y"), "y");
        assert_eq!(paused("s t x paused", "s u x"), "x");
        assert_eq!(paused("s t x paused, s u y", "s u x, s t y"), "y");
        assert_eq!(paused("s t x paused", "s u y"), "");
        // Another one has the name of one that continues.
        assert_eq!(paused("s t x paused", "s t y, s u x"), "y");
        // Scripts without a target differ in their names only.
        assert_eq!(paused("s - x paused, s - y", "s - y, s - x"), "x");
    }

    #[test]
    fn default_names_are_replaced_by_targets() {
        for (name, numbered) in [("Sync1", true), ("Sync", false), ("Syncs", false), ("web", false)]
        {
            assert_eq!(is_numbered(name), numbered, "{name}");
        }
    }

    #[test]
    fn paths_of_requests_are_absolute() {
        let absolute = |text: &str| absolute_path(&ByteText::Text(text.into()));
        assert_eq!(absolute("/a/b//").unwrap(), b"/a/b");
        assert_eq!(absolute("/").unwrap(), b"/");
        assert!(absolute("a").unwrap_err().message.contains("not absolute"));
        let hex = |hex: &str| absolute_path(&ByteText::Hex { hex: hex.into() });
        assert_eq!(hex("2fff").unwrap(), b"/\xff");
        assert!(hex("2f+f").is_err() && hex("2").is_err());
    }
}
