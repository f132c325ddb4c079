use super::*;
use alloc::{
    format,
    string::{String, ToString},
};

fn read(target: &str, line: &str) -> String {
    let target = Target::new(target.as_bytes()).unwrap();
    let text = |kind: &str, paths: &[TreePath]| {
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        format!("{kind} {}", paths.join(" "))
    };
    match (Names { source: b"/src/", target: &target }).read(line.as_bytes()) {
        Complaint::Unread(paths) => text("unread", &paths),
        Complaint::Unwritten(paths) => text("unwritten", &paths),
        Complaint::Vanished(paths) => text("vanished", &paths),
        other => format!("{other:?}"),
    }
}

/// What rsync says, and what is among the places that it means.
const SAYINGS: &[(&str, &str)] = &[
    (r#"rsync: [sender] send_files failed to open "/src/a": Permission denied (13)"#, "unread /a"),
    (r#"rsync: send_files failed to open "/src/a b": Permission denied (13)"#, "unread /a b"),
    ("@ERROR: auth failed on module mirror", "Unplaced"),
    ("ERROR: password file must not be other-accessible", "Unplaced"),
    ("ssh: connect to host h port 22: Connection refused", "Unplaced"),
    ("Welcome to the server", "Chatter"),
    (r#"rsync: [Receiver] mkdir "/dst/." failed: No such file or directory (2)"#, "TargetGone"),
    (r#"rsync: mkdir "/dst/." failed: No such file or directory (2)"#, "TargetGone"),
    (r#"rsync: [Receiver] mkdir "d/." (in mod) failed: No such file (2)"#, "TargetGone"),
    (r#"rsync: [Receiver] mkdir "/dst/." failed: File exists (17)"#, "TargetGone"),
    (r#"rsync: [Receiver] change_dir#3 "/dst" failed: No such file (2)"#, "TargetGone"),
    (r#"rsync: [Receiver] change_dir#3 "/dst" failed: Permission denied (13)"#, "Unplaced"),
    (r#"rsync: [Receiver] mkdir "/a/dst" failed: No such file or directory (2)"#, "Unplaced"),
    ("@ERROR: chdir failed", "TargetGone"),
    ("/usr/bin/rrsync error: Restricted directory does not exist!", "TargetGone"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/dst'", "TargetGone"),
    (r#"rsync: [sender] opendir "/src/d" failed: Permission denied (13)"#, "unread /d"),
    (r#"rsync: [sender] link_stat "/src/d/x" failed: Not a directory (20)"#, "unread /d/x"),
    (r#"rsync: [sender] readlink_stat("/src/d/x") failed: Permission denied (13)"#, "unread /d/x"),
    (
        r#"rsync: [receiver] mkstemp "/dst/d/.top.lReW4z" failed: Permission denied (13)"#,
        "unwritten /d/.top.lReW4z /d/top",
    ),
    (
        r#"rsync: [receiver] rename "/dst/.x.abc123" -> "x": Is a directory (21)"#,
        "unwritten /.x.abc123 /x /.x.abc123\" -> \"x /x",
    ),
    (
        r#"rsync: [generator] symlink "/dst/ln" -> "z" failed: Permission denied (13)"#,
        "unwritten /ln /ln\" -> /ln\" -> \"z",
    ),
    (
        r"rsync: [generator] delete_file: unlink(sec2/q) failed: Permission denied (13)",
        "unwritten /sec2/q",
    ),
    (
        r#"rsync: [generator] recv_generator: mkdir "/dst/n" failed: Permission denied (13)"#,
        "unwritten /n",
    ),
    (
        r#"rsync: [receiver] chgrp "/dst/.n.aB3456" failed: Operation not permitted (1)"#,
        "unwritten /.n.aB3456 /n",
    ),
    ("cannot delete non-empty directory: sec2", "unwritten /sec2"),
    (r#"file has vanished: "/src/a\#012b""#, "vanished /a\\nb"),
    (r#"directory has vanished: "/src/d""#, "vanished /d"),
    ("filename overflows max-path len by 125: n/m", "unread /n/m"),
    ("ERROR: d/f failed verification -- update discarded.", "unwritten /d/f"),
    (r#"rsync: [sender] change_dir "/other" failed: No such file or directory (2)"#, "Unplaced"),
    ("rsync: connection unexpectedly closed (0 bytes received so far) [sender]", "Unplaced"),
    ("IO error encountered -- skipping file deletion", "DeletionsSkipped"),
    ("invalid file mode 00 for gone [Receiver]", "BrokenReceiver"),
    ("/usr/bin/rrsync error: invalid rsync-command syntax or options", "Restricted"),
    ("/usr/bin/rrsync error: option -s has been disabled on this server.", "Unplaced"),
    ("rsync error: some files/attrs were not transferred (code 23) at main.c(1394)", "Chatter"),
    ("*** Skipping any contents from this failed directory ***", "Chatter"),
    ("Warning: Permanently added 'host' to the list of known hosts.", "Chatter"),
    (
        r#"rsync: [receiver] rsync_xal_set: lsetxattr(""/dst/x"","user.a") failed: Operation not supported (95)"#,
        "unwritten /x",
    ),
];

#[test]
fn what_rsync_says_and_means() {
    for (line, meant) in SAYINGS {
        let read = read("/dst", line);
        let first = meant.split(" /").next().unwrap();
        assert!(read.starts_with(first), "{line}: {read}");
        for place in meant.split(" /").skip(1) {
            assert!(read.contains(&format!(" /{}", place.trim_end())), "{line}: {read}");
        }
    }
}

#[test]
fn the_places_of_other_machines() {
    let line = r#"rsync: [receiver] mkstemp "/home/u/to/a" failed: Permission denied (13)"#;
    assert_eq!(read("host:to", line), "unwritten /a");
    assert_eq!(read("host:/home/u/to", line), "unwritten /a");
    assert_eq!(read("host:", line), "Unplaced");
    let line = r#"rsync: [receiver] mkstemp "/x/a" (in mod) failed: Permission denied (13)"#;
    assert_eq!(read("host::mod/x", line), "unwritten /a");
}

#[test]
fn a_path_with_quotes_is_among_what_may_be_meant() {
    let line = r#"rsync: [sender] opendir "/src/a" b "c" failed: Permission denied (13)"#;
    assert!(read("/dst", line).contains("/a\" b \"c"));
}

#[test]
fn escapes_are_taken_back_exactly() {
    assert_eq!(unescape(br"a\#012b\#377"), b"a\nb\xff");
    assert_eq!(unescape(br"a\#134#012"), br"a\#012");
    assert_eq!(unescape(br"a\b\#9zz\"), br"a\b\#9zz\");
}
