//! Timeouts of rsync for targets on other machines.

use alloc::vec::Vec;
use core::time::Duration;

use super::{options::RsyncOptions, ssh::remote_shell, target::Target};

/// With this option, a side that reads a lot and sends nothing sends a keep-alive message after
/// half of the timeout, so only a hung side is silent for that long. Without it rsync waits
/// forever.
const IO_TIMEOUT_ARG: &[u8] = b"--timeout=300";

/// The same as a duration.
const IO_TIMEOUT: Duration = Duration::from_mins(5);

/// Time limit for the answer of a daemon. rsync rejects the option unless it connects itself.
const CONNECT_TIMEOUT_ARG: &[u8] = b"--contimeout=60";

/// Returns the timeout arguments that the user did not set. There are none for a local target,
/// since a disk may take its time.
pub(super) fn timeout_args<'a>(
    options: &RsyncOptions,
    target: &Target,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let is_set = |names: [&[u8]; 2]| {
        options.args().any(|arg| names.into_iter().any(|name| arg.starts_with(name)))
    };
    let is_module = target.is_module();
    let timeout = is_remote(target) && !is_set([b"--timeout", b"--no-timeout"]);
    let connects = is_module && remote_shell(options).is_none();
    let connect = connects && !is_set([b"--contimeout", b"--no-contimeout"]);
    [timeout.then_some(IO_TIMEOUT_ARG), connect.then_some(CONNECT_TIMEOUT_ARG)]
        .into_iter()
        .flatten()
}

/// Returns the I/O timeout that the last argument for it sets, or `None` if there is none.
pub(super) fn io_timeout(options: &RsyncOptions, target: &Target) -> Option<Duration> {
    if !is_remote(target) {
        return None;
    }
    let mut timeout = IO_TIMEOUT;
    let mut args = options.args();
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix(b"--timeout") {
            Some(b"") => args.next().map_or(&b""[..], Vec::as_slice),
            Some([b'=', value @ ..]) => value,
            _ if arg == b"--no-timeout" => b"0",
            _ => continue,
        };
        let seconds = core::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        timeout = Duration::from_secs(seconds.unwrap_or(0));
    }
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

fn is_remote(target: &Target) -> bool {
    target.is_module() || target.host().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_timeout_argument_sets_the_io_timeout() {
        for (args, target, expected) in [
            (&[][..], "/local", None),
            (&["--timeout=5"], "/local", None),
            (&[], "host:d", Some(300)),
            (&["--timeout=5"], "host::module", Some(5)),
            (&["--timeout", "7", "-v"], "rsync://host/module", Some(7)),
            (&["--timeout=5", "--timeout=6"], "host:d", Some(6)),
            (&["--timeout=5", "--no-timeout"], "host:d", None),
            (&["--timeout=0"], "host:d", None),
            (&["--timeout=never"], "host:d", None),
            (&["--timeout"], "host:d", None),
        ] {
            let long = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
            let options = RsyncOptions { long, ..RsyncOptions::default() };
            let target = Target::new(target.as_bytes()).unwrap();
            assert_eq!(
                io_timeout(&options, &target),
                expected.map(Duration::from_secs),
                "{args:?}"
            );
        }
    }

    #[test]
    fn remote_targets_get_default_timeouts() {
        for (args, target, expected) in [
            (&[][..], "/local", &[][..]),
            (&[], "user@host:d", &["--timeout=300"]),
            (&[], "host::module", &["--timeout=300", "--contimeout=60"]),
            (&[], "rsync://host/module", &["--timeout=300", "--contimeout=60"]),
            (&["-essh"], "host::module", &["--timeout=300"]),
            (&["--timeout=0"], "host:d", &[]),
            (&["--no-timeout", "--contimeout=5"], "host::module", &[]),
        ] {
            let long = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
            let options = RsyncOptions { long, ..RsyncOptions::default() };
            let target = Target::new(target.as_bytes()).unwrap();
            let args: Vec<_> = timeout_args(&options, &target).collect();
            assert_eq!(args, expected.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>());
        }
    }
}
