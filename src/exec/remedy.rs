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
    (
        "Permission denied (",
        "have the key in authorized_keys there, and here in a file without a passphrase or in an agent",
    ),
    ("auth failed on module", "compare password_file with the secrets file of the module"),
    (
        "@ERROR: Unknown module",
        "put that module into rsyncd.conf there, or see whether it lets this host in",
    ),
    ("@ERROR: chdir failed", "make the path of the module, or mount what belongs there"),
    ("rsync: command not found", "install rsync there, or set rsync.rsync_path"),
    ("rsync: not found", "install rsync there, or set rsync.rsync_path"),
];

/// What a person can do about this line.
pub(super) fn remedy(line: &[u8]) -> Option<&'static str> {
    let says = |text: &str| line.windows(text.len()).any(|part| part == text.as_bytes());
    REMEDIES.iter().find(|(text, _)| says(text)).map(|&(_, remedy)| remedy)
}
