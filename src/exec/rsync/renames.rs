//! Renames at the target, made by a shell there. Renames are hints: rsync compares both names
//! afterwards like any other path.

use std::{collections::BTreeSet, io, iter, sync::Arc};

use mirror_core::{
    job::{DirtyPath, Failure, FatalReason, Outcome, Rename, Scope},
    path::{Escaped, TreePath},
    plan::{
        exit::{ExitClass, ExitCodes},
        renames::coalesce_renames,
    },
};
use mirror_platform::dir::Dir;

use super::transfer_log::max_logged_names;
use crate::{
    exec::{
        inode::EntryType,
        lookup::{entry_type_at, stat_at},
        process::cancel::CancelToken,
        ssh::{RemoteRename, RemoteRenameKind, RenameResult, SshShell, UnsettledRenames},
    },
    report::{Category, Log},
};

/// Makes renames at a remote target.
#[derive(Debug)]
pub(crate) struct ShellRenames {
    /// The shell that makes them.
    pub shell: Arc<SshShell>,
    /// The target on that machine. A relative path counts from the shell's initial directory.
    pub directory: Vec<u8>,
    /// The user's meaning of ssh's exit codes. A failed rename becomes a transfer, so only the
    /// codes that end the daemon apply.
    pub codes: ExitCodes,
}

impl ShellRenames {
    /// Ensures that no rename of an earlier job can still be carried out.
    pub(super) fn settle(&self, cancel: &CancelToken) -> Result<(), Outcome> {
        self.shell.settle(cancel).map_err(retry_later)
    }

    /// Makes the renames that still apply: the old name is missing in the source, and the new one
    /// exists. Returns the paths to compare because of them, and the new names on the target.
    pub(super) fn apply(
        &self,
        root: &Dir,
        renames: &[Rename],
        log: &Log,
        cancel: &CancelToken,
    ) -> Result<(Vec<DirtyPath>, Vec<TreePath>), Outcome> {
        let hints = coalesce_renames(renames);
        let mut renames = feasible_renames(&hints, |path| entry_type_at(root, path));
        renames.retain(|rename| !may_expose(root, rename));
        if renames.is_empty() {
            return Ok(Default::default());
        }
        let Some(done) =
            self.shell.rename(&self.directory, &renames, cancel).map_err(retry_later)?
        else {
            let why = || "no shell for a rename".into();
            return self
                .shell
                .exit_code()
                .and_then(|code| self.fatal_outcome(code, why))
                .map_or(Ok(Default::default()), Err);
        };
        log_renames(log, renames.iter().zip(&done));
        let paths = renames
            .iter()
            .zip(&done)
            .filter_map(|(rename, done)| created_dir(rename, *done))
            .collect();
        let made = renames.iter().zip(&done).filter(|(_, done)| done.renamed);
        let names = made.flat_map(|(rename, _)| match rename.kind {
            RemoteRenameKind::Swap => vec![&rename.from, &rename.to],
            RemoteRenameKind::Directory | RemoteRenameKind::Other => vec![&rename.to],
        });
        Ok((paths, names.filter_map(|name| TreePath::new(name)).collect()))
    }

    /// Returns the outcome of an exit code of ssh that the user made fatal.
    pub(super) fn fatal_outcome(&self, code: i32, why: impl FnOnce() -> String) -> Option<Outcome> {
        let reason = FatalReason::User;
        let is_fatal = self.codes.class(code) == ExitClass::Fatal(reason);
        is_fatal.then(|| Outcome::Fatal(Failure { code: Some(code), message: why() }, reason))
    }
}

fn retry_later(UnsettledRenames(why): UnsettledRenames) -> Outcome {
    Outcome::Retry(Failure::new(why))
}

/// Returns the renames that agree with the source.
///
/// A symbolic link is recreated: it must not be transferred before its destination, and creating it
/// is as fast as renaming it.
fn feasible_renames(
    hints: &[Rename],
    entry_type_at: impl Fn(&TreePath) -> io::Result<Option<EntryType>>,
) -> Vec<RemoteRename> {
    let all: BTreeSet<(&TreePath, &TreePath)> = hints.iter().map(|it| (&it.from, &it.to)).collect();
    let to_remote = |Rename { from, to }: &Rename| {
        let is = entry_type_at(to).ok()??;
        let kind = match (entry_type_at(from).ok()?, is) {
            (_, EntryType::Symlink) | (Some(EntryType::Symlink), _) => return None,
            (None, EntryType::Directory) => RemoteRenameKind::Directory,
            (None, EntryType::File | EntryType::Other) => RemoteRenameKind::Other,
            // Both hints form one exchange.
            (Some(_), _) if from < to && all.contains(&(to, from)) => RemoteRenameKind::Swap,
            (Some(_), _) => return None,
        };
        Some(RemoteRename { kind, from: from.as_bytes().to_vec(), to: to.as_bytes().to_vec() })
    };
    hints.iter().filter_map(to_remote).collect()
}

