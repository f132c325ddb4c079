//! Parser for the command line arguments of rsync.

use core::slice;

/// One argument of rsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsyncArg<'a> {
    /// An option.
    Option {
        /// The long name without dashes: the canonical one of the manual page, or the name as
        /// written if it is unknown. `-F` and `-P`, which have no long name, keep their letter.
        /// Negated options begin with `no-`.
        name: &'a [u8],
        /// The value, if the option takes one and has one.
        value: Option<&'a [u8]>,
        /// The argument that contains the option.
        arg: &'a [u8],
    },
    /// A source or a target.
    Operand(&'a [u8]),
}

/// Iterates over arguments from left to right.
#[derive(Clone, Debug)]
pub struct RsyncArgParser<'a> {
    args: slice::Iter<'a, &'a [u8]>,
    /// The argument with short options that is being parsed, and its remaining letters.
    letters: Option<(&'a [u8], &'a [u8])>,
    /// True after `--`.
    options_ended: bool,
}

/// Short options and their long names.
const SHORT_OPTIONS: &[(u8, &str)] = &[
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

/// Alternative spellings of long options.
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

/// Options with a value, which may be the next argument.
const OPTIONS_WITH_VALUE: &[&str] = &[
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

impl<'a> RsyncArgParser<'a> {
    /// Creates a parser for these arguments.
    #[must_use]
    pub fn new(args: &'a [&'a [u8]]) -> Self {
        Self { args: args.iter(), letters: None, options_ended: false }
    }

    /// Parses the next option of an argument with short options.
    fn short(&mut self, arg: &'a [u8], letters: &'a [u8]) -> Option<RsyncArg<'a>> {
        let (letter, rest) = letters.split_first()?;
        let known = SHORT_OPTIONS.iter().find(|(short, _)| short == letter);
        let name = known.map_or_else(|| slice::from_ref(letter), |(_, name)| name.as_bytes());
        if !takes_value(name) {
            self.letters = (!rest.is_empty()).then_some((arg, rest));
            return Some(RsyncArg::Option { name, value: None, arg });
        }
        self.letters = None;
        let value = match rest {
            [] => self.args.next().copied(),
            [b'=', value @ ..] | value => Some(value),
        };
        Some(RsyncArg::Option { name, value, arg })
    }

    fn long(&mut self, arg: &'a [u8], text: &'a [u8]) -> RsyncArg<'a> {
        let equals = text.iter().position(|&byte| byte == b'=');
        let name = text.get(..equals.unwrap_or(text.len())).unwrap_or_default();
        let alias = ALIASES.iter().find(|(alias, _)| alias.as_bytes() == name);
        let name = alias.map_or(name, |(_, name)| name.as_bytes());
        let value = match equals {
            Some(at) => text.get(at + 1..),
            None if takes_value(name) => self.args.next().copied(),
            None => None,
        };
        RsyncArg::Option { name, value, arg }
    }
}

impl<'a> Iterator for RsyncArgParser<'a> {
    type Item = RsyncArg<'a>;

    fn next(&mut self) -> Option<RsyncArg<'a>> {
        if let Some((arg, letters)) = self.letters.take() {
            return self.short(arg, letters);
        }
        let arg = *self.args.next()?;
        match arg {
            _ if self.options_ended => Some(RsyncArg::Operand(arg)),
            b"--" => {
                self.options_ended = true;
                self.next()
            }
            [b'-', b'-', text @ ..] => Some(self.long(arg, text)),
            [b'-', letters @ ..] if !letters.is_empty() => self.short(arg, letters),
            _ => Some(RsyncArg::Operand(arg)),
        }
    }
}

fn takes_value(name: &[u8]) -> bool {
    OPTIONS_WITH_VALUE.iter().any(|with| with.as_bytes() == name)
}

/// Parses a size such as `1.5m`, `10KB` or `2G-1` into bytes. `unit`, one of `bkmgtp`, applies to a
/// number without a unit. Returns `None` if the text is invalid or the size too large.
#[must_use]
pub fn parse_size(text: &[u8], unit: u8) -> Option<u64> {
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
    // Further digits amount to less than a byte.
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

/// Parses digits; an empty text is zero.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        number.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec::Vec};

    fn read(args: &str) -> String {
        let args: Vec<&[u8]> = args.split('|').map(str::as_bytes).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all: Vec<String> = RsyncArgParser::new(&args)
            .map(|arg| match arg {
                RsyncArg::Option { name, value: None, .. } => text(name),
                RsyncArg::Option { name, value: Some(value), .. } => {
                    std::format!("{}={}", text(name), text(value))
                }
                RsyncArg::Operand(arg) => std::format!("<{}>", text(arg)),
            })
            .collect();
        all.join(" ")
    }

    #[test]
    fn option_spellings_map_to_one_name() {
        for (args, expected) in [
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
            assert_eq!(read(args), expected, "{args}");
        }
    }

    #[test]
    fn options_carry_their_argument() {
        let args: Vec<&[u8]> = std::vec![b"-nR"];
        let all = RsyncArgParser::new(&args)
            .all(|arg| matches!(arg, RsyncArg::Option { arg: b"-nR", .. }));
        assert!(all && RsyncArgParser::new(&args).count() == 2);
    }

    #[test]
    fn sizes_accept_units_and_fractions() {
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
            assert_eq!(parse_size(text.as_bytes(), b'b'), bytes, "{text}");
        }
        assert_eq!(parse_size(b"100", b'k'), Some(102_400));
    }
}
