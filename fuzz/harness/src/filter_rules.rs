//! Target: filter rules, and the paths that they decide.
//!
//! An input is text: options, rules, an empty line, and paths, one per line. Options are the
//! letters after `@` in the first line. A path that ends in a slash is a directory.

use std::time::{Duration, Instant};

use mirror_core::{
    filter::{Builder, Filter, Pattern, PatternRoot, RuleAction, RuleError},
    fs_event::EntryKind,
    path::TreePath,
};

use crate::input::{split_at_blank_line, split_first_line};

/// Maximum number of paths that are decided.
const MAX_PATHS: usize = 48;

/// Time limit for all rules and paths of an input, which typically take less than a millisecond. It
/// bounds the growth with the lengths of patterns and paths.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Roots for rules about absolute paths.
const SOURCE: &[u8] = b"/srv/www";
const TARGET: &[u8] = b"/backup/www";

/// Returns the tokens.
#[must_use]
pub fn dictionary() -> Vec<&'static [u8]> {
    const RULES: &str = "- |+ |H |S |P |R |!|. |: |-! |-/ |-p |-s |-r |-x |-C|:C|include |exclude,! \
        |hide |protect,p |merge |dir-merge,n- |.e mixed|.w names|.-w names|.C cvs|. loop|. =- a\
        |- *.o|+ */|- *|- /srv/www/|@dst|@x|@i|; |#";
    const PATTERNS: &str = "* ** *** *a ?*[ [!a] [^b-d] [[:alpha:]] [[:] []x] \\* \\ \\[ **/ /** /*** \
        *.o .tmp /srv/www/ a/b a/b/c d/ foo foo/ bar/baz _ /";
    let separators: [&[u8]; 4] = [b"\n", b"\n\n", b" ", b"\n\na/b/c\n"];
    let tokens = RULES.split('|').chain(PATTERNS.split(' ').filter(|it| !it.is_empty()));
    tokens.map(str::as_bytes).chain(separators).collect()
}

/// Checks that the decisions are those of a linear search, and that they survive the way through
/// the text for rsync.
///
/// # Panics
///
/// If an invariant is violated.
pub fn run(data: &[u8]) {
    let begin = Instant::now();
    let (text, paths) = split_at_blank_line(data);
    let Ok(filter) = parse(text) else {
        assert!(parse(text).is_err(), "parsed differently the second time");
        return;
    };
    assert!(parse(text).as_ref() == Ok(&filter), "parsed differently the second time");
    assert!(filter.for_source(SOURCE) == filter, "the same root changes the filter");
    let options = RuleOptions::of(text);
    let rewritten = rewrite(&filter, options);
    let rules: Vec<Vec<u8>> = filter.to_rsync_rules().collect();
    let sender = LinearRules::new(&rules, Side { letter: b's', root: options.source }, false);
    let receiver = Side { letter: b'r', root: options.target };
    let receiver = LinearRules::new(&rules, receiver, options.delete_excluded);
    let paths: Vec<_> = paths.split(|&byte| byte == b'\n').filter_map(entry).collect();
    for (path, kind) in paths.iter().take(MAX_PATHS) {
        check_decisions(&filter, path, *kind);
        let same = |decide: fn(&Filter, &TreePath, EntryKind) -> bool| {
            assert_eq!(decide(&filter, path, *kind), decide(&rewritten, path, *kind), "{path}");
        };
        same(Filter::excludes);
        same(Filter::protects);
        check_linear(&filter, &sender, &receiver, path, *kind);
    }
    check_renames(&filter, &paths);
    let elapsed = begin.elapsed();
    assert!(elapsed < MAX_TIME, "{elapsed:?} for {} bytes", data.len());
}

/// Options in the first line of an input.
#[derive(Clone, Copy, Default)]
struct RuleOptions {
    source: Option<&'static [u8]>,
    target: Option<&'static [u8]>,
    delete_excluded: bool,
    /// True if the text is a file of excludes or of includes.
    is_exclude_file: bool,
    is_include_file: bool,
}

