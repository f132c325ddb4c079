//! Translation of the user's rsync options for the built-in copier.
//!
//! Lsyncd 2.x makes the first transfer of `default.direct` with rsync, so `rsync = {..}` applies
//! there and may protect entries of the target.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{num::NonZeroU64, str};

use super::{
    args::{RsyncArg, RsyncArgParser, parse_size},
    chmod::Chmod,
    options::RsyncOptions,
};
use crate::path::Escaped;

/// Settings of a direct sync that correspond to options of rsync.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of rsync")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectOptions {
    /// Files that are newer on the target are left alone.
    pub update: bool,
    /// Nothing is created on the target.
    pub existing: bool,
    /// Files that exist on the target are left alone.
    pub ignore_existing: bool,
    /// Symbolic links are mirrored. Otherwise the links of the source are skipped, and target
    /// entries of the same name are kept.
    pub links: bool,
    /// Files of more bytes are neither transferred nor deleted.
    pub max_size: Option<u64>,
    /// Files of fewer bytes are neither transferred nor deleted.
    pub min_size: Option<u64>,
    /// Maximum number of entries that one job deletes.
    pub max_delete: Option<u64>,
    /// Replaced and deleted entries are kept.
    pub backup: Option<BackupOptions>,
    /// File systems mounted below the root of the source are skipped.
    pub one_file_system: bool,
    /// Maximum number of bytes written per second.
    pub bwlimit: Option<NonZeroU64>,
    /// Changes of permissions during the transfer.
    pub chmod: Option<Chmod>,
    /// Contents are compared where size and time are equal.
    pub checksum: bool,
    /// Files of equal size and time are transferred as well.
    pub ignore_times: bool,
    /// Permissions are copied from the source.
    pub perms: bool,
    /// The owner is copied from the source if the process may set it.
    pub owner: bool,
    /// The group is copied from the source if the process may set it.
    pub group: bool,
    /// Times are copied from the source.
    pub times: bool,
}

/// Backups of replaced and deleted entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupOptions {
    /// Suffix of the names. The default is `~`, or nothing if there is a backup directory.
    pub suffix: Vec<u8>,
    /// Backup directory; entries are kept under their path in the target. A relative directory is
    /// in the target.
    pub directory: Option<Vec<u8>>,
}

/// The defaults without options of the user.
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

/// A rule in the user's rsync options. These rules precede all others.
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

/// An option without effect in direct syncs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredOption {
    /// The option as written: `rsync.inplace` or `--inplace`.
    pub name: String,
    /// True if entries of the target could be lost that rsync would keep.
    pub protects: bool,
}

/// Result of the translation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DirectTranslation {
    /// Settings of the copier.
    pub options: DirectOptions,
    /// Filter rules, in order.
    pub rules: Vec<ExtraRule>,
    /// Options without effect.
    pub ignored: Vec<IgnoredOption>,
}

