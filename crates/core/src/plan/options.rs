//! The user's options for rsync.

use alloc::vec::Vec;
use core::{
    ops::RangeInclusive,
    str::{self, FromStr},
};

use super::{
    args::{RsyncArg, RsyncArgParser, parse_size},
    target::{Target, TargetPath},
};
use crate::{guard::MaxDelete, path::TreePath};

/// Policy for deleting entries of the target that the source lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletePolicy {
    /// Never.
    Never,
    /// At startup and while the mirror runs.
    #[default]
    Always,
    /// At startup only.
    Startup,
    /// While the mirror runs only.
    Running,
}

impl DeletePolicy {
    /// Returns true if entries are deleted in this phase.
    #[must_use]
    pub const fn applies(self, phase: TransferPhase) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Startup => matches!(phase, TransferPhase::Startup),
            Self::Running => matches!(phase, TransferPhase::Running),
        }
    }

    /// Returns the budget for the unobserved deletions of a job, given the configured one.
    ///
    /// While a [`Running`](Self::Running) mirror compares everything, or what its startup has
    /// failed on, nobody knows which of these entries the target had before: a share allows none of
    /// them then.
    #[must_use]
    pub const fn unobserved_budget(self, may_be_older: bool, configured: MaxDelete) -> MaxDelete {
        match (self, configured) {
            (Self::Running, MaxDelete::Share(_)) if may_be_older => MaxDelete::Count(0),
            _ => configured,
        }
    }
}

/// The occasion of a transfer of the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferPhase {
    /// The start of the mirror.
    Startup,
    /// A rescan, because changes may have been missed.
    Running,
}

/// Form in which a batch passes its files to rsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListForm {
    /// A list for `--files-from`, whose entries rsync looks up one by one.
    #[default]
    FilesFrom,
    /// Filter rules, as in the original. This is slow, since rsync matches each entry of each
    /// directory with each rule; programs that replace rsync may expect it.
    Filter,
}

/// The user's exclusions, as written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ExcludeRules {
    /// No exclusions.
    #[default]
    None,
    /// Patterns, each a line of rsync's `--exclude-from`.
    Excludes(Vec<Vec<u8>>),
    /// Rules such as `- *.tmp`, in their order.
    Filters(Vec<Vec<u8>>),
}

/// The user's options for calls of rsync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsyncOptions {
    /// Letters of the enabled short options. If empty, the argument is omitted.
    pub short: Vec<u8>,
    /// The user's own arguments, which follow the short options.
    pub extra: Vec<Vec<u8>>,
    /// Long options with their values, which come next, in the order of the original.
    pub long: Vec<Vec<u8>>,
    /// Deletion policy.
    pub delete: DeletePolicy,
    /// True if a startup also deletes excluded entries.
    pub delete_excluded: bool,
    /// Exclusions.
    pub rules: ExcludeRules,
    /// Form of the file list of a batch.
    pub form: ListForm,
}

/// The defaults of the command line: links, times, and names passed unmodified.
impl Default for RsyncOptions {
    fn default() -> Self {
        Self {
            short: b"lts".to_vec(),
            extra: Vec::new(),
            long: Vec::new(),
            delete: DeletePolicy::Always,
            delete_excluded: false,
            rules: ExcludeRules::None,
            form: ListForm::FilesFrom,
        }
    }
}

