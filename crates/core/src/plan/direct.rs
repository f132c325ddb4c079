//! What the user's words for rsync mean to the copier in this process.
//!
//! Lsyncd 2.x makes the first transfer of `default.direct` by rsync, so `rsync = {..}` counts there,
//! and may protect what the target has.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{num::NonZeroU64, str};

use super::{
    args::{Arg, Args, size},
    chmod::Chmod,
    options::RsyncOptions,
};
use crate::path::Escaped;

/// What a user may say of a direct sync in the words of rsync.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of rsync")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectOptions {
    /// A file that is newer at the target stays as it is.
    pub update: bool,
    /// Nothing new is made at the target.
    pub existing: bool,
    /// A file that the target has stays as it is.
    pub ignore_existing: bool,
    /// Symbolic links are mirrored. Else those of the source are left out, and what the target has
    /// of such a name stays.
    pub links: bool,
    /// Files of more bytes are neither transferred nor deleted.
    pub max_size: Option<u64>,
    /// Files of fewer bytes are neither transferred nor deleted.
    pub min_size: Option<u64>,
    /// The most entries that one job deletes.
    pub max_delete: Option<u64>,
    /// What is replaced or deleted is kept.
    pub backup: Option<Backup>,
    /// What lies on other file systems than the root of the source is left out.
    pub one_file_system: bool,
    /// The most bytes that are written in a second.
    pub bwlimit: Option<NonZeroU64>,
    /// Changes of permissions on the way.
    pub chmod: Option<Chmod>,
    /// Contents are compared where size and time are equal.
    pub checksum: bool,
    /// Files are transferred that are equal in size and time, too.
    pub ignore_times: bool,
    /// Permissions are those of the source.
    pub perms: bool,
    /// The owner is that of the source, where the process may set it.
    pub owner: bool,
    /// The group is that of the source, where the process may set it.
    pub group: bool,
    /// Times are those of the source.
    pub times: bool,
}

/// How what is replaced or deleted is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The end of its name: `~`, or nothing in a directory of its own, if nothing else is said.
    pub suffix: Vec<u8>,
    /// The directory in which it is kept, under the path that it has in the target. A relative one
    /// lies in the target.
    pub directory: Option<Vec<u8>>,
}

/// Nothing was said.
impl Default for DirectOptions {
    fn default() -> Self {
        Self {
            update: false,
            existing: false,
            ignore_existing: false,
            links: true,
            max_size: None,
            min_size: None,
            max_delete: None,
            backup: None,
            one_file_system: false,
            bwlimit: None,
            chmod: None,
            checksum: false,
            ignore_times: false,
            perms: true,
            owner: true,
            group: true,
            times: true,
        }
    }
}

/// What [`DirectOptions`] can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// [`DirectOptions::update`]
    Update,
    /// [`DirectOptions::existing`]
    Existing,
    /// [`DirectOptions::ignore_existing`]
    IgnoreExisting,
    /// [`DirectOptions::links`]
    Links,
    /// [`DirectOptions::max_size`] and [`DirectOptions::min_size`]
    Size,
    /// [`DirectOptions::max_delete`]
    MaxDelete,
    /// [`DirectOptions::backup`]
    Backup,
    /// [`DirectOptions::one_file_system`]
    OneFileSystem,
    /// [`DirectOptions::bwlimit`]
    Bwlimit,
    /// [`DirectOptions::chmod`]
    Chmod,
    /// [`DirectOptions::checksum`]
    Checksum,
    /// [`DirectOptions::ignore_times`]
    IgnoreTimes,
    /// [`DirectOptions::perms`], [`DirectOptions::owner`], [`DirectOptions::group`] and
    /// [`DirectOptions::times`]
    Attributes,
}

