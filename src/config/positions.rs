//! Positions of the syncs in their configuration files.

use std::{
    collections::HashMap,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::settings::lua_keys;

use super::read_regular_file;

/// Positions of the syncs in Lua's notation: `conf.lua:3: `.
#[derive(Clone, Debug, Default)]
pub struct SyncPositions {
    start_dir: PathBuf,
    files: Vec<PathBuf>,
    /// Names and positions.
    syncs: Vec<(String, String)>,
    /// Sources of the rules of the syncs that name files of rules.
    rules: HashMap<String, RuleSources>,
}

/// Settings from which the rules of a sync come, in the order in which they apply.
#[derive(Clone, Debug)]
pub struct RuleSources {
    /// Directory from which relative paths in rules count.
    pub start_dir: PathBuf,
    /// `filter` with `filterFrom`.
    pub filters: RuleSource,
    /// `exclude` with `excludeFrom`.
    pub excludes: RuleSource,
    /// Finds a rule in the files, as [`SyncPositions::of_rule`] returns it. It is called on request
    /// only, since it compiles the rules one by one.
    pub find: fn(&Self, rule: &[u8]) -> Option<String>,
}

/// Setting with rules, and the file that contains more of them.
#[derive(Clone, Debug)]
pub struct RuleSource {
    /// Rules in the configuration.
    pub listed: Vec<Vec<u8>>,
    /// Absolute path of the file.
    pub file: Option<PathBuf>,
}

/// Number of words of a warning that are tried as the name of a key.
const MAX_WORDS: usize = 16;

impl SyncPositions {
    /// Creates an empty list for these files, whose relative paths count from `start_dir`.
    #[must_use]
    pub fn new(start_dir: &Path, files: Vec<PathBuf>) -> Self {
        Self { start_dir: start_dir.to_owned(), files, ..Self::default() }
    }

    /// Adds the position of a sync.
    pub fn add(&mut self, name: &str, position: &str) {
        self.syncs.push((name.to_owned(), position.to_owned()));
    }

    /// Adds the sources of the rules of a sync.
    pub fn add_rules(&mut self, name: &str, rules: RuleSources) {
        if rules.filters.file.is_some() || rules.excludes.file.is_some() {
            self.rules.insert(name.to_owned(), rules);
        }
    }

    /// Returns the position of a rule of this sync in a file of rules, such as
    /// `/etc/lsyncd/excludes:12`. `None` if it does not come from such a file.
    #[must_use]
    pub fn of_rule(&self, sync: &str, rule: &[u8]) -> Option<String> {
        let sources = self.rules.get(sync)?;
        (sources.find)(sources, rule)
    }

    /// Returns the position of a key in the call at `position`. `None` if the key is not part of
    /// that call.
    #[must_use]
    pub fn key_position(&self, position: &str, key: &str) -> Option<String> {
        let (name, line) = position.strip_suffix(": ")?.rsplit_once(':')?;
        // Lua truncates the start of long names.
        let end = name.strip_prefix("...").unwrap_or(name).as_bytes();
        let known = self.files.iter().find(|file| file.as_os_str().as_bytes().ends_with(end));
        let file = known.map_or(Path::new(name), PathBuf::as_path);
        let text = read_regular_file(&self.start_dir.join(file)).ok()?;
        let line = lua_keys::line_of_key(&text, line.parse().ok()?, key)?;
        Some(format!("{name}:{line}: "))
    }

    /// Returns the position of the first of these keys in the declaration of a sync, such as
    /// `conf.lua:7`, or else that of the declaration. `None` if no file declares it.
    #[must_use]
    pub fn of_key(&self, sync: &str, keys: &[&str]) -> Option<String> {
        let (_, position) = self.syncs.iter().find(|(name, _)| name == sync)?;
        let found = keys.iter().find_map(|key| self.key_position(position, key));
        let position = found.unwrap_or_else(|| position.clone());
        position.strip_suffix(": ").map(str::to_owned)
    }

    /// Prefixes a warning that begins with the name of a sync with the position of the setting it
    /// mentions.
    #[must_use]
    pub fn with_position(&self, warning: String) -> String {
        let rest_of = |name: &str| {
            let rest = warning.strip_prefix(name)?;
            [": ", " and ", ", "].iter().any(|start| rest.starts_with(start)).then_some(rest)
        };
        let found = self.syncs.iter().find_map(|(name, position)| Some((position, rest_of(name)?)));
        let Some((position, rest)) = found else { return warning };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        let words = rest.split(|letter| !is_name(letter)).filter(|word| !word.is_empty());
        let keys = words.take(MAX_WORDS).flat_map(|word| match word {
            "pattern" => vec!["exclude", "filter"],
            word => vec![word.trim_end_matches('.')],
        });
        let key_position = keys.into_iter().find_map(|key| self.key_position(position, key));
        format!("{}{warning}", key_position.as_ref().unwrap_or(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_is_found_in_the_declaration_of_its_sync() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.lua"), "sync{\n source = 1,\n exclude = 2,\n}\n").unwrap();
        let mut positions = SyncPositions::new(dir.path(), vec!["a.lua".into()]);
        positions.add("web", "a.lua:1: ");
        assert_eq!(positions.of_key("web", &["filter", "exclude"]).unwrap(), "a.lua:3");
        assert_eq!(positions.of_key("web", &["filter"]).unwrap(), "a.lua:1");
        assert_eq!(positions.of_key("other", &["exclude"]), None);
    }

    #[test]
    fn warning_gets_the_line_of_its_setting() {
        let temp_dir = tempfile::tempdir().unwrap();
        let file = temp_dir.path().join("conf.lua");
        fs::write(
            &file,
            "sync{\n  delete = 'no',\n  target = '/t',\n  exclude = '!x',\n  rsync = {\n    append = 1,\n  },\n}\n",
        )
        .unwrap();
        let named = file.to_str().unwrap();
        let mut positions = SyncPositions::new(temp_dir.path(), vec![file.clone()]);
        positions.add("Sync1", &format!("{named}:1: "));
        positions.add("Sync10", &format!("{named}:9: "));
        for (warning, line) in [
            ("Sync1: delete = \"no\" deletes nothing", Some(2)),
            ("Sync1: rsync.append: a file", Some(6)),
            ("Sync1: the pattern !x leaves out", Some(4)),
            ("Sync1: something else", Some(1)),
            ("Sync1 and Sync2 have the same target /t/", Some(3)),
            ("Sync10: delete", Some(9)),
            ("Sync2: delete", None),
            ("logfile: no such directory", None),
        ] {
            let expected = match line {
                Some(line) => format!("{named}:{line}: {warning}"),
                None => warning.to_owned(),
            };
            assert_eq!(positions.with_position(warning.to_owned()), expected);
        }
    }

    #[test]
    fn truncated_file_name_is_found() {
        let temp_dir = tempfile::tempdir().unwrap();
        let file = temp_dir.path().join("conf.lua");
        fs::write(&file, "sync{\n  delay = 1,\n}\n").unwrap();
        let positions = SyncPositions::new(temp_dir.path(), vec![file]);
        assert_eq!(
            positions.key_position("...onf.lua:1: ", "delay"),
            Some("...onf.lua:2: ".into())
        );
        for (position, key) in [("...onf.lua:1: ", "nope"), ("", "delay"), ("x.lua:1: ", "delay")] {
            assert_eq!(positions.key_position(position, key), None);
        }
    }
}
