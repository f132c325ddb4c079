//! Whether a target may be the target of a source.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    filter::Filter,
    notice::Kind as EntryKind,
    path::{Escaped, TreePath},
    plan::target::{Target, TargetPath},
};

use super::{
    Kind,
    place::{self, Conflict},
};
use crate::report::Mode;

/// From where a relative target counts.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// How the process lives: a daemon works in `/`.
    pub mode: Mode,
    /// Where it was started.
    pub here: &'a Path,
}

/// Refuses a target that would be a catastrophe. What is only odd is a warning. One in its own
/// source is all right where one of the filters leaves it out.
///
/// # Errors
///
/// Why it can't be used.
pub fn check_target(
    kind: Kind,
    source: &Path,
    target: &OsStr,
    filters: &[&Filter],
    base: Base<'_>,
) -> Result<Option<String>, String> {
    // What its script makes of it, nobody knows.
    if kind == Kind::Own {
        return Ok(None);
    }
    if target.is_empty() {
        let source = Escaped(source.as_os_str().as_bytes());
        return Err(format!("the target for the source '{source}' is empty"));
    }
    let named = Escaped(target.as_bytes());
    if place::is_remote(target) {
        return match kind {
            Kind::Rsync | Kind::Rsyncssh | Kind::Own => check_remote(source, target),
            Kind::Direct => Err(format!(
                "the target '{named}' is not on this machine: direct needs a directory here; \
                 use rsync, or write './{named}' for a directory of that name"
            )),
        };
    }
    let top = match base.mode {
        Mode::Daemon => Path::new("/"),
        Mode::Foreground => base.here,
    };
    refuse_conflict(source, target, &top.join(target), filters)?;
    let odd = base.mode == Mode::Daemon && !target.as_bytes().starts_with(b"/");
    Ok(odd.then(|| {
        format!("the target '{named}' is relative: a daemon works in /, so it is '/{named}'")
    }))
}

/// A target on another machine: its root is refused, and its home is odd.
fn check_remote(source: &Path, target: &OsStr) -> Result<Option<String>, String> {
    let named = Escaped(target.as_bytes());
    let Ok(parsed) = Target::new(target.as_bytes()) else { return Ok(None) };
    if parsed.is_module() {
        return if module(parsed.word()).is_empty() {
            Err(format!(
                "the target '{named}' names no module of the rsync daemon: write \
                 rsync://HOST/MODULE/DIRECTORY"
            ))
        } else {
            Ok(None)
        };
    }
    let (path, is_absolute) = match parsed.path() {
        TargetPath::Absolute(path) => (path, true),
        TargetPath::Relative(path) => (path, false),
        TargetPath::Unknown => (&b""[..], false),
    };
    let is_top = is_top(path);
    if is_absolute && is_top && source != Path::new("/") {
        return Err(format!(
            "the target '{named}' is the root directory of the other machine: all of it would go"
        ));
    }
    Ok((!is_absolute && is_top).then(|| {
        format!(
            "the target '{named}' is the whole home directory of the account on the other machine: \
             what the source does not have is deleted there; name a directory in it"
        )
    }))
}

/// The name of the module of a daemon, empty if there is none.
fn module(target: &[u8]) -> &[u8] {
    const URL: usize = b"rsync://".len();
    let is_url = target.get(..URL).is_some_and(|start| start.eq_ignore_ascii_case(b"rsync://"));
    let rest = if is_url {
        let host_and_rest = target.get(URL..).unwrap_or_default();
        let slash = host_and_rest.iter().position(|&byte| byte == b'/');
        host_and_rest.get(slash.unwrap_or(host_and_rest.len())..).unwrap_or_default()
    } else {
        let colons = target.windows(2).position(|pair| pair == b"::");
        colons.and_then(|at| target.get(at + 2..)).unwrap_or_default()
    };
    let mut names = rest.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.next().unwrap_or_default()
}

/// Returns true if a path leads nowhere below where it starts, as far as its spelling tells: `/.`,
/// `/etc/..`, `~`, `./`, `../x/..`.
fn is_top(path: &[u8]) -> bool {
    let mut depth = 0_usize;
    for (at, name) in path.split(|&byte| byte == b'/').enumerate() {
        match name {
            b"" | b"." => {}
            b".." => depth = depth.saturating_sub(1),
            // A home, also of somebody else.
            [b'~', ..] if at == 0 => {}
            _ => depth += 1,
        }
    }
    depth == 0
}

