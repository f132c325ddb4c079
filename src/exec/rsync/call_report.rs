//! Report of one rsync call: parses its output and attributes failures to the paths of the call.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use mirror_core::{
    job::{DirtyPath, Failure, HeldDeletions, Scope},
    path::{Escaped, TreePath},
    plan::{
        rsync::TIME_PROBE_PREFIX,
        stderr::{
            Diagnostic, StderrParser, parse_grouped_number, unescape, without_temporary_names,
        },
    },
};

use super::{
    call_diagnostics::{
        reports_broken_file_system, reports_no_answer, reports_read_only, reports_shortage,
    },
    call_paths::{CallPathIndex, CallPaths},
};
use crate::exec::process::remedy::remedy;

/// Reason for which the remote side refuses a call, so that another call is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteRefusal {
    /// The receiver cannot delete by a list (`--delete-missing-args`).
    DeleteMissingArgs,
    /// The remote side does not know `--modify-window`.
    ModifyWindow,
    /// The remote side refuses `--max-delete`.
    MaxDelete,
    /// The target does not exist.
    MissingTarget,
    /// It has ended without a word.
    Unanswered,
}

impl RemoteRefusal {
    /// Returns true if the remote side lacks something that a call with deletions needs.
    pub(super) const fn prevents_deletions(self) -> bool {
        match self {
            Self::DeleteMissingArgs | Self::MaxDelete => true,
            Self::ModifyWindow | Self::MissingTarget | Self::Unanswered => false,
        }
    }
}

/// Deletions that a dry run reported.
#[derive(Debug, Default)]
pub(super) struct ListedDeletions {
    pub(super) count: u64,
    /// The first paths.
    pub(super) names: Vec<TreePath>,
    /// The paths of the call that contain them.
    pub(super) call_paths: BTreeSet<DirtyPath>,
    /// Hashes of their paths: with `-H`, rsync can report a path twice.
    hashes: HashSet<u64>,
}

impl ListedDeletions {
    /// Adds a path as rsync prints it.
    fn add(&mut self, text: &[u8], owners: &CallPathIndex<'_>) {
        if !self.hashes.insert(HASHER.hash_one(text)) {
            return;
        }
        self.count += 1;
        let Some(path) = TreePath::new(&unescape(text)) else { return };
        self.call_paths.extend(owners.covering_path(&path));
        if self.names.len() < HeldDeletions::MAX_NAMES {
            self.names.push(path);
        }
    }
}

/// Numbers of files of equal size, by their times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeMatches {
    pub(super) equal: u64,
    pub(super) different: u64,
}

/// Parsed output of one rsync call.
#[derive(Debug, Default)]
pub(super) struct CallReport {
    /// The failed paths, each with its first diagnostic.
    failed: BTreeMap<TreePath, (Scope, String)>,
    /// Failed paths that could not be read at the source.
    pub(super) unreadable: BTreeSet<TreePath>,
    /// Failed paths that could not be written.
    pub(super) unwritable: BTreeSet<TreePath>,
    /// Paths blocked by a directory that was not deleted.
    pub(super) blocked: BTreeMap<TreePath, (Scope, String)>,
    /// Directories that were not deleted because they are not empty.
    non_empty_dirs: BTreeSet<TreePath>,
    /// Number of deletions skipped because of a limit.
    pub(super) over_limit: Option<u64>,
    /// Number of entries in the source.
    file_count: Option<u64>,
    /// Number of those that the target did not have.
    pub(super) created_count: Option<u64>,
    /// Number of deletions, if the call has told it.
    pub(super) deleted_count: Option<u64>,
    /// Deletions that a dry run reported.
    pub(super) deletions: ListedDeletions,
    /// Some blocked paths were left out of the call, so that the content of the blocking
    /// directories was not counted.
    pub(super) is_incomplete: bool,
    /// Comparison of the times of files of equal size.
    pub(super) time_matches: TimeMatches,
    /// The first diagnostic that names no path of the call.
    unattributed: Option<String>,
    /// The first relevant line of stderr.
    first_line: Option<String>,
    /// The last line of stderr.
    last_line: Option<String>,
    deletions_skipped: bool,
    /// Paths that the module neither receives nor deletes.
    pub(super) refused_by_module: BTreeSet<TreePath>,
    /// Diagnostic of a shortage of processes or descriptors for a part of rsync.
    pub(super) shortage: Option<String>,
    /// Reason for which the remote side refuses the call.
    pub(super) refusal: Option<RemoteRefusal>,
    /// The first diagnostic that says that the file system of the target failed.
    broken_target: Option<String>,
    /// True if a diagnostic says that it is read-only.
    is_read_only: bool,
    remedy: Option<&'static str>,
}

