//! Every setting of a configuration file, in one table.
//!
//! From it come the check for unknown names, the suggestions, the words for rsync, and the manual.

pub mod keys;
mod suggest;
mod table;

pub use suggest::Hint;
pub use table::SETTINGS;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as it is written.
    pub name: &'static str,
    /// Where it stands.
    pub scope: Scope,
    /// What it takes.
    pub takes: Takes,
    /// Its default, as it is written; empty if there is none.
    pub default: &'static str,
    /// What it does: one sentence without a full stop.
    pub doc: &'static str,
    /// What rsync is told.
    pub word: Word,
}

/// Where a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In `settings{}`.
    Settings,
    /// In `sync{}`, for syncs of these kinds.
    Sync(&'static [Base]),
    /// In the table `rsync` of a sync.
    Rsync,
    /// In the table `ssh` of a sync.
    Ssh,
    /// In `tunnel{}`.
    Tunnel,
}

/// A table of the settings, without the kinds of syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `settings{}`
    Settings,
    /// `sync{}`
    Sync,
    /// `rsync = {}`
    Rsync,
    /// `ssh = {}`
    Ssh,
    /// `tunnel{}`
    Tunnel,
}

/// On what a sync is based.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// On nothing: all is the user's own.
    Own,
    /// `default.rsync`
    Rsync,
    /// `default.rsyncssh`
    Rsyncssh,
    /// `default.direct`
    Direct,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Anything that is true for Lua switches it on.
    Flag,
    /// A number that is not less than this, or a text that spells one.
    Number(u32),
    /// A text or a number.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A path.
    Path,
    /// A list of texts.
    List,
    /// A text or a list of texts.
    Patterns,
    /// The most deletions: a share such as `"50%"`, a number, or `false` for any.
    Budget,
    /// When to delete: `true`, `false`, `"startup"` or `"running"`.
    Delete,
    /// A table of further settings.
    Table,
    /// A table from exit codes to `"ok"`, `"again"` or `"die"`.
    Codes,
    /// A function of the user's.
    Function,
    /// A switch, or a function in the place of what it switches.
    FlagOrFunction,
    /// A shell command as a text, or a program and its words as a list.
    Command,
    /// A program for a shell, a list of the program and its words, or a function.
    CommandOrFunction,
}

/// What rsync is told if a setting is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing.
    None,
    /// This letter, in the word of the short options.
    Short(u8),
    /// This word.
    Long(&'static str),
    /// This word, and right behind it the value.
    Value(&'static str),
}

impl Setting {
    /// The table in which it stands.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self.scope {
            Scope::Settings => Table::Settings,
            Scope::Sync(_) => Table::Sync,
            Scope::Rsync => Table::Rsync,
            Scope::Ssh => Table::Ssh,
            Scope::Tunnel => Table::Tunnel,
        }
    }

    /// Whether a sync on this base knows it.
    #[must_use]
    pub fn is_for(&self, base: Base) -> bool {
        match self.scope {
            Scope::Sync(bases) => bases.contains(&base),
            Scope::Rsync => base != Base::Own,
            Scope::Ssh => base == Base::Rsyncssh,
            Scope::Settings | Scope::Tunnel => false,
        }
    }
}

/// The settings of one table, in their order.
pub fn of(table: Table) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.table() == table)
}

/// What there is to say to somebody who wrote a `name` in this table that no setting has; in a sync,
/// that none on this base has.
#[must_use]
pub fn hint(table: Table, name: &str, base: Option<Base>) -> Option<Hint> {
    suggest::hint(table, name, base)
}

/// The one of these words that a mistyped `name` was probably meant as.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    suggest::nearest(name, known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_stands_once_in_a_table() {
        for table in [Table::Settings, Table::Sync, Table::Rsync, Table::Ssh, Table::Tunnel] {
            let mut names = BTreeSet::new();
            for setting in of(table) {
                assert!(names.insert(setting.name), "{table:?}: {}", setting.name);
            }
            assert!(!names.is_empty());
        }
    }

    #[test]
    fn a_doc_is_a_sentence_without_a_full_stop() {
        for setting in SETTINGS {
            assert!(!setting.doc.is_empty() && !setting.doc.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn no_letter_and_no_word_means_two_things() {
        let mut seen = BTreeSet::new();
        for setting in SETTINGS {
            let word = match setting.word {
                Word::None => continue,
                Word::Short(letter) => std::format!("-{}", char::from(letter)),
                Word::Long(word) | Word::Value(word) => word.into(),
            };
            assert_eq!(setting.scope, Scope::Rsync, "{}", setting.name);
            assert!(seen.insert(word), "{}", setting.name);
        }
    }

    #[test]
    fn old_and_mistyped_names_get_a_hint() {
        use Hint::{Belongs, Instead, Perhaps};
        let check = |table, name: &str, hint: Option<Hint>| {
            assert_eq!(super::hint(table, name, Some(Base::Rsync)), hint, "{name}");
        };
        for (table, name, place) in [
            (Table::Sync, "insist", "settings{ .. }"),
            (Table::Sync, "nodaemon", "settings{ .. }"),
            (Table::Sync, "bwlimit", "rsync = { .. }"),
            (Table::Settings, "source", "sync{ .. }"),
            (Table::Rsync, "crontab", "sync{ .. }, beside this table"),
        ] {
            check(table, name, Some(Belongs(place)));
        }
        check(Table::Sync, "colapse", None);
        let of_script = |name| super::hint(Table::Sync, name, Some(Base::Own));
        assert_eq!(of_script("colapse"), Some(Perhaps("collapse")));
        assert!(matches!(of_script("rsyncOpts"), Some(Instead(why)) if !why.contains("rsync = {")));
        assert_eq!(nearest("rsynk", ["direct", "rsync", "rsyncssh"].into_iter()), Some("rsync"));
        assert_eq!(nearest("mine", ["direct", "rsync"].into_iter()), None);
        check(Table::Settings, "insisit", Some(Perhaps("insist")));
        check(Table::Settings, "statusfile", Some(Perhaps("statusFile")));
        check(Table::Settings, "xyzzy", None);
        check(Table::Rsync, "bwlimt", Some(Perhaps("bwlimit")));
        check(Table::Ssh, "identityfile", Some(Perhaps("identityFile")));
        for (table, name) in [
            (Table::Settings, "delay"),
            (Table::Settings, "log"),
            (Table::Sync, "rsyncOps"),
            (Table::Sync, "rsyncOpts"),
            (Table::Rsync, "delete"),
        ] {
            let hint = super::hint(table, name, Some(Base::Rsync));
            assert!(matches!(hint, Some(Instead(_))), "{name}");
        }
    }
}
