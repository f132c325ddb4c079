//! The target of a mirror, as an argument of rsync.

use alloc::vec::Vec;
use core::fmt;

/// The target of a transfer, as an argument that rsync always reads as a target.
///
/// **Invariants.** It is not empty, contains no NUL, does not begin with `-`, ends in `/` or `:`,
/// and is not the root directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Vec<u8>);

/// The port of an rsync daemon: `rsync(1)`.
const DAEMON_PORT: u16 = 873;

/// Reason for rejecting a target. Its text is meant for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// The target is empty: with the appended slash it would be the root directory.
    Empty,
    /// The target is the root directory, which contains the source: mirroring would delete the
    /// machine.
    Root,
    /// The target contains a NUL, which no argument of a program can contain.
    Nul,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the target is empty",
            Self::Root => "the target is the root directory, which contains the source",
            Self::Nul => "the target contains a NUL",
        })
    }
}

impl core::error::Error for TargetError {}

/// The path of a target on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetPath<'a> {
    /// Relative to the root of the machine or of the daemon's module. Ends in `/`.
    Absolute(&'a [u8]),
    /// Relative to a directory that is unknown here. Ends in `/`.
    Relative(&'a [u8]),
    /// That directory itself.
    Unknown,
}

impl Target {
    /// Parses a user's target. A `/` is appended unless the target ends in `/` or `:`, as in the
    /// original. A home directory, `~/`, is removed: relative paths start there.
    ///
    /// # Errors
    ///
    /// If a source can't be mirrored to it. The original takes the empty target for `/` and deletes
    /// the machine.
    pub fn new(text: &[u8]) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.contains(&0) {
            return Err(TargetError::Nul);
        }
        let mut components = text.split(|&b| b == b'/');
        if text.starts_with(b"/") && components.all(|name| name.is_empty() || name == b".") {
            return Err(TargetError::Root);
        }
        // rsync would read it as an option.
        let mut arg = if text.starts_with(b"-") { b"./".to_vec() } else { Vec::new() };
        arg.extend(without_home(text));
        if !arg.ends_with(b"/") && !arg.ends_with(b":") {
            arg.push(b'/');
        }
        Ok(Self(arg))
    }

    /// Returns the argument for rsync.
    #[must_use]
    pub fn as_arg(&self) -> &[u8] {
        &self.0
    }

    /// Returns the host, `user@host`, that is reached by ssh or its replacement. `None` if the
    /// target is local or a module of a daemon.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        let colon = colon(&self.0)?;
        self.0.get(..colon).filter(|_| !self.is_module())
    }

    /// Returns true if the target is a module of an rsync daemon.
    #[must_use]
    pub fn is_module(&self) -> bool {
        let two_colons = || {
            let colon = colon(&self.0)?;
            Some(self.0.get(colon + 1) == Some(&b':'))
        };
        is_url(&self.0) || two_colons() == Some(true)
    }

    /// Returns the host, `user@host`, and the port of an rsync daemon. A port in the target takes
    /// precedence over that of the option `--port`. `None` if the target is no module of a daemon.
    #[must_use]
    pub fn daemon_address(&self, port: Option<u16>) -> Option<(&[u8], u16)> {
        let port = port.unwrap_or(DAEMON_PORT);
        let Some(rest) = strip_url(&self.0) else {
            return Some((self.0.get(..colon(&self.0)?).filter(|_| self.is_module())?, port));
        };
        let authority = rest.split(|&byte| byte == b'/').next()?;
        let Some(at) = colon(authority) else { return Some((authority, port)) };
        let (host, port) = authority.split_at_checked(at)?;
        Some((host, str::from_utf8(port).ok()?.strip_prefix(':')?.parse().ok()?))
    }

    /// Returns an argument that makes rsync fail if the target is missing, instead of creating its
    /// last directory: a missing directory has no `.` in it. `None` where rsync creates nothing,
    /// and for local targets, where this is checked directly.
    ///
    /// `rrsync` keeps this form, and drops `./`.
    #[must_use]
    pub(super) fn existing_arg(&self) -> Option<Vec<u8>> {
        let is_made = match self.path() {
            TargetPath::Absolute(path) => path != b"/",
            TargetPath::Relative(_) => true,
            TargetPath::Unknown => false,
        };
        (is_made && self.local().is_none()).then(|| [self.as_arg(), b"."].concat())
    }

    /// Returns the path of a local target. A relative one starts at rsync's working directory.
    #[must_use]
    pub fn local(&self) -> Option<&[u8]> {
        (!is_url(&self.0) && colon(&self.0).is_none()).then_some(&*self.0)
    }

    /// Returns the path after `host:`, `host::module` or `rsync://host/module`.
    #[must_use]
    pub fn path(&self) -> TargetPath<'_> {
        if let Some(rest) = strip_url(&self.0) {
            return in_module(after(rest, b'/'));
        }
        let Some(colon) = colon(&self.0) else { return plain(&self.0) };
        let rest = self.0.get(colon + 1..).unwrap_or_default();
        match rest.strip_prefix(b":") {
            Some(module) => in_module(module),
            None => plain(rest),
        }
    }
}

