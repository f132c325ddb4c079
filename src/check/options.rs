//! What looks wrong about the options of rsync.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mirror_core::{
    path::{Escaped, TreePath},
    plan::{
        args::{Arg, Args, size},
        options::DeletePolicy,
    },
};

use super::shown;
use crate::config::{Kind, Sync};

/// How many entries of a source, and for how long, a link is searched that leads out of it.
const MOST_ENTRIES: usize = 20_000;
const MOST_TIME: Duration = Duration::from_millis(200);

/// All that looks wrong about the options of a sync that calls rsync.
pub(super) fn odd(sync: &Sync) -> Vec<String> {
    if !matches!(sync.kind, Kind::Rsync | Kind::Rsyncssh) {
        return Vec::new();
    }
    let short = [b"-", &*sync.rsync.short].concat();
    let table: Vec<&[u8]> =
        std::iter::once(&*short).chain(sync.rsync.long.iter().map(Vec::as_slice)).collect();
    let extra: Vec<&[u8]> = sync.rsync.extra.iter().map(Vec::as_slice).collect();
    let mut found: Vec<String> = Args::new(&table)
        .filter(|_| sync.script.is_none())
        .filter_map(|arg| of_table(sync, arg))
        .collect();
    found.extend(Args::new(&extra).filter_map(|arg| of_words(sync, arg)));
    found.into_iter().map(|text| format!("{}: {text}", sync.name)).collect()
}

fn of_table(sync: &Sync, arg: Arg<'_>) -> Option<String> {
    let Arg::Option { name, value, .. } = arg else { return None };
    let named = format!("rsync.{}", Escaped(name).to_string().replace('-', "_"));
    of_option(sync, name, &named).or_else(|| of_value(name, value, &named))
}

fn of_words(sync: &Sync, arg: Arg<'_>) -> Option<String> {
    match arg {
        Arg::Operand(word) => Some(format!(
            "\"{}\" in rsync._extra is no option: to rsync it is one more source, and the target may \
             become another",
            Escaped(word)
        )),
        Arg::Option { name, word, .. } if name.contains(&b' ') => Some(format!(
            "\"{}\" in rsync._extra is one word with a blank in it: write each word as a text of its \
             own, or --NAME=VALUE",
            Escaped(word)
        )),
        Arg::Option { name, word, value } => {
            let named = format!("\"{}\" in rsync._extra", Escaped(word));
            of_option(sync, name, &named).or_else(|| of_value(name, value, &named))
        }
    }
}

/// What is to be said of a value with which rsync ends at once.
fn of_value(name: &[u8], value: Option<&[u8]>, named: &str) -> Option<String> {
    let value = value.filter(|value| !value.is_empty())?;
    let is_number = match name {
        // As `strtol(3)` reads it.
        b"timeout" | b"contimeout" => {
            let digits = value.strip_prefix(b"+").unwrap_or(value);
            digits.starts_with(b"0x") || digits.iter().all(u8::is_ascii_digit)
        }
        b"bwlimit" => size(value, b'k').is_some(),
        b"max-size" | b"min-size" => size(value, b'b').is_some(),
        _ => true,
    };
    (!is_number).then(|| {
        let value = Escaped(value);
        format!("{named}: rsync takes a number there, and not \"{value}\": it would end at once")
    })
}

/// What is to be said of the option of this name, which is written as `named`.
fn of_option(sync: &Sync, name: &[u8], named: &str) -> Option<String> {
    let why = match name {
        b"append" | b"append-verify" => {
            "a file that becomes shorter, or is replaced by another one as logs are when they are \
             rotated, is never transferred right"
                .into()
        }
        b"copy-links" | b"copy-unsafe-links" => return leads_out(sync, named),
        b"relative" => "all of the source's path is made in the target, and what is deleted there \
                        is looked for elsewhere"
            .into(),
        b"dry-run" | b"list-only" => "nothing is transferred".into(),
        b"no-recursive" => "what is in directories is not transferred".into(),
        b"files-from" => "it takes the place of the list by which a batch names its files".into(),
        _ if is_deletion(name) && sync.delete == DeletePolicy::Never => {
            "it deletes, though delete is false".into()
        }
        _ => return None,
    };
    let why: String = why;
    Some(format!("{named}: {why}"))
}

fn is_deletion(name: &[u8]) -> bool {
    name == b"delete" || name.starts_with(b"delete-")
}

