//! A small shell: splits command lines into words.

/// Splits a command line at its pipes, and each command into words, as bash does. Quotes, escapes
/// and `$'..'` are known. Fails at bytes that a shell would interpret in any other way, so that the
/// words are certain.
pub(crate) fn split_commands(line: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, String> {
    let mut splitter = Splitter { rest: line, commands: vec![Vec::new()], word: None };
    while let Some((&byte, rest)) = splitter.rest.split_first() {
        splitter.rest = rest;
        splitter.take(byte)?;
    }
    splitter.end_word();
    Ok(splitter.commands)
}

/// State of the splitting.
struct Splitter<'a> {
    rest: &'a [u8],
    commands: Vec<Vec<Vec<u8>>>,
    /// The current word. `None` between words.
    word: Option<Vec<u8>>,
}

impl<'a> Splitter<'a> {
    fn take(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b' ' => self.end_word(),
            b'|' => {
                self.end_word();
                self.commands.push(Vec::new());
            }
            b'\'' => {
                let text = self.until(b'\'').ok_or("an open quote")?;
                self.push(text);
            }
            b'\\' => {
                let (&escaped, rest) = self.rest.split_first().ok_or("a backslash at the end")?;
                if escaped == b'\n' {
                    return Err("a line continuation".into());
                }
                self.rest = rest;
                self.push(&[escaped]);
            }
            b'$' => self.take_ansi_quotes()?,
            _ if is_plain(byte) => self.push(&[byte]),
            _ => return Err(format!("{:?} is not quoted", char::from(byte))),
        }
        Ok(())
    }

    /// Takes `'..'` after a `$`: bash's quotes with escapes as in C.
    fn take_ansi_quotes(&mut self) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(b"'").ok_or("a variable")?;
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or("an open quote")?;
            self.rest = rest;
            match byte {
                b'\'' => break,
                b'\\' => text.push(self.escaped()?),
                byte => text.push(byte),
            }
        }
        self.push(&text);
        Ok(())
    }

    /// Takes the rest of an escape.
    fn escaped(&mut self) -> Result<u8, String> {
        let (&byte, rest) = self.rest.split_first().ok_or("an open escape")?;
        self.rest = rest;
        Ok(match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'\\' | b'\'' | b'"' => byte,
            b'x' => {
                // bash takes one or two digits.
                let digits = rest.iter().take(2).take_while(|digit| digit.is_ascii_hexdigit());
                let (digits, rest) = rest.split_at(digits.count());
                self.rest = rest;
                let digits = str::from_utf8(digits).unwrap_or_default();
                let byte = u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
                // bash ends the text there.
                if byte == 0 {
                    return Err("a NUL".into());
                }
                byte
            }
            other => return Err(format!("the escape {:?}", char::from(other))),
        })
    }

    /// Takes the bytes before `end`, and `end` itself.
    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.rest.iter().position(|&byte| byte == end)?;
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest.get(1..).unwrap_or_default();
        Some(text)
    }

    fn push(&mut self, text: &[u8]) {
        self.word.get_or_insert_default().extend_from_slice(text);
    }

    fn end_word(&mut self) {
        if let (Some(word), Some(command)) = (self.word.take(), self.commands.last_mut()) {
            command.push(word);
        }
    }
}

/// Returns true for bytes that mean themselves at every place of a word, apart from words that are
/// special as a whole.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_=+:,./@%^".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn check(line: &[u8], words: &[&[u8]]) {
        assert_eq!(split_commands(line).unwrap(), [words], "{}", line.escape_ascii());
    }

    #[test]
    fn words_are_split_and_unquoted() {
        check(b"a  b=c/d 'e f'g", &[b"a", b"b=c/d", b"e fg"]);
        check(b"'it'\\''s' ''", &[b"it's", b""]);
        check(b"$'a\\n\\x41\\'b'", &[b"a\nA'b"]);
        assert_eq!(split_commands(b"a b | c").unwrap().len(), 2);
    }

    #[test]
    fn bytes_that_a_shell_interprets_are_refused() {
        for line in
            ["$HOME", "a;b", "`a`", "'a", "a*", "~", "a\nb", "\\", "$'\\x00'", "\u{e9}", "\"a\""]
        {
            assert!(split_commands(line.as_bytes()).is_err(), "{line}");
        }
    }

    /// The reference is a real shell.
    #[test]
    fn words_are_those_of_a_shell() {
        for line in ["a  b 'c d'", "'it'\\''s' '' x", "\\a\\ b c", "'$(x)' '`' '\"' '*'"] {
            let script = format!("printf '%s\\0' {line}");
            let output =
                Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
            let commands = split_commands(line.as_bytes()).unwrap();
            let expected: Vec<u8> =
                commands.concat().iter().flat_map(|word| [word, &b"\0"[..]].concat()).collect();
            assert_eq!(output.stdout, expected, "{line}");
        }
    }
}
