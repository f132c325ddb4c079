//! Lints for rsync options.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mirror_core::{
    fs_event::EntryKind,
    path::{Escaped, TreePath},
    plan::{
        args::{RsyncArg, RsyncArgParser, parse_size},
        options::DeletePolicy,
    },
};

use super::shown;
use crate::config::{SyncConfig, SyncKind};

/// Limits of the search for a symbolic link that is copied as what it refers to: entries read, and
/// time.
const MAX_ENTRIES: usize = 20_000;
const MAX_TIME: Duration = Duration::from_millis(200);

/// Returns the warnings about the options of a sync that runs rsync.
pub(super) fn warnings(sync: &SyncConfig) -> Vec<String> {
    if !matches!(sync.kind, SyncKind::Rsync | SyncKind::Rsyncssh) {
        return Vec::new();
    }
    let short = sync.rsync.short_argument();
    let [table, extra] = sync.rsync.argument_lists(&short);
    let mut found: Vec<String> = RsyncArgParser::new(&table)
        .filter(|_| sync.script.is_none())
        .filter_map(|arg| table_warning(sync, arg))
        .collect();
    found.extend(RsyncArgParser::new(&extra).filter_map(|arg| extra_warning(sync, arg)));
    found.into_iter().map(|text| format!("{}: {text}", sync.name)).collect()
}

fn table_warning(sync: &SyncConfig, arg: RsyncArg<'_>) -> Option<String> {
    let RsyncArg::Option { name, value, .. } = arg else { return None };
    let named = format!("rsync.{}", Escaped(name).to_string().replace('-', "_"));
    option_warning(sync, name, &named).or_else(|| value_warning(name, value, &named))
}

fn extra_warning(sync: &SyncConfig, arg: RsyncArg<'_>) -> Option<String> {
    match arg {
        RsyncArg::Operand(arg) => Some(format!(
            "\"{}\" in rsync._extra is not an option: rsync reads it as another source, and may \
             write to another target",
            Escaped(arg)
        )),
        RsyncArg::Option { name, arg, .. } if name.contains(&b' ') => Some(format!(
            "\"{}\" in rsync._extra is a single argument with a blank in it: write a string for \
             each argument, or --NAME=VALUE",
            Escaped(arg)
        )),
        RsyncArg::Option { name, arg, value } => {
            let named = format!("\"{}\" in rsync._extra", Escaped(arg));
            option_warning(sync, name, &named).or_else(|| value_warning(name, value, &named))
        }
    }
}

/// Warns of a value that makes rsync exit at once.
fn value_warning(name: &[u8], value: Option<&[u8]>, named: &str) -> Option<String> {
    let value = value.filter(|value| !value.is_empty())?;
    let is_number = match name {
        // The syntax of `strtol(3)`.
        b"timeout" | b"contimeout" => {
            let digits = value.strip_prefix(b"+").unwrap_or(value);
            digits.starts_with(b"0x") || digits.iter().all(u8::is_ascii_digit)
        }
        b"bwlimit" => parse_size(value, b'k').is_some(),
        b"max-size" | b"min-size" => parse_size(value, b'b').is_some(),
        _ => true,
    };
    (!is_number).then(|| {
        let value = Escaped(value);
        format!("{named}: rsync requires a number, not \"{value}\", and would exit at once")
    })
}

/// Warns of the option `name`, which messages call `named`.
fn option_warning(sync: &SyncConfig, name: &[u8], named: &str) -> Option<String> {
    let why = match name {
        b"append" | b"append-verify" => {
            "a file that is truncated or replaced, such as a rotated log, is never transferred \
             correctly"
                .into()
        }
        b"copy-links" => return link_warning(sync, named, |_| true),
        b"copy-dirlinks" => return link_warning(sync, named, Path::is_dir),
        b"copy-unsafe-links" => {
            return link_warning(sync, named, |link| is_outside(link, &sync.source));
        }
        b"inplace" if sync.rsync.keeps_hard_links() => {
            "with hard_links, a file of the target that is no hard link of another one any more is \
             written through it, and both get its content"
                .into()
        }
        b"relative" => "the full path of the source is created in the target, and deletions are \
                        made under another path"
            .into(),
        b"dry-run" | b"list-only" | b"only-write-batch" | b"help" | b"version" => {
            "nothing is transferred".into()
        }
        b"read-batch" => "the batch file is transferred, and nothing of the source".into(),
        b"no-recursive" | b"old-dirs" | b"old-d" => {
            "the content of directories is not transferred".into()
        }
        b"size-only" => {
            "a full transfer, such as at the start, leaves out a changed file of equal size".into()
        }
        b"files-from" => "it replaces the list of the paths of a batch".into(),
        _ if is_deletion(name) && sync.delete == DeletePolicy::Never => {
            "it deletes although delete is false".into()
        }
        _ => return None,
    };
    let why: String = why;
    Some(format!("{named}: {why}"))
}

fn is_deletion(name: &[u8]) -> bool {
    name == b"delete" || name.starts_with(b"delete-")
}

/// Warns of a link that is copied as what it refers to: changes there are seen under their own name
/// only, if at all.
fn link_warning(
    sync: &SyncConfig,
    named: &str,
    is_copied: impl Fn(&Path) -> bool,
) -> Option<String> {
    let link = find_link(sync, is_copied)?;
    Some(format!(
        "{named}: changes behind the link {} are transferred under its name by the next full \
         transfer only: set crontab for regular ones",
        shown(&link)
    ))
}

