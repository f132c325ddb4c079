//! What rsync says, and which place it means.
//!
//! Both sides speak: the sender names paths below the source, the receiver paths below the target,
//! or below the root of the transfer. Names are found by the form of the message, from 3.1 to 3.5.

use alloc::vec::Vec;

use super::target::{Target, TargetPath};
use crate::path::TreePath;

/// What one line of rsync's output means.
///
/// A name may look like a part of the message around it. So what has a place has one or more
/// readings, the likeliest first, of which one is right: the first that has to do with the call.
/// None means that it can't be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The source could not be read at this place.
    Unread(Vec<TreePath>),
    /// The target could not be written at this place.
    Unwritten(Vec<TreePath>),
    /// What was at this place vanished while it was looked at.
    Vanished(Vec<TreePath>),
    /// A directory of the target that is not empty keeps something else from coming here.
    InTheWay(Vec<TreePath>),
    /// A directory that should go from the target is not empty.
    NotEmpty(Vec<TreePath>),
    /// So many deletions were left out because of `--max-delete`.
    Limited(u64),
    /// The other side is told by its administrator to take no `--max-delete`.
    LimitRefused,
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

/// Whose place a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One of the sender, if nobody says who speaks.
    Source,
    /// One of the receiver.
    Target,
    /// One that vanished.
    Vanished,
    /// One that a directory stands in the way of.
    InTheWay,
    /// A directory that is not empty.
    NotEmpty,
}

use Place::{InTheWay, NotEmpty, Source, Target as Dest, Vanished};

/// The start of a message, what comes after its name, and whose it is.
type Form = (&'static [u8], &'static [u8], Place);

/// The messages with a name in quotes, behind which the name of a module may stand.
const QUOTED: &[Form] = &[
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
    (b"ERROR: daemon refused to receive file ", b"", Dest),
    (b"ERROR: daemon refused to receive directory ", b"", Dest),
    (b"ERROR: daemon refused to receive symlink ", b"", Dest),
    (b"ERROR: daemon refused to receive device ", b"", Dest),
    (b"ERROR: daemon refused to receive special file ", b"", Dest),
    (b"ERROR: daemon refused to receive special ", b"", Dest),
];

/// The messages with a name as it is.
const BARE: &[Form] = &[
    (b"cannot convert filename: ", b" (", Source),
    (b"cannot convert symlink data for: ", b" (", Source),
    (b"skipping overly long name: ", b"", Source),
    (b"path too long: ", b"", Source),
    (b"skipping file with bogus (zero) st_mode: ", b"", Source),
    (b"temporary filename too long: ", b"", Dest),
    (b"delete_file: unlink(", b") failed", Dest),
    (b"delete_file: rmdir(", b") failed", Dest),
    (b"cannot delete non-empty directory: ", b"", NotEmpty),
    (b"cannot delete mount point: ", b"", Dest),
    (b"could not make way for new regular file: ", b"", InTheWay),
    (b"could not make way for new directory: ", b"", InTheWay),
    (b"could not make way for new symlink: ", b"", InTheWay),
    (b"could not make way for new device file: ", b"", InTheWay),
    (b"could not make way for new special file: ", b"", InTheWay),
    (b"could not make way for new hard-linked file: ", b"", InTheWay),
    (b"set_acl: sys_acl_set_file(", b", ", Dest),
    (b"get_acl: sys_acl_get_file(", b", ", Source),
    (b"recv_files: ", b" is a directory", Dest),
    (b"Unable to create partial-dir for ", b" -- discarding ", Dest),
    (b"WARNING: parent dir is absent in the file list: ", b"", Dest),
    (b"ERROR: rejecting file transfer request for daemon excluded file: ", b"", Dest),
    (b"ERROR: ", b" failed verification", Dest),
];

