//! The options of rsync in a list of arguments, as rsync reads them.

use core::slice;

/// One argument of rsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg<'a> {
    /// An option.
    Option {
        /// Its long name without dashes: that of the manual page where there are several, and what
        /// was written if it is not known. `-F` and `-P`, which have none, keep their letter, and
        /// what was switched off begins with `no-`.
        name: &'a [u8],
        /// Its value, if it takes one and has one.
        value: Option<&'a [u8]>,
        /// The word in which it stands.
        word: &'a [u8],
    },
    /// A source or a target.
    Operand(&'a [u8]),
}

/// Reads arguments from left to right.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    words: slice::Iter<'a, &'a [u8]>,
    /// The word of short options that is being read, and its letters that are left.
    letters: Option<(&'a [u8], &'a [u8])>,
    /// Whether `--` was read.
    is_over: bool,
}

/// The short options and the long names for which they stand.
const SHORT: &[(u8, &str)] = &[
    (b'v', "verbose"),
    (b'q', "quiet"),
    (b'c', "checksum"),
    (b'a', "archive"),
    (b'r', "recursive"),
    (b'R', "relative"),
    (b'b', "backup"),
    (b'u', "update"),
    (b'd', "dirs"),
    (b'l', "links"),
    (b'L', "copy-links"),
    (b'k', "copy-dirlinks"),
    (b'K', "keep-dirlinks"),
    (b'H', "hard-links"),
    (b'p', "perms"),
    (b'E', "executability"),
    (b'A', "acls"),
    (b'X', "xattrs"),
    (b'o', "owner"),
    (b'g', "group"),
    (b'D', "devices"),
    (b't', "times"),
    (b'U', "atimes"),
    (b'N', "crtimes"),
    (b'O', "omit-dir-times"),
    (b'J', "omit-link-times"),
    (b'S', "sparse"),
    (b'n', "dry-run"),
    (b'W', "whole-file"),
    (b'x', "one-file-system"),
    (b'B', "block-size"),
    (b'e', "rsh"),
    (b'C', "cvs-exclude"),
    (b'y', "fuzzy"),
    (b'z', "compress"),
    (b's', "secluded-args"),
    (b'F', "F"),
    (b'P', "P"),
    (b'i', "itemize-changes"),
    (b'M', "remote-option"),
    (b'm', "prune-empty-dirs"),
    (b'T', "temp-dir"),
    (b'f', "filter"),
    (b'I', "ignore-times"),
    (b'h', "human-readable"),
    (b'0', "from0"),
    (b'4', "ipv4"),
    (b'6', "ipv6"),
    (b'8', "8-bit-output"),
    (b'@', "modify-window"),
];

/// Other spellings of long options.
const ALIASES: &[(&str, &str)] = &[
    ("ignore-non-existing", "existing"),
    ("remove-sent-files", "remove-source-files"),
    ("del", "delete"),
    ("protect-args", "secluded-args"),
    ("inc-recursive", "i-r"),
    ("log-format", "out-format"),
    ("time-limit", "stop-after"),
    ("zc", "compress-choice"),
    ("cc", "checksum-choice"),
    ("zl", "compress-level"),
    ("no-l", "no-links"),
    ("no-p", "no-perms"),
    ("no-o", "no-owner"),
    ("no-g", "no-group"),
    ("no-t", "no-times"),
    ("no-x", "no-one-file-system"),
    ("no-c", "no-checksum"),
    ("no-I", "no-ignore-times"),
    ("no-W", "no-whole-file"),
    ("no-z", "no-compress"),
    ("no-s", "no-secluded-args"),
    ("no-protect-args", "no-secluded-args"),
    ("no-r", "no-recursive"),
    ("no-R", "no-relative"),
    ("no-D", "no-devices"),
    ("no-A", "no-acls"),
    ("no-X", "no-xattrs"),
    ("no-H", "no-hard-links"),
    ("no-S", "no-sparse"),
    ("no-v", "no-verbose"),
];

/// The options with a value, which may be the next word.
const WITH_VALUE: &[&str] = &[
    "address",
    "backup-dir",
    "block-size",
    "bwlimit",
    "checksum-choice",
    "checksum-seed",
    "chmod",
    "chown",
    "compare-dest",
    "compress-choice",
    "compress-level",
    "config",
    "contimeout",
    "copy-as",
    "copy-dest",
    "debug",
    "early-input",
    "exclude",
    "exclude-from",
    "files-from",
    "filter",
    "groupmap",
    "iconv",
    "include",
    "include-from",
    "info",
    "link-dest",
    "log-file",
    "log-file-format",
    "max-alloc",
    "max-delete",
    "max-size",
    "min-size",
    "modify-window",
    "only-write-batch",
    "out-format",
    "outbuf",
    "partial-dir",
    "password-file",
    "port",
    "protocol",
    "read-batch",
    "remote-option",
    "rsh",
    "rsync-path",
    "skip-compress",
    "sockopts",
    "stderr",
    "stop-after",
    "stop-at",
    "suffix",
    "temp-dir",
    "timeout",
    "usermap",
    "write-batch",
];