/// Those that the copier carries out. Of the others, those that protect something are refused, and
/// the rest is warned of.
pub const EFFECTIVE: &[Key] = &[
    Key::Update,
    Key::Existing,
    Key::IgnoreExisting,
    Key::Links,
    Key::Size,
    Key::MaxDelete,
    Key::Backup,
    Key::OneFileSystem,
    Key::Bwlimit,
    Key::Chmod,
    Key::Checksum,
    Key::IgnoreTimes,
    Key::Attributes,
];

impl Key {
    /// Returns true if something of the target could be lost where it has no effect.
    const fn protects(self) -> bool {
        match self {
            Self::Update
            | Self::Existing
            | Self::IgnoreExisting
            | Self::Links
            | Self::Size
            | Self::MaxDelete
            | Self::Backup
            | Self::OneFileSystem => true,
            Self::Bwlimit | Self::Chmod | Self::Checksum | Self::IgnoreTimes | Self::Attributes => {
                false
            }
        }
    }
}

/// A rule of the user's words, in front of all that stand beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtraRule {
    /// `--exclude`
    Exclude(Vec<u8>),
    /// `--include`
    Include(Vec<u8>),
    /// `--filter`
    Filter(Vec<u8>),
    /// `--exclude-from`
    ExcludeFrom(Vec<u8>),
    /// `--include-from`
    IncludeFrom(Vec<u8>),
}

/// What has no effect for direct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// What was written: `rsync.inplace` or `--inplace`.
    pub name: String,
    /// Whether something of the target could be lost that it keeps with rsync.
    pub protects: bool,
}

/// What the user's words say.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirectWords {
    /// What the copier does otherwise.
    pub options: DirectOptions,
    /// In their order.
    pub rules: Vec<ExtraRule>,
    /// What has no effect.
    pub ignored: Vec<Ignored>,
}

/// Options that change nothing of what direct leaves on the target.
const SILENT: &[&str] = &[
    "archive",
    "recursive",
    "links",
    "perms",
    "times",
    "group",
    "owner",
    "devices",
    "specials",
    "acls",
    "xattrs",
    "hard-links",
    "executability",
    "sparse",
    "secluded-args",
    "old-args",
    "whole-file",
    "human-readable",
    "itemize-changes",
    "stats",
    "progress",
    "info",
    "debug",
    "out-format",
    "log-file",
    "log-file-format",
    "8-bit-output",
    "numeric-ids",
    "partial",
    "partial-dir",
    "P",
    "preallocate",
    "force",
    "delay-updates",
    "outbuf",
    "stderr",
    "msgs2stderr",
    "max-alloc",
    "no-whole-file",
    "no-compress",
    "no-verbose",
    "fuzzy",
];

/// Options by which something of the target stays, and which nobody carries out.
const PROTECTING: &[&str] = &[
    "dry-run",
    "list-only",
    "only-write-batch",
    "keep-dirlinks",
    "safe-links",
    "files-from",
    "no-recursive",
    "dirs",
];

impl DirectWords {
    /// Reads what the user says about rsync.
    ///
    /// # Errors
    ///
    /// If a value is wrong: a sentence without a full stop.
    pub fn read(rsync: &RsyncOptions) -> Result<Self, String> {
        let mut read = Self::default();
        // What stands in the table is read first, so that a word of the user's own counts more.
        let short = [b"-".as_slice(), &rsync.short].concat();
        let keys: Vec<&[u8]> = core::iter::once(&*short)
            .filter(|word| word.len() > 1)
            .chain(rsync.long.iter().map(Vec::as_slice))
            .collect();
        if !rsync.short.contains(&b'l') {
            let key = off(&mut read.options.links, Key::Links);
            read.ignore_unless_effective(key, "rsync.links = false".into());
        }
        if !rsync.short.contains(&b't') {
            let key = off(&mut read.options.times, Key::Attributes);
            read.ignore_unless_effective(key, "rsync.times = false".into());
        }
        let mut backup = BackupWords::default();
        for arg in Args::new(&keys) {
            read.take(arg, Origin::Table, &mut backup)?;
        }
        let extra: Vec<&[u8]> = rsync.extra.iter().map(Vec::as_slice).collect();
        for arg in Args::new(&extra) {
            read.take(arg, Origin::Extra, &mut backup)?;
        }
        read.options.backup = backup.read();
        Ok(read)
    }

