//! Splits a line into arguments, some of which are quoted.

/// Splits `line` at blanks; double quotes keep blanks within an argument.
///
/// Within quotes `\n`, `\\` and `\"` stand for a newline, a backslash and a quote.
///
/// # Errors
///
/// Returns a message if a quote is not closed, or a backslash is followed by another character.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut args = Vec::new();
    let mut arg: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' => args.extend(arg.take()),
            '"' => {
                let arg = arg.get_or_insert_default();
                read_quoted(&mut characters, arg).ok_or_else(|| format!("a quote in: {line}"))?;
            }
            _ => arg.get_or_insert_default().push(character),
        }
    }
    args.extend(arg);
    Ok(args)
}

fn read_quoted(characters: &mut impl Iterator<Item = char>, arg: &mut String) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => match characters.next()? {
                'n' => arg.push('\n'),
                plain @ ('\\' | '"') => arg.push(plain),
                _ => return None,
            },
            plain => arg.push(plain),
        }
    }
}

/// Joins arguments into one line that [`split`] splits into the same arguments.
#[must_use]
pub fn join(args: &[String]) -> String {
    let quote = |arg: &String| {
        if arg.is_empty() || arg.contains([' ', '"', '\n', '\\']) {
            format!("{arg:?}")
        } else {
            arg.clone()
        }
    };
    args.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let args = split(line).unwrap();
        assert_eq!(args, expected);
        assert_eq!(split(&join(&args)).unwrap(), expected);
    }

    #[test]
    fn blanks_separate_arguments_except_within_quotes() {
        check("", &[]);
        check("a  b ", &["a", "b"]);
        check(r#"--filter=". -" "" "a b""#, &["--filter=. -", "", "a b"]);
        check(r#""a\n\\\"""#, &["a\n\\\""]);
    }

    #[test]
    fn an_unclosed_quote_and_an_unknown_escape_are_rejected() {
        assert!(split(r#"a "b"#).is_err());
        assert!(split(r#""\x""#).is_err());
    }
}