/// A link that leads out of the source: what changes there is not seen.
fn leads_out(sync: &Sync, named: &str) -> Option<String> {
    let link = link_that_leads_out(sync)?;
    Some(format!(
        "{named}: the link {} leads out of the source, and what changes there is seen by the next \
         full transfer only",
        shown(&link)
    ))
}

fn link_that_leads_out(sync: &Sync) -> Option<PathBuf> {
    let end = Instant::now() + MOST_TIME;
    let mut left = MOST_ENTRIES;
    let mut waiting = vec![TreePath::root()];
    while let Some(directory) = waiting.pop() {
        let path = sync.source.join(std::ffi::OsStr::from_bytes(directory.as_bytes()));
        let Ok(listing) = fs::read_dir(&path) else { continue };
        for entry in listing.flatten() {
            left = left.checked_sub(1).filter(|_| Instant::now() < end)?;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() && is_outside(&entry.path(), &sync.source) {
                return Some(entry.path());
            }
            let below = directory.join(entry.file_name().as_bytes());
            waiting.extend(below.filter(|path| kind.is_dir() && !sync.filter.prunes(path)));
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
    use crate::check::odd::tests::sync;

    fn told(extra: &[&str], change: impl FnOnce(&mut Sync)) -> Vec<String> {
        let mut sync = sync(1, Path::new("/nonexistent/a"), "/t/");
        sync.rsync.extra = extra.iter().map(|word| word.as_bytes().to_vec()).collect();
        change(&mut sync);
        odd(&sync)
    }

    #[test]
    fn options_that_break_a_mirror_are_told() {
        for word in ["-R", "-avR", "--relative", "-n", "--dry-run", "--append", "--files-from=x"] {
            let told = told(&[word], |_| ());
            let start = format!("Sync1: \"{word}\" in rsync._extra: ");
            assert!(told.len() == 1 && told[0].starts_with(&start), "{word}: {told:?}");
        }
        let of_table = told(&[], |sync| {
            sync.rsync.short.push(b'n');
            sync.rsync.long.push(b"--append-verify".to_vec());
        });
        assert_eq!(of_table[0], "Sync1: rsync.dry_run: nothing is transferred");
        assert!(of_table[1].starts_with("Sync1: rsync.append_verify: a file that becomes"));
        let keeps = |sync: &mut Sync| sync.delete = DeletePolicy::Never;
        assert_eq!(
            told(&["--delete-after"], keeps),
            ["Sync1: \"--delete-after\" in rsync._extra: it deletes, though delete is false"]
        );
    }

    #[test]
    fn a_value_that_is_no_number_is_told() {
        let of_table = told(&["--max-size", "big", "--bwlimit=1.5m", "--contimeout=5"], |sync| {
            sync.rsync.long = ["--timeout=5s", "--bwlimit=quick", "--min-size=3"]
                .map(|word| word.as_bytes().to_vec())
                .to_vec();
        });
        let starts = ["rsync.timeout: ", "rsync.bwlimit: ", "\"--max-size\" in rsync._extra: "];
        assert_eq!(of_table.len(), starts.len(), "{of_table:?}");
        for (told, start) in of_table.iter().zip(starts) {
            assert!(told.starts_with(&format!("Sync1: {start}rsync takes a number")), "{told}");
        }
    }

    #[test]
    fn words_that_are_several_are_told() {
        for word in ["--exclude *.tmp", "-a -v", "--bwlimit 100"] {
            let told = told(&[word], |_| ());
            assert!(told.iter().any(|text| text.contains("one word with a blank")), "{word}");
        }
        assert!(told(&["*.tmp"], |_| ())[0].contains("is no option"));
    }

    #[test]
    fn what_is_right_is_not_told() {
        let words = ["--exclude=a b", "--filter", "- *.tmp", "-f- x", "-e", "ssh -p 1", "--delete"];
        assert_eq!(told(&words, |_| ()), [""; 0]);
        assert_eq!(told(&["-n"], |sync| sync.kind = Kind::Direct), [""; 0]);
    }

    #[test]
    fn a_link_that_is_followed_out_of_the_source_is_told() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("src/in")).unwrap();
        std::os::unix::fs::symlink("in", top.join("src/inner")).unwrap();
        let follows = |sync: &mut Sync| {
            sync.source = top.join("src");
            sync.rsync.short.push(b'L');
        };
        assert_eq!(told(&[], follows), [""; 0]);
        std::os::unix::fs::symlink("../..", top.join("src/in/outer")).unwrap();
        let found = told(&[], follows);
        assert!(found.len() == 1 && found[0].contains("src/in/outer leads out"), "{found:?}");
    }
}
