//! Validation of targets.

use std::{ffi::OsStr, fmt, io, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use mirror_core::{
    filter::Filter,
    fs_event::EntryKind,
    path::{Escaped, TreePath},
    plan::target::{Target, TargetPath, strip_url},
};
use mirror_platform::answers::within_limit;

use super::{
    SyncKind,
    target_path::{self, TargetConflict},
};
use crate::report::RunMode;

/// Context for relative targets.
#[derive(Clone, Copy, Debug)]
pub struct TargetBase<'a> {
    /// Mode of the process: a daemon works in `/`.
    pub mode: RunMode,
    /// Directory in which the process was started.
    pub start_dir: &'a Path,
}

/// Result of the validation of a target that is not refused.
#[derive(Debug, Default)]
pub struct TargetCheck {
    /// Warning about a doubtful target.
    pub warning: Option<String>,
    /// The value of [`SyncConfig::unchecked_target`](super::SyncConfig).
    pub unchecked: Option<Vec<Arc<Filter>>>,
}

impl TargetCheck {
    fn with_warning(warning: Option<String>) -> Self {
        Self { warning, unchecked: None }
    }
}

/// Refuses dangerous targets, and returns a warning for doubtful ones. A target in its own source
/// is allowed if one of the filters excludes it.
///
/// # Errors
///
/// The reason why the target is refused.
pub fn check_target(
    kind: SyncKind,
    source: &Path,
    target: &OsStr,
    filters: &[Arc<Filter>],
    base: TargetBase<'_>,
) -> Result<TargetCheck, String> {
    // Only the script knows the meaning of its target.
    if kind == SyncKind::Script {
        return Ok(TargetCheck::default());
    }
    if target.is_empty() {
        let source = Escaped(source.as_os_str().as_bytes());
        return Err(format!("the target for the source '{source}' is empty"));
    }
    let named = Escaped(target.as_bytes());
    if target_path::is_remote(target) {
        return match kind {
            SyncKind::Rsync | SyncKind::Rsyncssh | SyncKind::Script => {
                check_remote(source, target).map(TargetCheck::with_warning)
            }
            SyncKind::Direct => Err(format!(
                "the target '{named}' is remote: direct requires a local directory; use rsync, or \
                 write './{named}' for a directory of that name"
            )),
        };
    }
    let top = match base.mode {
        RunMode::Daemon => Path::new("/"),
        RunMode::Foreground => base.start_dir,
    };
    let (path, from) = (top.join(target), source.to_owned());
    let Some(found) = within_limit(&path, move |path| target_path::conflict(&from, path)) else {
        let warning = format!(
            "the target '{named}' or its source does not answer: it is validated before its first \
             transfer"
        );
        return Ok(TargetCheck { warning: Some(warning), unchecked: Some(filters.to_vec()) });
    };
    refuse_found(found, source, target, &path, filters)?;
    let is_doubtful = base.mode == RunMode::Daemon && !target.as_bytes().starts_with(b"/");
    Ok(TargetCheck::with_warning(is_doubtful.then(|| {
        format!("the target '{named}' is relative: a daemon runs in /, so it means '/{named}'")
    })))
}

/// Refuses a local target at `path` that is in conflict with its source. Waits as long as its file
/// system does not answer.
///
/// # Errors
///
/// The reason why it is refused.
pub fn refuse_conflict(
    source: &Path,
    target: &OsStr,
    path: &Path,
    filters: &[Arc<Filter>],
) -> Result<(), String> {
    refuse_found(target_path::conflict(source, path), source, target, path, filters)
}

