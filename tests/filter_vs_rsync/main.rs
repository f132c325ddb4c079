//! Compares the filter with the installed rsync: random trees and rules, entry by entry.
//!
//! `FILTER_CASES=20000` runs more cases, `FILTER_SEED=7` sets the first seed. A failure prints its
//! seed.
#![cfg(test)]

mod random;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs, io,
    ops::Range,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    thread,
};

use mirror_core::{
    filter::{Builder, Filter, RuleError},
    fs_event::EntryKind,
    path::{Escaped, TreePath},
};

use random::{FilterCaseRng, TypedPath, random_file, random_line, random_pattern, random_tree};

/// The directory of a case.
struct FilterCaseDir {
    _keep: tempfile::TempDir,
    root: PathBuf,
}

impl FilterCaseDir {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        // rsync resolves its working directory to the real path.
        let root = keep.path().canonicalize().unwrap();
        for name in ["source", "target", "rules"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        Self { _keep: keep, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn create_tree(root: &Path, tree: &[TypedPath]) {
    for (path, kind) in tree {
        let path = root.join(OsStr::from_bytes(path.as_bytes()));
        match kind {
            EntryKind::Directory => fs::create_dir(path).unwrap(),
            EntryKind::Other => drop(fs::File::create(path).unwrap()),
        }
    }
}

/// The rules of a case: arguments for rsync, and our filter unless it refuses them.
struct FilterCaseRules {
    arguments: Vec<Vec<u8>>,
    builder: Builder,
    refused: Option<RuleError>,
}

impl FilterCaseRules {
    fn add(
        &mut self,
        option: &str,
        value: &[u8],
        result: impl FnOnce(&mut Builder) -> Result<(), RuleError>,
    ) {
        self.arguments.push([option.as_bytes(), b"=", value].concat());
        if self.refused.is_none() {
            self.refused = result(&mut self.builder).err();
        }
    }
}

fn read(name: &[u8]) -> Result<Vec<u8>, String> {
    fs::read(OsStr::from_bytes(name)).map_err(|error| error.to_string())
}

fn random_rules(
    random: &mut FilterCaseRng,
    tree: &[TypedPath],
    directory: &FilterCaseDir,
    builder: Builder,
) -> FilterCaseRules {
    let mut rules = FilterCaseRules { arguments: Vec::new(), builder, refused: None };
    let root = &directory.root;
    for number in 0..=random.below(6) {
        let file = directory.path("rules").join(number.to_string());
        let name = file.as_os_str().as_bytes();
        match random.below(20) {
            0..=6 => {
                let pattern = random_pattern(random, tree);
                rules.add("--exclude", &pattern, |builder| builder.exclude(&pattern));
            }
            7 => {
                let pattern = random_pattern(random, tree);
                rules.add("--include", &pattern, |builder| builder.include(&pattern));
            }
            8 => {
                let contents = random_file(random, tree, root, false);
                fs::write(&file, &contents).unwrap();
                rules.add("--exclude-from", name, |builder| builder.exclude_from(&contents));
            }
            9 | 10 => {
                let kinds: &[&[u8]] = &[
                    b".",
                    b"merge",
                    b".-",
                    b".+",
                    b".s",
                    b".r",
                    b".p",
                    b"./",
                    b".w-",
                    b".C",
                    b".e-",
                    b"merge,-s",
                    b".x-",
                    b".n-",
                    b".pCs",
                ];
                let kind = random.pick(kinds);
                let bare = kind.iter().any(|b| b"-+C".contains(b));
                fs::write(&file, random_file(random, tree, root, !bare)).unwrap();
                let rule = [kind, b" ", name].concat();
                rules.add("--filter", &rule, |builder| builder.rule(&rule, &mut read));
            }
            _ => {
                let line = random_line(random, tree, root, 1);
                rules.add("--filter", &line, |builder| builder.rule(&line, &mut read));
            }
        }
    }
    rules
}

fn rsync(arguments: &[Vec<u8>], from: &Path, to: &Path) -> io::Result<Output> {
    let slashed = |path: &Path| [path.as_os_str().as_bytes(), b"/"].concat();
    Command::new("rsync")
        .args(["-r", "--out-format=%n"])
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .arg(OsStr::from_bytes(&slashed(from)))
        .arg(OsStr::from_bytes(&slashed(to)))
        .env("LC_ALL", "C")
        // Sources of further rules for -C.
        .env_remove("CVSIGNORE")
        .env("HOME", from)
        .env("RSYNC_OLD_ARGS", "0")
        .current_dir(to)
        .stdin(Stdio::null())
        .output()
}

/// Returns the paths in rsync's output.
fn listed(output: &[u8]) -> BTreeSet<Vec<u8>> {
    let paths = output.split(|&b| b == b'\n').filter(|path| !path.is_empty() && *path != b"./");
    paths.map(|path| unescaped(path.strip_suffix(b"/").unwrap_or(path))).collect()
}

/// Returns the entries of the tree that no longer exist below `root`.
fn missing(root: &Path, tree: &[TypedPath]) -> BTreeSet<Vec<u8>> {
    let is_missing = |path: &&[u8]| root.join(OsStr::from_bytes(path)).symlink_metadata().is_err();
    tree.iter().map(|(path, _)| path.as_bytes()).filter(is_missing).map(<[u8]>::to_vec).collect()
}

/// Decodes rsync's escapes: `\#` and three octal digits.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        if let [b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest
            && byte == b'\\'
        {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            text = after;
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

/// Returns the paths that a transfer of the tree should list.
fn sent(filter: &Filter, tree: &[TypedPath]) -> BTreeSet<Vec<u8>> {
    let kept = tree.iter().filter(|(path, kind)| !filter.excludes(path, *kind));
    kept.map(|(path, _)| path.as_bytes().to_vec()).collect()
}

/// Returns the paths that a transfer of these directories over the tree should delete.
fn deleted(filter: &Filter, tree: &[TypedPath], source: &[TypedPath]) -> BTreeSet<Vec<u8>> {
    let sent = sent(filter, source);
    let stays = |(path, kind): &TypedPath| {
        let mut top = TreePath::root();
        for name in path.components() {
            top.push(name).unwrap();
            if !sent.contains(top.as_bytes()) {
                break;
            }
        }
        let top_kind = if top == *path { *kind } else { EntryKind::Directory };
        sent.contains(path.as_bytes())
            || filter.protects_below(&top, top_kind, |path| sent.contains(path))
            || top != *path && filter.protects_in_removed(&top, path, *kind)
    };
    let staying: Vec<&TreePath> = tree.iter().filter(|e| stays(e)).map(|(path, _)| path).collect();
    let gone = tree.iter().filter(|(path, _)| !staying.iter().any(|stays| path.contains(stays)));
    gone.map(|(path, _)| path.as_bytes().to_vec()).collect()
}

/// Returns some directories of the tree, with those above them.
fn some_directories(random: &mut FilterCaseRng, tree: &[TypedPath]) -> Vec<TypedPath> {
    let mut chosen: Vec<TypedPath> = Vec::new();
    for (path, kind) in tree {
        let parent = path.parent().unwrap();
        let has_parent = parent.is_root() || chosen.iter().any(|(other, _)| *other == parent);
        if *kind == EntryKind::Directory && has_parent && random.chance(50) {
            chosen.push((path.clone(), *kind));
        }
    }
    chosen
}

/// Formats a case for the message of a failure.
fn report(arguments: &[Vec<u8>], tree: &[TypedPath]) -> String {
    let mut text = String::from("rsync");
    for argument in arguments {
        let _ = write!(text, " '{}'", Escaped(argument));
    }
    for (path, kind) in tree {
        let _ = write!(text, "\n  {path} {kind:?}");
    }
    text
}

fn compare(ours: &BTreeSet<Vec<u8>>, rsyncs: &BTreeSet<Vec<u8>>, what: &str) -> Result<(), String> {
    let names = |set: &mut dyn Iterator<Item = &Vec<u8>>| {
        set.map(|path| Escaped(path).to_string()).collect::<Vec<_>>().join(", ")
    };
    let (only_ours, only_rsyncs) =
        (names(&mut ours.difference(rsyncs)), names(&mut rsyncs.difference(ours)));
    if only_ours.is_empty() && only_rsyncs.is_empty() {
        return Ok(());
    }
    Err(format!("{what} only by us: [{only_ours}], only by rsync: [{only_rsyncs}]"))
}

/// The outcome of a successful case.
#[derive(PartialEq, Eq)]
enum FilterCaseOutcome {
    Compared,
    Refused,
}

fn run_case(seed: u64) -> Result<FilterCaseOutcome, String> {
    let random = &mut FilterCaseRng(seed);
    let directory = FilterCaseDir::new();
    let tree = random_tree(random);
    let deletes = random.chance(40);
    let delete_excluded = deletes && random.chance(20);
    let mut builder = Filter::builder()
        .source(directory.path("source").as_os_str().as_bytes())
        .target(directory.path("target").as_os_str().as_bytes());
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    // A dry run reports too many deletions: it ignores directories that stay non-empty.
    arguments.push(if deletes { b"--delete".to_vec() } else { b"--dry-run".to_vec() });
    if delete_excluded {
        arguments.push(b"--delete-excluded".to_vec());
        builder = builder.delete_excluded();
    }
    let rules = random_rules(random, &tree, &directory, builder);
    let filter = rules.refused.is_none().then(|| rules.builder.build());
    match &filter {
        // Half of the time rsync gets the rules as our filter exports them.
        Some(filter) if random.chance(50) => arguments
            .extend(filter.to_rsync_rules().map(|rule| [b"--filter=", rule.as_slice()].concat())),
        _ => arguments.extend(rules.arguments),
    }
    let fail = |why: String| format!("seed {seed}: {why}\n{}", report(&arguments, &tree));
    let source = if deletes { some_directories(random, &tree) } else { Vec::new() };
    let [from, to] = ["source", "target"].map(|name| directory.path(name));
    create_tree(if deletes { &to } else { &from }, &tree);
    create_tree(&from, &source);
    let output = rsync(&arguments, &from, &to).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let Some(filter) = filter else {
        let why = rules.refused.unwrap().to_string();
        let taken = output.status.success();
        return if taken {
            Err(fail(format!("only we refuse: {why}")))
        } else {
            Ok(FilterCaseOutcome::Refused)
        };
    };
    if !output.status.success() && output.status.code() != Some(23) {
        // Debian's 3.2.7-1+deb12u5 does not read `!` in a file of CVS patterns any more, which
        // 3.2.7 and 3.4.1 do.
        if stderr.starts_with("'!' rule has trailing characters: ") {
            return Ok(FilterCaseOutcome::Refused);
        }
        return Err(fail(format!("only rsync refuses: {stderr}")));
    }
    if deletes {
        compare(&deleted(&filter, &tree, &source), &missing(&to, &tree), "deleted")
    } else {
        compare(&sent(&filter, &tree), &listed(&output.stdout), "sent")
    }
    .map(|()| FilterCaseOutcome::Compared)
    .map_err(fail)
}

/// Reads a number from the environment.
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn the_filter_decides_as_rsync_does() {
    if let Err(error) = Command::new("rsync").arg("--version").output() {
        assert!(env::var_os("CI").is_none(), "rsync is missing: {error}");
        eprintln!("skipped: no rsync: {error}");
        return;
    }
    let first = number("FILTER_SEED").unwrap_or(0);
    let count = number("FILTER_CASES").unwrap_or(600);
    let compared = run_cases(first..first + count).unwrap_or_else(|why| panic!("{why}"));
    assert!(compared * 10 >= count * 8 || count < 50, "only {compared} of {count} cases compare");
}

/// Runs the cases, several at a time because rsync mostly waits for itself, until one fails.
/// Returns the number of those in which both accepted the rules.
fn run_cases(seeds: Range<u64>) -> Result<u64, String> {
    let seeds = Mutex::new(seeds);
    let worker = || {
        let mut compared = 0;
        while let Some(seed) = { seeds.lock().unwrap().next() } {
            // After a failure the other workers stop.
            let end = run_case(seed).inspect_err(|_| *seeds.lock().unwrap() = 0..0)?;
            compared += u64::from(end == FilterCaseOutcome::Compared);
        }
        Ok(compared)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    })
}
