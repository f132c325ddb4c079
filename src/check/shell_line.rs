//! Formats command lines for people, who may paste them into a shell.

use mirror_core::plan::command::CommandLine;

/// Formats a command line. Its standard input is produced by a `printf` in front of it.
#[must_use]
pub fn command_line(binary: &[u8], call: &CommandLine) -> String {
    let args = join_quoted(std::iter::once(binary).chain(call.args.iter().map(Vec::as_slice)));
    let Some(stdin) = &call.stdin else { return args };
    // Names end in NUL, the rules of a startup in a newline.
    let (separator, format) = if stdin.contains(&0) { (0, "%s\\0") } else { (b'\n', "%s\\n") };
    let parts = stdin.split(|&byte| byte == separator).filter(|part| !part.is_empty());
    format!("printf '{format}' {} | {args}", join_quoted(parts))
}

/// Quotes the arguments for a shell and joins them.
pub(super) fn join_quoted<'a>(args: impl Iterator<Item = &'a [u8]>) -> String {
    let mut texts: Vec<String> = args.map(quoted).collect();
    if let Some(first) = texts.first_mut().filter(|text| is_assignment(text)) {
        *first = format!("'{first}'");
    }
    texts.join(" ")
}

/// Returns true if a shell reads an assignment where the first word of a command is `text`.
fn is_assignment(text: &str) -> bool {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.split_once('=').is_some_and(|(name, _)| name.bytes().all(is_name_byte))
}

/// Quotes one argument. Bytes that are no printable UTF-8 use bash's `$'..'`, as POSIX sh has no
/// form for them.
fn quoted(arg: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+:,./@%^".contains(byte);
    match str::from_utf8(arg) {
        Ok(text) if !text.is_empty() && arg.iter().all(is_plain) => text.to_owned(),
        Ok(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            let bytes = arg.iter().flat_map(|byte| std::ascii::escape_default(*byte));
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
    fn arguments_are_quoted_if_a_shell_would_change_them() {
        for (arg, text) in [
            (&b"--exclude=*"[..], "'--exclude=*'"),
            (b"/srv/www/", "/srv/www/"),
            (b"", "''"),
            (b"--filter=. -", "'--filter=. -'"),
            (b"it's", "'it'\\''s'"),
            (b"a\nb\xff'", "$'a\\nb\\xff\\''"),
        ] {
            assert_eq!(quoted(arg), text);
        }
    }

    #[test]
    fn stdin_comes_from_printf() {
        let call = |stdin: &[u8]| CommandLine {
            args: vec![b"-a".to_vec(), b"b c".to_vec()],
            stdin: Some(stdin.to_vec()),
        };
        assert_eq!(
            command_line(b"rsync", &call(b"/x\0/y z\0")),
            "printf '%s\\0' /x '/y z' | rsync -a 'b c'"
        );
        assert_eq!(
            command_line(b"rsync", &call(b"*.o\n/c")),
            "printf '%s\\n' '*.o' /c | rsync -a 'b c'"
        );
        let silent = CommandLine { stdin: None, ..call(b"") };
        assert_eq!(command_line(b"rsync", &silent), "rsync -a 'b c'");
        // A shell would read an assignment.
        assert_eq!(command_line(b"a=b", &silent), "'a=b' -a 'b c'");
    }

    #[test]
    fn quoted_line_round_trips_through_a_shell() {
        let names: [&[u8]; 4] =
            [b"/a b", b"/it's $HOME `x` \\n %s", b"/\"q\"*", "/\u{e9}".as_bytes()];
        let call = CommandLine {
            args: vec![b"it's $HOME".to_vec(), b"\\".to_vec()],
            stdin: Some(names.iter().flat_map(|name| [name, &b"\0"[..]].concat()).collect()),
        };
        // `f` prints its arguments, and then its standard input.
        let script =
            format!("f() {{ printf '%s\\0' \"$@\"; cat; }}\n{}", command_line(b"f", &call));
        let shell = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
        let expected = [&b"it's $HOME\0\\\0"[..], &call.stdin.unwrap()].concat();
        assert_eq!(shell.stdout, expected, "{script}");
    }
}
