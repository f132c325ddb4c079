//! How long rsync waits for another machine that says nothing.

use alloc::vec::Vec;
use core::time::Duration;

use super::{options::RsyncOptions, ssh::remote_shell, target::Target};

/// With it either side that has much to read and nothing to say sends a sign of life in half of
/// that time, so only who hangs is silent for so long. Without it rsync waits for ever.
const SILENCE: &[u8] = b"--timeout=300";

/// The same.
const SILENCE_TIME: Duration = Duration::from_mins(5);

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
    let silence = is_remote(target) && !is_said([b"--timeout", b"--no-timeout"]);
    let connects = is_module && remote_shell(options).is_none();
    let connect = connects && !is_said([b"--contimeout", b"--no-contimeout"]);
    [silence.then_some(SILENCE), connect.then_some(CONNECT)].into_iter().flatten()
}

/// How long either side may be silent, by the last of the words for it: `None` if for ever.
pub(super) fn silence(options: &RsyncOptions, target: &Target) -> Option<Duration> {
    if !is_remote(target) {
        return None;
    }
    let mut silence = SILENCE_TIME;
    let mut words = options.words();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(b"--timeout") {
            Some(b"") => words.next().map_or(&b""[..], Vec::as_slice),
            Some([b'=', value @ ..]) => value,
            _ if word == b"--no-timeout" => b"0",
            _ => continue,
        };
        let seconds = core::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        silence = Duration::from_secs(seconds.unwrap_or(0));
    }
    Some(silence).filter(|silence| !silence.is_zero())
}

fn is_remote(target: &Target) -> bool {
    target.is_module() || target.host().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_long_another_machine_may_be_silent() {
        for (said, target, expected) in [
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
            let long = said.iter().map(|word| word.as_bytes().to_vec()).collect();
            let options = RsyncOptions { long, ..RsyncOptions::default() };
            let target = Target::new(target.as_bytes()).unwrap();
            assert_eq!(silence(&options, &target), expected.map(Duration::from_secs), "{said:?}");
        }
    }

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