impl<'a> Args<'a> {
    /// Of these words.
    #[must_use]
    pub fn new(words: &'a [&'a [u8]]) -> Self {
        Self { words: words.iter(), letters: None, is_over: false }
    }

    /// The next option of a word of short options.
    fn short(&mut self, word: &'a [u8], letters: &'a [u8]) -> Option<Arg<'a>> {
        let (letter, rest) = letters.split_first()?;
        let known = SHORT.iter().find(|(short, _)| short == letter);
        let name = known.map_or_else(|| slice::from_ref(letter), |(_, name)| name.as_bytes());
        if !takes_value(name) {
            self.letters = (!rest.is_empty()).then_some((word, rest));
            return Some(Arg::Option { name, value: None, word });
        }
        self.letters = None;
        let value = match rest {
            [] => self.words.next().copied(),
            [b'=', value @ ..] | value => Some(value),
        };
        Some(Arg::Option { name, value, word })
    }

    fn long(&mut self, word: &'a [u8], text: &'a [u8]) -> Arg<'a> {
        let equals = text.iter().position(|&byte| byte == b'=');
        let name = text.get(..equals.unwrap_or(text.len())).unwrap_or_default();
        let alias = ALIASES.iter().find(|(alias, _)| alias.as_bytes() == name);
        let name = alias.map_or(name, |(_, name)| name.as_bytes());
        let value = match equals {
            Some(at) => text.get(at + 1..),
            None if takes_value(name) => self.words.next().copied(),
            None => None,
        };
        Arg::Option { name, value, word }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        if let Some((word, letters)) = self.letters.take() {
            return self.short(word, letters);
        }
        let word = *self.words.next()?;
        match word {
            _ if self.is_over => Some(Arg::Operand(word)),
            b"--" => {
                self.is_over = true;
                self.next()
            }
            [b'-', b'-', text @ ..] => Some(self.long(word, text)),
            [b'-', letters @ ..] if !letters.is_empty() => self.short(word, letters),
            _ => Some(Arg::Operand(word)),
        }
    }
}

fn takes_value(name: &[u8]) -> bool {
    WITH_VALUE.iter().any(|with| with.as_bytes() == name)
}

/// The number of bytes that a size such as `1.5m`, `10KB` or `2G-1` means: without a unit in
/// `unit`, one of `bkmgtp`. `None` if it is none, or too large.
#[must_use]
pub fn size(text: &[u8], unit: u8) -> Option<u64> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => digits(rest),
        rest => (&[][..], rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (unit, base, rest) = match rest {
        [] | [b'+' | b'-', ..] => (unit, 1024, rest),
        [unit, b'b' | b'B', rest @ ..] => (*unit, 1000, rest),
        [unit, b'i' | b'I', b'b' | b'B', rest @ ..] | [unit, rest @ ..] => (*unit, 1024, rest),
    };
    let power = b"bkmgtp".iter().position(|name| name.eq_ignore_ascii_case(&unit))?;
    let factor = u128::pow(base, u32::try_from(power).ok()?);
    let mut bytes = number(whole)?.checked_mul(factor)?;
    // More digits are less than a byte.
    let fraction = fraction.get(..18.min(fraction.len()))?;
    let scale = u128::pow(10, u32::try_from(fraction.len()).ok()?);
    bytes = bytes.checked_add(number(fraction)? * factor / scale)?;
    let bytes = match rest {
        [] => bytes,
        b"+1" => bytes + 1,
        b"-1" => bytes.checked_sub(1)?,
        _ => return None,
    };
    u64::try_from(bytes).ok()
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Of digits; nothing is zero.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        number.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec::Vec};

    fn read(words: &str) -> String {
        let words: Vec<&[u8]> = words.split('|').map(str::as_bytes).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all: Vec<String> = Args::new(&words)
            .map(|arg| match arg {
                Arg::Option { name, value: None, .. } => text(name),
                Arg::Option { name, value: Some(value), .. } => {
                    std::format!("{}={}", text(name), text(value))
                }
                Arg::Operand(word) => std::format!("<{}>", text(word)),
            })
            .collect();
        all.join(" ")
    }

    #[test]
    fn an_option_has_one_name_however_it_is_spelled() {
        for (words, expected) in [
            ("-avz", "archive verbose compress"),
            ("--exclude=a b", "exclude=a b"),
            ("--exclude|--x", "exclude=--x"),
            ("-f- *.o", "filter=- *.o"),
            ("-f=x|-uf|- y", "filter=x update filter=- y"),
            ("--ignore-non-existing", "existing"),
            ("--no-l|--no-perms", "no-links no-perms"),
            ("-e|ssh -p 1|a|--|-n", "rsh=ssh -p 1 <a> <-n>"),
            ("-FF", "F F"),
            ("-Q|--nope=1", "Q nope=1"),
            ("--exclude", "exclude"),
            ("-|x", "<-> <x>"),
        ] {
            assert_eq!(read(words), expected, "{words}");
        }
    }

    #[test]
    fn an_option_knows_its_word() {
        let words: Vec<&[u8]> = std::vec![b"-nR"];
        let all = Args::new(&words).all(|arg| matches!(arg, Arg::Option { word: b"-nR", .. }));
        assert!(all && Args::new(&words).count() == 2);
    }

    #[test]
    fn a_size_has_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("1k", Some(1024)),
            ("1KB", Some(1000)),
            ("1KiB", Some(1024)),
            ("1.5m", Some(1_572_864)),
            ("1.5mb-1", Some(1_499_999)),
            ("2G+1", Some(2_147_483_649)),
            (".5k", Some(512)),
            ("3b", Some(3)),
            ("16777216p", None),
            ("99999999999999999999999999999999999999999999", None),
            ("", None),
            ("k", None),
            ("1x", None),
            ("1k2", None),
            ("-1", None),
        ] {
            assert_eq!(size(text.as_bytes(), b'b'), bytes, "{text}");
        }
        assert_eq!(size(b"100", b'k'), Some(102_400));
    }
}
