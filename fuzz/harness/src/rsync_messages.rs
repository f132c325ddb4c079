//! Target: the diagnostics of rsync.
//!
//! An input is text: the target of the sync, lines of output, an empty line, and names below the
//! source, one per line. Each name also goes through the messages of rsync and back. The byte 1 in
//! a name stands for a newline.

use mirror_core::{
    path::TreePath,
    plan::{
        stderr::{
            Diagnostic, StderrParser, parse_grouped_number, unescape, without_temporary_names,
        },
        target::Target,
    },
};

use crate::input::{split_at_blank_line, split_first_line};

const SOURCE: &[u8] = b"/src/";

/// Maximum number of names that are put into messages.
const MAX_NAMES: usize = 4;

/// Number of quotes from which the parser may give up on a line.
const MANY_QUOTES: usize = 64;

/// Longest name that fits into the name of a temporary file.
const MAX_TEMPORARY_NAME: usize = 246;

/// Targets, and the directory that messages name.
const TARGETS: [(&str, &str); 4] =
    [("/dst", "/dst/"), ("host:to", "/srv/u/to/"), ("host:/dst", "/dst/"), ("host::mod/x", "/x/")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageMeaning {
    Read,
    Write,
    Vanished,
    Blocked,
    NotEmpty,
}

/// The form of the name in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameForm {
    /// Below the source, in quotes.
    Source,
    /// Below the target, in quotes.
    Target,
    /// A temporary file below the target, in quotes.
    Temporary,
    /// Relative to the root of the transfer.
    Relative,
    /// The same in quotes.
    Quoted,
}

/// A message of rsync with the text before and after the name.
type RsyncMessage = (&'static str, NameForm, &'static str, MessageMeaning);

use MessageMeaning::{Blocked, NotEmpty, Read, Vanished, Write};
use NameForm::{Quoted, Relative, Source, Temporary};

const MESSAGES: [RsyncMessage; 33] = [
    ("rsync: [sender] link_stat ", Source, " failed: No such file or directory (2)", Read),
    ("rsync: [sender] readlink_stat(", Source, ") failed: Permission denied (13)", Read),
    ("rsync: [sender] opendir ", Source, " failed: Permission denied (13)", Read),
    ("rsync: [sender] readdir(", Source, "): Input/output error (5)", Read),
    ("rsync: [sender] send_files failed to open ", Source, ": Permission denied (13)", Read),
    ("rsync: send_files failed to open ", Source, ": Permission denied (13)", Read),
    ("rsync: [sender] read errors mapping ", Source, ": Input/output error (5)", Read),
    ("symlink has no referent: ", Source, "", Read),
    ("file has vanished: ", Source, "", Vanished),
    ("directory has vanished: ", Source, "", Vanished),
    ("[sender] cannot convert filename: ", Relative, " (Invalid argument)", Read),
    ("rsync: [receiver] mkstemp ", Temporary, " failed: Permission denied (13)", Write),
    ("rsync: [receiver] chgrp ", Temporary, " failed: Operation not permitted (1)", Write),
    ("rsync: [generator] chown ", NameForm::Target, " failed: Operation not permitted (1)", Write),
    ("rsync: [generator] failed to set times on ", NameForm::Target, ": No (1)", Write),
    ("rsync: [receiver] write failed on ", NameForm::Target, ": No space left (28)", Write),
    ("rsync: [generator] recv_generator: failed to stat ", NameForm::Target, ": No (13)", Write),
    ("rsync: [generator] recv_generator: mkdir ", NameForm::Target, " failed: No (13)", Write),
    ("rsync: [generator] mknod ", NameForm::Target, " failed: Operation not permitted (1)", Write),
    ("rsync: [generator] symlink ", NameForm::Target, " -> \"z\" failed: No (13)", Write),
    ("rsync: [generator] link ", NameForm::Target, " => a failed: Too many links (31)", Write),
    ("rsync: [generator] something new about ", NameForm::Target, " failed: No (1)", Write),
    ("rsync: [generator] delete_file: unlink(", Relative, ") failed: No (13)", Write),
    ("rsync: [generator] delete_file: rmdir(", Relative, ") failed: No (13)", Write),
    ("rsync: [generator] set_acl: sys_acl_set_file(", Relative, ", ACCESS): No (95)", Write),
    ("cannot delete non-empty directory: ", Relative, "", NotEmpty),
    ("cannot delete mount point: ", Relative, "", Write),
    ("could not make way for new regular file: ", Relative, "", Blocked),
    ("could not make way for new directory: ", Relative, "", Blocked),
    ("could not make way for new symlink: ", Relative, "", Blocked),
    ("ERROR: ", Relative, " failed verification -- update discarded.", Write),
    ("skipping overly long name: ", Relative, "", Read),
    ("ERROR: daemon refused to receive file ", Quoted, "", Write),
];

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const TOKENS: &[&[u8]] = &[
        b"rsync: [sender] ",
        b"rsync: [receiver] ",
        b"rsync: [generator] ",
        b"rsync: ",
        b"rename \"/dst/.a.aBcDeF\" -> \"a\": ",
        b"copy \"",
        b"\" -> \"",
        b"\" failed",
        b"\" => ",
        b"\": ",
        b"\" (in mod)",
        b" (in ",
        b"\\#012",
        b"\\#134",
        b"\\#999",
        b"\\#",
        b".a.aBcDeF",
        b"/src/",
        b"/dst/",
        b"/to/",
        b"lsetxattr(\"",
        b"xattr(\"\"a\"\",\"",
        b"\",",
        b"rrsync error: ",
        b"rrsync error: invalid rsync-command",
        b"rrsync error: Restricted directory does not exist",
        b"mkdir \"/dst/.\" ",
        b"change_dir#3 ",
        b"FileNotFoundError: [Errno 2] ",
        b"Deletions stopped due to --max-delete limit (",
        b"filename overflows max-path len by 5: ",
        b"IO error encountered -- skipping file deletion",
        b"The server is configured to refuse --max-delete",
        b"\n",
        b"\n\n",
        b"\x01",
    ];
    let heads = MESSAGES.iter().flat_map(|(head, _, tail, _)| [head.as_bytes(), tail.as_bytes()]);
    TOKENS.iter().copied().chain(heads).filter(|token| !token.is_empty()).collect()
}