/// Options that do not affect the result of a direct sync.
const IRRELEVANT: &[&str] = &[
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

/// Options that protect entries of the target and that no executor of direct syncs supports.
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

impl DirectTranslation {
    /// Translates the user's options for rsync.
    ///
    /// # Errors
    ///
    /// If a value is invalid: a sentence without a full stop.
    pub fn translate(rsync: &RsyncOptions) -> Result<Self, String> {
        let mut translation = Self::default();
        let short = rsync.short_argument();
        let [keys, extra] = rsync.argument_lists(&short);
        translation.options.links = rsync.short.contains(&b'l');
        translation.options.times = rsync.short.contains(&b't');
        let mut backup = BackupArgs::default();
        for arg in RsyncArgParser::new(&keys) {
            translation.take(arg, OptionOrigin::Table, &mut backup)?;
        }
        for arg in RsyncArgParser::new(&extra) {
            translation.take(arg, OptionOrigin::Extra, &mut backup)?;
        }
        translation.options.backup = backup.build();
        Ok(translation)
    }

    /// Returns the filter rules among the user's options for rsync, in order, whatever the others
    /// are.
    #[must_use]
    pub fn rules(rsync: &RsyncOptions) -> Vec<ExtraRule> {
        let mut translation = Self::default();
        let short = rsync.short_argument();
        for arg in rsync.argument_lists(&short).iter().flat_map(|list| RsyncArgParser::new(list)) {
            if let RsyncArg::Option { name, value, .. } = arg {
                translation.take_rule(str::from_utf8(name).unwrap_or_default(), value);
            }
        }
        translation.rules
    }

    /// Switches off an option by its name in the table; no argument of rsync expresses this.
    pub fn switch_off(&mut self, name: &str) {
        match name {
            "perms" => self.options.perms = false,
            "owner" => self.options.owner = false,
            "group" => self.options.group = false,
            _ => {}
        }
    }

    fn take(
        &mut self,
        arg: RsyncArg<'_>,
        origin: OptionOrigin,
        backup: &mut BackupArgs,
    ) -> Result<(), String> {
        let RsyncArg::Option { name, value, arg: text } = arg else {
            let RsyncArg::Operand(text) = arg else { return Ok(()) };
            // It would be an additional source or target.
            self.ignored.push(IgnoredOption { name: Escaped(text).to_string(), protects: true });
            return Ok(());
        };
        let name = str::from_utf8(name).unwrap_or_default();
        let named = origin.named(name, text);
        // rsync does not know it, and the user expects it to exclude something.
        if name.contains(' ') {
            let name = format!("{named} (a single argument with a blank in it)");
            self.ignored.push(IgnoredOption { name, protects: true });
            return Ok(());
        }
        if self.take_rule(name, value) || backup.take(name, value) {
            return Ok(());
        }
        let wrong = || {
            let value = Escaped(value.unwrap_or_default());
            format!("{named} does not accept the value \"{value}\"")
        };
        let is_known = self.options.take(name, value).map_err(|InvalidValue| wrong())?;
        if !is_known && !is_irrelevant(name) {
            let protects = PROTECTING.contains(&name);
            self.ignored.push(IgnoredOption { name: named, protects });
        }
        Ok(())
    }

    /// Handles an option that is a rule. Returns false for other options.
    fn take_rule(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        let text = || value.unwrap_or_default().to_vec();
        let rule = match name {
            "exclude" => ExtraRule::Exclude(text()),
            "include" => ExtraRule::Include(text()),
            "filter" => ExtraRule::Filter(text()),
            "exclude-from" => ExtraRule::ExcludeFrom(text()),
            "include-from" => ExtraRule::IncludeFrom(text()),
            "F" => {
                // The second `-F` excludes the rule files themselves.
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

fn is_irrelevant(name: &str) -> bool {
    IRRELEVANT.contains(&name) || name.starts_with("delete") || name.starts_with("no-i")
}

/// Location of an option in the configuration.
#[derive(Clone, Copy)]
enum OptionOrigin {
    /// A key of the table `rsync`.
    Table,
    /// An element of `_extra`.
    Extra,
}

impl OptionOrigin {
    fn named(self, name: &str, text: &[u8]) -> String {
        match self {
            Self::Table if name == "secluded-args" => "rsync.protect_args".into(),
            Self::Table => format!("rsync.{}", name.replace('-', "_")),
            Self::Extra => format!("\"{}\" in rsync._extra", Escaped(text)),
        }
    }
}

struct InvalidValue;

impl DirectOptions {
    /// Applies an option. Returns false if it is unknown.
    fn take(&mut self, name: &str, value: Option<&[u8]>) -> Result<bool, InvalidValue> {
        let bytes = |unit| parse_size(value.unwrap_or_default(), unit).ok_or(InvalidValue);
        match name {
            "update" => self.update = true,
            "existing" => self.existing = true,
            "ignore-existing" => self.ignore_existing = true,
            "one-file-system" => self.one_file_system = true,
            "no-one-file-system" => self.one_file_system = false,
            "checksum" => self.checksum = true,
            "no-checksum" => self.checksum = false,
            "ignore-times" => self.ignore_times = true,
            "no-links" => self.links = false,
            "no-perms" => self.perms = false,
            "no-owner" => self.owner = false,
            "no-group" => self.group = false,
            "no-times" => self.times = false,
            "max-size" => self.max_size = Some(bytes(b'b')?),
            "min-size" => self.min_size = Some(bytes(b'b')?),
            "max-delete" => {
                self.max_delete = Some(count(value.unwrap_or_default()).ok_or(InvalidValue)?);
            }
            "bwlimit" => self.bwlimit = NonZeroU64::new(bytes(b'k')?),
            "chmod" => {
                self.chmod = Some(Chmod::parse(value.unwrap_or_default()).ok_or(InvalidValue)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Parses `--max-delete`. With a negative number rsync deletes nothing.
fn count(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    Some(u64::try_from(number).unwrap_or(0))
}

/// The options for backups.
#[derive(Default)]
struct BackupArgs {
    is_on: bool,
    suffix: Option<Vec<u8>>,
    directory: Option<Vec<u8>>,
}

impl BackupArgs {
    fn take(&mut self, name: &str, value: Option<&[u8]>) -> bool {
        let text = || Some(value.unwrap_or_default().to_vec());
        match name {
            "backup" => self.is_on = true,
            "no-backup" => self.is_on = false,
            "suffix" => self.suffix = text(),
            // It implies `--backup`.
            "backup-dir" => (self.directory, self.is_on) = (text(), true),
            _ => return false,
        }
        true
    }

    fn build(self) -> Option<BackupOptions> {
        let standard: &[u8] = if self.directory.is_some() { b"" } else { b"~" };
        let suffix = self.suffix.unwrap_or_else(|| standard.to_vec());
        self.is_on.then_some(BackupOptions { suffix, directory: self.directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn read(short: &str, extra: &[&str], long: &[&str]) -> DirectTranslation {
        DirectTranslation::translate(&rsync(short, extra, long)).unwrap()
    }

    fn rsync(short: &str, extra: &[&str], long: &[&str]) -> RsyncOptions {
        let args = |args: &[&str]| args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        RsyncOptions {
            short: short.into(),
            extra: args(extra),
            long: args(long),
            ..RsyncOptions::default()
        }
    }

    #[test]
    fn no_options_translate_to_the_defaults() {
        assert_eq!(read("lts", &[], &[]), DirectTranslation::default());
        assert_eq!(
            read("ltspgoDHAX", &["--stats", "--delete-after"], &[]),
            DirectTranslation::default()
        );
    }

    #[test]
    fn protective_options_are_translated_from_keys_and_arguments() {
        let options = read("ltsubx", &[], &["--existing", "--suffix=.bak"]).options;
        let backup = BackupOptions { suffix: b".bak".to_vec(), directory: None };
        let expected = DirectOptions {
            update: true,
            existing: true,
            one_file_system: true,
            backup: Some(backup),
            ..DirectOptions::default()
        };
        assert_eq!(options, expected);
        let args = [
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
            backup: Some(BackupOptions { suffix: Vec::new(), directory: Some(b".old".to_vec()) }),
            links: false,
            ..DirectOptions::default()
        };
        assert_eq!(read("lts", &args, &[]).options, expected);
        assert!(!read("ts", &[], &[]).options.links);
    }

    #[test]
    fn copy_options_are_translated() {
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
        let args = ["--include=a", "--exclude", "b", "-f- c", "-FF", "--exclude-from=d"];
        let expected = vec![
            Include(b"a".to_vec()),
            Exclude(b"b".to_vec()),
            Filter(b"- c".to_vec()),
            Filter(b": /.rsync-filter".to_vec()),
            Filter(b"- .rsync-filter".to_vec()),
            ExcludeFrom(b"d".to_vec()),
        ];
        assert_eq!(read("lts", &args, &[]).rules, expected);
        assert_eq!(
            read("ltsC", &["--include-from=e"], &[]).rules,
            [Filter(b":C".to_vec()), Filter(b"-C".to_vec()), IncludeFrom(b"e".to_vec())]
        );
    }

    #[test]
    fn ineffective_options_are_reported_by_name() {
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
        for (short, extra) in [("ltsu", &[][..]), ("lts", &["--chmod=F600"])] {
            assert_eq!(ignored(short, extra, &[]), []);
        }
    }

    #[test]
    fn invalid_values_are_reported() {
        for (arg, why) in [
            ("--max-size=x", "\"--max-size=x\" in rsync._extra does not accept the value \"x\""),
            ("--chmod=z", "\"--chmod=z\" in rsync._extra does not accept the value \"z\""),
            ("--max-delete=", "\"--max-delete=\" in rsync._extra does not accept the value \"\""),
        ] {
            assert_eq!(DirectTranslation::translate(&rsync("lts", &[arg], &[])), Err(why.into()));
        }
    }
}