/// Returns what follows `rsync://` in the spelling of a target, `None` if it is not a URL. Like
/// rsync, it takes the scheme in either case.
#[must_use]
pub fn strip_url(target: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"rsync://";
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn is_url(target: &[u8]) -> bool {
    strip_url(target).is_some()
}

/// Returns the position of the colon after a host, if any. An address in brackets has its own
/// colons.
fn colon(arg: &[u8]) -> Option<usize> {
    let mut in_brackets = false;
    for (at, byte) in arg.iter().enumerate() {
        match byte {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            b':' if !in_brackets => return Some(at),
            b'/' => return None,
            _ => {}
        }
    }
    None
}

/// Turns `host:~/x` into the equivalent `host:x`: rsync starts in the home directory there. rsync
/// takes a name that begins with `~` literally, unless a shell in between expands it.
fn without_home(arg: &[u8]) -> Vec<u8> {
    if let Some(colon) = colon(arg).filter(|_| !is_url(arg)) {
        let (host, path) = arg.split_at_checked(colon + 1).unwrap_or_default();
        match path {
            b"~" => return host.to_vec(),
            [b'~', b'/', path @ ..] => {
                let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
                return [host, path.get(slashes..).unwrap_or_default()].concat();
            }
            _ => {}
        }
    }
    arg.to_vec()
}

fn plain(path: &[u8]) -> TargetPath<'_> {
    match path.strip_prefix(b"./").unwrap_or(path) {
        b"" => TargetPath::Unknown,
        path if path.starts_with(b"/") => TargetPath::Absolute(path),
        path => TargetPath::Relative(path),
    }
}

/// A daemon reports paths relative to the root of the module.
fn in_module(module_and_path: &[u8]) -> TargetPath<'_> {
    let slash = module_and_path.iter().position(|&b| b == b'/');
    slash.and_then(|at| module_and_path.get(at..)).map_or(TargetPath::Unknown, TargetPath::Absolute)
}

