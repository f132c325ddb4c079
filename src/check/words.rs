//! Calls for people, who may paste them into a shell.

use mirror_core::plan::rsync::Call;

/// A call of `binary`. What it reads is written by a `printf` in front of it.
pub(super) fn of_call(binary: &[u8], call: &Call) -> String {
    let words = line(std::iter::once(binary).chain(call.args.iter().map(Vec::as_slice)));
    let Some(stdin) = &call.stdin else { return words };
    // Names end in a NUL, and the rules of a startup stand in lines.
    let (separator, format) = if stdin.contains(&0) { (0, "%s\\0") } else { (b'\n', "%s\\n") };
    let parts = stdin.split(|&byte| byte == separator).filter(|part| !part.is_empty());
    format!("printf '{format}' {} | {words}", line(parts))
}

/// The words as a line of a shell.
pub(super) fn line<'a>(words: impl Iterator<Item = &'a [u8]>) -> String {
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// One word. Of bytes that are no text a shell could not be told the same in a line of text: they
/// are written as bash takes them.
fn quoted(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+:,./@%^".contains(byte);
    match str::from_utf8(word) {
        Ok(text) if !text.is_empty() && word.iter().all(is_plain) => text.to_owned(),
        Ok(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            let bytes = word.iter().flat_map(|byte| std::ascii::escape_default(*byte));
            let text: String = bytes.map(char::from).collect();
            format!("$'{text}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_word_is_quoted_where_a_shell_would_change_it() {
        for (word, text) in [
            (&b"--exclude=*"[..], "'--exclude=*'"),
            (b"/srv/www/", "/srv/www/"),
            (b"", "''"),
            (b"--filter=. -", "'--filter=. -'"),
            (b"it's", "'it'\\''s'"),
            (b"a\nb\xff'", "$'a\\nb\\xff\\''"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }

    #[test]
    fn what_is_read_comes_from_a_printf() {
        let call = |stdin: &[u8]| Call {
            args: vec![b"-a".to_vec(), b"b c".to_vec()],
            stdin: Some(stdin.to_vec()),
        };
        assert_eq!(
            of_call(b"rsync", &call(b"/x\0/y z\0")),
            "printf '%s\\0' /x '/y z' | rsync -a 'b c'"
        );
        assert_eq!(
            of_call(b"rsync", &call(b"*.o\n/c")),
            "printf '%s\\n' '*.o' /c | rsync -a 'b c'"
        );
        let silent = Call { stdin: None, ..call(b"") };
        assert_eq!(of_call(b"rsync", &silent), "rsync -a 'b c'");
    }

    #[test]
    fn a_shell_reads_the_same() {
        let names: [&[u8]; 4] =
            [b"/a b", b"/it's $HOME `x` \\n %s", b"/\"q\"*", "/\u{e9}".as_bytes()];
        let call = Call {
            args: vec![b"it's $HOME".to_vec(), b"\\".to_vec()],
            stdin: Some(names.iter().flat_map(|name| [name, &b"\0"[..]].concat()).collect()),
        };
        // The program tells its words, and then what it reads.
        let script = format!("f() {{ printf '%s\\0' \"$@\"; cat; }}\n{}", of_call(b"f", &call));
        let shell = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let expected = [&b"it's $HOME\0\\\0"[..], &call.stdin.unwrap()].concat();
        assert_eq!(shell.stdout, expected, "{script}");
    }
}