    /// What is switched off by name in the table: nothing says so in rsync's words.
    pub fn switch_off(&mut self, name: &str) {
        let switch = match name {
            "perms" => &mut self.options.perms,
            "owner" => &mut self.options.owner,
            "group" => &mut self.options.group,
            _ => return,
        };
        let key = off(switch, Key::Attributes);
        self.ignore_unless_effective(key, format!("rsync.{name} = false"));
    }

    fn ignore_unless_effective(&mut self, key: Key, name: String) {
        if !EFFECTIVE.contains(&key) {
            self.ignored.push(Ignored { name, protects: key.protects() });
        }
    }

    fn take(
        &mut self,
        arg: Arg<'_>,
        origin: Origin,
        backup: &mut BackupWords,
    ) -> Result<(), String> {
        let Arg::Option { name, value, word } = arg else {
            let Arg::Operand(word) = arg else { return Ok(()) };
            // It would be a source or a target of its own.
            self.ignored.push(Ignored { name: Escaped(word).to_string(), protects: true });
            return Ok(());
        };
        let name = str::from_utf8(name).unwrap_or_default();
        let named = origin.named(name, word);
        // rsync does not know it, and the user thinks that it leaves out something.
        if name.contains(' ') {
            let name = format!("{named} (one word with a blank in it)");
            self.ignored.push(Ignored { name, protects: true });
            return Ok(());
        }
        if self.take_rule(name, value) || backup.take(name, value) {
            let is_backup = matches!(name, "backup" | "backup-dir" | "suffix");
            if is_backup {
                self.ignore_unless_effective(Key::Backup, named);
            }
            return Ok(());
        }
        let wrong = || {
            let value = Escaped(value.unwrap_or_default());
            format!("{named} has no use for the value \"{value}\"")
        };
        if let Some(key) = self.options.take(name, value).map_err(|Wrong| wrong())? {
            self.ignore_unless_effective(key, named);
        } else if !is_silent(name) {
            let protects = PROTECTING.contains(&name);
            self.ignored.push(Ignored { name: named, protects });
        }
        Ok(())
    }

    /// Takes in an option that is a rule.
    fn take_rule(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        let text = || value.unwrap_or_default().to_vec();
        let rule = match name {
            "exclude" => ExtraRule::Exclude(text()),
            "include" => ExtraRule::Include(text()),
            "filter" => ExtraRule::Filter(text()),
            "exclude-from" => ExtraRule::ExcludeFrom(text()),
            "include-from" => ExtraRule::IncludeFrom(text()),
            "F" => {
                // The second one leaves out the files of rules themselves.
                let rule: &[u8] =
                    if self.merges_rules() { b"- .rsync-filter" } else { b": /.rsync-filter" };
                ExtraRule::Filter(rule.to_vec())
            }
            "cvs-exclude" => {
                self.rules.push(ExtraRule::Filter(b":C".to_vec()));
                ExtraRule::Filter(b"-C".to_vec())
            }
            _ => return false,
        };
        self.rules.push(rule);
        true
    }

    fn merges_rules(&self) -> bool {
        self.rules.contains(&ExtraRule::Filter(b": /.rsync-filter".to_vec()))
    }
}

fn is_silent(name: &str) -> bool {
    SILENT.contains(&name) || name.starts_with("delete") || name.starts_with("no-i")
}

/// Where a word stands.
#[derive(Clone, Copy)]
enum Origin {
    /// In the table `rsync`, as a key.
    Table,
    /// In `_extra`.
    Extra,
}

impl Origin {
    fn named(self, name: &str, word: &[u8]) -> String {
        match self {
            Self::Table if name == "secluded-args" => "rsync.protect_args".into(),
            Self::Table => format!("rsync.{}", name.replace('-', "_")),
            Self::Extra => format!("\"{}\" in rsync._extra", Escaped(word)),
        }
    }
}

