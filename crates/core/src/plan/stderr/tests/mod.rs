use super::*;
use alloc::{
    format,
    string::{String, ToString},
    vec,
};

fn meaning(target: &str, line: &[u8]) -> Diagnostic {
    let target = Target::new(target.as_bytes()).unwrap();
    StderrParser { source: b"/src/", target: &target }.parse(line)
}

fn paths(diagnostic: &Diagnostic) -> &[TreePath] {
    match diagnostic {
        Diagnostic::ReadFailed(paths)
        | Diagnostic::WriteFailed(paths)
        | Diagnostic::Vanished(paths)
        | Diagnostic::BlockedByDirectory(paths)
        | Diagnostic::NotEmpty(paths) => paths,
        _ => &[],
    }
}

fn read(target: &str, line: &str) -> String {
    let diagnostic = meaning(target, line.as_bytes());
    let kind = match &diagnostic {
        Diagnostic::ReadFailed(_) => "unread",
        Diagnostic::WriteFailed(_) => "unwritten",
        Diagnostic::Vanished(_) => "vanished",
        Diagnostic::BlockedByDirectory(_) => "in the way",
        Diagnostic::NotEmpty(_) => "not empty",
        other => return format!("{other:?}"),
    };
    let paths: Vec<_> = paths(&diagnostic).iter().map(ToString::to_string).collect();
    format!("{kind} {}", paths.join(" "))
}

