//! The exact words of the calls of rsync.
//!
//! Which words are right was measured on 3.1.3 to 3.5.0. Source and target are always the last two
//! words: wrapper scripts rely on it.

use alloc::{vec, vec::Vec};
use core::time::Duration;

use super::{
    options::{ListForm, Phase, RsyncOptions, Rules, is_in_root},
    patience::{self, patience},
    target::Target,
};
use crate::path::TreePath;

/// Whether a call may delete, where the policy wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// It may.
    Allowed,
    /// It must not: what is missing may only be out of sight.
    Withheld,
}

/// One call of rsync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The words after the name of the program.
    pub args: Vec<Vec<u8>>,
    /// What it reads. `None` if it reads nothing.
    pub stdin: Option<Vec<u8>>,
}

impl Call {
    /// The same call, but nothing at or below these places is deleted, not even where a directory
    /// above goes: it comes before all other rules.
    #[must_use]
    pub fn protecting<'a>(mut self, places: impl IntoIterator<Item = &'a TreePath>) -> Self {
        let rule = |path| [&b"--filter=P "[..], &escaped(path), b"/***"].concat();
        self.args.splice(0..0, places.into_iter().map(rule));
        self
    }

    /// The same without the comparison of nanoseconds, which the other side has to know of and
    /// `rrsync` does not. What a list names is sent whatever its time; in a tree whole seconds
    /// count.
    #[must_use]
    pub fn without_window(mut self) -> Self {
        let is_tree = self.args.iter().any(|word| word == b"-r");
        if let Some(at) = self.args.iter().position(|word| word == WINDOW) {
            self.args.remove(at);
            if !is_tree {
                self.args.insert(at, b"--ignore-times".to_vec());
            }
        }
        self
    }
}

/// Has rsync compare times by nanoseconds.
const WINDOW: &[u8] = b"--modify-window=-1";

/// The calls of rsync for one mirror.
#[derive(Clone, Debug)]
pub struct RsyncPlan {
    /// What the user said.
    pub options: RsyncOptions,
    source: Vec<u8>,
    target: Target,
}

impl RsyncPlan {
    /// The calls that mirror the directory at the absolute path `source` to `target`.
    #[must_use]
    pub fn new(options: RsyncOptions, source: &[u8], target: Target) -> Self {
        let mut source = source.to_vec();
        if !source.ends_with(b"/") {
            source.push(b'/');
        }
        Self { options, source, target }
    }