/// Returns a link of the source that refers to something and that fulfils a condition.
fn find_link(sync: &SyncConfig, is_copied: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let end = Instant::now() + MAX_TIME;
    let mut left = MAX_ENTRIES;
    let mut waiting = vec![TreePath::root()];
    while let Some(directory) = waiting.pop() {
        let path = sync.source.join(std::ffi::OsStr::from_bytes(directory.as_bytes()));
        let Ok(listing) = fs::read_dir(&path) else { continue };
        for entry in listing.flatten() {
            left = left.checked_sub(1).filter(|_| Instant::now() < end)?;
            let Ok(kind) = entry.file_type() else { continue };
            let Some(below) = directory.join(entry.file_name().as_bytes()) else { continue };
            if kind.is_symlink() {
                let path = entry.path();
                let is_excluded = sync.filter.excludes(&below, EntryKind::Other);
                if !is_excluded && path.exists() && is_copied(&path) {
                    return Some(path);
                }
            } else if kind.is_dir() && !sync.filter.prunes(&below) {
                waiting.push(below);
            }
        }
    }
    None
}

fn is_outside(link: &Path, source: &Path) -> bool {
    fs::canonicalize(link).is_ok_and(|path| !path.starts_with(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::lints::tests::sync;

    fn found(extra: &[&str], change: impl FnOnce(&mut SyncConfig)) -> Vec<String> {
        let mut sync = sync(1, Path::new("/nonexistent/a"), "/t/");
        sync.rsync.extra = extra.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        change(&mut sync);
        warnings(&sync)
    }

    #[test]
    fn options_that_break_a_mirror_cause_warnings() {
        for arg in [
            "-R",
            "-avR",
            "--relative",
            "-n",
            "--dry-run",
            "--append",
            "--files-from=x",
            "--only-write-batch=x",
            "--read-batch=x",
            "--help",
            "--version",
            "--old-d",
            "--size-only",
        ] {
            let found = found(&[arg], |_| ());
            let start = format!("Sync1: \"{arg}\" in rsync._extra: ");
            assert!(found.len() == 1 && found[0].starts_with(&start), "{arg}: {found:?}");
        }
        let table_warning = found(&[], |sync| {
            sync.rsync.short.push(b'n');
            sync.rsync.long.push(b"--append-verify".to_vec());
        });
        assert_eq!(table_warning[0], "Sync1: rsync.dry_run: nothing is transferred");
        assert!(
            table_warning[1].starts_with("Sync1: rsync.append_verify: a file that is truncated")
        );
        let keeps = |sync: &mut SyncConfig| sync.delete = DeletePolicy::Never;
        assert_eq!(
            found(&["--delete-after"], keeps),
            ["Sync1: \"--delete-after\" in rsync._extra: it deletes although delete is false"]
        );
    }

    #[test]
    fn non_numeric_values_cause_warnings() {
        let table_warning =
            found(&["--max-size", "big", "--bwlimit=1.5m", "--contimeout=5"], |sync| {
                sync.rsync.long = ["--timeout=5s", "--bwlimit=quick", "--min-size=3"]
                    .map(|arg| arg.as_bytes().to_vec())
                    .to_vec();
            });
        let starts = ["rsync.timeout: ", "rsync.bwlimit: ", "\"--max-size\" in rsync._extra: "];
        assert_eq!(table_warning.len(), starts.len(), "{table_warning:?}");
        for (found, start) in table_warning.iter().zip(starts) {
            assert!(
                found.starts_with(&format!("Sync1: {start}rsync requires a number")),
                "{found}"
            );
        }
    }

    #[test]
    fn joined_arguments_cause_warnings() {
        for arg in ["--exclude *.tmp", "-a -v", "--bwlimit 100"] {
            let found = found(&[arg], |_| ());
            assert!(
                found.iter().any(|text| text.contains("a single argument with a blank")),
                "{arg}"
            );
        }
        assert!(found(&["*.tmp"], |_| ())[0].contains("is not an option"));
    }

    #[test]
    fn correct_options_cause_no_warning() {
        let args = ["--exclude=a b", "--filter", "- *.tmp", "-f- x", "-e", "ssh -p 1", "--delete"];
        assert_eq!(found(&args, |_| ()), [""; 0]);
        assert_eq!(found(&["-n"], |sync| sync.kind = SyncKind::Direct), [""; 0]);
    }

    #[test]
    fn links_that_are_followed_cause_a_warning() {
        let temp_dir = tempfile::tempdir().unwrap();
        let top = temp_dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("src/in")).unwrap();
        fs::write(top.join("src/in/file"), "").unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, top.join("src").join(name)).unwrap();
        };
        let found_with = |letters: &[u8], long: &[&str]| {
            let texts = found(long, |sync| {
                sync.source = top.join("src");
                sync.rsync.short.extend_from_slice(letters);
            });
            let name = |text: &String| {
                let (_, rest) = text.split_once("/src/").unwrap();
                rest.split_once(" are").unwrap().0.to_owned()
            };
            texts.iter().map(name).collect::<Vec<_>>()
        };
        link("nowhere", "dangling");
        assert_eq!(found_with(b"L", &["-k"]), [""; 0]);
        link("in/file", "inner");
        assert_eq!(found_with(b"L", &[]), ["inner"]);
        assert_eq!(found_with(b"", &["--copy-unsafe-links", "-k"]), [""; 0]);
        link("..", "in/parent");
        assert_eq!(found_with(b"k", &["--copy-unsafe-links"]), ["in/parent"]);
        link("../..", "in/outer");
        assert_eq!(found_with(b"", &["--copy-unsafe-links"]), ["in/outer"]);
    }

    #[test]
    fn inplace_with_hard_links_causes_a_warning() {
        let text = found(&["--inplace"], |sync| sync.rsync.short.push(b'H'));
        assert!(text.len() == 1 && text[0].contains("with hard_links, "), "{text:?}");
        assert_eq!(found(&["--inplace"], |_| ()), [""; 0]);
    }
}
