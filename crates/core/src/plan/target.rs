//! Where a mirror goes, as rsync is told.

use alloc::vec::Vec;
use core::fmt;

/// The target of an rsync, a word that rsync certainly takes for one.
///
/// **Invariants.** It is not empty, has no NUL, does not begin with `-`, ends in `/` or `:`, and is
/// not the root directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Vec<u8>);

/// Why something can't be a target. Its text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// There is nothing: with the slash that is appended it would be the root directory.
    Empty,
    /// It is the root directory, so the source lies in it, and mirroring deletes the machine.
    Root,
    /// No argument of a program can have a NUL.
    Nul,
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the target is empty",
            Self::Root => "the target is the root directory, which contains the source",
            Self::Nul => "the target contains a NUL",
        })
    }
}

impl core::error::Error for BadTarget {}

/// The part of a target that names a place on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetPath<'a> {
    /// From the root of its machine, or of its daemon's module. Ends in `/`.
    Absolute(&'a [u8]),
    /// From a directory that is not known here. Ends in `/`.
    Relative(&'a [u8]),
    /// That directory itself.
    Unknown,
}

impl Target {
    /// The target that a user named. A `/` is appended unless it ends in `/` or `:`, as the
    /// original does, and a home, `~/`, is left out: it is where a relative path begins.
    ///
    /// # Errors
    ///
    /// If it is nothing that a source can be mirrored to. The original takes the empty target
    /// for `/`, and deletes the machine.
    pub fn new(said: &[u8]) -> Result<Self, BadTarget> {
        if said.is_empty() {
            return Err(BadTarget::Empty);
        }
        if said.contains(&0) {
            return Err(BadTarget::Nul);
        }
        let mut components = said.split(|&b| b == b'/');
        if said.starts_with(b"/") && components.all(|name| name.is_empty() || name == b".") {
            return Err(BadTarget::Root);
        }
        // rsync would take it for an option.
        let mut word = if said.starts_with(b"-") { b"./".to_vec() } else { Vec::new() };
        word.extend(without_home(said));
        if !word.ends_with(b"/") && !word.ends_with(b":") {
            word.push(b'/');
        }
        Ok(Self(word))
    }

    /// The word for rsync.
    #[must_use]
    pub fn word(&self) -> &[u8] {
        &self.0
    }

    /// The host that is reached by ssh, or by what stands in its place: `user@host`. `None` if
    /// the target is on this machine or a module of a daemon.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        let colon = colon(&self.0)?;
        self.0.get(..colon).filter(|_| !self.is_module())
    }

    /// Whether it is given out by a daemon of rsync.
    #[must_use]
    pub fn is_module(&self) -> bool {
        let two_colons = || {
            let colon = colon(&self.0)?;
            Some(self.0.get(colon + 1) == Some(&b':'))
        };
        is_url(&self.0) || two_colons() == Some(true)
    }

    /// The word with which rsync fails if the target is gone, rather than make its last directory
    /// again: what is not there has no `.` in it. `None` where rsync makes nothing, and on this
    /// machine, where that is seen without it.
    ///
    /// `rrsync` keeps this one, and drops `./`.
    #[must_use]
    pub(super) fn existing(&self) -> Option<Vec<u8>> {
        let is_made = match self.path() {
            TargetPath::Absolute(path) => path != b"/",
            TargetPath::Relative(_) => true,
            TargetPath::Unknown => false,
        };
        (is_made && self.local().is_none()).then(|| [self.word(), b"."].concat())
    }

    /// Its path if it is on this machine. A relative one counts from where rsync works.
    #[must_use]
    pub fn local(&self) -> Option<&[u8]> {
        (!is_url(&self.0) && colon(&self.0).is_none()).then_some(&*self.0)
    }

    /// The path in it: behind `host:`, `host::module` or `rsync://host/module`, if it has that.
    #[must_use]
    pub fn path(&self) -> TargetPath<'_> {
        if let Some(rest) = self.0.strip_prefix(URL) {
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

const URL: &[u8] = b"rsync://";

fn is_url(word: &[u8]) -> bool {
    word.get(..URL.len()).is_some_and(|start| start.eq_ignore_ascii_case(URL))
}

/// Where the colon behind a host is, if there is one. An address in brackets has its own.
fn colon(word: &[u8]) -> Option<usize> {
    let mut in_brackets = false;
    for (at, byte) in word.iter().enumerate() {
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

/// `host:~/x` as `host:x`, which is the same: rsync works in the home there. What begins with `~`
/// it takes as it is, unless a shell on the way changes that.
fn without_home(word: &[u8]) -> Vec<u8> {
    if let Some(colon) = colon(word).filter(|_| !is_url(word)) {
        let (host, path) = word.split_at_checked(colon + 1).unwrap_or_default();
        match path {
            b"~" => return host.to_vec(),
            [b'~', b'/', path @ ..] => {
                let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
                return [host, path.get(slashes..).unwrap_or_default()].concat();
            }
            _ => {}
        }
    }
    word.to_vec()
}

fn plain(path: &[u8]) -> TargetPath<'_> {
    match path.strip_prefix(b"./").unwrap_or(path) {
        b"" => TargetPath::Unknown,
        path if path.starts_with(b"/") => TargetPath::Absolute(path),
        path => TargetPath::Relative(path),
    }
}

/// A daemon names paths from the root of the module on.
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
        for (said, word) in [
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
            assert_eq!(Target::new(said.as_bytes()).unwrap().word(), word.as_bytes());
        }
    }

    #[test]
    fn nothing_and_the_root_directory_are_refused() {
        assert_eq!(Target::new(b""), Err(BadTarget::Empty));
        assert_eq!(Target::new(b"a\0b"), Err(BadTarget::Nul));
        for root in ["/", "//", "/.", "/./"] {
            assert_eq!(Target::new(root.as_bytes()), Err(BadTarget::Root));
        }
        assert!(Target::new(b"host:/").is_ok());
    }

    #[test]
    fn the_path_of_a_target() {
        use TargetPath::{Absolute, Relative, Unknown};
        for (said, path) in [
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
        ] {
            assert_eq!(Target::new(said.as_bytes()).unwrap().path(), path, "{said}");
        }
    }

    #[test]
    fn a_target_elsewhere_that_rsync_may_make_can_be_expected_to_be_there() {
        for (said, word) in [
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
            let word = word.map(|word| word.as_bytes().to_vec());
            assert_eq!(Target::new(said.as_bytes()).unwrap().existing(), word, "{said}");
        }
    }

    #[test]
    fn the_host_of_a_target() {
        for (said, host) in [
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
            let target = Target::new(said.as_bytes()).unwrap();
            assert_eq!(target.host(), host.map(str::as_bytes), "{said}");
            assert_eq!(target.local().is_some(), ["/a:b", "dir"].contains(&said), "{said}");
            let is_local = !said.contains(':') || said.starts_with('/');
            assert_eq!(target.is_module(), !is_local && host.is_none(), "{said}");
        }
    }
}
