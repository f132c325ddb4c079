//! The exact command lines of rsync.
//!
//! The arguments were verified with 3.1.3 to 3.5.0. Source and target are always the last two
//! arguments: wrapper scripts rely on it.

mod call;

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    options::{ExcludeRules, ListForm, RsyncOptions, TransferPhase},
    patterns::{anchored, files_from_list, include_patterns, removal_rules, temp_file_rules},
    target::Target,
    timeouts::{self, timeout_args},
};
use crate::path::TreePath;

pub use super::patterns::UnwantedKind;
pub use call::{CHANGE_PREFIX, RsyncCall};
use call::{IGNORE_TIMES, NANOSECOND_WINDOW};

/// Limit for deleting entries that the source lacks, where the policy deletes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// No limit.
    Allowed,
    /// Deletes nothing: a missing entry may only be temporarily invisible.
    Withheld,
    /// At most this number of entries. With 0 rsync only counts the others and reports the number
    /// of entries on the target.
    AtMost(u64),
    /// At most this number of entries, and nothing is sent, which makes room on a full target.
    WithoutTransfer(u64),
    /// Deletes and sends nothing: the call only reports the deletions that it would make.
    DryRun,
}

/// rsync's quick check: the criterion by which files count as equal and are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QuickCheck {
    /// Size, and time to the nanosecond.
    #[default]
    Nanoseconds,
    /// Size, and time to the second.
    Seconds,
    /// Size, and times that differ by at most this number of seconds.
    Within(u32),
    /// Files never count as equal.
    Never,
}

/// The paths of a partial transfer.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransferPaths<'a> {
    /// Existing entries; of directories only the entry itself. Must not contain directories if
    /// there are trees.
    pub entries: &'a [TreePath],
    /// Directories with everything below them.
    pub trees: &'a [TreePath],
    /// Missing entries; of each missing tree the topmost path.
    pub missing: &'a [TreePath],
    /// Entries that are neither sent nor deleted.
    pub hidden: &'a [TreePath],
}

/// Prefix of the lines that rsync prints for [`RsyncPlan::probe_times`], before `%i` of rsync(1).
pub const TIME_PROBE_PREFIX: &[u8] = b"same? ";

const TIME_PROBE_FORMAT: &[u8] = b"--out-format=same? %i";

/// Deletes what the rules exclude, too.
const DELETE_EXCLUDED: &[u8] = b"--delete-excluded";

/// Deletes the listed entries that the source lacks.
const DELETE_MISSING: &[u8] = b"--delete-missing-args";

/// rsync parses a number of 32 bits.
const MAX_DELETIONS: u64 = 2_000_000_000;

/// The calls of rsync for one mirror.
#[derive(Clone, Debug)]
pub struct RsyncPlan {
    /// The user's options.
    pub options: RsyncOptions,
    source: Vec<u8>,
    target: Target,
}

impl RsyncPlan {
    /// Creates the plan that mirrors the directory at the absolute path `source` to `target`.
    ///
    /// A backup directory in the target gets a rule that protects it: rsync itself would delete,
    /// and so move, the backups of earlier calls in each full transfer (`--backup-dir` in
    /// rsync(1)).
    #[must_use]
    pub fn new(mut options: RsyncOptions, source: &[u8], target: Target) -> Self {
        let source = with_slash(source);
        if let Some(directory) = options.backup_directory(&target) {
            options.long.push([b"--filter=P ", &*anchored(&directory)].concat());
        }
        Self { options, source, target }
    }

    /// Returns the source argument, which ends in `/`.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Returns the target.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the I/O timeout of rsync at either side. rsync enforces it only in part: a sender
    /// takes its own keep-alive messages for those of the other side.
    #[must_use]
    pub fn io_timeout(&self) -> Option<Duration> {
        timeouts::io_timeout(&self.options, &self.target)
    }

    /// Returns true if a call in this phase deletes what is missing.
    fn deletes(&self, phase: TransferPhase, deletions: Deletions) -> bool {
        deletions != Deletions::Withheld && self.options.delete.applies(phase)
    }

