//! One call of rsync.

use alloc::vec::Vec;

use crate::{
    path::TreePath,
    plan::{command::CommandLine, patterns::escaped},
};

/// Compares times by nanoseconds.
pub(super) const NANOSECOND_WINDOW: &[u8] = b"--modify-window=-1";

/// Prefix of the lines that rsync prints for [`RsyncCall::listing_changes`].
pub const CHANGE_PREFIX: &[u8] = b"drift ";

/// Reports the progress of the whole transfer.
const PROGRESS: &[u8] = b"--info=progress2";

/// Compares no times.
pub(super) const IGNORE_TIMES: &[u8] = b"--ignore-times";

/// Call of rsync. [`RsyncPlan`](super::RsyncPlan) makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsyncCall {
    command: CommandLine,
}

impl RsyncCall {
    pub(super) const fn new(args: Vec<Vec<u8>>, stdin: Option<Vec<u8>>) -> Self {
        Self { command: CommandLine { args, stdin } }
    }

    /// Returns the command line.
    #[must_use]
    pub const fn command_line(&self) -> &CommandLine {
        &self.command
    }

    /// Returns the same call with another target.
    pub(super) fn with_target(mut self, target: Vec<u8>) -> Self {
        self.command.args.pop();
        self.command.args.push(target);
        self
    }

    /// Returns the same call with rules, before all others, that protect these paths and everything
    /// below them from deletion, even if a directory above is deleted.
    #[must_use]
    pub fn protecting<'a>(mut self, paths: impl IntoIterator<Item = &'a TreePath>) -> Self {
        // This pattern matches a directory, and what is below it on the receiver.
        self.prepend_rules(b"P", b"/***", paths);
        self
    }

    /// Returns the same call with rules, before all others, that keep these paths and everything
    /// below them from being sent.
    #[must_use]
    pub fn hiding<'a>(mut self, paths: impl IntoIterator<Item = &'a TreePath>) -> Self {
        self.prepend_rules(b"H", b"", paths);
        self
    }

    fn prepend_rules<'a>(
        &mut self,
        rule: &[u8],
        end: &[u8],
        paths: impl IntoIterator<Item = &'a TreePath>,
    ) {
        let rule = |path| [b"--filter=", rule, b" ", &escaped(path), end].concat();
        self.command.args.splice(0..0, paths.into_iter().map(rule));
    }

    /// Returns the same call without the comparison of nanoseconds, which the other side has to
    /// support and `rrsync` does not. Listed entries are then sent regardless of their time; in a
    /// tree, whole seconds are compared.
    #[must_use]
    pub fn without_window(mut self) -> Self {
        let is_tree = self.command.args.iter().any(|arg| arg == b"-r");
        if let Some(at) = self.command.args.iter().position(|arg| arg == NANOSECOND_WINDOW) {
            self.command.args.remove(at);
            if !is_tree && !self.command.args.iter().any(|arg| arg == IGNORE_TIMES) {
                self.command.args.insert(at, IGNORE_TIMES.to_vec());
            }
        }
        self
    }

    /// Returns true if the daemon needs the standard output of this call, to count deletions.
    #[must_use]
    pub fn counts_deletions(&self) -> bool {
        self.command.args.iter().any(|arg| arg == b"--max-delete=0" || arg == b"-n")
    }

    /// Returns true if this call changes nothing.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.command.args.iter().any(|arg| arg == b"-n")
    }

    /// Returns true if the call transfers no files: it follows one that does, and only deletes, or
    /// it is about the root alone.
    #[must_use]
    pub fn transfers_no_files(&self) -> bool {
        let only_deletes = self.deletion_limit().is_some_and(|limit| limit != b"--max-delete=0");
        only_deletes || self.command.args.iter().any(|arg| arg == b"-d")
    }

    /// Returns the same call as a dry run that prints a line with [`CHANGE_PREFIX`] and `%i %n` of
    /// rsync(1) for each change, and statistics.
    #[must_use]
    pub fn listing_changes(mut self) -> Self {
        // After the user's options, so that none of them changes the output.
        let at = self.command.args.len().saturating_sub(2);
        let format = [b"--out-format=", CHANGE_PREFIX, b"%i %n"].concat();
        let args = [&b"-n"[..], b"-i", b"--info=none,del,stats2", &format].map(<[u8]>::to_vec);
        self.command.args.splice(at..at, args);
        self
    }

    /// Returns the same call with a report of its progress.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.command.args.insert(0, PROGRESS.to_vec());
        self
    }

    /// Returns true if this call reports its progress to the daemon.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        self.command.args.first().is_some_and(|arg| arg == PROGRESS)
    }

    /// Returns true if this call deletes entries that the source lacks.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.command.args.iter().any(|arg| arg.starts_with(b"--del"))
    }

    /// Returns true if this call may delete nothing: it only counts what it would delete.
    #[must_use]
    pub fn deletes_nothing(&self) -> bool {
        !self.deletes() || self.deletion_limit().is_some_and(|limit| limit == b"--max-delete=0")
    }

    /// Returns the limit on deletions that applies: the last one.
    fn deletion_limit(&self) -> Option<&[u8]> {
        let args = self.command.args.iter().map(Vec::as_slice);
        args.rev().find(|arg| arg.starts_with(b"--max-delete="))
    }
}