/// A value that can't be used.
struct Wrong;

impl DirectOptions {
    /// Takes in an option, and says which. `None` if there is none of that name.
    fn take(&mut self, name: &str, value: Option<&[u8]>) -> Result<Option<Key>, Wrong> {
        let bytes = |unit| size(value.unwrap_or_default(), unit).ok_or(Wrong);
        Ok(Some(match name {
            "update" => on(&mut self.update, Key::Update),
            "existing" => on(&mut self.existing, Key::Existing),
            "ignore-existing" => on(&mut self.ignore_existing, Key::IgnoreExisting),
            "one-file-system" => on(&mut self.one_file_system, Key::OneFileSystem),
            "no-one-file-system" => off(&mut self.one_file_system, Key::OneFileSystem),
            "checksum" => on(&mut self.checksum, Key::Checksum),
            "no-checksum" => off(&mut self.checksum, Key::Checksum),
            "ignore-times" => on(&mut self.ignore_times, Key::IgnoreTimes),
            "no-links" => off(&mut self.links, Key::Links),
            "no-perms" => off(&mut self.perms, Key::Attributes),
            "no-owner" => off(&mut self.owner, Key::Attributes),
            "no-group" => off(&mut self.group, Key::Attributes),
            "no-times" => off(&mut self.times, Key::Attributes),
            "max-size" => {
                self.max_size = Some(bytes(b'b')?);
                Key::Size
            }
            "min-size" => {
                self.min_size = Some(bytes(b'b')?);
                Key::Size
            }
            "max-delete" => {
                self.max_delete = Some(count(value.unwrap_or_default()).ok_or(Wrong)?);
                Key::MaxDelete
            }
            "bwlimit" => {
                self.bwlimit = NonZeroU64::new(bytes(b'k')?);
                Key::Bwlimit
            }
            "chmod" => {
                self.chmod = Some(Chmod::parse(value.unwrap_or_default()).ok_or(Wrong)?);
                Key::Chmod
            }
            _ => return Ok(None),
        }))
    }
}

const fn on(switch: &mut bool, key: Key) -> Key {
    *switch = true;
    key
}

const fn off(switch: &mut bool, key: Key) -> Key {
    *switch = false;
    key
}

/// rsync deletes nothing with a negative number.
fn count(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    Some(u64::try_from(number).unwrap_or(0))
}

/// The words about backups.
#[derive(Default)]
struct BackupWords {
    is_on: bool,
    suffix: Option<Vec<u8>>,
    directory: Option<Vec<u8>>,
}

impl BackupWords {
    fn take(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        let text = || Some(value.unwrap_or_default().to_vec());
        match name {
            "backup" => self.is_on = true,
            "no-backup" => self.is_on = false,
            "suffix" => self.suffix = text(),
            // It makes backups by itself.
            "backup-dir" => (self.directory, self.is_on) = (text(), true),
            _ => return false,
        }
        true
    }