impl CallReport {
    /// Limit on failed paths that are recorded. Beyond it, the call as a whole counts as failed.
    const MAX_FAILURES: usize = 10_000;

    /// Parses a line of stderr.
    pub(super) fn read_stderr(
        &mut self,
        names: &StderrParser<'_>,
        owners: &CallPathIndex<'_>,
        line: &[u8],
    ) {
        let text = || Escaped(&without_temporary_names(line)).to_string();
        // The remedy for one file need not apply to another.
        let file_remedy = remedy(line);
        let with_remedy =
            || file_remedy.map_or_else(text, |file_remedy| format!("{}: {file_remedy}", text()));
        self.remedy = self.remedy.or(file_remedy);
        self.last_line = Some(text());
        self.read_call_diagnostic(line, text);
        match names.parse(line) {
            Diagnostic::Irrelevant => return,
            Diagnostic::DeletionsSkipped => self.deletions_skipped = true,
            Diagnostic::DeleteMissingBroken => {
                self.refusal = Some(RemoteRefusal::DeleteMissingArgs);
            }
            Diagnostic::RrsyncRefused => self.refusal = Some(RemoteRefusal::ModifyWindow),
            Diagnostic::MaxDeleteRefused => self.refusal = Some(RemoteRefusal::MaxDelete),
            Diagnostic::TargetMissing => self.refusal = Some(RemoteRefusal::MissingTarget),
            Diagnostic::DeletionLimitReached(number) => {
                self.over_limit = Some(self.over_limit.unwrap_or(0).max(number));
                return;
            }
            Diagnostic::NotEmpty(paths) => return self.add_non_empty_dir(paths, owners),
            Diagnostic::BlockedByDirectory(paths) => {
                let owned = owners.owners(&paths);
                if owned.is_empty() {
                    self.attribute_to_call(with_remedy);
                }
                for DirtyPath { path, scope } in owned {
                    self.blocked.entry(path).or_insert_with(|| (scope, with_remedy()));
                }
                return;
            }
            Diagnostic::Unlocated => self.attribute_to_call(with_remedy),
            Diagnostic::Vanished(paths) => self.attribute(owners.owners(&paths), with_remedy),
            Diagnostic::WriteFailed(paths) => {
                self.add_unwritable(line, owners.owners(&paths), with_remedy);
            }
            Diagnostic::ReadFailed(paths) => {
                let owned = owners.owners(&paths);
                if !self.is_full() {
                    self.unreadable.extend(owned.iter().map(|dirty| dirty.path.clone()));
                }
                self.attribute(owned, with_remedy);
            }
        }
        if self.first_line.is_none() {
            self.first_line = Some(text());
        }
    }

    /// Parses a line of stderr as far as it concerns the call as a whole.
    fn read_call_diagnostic(&mut self, line: &[u8], text: impl FnOnce() -> String) {
        if reports_no_answer(line) {
            self.refusal.get_or_insert(RemoteRefusal::Unanswered);
        }
        if reports_shortage(line) {
            self.shortage.get_or_insert_with(text);
        }
    }

