//! The exact words of the calls of rsync.
//!
//! Which words are right was measured on 3.1.3 to 3.5.0. Source and target are always the last two
//! words: wrapper scripts rely on it.

use alloc::{vec, vec::Vec};
use core::time::Duration;

use super::{
    options::{ListForm, Phase, RsyncOptions, Rules},
    patience::{self, patience},
    patterns::{anchored, escaped, names, only, patterns},
    target::Target,
};
use crate::path::TreePath;

/// What a call may delete of what the source does not have, where the policy wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// All of it.
    Allowed,
    /// Nothing: what is missing may only be out of sight.
    Withheld,
    /// So many entries. Of nothing at all the others are only counted, and it is told how many
    /// entries there are.
    AtMost(u64),
    /// So many entries, and nothing is sent, which makes room on a full target.
    Only(u64),
    /// Nothing, and nothing is sent either: the call only tells what would be deleted.
    Told,
}

/// What makes two files equal, so that their contents are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Equal {
    /// The size, and the time to the nanosecond.
    #[default]
    Nanoseconds,
    /// The size, and the time to the second.
    Seconds,
    /// The size, and a time that differs by so many seconds at most.
    Within(u32),
    /// Nothing.
    Never,
}

/// What a call brings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Entries that are there, of directories only themselves. There must be no directories among
    /// them if there are trees.
    pub entries: &'a [TreePath],
    /// Directories with all that is below them.
    pub trees: &'a [TreePath],
    /// What is gone, the topmost missing path each.
    pub gone: &'a [TreePath],
    /// What is neither sent nor deleted.
    pub hidden: &'a [TreePath],
}

/// What the target must not have under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unwanted {
    /// Whatever it is.
    Anything,
    /// A directory. Something else of this name is excluded.
    Directory,
    /// Anything but a directory, which is excluded.
    Other,
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
        self.put_first(b"P", places);
        self
    }

    /// The same call, but of these places nothing is sent: to be told before all other rules.
    #[must_use]
    pub fn hiding<'a>(mut self, places: impl IntoIterator<Item = &'a TreePath>) -> Self {
        self.put_first(b"H", places);
        self
    }

    fn put_first<'a>(&mut self, rule: &[u8], places: impl IntoIterator<Item = &'a TreePath>) {
        let rule = |path| [b"--filter=", rule, b" ", &escaped(path), b"/***"].concat();
        self.args.splice(0..0, places.into_iter().map(rule));
    }

    /// The same without the comparison of nanoseconds, which the other side has to know of and
    /// `rrsync` does not. What a list names is sent whatever its time; in a tree whole seconds
    /// count.
    #[must_use]
    pub fn without_window(mut self) -> Self {
        let is_tree = self.args.iter().any(|word| word == b"-r");
        if let Some(at) = self.args.iter().position(|word| word == WINDOW) {
            self.args.remove(at);
            if !is_tree && !self.args.iter().any(|word| word == IGNORE_TIMES) {
                self.args.insert(at, IGNORE_TIMES.to_vec());
            }
        }
        self
    }

    /// Whether what it tells on stdout is wanted by us.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.args.iter().any(|word| word == b"--max-delete=0" || word == b"-n")
    }

    /// Whether it was asked to delete what the source does not have.
    #[must_use]
    pub fn deletes(&self) -> bool {
        self.args.iter().any(|word| word.starts_with(b"--del"))
    }
}

/// Has rsync compare times by nanoseconds.
const WINDOW: &[u8] = b"--modify-window=-1";

/// What is in front of what [`RsyncPlan::look_at_times`] has rsync say of a file: `%i` of rsync(1).
pub const SAME: &[u8] = b"same? ";

const SAME_FORMAT: &[u8] = b"--out-format=same? %i";

/// Has rsync delete what a list names and the source does not have.
const MISSING: &[u8] = b"--delete-missing-args";

/// rsync takes a number of 32 bits.
const MOST_DELETIONS: u64 = 2_000_000_000;