fn refuse_conflict(
    source: &Path,
    target: &OsStr,
    path: &Path,
    filters: &[&Filter],
) -> Result<(), String> {
    let found = place::conflict(source, path);
    let (source_text, target) =
        (Escaped(source.as_os_str().as_bytes()), Escaped(target.as_bytes()));
    let found = found.map_err(|error| format!("cannot look up the target '{target}': {error}"))?;
    let why: &dyn fmt::Display = match found {
        None => return Ok(()),
        Some(Conflict::InSource) if is_left_out(source, path, filters) => return Ok(()),
        Some(Conflict::IsRoot) => &"is the root directory of this machine: all of it would go",
        Some(Conflict::IsSource) => {
            &format_args!("is the same directory as its source '{source_text}'")
        }
        Some(Conflict::InSource) => &format_args!(
            "lies inside its source '{source_text}', and no exclude leaves it out: it would have \
             to hold itself"
        ),
        Some(Conflict::HoldsSource) => &format_args!("holds its source '{source_text}'"),
    };
    Err(format!("the target '{target}' {why}"))
}

/// Returns true if one of the filters leaves out a target in its own source, or all that is in it.
fn is_left_out(source: &Path, target: &Path, filters: &[&Filter]) -> bool {
    let Ok(resolved) = place::resolve(target) else { return false };
    let below = resolved.strip_prefix(source).ok();
    let Some(below) = below.and_then(|below| TreePath::new(below.as_os_str().as_bytes())) else {
        return false;
    };
    // A name that nobody includes.
    let inside = below.join(b"\x01");
    let excludes_content = |filter: &Filter| {
        inside.as_ref().is_some_and(|inside| {
            let kinds = [EntryKind::Directory, EntryKind::Other];
            kinds.into_iter().all(|kind| filter.excludes(inside, kind))
        })
    };
    filters.iter().any(|filter| filter.prunes(&below) || excludes_content(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Base<'static> {
        Base { mode: Mode::Daemon, here: Path::new("/") }
    }

    fn check(source: &str, target: &str) -> Result<Option<String>, String> {
        check_target(Kind::Rsync, source.as_ref(), target.as_ref(), &[], here())
    }

    #[test]
    fn the_root_of_another_machine_is_refused_however_it_is_spelled() {
        for target in [
            "host:/",
            "host:///",
            "host://",
            "host:/.",
            "host:/./.",
            "host:/etc/..",
            "host:/../",
            "me@host:/a/../b/..",
            "[::1]:/",
        ] {
            let why = check("/srv", target).unwrap_err();
            assert!(why.contains("is the root directory of the other machine"), "{target}: {why}");
            assert_eq!(check("/", target), Ok(None), "{target}");
        }
        for target in ["host:/etc", "host:/../srv", "host:/etc/../srv/.", "host:srv", "host::m"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn the_home_of_another_machine_is_told() {
        for target in
            ["host:", "host:~", "host:~/", "host:.", "host:./", "host:~ann", "host:a/..", "host:.."]
        {
            let told = check("/srv", target).unwrap().unwrap_or_default();
            assert!(told.contains("is the whole home directory"), "{target}: {told}");
        }
        for target in ["host:~/a", "host:a", "host:~ann/a", "host:./a"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn a_daemon_has_a_module() {
        for target in ["rsync://host/", "rsync://host", "RSYNC://host:873//", "host::", "host::/"] {
            let why = check("/srv", target).unwrap_err();
            assert!(why.contains("names no module"), "{target}: {why}");
        }
        for target in ["rsync://host/m", "rsync://me@host:873/m/", "host::m/", "host::m/x"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn a_target_in_its_source_needs_a_rule_that_leaves_it_out() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().canonicalize().unwrap();
        let target = source.join("mnt/backup");
        std::fs::create_dir_all(&target).unwrap();
        for (rules, is_allowed) in [
            (&["- /mnt"][..], true),
            (&["- /mnt/backup/"], true),
            (&["- /mnt/backup/**"], true),
            (&["- /mnt/*"], true),
            (&["- backup"], true),
            (&["- /**"], true),
            (&["+ /mnt/", "+ /etc/***", "- *"], true),
            (&["- /etc"], false),
            (&["- /mnt/backup/x"], false),
            (&["+ /mnt/***", "- /*"], false),
            (&[], false),
        ] {
            let mut builder = Filter::builder();
            for rule in rules {
                builder.rule(rule.as_bytes(), &mut |_| Err(String::new())).unwrap();
            }
            let filter = builder.build();
            let checked =
                check_target(Kind::Direct, &source, target.as_os_str(), &[&filter], here());
            assert_eq!(checked.is_ok(), is_allowed, "{rules:?}: {checked:?}");
        }
    }
}