    fn read(self) -> Option<Backup> {
        let standard: &[u8] = if self.directory.is_some() { b"" } else { b"~" };
        let suffix = self.suffix.unwrap_or_else(|| standard.to_vec());
        self.is_on.then_some(Backup { suffix, directory: self.directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn read(short: &str, extra: &[&str], long: &[&str]) -> DirectWords {
        DirectWords::read(&rsync(short, extra, long)).unwrap()
    }

    fn rsync(short: &str, extra: &[&str], long: &[&str]) -> RsyncOptions {
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        RsyncOptions {
            short: short.into(),
            extra: words(extra),
            long: words(long),
            ..RsyncOptions::default()
        }
    }

    #[test]
    fn without_words_nothing_is_otherwise() {
        assert_eq!(read("lts", &[], &[]), DirectWords::default());
        assert_eq!(read("ltspgoDHAX", &["--stats", "--delete-after"], &[]), DirectWords::default());
    }

    #[test]
    fn what_protects_is_read_from_keys_and_from_words() {
        let options = read("ltsubx", &[], &["--existing", "--suffix=.bak"]).options;
        let backup = Backup { suffix: b".bak".to_vec(), directory: None };
        let expected = DirectOptions {
            update: true,
            existing: true,
            one_file_system: true,
            backup: Some(backup),
            ..DirectOptions::default()
        };
        assert_eq!(options, expected);
        let words = [
            "--ignore-existing",
            "--max-size=1.5k",
            "--min-size",
            "1",
            "--max-delete=-1",
            "--backup-dir=.old",
            "--no-l",
        ];
        let expected = DirectOptions {
            ignore_existing: true,
            max_size: Some(1536),
            min_size: Some(1),
            max_delete: Some(0),
            backup: Some(Backup { suffix: Vec::new(), directory: Some(b".old".to_vec()) }),
            links: false,
            ..DirectOptions::default()
        };
        assert_eq!(read("lts", &words, &[]).options, expected);
        assert!(!read("ts", &[], &[]).options.links);
    }

    #[test]
    fn what_changes_the_copies_is_read() {
        let options = read("ltscI", &["--no-p"], &["--bwlimit=2", "--chmod=F600"]).options;
        let expected = DirectOptions {
            checksum: true,
            ignore_times: true,
            perms: false,
            bwlimit: NonZeroU64::new(2048),
            chmod: Chmod::parse(b"F600"),
            ..DirectOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn rules_keep_their_order() {
        use ExtraRule::{Exclude, ExcludeFrom, Filter, Include, IncludeFrom};
        let words = ["--include=a", "--exclude", "b", "-f- c", "-FF", "--exclude-from=d"];
        let expected = vec![
            Include(b"a".to_vec()),
            Exclude(b"b".to_vec()),
            Filter(b"- c".to_vec()),
            Filter(b": /.rsync-filter".to_vec()),
            Filter(b"- .rsync-filter".to_vec()),
            ExcludeFrom(b"d".to_vec()),
        ];
        assert_eq!(read("lts", &words, &[]).rules, expected);
        assert_eq!(
            read("ltsC", &["--include-from=e"], &[]).rules,
            [Filter(b":C".to_vec()), Filter(b"-C".to_vec()), IncludeFrom(b"e".to_vec())]
        );
    }

    #[test]
    fn what_has_no_effect_is_told_with_its_name() {
        let ignored = |short: &str, extra: &[&str], long: &[&str]| -> Vec<(String, bool)> {
            let read = read(short, extra, long).ignored;
            read.into_iter().map(|ignored| (ignored.name, ignored.protects)).collect()
        };
        assert_eq!(
            ignored("ltsnz", &["--safe-links", "x"], &["--inplace"]),
            [
                ("rsync.dry_run".into(), true),
                ("rsync.compress".into(), false),
                ("rsync.inplace".into(), false),
                ("\"--safe-links\" in rsync._extra".into(), true),
                ("x".into(), true),
            ]
        );
        for key in [Key::Update, Key::Chmod] {
            let (short, extra) = match key {
                Key::Update => ("ltsu", &[][..]),
                _ => ("lts", &["--chmod=F600"][..]),
            };
            let is_told = !ignored(short, extra, &[]).is_empty();
            assert_eq!(is_told, !EFFECTIVE.contains(&key), "{key:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_told() {
        for (word, why) in [
            ("--max-size=x", "\"--max-size=x\" in rsync._extra has no use for the value \"x\""),
            ("--chmod=z", "\"--chmod=z\" in rsync._extra has no use for the value \"z\""),
            ("--max-delete=", "\"--max-delete=\" in rsync._extra has no use for the value \"\""),
        ] {
            assert_eq!(DirectWords::read(&rsync("lts", &[word], &[])), Err(why.into()));
        }
    }
}
