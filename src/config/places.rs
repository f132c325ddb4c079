//! Where the syncs stand in the files that make them.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use mirror_core::settings::keys;

/// Where each sync stands, as Lua writes places: `conf.lua:3: `.
#[derive(Clone, Debug, Default)]
pub struct Places {
    here: PathBuf,
    files: Vec<PathBuf>,
    /// Their names and their places.
    syncs: Vec<(String, String)>,
}

/// How many words of a warning are looked at for the name of a key.
const MOST_WORDS: usize = 16;

impl Places {
    /// Of no sync yet, in these files, which somebody in the directory `here` named.
    #[must_use]
    pub fn new(here: &Path, files: Vec<PathBuf>) -> Self {
        Self { here: here.to_owned(), files, syncs: Vec::new() }
    }

    /// A sync of this name stands at this place.
    pub fn add(&mut self, name: &str, place: &str) {
        self.syncs.push((name.to_owned(), place.to_owned()));
    }

    /// The place of a key in the call at `place`. `None` if it does not stand there itself.
    #[must_use]
    pub fn of_key(&self, place: &str, key: &str) -> Option<String> {
        let (name, line) = place.strip_suffix(": ")?.rsplit_once(':')?;
        // Lua cuts long names at their start.
        let end = name.strip_prefix("...").unwrap_or(name).as_bytes();
        let known = self.files.iter().find(|file| file.as_os_str().as_bytes().ends_with(end));
        let file = known.map_or(Path::new(name), PathBuf::as_path);
        let text = fs::read(self.here.join(file)).ok()?;
        let line = keys::line_of_key(&text, line.parse().ok()?, key)?;
        Some(format!("{name}:{line}: "))
    }

    /// A warning that begins with the name of a sync, with the place of what it is about in front.
    #[must_use]
    pub fn located(&self, warning: String) -> String {
        let rest_of = |name: &str| {
            let rest = warning.strip_prefix(name)?;
            [": ", " and ", ", "].iter().any(|start| rest.starts_with(start)).then_some(rest)
        };
        let found = self.syncs.iter().find_map(|(name, place)| Some((place, rest_of(name)?)));
        let Some((place, rest)) = found else { return warning };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        let words = rest.split(|letter| !is_name(letter)).filter(|word| !word.is_empty());
        let keys = words.take(MOST_WORDS).flat_map(|word| match word {
            "pattern" => vec!["exclude", "filter"],
            word => vec![word.trim_end_matches('.')],
        });
        let place_of_key = keys.into_iter().find_map(|key| self.of_key(place, key));
        format!("{}{warning}", place_of_key.as_ref().unwrap_or(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_has_the_line_of_what_it_is_about() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("conf.lua");
        fs::write(
            &file,
            "sync{\n  delete = 'no',\n  target = '/t',\n  exclude = '!x',\n  rsync = {\n    append = 1,\n  },\n}\n",
        )
        .unwrap();
        let named = file.to_str().unwrap();
        let mut places = Places::new(place.path(), vec![file.clone()]);
        places.add("Sync1", &format!("{named}:1: "));
        places.add("Sync10", &format!("{named}:9: "));
        for (warning, line) in [
            ("Sync1: delete = \"no\" deletes nothing", Some(2)),
            ("Sync1: rsync.append: a file", Some(6)),
            ("Sync1: the pattern !x leaves out", Some(4)),
            ("Sync1: something else", Some(1)),
            ("Sync1 and Sync2 have the same target /t/", Some(3)),
            ("Sync10: delete", Some(9)),
            ("Sync2: delete", None),
            ("logfile: there is no directory", None),
        ] {
            let expected = match line {
                Some(line) => format!("{named}:{line}: {warning}"),
                None => warning.to_owned(),
            };
            assert_eq!(places.located(warning.to_owned()), expected);
        }
    }

    #[test]
    fn a_name_that_lua_has_cut_is_found() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("conf.lua");
        fs::write(&file, "sync{\n  delay = 1,\n}\n").unwrap();
        let places = Places::new(place.path(), vec![file]);
        assert_eq!(places.of_key("...onf.lua:1: ", "delay"), Some("...onf.lua:2: ".into()));
        for (place, key) in [("...onf.lua:1: ", "nope"), ("", "delay"), ("x.lua:1: ", "delay")] {
            assert_eq!(places.of_key(place, key), None);
        }
    }
}
