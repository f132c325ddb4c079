//! The remote shell in rsync's arguments.

use alloc::{vec, vec::Vec};

use super::options::RsyncOptions;

/// Returns the argument `--rsh=..` for a program and its arguments. rsync splits the value at
/// blanks and understands quotes.
#[must_use]
pub fn rsh_arg(words: &[Vec<u8>]) -> Vec<u8> {
    [b"--rsh=".to_vec(), rsh_value(words)].concat()
}

/// Returns the value of `--rsh` for a program and its arguments, or a part of it.
#[must_use]
pub fn rsh_value(words: &[Vec<u8>]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(|word| quoted(word)).collect();
    words.join(&b' ')
}

/// Quotes one word of `--rsh`: a doubled quote stands for itself (`man rsync`).
fn quoted(word: &[u8]) -> Vec<u8> {
    if !word.is_empty() && !word.iter().any(|byte| b" '\"".contains(byte)) {
        return word.to_vec();
    }
    let mut text = vec![b'\''];
    for &byte in word {
        text.push(byte);
        if byte == b'\'' {
            text.push(byte);
        }
    }
    text.push(b'\'');
    text
}

/// Returns the value of the last `--rsh` or `-e` among the user's arguments, or `None`.
#[must_use]
pub fn remote_shell(options: &RsyncOptions) -> Option<Vec<u8>> {
    let mut args = options.args();
    let mut found = None;
    while let Some(arg) = args.next() {
        match &**arg {
            b"-e" | b"--rsh" => found = args.next().cloned(),
            [b'-', b'e', value @ ..] => found = Some(value.to_vec()),
            arg => found = arg.strip_prefix(b"--rsh=").map(<[u8]>::to_vec).or(found),
        }
    }
    found
}

/// Returns the port of sshd in the arguments of ssh: `ssh(1)`. `None` if ssh may connect to another
/// address than that of the host: through a proxy, or by a configuration file of the user.
///
/// The default configuration of ssh may do so, too: then the port of the host is not reached, or is
/// not the one that matters.
#[must_use]
pub fn ssh_port(command: &[Vec<u8>]) -> Option<u16> {
    let number = |text: &[u8]| str::from_utf8(text).ok()?.parse().ok();
    let mut port = 22;
    let mut args = command.iter().skip(1);
    while let Some(arg) = args.next() {
        let option = match &**arg {
            b"-o" => args.next()?,
            [b'-', b'o', option @ ..] => option,
            b"-p" => {
                port = number(args.next()?)?;
                continue;
            }
            [b'-', b'p', value @ ..] => {
                port = number(value)?;
                continue;
            }
            [b'-', b'J' | b'F' | b'W', ..] => return None,
            _ => continue,
        };
        let mut words = option.splitn(2, |byte| b"= \t".contains(byte));
        let name = words.next()?.to_ascii_lowercase();
        match &*name {
            b"port" => port = number(words.next()?)?,
            b"proxycommand" | b"proxyjump" | b"hostname" => return None,
            _ => {}
        }
    }
    Some(port)
}

/// Appends to the value that [`remote_shell`] returns.
pub fn add_to_remote_shell(options: &mut RsyncOptions, text: &[u8]) {
    let mut args = options.extra.iter_mut().chain(&mut options.long);
    let mut found = None;
    while let Some(arg) = args.next() {
        match &**arg {
            b"-e" | b"--rsh" => found = args.next(),
            value if value.starts_with(b"-e") || value.starts_with(b"--rsh=") => found = Some(arg),
            _ => {}
        }
    }
    if let Some(value) = found {
        value.push(b' ');
        value.extend_from_slice(text);
    }
}

/// Splits the value of `--rsh` into a program and its arguments, as rsync does.
#[must_use]
pub fn split_rsh(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => {
                if bytes.next_if_eq(&open).is_some() {
                    word.get_or_insert_default().push(byte);
                } else {
                    quote = None;
                }
            }
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ') => words.extend(word.take()),
            (_, byte) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// Splits the value of `-sshopts` into words. Blanks separate words, quotes keep blanks.
///
/// # Errors
///
/// The unterminated quote character.
pub fn split_words(text: &[u8]) -> Result<Vec<Vec<u8>>, u8> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    for &byte in text {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, byte) if byte.is_ascii_whitespace() => words.extend(word.take()),
            (_, byte) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    quote.map_or(Ok(words), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn words(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn ports_of_ssh_are_parsed() {
        for (command, port) in [
            ("ssh", Some(22)),
            ("ssh -x -p 2222 -i key", Some(2222)),
            ("ssh -p2222 -oPort=23", Some(23)),
            ("ssh -o Port=24 -o ServerAliveInterval=15", Some(24)),
            ("ssh -p", None),
            ("ssh -p x", None),
            ("ssh -J jump", None),
            ("ssh -oProxyCommand=nc", None),
            ("ssh -o HostName=other", None),
        ] {
            let words: Vec<_> = command.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(ssh_port(&words), port, "{command}");
        }
    }

    #[test]
    fn rsh_values_round_trip() {
        for (texts, word) in [
            (&["ssh"][..], "--rsh=ssh"),
            (&["ssh", "-i", "/a b"], "--rsh=ssh -i '/a b'"),
            (&["ssh", "o'k", ""], "--rsh=ssh 'o''k' ''"),
        ] {
            assert_eq!(String::from_utf8(rsh_arg(&words(texts))).unwrap(), word);
            assert_eq!(split_rsh(word.strip_prefix("--rsh=").unwrap().as_bytes()), words(texts));
        }
    }

    #[test]
    fn the_last_remote_shell_applies() {
        for (extra, long, program) in [
            (&["-x"][..], &["--rsync-path=x"][..], None),
            (&["-e", "ssh -p 1"], &[], Some("ssh -p 1")),
            (&["-essh", "--rsh", "rsh"], &[], Some("rsh")),
            (&["-e", "ssh"], &["--rsh=ssh -p 2", "--stats"], Some("ssh -p 2")),
        ] {
            let mut options =
                RsyncOptions { extra: words(extra), long: words(long), ..RsyncOptions::default() };
            assert_eq!(remote_shell(&options), program.map(|it| it.as_bytes().to_vec()));
            add_to_remote_shell(&mut options, b"-x");
            let longer = program.map(|it| [it.as_bytes(), b" -x"].concat());
            assert_eq!(remote_shell(&options), longer);
        }
    }

    #[test]
    fn quotes_keep_blanks_together() {
        for (text, expected) in [
            ("", &[][..]),
            ("  ", &[]),
            ("-p 22\t-T", &["-p", "22", "-T"]),
            ("-o 'Proxy  Command=a b' x", &["-o", "Proxy  Command=a b", "x"]),
            ("-o\"User=x y\"", &["-oUser=x y"]),
            ("'' \"it's\"", &["", "it's"]),
        ] {
            assert_eq!(split_words(text.as_bytes()), Ok(words(expected)), "{text}");
        }
        assert_eq!(split_words(b"a 'b c"), Err(b'\''));
    }
}
