//! Parser for the diagnostics of rsync.
//!
//! Both sides report errors: the sender with paths below the source, the receiver with paths below
//! the target or below the root of the transfer. The format of the messages, from 3.1 to 3.5,
//! identifies the names in them.

mod unescape;

use alloc::vec::Vec;

pub use unescape::unescape;

use super::target::{Target, TargetPath};
use crate::path::TreePath;

/// The meaning of one line of rsync's output.
///
/// A name may look like a part of the message around it. So a located diagnostic has one or more
/// candidate paths, the most likely first. The right one is the first that belongs to the call.
/// With no candidates, the path is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    /// The source could not be read at this path.
    ReadFailed(Vec<TreePath>),
    /// The target could not be written at this path.
    WriteFailed(Vec<TreePath>),
    /// The entry at this path vanished during the transfer.
    Vanished(Vec<TreePath>),
    /// A non-empty directory of the target blocks another entry at this path.
    BlockedByDirectory(Vec<TreePath>),
    /// A directory that should be deleted from the target is not empty.
    NotEmpty(Vec<TreePath>),
    /// This number of deletions was skipped because of `--max-delete`.
    DeletionLimitReached(u64),
    /// The daemon is configured to refuse `--max-delete`.
    MaxDeleteRefused,
    /// An error at an unknown path.
    Unlocated,
    /// The source could not be read completely, so nothing was deleted.
    DeletionsSkipped,
    /// The receiver can't delete the missing entries of a list.
    DeleteMissingBroken,
    /// The ssh key is restricted to `rrsync`, which does not know one of the options.
    RrsyncRefused,
    /// The target is missing.
    TargetMissing,
    /// Output without a meaning for the mirror.
    Irrelevant,
}

/// Parser for the messages of both sides of one mirror.
#[derive(Clone, Copy, Debug)]
pub struct StderrParser<'a> {
    /// The source argument, which ends in `/`.
    pub source: &'a [u8],
    /// The target.
    pub target: &'a Target,
}

/// Role of the path in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathRole {
    /// A path of the sender, unless the message names another side.
    Source,
    /// A path of the receiver, which may be a temporary file.
    Dest,
    /// A path of the receiver under its own name.
    FinalDest,
    /// A path that vanished.
    Vanished,
    /// A path that is blocked by a directory.
    Blocked,
    /// A non-empty directory.
    NotEmpty,
}

use PathRole::{Blocked, Dest, FinalDest, NotEmpty, Source, Vanished};

/// Limit on the quotes of a line, each of which may end a name. Beyond it, the path is unknown: the
/// number of candidates grows with the square.
const MAX_QUOTES: usize = 64;

/// Text before the name, text after the name, and the role of the path.
type MessagePattern = (&'static [u8], &'static [u8], PathRole);

/// Messages with a quoted name, which the name of a module may follow.
const QUOTED: &[MessagePattern] = &[
    (b"link_stat ", b" failed", Source),
    (b"readlink_stat(", b") failed", Source),
    (b"readlink ", b" failed", Source),
    (b"opendir ", b" failed", Source),
    (b"readdir(", b")", Source),
    (b"change_dir ", b" failed", Source),
    (b"send_files failed to open ", b":", Source),
    (b"read errors mapping ", b":", Source),
    (b"sender failed to remove ", b":", Source),
    (b"sender failed to re-lstat ", b":", Source),
    (b"sender failed to remove ", b"", Source),
    (b"symlink has no referent: ", b"", Source),
    (b"skipped diminished file: ", b"", Source),
    (b"failed to get device size via seek: ", b"", Source),
    (b"file has vanished: ", b"", Vanished),
    (b"directory has vanished: ", b"", Vanished),
    (b"mkstemp ", b" failed", Dest),
    (b"open ", b" failed", Dest),
    (b"failed to open ", b", continuing", Dest),
    (b"write failed on ", b":", Dest),
    (b"ftruncate failed on ", b":", Dest),
    (b"fsync failed on ", b":", Dest),
    (b"close failed on ", b":", Dest),
    (b"do_fallocate ", b":", Dest),
    (b"lseek of ", b" returned", Dest),
    (b"fstat ", b" failed", Dest),
    (b"stat ", b" failed", Dest),
    (b"mknod ", b" failed", Dest),
    (b"unlink ", b":", Dest),
    (b"mkdir ", b" failed", Dest),
    (b"chown ", b" failed", Dest),
    (b"chgrp ", b" failed", Dest),
    (b"chmod ", b" failed", Dest),
    (b"failed to set times on ", b":", Dest),
    (b"failed to set permissions on ", b":", Dest),
    (b"failed to modify permissions on ", b":", Dest),
    (b"uid 4294967295 (-1) is impossible to set on ", b"", Dest),
    (b"gid 4294967295 (-1) is impossible to set on ", b"", Dest),
    (b"recv_generator: failed to stat ", b":", Dest),
    (b"recv_generator: mkdir ", b" failed", Dest),
    (b"backup lstat ", b" failed", Dest),
    (b"backup stat ", b" failed", Dest),
    (b"backup mkdir ", b" failed", Dest),
    (b"keep_backup failed: ", b" -> ", Dest),
    (b"gen_entry_copy_xattrs: openat(", b") failed", Dest),
    (b"gen_entry_copy_xattrs: secure open of basis ", b" failed", Dest),
    (b"gen_entry_copy_xattrs: secure open of ", b" failed", Dest),
    (b"symlink ", b" -> ", Dest),
    (b"link ", b" -> ", Dest),
    (b"link ", b" => ", Dest),
    (b"rename failed for ", b" (from ", Dest),
];