/// Has rsync compare no times.
const IGNORE_TIMES: &[u8] = b"--ignore-times";

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
        let source = with_slash(source);
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
    pub fn full(
        &self,
        phase: Phase,
        deletions: Deletions,
        equal: Equal,
        hidden: &[TreePath],
    ) -> Call {
        let may = deletions != Deletions::Withheld;
        let deletes = may && self.options.delete.applies(phase);
        let deletes_excluded = may && self.options.deletes_excluded(phase);
        let mut words = Words::default();
        words.hide(hidden);
        let stdin = words.rules_from_stdin(&self.options.rules);
        words.add_if(deletes, b"--delete");
        words.add_if(deletes_excluded, b"--delete-excluded");
        words.0.append(&mut self.computed().0);
        words.0.append(&mut self.equality(equal));
        if deletes || deletes_excluded {
            words.limit(deletions);
        }
        words.add(b"-r");
        self.call(words, stdin)
    }

    /// These parts of the source, and the deletion of what is gone.
    ///
    /// `--delete` without `-r` deletes nothing by itself: it has the receiver know the rules, which
    /// keep what is excluded in a directory that is gone, and has such a directory, or one that
    /// became something else, go with all that is not excluded. `--force` would spare nothing.
    #[must_use]
    pub fn parts(&self, parts: &Parts<'_>, deletions: Deletions, equal: Equal) -> Call {
        let may = self.options.delete.applies(Phase::Running) && deletions != Deletions::Withheld;
        let mut words = Words::default();
        words.hide(parts.hidden);
        if self.options.form == ListForm::Filter {
            return self.by_rules(words, parts, deletions, equal);
        }
        if may || !parts.trees.is_empty() {
            words.rules(&self.options.rules);
        }
        words.add_if(!parts.trees.is_empty(), b"-r");
        words.0.append(&mut self.computed().0);
        words.0.append(&mut self.equality(equal));
        if may {
            words.add(b"--delete");
            words.limit(deletions);
        }
        words.add(b"--from0");
        words.add(b"--files-from=-");
        let gone = if may { parts.gone } else { &[] };
        // What goes between our look and that of rsync is told by a notice, and looked at then.
        let missing = if gone.is_empty() { &b"--ignore-missing-args"[..] } else { MISSING };
        words.add(missing);
        self.call(words, Some(names(parts.entries.iter().chain(parts.trees).chain(gone))))
    }

    /// The deletion of names that are not wanted on the target any more, by a comparison of the
    /// directories that have them in which nothing else counts.
    ///
    /// It is slow, since rsync matches each name in each of these directories with each rule. But
    /// it can tell what the target has under a name, and the receivers that refuse the deletions of
    /// a list take it: 3.4.3, and what Debian (3.2.7-1+deb12u6, 3.4.1+ds1-5+deb13u4) and Ubuntu
    /// made of its patch.
    #[must_use]
    pub fn removal(&self, names: &[(TreePath, Unwanted)], deletions: Deletions) -> Call {
        let mut words = Words::default();
        words.add(b"--from0");
        words.add(b"--filter=. -");
        words.rules(&self.options.rules);
        words.0.append(&mut self.computed().0);
        words.add(b"-r");
        let deletes = self.options.delete.applies(Phase::Running);
        if deletes && deletions != Deletions::Withheld {
            words.add(b"--delete");
            words.limit(deletions);
        }
        self.call(words, Some(only(names)))
    }

    /// Returns true if [`look_at_times`](Self::look_at_times) tells something that counts: of a target
    /// on this machine it can be seen what times it keeps, and the user may have said it.
    #[must_use]
    pub fn has_to_look_at_times(&self) -> bool {
        let options = &self.options;
        self.target.local().is_none()
            && !options.has_window()
            && options.keeps_times()
            && options.form == ListForm::FilesFrom
    }

    /// A look at whether these files have exactly the times at the target that they have below
    /// `source`: nothing is sent, and a line with [`SAME`] tells of each file that is there.
    #[must_use]
    pub fn look_at_times(&self, files: &[TreePath], source: &[u8]) -> Call {
        let mut words = self.computed();
        words.0.append(&mut self.equality(Equal::Nanoseconds));
        for word in [&b"-n"[..], b"--existing", b"--info=none", b"-ii", SAME_FORMAT] {
            words.add(word);
        }
        for word in [&b"--from0"[..], b"--files-from=-", b"--ignore-missing-args"] {
            words.add(word);
        }
        words.add(&with_slash(source));
        words.add(self.target.word());
        Call { args: words.0, stdin: Some(names(files)) }
    }

    /// The attributes of the root and nothing else: in a list, `.` would bring all that the root
    /// lists.
    #[must_use]
    pub fn root(&self) -> Call {
        let mut words = self.computed();
        words.0.append(&mut self.equality(Equal::Nanoseconds));
        words.add(b"-d");
        words.add(b"--exclude=/*");
        self.call(words, None)
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

    /// The parts as a list of filter rules, in the order of the original.
    ///
    /// With rules of the user, which have to decide inside of what is gone and of trees, all that
    /// lies beside them is excluded level by level, so that nothing else is left to those rules.
    fn by_rules(
        &self,
        mut words: Words,
        parts: &Parts<'_>,
        deletions: Deletions,
        equal: Equal,
    ) -> Call {
        let deletes =
            self.options.delete.applies(Phase::Running) && deletions != Deletions::Withheld;
        let below: Vec<_> = parts.trees.iter().chain(parts.gone).cloned().collect();
        let has_rules = self.options.rules != Rules::None && !below.is_empty();
        words.0.append(&mut self.computed().0);
        words.0.append(&mut self.equality(equal));
        words.add(b"-r");
        if deletes {
            words.add(b"--delete");
            words.limit(deletions);
        }
        words.add(b"--from0");
        words.add(b"--include-from=-");
        if has_rules {
            words.rules(&self.options.rules);
        } else {
            words.add(b"--exclude=*");
        }
        self.call(words, Some(patterns(parts.entries, &below, has_rules)))
    }

    /// The words that say which files are equal, as far as the user does not say it.
    ///
    /// Also where no files are equal, the times of directories are compared.
    fn equality(&self, equal: Equal) -> Vec<Vec<u8>> {
        let mut words = match equal {
            _ if self.options.has_window() => Vec::new(),
            Equal::Nanoseconds | Equal::Never => vec![WINDOW.to_vec()],
            Equal::Within(seconds) => {
                vec![alloc::format!("--modify-window={seconds}").into_bytes()]
            }
            Equal::Seconds => Vec::new(),
        };
        if equal == Equal::Never {
            words.push(IGNORE_TIMES.to_vec());
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

fn with_slash(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
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

    /// The bounds of a call that deletes. They come after the user's own, of which the last counts.
    fn limit(&mut self, deletions: Deletions) {
        match deletions {
            Deletions::Allowed | Deletions::Withheld => {}
            Deletions::AtMost(number) => {
                self.0.push(alloc::format!("--max-delete={}", number.min(MOST_DELETIONS)).into());
                self.add_if(number == 0, b"--stats");
            }
            Deletions::Only(number) => {
                self.0.push(alloc::format!("--max-delete={}", number.min(MOST_DELETIONS)).into());
                self.add(b"--existing");
                self.add(b"--ignore-existing");
            }
            Deletions::Told => {
                for word in [&b"-n"[..], b"--info=none,del,stats2", b"--out-format=%o %n"] {
                    self.add(word);
                }
            }
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

#[cfg(test)]
mod tests;
