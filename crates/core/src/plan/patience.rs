//! How long rsync waits for another machine that says nothing.

use super::{rsync::RsyncOptions, ssh::remote_shell, target::Target};

/// With it either side that has much to read and nothing to say sends a sign of life in half of
/// that time, so only who hangs is silent for so long. Without it rsync waits for ever.
const SILENCE: &[u8] = b"--timeout=300";

/// How long a daemon may take to answer. rsync refuses the word where it does not connect itself.
const CONNECT: &[u8] = b"--contimeout=60";

/// The words for it, unless the user has said it. None for a target on this machine, where a disk
/// may take its time.
pub(super) fn patience<'a>(
    options: &RsyncOptions,
    target: &Target,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let is_said = |names: [&[u8]; 2]| {
        options.words().any(|word| names.into_iter().any(|name| word.starts_with(name)))
    };
    let is_module = target.is_module();
    let remote = is_module || target.host().is_some();
    let silence = remote && !is_said([b"--timeout", b"--no-timeout"]);
    let connects = is_module && remote_shell(options).is_none();
    let connect = connects && !is_said([b"--contimeout", b"--no-contimeout"]);
    [silence.then_some(SILENCE), connect.then_some(CONNECT)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn who_said_nothing_waits_for_another_machine_but_not_for_ever() {
        for (said, target, expected) in [
            (&[][..], "/local", &[][..]),
            (&[], "user@host:d", &["--timeout=300"]),
            (&[], "host::module", &["--timeout=300", "--contimeout=60"]),
            (&[], "rsync://host/module", &["--timeout=300", "--contimeout=60"]),
            (&["-essh"], "host::module", &["--timeout=300"]),
            (&["--timeout=0"], "host:d", &[]),
            (&["--no-timeout", "--contimeout=5"], "host::module", &[]),
        ] {
            let long = said.iter().map(|word| word.as_bytes().to_vec()).collect();
            let options = RsyncOptions { long, ..RsyncOptions::default() };
            let target = Target::new(target.as_bytes()).unwrap();
            let words: Vec<_> = patience(&options, &target).collect();
            assert_eq!(words, expected.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        }
    }
}