/// Messages with an unquoted name.
const BARE: &[MessagePattern] = &[
    (b"cannot convert filename: ", b" (", Source),
    (b"cannot convert symlink data for: ", b" (", Source),
    (b"skipping overly long name: ", b"", Source),
    (b"path too long: ", b"", Source),
    (b"skipping file with bogus (zero) st_mode: ", b"", Source),
    (b"temporary filename too long: ", b"", Dest),
    (b"delete_file: unlink(", b") failed", FinalDest),
    (b"delete_file: rmdir(", b") failed", FinalDest),
    (b"cannot delete non-empty directory: ", b"", NotEmpty),
    (b"cannot delete mount point: ", b"", FinalDest),
    (b"could not make way for new regular file: ", b"", Blocked),
    (b"could not make way for new directory: ", b"", Blocked),
    (b"could not make way for new symlink: ", b"", Blocked),
    (b"could not make way for new device file: ", b"", Blocked),
    (b"could not make way for new special file: ", b"", Blocked),
    (b"could not make way for new hard-linked file: ", b"", Blocked),
    (b"set_acl: sys_acl_set_file(", b", ", Dest),
    (b"get_acl: sys_acl_get_file(", b", ", Source),
    (b"recv_files: ", b" is a directory", Dest),
    (b"Unable to create partial-dir for ", b" -- discarding ", Dest),
    (b"WARNING: parent dir is absent in the file list: ", b"", Dest),
    (b"ERROR: rejecting file transfer request for daemon excluded file: ", b"", Dest),
    (b"ERROR: ", b" failed verification", Dest),
];

