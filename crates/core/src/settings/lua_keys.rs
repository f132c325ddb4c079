//! Lines of keys in the text of a configuration file.
//!
//! Lua reports only the line of a call. The scan is best effort: text that it can't parse is
//! skipped.

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

/// A duplicate key in one table constructor: Lua silently uses the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The key.
    pub key: String,
    /// The line of its first occurrence.
    pub first: usize,
    /// The line of the duplicate.
    pub again: usize,
}

/// Returns the line of the key `path`, such as `rsync.bwlimit`, in the table constructor that opens
/// in line `line` and the ones nested in it. `None` if it is missing.
#[must_use]
pub fn line_of_key(text: &[u8], line: usize, path: &str) -> Option<usize> {
    let tokens = LuaTokens { rest: text, line: 1 }.collect::<Vec<_>>();
    let mut wanted = path.split('.');
    let mut name = wanted.next()?;
    let (mut depth, mut before) = (0_usize, None);
    for (at, (token, here)) in tokens.iter().enumerate() {
        if depth == 0 && (*here < line || *token != LuaToken::Sign(b'{')) {
            continue;
        }
        let starts_field = matches!(before, Some(LuaToken::Sign(b'{' | b',' | b';')));
        let key = starts_field.then(|| key(tokens.get(at..).unwrap_or_default())).flatten();
        if key.is_some_and(|key| key == name) {
            match wanted.next() {
                Some(inner) => name = inner,
                None => return Some(*here),
            }
        }
        match token {
            LuaToken::Sign(b'{') => depth += 1,
            LuaToken::Sign(b'}') if depth == 1 => return None,
            LuaToken::Sign(b'}') => depth -= 1,
            LuaToken::Sign(_) | LuaToken::Name(_) | LuaToken::Text(_) | LuaToken::Other => {}
        }
        before = Some(*token);
    }
    None
}

/// Returns the duplicate keys of a chunk.
#[must_use]
pub fn duplicate_keys(text: &[u8]) -> Vec<DuplicateKey> {
    let tokens = LuaTokens { rest: text, line: 1 }.collect::<Vec<_>>();
    let mut open: Vec<OpenBlock> = Vec::new();
    let mut found = Vec::new();
    let mut before = None;
    for (at, (token, line)) in tokens.iter().enumerate() {
        let starts_field = matches!(before, Some(LuaToken::Sign(b'{' | b',' | b';')));
        if let (Some(OpenBlock::Table(keys)), true) = (open.last_mut(), starts_field)
            && let Some(key) = key(tokens.get(at..).unwrap_or_default())
            && let Some(first) = keys.insert(key.clone(), *line)
        {
            found.push(DuplicateKey { key, first, again: *line });
        }
        match token {
            LuaToken::Sign(b'{') => open.push(OpenBlock::Table(BTreeMap::new())),
            LuaToken::Name(b"function" | b"do" | b"if" | b"repeat") | LuaToken::Sign(b'(') => {
                open.push(OpenBlock::Other);
            }
            LuaToken::Sign(b'}' | b')') | LuaToken::Name(b"end" | b"until") => drop(open.pop()),
            LuaToken::Sign(_) | LuaToken::Name(_) | LuaToken::Text(_) | LuaToken::Other => {}
        }
        before = Some(*token);
    }
    found
}

/// An open block or bracket.
enum OpenBlock {
    /// A table constructor, and the lines of its keys.
    Table(BTreeMap<String, usize>),
    Other,
}

/// Returns the key at the start of a field: `name =` or `["name"] =`.
fn key(tokens: &[(LuaToken<'_>, usize)]) -> Option<String> {
    let mut tokens = tokens.iter().map(|(token, _)| *token);
    let name = match tokens.next()? {
        LuaToken::Name(name) => name,
        LuaToken::Sign(b'[') => {
            let LuaToken::Text(name) = tokens.next()? else { return None };
            matches!(tokens.next()?, LuaToken::Sign(b']')).then_some(name)?
        }
        LuaToken::Sign(_) | LuaToken::Text(_) | LuaToken::Other => return None,
    };
    let is_key = matches!(tokens.next()?, LuaToken::Sign(b'='));
    is_key.then(|| String::from_utf8_lossy(name).into_owned())
}

/// The tokens of Lua that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LuaToken<'a> {
    Name(&'a [u8]),
    /// The text between the quotes.
    Text(&'a [u8]),
    /// A one-byte operator. `==` and the like are not.
    Sign(u8),
    /// Numbers and longer operators.
    Other,
}

/// The tokens of a chunk, each with its line.
struct LuaTokens<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> LuaTokens<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, b""));
        self.rest = rest;
        self.line += taken.split(|&byte| byte == b'\n').count() - 1;
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|&byte| !wanted(byte));
        self.take(length.unwrap_or(self.rest.len()))
    }

    /// Takes a long bracket, `[[..]]` or `[==[..]==]`, that begins `skip` bytes ahead, if any.
    /// Returns its contents.
    fn take_long(&mut self, skip: usize) -> Option<&'a [u8]> {
        let text = self.rest.get(skip..)?.strip_prefix(b"[")?;
        let level = text.iter().position(|&byte| byte != b'=')?;
        let inner = text.get(level..)?.strip_prefix(b"[")?;
        let end = [b"]", vec![b'='; level].as_slice(), b"]"].concat();
        let at = inner.windows(end.len()).position(|part| part == end);
        let at = at.unwrap_or(inner.len());
        self.take(skip + level + 2 + at + end.len());
        inner.get(..at)
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            if !self.rest.starts_with(b"--") {
                return;
            }
            if self.take_long(2).is_none() {
                self.take_while(|byte| byte != b'\n');
            }
        }
    }

    fn take_quoted(&mut self, quote: u8) -> &'a [u8] {
        let text = self.rest.get(1..).unwrap_or_default();
        let mut escaped = false;
        let end = text.iter().position(|&byte| {
            let ends = !escaped && (byte == quote || byte == b'\n');
            escaped = !escaped && byte == b'\\';
            ends
        });
        let end = end.unwrap_or(text.len());
        self.take(end + 2);
        text.get(..end).unwrap_or_default()
    }
}

