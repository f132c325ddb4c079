//! What rsync says on stderr, and which places it means.
//!
//! Both sides speak: the sender names paths below the source, the receiver paths below the target,
//! or below the root of the transfer.

use alloc::{vec, vec::Vec};

use super::target::{Target, TargetPath};
use crate::path::TreePath;

/// What one line of rsync's stderr means.
///
/// The places may be more than the line means, where that can't be told exactly; they are never
/// fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The source could not be read at these places.
    Unread(Vec<TreePath>),
    /// The target could not be written at these places.
    Unwritten(Vec<TreePath>),
    /// What was at these places vanished while it was looked at.
    Vanished(Vec<TreePath>),
    /// Something failed, and it can't be told where.
    Unplaced,
    /// The source could not be read completely, and so nothing was deleted.
    DeletionsSkipped,
    /// The receiver can't delete what a list says is missing.
    BrokenReceiver,
    /// The key is bound to `rrsync`, which does not know one of the options.
    Restricted,
    /// The target is not there.
    TargetGone,
    /// Nothing that matters.
    Chatter,
}

/// How the two sides name the places of a mirror.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The word for the source, which ends in `/`.
    pub source: &'a [u8],
    /// The target.
    pub target: &'a Target,
}

impl Names<'_> {
    /// What `line`, without its line feed, means.
    #[must_use]
    pub fn read(&self, line: &[u8]) -> Complaint {
        if contains(line, b"invalid file mode 00") {
            return Complaint::BrokenReceiver;
        }
        if contains(line, b"rrsync error: invalid rsync-command") {
            return Complaint::Restricted;
        }
        if line.starts_with(b"IO error encountered -- skipping file deletion") {
            return Complaint::DeletionsSkipped;
        }
        if is_of_missing_target(line) {
            return Complaint::TargetGone;
        }
        let (speaker, text) = match line.strip_prefix(b"rsync: ") {
            Some(text) => speaker(text),
            None => (None, line),
        };
        if let Some(paths) = self.vanished(text) {
            return paths;
        }
        if let Some(paths) = self.unquoted(text) {
            return paths;
        }
        if text.len() == line.len() {
            // A daemon, rsync itself and ssh say so why there is no transfer at all.
            let reasons = [&b"@ERROR: "[..], b"ERROR: ", b"ssh: "];
            let is_reason = reasons.iter().any(|reason| line.starts_with(reason))
                || contains(line, b"rrsync error: ");
            return if is_reason { Complaint::Unplaced } else { Complaint::Chatter };
        }
        let paths: Vec<_> = spans(text).iter().flat_map(|span| self.places(span)).collect();
        match speaker {
            _ if paths.is_empty() => Complaint::Unplaced,
            Some(b"sender") => Complaint::Unread(paths),
            // Before 3.2 rsync does not say who speaks.
            None if is_of_sender(text) => Complaint::Unread(paths),
            Some(_) | None => Complaint::Unwritten(paths),
        }
    }

    fn vanished(&self, text: &[u8]) -> Option<Complaint> {
        let kinds = [&b"file has vanished: "[..], b"directory has vanished: "];
        let rest = kinds.iter().find_map(|kind| text.strip_prefix(*kind))?;
        let paths: Vec<_> = spans(rest).iter().flat_map(|span| self.places(span)).collect();
        Some(if paths.is_empty() { Complaint::Unplaced } else { Complaint::Vanished(paths) })
    }

    /// The complaints that have a path without quotes, at their end or start.
    fn unquoted(&self, text: &[u8]) -> Option<Complaint> {
        let one_of = |heads: &[&[u8]]| heads.iter().find_map(|head| text.strip_prefix(*head));
        let placed = |path: &[u8], complaint: fn(Vec<TreePath>) -> Complaint| {
            let paths = self.places(path);
            if paths.is_empty() { Complaint::Unplaced } else { complaint(paths) }
        };
        if let Some(path) = one_of(&[b"cannot delete non-empty directory: "]) {
            return Some(placed(path, Complaint::Unwritten));
        }
        let too_long: &[&[u8]] =
            &[b"filename overflows max-path len by ", b"could not make way for "];
        if let Some(rest) = one_of(too_long) {
            let path = find(rest, b": ").and_then(|at| rest.get(at + 2..)).unwrap_or_default();
            let writes = text.starts_with(b"could");
            let complaint = if writes { Complaint::Unwritten } else { Complaint::Unread };
            return Some(placed(path, complaint));
        }
        if let Some(rest) = one_of(&[b"symlink has no referent: "]) {
            return Some(placed(inner(rest), Complaint::Unread));
        }
        let rest = text.strip_prefix(b"ERROR: ")?;
        let end = find(rest, b" failed verification")?;
        Some(placed(rest.get(..end)?, Complaint::Unwritten))
    }

    /// The places that a path of a complaint can mean.
    fn places(&self, said: &[u8]) -> Vec<TreePath> {
        let said = unescape(said);
        let mut paths = Vec::new();
        if let Some(path) = said.strip_prefix(self.source) {
            paths.extend(place(path));
        }
        match self.target.path() {
            TargetPath::Absolute(target) => {
                paths.extend(said.strip_prefix(target).and_then(place));
            }
            TargetPath::Relative(target) => {
                let target = [b"/", target].concat();
                let below = find(&said, &target).and_then(|at| said.get(at + target.len()..));
                paths.extend(below.and_then(place));
            }
            TargetPath::Unknown => {}
        }
        if !said.starts_with(b"/") {
            paths.extend(place(&said));
        }
        let finals: Vec<_> = paths.iter().filter_map(final_name).collect();
        paths.extend(finals);
        paths
    }
}