    /// Parses a line of stdout.
    pub(super) fn read_stdout(
        &mut self,
        names: &StderrParser<'_>,
        owners: &CallPathIndex<'_>,
        line: &[u8],
    ) {
        if let Some(rest) = line.strip_prefix(DELETED) {
            self.deletions.add(rest, owners);
        } else if let Some(rest) = line.strip_prefix(FILES) {
            self.file_count = parse_grouped_number(rest);
        } else if let Some(rest) = line.strip_prefix(CREATED) {
            self.created_count = parse_grouped_number(rest);
        } else if let Some(rest) = line.strip_prefix(DELETED_COUNT) {
            self.deleted_count = parse_grouped_number(rest);
        } else if let Some(rest) = line.strip_prefix(TIME_PROBE_PREFIX) {
            self.add_time_match(rest);
        } else if line.starts_with(NOT_EMPTY) {
            if let Diagnostic::NotEmpty(paths) = names.parse(line) {
                self.add_non_empty_dir(paths, owners);
            }
        } else if line.starts_with(b"IO error encountered -- skipping file deletion") {
            self.deletions_skipped = true;
        }
    }

    /// Counts a file by its itemized changes: `%i` of rsync(1), such as `.f..t......`.
    fn add_time_match(&mut self, differs: &[u8]) {
        let [_, b'f', _, _, time, ..] = differs else { return };
        match time {
            b'.' | b' ' => self.time_matches.equal += 1,
            b't' => self.time_matches.different += 1,
            _ => {}
        }
    }

    fn is_full(&self) -> bool {
        self.failed.len() >= Self::MAX_FAILURES
    }

    fn add_non_empty_dir(&mut self, paths: Vec<TreePath>, owners: &CallPathIndex<'_>) {
        let known = paths.iter().find(|path| owners.owner(path).is_some()).cloned();
        self.non_empty_dirs.extend(known.or_else(|| paths.into_iter().next()));
    }

    fn add_unwritable(&mut self, line: &[u8], owned: Vec<DirtyPath>, text: impl Fn() -> String) {
        if reports_broken_file_system(line) {
            self.broken_target.get_or_insert_with(&text);
            self.is_read_only |= reports_read_only(line);
        }
        for DirtyPath { path, .. } in &owned {
            if self.is_full() {
                break;
            }
            if line.starts_with(b"ERROR: daemon refused to receive ") {
                self.refused_by_module.insert(path.clone());
            }
            // Only attributes of the root are written.
            if path.is_root() {
                self.failed.entry(path.clone()).or_insert_with(|| (Scope::Entry, text()));
            }
            self.unwritable.insert(path.clone());
        }
        self.attribute(owned, text);
    }

    fn attribute_to_call(&mut self, text: impl Fn() -> String) {
        self.unattributed = self.unattributed.take().or_else(|| Some(text()));
    }

    /// Attributes the failure to these paths of the call, or to the call as a whole if there are
    /// none.
    fn attribute(&mut self, owned: Vec<DirtyPath>, text: impl Fn() -> String) {
        if owned.is_empty() || self.is_full() {
            return self.attribute_to_call(text);
        }
        for DirtyPath { path, scope } in owned {
            self.failed.entry(path).or_insert_with(|| (scope, text()));
        }
    }

    /// Returns the failures of blocked paths, which are retried.
    pub(super) fn blocked_failures(&self) -> Vec<(DirtyPath, Failure)> {
        Self::failures(&self.blocked, None)
    }

    /// Returns true if a call that deletes may have skipped deletions, because the source was not
    /// read completely.
    ///
    /// The message of rsync is not reliable: it goes to stdout, and `-q` suppresses it.
    pub(super) fn may_have_skipped_deletions(&self) -> bool {
        self.deletions_skipped || !self.unreadable.is_empty()
    }