    /// Plans a full transfer. `hidden` entries are neither sent nor deleted.
    ///
    /// Unlike the original it has no `--ignore-errors`, with which rsync deletes entries that it
    /// could not read.
    #[must_use]
    pub fn full(
        &self,
        phase: TransferPhase,
        deletions: Deletions,
        check: QuickCheck,
        hidden: &[TreePath],
    ) -> RsyncCall {
        let deletes = self.deletes(phase, deletions);
        let wants_excluded = self.options.args().any(|arg| arg == DELETE_EXCLUDED);
        let deletes_excluded = deletions != Deletions::Withheld
            && (self.options.deletes_excluded(phase) || wants_excluded);
        let mut args = ArgList::default();
        args.add_hidden(hidden);
        let stdin = args.add_rules_from_stdin(&self.options.rules);
        args.add_if(deletes, b"--delete");
        args.add_if(deletes_excluded, DELETE_EXCLUDED);
        args.0.append(&mut self.base_args().0);
        args.0.append(&mut self.quick_check_args(check));
        if deletes || deletes_excluded {
            args.add_deletion_limit(deletions, &self.options);
        }
        self.add_stats(&mut args);
        args.add(b"-r");
        self.call(args, stdin)
    }

    /// Plans the transfer of these paths, and the deletion of missing ones. If the only path is the
    /// tree of the root, the call has no list, and creates a target that is missing.
    ///
    /// `--delete` without `-r` deletes nothing by itself. It makes the receiver know the rules,
    /// which keep excluded entries in a missing directory, and it deletes such a directory, or one
    /// that became something else, with everything in it that is not excluded. `--force` would
    /// spare nothing.
    #[must_use]
    pub fn partial(
        &self,
        paths: &TransferPaths<'_>,
        deletions: Deletions,
        check: QuickCheck,
    ) -> RsyncCall {
        let may_delete = self.deletes(TransferPhase::Running, deletions);
        let mut args = ArgList::default();
        args.add_hidden(paths.hidden);
        if self.options.form == ListForm::Filter {
            return self.partial_by_rules(args, paths, deletions, check);
        }
        if may_delete || !paths.trees.is_empty() {
            args.add_rules(&self.options.rules);
        }
        args.add_if(!paths.trees.is_empty(), b"-r");
        args.0.append(&mut self.base_args().0);
        args.0.append(&mut self.quick_check_args(check));
        if may_delete {
            args.add(b"--delete");
            args.add_deletion_limit(deletions, &self.options);
        }
        self.add_stats(&mut args);
        if matches!((paths.entries, paths.trees, paths.missing), ([], [root], []) if root.is_root())
        {
            return self.call(args, None);
        }
        args.add(b"--from0");
        args.add(b"--files-from=-");
        let missing = if may_delete { paths.missing } else { &[] };
        // An event reports what is deleted between the survey and rsync's scan; it is handled then.
        let missing_option =
            if missing.is_empty() { &b"--ignore-missing-args"[..] } else { DELETE_MISSING };
        args.add(missing_option);
        self.call(
            args,
            Some(files_from_list(paths.entries.iter().chain(paths.trees).chain(missing))),
        )
    }

    /// Plans the deletion of unwanted names on the target, by comparing the directories that
    /// contain them while all else is excluded.
    ///
    /// This is slow, since rsync matches each name in each of these directories with each rule. But
    /// it can distinguish what the target has under a name, and it works with receivers that refuse
    /// the deletions of a list: 3.4.3, and Debian's (3.2.7-1+deb12u6, 3.4.1+ds1-5+deb13u4) and
    /// Ubuntu's versions with its patch.
    #[must_use]
    pub fn removal(&self, names: &[(TreePath, UnwantedKind)], deletions: Deletions) -> RsyncCall {
        let deletes = self.deletes(TransferPhase::Running, deletions);
        self.by_rules(removal_rules(names), deletes.then_some(deletions))
    }

    /// Plans a dry run that lists what has the form of a receiver's temporary file in these
    /// directories of the target.
    #[must_use]
    pub fn temp_file_listing(&self, directories: &[TreePath]) -> RsyncCall {
        self.by_rules(temp_file_rules(directories), Some(Deletions::DryRun))
    }

    /// Plans the deletion of these files on the target, which a receiver has left, whatever the
    /// user's policy is.
    #[must_use]
    pub fn temp_file_removal(&self, files: &[TreePath]) -> RsyncCall {
        let names: Vec<_> =
            files.iter().map(|path| (path.clone(), UnwantedKind::NonDirectory)).collect();
        self.by_rules(removal_rules(&names), Some(Deletions::Allowed))
    }

    /// Plans a call by rules that come before those of the user. `None`: it deletes nothing.
    fn by_rules(&self, rules: Vec<u8>, deletions: Option<Deletions>) -> RsyncCall {
        let mut args = ArgList::default();
        args.add(b"--from0");
        args.add(b"--filter=. -");
        args.add_rules(&self.options.rules);
        args.0.append(&mut self.base_args().0);
        // A deletion changes the time of its directory, often within the second that it has.
        args.0.append(&mut self.quick_check_args(QuickCheck::Nanoseconds));
        args.add(b"-r");
        if let Some(deletions) = deletions {
            args.add(b"--delete");
            args.add_deletion_limit(deletions, &self.options);
        }
        self.add_stats(&mut args);
        self.call(args, Some(rules))
    }