    /// The word for the source, which ends in `/`.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// How long an rsync at either end may be silent. It sees to that by itself only in part: one
    /// that sends takes its own signs of life for those of the other side.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        patience::silence(&self.options, &self.target)
    }

    /// Everything. What is `hidden` is neither sent nor deleted.
    ///
    /// Unlike the original it has no `--ignore-errors`, with which rsync deletes what it could
    /// not read.
    #[must_use]
    pub fn full(&self, phase: Phase, deletions: Deletions, hidden: &[TreePath]) -> Call {
        let deletes = self.options.delete.applies(phase) && deletions == Deletions::Allowed;
        let mut words = Words::default();
        words.hide(hidden);
        let stdin = words.rules_from_stdin(&self.options.rules);
        words.add_if(deletes, b"--delete");
        let excluded = self.options.delete_excluded && deletions == Deletions::Allowed;
        words.add_if(excluded && phase == Phase::Startup, b"--delete-excluded");
        words.0.append(&mut self.computed().0);
        if phase == Phase::Running {
            words.add(WINDOW);
            words.add(b"--force");
        }
        words.add(b"-r");
        self.call(words, stdin)
    }

    /// These `entries`, of directories only themselves, and the deletion of what is `gone`.
    ///
    /// `--modify-window=-1` compares nanoseconds: without it the second change of a second is
    /// never seen if it keeps the size. `--force` is for directories that became something else,
    /// and for those that are gone, which otherwise stay, with exit code 0, if they are not empty.
    #[must_use]
    pub fn list(&self, entries: &[TreePath], gone: &[TreePath]) -> Call {
        if self.options.form == ListForm::Filter {
            let words = self.filter_words(Words::default(), Deletions::Allowed);
            return self.call(words, Some(patterns(entries, gone)));
        }
        let mut words = self.computed();
        for word in [WINDOW, b"--from0", b"--files-from=-"] {
            words.add(word);
        }
        let deletes = self.options.delete.applies(Phase::Running);
        words.add_if(deletes, b"--delete-missing-args");
        words.add(b"--force");
        let gone = if deletes { gone } else { &[] };
        self.call(words, Some(names(entries.iter().chain(gone))))
    }

    /// These directories with all that is below them. What is `hidden` is neither sent nor
    /// deleted.
    #[must_use]
    pub fn trees(&self, trees: &[TreePath], deletions: Deletions, hidden: &[TreePath]) -> Call {
        let mut words = Words::default();
        words.hide(hidden);
        words.rules(&self.options.rules);
        if self.options.form == ListForm::Filter {
            let words = self.filter_words(words, deletions);
            return self.call(words, Some(patterns(&[], trees)));
        }
        words.add(b"-r");
        words.0.append(&mut self.computed().0);
        words.add(WINDOW);
        let deletes = self.options.delete.applies(Phase::Running);
        words.add_if(deletes && deletions == Deletions::Allowed, b"--delete");
        for word in [&b"--force"[..], b"--from0", b"--files-from=-"] {
            words.add(word);
        }
        self.call(words, Some(names(trees)))
    }

    /// The attributes of the root and nothing else: in a list, `.` would bring all that the root
    /// lists.
    #[must_use]
    pub fn root(&self) -> Call {
        let mut words = self.computed();
        words.add(WINDOW);
        words.add(b"-d");
        words.add(b"--exclude=/*");
        self.call(words, None)
    }

    /// The deletion of what is `gone`, in the original's form, for the receivers that refuse that
    /// of [`list`](Self::list): 3.4.3, and what Debian (3.2.7-1+deb12u6, 3.4.1+ds1-5+deb13u4) and
    /// Ubuntu made of its patch.
    ///
    /// It is slow: rsync matches each name in each of these directories with each pattern.
    #[must_use]
    pub fn deletions(&self, gone: &[TreePath]) -> Call {
        let words = self.filter_words(Words::default(), Deletions::Allowed);
        self.call(words, Some(patterns(&[], gone)))
    }

    /// The same call for a target that is known to be there: it fails, with what
    /// [`Complaint::TargetGone`](super::complaint::Complaint::TargetGone) means, if that is not so.
    /// `None` if that can't be asked for. Programs that expect the calls of the original get them.
    #[must_use]
    pub fn to_existing(&self, call: &Call) -> Option<Call> {
        let word = self.target.existing().filter(|_| self.options.form == ListForm::FilesFrom)?;
        let mut call = call.clone();
        *call.args.last_mut()? = word;
        Some(call)
    }

    /// The words for a list of filter rules, in the order of the original.
    fn filter_words(&self, mut words: Words, deletions: Deletions) -> Words {
        words.0.append(&mut self.computed().0);
        words.add(WINDOW);
        words.add(b"-r");
        let deletes = self.options.delete.applies(Phase::Running);
        words.add_if(deletes && deletions == Deletions::Allowed, b"--delete");
        for word in [&b"--force"[..], b"--from0", b"--include-from=-", b"--exclude=*"] {
            words.add(word);
        }
        words
    }

    /// What the user said, and how long rsync waits for another machine.
    fn computed(&self) -> Words {
        let mut words = Words::default();
        if !self.options.short.is_empty() {
            words.0.push([b"-", self.options.short.as_slice()].concat());
        }
        words.0.extend(self.options.words().cloned());
        patience(&self.options, &self.target).for_each(|word| words.add(word));
        words
    }

    fn call(&self, mut words: Words, stdin: Option<Vec<u8>>) -> Call {
        words.add(&self.source);
        words.add(self.target.word());
        Call { args: words.0, stdin }
    }
}