/// What says that a target is gone: a receiver that was told to find it, a daemon that can't enter
/// its module, and `rrsync` that can't enter its directory.
fn is_of_missing_target(line: &[u8]) -> bool {
    let after_head = line.strip_prefix(b"rsync: ").map(|text| speaker(text).1);
    after_head.is_some_and(|text| {
        let makes_it = text.starts_with(b"mkdir \"") && contains(text, b"/.\" ");
        makes_it || text.starts_with(b"change_dir#3 ") && text.ends_with(b" (2)")
    }) || line == b"@ERROR: chdir failed"
        || contains(line, b"rrsync error: Restricted directory does not exist")
        || line.starts_with(b"FileNotFoundError: [Errno 2] ")
}

/// The place behind the name of a root. Of the root itself rsync says `.` there.
fn place(said: &[u8]) -> Option<TreePath> {
    if said == b"." { Some(TreePath::root()) } else { TreePath::new(said) }
}

/// Where a temporary file `.NAME.abcDEF` of the receiver goes. The temporary name stays among the
/// places, since a file may have such a name.
fn final_name(temporary: &TreePath) -> Option<TreePath> {
    const RANDOM: usize = 6;
    let name = temporary.name()?.strip_prefix(b".")?;
    let (name, random) = name.split_at_checked(name.len().checked_sub(RANDOM)?)?;
    let name = name.strip_suffix(b".")?;
    random.iter().all(u8::is_ascii_alphanumeric).then_some(())?;
    temporary.parent()?.join(name)
}

/// Splits `[sender] text`; before 3.2 there is no speaker.
fn speaker(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let split = || {
        let rest = text.strip_prefix(b"[")?;
        let end = find(rest, b"] ")?;
        Some((rest.get(..end)?, rest.get(end + 2..)?))
    };
    split().map_or((None, text), |(speaker, text)| (Some(speaker), text))
}

fn is_of_sender(text: &[u8]) -> bool {
    let calls = [
        &b"send_files"[..],
        b"opendir",
        b"readdir",
        b"link_stat",
        b"readlink_stat",
        b"readlink",
        b"read errors mapping",
        b"change_dir",
    ];
    calls.iter().any(|call| text.starts_with(call))
}

/// The parts of a complaint that can be the path it is about.
///
/// rsync does not escape quotes, so a path that has some can't be told from two paths: all that it
/// can be is told.
fn spans(text: &[u8]) -> Vec<&[u8]> {
    // Around xattrs it doubles the quotes: `lsetxattr(""/a"","user.b") failed`.
    let quotes: Vec<usize> =
        text.iter().enumerate().filter(|&(_, &b)| b == b'"').map(|(at, _)| at).collect();
    let between = |from: usize, to: usize| {
        Some(text.get(*quotes.get(from)? + 1..*quotes.get(to)?)?).filter(|span| !span.is_empty())
    };
    let Some(last) = quotes.len().checked_sub(1).filter(|&last| last > 0) else {
        return in_parentheses(text).into_iter().collect();
    };
    let mut spans: Vec<_> = (1..=last).filter_map(|to| between(0, to)).collect();
    spans.extend(between(1, 2).filter(|_| contains(text, b"(\"\"")));
    if text.starts_with(b"rename") {
        spans.extend((1..last).filter_map(|from| between(from, last)));
    }
    spans
}

/// `delete_file: unlink(a/b) failed: ..`, `set_acl: sys_acl_set_file(a/b, ..): ..`
fn in_parentheses(text: &[u8]) -> Vec<&[u8]> {
    let start = text.iter().position(|&b| b == b'(').map(|at| at + 1);
    let Some(rest) = start.and_then(|at| text.get(at..)) else { return vec![] };
    let end = find(rest, b") failed").or_else(|| find(rest, b"): "));
    let Some(inside) = end.and_then(|at| rest.get(..at)) else { return vec![] };
    let argument = find(inside, b", ").and_then(|at| inside.get(..at));
    argument.into_iter().chain([inside]).collect()
}

fn inner(quoted: &[u8]) -> &[u8] {
    quoted.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(quoted)
}

/// Takes back rsync's `\#ooo`, three octal digits. A backslash that could be taken for the start
/// of one is itself written so; every other stands for itself.
fn unescape(said: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(said.len());
    let mut rest = said;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.strip_prefix(b"#").and_then(|tail| tail.split_at_checked(3));
        match octal.and_then(|(digits, tail)| Some((from_octal(digits)?, tail))) {
            Some((byte, tail)) if first == b'\\' => {
                bytes.push(byte);
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

fn from_octal(digits: &[u8]) -> Option<u8> {
    let digits = core::str::from_utf8(digits).ok()?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| u8::from_str_radix(digits, 8).ok())?
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

#[cfg(test)]
#[path = "complaint_tests.rs"]
mod tests;
