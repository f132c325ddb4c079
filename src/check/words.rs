//! Words of a command for people, who may paste them into a shell.

/// The words as a line of a shell.
pub(super) fn line(words: impl IntoIterator<Item = Vec<u8>>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| quoted(&word)).collect();
    words.join(" ")
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

    #[test]
    fn a_shell_reads_the_same_words() {
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
        assert_eq!(line([b"a".to_vec(), b"b c".to_vec()]), "a 'b c'");
    }
}