/// Checks that paths in diagnostics are valid and stand in the line, and that the name in a message
/// is among them.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    let (text, names) = split_at_blank_line(data);
    let (target, lines) = split_first_line(text);
    if let Ok(target) = Target::new(target) {
        let parser = StderrParser { source: SOURCE, target: &target };
        for line in lines.split(|&byte| byte == b'\n') {
            check_line(parser, line);
        }
    }
    let names = names.split(|&byte| byte == b'\n').filter_map(name);
    for name in names.take(MAX_NAMES) {
        check_messages(&name);
    }
}

fn name(line: &[u8]) -> Option<TreePath> {
    let byte = |byte: &u8| if *byte == 1 { b'\n' } else { *byte };
    let line: Vec<u8> = line.iter().map(byte).collect();
    TreePath::new(&line).filter(|path| !path.is_root())
}

/// Checks the diagnostic of a line, and returns it.
fn check_line(parser: StderrParser<'_>, line: &[u8]) -> Diagnostic {
    let diagnostic = parser.parse(line);
    assert_eq!(parser.parse(line), diagnostic, "parsed differently the second time");
    let shown = unescape(line);
    assert!(shown.len() <= line.len());
    for (index, path) in paths(&diagnostic).iter().enumerate() {
        assert_eq!(TreePath::new(path.as_bytes()).as_ref(), Some(path), "an invalid path");
        let is_first = paths(&diagnostic).iter().position(|other| other == path) == Some(index);
        assert!(is_first, "the candidate {path} twice");
        for part in path.components() {
            assert!(contains(&shown, part), "{path} is not in the line");
        }
    }
    assert!(without_temporary_names(line).len() <= line.len(), "a longer line");
    if parse_grouped_number(line).is_some() {
        assert!(line.iter().any(u8::is_ascii_digit), "a number without digits");
    }
    diagnostic
}