    /// Returns the number of deletions that a call without deletions has left out.
    ///
    /// rsync does not count the topmost directories that are not empty.
    pub(super) fn would_delete(&self) -> u64 {
        let Some(limited) = self.over_limit else { return 0 };
        let mut last: Option<&TreePath> = None;
        let mut topmost = 0;
        let mut sorted: Vec<_> = self.non_empty_dirs.iter().collect();
        sorted.sort_by(|a, b| a.components().cmp(b.components()));
        for path in sorted {
            if !last.is_some_and(|last| last.contains(path)) {
                topmost += 1;
                last = Some(path);
            }
        }
        limited.saturating_add(topmost)
    }

    /// Returns the number of source entries that the target has.
    pub(super) fn target_entry_count(&self) -> Option<u64> {
        Some(self.file_count?.saturating_sub(self.created_count?))
    }

    /// Returns the number of source entries that were compared.
    pub(super) const fn source_entry_count(&self) -> Option<u64> {
        self.file_count
    }

    /// Returns the failure of the call as a whole; `what` begins the message.
    pub(super) fn failure(&self, code: Option<i32>, what: &str) -> Failure {
        let mut why = what.to_owned();
        let said = self.first_line.as_ref().or(self.last_line.as_ref()).map(String::as_str);
        for part in said.into_iter().chain(self.remedy) {
            why += ": ";
            why += part;
        }
        Failure { code, message: why }
    }

    /// Returns the failures attributed to paths.
    pub(super) fn attributed_failures(&self, code: Option<i32>) -> Vec<(DirtyPath, Failure)> {
        Self::failures(&self.failed, code)
    }

    fn failures(
        failed: &BTreeMap<TreePath, (Scope, String)>,
        code: Option<i32>,
    ) -> Vec<(DirtyPath, Failure)> {
        let failure = |(path, (scope, why)): (&TreePath, &(Scope, String))| {
            let dirty = DirtyPath { path: path.clone(), scope: *scope };
            (dirty, Failure { code, message: why.clone() })
        };
        failed.iter().map(failure).collect()
    }

    /// Returns the paths to retry after a partial call that exited with `code`.
    ///
    /// These are the paths with diagnostics, and those below them, which rsync skips silently if it
    /// cannot create their directory. If a diagnostic names no path of the call, or there is none
    /// at all, all paths of the call are retried.
    pub(super) fn failed_paths(
        &self,
        call_paths: CallPaths<'_>,
        code: i32,
    ) -> Vec<(DirtyPath, Failure)> {
        let failure = |why: &String| Failure { code: Some(code), message: why.clone() };
        let explained = !self.blocked.is_empty() || self.over_limit.is_some();
        let nothing_said = self.failed.is_empty() && !explained;
        let last =
            || self.last_line.as_ref().filter(|_| nothing_said).map(|why| self.with_remedy(why));
        if let Some(why) = self.unattributed.clone().or_else(last) {
            let failure = failure(&why);
            return call_paths.dirty_paths().map(|dirty| (dirty, failure.clone())).collect();
        }
        if nothing_said {
            let failure = self.failure(Some(code), "partial transfer, but rsync named no path");
            return call_paths.dirty_paths().map(|dirty| (dirty, failure.clone())).collect();
        }
        let below = call_paths.dirty_paths().filter_map(|dirty| {
            let why = self.failed_ancestor(&dirty.path)?;
            Some((dirty, failure(why)))
        });
        let above = self.silently_failed(call_paths);
        let above = above.map(|(dirty, why)| (dirty, failure(why)));
        self.attributed_failures(Some(code)).into_iter().chain(below).chain(above).collect()
    }