impl RuleOptions {
    fn of(text: &[u8]) -> Self {
        let (first, _) = split_first_line(text);
        let has = |letter| first.starts_with(b"@") && first.contains(&letter);
        Self {
            source: has(b's').then_some(SOURCE),
            target: has(b't').then_some(TARGET),
            delete_excluded: has(b'd'),
            is_exclude_file: has(b'x'),
            is_include_file: has(b'i'),
        }
    }

    fn builder(self) -> Builder {
        let mut builder = Filter::builder();
        if let Some(root) = self.source {
            builder = builder.source(root);
        }
        if let Some(root) = self.target {
            builder = builder.target(root);
        }
        if self.delete_excluded { builder.delete_excluded() } else { builder }
    }
}

fn parse(text: &[u8]) -> Result<Filter, RuleError> {
    let options = RuleOptions::of(text);
    let rules = if text.starts_with(b"@") { split_first_line(text).1 } else { text };
    let mut builder = options.builder();
    if options.is_exclude_file {
        builder.exclude_from(rules)?;
    } else if options.is_include_file {
        builder.include_from(rules)?;
    } else {
        for rule in rules.split(|&byte| byte == b'\n') {
            builder.rule(rule, &mut merged_file)?;
        }
    }
    Ok(builder.build())
}

/// Returns the contents of the files that rules can merge. A name that starts with `=` is its own
/// contents, with `|` for a newline.
fn merged_file(name: &[u8]) -> Result<Vec<u8>, String> {
    match name {
        b"mixed" => Ok(b"# a comment\n; another\n\n+ keep.o\r\n- *.o\n".to_vec()),
        b"names" => Ok(b"one two\nthree".to_vec()),
        b"cvs" => Ok(b"lost ! #kept\n;odd".to_vec()),
        b"loop" => Ok(b"- x\n. loop".to_vec()),
        [b'=', text @ .., last] if *last != b'/' => {
            let line = |byte: &u8| if *byte == b'|' { b'\n' } else { *byte };
            Ok(text.iter().chain([last]).map(line).collect())
        }
        _ => Err("no such file".into()),
    }
}

/// Builds a filter from the rules that are passed to rsync.
fn rewrite(filter: &Filter, options: RuleOptions) -> Filter {
    let mut builder = options.builder();
    for rule in filter.to_rsync_rules() {
        let parsed = builder.rule(&rule, &mut |_| Err("merged already".into()));
        assert!(parsed.is_ok(), "the rule {} for rsync: {parsed:?}", rule.escape_ascii());
    }
    builder.build()
}

fn entry(line: &[u8]) -> Option<(TreePath, EntryKind)> {
    let kind = if line.ends_with(b"/") { EntryKind::Directory } else { EntryKind::Other };
    TreePath::new(line).map(|path| (path, kind))
}

/// Checks the decisions about one entry against those about its ancestors.
fn check_decisions(filter: &Filter, path: &TreePath, kind: EntryKind) {
    let excluded = filter.excludes(path, kind);
    assert_eq!(excluded, filter.excludes(path, kind), "{path} is decided differently each time");
    let above = path.parent().is_some_and(|parent| filter.prunes(&parent));
    let itself = filter.excludes_entry(path, kind);
    assert_eq!(excluded, above || itself, "{path} and its ancestors");
    assert!(!(path.is_root() && (excluded || filter.protects(path, kind))), "the root");
    if filter.is_empty() {
        assert!(!excluded && !filter.protects(path, kind), "{path} without rules");
    }
}

/// Checks that entries at the same place below two directories are decided equally if the filter
/// says so.
fn check_renames(filter: &Filter, entries: &[(TreePath, EntryKind)]) {
    let [(from, _), (to, _), below @ ..] = entries else { return };
    if !filter.decides_equally_below(from, to) {
        return;
    }
    let is_protected = |path: &TreePath| filter.protects(path, EntryKind::Directory);
    let are_free = !is_protected(from) && !is_protected(to);
    for (path, kind) in below.iter().take(MAX_PATHS).filter(|(path, _)| !path.is_root()) {
        let [one, other] = [from, to].map(|top| path.rebase(&TreePath::root(), top));
        let (Some(one), Some(other)) = (one, other) else { continue };
        let equal = filter.excludes_entry(&one, *kind) == filter.excludes_entry(&other, *kind);
        assert!(equal, "{one} and {other} are excluded differently");
        let equal = filter.protects(&one, *kind) == filter.protects(&other, *kind);
        assert!(equal || !are_free, "{one} and {other} are protected differently");
    }
}