impl StderrParser<'_> {
    /// Parses a line without its line feed.
    #[must_use]
    pub fn parse(&self, line: &[u8]) -> Diagnostic {
        if let Some(diagnostic) = parse_global(line) {
            return diagnostic;
        }
        let message = line.strip_prefix(b"rsync: ");
        let (speaker, text) = speaker(message.unwrap_or(line));
        let side = match speaker {
            Some(b"sender") => Some(Source),
            Some(_) => Some(Dest),
            None => None,
        };
        if let Some(diagnostic) = self.parse_located(side, text) {
            return diagnostic;
        }
        if message.is_some() {
            // Unknown message: the text in quotes may be a path.
            let quoted = text.iter().position(|&b| b == b'"').and_then(|at| text.get(at..));
            let names = quoted.map_or_else(Vec::new, |text| quoted_names(text, b""));
            return self.diagnostic(side.unwrap_or(Dest), side, &names);
        }
        // These lines of a daemon, rsync itself and ssh explain why there is no transfer at all.
        let reasons = [&b"@ERROR: "[..], b"ERROR: ", b"ABORTING ", b"ssh: "];
        let is_reason =
            reasons.iter().any(|reason| line.starts_with(reason)) || rrsync_error(line).is_some();
        if is_reason { Diagnostic::Unlocated } else { Diagnostic::Irrelevant }
    }

    /// Parses the messages that name a path.
    fn parse_located(&self, side: Option<PathRole>, text: &[u8]) -> Option<Diagnostic> {
        if text.iter().filter(|&&byte| byte == b'"').nth(MAX_QUOTES).is_some() {
            return self.parse_bare(side, text).or(Some(Diagnostic::Unlocated));
        }
        if let Some(finals) = parse_rename(text) {
            return Some(self.diagnostic(FinalDest, side, &finals));
        }
        // The name decides between two patterns with the same head.
        let read = |&(head, tail, role): &MessagePattern| {
            let names = quoted_names(text.strip_prefix(head)?, tail);
            (!names.is_empty()).then_some((role, names))
        };
        let (roles, names): (Vec<_>, Vec<_>) = QUOTED.iter().filter_map(read).unzip();
        if let Some(role) = roles.first() {
            return Some(self.diagnostic(*role, side, &names.concat()));
        }
        self.parse_bare(side, text)
            .or_else(|| Some(self.diagnostic(Dest, side, &parse_xattr(text)?)))
    }

    /// Parses the messages with an unquoted name, and those that end with the name.
    fn parse_bare(&self, side: Option<PathRole>, text: &[u8]) -> Option<Diagnostic> {
        let overflow = text.strip_prefix(b"filename overflows max-path len by ");
        if let Some(rest) = overflow {
            let name = find(rest, b": ").and_then(|at| rest.get(at + 2..)).unwrap_or_default();
            return Some(self.diagnostic(Source, side, &[name]));
        }
        if let Some(name) = parse_refused(text) {
            return Some(self.diagnostic(FinalDest, side, &[name]));
        }
        for &(head, tail, role) in BARE {
            let Some(rest) = text.strip_prefix(head) else { continue };
            let end = if tail.is_empty() { Some(rest.len()) } else { find_last(rest, tail) };
            if let Some(name) = end.and_then(|end| rest.get(..end)) {
                return Some(self.diagnostic(role, side, &[name]));
            }
        }
        None
    }

    /// Returns the diagnostic for a path that may have any of these `names`. The side that reports
    /// knows best whose path it is; before 3.2 messages do not name the side.
    fn diagnostic(&self, role: PathRole, side: Option<PathRole>, names: &[&[u8]]) -> Diagnostic {
        let side = match role {
            Vanished => Source,
            Source | Dest => side.unwrap_or(role),
            FinalDest | Blocked | NotEmpty => FinalDest,
        };
        let mut paths = Vec::new();
        for name in names {
            for path in self.candidate_paths(side, name) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        if paths.is_empty() {
            return Diagnostic::Unlocated;
        }
        match role {
            Vanished => Diagnostic::Vanished(paths),
            Blocked => Diagnostic::BlockedByDirectory(paths),
            NotEmpty => Diagnostic::NotEmpty(paths),
            Source | Dest if side == Source => Diagnostic::ReadFailed(paths),
            Source | Dest | FinalDest => Diagnostic::WriteFailed(paths),
        }
    }

    /// Returns the paths that a name in a message can mean, the most likely first.
    fn candidate_paths(&self, side: PathRole, name: &[u8]) -> Vec<TreePath> {
        let name = unescape(name);
        let mut paths = Vec::new();
        if side == Source {
            paths.extend(name.strip_prefix(self.source).and_then(relative_path));
        } else {
            match self.target.path() {
                TargetPath::Absolute(target) => {
                    paths.extend(name.strip_prefix(target).and_then(relative_path));
                }
                TargetPath::Relative(target) => {
                    let target = [b"/", target].concat();
                    let below = find(&name, &target).and_then(|at| name.get(at + target.len()..));
                    paths.extend(below.and_then(relative_path));
                }
                TargetPath::Unknown => {}
            }
        }
        if !name.starts_with(b"/") {
            paths.extend(relative_path(&name));
        }
        if side != Dest {
            return paths;
        }
        // A file of the source may have such a name, too.
        let finals: Vec<_> = paths.iter().flat_map(final_names).collect();
        finals.into_iter().chain(paths).collect()
    }
}