fn paths(diagnostic: &Diagnostic) -> &[TreePath] {
    match diagnostic {
        Diagnostic::ReadFailed(paths)
        | Diagnostic::WriteFailed(paths)
        | Diagnostic::Vanished(paths)
        | Diagnostic::BlockedByDirectory(paths)
        | Diagnostic::NotEmpty(paths) => {
            assert!(!paths.is_empty(), "a located diagnostic without a path");
            paths
        }
        Diagnostic::DeletionLimitReached(_)
        | Diagnostic::MaxDeleteRefused
        | Diagnostic::Unlocated
        | Diagnostic::DeletionsSkipped
        | Diagnostic::DeleteMissingBroken
        | Diagnostic::RrsyncRefused
        | Diagnostic::TargetMissing
        | Diagnostic::Irrelevant => &[],
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Checks that the messages about one path are understood. The path selects the target, and the
/// escaping of bytes that are not ASCII.
fn check_messages(path: &TreePath) {
    let choice = path.as_bytes().len();
    let (target, directory) = *TARGETS.get(choice % TARGETS.len()).unwrap_or(&TARGETS[0]);
    let eight_bit = choice / TARGETS.len() % 2 == 1;
    let target = Target::new(target.as_bytes()).expect("the targets of the table are valid");
    let parser = StderrParser { source: SOURCE, target: &target };
    for (head, form, tail, meaning) in MESSAGES {
        let name = shown_name(form, directory, path);
        let line = escape(&[head.as_bytes(), &name, tail.as_bytes()].concat(), eight_bit);
        check_meaning(check_line(parser, &line), meaning, form, path, &line);
    }
    let name = shown_name(Temporary, directory, path);
    let line = [b"rsync: [receiver] rename ", &*name, b" -> \"", path.as_bytes(), b"\": Is (21)"];
    let line = escape(&line.concat(), eight_bit);
    check_meaning(check_line(parser, &line), Write, NameForm::Target, path, &line);
}

/// Checks that a path is among the candidates, or that the parser says that it does not know.
fn check_meaning(
    diagnostic: Diagnostic,
    meaning: MessageMeaning,
    form: NameForm,
    path: &TreePath,
    line: &[u8],
) {
    // The name of a temporary file does not have all of a long name.
    let is_cut = form == Temporary && path.name().is_some_and(|it| it.len() > MAX_TEMPORARY_NAME);
    let has_many_quotes = line.iter().filter(|&&byte| byte == b'"').nth(MANY_QUOTES).is_some();
    let may_give_up = is_cut || has_many_quotes;
    let (found, paths) = match diagnostic {
        Diagnostic::ReadFailed(paths) => (Read, paths),
        Diagnostic::WriteFailed(paths) => (Write, paths),
        Diagnostic::Vanished(paths) => (Vanished, paths),
        Diagnostic::BlockedByDirectory(paths) => (Blocked, paths),
        Diagnostic::NotEmpty(paths) => (NotEmpty, paths),
        Diagnostic::Unlocated if may_give_up => return,
        other => panic!("{} means {other:?}", line.escape_ascii()),
    };
    assert_eq!(found, meaning, "{}", line.escape_ascii());
    let is_found = paths.contains(path) || is_cut;
    assert!(is_found, "{path} is not in {paths:?}: {}", line.escape_ascii());
}

/// Returns a name as rsync prints it, not escaped.
fn shown_name(form: NameForm, directory: &str, path: &TreePath) -> Vec<u8> {
    let quoted = |directory: &[u8], path: &[u8]| [b"\"", directory, path, b"\""].concat();
    match form {
        Source => quoted(SOURCE, path.as_bytes()),
        NameForm::Target => quoted(directory.as_bytes(), path.as_bytes()),
        Temporary => quoted(directory.as_bytes(), &temporary(path)),
        Relative => path.as_bytes().to_vec(),
        Quoted => quoted(b"", path.as_bytes()),
    }
}

/// Returns the path of the receiver's temporary file (`get_tmpname` in rsync's receiver.c): a dot
/// that the name begins or ends with is not doubled, and a long name is cut off.
fn temporary(path: &TreePath) -> Vec<u8> {
    let name = path.name().unwrap_or_default();
    let name = name.strip_prefix(b".").unwrap_or(name);
    let mut kept = name.get(..MAX_TEMPORARY_NAME).unwrap_or(name);
    if name.get(kept.len()).is_some_and(|byte| !byte.is_ascii()) {
        // Not within a character of several bytes.
        let ascii = kept.iter().rposition(u8::is_ascii).map_or(0, |at| at + 1);
        kept = kept.get(..ascii).unwrap_or_default();
    }
    let kept = [b".", kept].concat();
    let end: &[u8] = if kept.ends_with(b".") { b"aBcD12" } else { b".aBcD12" };
    let directory = path.parent().filter(|parent| !parent.is_root());
    let directory = directory.map(|parent| [parent.as_bytes(), b"/"].concat()).unwrap_or_default();
    [&*directory, &*kept, end].concat()
}

/// Escapes a message as rsync does (`filtered_fwrite` in log.c): control characters, all bytes that
/// are not ASCII unless they are allowed, and what looks like an escape.
fn escape(message: &[u8], eight_bit: bool) -> Vec<u8> {
    let mut line = Vec::new();
    for (at, &byte) in message.iter().enumerate() {
        let rest = message.get(at + 1..).unwrap_or_default();
        let is_escape = byte == b'\\'
            && rest.first() == Some(&b'#')
            && rest.get(1..4).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
        let is_printable = byte == b'\t' || byte >= b' ' && (eight_bit || byte < 0x7f);
        if is_escape || !is_printable {
            line.extend_from_slice(format!("\\#{byte:03o}").as_bytes());
        } else {
            line.push(byte);
        }
    }
    line
}
