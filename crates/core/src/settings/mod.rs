//! Table of all settings of a configuration file.
//!
//! The check for unknown names, the suggestions, the arguments for rsync and the manual derive from
//! it.

pub mod lua_keys;
mod suggest;
mod table;

pub use suggest::NameHint;
pub use table::SETTINGS;

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name as written.
    pub name: &'static str,
    /// The table that contains it.
    pub scope: SettingScope,
    /// The type of its value.
    pub value_type: ValueType,
    /// The default as written; empty if there is none.
    pub default: &'static str,
    /// Description: one sentence without a full stop.
    pub doc: &'static str,
    /// The corresponding argument of rsync.
    pub rsync_arg: RsyncArgForm,
}

/// The table that contains a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingScope {
    /// `settings{}`.
    Settings,
    /// `sync{}`, for syncs on these bases.
    Sync(&'static [SyncBase]),
    /// The table `rsync` of a sync.
    Rsync,
    /// The table `ssh` of a sync.
    Ssh,
    /// `tunnel{}`.
    Tunnel,
}

/// A table of settings, regardless of the base of the sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsTable {
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

/// The base of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncBase {
    /// None: the user defines everything.
    Own,
    /// `default.rsync`
    Rsync,
    /// `default.rsyncssh`
    Rsyncssh,
    /// `default.direct`
    Direct,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any value that is true in Lua enables it.
    Flag,
    /// A number of at least this value, or a string that spells one.
    Number(u32),
    /// A string or a number.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A path.
    Path,
    /// A list of strings.
    List,
    /// A string or a list of strings.
    Patterns,
    /// A limit for deletions: a share such as `"50%"`, a number, or `false` for no limit.
    Budget,
    /// A deletion policy: `true`, `false`, `"startup"` or `"running"`.
    Delete,
    /// A table of further settings.
    Table,
    /// A table from exit codes to `"ok"`, `"again"` or `"die"`.
    Codes,
    /// A function of the user.
    Function,
    /// A flag, or a function that replaces its behaviour.
    FlagOrFunction,
    /// A shell command as a string, or a program and its arguments as a list.
    Command,
    /// A shell command as a string, a program and its arguments as a list, or a function.
    CommandOrFunction,
}

/// The argument of rsync for a setting that is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsyncArgForm {
    /// None.
    None,
    /// A letter among the short options.
    Short(u8),
    /// A long option.
    Long(&'static str),
    /// A long option, directly followed by the value.
    Value(&'static str),
}

impl Setting {
    /// Returns the table that contains the setting.
    #[must_use]
    pub const fn table(&self) -> SettingsTable {
        match self.scope {
            SettingScope::Settings => SettingsTable::Settings,
            SettingScope::Sync(_) => SettingsTable::Sync,
            SettingScope::Rsync => SettingsTable::Rsync,
            SettingScope::Ssh => SettingsTable::Ssh,
            SettingScope::Tunnel => SettingsTable::Tunnel,
        }
    }

    /// Returns true if the setting applies to syncs on this base.
    #[must_use]
    pub fn is_for(&self, base: SyncBase) -> bool {
        match self.scope {
            SettingScope::Sync(bases) => bases.contains(&base),
            SettingScope::Rsync => base != SyncBase::Own,
            SettingScope::Ssh => base == SyncBase::Rsyncssh,
            SettingScope::Settings | SettingScope::Tunnel => false,
        }
    }
}

/// Iterates over the settings of one table, in order.
pub fn of(table: SettingsTable) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.table() == table)
}

/// Returns a hint for an unknown `name` in this table; in a sync, for a name unknown on this base.
#[must_use]
pub fn hint(table: SettingsTable, name: &str, base: Option<SyncBase>) -> Option<NameHint> {
    suggest::hint(table, name, base)
}

/// Returns the known name that a mistyped `name` was probably meant as.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    suggest::nearest(name, known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_within_a_table() {
        for table in [
            SettingsTable::Settings,
            SettingsTable::Sync,
            SettingsTable::Rsync,
            SettingsTable::Ssh,
            SettingsTable::Tunnel,
        ] {
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
    fn rsync_arguments_are_unique() {
        let mut seen = BTreeSet::new();
        for setting in SETTINGS {
            let arg = match setting.rsync_arg {
                RsyncArgForm::None => continue,
                RsyncArgForm::Short(letter) => std::format!("-{}", char::from(letter)),
                RsyncArgForm::Long(arg) | RsyncArgForm::Value(arg) => arg.into(),
            };
            assert_eq!(setting.scope, SettingScope::Rsync, "{}", setting.name);
            assert!(seen.insert(arg), "{}", setting.name);
        }
    }

    #[test]
    fn old_and_mistyped_names_get_a_hint() {
        use NameHint::{BelongsIn, DidYouMean, Instead};
        let check = |table, name: &str, hint: Option<NameHint>| {
            assert_eq!(super::hint(table, name, Some(SyncBase::Rsync)), hint, "{name}");
        };
        for (table, name, owner) in [
            (SettingsTable::Sync, "insist", "settings{ .. }"),
            (SettingsTable::Sync, "nodaemon", "settings{ .. }"),
            (SettingsTable::Sync, "bwlimit", "rsync = { .. }"),
            (SettingsTable::Settings, "source", "sync{ .. }"),
            (SettingsTable::Rsync, "crontab", "sync{ .. }, next to this table"),
        ] {
            check(table, name, Some(BelongsIn(owner)));
        }
        check(SettingsTable::Sync, "colapse", None);
        let of_script = |name| super::hint(SettingsTable::Sync, name, Some(SyncBase::Own));
        assert_eq!(of_script("colapse"), Some(DidYouMean("collapse")));
        assert!(matches!(of_script("rsyncOpts"), Some(Instead(why)) if !why.contains("rsync = {")));
        assert_eq!(nearest("rsynk", ["direct", "rsync", "rsyncssh"].into_iter()), Some("rsync"));
        assert_eq!(nearest("mine", ["direct", "rsync"].into_iter()), None);
        check(SettingsTable::Settings, "insisit", Some(DidYouMean("insist")));
        check(SettingsTable::Settings, "statusfile", Some(DidYouMean("statusFile")));
        check(SettingsTable::Settings, "xyzzy", None);
        check(SettingsTable::Rsync, "bwlimt", Some(DidYouMean("bwlimit")));
        check(SettingsTable::Ssh, "identityfile", Some(DidYouMean("identityFile")));
        for (table, name) in [
            (SettingsTable::Settings, "delay"),
            (SettingsTable::Settings, "log"),
            (SettingsTable::Sync, "rsyncOps"),
            (SettingsTable::Sync, "rsyncOpts"),
            (SettingsTable::Rsync, "delete"),
        ] {
            let hint = super::hint(table, name, Some(SyncBase::Rsync));
            assert!(matches!(hint, Some(Instead(_))), "{name}");
        }
    }
}