/// Checks a remote target: the root directory is refused, a whole home causes a warning.
fn check_remote(source: &Path, target: &OsStr) -> Result<Option<String>, String> {
    let named = Escaped(target.as_bytes());
    let Ok(parsed) = Target::new(target.as_bytes()) else { return Ok(None) };
    if parsed.is_module() {
        return if module(parsed.as_arg()).is_empty() {
            Err(format!(
                "the target '{named}' lacks the module of an rsync daemon: write \
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
            "the target '{named}' is the root directory of the remote host, which would be erased"
        ));
    }
    Ok((!is_absolute && is_top).then(|| {
        format!(
            "the target '{named}' is the home directory on the remote host: everything that the \
             source does not have is deleted there; name a directory in it"
        )
    }))
}

/// Returns the module name of an rsync daemon's target, empty if there is none.
fn module(target: &[u8]) -> &[u8] {
    let rest = if let Some(host_and_rest) = strip_url(target) {
        let slash = host_and_rest.iter().position(|&byte| byte == b'/');
        host_and_rest.get(slash.unwrap_or(host_and_rest.len())..).unwrap_or_default()
    } else {
        let colons = target.windows(2).position(|pair| pair == b"::");
        colons.and_then(|at| target.get(at + 2..)).unwrap_or_default()
    };
    let mut names = rest.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.next().unwrap_or_default()
}

/// Returns true if a path leads nowhere below its start, as far as its spelling shows: `/.`,
/// `/etc/..`, `~`, `./`, `../x/..`.
fn is_top(path: &[u8]) -> bool {
    let mut depth = 0_usize;
    for (at, name) in path.split(|&byte| byte == b'/').enumerate() {
        match name {
            b"" | b"." => {}
            b".." => depth = depth.saturating_sub(1),
            // A home, possibly of another user.
            [b'~', ..] if at == 0 => {}
            _ => depth += 1,
        }
    }
    depth == 0
}

fn refuse_found(
    found: io::Result<Option<TargetConflict>>,
    source: &Path,
    target: &OsStr,
    path: &Path,
    filters: &[Arc<Filter>],
) -> Result<(), String> {
    let (source_text, target) =
        (Escaped(source.as_os_str().as_bytes()), Escaped(target.as_bytes()));
    let found = found.map_err(|error| format!("cannot resolve the target '{target}': {error}"))?;
    let why: &dyn fmt::Display = match found {
        None => return Ok(()),
        Some(TargetConflict::InSource) if is_left_out(source, path, filters) => return Ok(()),
        Some(TargetConflict::IsRoot) => {
            &"is the root directory of this machine, which would be erased"
        }
        Some(TargetConflict::IsSource) => {
            &format_args!("is the same directory as its source '{source_text}'")
        }
        Some(TargetConflict::InSource) => &format_args!(
            "is inside its source '{source_text}' and not excluded: it would be copied into itself"
        ),
        Some(TargetConflict::HoldsSource) => &format_args!("contains its source '{source_text}'"),
    };
    Err(format!("the target '{target}' {why}"))
}

/// Returns true if one of the filters excludes a target in its own source, or all of its content.
fn is_left_out(source: &Path, target: &Path, filters: &[Arc<Filter>]) -> bool {
    let Ok(resolved) = target_path::resolve(target) else { return false };
    let below = resolved.strip_prefix(source).ok();
    let Some(below) = below.and_then(|below| TreePath::new(below.as_os_str().as_bytes())) else {
        return false;
    };
    // A name that no include pattern matches.
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

    fn daemon_base() -> TargetBase<'static> {
        TargetBase { mode: RunMode::Daemon, start_dir: Path::new("/") }
    }

    fn check(source: &str, target: &str) -> Result<Option<String>, String> {
        let (source, target) = (source.as_ref(), target.as_ref());
        check_target(SyncKind::Rsync, source, target, &[], daemon_base()).map(|it| it.warning)
    }

    #[test]
    fn remote_root_is_refused() {
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
            assert!(why.contains("is the root directory of the remote host"), "{target}: {why}");
            assert_eq!(check("/", target), Ok(None), "{target}");
        }
        for target in ["host:/etc", "host:/../srv", "host:/etc/../srv/.", "host:srv", "host::m"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn remote_home_causes_a_warning() {
        for target in
            ["host:", "host:~", "host:~/", "host:.", "host:./", "host:~ann", "host:a/..", "host:.."]
        {
            let warning = check("/srv", target).unwrap().unwrap_or_default();
            assert!(warning.contains("is the home directory"), "{target}: {warning}");
        }
        for target in ["host:~/a", "host:a", "host:~ann/a", "host:./a"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn daemon_target_needs_a_module() {
        for target in ["rsync://host/", "rsync://host", "RSYNC://host:873//", "host::", "host::/"] {
            let why = check("/srv", target).unwrap_err();
            assert!(why.contains("lacks the module"), "{target}: {why}");
        }
        for target in ["rsync://host/m", "rsync://me@host:873/m/", "host::m/", "host::m/x"] {
            assert_eq!(check("/srv", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn target_in_source_must_be_excluded() {
        let temp_dir = tempfile::tempdir().unwrap();
        let source = temp_dir.path().canonicalize().unwrap();
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
            let checked = check_target(
                SyncKind::Direct,
                &source,
                target.as_os_str(),
                &[Arc::new(filter)],
                daemon_base(),
            );
            assert_eq!(checked.is_ok(), is_allowed, "{rules:?}: {checked:?}");
        }
    }
}