#[derive(Default)]
struct Words(Vec<Vec<u8>>);

impl Words {
    fn add(&mut self, word: &[u8]) {
        self.0.push(word.to_vec());
    }

    fn add_if(&mut self, condition: bool, word: &[u8]) {
        if condition {
            self.add(word);
        }
    }

    fn add_all(&mut self, option: &[u8], values: &[Vec<u8>]) {
        self.0.extend(values.iter().map(|value| [option, value].concat()));
    }

    /// The sender must not even try to read what is hidden: an error, and it deletes nothing at
    /// all. The receiver has to be told apart, since with `--delete-excluded` what is hidden is
    /// deleted.
    fn hide(&mut self, paths: &[TreePath]) {
        for path in paths {
            let pattern = anchored(path);
            self.0.push([b"--filter=H ", pattern.as_slice()].concat());
            self.0.push([b"--filter=P ", pattern.as_slice()].concat());
        }
    }

    fn rules(&mut self, rules: &Rules) {
        match rules {
            Rules::None => {}
            Rules::Excludes(patterns) => {
                let in_effect = |line: &&Vec<u8>| !matches!(line.first(), None | Some(b'#' | b';'));
                let patterns: Vec<_> = patterns.iter().filter(in_effect).cloned().collect();
                self.add_all(b"--exclude=", &patterns);
            }
            Rules::Filters(rules) => self.add_all(b"--filter=", rules),
        }
    }

    /// The form of the original, where the rules do not need stdin for something else.
    fn rules_from_stdin(&mut self, rules: &Rules) -> Option<Vec<u8>> {
        let (word, lines) = match rules {
            Rules::None => return None,
            Rules::Excludes(patterns) => (&b"--exclude-from=-"[..], patterns),
            Rules::Filters(rules) => (&b"--filter=. -"[..], rules),
        };
        if lines.iter().any(|line| line.contains(&b'\n')) {
            self.rules(rules);
            return None;
        }
        self.add(word);
        Some(lines.join(&b'\n'))
    }
}

/// The names for `--from0 --files-from=-`. The slash in front is needed: a name that begins with
/// `#` or `;` is a comment even there.
///
/// Of a name in the root `/./` makes the root one of the directories that lead there, so that its
/// attributes come along: its times change with each entry that comes or goes in it, and no event
/// tells it. It does not bring what else the root lists (tried on 3.2.3, 3.2.7, 3.4.1, 3.5.0 and
/// 3.5.1).
fn names<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths {
        let start: &[u8] = if is_in_root(path) { b"/./" } else { b"/" };
        text.extend_from_slice(start);
        text.extend_from_slice(path.as_bytes());
        text.push(0);
    }
    text
}

/// A pattern for this path only.
///
/// In a pattern without one of `*?[` a backslash stands for itself, in others it escapes.
fn anchored(path: &TreePath) -> Vec<u8> {
    if path.as_bytes().iter().any(|b| b"*?[".contains(b)) {
        return escaped(path);
    }
    [b"/", path.as_bytes()].concat()
}

fn escaped(path: &TreePath) -> Vec<u8> {
    let mut pattern = vec![b'/'];
    for &byte in path.as_bytes() {
        if b"\\*?[".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern
}

/// The `entries` themselves, the `trees` and all that is below them at either end, and the
/// directories that lead there.
fn patterns(entries: &[TreePath], trees: &[TreePath]) -> Vec<u8> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut parents = alloc::collections::BTreeSet::new();
    let mut add = |pattern: &[u8]| all.push(pattern.to_vec());
    for path in entries.iter().chain(trees) {
        add(&anchored(path));
        let mut parent = path.parent();
        while let Some(path) = parent.take().filter(|path| !path.is_root()) {
            parent = path.parent();
            if !parents.insert(path) {
                break;
            }
        }
    }
    for path in trees {
        add(&[escaped(path), b"/***".to_vec()].concat());
    }
    for parent in parents {
        add(&[anchored(&parent), b"/".to_vec()].concat());
    }
    add(b"/");
    all.join(&0)
}