/// Removes the receiver's temporary names from a line, since they mean nothing to users.
#[must_use]
pub fn without_temporary_names(line: &[u8]) -> Vec<u8> {
    let (speaker, text) = speaker(line.strip_prefix(b"rsync: ").unwrap_or_default());
    if text.is_empty() || speaker == Some(b"sender") {
        return line.to_vec();
    }
    let mut line = line.to_vec();
    if text.starts_with(b"rename ") || text.starts_with(b"copy ") {
        let arrow = find_last(&line, b" -> \"");
        let end = arrow.and_then(|at| Some(at + find_last(line.get(at..)?, b"\"")? + 1));
        if let Some((arrow, end)) = arrow.zip(end) {
            line.drain(arrow..end);
        }
    }
    let mut shown = Vec::with_capacity(line.len());
    for part in line.split_inclusive(|b| b"/\"".contains(b)) {
        let name = part.strip_suffix(b"\"").and_then(TreePath::new);
        match name.iter().flat_map(final_names).next() {
            Some(name) => {
                shown.extend_from_slice(name.as_bytes());
                shown.push(b'"');
            }
            None => shown.extend_from_slice(part),
        }
    }
    shown
}

/// Parses the messages about the whole transfer.
fn parse_global(line: &[u8]) -> Option<Diagnostic> {
    let message = line.strip_prefix(b"rsync: ");
    if line.starts_with(b"invalid file mode 00 for ") {
        return Some(Diagnostic::DeleteMissingBroken);
    }
    if rrsync_error(line).is_some_and(|why| why.starts_with(b"invalid rsync-command")) {
        return Some(Diagnostic::RrsyncRefused);
    }
    if line.starts_with(b"IO error encountered -- skipping file deletion") {
        return Some(Diagnostic::DeletionsSkipped);
    }
    if let Some(rest) = line.strip_prefix(b"Deletions stopped due to --max-delete limit (") {
        return Some(Diagnostic::DeletionLimitReached(
            parse_grouped_number(rest).unwrap_or(u64::MAX),
        ));
    }
    let refused = b"The server is configured to refuse --max-delete";
    if message.unwrap_or(line).starts_with(refused) {
        return Some(Diagnostic::MaxDeleteRefused);
    }
    reports_missing_target(line).then_some(Diagnostic::TargetMissing)
}

/// Parses the number at the start of a text, with any separator of thousands.
#[must_use]
pub fn parse_grouped_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit() || b",.".contains(b));
    let mut digits = digits.filter(|b| b.is_ascii_digit()).peekable();
    digits.peek()?;
    digits.try_fold(0_u64, |number, b| number.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

/// Returns the possible names in the quotes at the start of `text`, if `tail` follows them, the
/// longest first: rsync does not escape quotes.
fn quoted_names<'a>(text: &'a [u8], tail: &[u8]) -> Vec<&'a [u8]> {
    let Some(rest) = text.strip_prefix(b"\"") else { return Vec::new() };
    let ends = rest.iter().enumerate().filter(|(_, b)| **b == b'"').map(|(at, _)| at);
    let follows = |at: &usize| {
        let after = rest.get(at + 1..).unwrap_or_default();
        let beyond = after.strip_prefix(b" (in ").and_then(|it| {
            let end = find(it, b")")?;
            it.get(end + 1..)
        });
        after.starts_with(tail) || beyond.is_some_and(|after| after.starts_with(tail))
    };
    let mut names: Vec<_> = ends.filter(follows).filter_map(|end| rest.get(..end)).collect();
    names.reverse();
    names.retain(|name| !name.is_empty());
    names
}

/// Parses `rename "/dst/.a.aBc123" -> "a": ..`, which is about `a`, and likewise `copy`.
fn parse_rename(text: &[u8]) -> Option<Vec<&[u8]>> {
    let rest = text.strip_prefix(b"rename ").or_else(|| text.strip_prefix(b"copy "))?;
    let mut finals = Vec::new();
    for from in quoted_names(rest, b" -> \"") {
        // Skips the name, its quotes, and the arrow.
        let at = rest.get(1 + from.len()..).and_then(|rest| find(rest, b" -> "))? + 1 + from.len();
        finals.extend(quoted_names(rest.get(at + 4..).unwrap_or_default(), b""));
    }
    (!finals.is_empty()).then_some(finals)
}