    /// Returns true if [`probe_times`](Self::probe_times) yields useful information. For a local
    /// target the precision of times can be tested directly, and the user may have set the modify
    /// window.
    #[must_use]
    pub fn needs_time_probe(&self) -> bool {
        let options = &self.options;
        self.target.local().is_none()
            && !options.sets_modify_window()
            && options.keeps_times()
            && options.form == ListForm::FilesFrom
    }

    /// Plans a check that these files have exactly the same times on the target as below `source`.
    /// Sends nothing, and prints a line with [`TIME_PROBE_PREFIX`] for each existing file.
    #[must_use]
    pub fn probe_times(&self, files: &[TreePath], source: &[u8]) -> RsyncCall {
        let mut args = self.base_args();
        args.0.append(&mut self.quick_check_args(QuickCheck::Nanoseconds));
        for arg in [&b"-n"[..], b"--existing", b"--info=none", b"-ii", TIME_PROBE_FORMAT] {
            args.add(arg);
        }
        for arg in [&b"--from0"[..], b"--files-from=-", b"--ignore-missing-args"] {
            args.add(arg);
        }
        args.add(&with_slash(source));
        args.add(self.target.as_arg());
        RsyncCall::new(args.0, Some(files_from_list(files)))
    }

    /// Plans the transfer of the attributes of the root alone. In a list, `.` would transfer all
    /// entries of the root.
    #[must_use]
    pub fn root_attributes(&self) -> RsyncCall {
        let mut args = self.base_args();
        args.0.append(&mut self.quick_check_args(QuickCheck::Nanoseconds));
        args.add(b"-d");
        args.add(b"--exclude=/*");
        if !self.target.is_module() || self.options.form != ListForm::FilesFrom {
            return self.call(args, None);
        }
        // Without a list, a daemon creates a missing directory for the root alone even where its
        // name ends in `/.`, and nobody would notice that the target was gone.
        args.add(b"--from0");
        args.add(b"--files-from=-");
        self.call(args, Some(b".\0".to_vec()))
    }

    /// Returns the same call for a target that is known to exist. It fails with
    /// [`Diagnostic::TargetMissing`](super::stderr::Diagnostic::TargetMissing) otherwise. `None` if
    /// this can't be expressed, and for programs that expect the calls of the original.
    #[must_use]
    pub fn requiring_target(&self, call: &RsyncCall) -> Option<RsyncCall> {
        let arg =
            self.target.existing_arg().filter(|_| self.options.form == ListForm::FilesFrom)?;
        Some(call.clone().with_target(arg))
    }

    /// Plans a partial transfer as a list of filter rules, in the order of the original.
    ///
    /// If the user has rules, which have to decide inside of missing entries and trees, everything
    /// beside these is excluded level by level, so that nothing else is left to the user's rules.
    fn partial_by_rules(
        &self,
        mut args: ArgList,
        paths: &TransferPaths<'_>,
        deletions: Deletions,
        check: QuickCheck,
    ) -> RsyncCall {
        let deletes = self.deletes(TransferPhase::Running, deletions);
        let below: Vec<_> = paths.trees.iter().chain(paths.missing).cloned().collect();
        // rsync's own rule that keeps backups comes after all others.
        let may_protect = self.options.rules != ExcludeRules::None || self.options.keeps_backups();
        let has_rules = may_protect && !below.is_empty();
        args.0.append(&mut self.base_args().0);
        args.0.append(&mut self.quick_check_args(check));
        args.add(b"-r");
        if deletes {
            args.add(b"--delete");
            args.add_deletion_limit(deletions, &self.options);
        }
        args.add(b"--from0");
        args.add(b"--include-from=-");
        if has_rules {
            args.add_rules(&self.options.rules);
        } else {
            args.add(b"--exclude=*");
        }
        self.call(args, Some(include_patterns(paths.entries, &below, has_rules)))
    }

    /// Returns the arguments for the quick check, unless the user set the modify window.
    ///
    /// Times of directories are compared even if no files count as equal.
    fn quick_check_args(&self, check: QuickCheck) -> Vec<Vec<u8>> {
        let window = match check {
            QuickCheck::Nanoseconds | QuickCheck::Never => Some(NANOSECOND_WINDOW.to_vec()),
            QuickCheck::Within(seconds) => {
                Some(alloc::format!("--modify-window={seconds}").into_bytes())
            }
            QuickCheck::Seconds => None,
        };
        let is_ours = !self.options.sets_modify_window();
        let mut args: Vec<_> = window.into_iter().filter(|_| is_ours).collect();
        if check == QuickCheck::Never {
            args.push(IGNORE_TIMES.to_vec());
        }
        args
    }