fn after(bytes: &[u8], mark: u8) -> &[u8] {
    let at = bytes.iter().position(|&b| b == mark);
    at.and_then(|at| bytes.get(at + 1..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_is_appended_as_the_original_does() {
        for (text, arg) in [
            ("/a", "/a/"),
            ("/a/", "/a/"),
            ("a", "a/"),
            ("host:", "host:"),
            ("host::mod", "host::mod/"),
            ("-e evil", "./-e evil/"),
            ("u@host:~/a b", "u@host:a b/"),
            ("host:~//a", "host:a/"),
            ("host:~", "host:"),
            ("host:~/", "host:"),
            ("host:~user/a", "host:~user/a/"),
            ("~/a", "~/a/"),
            ("[::1]:~/a", "[::1]:a/"),
            ("host::~/a", "host::~/a/"),
        ] {
            assert_eq!(Target::new(text.as_bytes()).unwrap().as_arg(), arg.as_bytes());
        }
    }

    #[test]
    fn empty_and_root_targets_are_rejected() {
        assert_eq!(Target::new(b""), Err(TargetError::Empty));
        assert_eq!(Target::new(b"a\0b"), Err(TargetError::Nul));
        for root in ["/", "//", "/.", "/./"] {
            assert_eq!(Target::new(root.as_bytes()), Err(TargetError::Root));
        }
        assert!(Target::new(b"host:/").is_ok());
    }

    #[test]
    fn target_paths_are_parsed() {
        use TargetPath::{Absolute, Relative, Unknown};
        for (text, path) in [
            ("/a/b", Absolute(b"/a/b/")),
            ("a/b:c", Relative(b"a/b:c/")),
            ("./a", Relative(b"a/")),
            ("u@host:/srv", Absolute(b"/srv/")),
            ("u@[fe80::1]:/srv", Absolute(b"/srv/")),
            ("host:srv", Relative(b"srv/")),
            ("host:", Unknown),
            ("host::mod", Absolute(b"/")),
            ("host::mod/x", Absolute(b"/x/")),
            ("rsync://host:1/mod/x", Absolute(b"/x/")),
            ("RSYNC://host/mod/x", Absolute(b"/x/")),
        ] {
            assert_eq!(Target::new(text.as_bytes()).unwrap().path(), path, "{text}");
        }
    }

    #[test]
    fn remote_targets_that_rsync_may_create_can_be_required_to_exist() {
        for (text, arg) in [
            ("h:/a/b", Some("h:/a/b/.")),
            ("h:~/a", Some("h:a/.")),
            ("h::mod/a/", Some("h::mod/a/.")),
            ("rsync://h/mod/a", Some("rsync://h/mod/a/.")),
            ("h::mod", None),
            ("rsync://h/mod/", None),
            ("h:/", None),
            ("h:", None),
            ("/a", None),
        ] {
            let arg = arg.map(|arg| arg.as_bytes().to_vec());
            assert_eq!(Target::new(text.as_bytes()).unwrap().existing_arg(), arg, "{text}");
        }
    }

    #[test]
    fn addresses_of_daemons_are_parsed() {
        for (text, address) in [
            ("host::mod/a:b", Some(("host", 7))),
            ("u@[::1]::mod", Some(("u@[::1]", 7))),
            ("rsync://host/mod", Some(("host", 7))),
            ("rsync://u@host:12/mod:13", Some(("u@host", 12))),
            ("RSYNC://[::1]:12/mod", Some(("[::1]", 12))),
            ("rsync://host:x/mod", None),
            ("host:/p", None),
            ("host:a::b", None),
            ("/a::b", None),
        ] {
            let target = Target::new(text.as_bytes()).unwrap();
            let address = address.map(|(host, port)| (host.as_bytes(), port));
            assert_eq!(target.daemon_address(Some(7)), address, "{text}");
        }
        assert_eq!(Target::new(b"h::m").unwrap().daemon_address(None), Some((&b"h"[..], 873)));
    }

    #[test]
    fn target_hosts_are_parsed() {
        for (text, host) in [
            ("host:", Some("host")),
            ("u@host:/p", Some("u@host")),
            ("host:a::b", Some("host")),
            ("u@[::1]:p", Some("u@[::1]")),
            ("host::mod", None),
            ("rsync://host/mod", None),
            ("RSYNC://host:1/mod", None),
            ("/a:b", None),
            ("dir", None),
        ] {
            let target = Target::new(text.as_bytes()).unwrap();
            assert_eq!(target.host(), host.map(str::as_bytes), "{text}");
            assert_eq!(target.local().is_some(), ["/a:b", "dir"].contains(&text), "{text}");
            let is_local = !text.contains(':') || text.starts_with('/');
            assert_eq!(target.is_module(), !is_local && host.is_none(), "{text}");
        }
    }
}