/// Parses `ERROR: daemon refused to receive file "a"`, and likewise of other kinds.
fn parse_refused(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"ERROR: daemon refused to receive ")?.strip_suffix(b"\"")?;
    let at = text.iter().position(|&byte| byte == b'"')?;
    text.get(at + 1..)
}

/// Parses messages about extended attributes, in which the quotes are doubled: `rsync_xal_set:
/// lsetxattr(""/a"","user.b")`.
fn parse_xattr(text: &[u8]) -> Option<Vec<&[u8]>> {
    let at = find(text, b"xattr(\"")? + b"xattr(".len();
    if text.get(..at)?.contains(&b'"') {
        return None;
    }
    let rest = text.get(at..)?;
    let doubled = rest.get(1..).filter(|rest| rest.starts_with(b"\""));
    let names = doubled.map_or_else(|| quoted_names(rest, b","), |rest| quoted_names(rest, b"\","));
    (!names.is_empty()).then_some(names)
}

/// Returns the text of an error of `rrsync`, which begins with the path of that program. In a
/// message of rsync, a name follows a colon, a quote or a parenthesis.
fn rrsync_error(line: &[u8]) -> Option<&[u8]> {
    const SIGN: &[u8] = b"rrsync error: ";
    let at = find(line, SIGN)?;
    let is_path = line.get(..at)?.iter().all(|b| !b":\"(".contains(b));
    line.get(at + SIGN.len()..).filter(|_| is_path)
}

/// Returns true if the line says that the target is missing: a receiver that requires it, a daemon
/// that can't enter its module, or `rrsync` that can't enter its directory.
fn reports_missing_target(line: &[u8]) -> bool {
    let after_head = line.strip_prefix(b"rsync: ").map(|text| speaker(text).1);
    after_head.is_some_and(|text| {
        let makes_it = text.starts_with(b"mkdir \"") && contains(text, b"/.\" ");
        makes_it || text.starts_with(b"change_dir#3 ") && text.ends_with(b" (2)")
    }) || line == b"@ERROR: chdir failed"
        // With `use chroot`.
        || line == b"@ERROR: chroot failed"
        || rrsync_error(line)
            .is_some_and(|why| why.starts_with(b"Restricted directory does not exist"))
        || line.starts_with(b"FileNotFoundError: [Errno 2] ")
}

/// Returns the path after the name of a root. rsync writes `.` for the root itself.
fn relative_path(name: &[u8]) -> Option<TreePath> {
    if name == b"." { Some(TreePath::root()) } else { TreePath::new(name) }
}

/// Returns the paths that a temporary file `.NAME.abcDEF` of the receiver can stand for: rsync
/// doubles neither a dot at the start of a name nor one at its end (`get_tmpname` in receiver.c).
/// It also cuts off long names, so the right path may be missing. Callers keep the temporary path
/// as a candidate, since a regular file may have such a name.
#[must_use]
pub fn final_names(temporary: &TreePath) -> Vec<TreePath> {
    let parts = || {
        let name = temporary_core(temporary.name()?)?;
        Some((name, temporary.parent()?))
    };
    let Some((name, directory)) = parts() else { return Vec::new() };
    let names = [("", ""), (".", ""), ("", "."), (".", ".")]
        .map(|(before, after)| [before.as_bytes(), name, after.as_bytes()].concat());
    names.iter().filter_map(|name| directory.join(name)).collect()
}

/// Returns the part of a temporary name between its dots.
fn temporary_core(name: &[u8]) -> Option<&[u8]> {
    const RANDOM: usize = 6;
    let name = name.strip_prefix(b".")?;
    let (name, random) = name.split_at_checked(name.len().checked_sub(RANDOM)?)?;
    random.iter().all(u8::is_ascii_alphanumeric).then_some(())?;
    name.strip_suffix(b".")
}

/// Splits `[sender] text`; before 3.2 messages do not name the side.
fn speaker(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let split = || {
        let rest = text.strip_prefix(b"[")?;
        let end = find(rest, b"] ")?;
        Some((rest.get(..end)?, rest.get(end + 2..)?))
    };
    split().map_or((None, text), |(speaker, text)| (Some(speaker), text))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn find_last(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

#[cfg(test)]
mod tests;
