//! What a person can do about what programs say.

/// What they say, and what to do.
const REMEDIES: &[(&str, &str)] = &[
    (
        "option -s has been disabled on this server",
        "write rsync = { protect_args = false } for rrsync",
    ),
    ("No space left on device", "the target is full: free space there"),
    ("Disk quota exceeded", "the quota of the target is used up: raise it or free space"),
    ("Read-only file system", "the target is read-only: mount it for writing"),
    ("filename overflows max-path", "rsync can't take such a long path: mirror it with -direct"),
    (
        "Host key verification failed",
        "see whether it is the right host, and put its key into known_hosts of the user that runs this",
    ),
    ("auth failed on module", "compare password_file with the secrets file of the module"),
    (
        "@ERROR: Unknown module",
        "put that module into rsyncd.conf there, or see whether it lets this host in",
    ),
    ("@ERROR: chdir failed", "make the path of the module, or mount what belongs there"),
    (
        "is your shell clean?",
        "the login prints something: what is run there at a login without a terminal, such as .bashrc, \
         has to be silent",
    ),
    ("rsync: command not found", "install rsync there, or set rsync.rsync_path"),
    ("rsync: not found", "install rsync there, or set rsync.rsync_path"),
];

/// What to do if ssh is not let in.
const KEY: &str =
    "have the key in authorized_keys there, and here in a file without a passphrase or in an agent";

/// What to do if the target can't be made.
const PARENT: &str = "make the directory above the target, or see whether its disk is mounted; with \
                      rsync = { _extra = {\"--mkpath\"} } rsync makes it";

/// What to do if the time of something of another user can't be set.
const OWNER: &str = "only its owner may set a time: write to the target as its owner, or leave times out \
                     with rsync = { omit_dir_times = true } or times = false";

/// What a person can do about this line.
pub(in crate::exec) fn remedy(line: &[u8]) -> Option<&'static str> {
    let says = |text: &str| find(line, text).is_some();
    if is_of_a_refused_login(line) {
        return Some(KEY);
    }
    if says("mkdir \"") && says("failed: No such file or directory (2)") {
        return Some(PARENT);
    }
    if says("failed to set times on \"") && says("\": Operation not permitted (1)") {
        return Some(OWNER);
    }
    // Names stand in quotes, and may be called anything.
    let reason = line.rsplit(|&byte| byte == b'"').next().unwrap_or(line);
    REMEDIES.iter().find(|(text, _)| find(reason, text).is_some()).map(|&(_, remedy)| remedy)
}

/// Whether this is what ssh says: with the ways of a login that are left, and not, as all others do,
/// with the number of an error.
fn is_of_a_refused_login(line: &[u8]) -> bool {
    let start = "Permission denied (";
    let Some(at) = find(line, start) else { return false };
    let rest = line.get(at + start.len()..).unwrap_or_default();
    let ways = rest.split(|&byte| byte == b')').next().unwrap_or_default();
    let is_of_a_way = |byte: &u8| byte.is_ascii_lowercase() || b"-,".contains(byte);
    !ways.is_empty() && ways.len() < rest.len() && ways.iter().all(is_of_a_way)
}

/// Where this text begins in a line.
fn find(line: &[u8], text: &str) -> Option<usize> {
    line.windows(text.len()).position(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_fits_what_was_said() {
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
        assert!(said(shell).starts_with("the login prints something"));
        let parent = "rsync: [Receiver] mkdir \"/a/b\" failed: No such file or directory (2)";
        assert!(said(parent).starts_with("make the directory above the target"));
        let full = "rsync: [receiver] write failed on \"/dst/a\": No space left on device (28)";
        assert!(said(full).starts_with("the target is full"));
    }
}