    /// Returns the directories whose times may be wrong although rsync has said nothing: at its end
    /// it restores the times of directories in which it has changed something, and ignores errors
    /// of that.
    ///
    /// In a tree that may be any of them. It is compared as a whole if the target became read-only,
    /// which is an event. An I/O error may be that of one file for good: then each retry of that
    /// would compare the tree.
    fn silently_failed<'a>(
        &'a self,
        call_paths: CallPaths<'_>,
    ) -> impl Iterator<Item = (DirtyPath, &'a String)> {
        let silent = |dirty: DirtyPath| {
            let above = dirty.path.parent().map(|path| DirtyPath { path, scope: Scope::Entry });
            let tree = (self.is_read_only && dirty.scope == Scope::Tree).then_some(dirty);
            above.into_iter().chain(tree)
        };
        let is_known = |dirty: &DirtyPath| {
            self.failed.get(&dirty.path).is_some_and(|(scope, _)| *scope >= dirty.scope)
        };
        let broken = self.broken_target.iter();
        let paths = broken.flat_map(|_| call_paths.dirty_paths()).flat_map(silent);
        let found: BTreeSet<DirtyPath> = paths.filter(|dirty| !is_known(dirty)).collect();
        found.into_iter().zip(self.broken_target.iter().cycle())
    }

    fn failed_ancestor(&self, path: &TreePath) -> Option<&String> {
        // A failure of the root itself does not affect its content.
        let mut above = path.parent();
        while let Some(path) = above.filter(|path| !path.is_root()) {
            if let Some((_, why)) = self.failed.get(&path) {
                return Some(why);
            }
            above = path.parent();
        }
        None
    }

    fn with_remedy(&self, why: &str) -> String {
        self.remedy.map_or_else(|| why.to_owned(), |remedy| format!("{why}: {remedy}"))
    }
}

const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// Prefix of the lines with which a dry run reports deletions.
const DELETED: &[u8] = b"del. ";

const NOT_EMPTY: &[u8] = b"cannot delete non-empty directory: ";

const FILES: &[u8] = b"Number of files: ";

const CREATED: &[u8] = b"Number of created files: ";

/// Prefix of the line with the number of deletions.
pub(super) const DELETED_COUNT: &[u8] = b"Number of deleted files: ";

/// Class of a line of stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StdoutLine {
    /// Requested by the daemon only.
    Internal,
    /// A line of `--stats`.
    Stats,
    /// Part of the summary that rsync prints with `-v`.
    Summary,
    /// Anything else.
    Other,
}

