//! Suggested remedies for diagnostics of rsync and ssh.

/// Fragments of diagnostics, each with its remedy.
const REMEDIES: &[(&str, &str)] = &[
    (
        "option -s has been disabled on this server",
        "write rsync = { protect_args = false } for rrsync",
    ),
    ("No space left on device", "the target is full: free space or inodes there"),
    ("Disk quota exceeded", "the quota on the target is exceeded: raise it or free space"),
    ("Read-only file system", "the target is read-only: remount it read-write"),
    (
        "filename overflows max-path",
        "the path is too long for rsync: shorten it, or use default.direct for a local target",
    ),
    (
        "Host key verification failed",
        "verify the host key, and add it to known_hosts of the daemon's user",
    ),
    ("auth failed on module", "compare password_file with the secrets file of the module"),
    (
        "@ERROR: Unknown module",
        "add the module to rsyncd.conf there, or check whether it allows this host",
    ),
    ("@ERROR: chdir failed", "create the path of the module, or mount its file system"),
    ("@ERROR: chroot failed", "create the path of the module, or mount its file system"),
    (
        "is your shell clean?",
        "the remote shell prints text: its startup files, such as .bashrc, must be silent without \
         a terminal",
    ),
    ("rsync: command not found", "install rsync there, or set rsync.rsync_path"),
    ("rsync: not found", "install rsync there, or set rsync.rsync_path"),
];

/// Remedy for a refused ssh login.
const LOGIN_REMEDY: &str =
    "add the public key to authorized_keys there; the private key needs an agent or no passphrase";

/// Remedy for a target that cannot be created. A directory inside it that vanished needs none.
const MKDIR_REMEDY: &str = "create the parent directory of the target, or mount its disk; with \
                            rsync = { _extra = {\"--mkpath\"} } rsync creates it";

/// Remedy for timestamps that cannot be set on files of another user.
const SET_TIMES_REMEDY: &str = "only the owner of a file may set its time: write to the target as \
                                the owner, or set rsync = { omit_dir_times = true } for \
                                directories, or rsync = { times = false } for everything";

/// Returns the remedy for this diagnostic.
pub(in crate::exec) fn remedy(line: &[u8]) -> Option<&'static str> {
    let says = |text: &str| find(line, text).is_some();
    if is_login_refusal(line) {
        return Some(LOGIN_REMEDY);
    }
    let creates_target = says("mkdir \"") && !says("recv_generator: mkdir \"");
    if creates_target && says("failed: No such file or directory (2)") {
        return Some(MKDIR_REMEDY);
    }
    if says("failed to set times on \"") && says("\": Operation not permitted (1)") {
        return Some(SET_TIMES_REMEDY);
    }
    // File names are in quotes and can contain any text.
    let reason = line.rsplit(|&byte| byte == b'"').next().unwrap_or(line);
    REMEDIES.iter().find(|(text, _)| find(reason, text).is_some()).map(|&(_, remedy)| remedy)
}

/// Returns true if ssh printed this line: with the remaining authentication methods in parentheses,
/// where other programs print an errno.
pub(in crate::exec) fn is_login_refusal(line: &[u8]) -> bool {
    let start = "Permission denied (";
    let Some(at) = find(line, start) else { return false };
    let rest = line.get(at + start.len()..).unwrap_or_default();
    let ways = rest.split(|&byte| byte == b')').next().unwrap_or_default();
    let is_of_a_way = |byte: &u8| byte.is_ascii_lowercase() || b"-,".contains(byte);
    !ways.is_empty() && ways.len() < rest.len() && ways.iter().all(is_of_a_way)
}

/// Returns the position of `text` in a line.
fn find(line: &[u8], text: &str) -> Option<usize> {
    line.windows(text.len()).position(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_match_their_diagnostics() {
        let said = |line: &str| remedy(line.as_bytes()).unwrap_or_default();
        for line in [
            "root@host: Permission denied (publickey).",
            "git@host.example: Permission denied (publickey,gssapi-with-mic,password).",
        ] {
            assert!(said(line).contains("authorized_keys"), "{line}");
        }
        for line in [
            "rsync: [sender] send_files failed to open \"/src/a\": Permission denied (13)",
            "rsync: [Receiver] mkstemp \"/dst/.a.x4Ttzv\" failed: Permission denied (13)",
            "cannot open /src/a: Permission denied (os error 13)",
            "cannot open /src/Permission denied (: it is a name",
            "cannot open /src/Permission denied (a b).",
        ] {
            assert_eq!(said(line), "", "{line}");
        }
        let shell = "protocol version mismatch -- is your shell clean?";
        assert!(said(shell).starts_with("the remote shell prints text"));
        let parent = "rsync: [Receiver] mkdir \"/a/b\" failed: No such file or directory (2)";
        assert!(said(parent).starts_with("create the parent directory of the target"));
        let inside = "rsync: [generator] recv_generator: mkdir \"/a/b\" failed: No such file or directory (2)";
        assert_eq!(said(inside), "");
        let full = "rsync: [receiver] write failed on \"/dst/a\": No space left on device (28)";
        assert!(said(full).starts_with("the target is full"));
    }
}