/// Returns true if a rename could move a private entry to where others reach it, before rsync has
/// made it private on the target as well. Such an entry is sent again.
fn may_expose(root: &Dir, RemoteRename { kind, from, to }: &RemoteRename) -> bool {
    let mode = |path: &TreePath| stat_at(root, path).ok().flatten().map_or(0, |stat| stat.mode);
    let is_private = |path: &TreePath| {
        let open = if *kind == RemoteRenameKind::Directory { 0o055 } else { 0o044 };
        mode(path) & open != open
    };
    let reach = |path: &TreePath| {
        let above = iter::successors(path.parent(), TreePath::parent);
        above.fold(0o011, |reach, directory| reach & mode(&directory))
    };
    let [Some(from), Some(to)] = [from, to].map(|path| TreePath::new(path)) else { return true };
    let is_exposed = |from, to| is_private(to) && reach(to) & !reach(from) != 0;
    is_exposed(&from, &to) || *kind == RemoteRenameKind::Swap && is_exposed(&to, &from)
}

/// Returns the first directory that was created for a rename, as a tree to transfer.
fn created_dir(rename: &RemoteRename, done: RenameResult) -> Option<DirtyPath> {
    let mut path = TreePath::root();
    for name in rename.to.split(|&byte| byte == b'/').take(done.created_depth?) {
        path.push(name)?;
    }
    Some(DirtyPath { path, scope: Scope::Tree })
}

fn log_renames<'a>(log: &Log, renames: impl Iterator<Item = (&'a RemoteRename, &'a RenameResult)>) {
    if !log.wants(Category::Normal) {
        return;
    }
    let (mut more, most) = (0_usize, max_logged_names(log));
    for (number, (rename, _)) in renames.filter(|(_, done)| done.renamed).enumerate() {
        if number < most {
            let (from, to) = (Escaped(&rename.from), Escaped(&rename.to));
            log.say(Category::Normal, format_args!("Moving {from} -> {to}"));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        log.say(Category::Normal, format_args!("... and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::{
        RemoteRenameKind::{Directory, Other, Swap},
        *,
    };

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_is_repeated_if_the_source_agrees() {
        // The source has the directories `d` and `e`, the files `f` and `g` and the link `l`.
        let entry_type_at = |path: &TreePath| match path.as_bytes() {
            b"d" | b"e" => Ok(Some(EntryType::Directory)),
            b"f" | b"g" => Ok(Some(EntryType::File)),
            b"l" => Ok(Some(EntryType::Symlink)),
            b"unreadable" => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            _ => Ok(None),
        };
        for (hints, expected) in [
            ("x>d x>f", "Directory x>d, Other x>f"),
            ("x>y f>y", ""),
            ("f>g d>f", ""),
            ("g>f f>g d>e e>d", "Swap f>g, Swap d>e"),
            ("unreadable>f x>unreadable", ""),
            ("x>l f>l l>f", ""),
        ] {
            let hints: Vec<Rename> = hints
                .split(' ')
                .map(|hint| hint.split_once('>').unwrap())
                .map(|(from, to)| Rename { from: path(from), to: path(to) })
                .collect();
            let text = |rename: &RemoteRename| {
                let [from, to] =
                    [&rename.from, &rename.to].map(|path| String::from_utf8_lossy(path));
                format!("{:?} {from}>{to}", rename.kind)
            };
            let renames: Vec<String> =
                feasible_renames(&hints, entry_type_at).iter().map(text).collect();
            assert_eq!(renames.join(", "), expected);
        }
    }

    #[test]
    fn a_private_entry_is_not_renamed_out_of_a_private_directory() {
        let place = tempfile::tempdir().unwrap();
        for (name, mode) in [
            ("private", 0o700),
            ("group", 0o750),
            ("open", 0o755),
            ("open/within", 0o700),
            ("open/d", 0o700),
            ("open/e", 0o755),
        ] {
            fs::create_dir(place.path().join(name)).unwrap();
            fs::set_permissions(place.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        for (name, mode) in [("open/f", 0o600), ("open/g", 0o644), ("private/f", 0o600)] {
            fs::write(place.path().join(name), "").unwrap();
            fs::set_permissions(place.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        let top = fs::metadata(place.path()).unwrap().permissions().mode();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755 | top)).unwrap();
        let root = Dir::open(place.path()).unwrap();
        for (kind, from, to, expected) in [
            (Other, "private/f", "open/f", true),
            (Other, "group/f", "open/f", true),
            (Other, "gone/f", "open/f", true),
            (Other, "open/within/f", "open/f", true),
            (Other, "private/g", "open/g", false),
            (Other, "open/old", "open/f", false),
            (Other, "open/f", "private/f", false),
            (Directory, "private/d", "open/d", true),
            (Directory, "private/e", "open/e", false),
            (Swap, "open/g", "private/f", false),
            (Swap, "private/f", "open/f", true),
            (Swap, "open/f", "private/f", true),
        ] {
            let [from, to] = [from, to].map(|path| path.as_bytes().to_vec());
            let rename = RemoteRename { kind, from, to };
            assert_eq!(may_expose(&root, &rename), expected, "{rename:?}");
        }
    }

    #[test]
    fn a_directory_created_for_a_rename_is_compared_as_a_tree() {
        let rename = RemoteRename {
            kind: RemoteRenameKind::Other,
            from: b"x".to_vec(),
            to: b"a/b/c".to_vec(),
        };
        let created =
            |depth| created_dir(&rename, RenameResult { renamed: true, created_depth: depth });
        assert_eq!(created(None), None);
        assert_eq!(created(Some(2)), Some(DirtyPath { path: path("a/b"), scope: Scope::Tree }));
    }
}