    /// Returns the user's options and the timeouts. The user's own `--delete-excluded` is for full
    /// transfers only: calls for a part of the tree exclude the rest.
    fn base_args(&self) -> ArgList {
        let mut args = ArgList::default();
        if !self.options.short.is_empty() {
            args.0.push([b"-", self.options.short.as_slice()].concat());
        }
        args.0.extend(self.options.args().filter(|arg| *arg != DELETE_EXCLUDED).cloned());
        timeout_args(&self.options, &self.target).for_each(|arg| args.add(arg));
        args
    }

    /// Adds statistics for the daemon, unless the call prints them anyway.
    ///
    /// Not `--info=stats2`, which the other side has to know, too.
    fn add_stats(&self, args: &mut ArgList) {
        let prints_stats = args.0.iter().any(|arg| arg == b"--stats" || arg == b"-n");
        args.add_if(self.options.has_own_stats() && !prints_stats, b"--stats");
    }

    fn call(&self, mut args: ArgList, stdin: Option<Vec<u8>>) -> RsyncCall {
        args.add(&self.source);
        args.add(self.target.as_arg());
        RsyncCall::new(args.0, stdin)
    }
}

fn with_slash(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

#[derive(Default)]
struct ArgList(Vec<Vec<u8>>);

impl ArgList {
    fn add(&mut self, arg: &[u8]) {
        self.0.push(arg.to_vec());
    }

    fn add_if(&mut self, condition: bool, arg: &[u8]) {
        if condition {
            self.add(arg);
        }
    }

    /// Adds the limit of a call that deletes. It comes after the user's own, since the last one
    /// applies. A dry run lists what that leaves.
    fn add_deletion_limit(&mut self, deletions: Deletions, options: &RsyncOptions) {
        match deletions {
            Deletions::Allowed | Deletions::Withheld => {}
            Deletions::AtMost(number) => {
                self.0.push(alloc::format!("--max-delete={}", number.min(MAX_DELETIONS)).into());
                self.add_if(number == 0, b"--stats");
            }
            Deletions::WithoutTransfer(number) => {
                self.0.push(alloc::format!("--max-delete={}", number.min(MAX_DELETIONS)).into());
                self.add(b"--existing");
                self.add(b"--ignore-existing");
            }
            Deletions::DryRun => {
                for arg in [&b"-n"[..], b"--info=none,del,stats2", b"--out-format=%o %n"] {
                    self.add(arg);
                }
                if options.max_delete().is_some() {
                    self.0.push(alloc::format!("--max-delete={MAX_DELETIONS}").into());
                }
            }
        }
    }

    fn add_all(&mut self, option: &[u8], values: &[Vec<u8>]) {
        self.0.extend(values.iter().map(|value| [option, value].concat()));
    }

    /// Excludes hidden entries at both sides. The sender must not even try to read them: after an
    /// error it deletes nothing at all. The receiver needs a rule of its own, since
    /// `--delete-excluded` deletes hidden entries.
    fn add_hidden(&mut self, paths: &[TreePath]) {
        for path in paths {
            let pattern = anchored(path);
            self.0.push([b"--filter=H ", pattern.as_slice()].concat());
            self.0.push([b"--filter=P ", pattern.as_slice()].concat());
        }
    }

    fn add_rules(&mut self, rules: &ExcludeRules) {
        match rules {
            ExcludeRules::None => {}
            ExcludeRules::Excludes(patterns) => {
                let in_effect = |line: &&Vec<u8>| !matches!(line.first(), None | Some(b'#' | b';'));
                let patterns: Vec<_> = patterns.iter().filter(in_effect).cloned().collect();
                self.add_all(b"--exclude=", &patterns);
            }
            ExcludeRules::Filters(rules) => self.add_all(b"--filter=", rules),
        }
    }

    /// Adds the rules as the original does, on stdin, where stdin is not needed for something else.
    fn add_rules_from_stdin(&mut self, rules: &ExcludeRules) -> Option<Vec<u8>> {
        let (arg, lines) = match rules {
            ExcludeRules::None => return None,
            ExcludeRules::Excludes(patterns) => (&b"--exclude-from=-"[..], patterns),
            ExcludeRules::Filters(rules) => (&b"--filter=. -"[..], rules),
        };
        if lines.iter().any(|line| line.contains(&b'\n')) {
            self.add_rules(rules);
            return None;
        }
        self.add(arg);
        Some(lines.join(&b'\n'))
    }
}

#[cfg(test)]
mod tests;
