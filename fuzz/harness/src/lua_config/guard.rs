//! Selection of Lua texts that are safe to run: without loops, functions and programs.
//!
//! Whatever this lexer does not know is refused.

/// Functions that a text may call.
const CALLED: [&[u8]; 3] = [b"sync", b"settings", b"tunnel"];

/// Keywords that may be followed by a parenthesis, a table or a string without a call.
const KEYWORDS: [&[u8]; 9] =
    [b"and", b"or", b"not", b"return", b"if", b"elseif", b"then", b"else", b"local"];

/// Names that a text must not have: keywords of loops and functions, and all globals except those
/// that declare a configuration.
const REFUSED: &str = "for while repeat until goto function do break assert collectgarbage coroutine \
    debug dofile error getmetatable io ipairs load loadfile loadstring math next os package pairs \
    pcall print rawequal rawget rawlen rawset require select setmetatable string table tonumber \
    tostring type unpack utf8 warn xpcall bit32 _G _ENV _VERSION dump log lsyncd lsyncd_version \
    readdir terminate spawn spawnShell alarm now observefd nonobservefd Queue substitudeCommands \
    splitQuotedString";

/// Parts of a text that could make the reader open a device.
const DEVICES: [&[u8]; 3] = [b"dev/", b"proc/", b"sys/"];

/// A token of Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GuardToken<'a> {
    Name(&'a [u8]),
    Number,
    Literal,
    Sign(u8),
}

/// Returns true if a text can neither loop, nor call anything but [`CALLED`], nor name a device.
pub(super) fn is_harmless(text: &[u8]) -> bool {
    let names_device = DEVICES.iter().any(|part| text.windows(part.len()).any(|it| it == *part));
    // The loader skips a first line with `#` and a byte order mark.
    let has_prefix = text.starts_with(b"#") || text.starts_with(b"\xef");
    if names_device || has_prefix {
        return false;
    }
    tokens(text).is_some_and(|tokens| are_harmless(&tokens))
}

fn are_harmless(tokens: &[GuardToken<'_>]) -> bool {
    let mut before = [None, None];
    for token in tokens {
        let is_refused = match token {
            GuardToken::Name(name) => REFUSED.split_whitespace().any(|it| it.as_bytes() == *name),
            // Methods and labels.
            GuardToken::Sign(b':') => true,
            // Concatenation, and the arguments of the file.
            GuardToken::Sign(b'.') => before.last() == Some(&Some(GuardToken::Sign(b'.'))),
            GuardToken::Literal | GuardToken::Sign(b'(' | b'{') => !may_precede(before),
            GuardToken::Number | GuardToken::Sign(_) => false,
        };
        if is_refused {
            return false;
        }
        before = [before[1], Some(*token)];
    }
    true
}

/// Returns true if an opening bracket or a literal after these two tokens is no call, or one that
/// is allowed.
fn may_precede(before: [Option<GuardToken<'_>>; 2]) -> bool {
    match before {
        [earlier, Some(GuardToken::Name(name))] => {
            let is_field = earlier == Some(GuardToken::Sign(b'.'));
            !is_field && (CALLED.contains(&name) || KEYWORDS.contains(&name))
        }
        [_, Some(GuardToken::Literal | GuardToken::Number)] => false,
        [_, Some(GuardToken::Sign(sign))] => !matches!(sign, b')' | b']' | b'}'),
        [_, None] => true,
    }
}

/// Splits a text. `None` if it is not certain that Lua splits it in the same way.
fn tokens(text: &[u8]) -> Option<Vec<GuardToken<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let (token, length) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => (None, 1),
            b'-' if after.starts_with(b"-") => (None, 2 + comment_length(after.get(1..)?)?),
            b'"' | b'\'' => (Some(GuardToken::Literal), 1 + text_length(after, byte)?),
            b'[' if matches!(after.first(), Some(b'[' | b'=')) => {
                (Some(GuardToken::Literal), long_text_length(rest)?)
            }
            b'0'..=b'9' => (Some(GuardToken::Number), number_length(rest)),
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                let length = rest.iter().take_while(|byte| is_name_byte(**byte)).count();
                (Some(GuardToken::Name(rest.get(..length)?)), length)
            }
            b'!'..=b'~' => (Some(GuardToken::Sign(byte)), 1),
            _ => return None,
        };
        tokens.extend(token);
        rest = rest.get(length..)?;
    }
    Some(tokens)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the length of a number. Signs of exponents are separate tokens here.
fn number_length(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_name_byte(**byte) || **byte == b'.').count()
}

/// Returns the length of a comment after its `--`.
fn comment_length(text: &[u8]) -> Option<usize> {
    if let Some(length) = text.starts_with(b"[").then(|| long_text_length(text)).flatten() {
        return Some(length);
    }
    // What looks like the start of a long comment may be one that is not closed.
    if text.starts_with(b"[[") || text.starts_with(b"[=") {
        return None;
    }
    Some(text.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(text.len()))
}

/// Returns the length of a string after its opening quote, with the closing one.
fn text_length(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'\\' => at += 2,
            b'\n' | b'\r' => return None,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Returns the length of `[[..]]` or `[=[..]=]`.
fn long_text_length(text: &[u8]) -> Option<usize> {
    let level = text.iter().skip(1).take_while(|byte| **byte == b'=').count();
    if text.get(level + 1) != Some(&b'[') {
        return None;
    }
    let closing = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    let inside = text.get(level + 2..)?;
    let at = inside.windows(closing.len()).position(|window| window == closing)?;
    Some(level + 2 + at + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_harmless() {
        for text in [
            "sync{ default.rsync, source = '/a', target = [[b]], delay = 1.5e3 }",
            "settings{ 'insist', logfile = \"/x\" } -- for io.popen\n--[[ os.execute() ]] local t = {}",
            "sync(t) settings('delay') local a = (1 + 2) * #t return {}",
            "settings.logfile = \"while true do end\"",
            "if not (a == 1) and {} then b = nil end",
        ] {
            assert!(is_harmless(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn loops_calls_and_programs_are_refused() {
        for text in [
            "os.execute('x')",
            "x = io",
            "while true do end",
            "a.sync{}",
            "a.b 'x'",
            "(a)('x')",
            "a[1]{}",
            "('x'):rep(9)",
            "'x' 'y'",
            "a 'x'",
            "sync{}{}",
            "x = 0xe+io",
            "a = b .. c",
            "f = function() end",
            "sync{ source = '/dev/zero' }",
            "#!/bin/lua\nsync{}",
            "\u{feff}sync{}",
            "--[[ open\nos.exit()",
            "'open\n'",
            "a = \u{e9}",
            "x = 1 .. 2",
        ] {
            assert!(!is_harmless(text.as_bytes()), "{text}");
        }
    }
}