/// Messages of rsync and their meaning, the most likely path first.
const MESSAGES: &[(&str, &str)] = &[
    (r#"rsync: [sender] send_files failed to open "/src/a": Permission denied (13)"#, "unread /a"),
    (r#"rsync: send_files failed to open "/src/a b": Permission denied (13)"#, "unread /a b"),
    ("@ERROR: auth failed on module mirror", "Unlocated"),
    ("ERROR: password file must not be other-accessible", "Unlocated"),
    ("ssh: connect to host h port 22: Connection refused", "Unlocated"),
    ("Welcome to the server", "Irrelevant"),
    (r#"rsync: [Receiver] mkdir "/dst/." failed: No such file or directory (2)"#, "TargetMissing"),
    (r#"rsync: mkdir "/dst/." failed: No such file or directory (2)"#, "TargetMissing"),
    (r#"rsync: [Receiver] mkdir "d/." (in mod) failed: No such file (2)"#, "TargetMissing"),
    (r#"rsync: [Receiver] mkdir "/dst/." failed: File exists (17)"#, "TargetMissing"),
    (r#"rsync: [Receiver] change_dir#3 "/dst" failed: No such file (2)"#, "TargetMissing"),
    (r#"rsync: [Receiver] change_dir#3 "/dst" failed: Permission denied (13)"#, "Unlocated"),
    (r#"rsync: [Receiver] mkdir "/a/dst" failed: No such file or directory (2)"#, "Unlocated"),
    ("@ERROR: chdir failed", "TargetMissing"),
    ("@ERROR: chroot failed", "TargetMissing"),
    ("/usr/bin/rrsync error: Restricted directory does not exist!", "TargetMissing"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/dst'", "TargetMissing"),
    (r#"rsync: [sender] opendir "/src/d" failed: Permission denied (13)"#, "unread /d"),
    (r#"rsync: [generator] opendir "/dst/d" failed: Permission denied (13)"#, "unwritten /d"),
    (r#"rsync: [sender] link_stat "/src/d/x" failed: Not a directory (20)"#, "unread /d/x"),
    (r#"rsync: [sender] readlink_stat("/src/d/x") failed: Permission denied (13)"#, "unread /d/x"),
    (r#"rsync: [sender] readdir("/src/d"): Input/output error (5)"#, "unread /d"),
    (
        r#"rsync: [receiver] mkstemp "/dst/d/.top.lReW4z" failed: Permission denied (13)"#,
        "unwritten /d/top /d/.top /d/top. /d/.top. /d/.top.lReW4z",
    ),
    (
        r#"rsync: [receiver] mkstemp "/d/.top.lReW4z" (in mod) failed: Permission denied (13)"#,
        "Unlocated",
    ),
    (r#"rsync: [receiver] rename "/dst/.x.abc123" -> "x": Is a directory (21)"#, "unwritten /x"),
    (
        r#"rsync: [receiver] rename "/dst/d/.x.abc123" -> "d/x": Operation not permitted (1)"#,
        "unwritten /d/x",
    ),
    (
        r#"rsync: [receiver] copy "/dst/.x.abc123" -> "x": No space left on device (28)"#,
        "unwritten /x",
    ),
    (
        r#"rsync: [generator] symlink "/dst/ln" -> "z" failed: Permission denied (13)"#,
        "unwritten /ln",
    ),
    (r#"rsync: [generator] link "/dst/b" => a failed: Too many links (31)"#, "unwritten /b"),
    (
        r#"rsync: [receiver] write failed on "/dst/big": No space left on device (28)"#,
        "unwritten /big",
    ),
    (
        r"rsync: [generator] delete_file: unlink(sec2/q) failed: Permission denied (13)",
        "unwritten /sec2/q",
    ),
    (
        r"rsync: [generator] delete_file: rmdir(a(b) failed) failed: Permission denied (13)",
        "unwritten /a(b) failed",
    ),
    (
        r#"rsync: [generator] recv_generator: mkdir "/dst/n" failed: Permission denied (13)"#,
        "unwritten /n",
    ),
    (
        r#"rsync: [receiver] chgrp "/dst/.n.aB3456" failed: Operation not permitted (1)"#,
        "unwritten /n /.n /n. /.n. /.n.aB3456",
    ),
    (
        r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#,
        "unwritten /",
    ),
    ("cannot delete non-empty directory: sec2", "not empty /sec2"),
    ("could not make way for new regular file: a: b", "in the way /a: b"),
    ("could not make way for new symlink: l", "in the way /l"),
    ("Deletions stopped due to --max-delete limit (13 skipped)", "DeletionLimitReached(13)"),
    ("Deletions stopped due to --max-delete limit (1,300 skipped)", "DeletionLimitReached(1300)"),
    ("rsync: The server is configured to refuse --max-delete", "MaxDeleteRefused"),
    (r#"ERROR: daemon refused to receive file "s/secret""#, "unwritten /s/secret"),
    (r#"ERROR: daemon refused to receive directory "s""#, "unwritten /s"),
    (
        r"[sender] cannot convert filename: bad\#377 (Invalid or incomplete multibyte character)",
        r"unread /bad\xff",
    ),
    ("[sender] cannot convert filename: a (b) (Invalid character)", "unread /a (b)"),
    (r#"file has vanished: "/src/a\#012b""#, r"vanished /a\nb"),
    (r#"directory has vanished: "/src/d""#, "vanished /d"),
    (r#"symlink has no referent: "/src/l""#, "unread /l"),
    ("filename overflows max-path len by 125: n/m", "unread /n/m"),
    ("ERROR: d/f failed verification -- update discarded.", "unwritten /d/f"),
    ("WARNING: d/f failed verification -- update discarded (will try again).", "Irrelevant"),
    (r#"rsync: [sender] change_dir "/other" failed: No such file or directory (2)"#, "Unlocated"),
    ("rsync: connection unexpectedly closed (0 bytes received so far) [sender]", "Unlocated"),
    ("IO error encountered -- skipping file deletion", "DeletionsSkipped"),
    ("invalid file mode 00 for gone [Receiver]", "DeleteMissingBroken"),
    ("/usr/bin/rrsync error: invalid rsync-command syntax or options", "RrsyncRefused"),
    ("/usr/bin/rrsync error: option -s has been disabled on this server.", "Unlocated"),
    ("rsync error: some files/attrs were not transferred (code 23) at main.c(1394)", "Irrelevant"),
    ("*** Skipping any contents from this failed directory ***", "Irrelevant"),
    ("Warning: Permanently added 'host' to the list of known hosts.", "Irrelevant"),
    (
        r#"rsync: [receiver] rsync_xal_set: lsetxattr(""/dst/x"","user.a") failed: Operation not supported (95)"#,
        "unwritten /x",
    ),
    (
        r#"rsync: [receiver] rsync_xal_set: lsetxattr("/dst/d/.x.aBcDeF","user.a") failed: No (95)"#,
        "unwritten /d/x /d/.x /d/x. /d/.x. /d/.x.aBcDeF",
    ),
    (
        "rsync: [generator] set_acl: sys_acl_set_file(a/b, ACL_TYPE_ACCESS): Not supported (95)",
        "unwritten /a/b",
    ),
    (r#"rsync: [receiver] something new about "/dst/n" went wrong: No (1)"#, "unwritten /n"),
    ("rsync: [receiver] something new went wrong: No (1)", "Unlocated"),
];

#[test]
fn messages_are_parsed_to_diagnostics() {
    for (line, meant) in MESSAGES {
        assert_eq!(read("/dst", line), *meant, "{line}");
    }
}

#[test]
fn remote_paths_are_resolved() {
    let line = r#"rsync: [receiver] mkstemp "/home/u/to/a" failed: Permission denied (13)"#;
    assert_eq!(read("host:to", line), "unwritten /a");
    assert_eq!(read("host:/home/u/to", line), "unwritten /a");
    assert_eq!(read("host:", line), "Unlocated");
    let line = r#"rsync: [receiver] mkstemp "/x/a" (in mod) failed: Permission denied (13)"#;
    assert_eq!(read("host::mod/x", line), "unwritten /a");
}

#[test]
fn paths_with_quotes_are_among_the_candidates() {
    let line = r#"rsync: [sender] opendir "/src/a" failed: b "c" failed: Permission denied (13)"#;
    assert_eq!(read("/dst", line), "unread /a\" failed: b \"c /a");
    let line = r#"rsync: [receiver] rename "/dst/.a" -> "b.aBcDeF" -> "a" -> "b": Is busy (16)"#;
    assert!(read("/dst", line).contains(" /a\" -> \"b"), "{}", read("/dst", line));
}

#[test]
fn every_name_of_a_temporary_file_is_a_candidate() {
    // As rsync 3.2.7 names them: one dot at either end is not doubled.
    for (name, temporary) in [
        ("a", ".a.aBcD12"),
        (".bashrc", ".bashrc.aBcD12"),
        ("..a", "..a.aBcD12"),
        ("tail.", ".tail.aBcD12"),
        (".b.", ".b.aBcD12"),
        ("...", "...aBcD12"),
    ] {
        let line = format!(r#"rsync: [receiver] mkstemp "/dst/d/{temporary}" failed: No (13)"#);
        let path = TreePath::new(format!("d/{name}").as_bytes()).unwrap();
        let diagnostic = meaning("/dst", line.as_bytes());
        assert!(paths(&diagnostic).contains(&path), "{line}: {diagnostic:?}");
    }
}

#[test]
fn names_do_not_look_like_messages_about_the_transfer() {
    for (line, meant) in [
        (
            r#"rsync: [sender] opendir "/src/rrsync error: Restricted directory does not exist" failed: No (13)"#,
            "unread /rrsync error: Restricted directory does not exist",
        ),
        (
            r#"file has vanished: "/src/rrsync error: invalid rsync-command""#,
            "vanished /rrsync error: invalid rsync-command",
        ),
        (
            "cannot delete non-empty directory: rrsync error: invalid rsync-command",
            "not empty /rrsync error: invalid rsync-command",
        ),
        ("could not make way for new regular file: xattr(\"a\",b", "in the way /xattr(\"a\",b"),
        (
            r#"ERROR: daemon refused to receive file "a" failed verification -- update discarded."#,
            r#"unwritten /daemon refused to receive file "a""#,
        ),
        (
            r#"ERROR: daemon refused to receive special file "a" failed verification""#,
            r#"unwritten /a" failed verification"#,
        ),
    ] {
        assert_eq!(read("/dst", line), meant);
    }
}

#[test]
fn a_name_full_of_quotes_costs_bounded_time() {
    for name in [r#"" -> ""#.repeat(600), r#"" (in "#.repeat(600)] {
        for head in ["rename", "opendir", "lsetxattr("] {
            let line =
                format!(r#"rsync: [receiver] {head} "/dst/.{name}.aBcD12" -> "{name}": No (1)"#);
            assert_eq!(meaning("/dst", line.as_bytes()), Diagnostic::Unlocated, "{head}");
        }
        let line = format!(r#"file has vanished: "/src/{name}""#);
        assert_eq!(meaning("/dst", line.as_bytes()), Diagnostic::Unlocated);
        let line = format!("cannot delete non-empty directory: {name}");
        assert!(matches!(meaning("/dst", line.as_bytes()), Diagnostic::NotEmpty(_)));
    }
}

#[test]
fn escapes_are_decoded_exactly() {
    assert_eq!(unescape(br"a\#012b\#377"), b"a\nb\xff");
    assert_eq!(unescape(br"a\#134#012"), br"a\#012");
    assert_eq!(unescape(br"a\b\#9zz\"), br"a\b\#9zz\");
}

#[test]
fn temporary_names_are_removed() {
    for (line, shown) in [
        (
            r#"rsync: [receiver] rename "/dst/.a.giT8Ud" -> "a": Operation not permitted (1)"#,
            r#"rsync: [receiver] rename "/dst/a": Operation not permitted (1)"#,
        ),
        (
            r#"rsync: [receiver] mkstemp "/dst/d/.a.b.giT8Ud" (in m) failed: Permission denied (13)"#,
            r#"rsync: [receiver] mkstemp "/dst/d/a.b" (in m) failed: Permission denied (13)"#,
        ),
        (
            r#"rsync: [sender] send_files failed to open "/src/.a.giT8Ud": Permission denied (13)"#,
            r#"rsync: [sender] send_files failed to open "/src/.a.giT8Ud": Permission denied (13)"#,
        ),
        ("some files/attrs were not transferred", "some files/attrs were not transferred"),
    ] {
        assert_eq!(String::from_utf8(without_temporary_names(line.as_bytes())).unwrap(), shown);
    }
}

/// Deterministic generator of misleading names.
struct MisleadingNames(u64);

impl MisleadingNames {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    /// Returns a name made of misleading pieces.
    fn name(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 14] = [
            b"a",
            b"\"",
            b"\" failed: ",
            b"\" -> \"",
            b" (",
            b") failed",
            b": ",
            b" (in m)",
            b".",
            b"/b",
            b"\xff",
            b"\\",
            b" -> ",
            b"aBcDeF",
        ];
        let mut name = b"n".to_vec();
        (0..self.below(6)).for_each(|_| name.extend_from_slice(PIECES[self.below(PIECES.len())]));
        name
    }
}

/// Encodes a name as rsync prints it.
fn printed(name: &[u8]) -> Vec<u8> {
    name.iter()
        .flat_map(|&b| if b >= 0x80 { format!("\\#{b:03o}").into_bytes() } else { vec![b] })
        .collect()
}

#[test]
fn misleading_names_are_among_the_candidates() {
    let mut generator = MisleadingNames(13);
    for _ in 0..300 {
        let name = generator.name();
        let path = TreePath::new(&name).unwrap();
        let text = printed(&name);
        for &(head, tail, place) in QUOTED {
            let root: &[u8] = if matches!(place, Source | Vanished) { b"/src/" } else { b"/dst/" };
            let line = [b"rsync: ", head, b"\"", root, &text, b"\"", tail, b" end (1)"].concat();
            let diagnostic = meaning("/dst", &line);
            assert!(paths(&diagnostic).contains(&path), "{path}: {diagnostic:?}");
        }
        for &(head, tail, _) in BARE {
            let end: &[u8] = if tail.is_empty() { b"" } else { b" end" };
            let line = [head, &text, tail, end].concat();
            let diagnostic = meaning("/dst", &line);
            assert!(paths(&diagnostic).contains(&path), "{path}: {diagnostic:?}");
        }
        let line = [b"rsync: rename \"/dst/.", &text[..], b".aBcDeF\" -> \"", &text, b"\": No (1)"];
        let diagnostic = meaning("/dst", &line.concat());
        assert!(paths(&diagnostic).contains(&path), "{path}: {diagnostic:?}");
    }
}

#[test]
fn arbitrary_bytes_are_parsed() {
    let mut generator = MisleadingNames(7);
    for round in 0..20_000 {
        let mut line: Vec<u8> = match round % 4 {
            0 => b"rsync: [receiver] ".to_vec(),
            1 => MESSAGES[generator.below(MESSAGES.len())].0.as_bytes().to_vec(),
            2 => QUOTED[generator.below(QUOTED.len())].0.to_vec(),
            _ => Vec::new(),
        };
        for _ in 0..generator.below(40) {
            let at = generator.below(line.len() + 1);
            let byte = if generator.below(3) == 0 {
                b'"'
            } else {
                u8::try_from(generator.below(256)).unwrap()
            };
            if generator.below(4) == 0 && at < line.len() {
                line.remove(at);
            } else {
                line.insert(at, byte);
            }
        }
        let diagnostic = meaning("host::m/dst", &line);
        assert!(paths(&diagnostic).len() <= 2 * line.len());
    }
}