/// One side of a transfer.
#[derive(Clone, Copy)]
struct Side {
    /// The modifier for rules of this side only.
    letter: u8,
    root: Option<&'static [u8]>,
}

/// Rules of one side, matched one by one.
struct LinearRules {
    rules: Vec<LinearRule>,
    side: Side,
    /// True if no rule after these can be decided.
    is_open: bool,
}

struct LinearRule {
    action: RuleAction,
    pattern: Pattern,
    is_negated: bool,
    is_absolute: bool,
}

impl LinearRules {
    /// Reads rules in rsync's short form, as the filter writes them.
    fn new(texts: &[Vec<u8>], side: Side, delete_excluded: bool) -> Self {
        let mut rules = Vec::new();
        let mut is_open = false;
        for text in texts {
            let end = text.iter().position(|&byte| byte == b' ').unwrap_or(text.len());
            let (head, rest) = text.split_at(end);
            let has = |letter| head.get(1..).unwrap_or_default().contains(&letter);
            let is_per_directory = head.starts_with(b":");
            let names_a_side = has(b's') || has(b'r');
            // Only rules are affected, not the files in directories.
            let is_hidden = delete_excluded && !names_a_side && !is_per_directory;
            if is_hidden || (names_a_side && !has(side.letter)) || (has(b'x') && !is_per_directory)
            {
                continue;
            }
            let pattern = rest.get(1..).unwrap_or_default();
            // Of a pattern without a slash, only the name of an entry counts.
            let is_absolute = has(b'/') && !matches_names_only(pattern);
            if is_per_directory || (is_absolute && side.root.is_none()) {
                is_open = true;
                break;
            }
            let base = if has(b'/') { PatternRoot::FileSystem } else { PatternRoot::Mirror };
            let is_include = head.starts_with(b"+");
            rules.push(LinearRule {
                action: if is_include { RuleAction::Include } else { RuleAction::Exclude },
                pattern: Pattern::new(pattern, base),
                is_negated: has(b'!'),
                is_absolute,
            });
        }
        Self { rules, side, is_open }
    }

    /// Returns the action of the first rule that matches an entry.
    fn decide(&self, path: &TreePath, kind: EntryKind) -> Option<RuleAction> {
        let matches = |rule: &&LinearRule| {
            let bytes = match self.side.root {
                Some(root) if rule.is_absolute => {
                    [root.get(1..).unwrap_or_default(), path.as_bytes()].join(&b'/')
                }
                _ => path.as_bytes().to_vec(),
            };
            rule.pattern.matches(&bytes, kind) != rule.is_negated
        };
        self.rules.iter().find(matches).map(|rule| rule.action)
    }
}

/// Returns true if a pattern is compared with names: it has no slash except at its end, and no
/// effective `**`.
fn matches_names_only(pattern: &[u8]) -> bool {
    let body = match pattern {
        [inner @ .., b'/'] if !inner.is_empty() => inner,
        _ => pattern,
    };
    !body.contains(&b'/') && !body.windows(2).any(|two| two == b"**")
}

/// Checks that the indexed search finds the same rule as a linear one.
fn check_linear(
    filter: &Filter,
    sender: &LinearRules,
    receiver: &LinearRules,
    path: &TreePath,
    kind: EntryKind,
) {
    if path.is_root() {
        return;
    }
    let excluded = sender.decide(path, kind) == Some(RuleAction::Exclude);
    assert_eq!(filter.excludes_entry(path, kind), excluded, "{path} by a linear search");
    let is_protected = |path: &TreePath, kind| match receiver.decide(path, kind) {
        Some(action) => action == RuleAction::Exclude,
        None => receiver.is_open,
    };
    let mut protected = is_protected(path, kind);
    let mut above = path.parent();
    while let Some(directory) = above.take().filter(|directory| !directory.is_root()) {
        protected |= is_protected(&directory, EntryKind::Directory);
        above = directory.parent();
    }
    assert_eq!(filter.protects(path, kind), protected, "{path} by a linear search");
}