impl<'a> Iterator for LuaTokens<'a> {
    type Item = (LuaToken<'a>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks_and_comments();
        let line = self.line;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let token = match *self.rest.first()? {
            quote @ (b'"' | b'\'') => LuaToken::Text(self.take_quoted(quote)),
            b'[' => self.take_long(0).map_or_else(
                || LuaToken::Sign(self.take(1).first().copied().unwrap_or_default()),
                LuaToken::Text,
            ),
            first if first.is_ascii_digit() => {
                self.take_while(|byte| is_word(byte) || byte == b'.');
                LuaToken::Other
            }
            first if is_word(first) => LuaToken::Name(self.take_while(is_word)),
            first => {
                let doubled = self.rest.get(1) == Some(&b'=') && b"=~<>".contains(&first);
                self.take(if doubled { 2 } else { 1 });
                if doubled { LuaToken::Other } else { LuaToken::Sign(first) }
            }
        };
        Some((token, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, usize, usize)]) {
        let found = duplicate_keys(text.as_bytes());
        let found: Vec<_> = found.iter().map(|it| (&*it.key, it.first, it.again)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn duplicate_keys_are_found() {
        check("sync{ a = 1,\n b = 2,\n a = 3 }", &[("a", 1, 3)]);
        check("sync{ a = 1; ['a'] = 2, [\"a\"] = 3 }", &[("a", 1, 1), ("a", 1, 1)]);
        check("x = { { a = 1, a = 2 }, a = 3 }", &[("a", 1, 1)]);
    }

    #[test]
    fn keys_are_located_within_their_call() {
        let text = b"settings{ a = 1 }\nsync{\n  x,\n  a = 2,\n  rsync = {\n    b = f{ a = 1 },\n\
                     \x20   a = 3,\n  },\n}\nsync{ c = 1 }";
        for (line, path, expected) in [
            (1, "a", Some(1)),
            (2, "a", Some(4)),
            (2, "rsync", Some(5)),
            (2, "rsync.b", Some(6)),
            (2, "rsync.a", Some(6)),
            (2, "c", None),
            (10, "c", Some(10)),
            (11, "c", None),
        ] {
            assert_eq!(line_of_key(text, line, path), expected, "{path} from {line}");
        }
    }

    #[test]
    fn keys_of_different_tables_are_distinct() {
        check("sync{ a = 1, b = { a = 2 }, c = { a = 3 } } sync{ a = 4 }", &[]);
        check("t = { [1] = 2, [x] = 3, [x] = 4, a == b, a ~= c }", &[]);
    }

    #[test]
    fn assignments_in_functions_are_not_keys() {
        check("t = { f = function() a = 1; a = 2; if a then b = 1; b = 2 end end, g = 1 }", &[]);
        check(
            "t = { f = function() for i = 1, 2 do a = 1; a = 2 end return { x = 1 } end, x = 2 }",
            &[],
        );
    }

    #[test]
    fn strings_and_comments_are_skipped() {
        check(
            "t = { a = '{ a = 1', -- , a = 2\n b = [[, a = 3 ]], --[==[ , a = 4 ]] ]==] c = \"\\\", a = 5\" }",
            &[],
        );
        check("t = {\n a = [[\n\n]],\n a = 1 }", &[("a", 2, 5)]);
        check("t = { a = 'open\n, b = 1, b = 2", &[("b", 2, 2)]);
        check("\u{e9} } ) end { a = 1, a = 2", &[("a", 1, 1)]);
    }
}