impl Names<'_> {
    /// What `line`, without its line feed, means.
    #[must_use]
    pub fn read(&self, line: &[u8]) -> Complaint {
        if let Some(complaint) = of_the_whole(line) {
            return complaint;
        }
        let said = line.strip_prefix(b"rsync: ");
        let (speaker, text) = speaker(said.unwrap_or(line));
        let side = match speaker {
            Some(b"sender") => Some(Source),
            Some(_) => Some(Dest),
            None => None,
        };
        if let Some(complaint) = self.placed(side, text) {
            return complaint;
        }
        if said.is_some() {
            // Of an unknown form: what stands in quotes may be a place.
            let quoted = text.iter().position(|&b| b == b'"').and_then(|at| text.get(at..));
            let names = quoted.map_or_else(Vec::new, |text| in_quotes(text, b""));
            return self.complaint(side.unwrap_or(Dest), side, &names);
        }
        // A daemon, rsync itself and ssh say so why there is no transfer at all.
        let reasons = [&b"@ERROR: "[..], b"ERROR: ", b"ABORTING ", b"ssh: "];
        let is_reason = reasons.iter().any(|reason| line.starts_with(reason))
            || contains(line, b"rrsync error: ");
        if is_reason { Complaint::Unplaced } else { Complaint::Chatter }
    }

    /// The complaints that have a place.
    fn placed(&self, side: Option<Place>, text: &[u8]) -> Option<Complaint> {
        if let Some(finals) = renamed(text) {
            return Some(self.complaint(Dest, side, &finals));
        }
        if let Some(names) = of_attributes(text) {
            return Some(self.complaint(Dest, side, &names));
        }
        let overflow = text.strip_prefix(b"filename overflows max-path len by ");
        if let Some(rest) = overflow {
            let name = find(rest, b": ").and_then(|at| rest.get(at + 2..)).unwrap_or_default();
            return Some(self.complaint(Source, side, &[name]));
        }
        // Of two forms with one head it depends on the name which one it is.
        let read = |&(head, tail, place): &Form| {
            let names = in_quotes(text.strip_prefix(head)?, tail);
            (!names.is_empty()).then_some((place, names))
        };
        let (places, names): (Vec<_>, Vec<_>) = QUOTED.iter().filter_map(read).unzip();
        if let Some(place) = places.first() {
            return Some(self.complaint(*place, side, &names.concat()));
        }
        for &(head, tail, place) in BARE {
            let Some(rest) = text.strip_prefix(head) else { continue };
            let end = if tail.is_empty() { Some(rest.len()) } else { find_last(rest, tail) };
            if let Some(name) = end.and_then(|end| rest.get(..end)) {
                return Some(self.complaint(place, side, &[name]));
            }
        }
        None
    }

    /// What is said of a place that may have one of these `names`. Who speaks knows best whose it
    /// is; before 3.2 nobody says who speaks.
    fn complaint(&self, place: Place, side: Option<Place>, names: &[&[u8]]) -> Complaint {
        let side = match place {
            Vanished => Source,
            Source | Dest => side.unwrap_or(place),
            InTheWay | NotEmpty => Dest,
        };
        let mut paths = Vec::new();
        for name in names {
            for path in self.places(side, name) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        match place {
            _ if paths.is_empty() => Complaint::Unplaced,
            Vanished => Complaint::Vanished(paths),
            InTheWay => Complaint::InTheWay(paths),
            NotEmpty => Complaint::NotEmpty(paths),
            Source | Dest if side == Source => Complaint::Unread(paths),
            Source | Dest => Complaint::Unwritten(paths),
        }
    }

    /// The places that a path of a complaint can mean, the likeliest first.
    fn places(&self, side: Place, said: &[u8]) -> Vec<TreePath> {
        let said = unescape(said);
        let mut paths = Vec::new();
        if side == Source {
            paths.extend(said.strip_prefix(self.source).and_then(place));
        } else {
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
        }
        if !said.starts_with(b"/") {
            paths.extend(place(&said));
        }
        if side == Source {
            return paths;
        }
        // A file may have such a name, too.
        let finals: Vec<_> = paths.iter().filter_map(final_name).collect();
        finals.into_iter().chain(paths).collect()
    }
}

/// The line as people should see it: without the temporary names of the receiver, which mean
/// nothing to them.
#[must_use]
pub fn for_people(line: &[u8]) -> Vec<u8> {
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
        match name.as_ref().and_then(final_name) {
            Some(name) => {
                shown.extend_from_slice(name.as_bytes());
                shown.push(b'"');
            }
            None => shown.extend_from_slice(part),
        }
    }
    shown
}

/// What is said of the whole transfer.
fn of_the_whole(line: &[u8]) -> Option<Complaint> {
    let said = line.strip_prefix(b"rsync: ");
    if line.starts_with(b"invalid file mode 00 for ") {
        return Some(Complaint::BrokenReceiver);
    }
    if said.is_none() && contains(line, b"rrsync error: invalid rsync-command") {
        return Some(Complaint::Restricted);
    }
    if line.starts_with(b"IO error encountered -- skipping file deletion") {
        return Some(Complaint::DeletionsSkipped);
    }
    if let Some(rest) = line.strip_prefix(b"Deletions stopped due to --max-delete limit (") {
        return Some(Complaint::Limited(number(rest).unwrap_or(u64::MAX)));
    }
    let refused = b"The server is configured to refuse --max-delete";
    if said.unwrap_or(line).starts_with(refused) {
        return Some(Complaint::LimitRefused);
    }
    is_of_missing_target(line).then_some(Complaint::TargetGone)
}

/// The number at the start of a text, whatever parts its thousands.
#[must_use]
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit() || b",.".contains(b));
    let mut digits = digits.filter(|b| b.is_ascii_digit()).peekable();
    digits.peek()?;
    digits.try_fold(0_u64, |number, b| number.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

/// The names that can stand in the quotes at the start of `text`, if `tail` follows them: rsync
/// does not escape quotes. The longest first.
fn in_quotes<'a>(text: &'a [u8], tail: &[u8]) -> Vec<&'a [u8]> {
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

/// `rename "/dst/.a.aBc123" -> "a": ..` is about `a`, and so is a `copy`.
fn renamed(text: &[u8]) -> Option<Vec<&[u8]>> {
    let rest = text.strip_prefix(b"rename ").or_else(|| text.strip_prefix(b"copy "))?;
    let mut finals = Vec::new();
    for from in in_quotes(rest, b" -> \"") {
        // The name, its quotes, and the arrow.
        let at = rest.get(1 + from.len()..).and_then(|rest| find(rest, b" -> "))? + 1 + from.len();
        finals.extend(in_quotes(rest.get(at + 4..).unwrap_or_default(), b""));
    }
    (!finals.is_empty()).then_some(finals)
}

/// Around extended attributes the quotes are doubled: `rsync_xal_set: lsetxattr(""/a"","user.b")`.
fn of_attributes(text: &[u8]) -> Option<Vec<&[u8]>> {
    let at = find(text, b"xattr(\"")? + b"xattr(".len();
    if text.get(..at)?.contains(&b'"') {
        return None;
    }
    let rest = text.get(at..)?;
    let doubled = rest.get(1..).filter(|rest| rest.starts_with(b"\""));
    let names = doubled.map_or_else(|| in_quotes(rest, b","), |rest| in_quotes(rest, b"\","));
    (!names.is_empty()).then_some(names)
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

/// Takes back rsync's `\#ooo`, three octal digits. A backslash that could be taken for the start
/// of one is itself written so; every other stands for itself.
#[must_use]
pub fn unescape(said: &[u8]) -> Vec<u8> {
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

fn find_last(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

#[cfg(test)]
mod tests;