impl RsyncOptions {
    /// Returns true if a call for these paths, if any, transfers the attributes of the root.
    #[must_use]
    pub fn transfers_root<'a>(&self, paths: impl IntoIterator<Item = &'a TreePath>) -> bool {
        let mut paths = paths.into_iter();
        match self.form {
            ListForm::FilesFrom => paths.any(is_in_root),
            // Filter rules lead through the root.
            ListForm::Filter => paths.next().is_some(),
        }
    }

    /// Returns true if a full transfer deletes excluded entries, and with them everything that the
    /// source lacks.
    #[must_use]
    pub const fn deletes_excluded(&self, phase: TransferPhase) -> bool {
        self.delete_excluded && matches!(phase, TransferPhase::Startup)
    }

    /// Returns the port of the rsync daemon in the user's arguments.
    #[must_use]
    pub fn daemon_port(&self) -> Option<u16> {
        self.last_number(b"port")
    }

    /// Returns the maximum number of deletions per call that the user's arguments allow.
    #[must_use]
    pub fn max_delete(&self) -> Option<u64> {
        self.last_number(b"max-delete")
    }

    /// Returns true if the user's arguments set the modify window.
    #[must_use]
    pub fn sets_modify_window(&self) -> bool {
        self.args().any(|arg| arg.starts_with(b"--modify-window") || arg.starts_with(b"-@"))
    }

    /// Returns the short options as one argument.
    #[must_use]
    pub fn short_argument(&self) -> Vec<u8> {
        [b"-", &*self.short].concat()
    }

    /// Returns the arguments that stand for keys of the table, with the short ones first, and the
    /// user's own, which override them.
    #[must_use]
    pub fn argument_lists<'a>(&'a self, short: &'a [u8]) -> [Vec<&'a [u8]>; 2] {
        let short = core::iter::once(short).filter(|arg| arg.len() > 1);
        let keys = short.chain(self.long.iter().map(Vec::as_slice));
        [keys.collect(), self.extra.iter().map(Vec::as_slice).collect()]
    }

    /// Returns true if hard links are preserved.
    #[must_use]
    pub fn keeps_hard_links(&self) -> bool {
        self.has(b'H', b"--hard-links")
    }

    /// Returns true if a list without deletions may name a directory in place of all of its
    /// entries. No argument may delete in such a directory, or treat its entries in another way
    /// than listed ones, and hard links need the entries themselves.
    #[must_use]
    pub fn may_list_directories(&self) -> bool {
        const OTHERS: [&[u8]; 10] = [
            b"recursive",
            b"dirs",
            b"relative",
            b"files-from",
            b"filter",
            b"F",
            b"cvs-exclude",
            b"prune-empty-dirs",
            b"remove-source-files",
            b"remote-option",
        ];
        let is_other = |name: &[u8]| {
            name.starts_with(b"delete")
                || OTHERS.contains(&name.strip_prefix(b"no-").unwrap_or(name))
        };
        let short = self.short_argument();
        let mut args = self.arg_slices();
        if !self.short.is_empty() {
            args.push(&short);
        }
        let has_others = RsyncArgParser::new(&args).any(|arg| match arg {
            RsyncArg::Option { name, .. } => is_other(name),
            RsyncArg::Operand(_) => true,
        });
        self.form == ListForm::FilesFrom && !has_others && !self.keeps_hard_links()
    }

    /// Returns true if symbolic links are transferred, as links or as what they lead to.
    #[must_use]
    pub fn keeps_links(&self) -> bool {
        let in_archive = self.has(b'a', b"--archive") && !self.has(b'\0', b"--no-links");
        in_archive || self.has(b'l', b"--links") || self.has(b'L', b"--copy-links")
    }

    /// Returns true if directories without anything to transfer in them are left out.
    #[must_use]
    pub fn prunes_empty_dirs(&self) -> bool {
        self.has(b'm', b"--prune-empty-dirs")
    }

    /// Returns the sizes of the files that are transferred, in bytes.
    #[must_use]
    pub fn sizes(&self) -> RangeInclusive<u64> {
        let size = |long| self.last_value(long, |text| parse_size(text, b'b'));
        size(b"min-size").unwrap_or(0)..=size(b"max-size").unwrap_or(u64::MAX)
    }

    /// Returns true if modification times are preserved.
    #[must_use]
    pub fn keeps_times(&self) -> bool {
        self.has(b't', b"--times") || self.has(b'a', b"--archive")
    }

    /// Returns true if extended attributes are transferred by rsync's own rules: the user's rules
    /// may select others, and rsync has other rights than this process.
    fn has_default_xattr_rules(&self) -> bool {
        const OTHER: [&[u8]; 6] =
            [b"filter", b"F", b"super", b"fake-super", b"copy-as", b"remote-option"];
        let args = self.arg_slices();
        let is_other = |arg| matches!(arg, RsyncArg::Option { name, .. } if OTHER.contains(&name));
        let concerns_names_only = |rule: &Vec<u8>| {
            let modifiers = rule.split(|b| b" _".contains(b)).next().unwrap_or_default();
            let is_short = modifiers.first().is_some_and(|kind| b"-+PHSR".contains(kind));
            is_short && !modifiers.contains(&b'x')
        };
        let rules_are_ours = match &self.rules {
            ExcludeRules::None | ExcludeRules::Excludes(_) => true,
            ExcludeRules::Filters(rules) => rules.iter().all(concerns_names_only),
        };
        self.has(b'X', b"--xattrs") && rules_are_ours && !RsyncArgParser::new(&args).any(is_other)
    }

    /// Returns arguments for which rsync neither transfers nor deletes this extended attribute.
    /// There are none if it would not do so anyway, or if they would change what else is
    /// transferred.
    ///
    /// A rule for attributes turns off the selection that rsync makes without one, so that has to
    /// be repeated: see `--xattrs` in rsync(1).
    #[must_use]
    pub fn args_keeping_xattr(&self, name: &str, is_root: bool) -> Vec<Vec<u8>> {
        if self.form != ListForm::FilesFrom || !self.has_default_xattr_rules() {
            return Vec::new();
        }
        let rest = if is_root { "--filter=-x system.*" } else { "--filter=-x! user.*" };
        Vec::from([alloc::format!("--filter=-x {name}").into(), rest.into()])
    }

    /// Returns true if file systems mounted in the source are not entered.
    #[must_use]
    pub fn stays_on_file_system(&self) -> bool {
        self.has(b'x', b"--one-file-system")
    }

    /// Returns true if the receiver makes its temporary files beside the files that they become,
    /// and rsync can delete them.
    #[must_use]
    pub fn may_remove_temp_files(&self) -> bool {
        let args = self.arg_slices();
        let is_other = |arg| matches!(arg, RsyncArg::Option { name, .. } if [b"temp-dir", &b"T"[..]].contains(&name));
        !RsyncArgParser::new(&args).any(is_other) && !self.keeps_backups()
    }

    /// Returns the backup directory, if it is in the target.
    pub(super) fn backup_directory(&self, target: &Target) -> Option<TreePath> {
        let directory = self.last_value(b"backup-dir", |text| Some(text.to_vec()))?;
        let path = match target.path() {
            _ if !directory.starts_with(b"/") => {
                directory.strip_prefix(b"./").unwrap_or(&directory)
            }
            TargetPath::Absolute(target) => directory.strip_prefix(target)?,
            TargetPath::Relative(_) | TargetPath::Unknown => return None,
        };
        TreePath::new(path).filter(|path| !path.is_root())
    }

    /// Returns true if replaced and deleted entries are kept.
    #[must_use]
    pub fn keeps_backups(&self) -> bool {
        self.has(b'b', b"--backup")
    }

    /// Returns the last value of this option in the user's arguments that is a number.
    fn last_number<T: FromStr>(&self, long: &[u8]) -> Option<T> {
        self.last_value(long, |text| str::from_utf8(text).ok()?.parse().ok())
    }

    /// Returns the last value of this option in the user's arguments that `parse` accepts.
    fn last_value<T>(&self, long: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let args = self.arg_slices();
        let value = |arg| match arg {
            RsyncArg::Option { name, value: Some(value), .. } if name == long => parse(value),
            RsyncArg::Option { .. } | RsyncArg::Operand(_) => None,
        };
        RsyncArgParser::new(&args).filter_map(value).last()
    }

    /// Returns true if an option, given by letter and long name, is enabled. The last of the user's
    /// arguments that sets it decides, else the short options do.
    fn has(&self, letter: u8, long: &[u8]) -> bool {
        let args = self.arg_slices();
        let long = long.strip_prefix(b"--").unwrap_or(long);
        let switches = RsyncArgParser::new(&args).filter_map(|arg| match arg {
            RsyncArg::Option { name, .. } if name == long => Some(true),
            RsyncArg::Option { name, .. } if name.strip_prefix(b"no-") == Some(long) => Some(false),
            RsyncArg::Option { .. } | RsyncArg::Operand(_) => None,
        });
        switches.last().unwrap_or_else(|| self.short.contains(&letter))
    }

    /// Returns the level of output that the user wants: the number of `-v`.
    fn verbosity(&self) -> usize {
        let args = self.arg_slices();
        let is_it = |arg: &RsyncArg<'_>| matches!(arg, RsyncArg::Option { name: b"verbose", .. });
        let in_short: usize = self.short.iter().map(|letter| usize::from(*letter == b'v')).sum();
        in_short + RsyncArgParser::new(&args).filter(is_it).count()
    }

    /// Returns true if the user's arguments ask for the short summary at the end of a call.
    #[must_use]
    pub fn prints_summary(&self) -> bool {
        self.prints_stats() || self.verbosity() > 0
    }

    /// Returns true if the user wants transfer statistics.
    #[must_use]
    pub fn prints_stats(&self) -> bool {
        let is_it = |word: &[u8]| word.starts_with(b"stats") || word.starts_with(b"all");
        self.args().any(|arg| {
            let words = arg.strip_prefix(b"--info=");
            arg == b"--stats" || words.is_some_and(|it| it.split(|&b| b == b',').any(is_it))
        })
    }

    /// Returns true if calls print statistics for the daemon only: not beside the user's own
    /// output of the progress or of details, which would change, and not for programs that expect
    /// the calls of the original.
    #[must_use]
    pub fn has_own_stats(&self) -> bool {
        self.form == ListForm::FilesFrom
            && !self.prints_stats()
            && !self.shows_progress()
            && self.verbosity() < 2
    }

    /// Returns true if the user wants another report of the progress, or no output.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        let is_other = |arg: &[u8]| {
            let has = |part: &[u8]| arg.windows(part.len()).any(|it| it == part);
            let is_short = arg.starts_with(b"-") && !arg.starts_with(b"--");
            has(b"progress") || arg == b"--quiet" || is_short && (has(b"P") || has(b"q"))
        };
        self.short.iter().any(|b| b"Pq".contains(b)) || self.args().any(|arg| is_other(arg))
    }

    /// Iterates over the user's own arguments and the long options.
    pub(super) fn args(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.extra.iter().chain(&self.long)
    }

    fn arg_slices(&self) -> Vec<&[u8]> {
        self.args().map(Vec::as_slice).collect()
    }
}

/// Returns true for the root and its entries.
pub(super) fn is_in_root(path: &TreePath) -> bool {
    !path.as_bytes().contains(&b'/')
}
