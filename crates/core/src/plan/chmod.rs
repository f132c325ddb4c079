//! rsync's `--chmod`: changes of permissions during the transfer.

use alloc::vec::Vec;

/// Changes of permissions, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chmod(Vec<ChmodClause>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChmodClause {
    /// `Some(true)`: directories only; `Some(false)`: everything but directories.
    directories: Option<bool>,
    operation: ChmodOperation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChmodOperation {
    /// Sets all permissions.
    Octal(u32),
    Symbolic {
        /// One bit of `0o111` per affected class. 0: all classes, limited by the umask.
        classes: u32,
        operator: ChmodOperator,
        /// Bits of `rwx`.
        permissions: u32,
        /// True if directories and files that are executable by any class get `x`.
        execute_if_any: bool,
        /// Bits of `0o7000`.
        special: u32,
        /// Shift of the class whose permissions are copied.
        copied: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChmodOperator {
    Add,
    Remove,
    Set,
}

const ALL: u32 = 0o111;

impl Chmod {
    /// Parses a text such as `D755,F644` or `u+rwX,go-w`. Returns `None` if rsync rejects it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        text.split(|&byte| byte == b',').map(ChmodClause::parse).collect::<Option<_>>().map(Self)
    }

    /// Returns the permission bits, of `0o7777`, that result from `mode` in a process with this
    /// umask.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool, umask: u32) -> u32 {
        let can_execute = is_directory || mode & ALL != 0;
        let concerned = self
            .0
            .iter()
            .filter(|clause| clause.directories.is_none_or(|only| only == is_directory));
        concerned
            .fold(mode & 0o7777, |mode, clause| clause.operation.apply(mode, can_execute, umask))
    }
}

impl ChmodClause {
    fn parse(text: &[u8]) -> Option<Self> {
        let (directories, text) = match text {
            [b'D', text @ ..] => (Some(true), text),
            [b'F', text @ ..] => (Some(false), text),
            text => (None, text),
        };
        let operation = if text.first().is_some_and(u8::is_ascii_digit) {
            ChmodOperation::Octal(octal(text)?)
        } else {
            symbolic(text)?
        };
        Some(Self { directories, operation })
    }
}

fn octal(text: &[u8]) -> Option<u32> {
    let mode = text.iter().try_fold(0_u32, |mode, digit| {
        matches!(digit, b'0'..=b'7').then(|| mode.saturating_mul(8) + u32::from(digit - b'0'))
    })?;
    (mode <= 0o7777).then_some(mode)
}

fn symbolic(text: &[u8]) -> Option<ChmodOperation> {
    let end = text.iter().position(|byte| b"+-=".contains(byte))?;
    let (names, rest) = text.split_at(end);
    let (operator, letters) = rest.split_first()?;
    let mut classes = 0;
    for name in names {
        classes |= match name {
            b'u' => 0o100,
            b'g' => 0o010,
            b'o' => 0o001,
            b'a' => ALL,
            _ => return None,
        };
    }
    let operator = match operator {
        b'+' => ChmodOperator::Add,
        b'-' => ChmodOperator::Remove,
        _ => ChmodOperator::Set,
    };
    let shift = match letters {
        b"u" => Some(6),
        b"g" => Some(3),
        b"o" => Some(0),
        _ => None,
    };
    let (mut permissions, mut execute_if_any, mut special) = (0, false, 0);
    for letter in letters.iter().filter(|_| shift.is_none()) {
        match letter {
            b'r' => permissions |= 4,
            b'w' => permissions |= 2,
            b'x' => permissions |= 1,
            b'X' => execute_if_any = true,
            // Without a class it is set-user-ID.
            b's' if classes == 0 => special |= 0o4000,
            b's' => special |= ((classes & 0o100) << 5) | ((classes & 0o010) << 7),
            b't' => special |= 0o1000,
            _ => return None,
        }
    }
    Some(ChmodOperation::Symbolic {
        classes,
        operator,
        permissions,
        execute_if_any,
        special,
        copied: shift,
    })
}