impl StdoutLine {
    pub(super) fn classify(line: &[u8]) -> Self {
        const NUMBERS: [&[u8]; 14] = [
            FILES,
            CREATED,
            DELETED_COUNT,
            b"Number of regular files transferred: ",
            b"Number of files transferred: ",
            b"Total file size: ",
            b"Total transferred file size: ",
            b"Literal data: ",
            b"Matched data: ",
            b"File list size: ",
            b"File list generation time: ",
            b"File list transfer time: ",
            b"Total bytes sent: ",
            b"Total bytes received: ",
        ];
        let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
        let is_sent = line.starts_with(b"sent ") && has(b" bytes/sec");
        let is_total = line.starts_with(b"total size is ") && has(b"speedup is ");
        if [DELETED, NOT_EMPTY, TIME_PROBE_PREFIX].iter().any(|head| line.starts_with(head)) {
            Self::Internal
        } else if NUMBERS.iter().any(|head| line.starts_with(head)) {
            Self::Stats
        } else if line.is_empty() || is_sent || is_total {
            Self::Summary
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::plan::target::Target;

    fn paths(texts: &[&str]) -> Vec<TreePath> {
        texts.iter().map(|text| TreePath::new(text.as_bytes()).unwrap()).collect()
    }

    fn failed(lines: &[&str], call_paths: CallPaths<'_>) -> Vec<String> {
        failed_by(lines, call_paths, &|_| true)
    }

    fn failed_by(
        lines: &[&str],
        call_paths: CallPaths<'_>,
        exists: &dyn Fn(&TreePath) -> bool,
    ) -> Vec<String> {
        let owners = CallPathIndex::new(call_paths, exists);
        let target = Target::new(b"/dst").unwrap();
        let names = StderrParser { source: b"/src/", target: &target };
        let mut report = CallReport::default();
        for line in lines {
            report.read_stderr(&names, &owners, line.as_bytes());
        }
        let failed = report.failed_paths(call_paths, 23);
        assert!(failed.iter().all(|(_, failure)| failure.code == Some(23)));
        failed.iter().map(|(dirty, _)| format!("{} {:?}", dirty.path, dirty.scope)).collect()
    }

    const END: &str = "rsync error: some files/attrs were not transferred (code 23)";

    #[test]
    fn only_failed_paths_and_those_below_are_retried() {
        let (entries, gone) = (paths(&["a", "d/x", "d/e/y"]), paths(&["d/z", "q"]));
        let call_paths = CallPaths { entries: &entries, missing: &gone, ..CallPaths::default() };
        let line = r#"rsync: [generator] recv_generator: mkdir "/dst/d" failed: No such file (2)"#;
        let paths = ["/d Entry", "/d/x Entry", "/d/e/y Entry", "/d/z Entry"];
        assert_eq!(failed(&[line, END], call_paths), paths);
    }

    #[test]
    fn directories_are_retried_if_the_target_became_read_only() {
        let (entries, gone) = (paths(&["a", "d/x"]), paths(&["e/f/z"]));
        let call_paths = CallPaths { entries: &entries, missing: &gone, ..CallPaths::default() };
        let fails = |error: &str| {
            let line = format!(r#"rsync: [receiver] mkstemp "/dst/d/x" failed: {error}"#);
            failed(&[&line, END], call_paths)
        };
        assert_eq!(fails("Permission denied (13)"), ["/d/x Entry"]);
        for error in ["Read-only file system (30)", "Input/output error (5)"] {
            assert_eq!(fails(error), ["/d/x Entry", "/ Entry", "/d Entry", "/e/f Entry"]);
        }
    }

    #[test]
    fn trees_are_retried_if_the_target_became_read_only() {
        let (entries, trees) = (paths(&["a"]), paths(&["d", "e/f"]));
        let some = CallPaths { entries: &entries, trees: &trees, ..CallPaths::default() };
        let fails = |error: &str, call_paths| {
            let line = format!(r#"rsync: [receiver] mkstemp "/dst/d/x/.y" failed: {error}"#);
            failed(&[&line, END], call_paths)
        };
        let read_only = "Read-only file system (30)";
        assert_eq!(
            fails(read_only, some),
            ["/d/x/.y Tree", "/ Entry", "/d Tree", "/e Entry", "/e/f Tree"]
        );
        assert_eq!(fails(read_only, CallPaths::root(Scope::Tree)), ["/d/x/.y Tree", "/ Tree"]);
        let io = "Input/output error (5)";
        assert_eq!(fails(io, some), ["/d/x/.y Tree", "/ Entry", "/e Entry"]);
        assert_eq!(fails(io, CallPaths::root(Scope::Tree)), ["/d/x/.y Tree"]);
    }

    #[test]
    fn a_failure_of_the_root_retries_the_root_alone() {
        let (entries, trees) = (paths(&["a"]), paths(&["d"]));
        let line =
            r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#;
        let list = CallPaths { entries: &entries, ..CallPaths::default() };
        assert_eq!(failed(&[line, END], list), ["/ Entry"]);
        assert_eq!(
            failed(&[line, END], CallPaths { trees: &trees, ..CallPaths::default() }),
            ["/ Entry"]
        );
    }

    #[test]
    fn a_failure_in_a_tree_retries_the_subtree() {
        let trees = paths(&["d", "e"]);
        let line = r#"rsync: [sender] opendir "/src/d/shut" failed: Permission denied (13)"#;
        assert_eq!(
            failed(&[line, END], CallPaths { trees: &trees, ..CallPaths::default() }),
            ["/d/shut Tree"]
        );
        assert_eq!(failed(&[line, END], CallPaths::root(Scope::Tree)), ["/d/shut Tree"]);
    }

    #[test]
    fn an_unattributed_failure_retries_all_paths() {
        let entries = paths(&["a", "b"]);
        let call_paths = CallPaths { entries: &entries, ..CallPaths::default() };
        let everything = ["/a Entry", "/b Entry"];
        assert_eq!(failed(&[], call_paths), everything);
        assert_eq!(failed(&[END], call_paths), everything);
        let lines = ["rsync: something new went wrong", r#"file has vanished: "/src/a""#];
        assert_eq!(failed(&lines, call_paths), everything);
        assert_eq!(failed(&[END], CallPaths::root(Scope::Tree)), ["/ Tree"]);
    }

    #[test]
    fn a_known_failure_is_reported_with_its_remedy() {
        for (line, remedy) in [
            (
                r#"rsync: [receiver] write failed on "/dst/a": No space left on device (28)"#,
                "the target is full: free space or inodes there",
            ),
            (
                "@ERROR: Unknown module 'www'",
                "add the module to rsyncd.conf there, or check whether it allows this host",
            ),
        ] {
            let target = Target::new(b"/dst").unwrap();
            let mut report = CallReport::default();
            let names = StderrParser { source: b"/src/", target: &target };
            let owners = CallPathIndex::new(CallPaths::root(Scope::Tree), &|_| true);
            report.read_stderr(&names, &owners, line.as_bytes());
            let failure = report.failure(Some(11), "rsync failed");
            assert_eq!(failure.message, format!("rsync failed: {line}: {remedy}"));
        }
    }

    #[test]
    fn a_failed_root_attribute_does_not_retry_the_tree() {
        let line =
            r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#;
        assert_eq!(failed(&[line, END], CallPaths::root(Scope::Tree)), ["/ Entry"]);
    }

    #[test]
    fn a_resource_shortage_is_recognized() {
        for (line, is_it) in [
            (
                "rsync: [Receiver] fork failed in do_recv: Resource temporarily unavailable (11)",
                true,
            ),
            ("rsync: [sender] pipe: Too many open files (24)", true),
            ("rsync: [sender] fork failed in do_recv: Operation not permitted (1)", false),
            (r#"rsync: [sender] opendir "/src/ fork: a" failed: Too many open files (24)"#, false),
            ("rsync: [receiver] read error: Resource temporarily unavailable (11)", false),
        ] {
            assert_eq!(reports_shortage(line.as_bytes()), is_it, "{line}");
        }
    }

    #[test]
    fn a_remedy_applies_to_its_file_only() {
        let entries = paths(&["big", "unread", "Disk quota exceeded"]);
        let call_paths = CallPaths { entries: &entries, ..CallPaths::default() };
        let target = Target::new(b"/dst").unwrap();
        let names = StderrParser { source: b"/src/", target: &target };
        let (mut report, owners) =
            (CallReport::default(), CallPathIndex::new(call_paths, &|_| true));
        for line in [
            r#"rsync: [receiver] write failed on "/dst/big": No space left on device (28)"#,
            r#"rsync: [sender] send_files failed to open "/src/unread": Permission denied (13)"#,
            r#"rsync: [sender] send_files failed to open "/src/Disk quota exceeded": Permission denied (13)"#,
        ] {
            report.read_stderr(&names, &owners, line.as_bytes());
        }
        let failed = report.attributed_failures(Some(23));
        let is_mended = |(dirty, why): &(DirtyPath, Failure)| {
            (dirty.path.to_string(), !why.message.ends_with(')'))
        };
        let wanted = [("/Disk quota exceeded", false), ("/big", true), ("/unread", false)];
        let wanted = wanted.map(|(path, is_mended)| (path.to_owned(), is_mended));
        assert_eq!(failed.iter().map(is_mended).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_line_is_attributed_to_one_path_of_the_call() {
        let entries = paths(&["a", "d/x"]);
        let call_paths = CallPaths { entries: &entries, ..CallPaths::default() };
        let line =
            r#"rsync: [receiver] rename "/dst/.a.aBcDeF" -> "a": Operation not permitted (1)"#;
        assert_eq!(failed(&[line, END], call_paths), ["/a Entry"]);
        let line = r#"rsync: [receiver] mkstemp "/dst/d/.x.aBcDeF" failed: Permission denied (13)"#;
        assert_eq!(failed(&[line, END], call_paths), ["/d/x Entry"]);
        // The name of a foreign path says nothing about the paths of the call.
        let line = r#"rsync: [receiver] mkstemp "/dst/q" failed: Permission denied (13)"#;
        assert_eq!(failed(&[line, END], call_paths), ["/a Entry", "/d/x Entry"]);
        let gone = paths(&["gone"]);
        let call_paths = CallPaths { missing: &gone, ..call_paths };
        let line = "rsync: [generator] delete_file: unlink(gone/in/it) failed: Not permitted (1)";
        assert_eq!(failed(&[line, END], call_paths), ["/gone Entry"]);
    }

    /// `bashrc` and `.bashrc` have the same temporary name.
    #[test]
    fn an_ambiguous_line_is_attributed_to_the_entries_of_the_source() {
        let line = r#"rsync: [receiver] mkstemp "/dst/d/.bashrc.aBcD12" failed: No space (28)"#;
        let check = |call_paths: CallPaths<'_>, source: &[&str], expected: &[&str]| {
            let source = paths(source);
            let exists = |path: &TreePath| source.contains(path);
            assert_eq!(failed_by(&[line, END], call_paths, &exists), expected);
        };
        let tree = CallPaths::root(Scope::Tree);
        check(tree, &["d", "d/.bashrc"], &["/d/.bashrc Tree"]);
        check(tree, &["d", "d/bashrc"], &["/d/bashrc Tree"]);
        check(tree, &["d/bashrc", "d/.bashrc"], &["/d/.bashrc Tree", "/d/bashrc Tree"]);
        check(tree, &["d", "d/.bashrc.aBcD12"], &["/d/.bashrc.aBcD12 Tree"]);
        // A long name is cut off.
        check(tree, &["d", "d/bashrc with a long name"], &["/ Tree"]);
        let entries = paths(&["d/.bashrc", "d/bashrc/x", "e"]);
        let call_paths = CallPaths { entries: &entries, ..CallPaths::default() };
        check(
            call_paths,
            &["d/bashrc", "d/.bashrc"],
            &["/d/.bashrc Entry", "/d/bashrc Entry", "/d/bashrc/x Entry"],
        );
        let entries = paths(&["d/.bashrc", "e"]);
        let call_paths = CallPaths { entries: &entries, ..CallPaths::default() };
        check(call_paths, &[], &["/d/.bashrc Entry"]);
    }

    #[test]
    fn pending_deletions_are_counted() {
        let target = Target::new(b"/dst").unwrap();
        let names = StderrParser { source: b"/src/", target: &target };
        let owners = CallPathIndex::new(CallPaths::root(Scope::Tree), &|_| true);
        let mut report = CallReport::default();
        assert_eq!(report.would_delete(), 0);
        for line in [
            "cannot delete non-empty directory: a/b",
            "cannot delete non-empty directory: a-b",
            "cannot delete non-empty directory: a",
            "Number of files: 1,005 (reg: 1,000, dir: 5)",
            "Number of created files: 2 (reg: 1, dir: 1)",
            "Total file size: 4 bytes",
            "",
            "sent 166 bytes  received 367 bytes  1,066.00 bytes/sec",
        ] {
            report.read_stdout(&names, &owners, line.as_bytes());
            assert_ne!(StdoutLine::classify(line.as_bytes()), StdoutLine::Other, "{line}");
        }
        assert_eq!(StdoutLine::classify(b"a/file"), StdoutLine::Other);
        assert_eq!(report.would_delete(), 0);
        let line = b"Deletions stopped due to --max-delete limit (13 skipped)";
        report.read_stderr(&names, &owners, line);
        assert_eq!(report.would_delete(), 15);
        assert_eq!(report.target_entry_count(), Some(1003));
        let paths = report.failed_paths(CallPaths::root(Scope::Tree), 25);
        assert_eq!(paths, []);
    }
}
