//! Lines of words, some of them in quotes.

/// The words of `line`: separated by blanks, and kept together by double quotes.
///
/// Within quotes `\n`, `\\` and `\"` stand for a newline, a backslash and a quote.
///
/// # Errors
///
/// If a quote has no end, or a backslash is followed by something else.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' => words.extend(word.take()),
            '"' => {
                let word = word.get_or_insert_default();
                quoted(&mut characters, word).ok_or_else(|| format!("a quote in: {line}"))?;
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(characters: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => match characters.next()? {
                'n' => word.push('\n'),
                plain @ ('\\' | '"') => word.push(plain),
                _ => return None,
            },
            plain => word.push(plain),
        }
    }
}

/// The words in one line, such that [`split`] finds them again.
#[must_use]
pub fn join(words: &[String]) -> String {
    let quote = |word: &String| {
        if word.is_empty() || word.contains([' ', '"', '\n', '\\']) {
            format!("{word:?}")
        } else {
            word.clone()
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, words: &[&str]) {
        let found = split(line).unwrap();
        assert_eq!(found, words);
        assert_eq!(split(&join(&found)).unwrap(), words);
    }

    #[test]
    fn words_are_separated_by_blanks_and_kept_together_by_quotes() {
        check("", &[]);
        check("a  b ", &["a", "b"]);
        check(r#"--filter=". -" "" "a b""#, &["--filter=. -", "", "a b"]);
        check(r#""a\n\\\"""#, &["a\n\\\""]);
    }

    #[test]
    fn a_quote_has_an_end() {
        assert!(split(r#"a "b"#).is_err());
        assert!(split(r#""\x""#).is_err());
    }
}