impl ChmodOperation {
    fn apply(self, mode: u32, can_execute: bool, umask: u32) -> u32 {
        let Self::Symbolic { classes, operator, permissions, execute_if_any, special, copied } =
            self
        else {
            let Self::Octal(mode) = self else { return mode };
            return mode;
        };
        let execute = u32::from(execute_if_any && can_execute);
        let granted = copied.map_or(permissions | execute, |shift| (mode >> shift) & 7);
        let (names, mask) = if classes == 0 { (ALL, !umask) } else { (classes, u32::MAX) };
        let bits = ((names * granted) & mask) | special;
        match operator {
            ChmodOperator::Add => mode | bits,
            ChmodOperator::Remove => mode & !bits,
            ChmodOperator::Set => (mode & !((names * 7) | special)) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of rsync 3.5.0 for files and directories, with the umask 022.
    #[test]
    fn permissions_change_as_by_rsync() {
        for (text, files, directories) in [
            ("D755,F644", [0o644, 0o644, 0o644, 0o644], [0o755; 4]),
            ("=r", [0o444, 0o4444, 0o444, 0o444], [0o444, 0o4444, 0o444, 0o444]),
            ("+x", [0o711, 0o4711, 0o755, 0o777], [0o711, 0o4711, 0o755, 0o777]),
            ("a+X", [0o600, 0o4711, 0o644, 0o777], [0o711, 0o4711, 0o755, 0o777]),
            ("ug=rwx,o=", [0o770, 0o4770, 0o770, 0o770], [0o770, 0o4770, 0o770, 0o770]),
            ("D+s,F-x", [0o600, 0o4600, 0o644, 0o666], [0o4600, 0o4711, 0o4644, 0o4777]),
            ("640", [0o640; 4], [0o640; 4]),
            ("-w", [0o400, 0o4511, 0o444, 0o577], [0o400, 0o4511, 0o444, 0o577]),
            ("go+s", [0o2600, 0o6711, 0o2644, 0o2777], [0o2600, 0o6711, 0o2644, 0o2777]),
            ("u=s", [0o4000, 0o4011, 0o4044, 0o4077], [0o4000, 0o4011, 0o4044, 0o4077]),
            ("D2775", [0o600, 0o4711, 0o644, 0o777], [0o2775; 4]),
            ("u+", [0o600, 0o4711, 0o644, 0o777], [0o600, 0o4711, 0o644, 0o777]),
        ] {
            let chmod = Chmod::parse(text.as_bytes()).unwrap();
            for (at, mode) in [0o600, 0o4711, 0o644, 0o777].into_iter().enumerate() {
                assert_eq!(chmod.apply(mode, false, 0o022), files[at], "{text} {mode:o}");
                assert_eq!(chmod.apply(mode, true, 0o022), directories[at], "{text} {mode:o}");
            }
        }
        for (text, becomes) in [
            ("o=g", [0o2533, 0, 0o644, 0o755]),
            ("u-g", [0o2431, 0o004, 0o240, 0o251]),
            ("=u", [0o2555, 0, 0o644, 0o755]),
            ("a=sx", [0o6111; 4]),
            ("+Xs", [0o6531, 0o4004, 0o4640, 0o4751]),
            ("g=X", [0o2511, 0o004, 0o600, 0o711]),
        ] {
            let chmod = Chmod::parse(text.as_bytes()).unwrap();
            for (mode, becomes) in [0o2531, 0o004, 0o640, 0o751].into_iter().zip(becomes) {
                assert_eq!(chmod.apply(mode, false, 0o022), becomes, "{text} {mode:o}");
            }
        }
    }

    #[test]
    fn texts_that_rsync_rejects_do_not_parse() {
        for text in
            ["", "u", "x", "a", "D", "8", "77777", "u+r-w", "u,g+w", ",u+w", "u+w,", "DFu+w"]
        {
            assert_eq!(Chmod::parse(text.as_bytes()), None, "{text}");
        }
        for text in ["g=u+w", "o+gx", "D8"] {
            assert_eq!(Chmod::parse(text.as_bytes()), None, "{text}");
        }
    }
}
