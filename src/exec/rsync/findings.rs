//! What one call of rsync said, and what that means for the places it was about.

use std::collections::{BTreeMap, BTreeSet};

use mirror_core::{
    job::{Failure, Place, Scope},
    path::{Escaped, TreePath},
    plan::complaint::{Complaint, Names},
};

use crate::exec::remedy::remedy;

/// The places that a call was about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Covered<'a> {
    /// These, of directories only themselves.
    List { entries: &'a [TreePath], gone: &'a [TreePath] },
    /// These and what is below them.
    Trees(&'a [TreePath]),
    /// The root, or all of it.
    Root(Scope),
}

impl Covered<'_> {
    pub(super) fn places(self) -> impl Iterator<Item = Place> {
        let (lists, scope, root): (_, _, Option<Scope>) = match self {
            Self::List { entries, gone } => ([entries, gone], Scope::Entry, None),
            Self::Trees(trees) => ([trees, &[]], Scope::Tree, None),
            Self::Root(scope) => ([&[][..], &[]], scope, Some(scope)),
        };
        let root = root.map(|scope| Place { path: TreePath::root(), scope });
        let paths = lists.into_iter().flatten().cloned();
        root.into_iter().chain(paths.map(move |path| Place { path, scope }))
    }

    const fn scope(self) -> Scope {
        match self {
            Self::List { .. } => Scope::Entry,
            Self::Trees(_) => Scope::Tree,
            Self::Root(scope) => scope,
        }
    }
}

/// Why another call is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The receiver can't delete by a list.
    BrokenReceiver,
    /// The other side does not know one of the options.
    Restricted,
    /// The target is not there.
    TargetGone,
}

/// What rsync said in one call.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What failed where, and the first line that said so.
    failed: BTreeMap<TreePath, String>,
    /// Those of them that could not be read at the source.
    pub(super) unread: BTreeSet<TreePath>,
    /// The first line about something that failed somewhere.
    unplaced: Option<String>,
    /// The first line of all that is no chatter.
    first: Option<String>,
    /// The last line of all.
    last: Option<String>,
    deletions_skipped: bool,
    /// Why the other side does not do what this call asks for.
    pub(super) refusal: Option<Refusal>,
    remedy: Option<&'static str>,
}

impl Findings {
    /// The most places that are told apart. With more it counts as a failure of the whole call.
    const MOST: usize = 10_000;

    /// Takes in a line of stderr.
    pub(super) fn hear(&mut self, names: &Names<'_>, line: &[u8]) {
        let text = || Escaped(line).to_string();
        self.remedy = self.remedy.or_else(|| remedy(line));
        self.last = Some(text());
        match names.read(line) {
            Complaint::Chatter => return,
            Complaint::DeletionsSkipped => self.deletions_skipped = true,
            Complaint::BrokenReceiver => self.refusal = Some(Refusal::BrokenReceiver),
            Complaint::Restricted => self.refusal = Some(Refusal::Restricted),
            Complaint::TargetGone => self.refusal = Some(Refusal::TargetGone),
            Complaint::Unplaced => self.unplaced = self.unplaced.take().or_else(|| Some(text())),
            Complaint::Unwritten(paths) | Complaint::Vanished(paths) => self.add(paths, text),
            Complaint::Unread(paths) => {
                self.unread.extend(paths.iter().take(Self::MOST).cloned());
                self.add(paths, text);
            }
        }
        if self.first.is_none() {
            self.first = Some(text());
        }
    }

    fn add(&mut self, paths: Vec<TreePath>, text: impl Fn() -> String) {
        if self.failed.len() >= Self::MOST {
            self.unplaced = self.unplaced.take().or_else(|| Some(text()));
            return;
        }
        for path in paths {
            self.failed.entry(path).or_insert_with(&text);
        }
    }

    /// Whether a call that deletes may have left something out, since the source could not be read
    /// completely.
    ///
    /// That rsync says so can't be relied upon: it says it on stdout, and with `-q` not at all.
    pub(super) fn kept_from_deleting(&self) -> bool {
        self.deletions_skipped || !self.unread.is_empty()
    }

    /// Why the call as a whole failed; `what` is the start of the sentence.
    pub(super) fn failure(&self, code: Option<i32>, what: &str) -> Failure {
        let mut why = what.to_owned();
        let said = self.first.as_ref().or(self.last.as_ref()).map(String::as_str);
        for part in said.into_iter().chain(self.remedy) {
            why += ": ";
            why += part;
        }
        Failure { code, why }
    }

    /// The places that have to be tried again after a call that ended with `code` and did a part.
    ///
    /// That are the ones it complained about and those below them, which it passes over in silence
    /// when it can't make their directory. If there is a complaint that names no place, or none at
    /// all, it is all of them.
    pub(super) fn failed_places(&self, covered: Covered<'_>, code: i32) -> Vec<(Place, Failure)> {
        let failure = |why: &String| Failure { code: Some(code), why: self.with_remedy(why) };
        let nothing_said = self.failed.is_empty();
        if let Some(why) = self.unplaced.as_ref().or(self.last.as_ref().filter(|_| nothing_said)) {
            let failure = failure(why);
            return covered.places().map(|place| (place, failure.clone())).collect();
        }
        if nothing_said {
            let failure = self.failure(Some(code), "rsync did only a part and did not say which");
            return covered.places().map(|place| (place, failure.clone())).collect();
        }
        let complained = self.failed.iter().map(|(path, why)| {
            // The attributes of the root come along with what is in it.
            let only_itself = path.is_root() && !matches!(covered, Covered::Root(_));
            let scope = if only_itself { Scope::Entry } else { covered.scope() };
            (Place { path: path.clone(), scope }, failure(why))
        });
        let below = covered.places().filter_map(|place| {
            let why = self.failed_above(&place.path)?;
            Some((place, failure(why)))
        });
        complained.chain(below).collect()
    }

    fn failed_above(&self, path: &TreePath) -> Option<&String> {
        // That something is wrong with the root itself keeps nothing else from coming.
        let mut above = path.parent();
        while let Some(path) = above.filter(|path| !path.is_root()) {
            if let Some(why) = self.failed.get(&path) {
                return Some(why);
            }
            above = path.parent();
        }
        None
    }

    fn with_remedy(&self, why: &str) -> String {
        self.remedy.map_or_else(|| why.to_owned(), |remedy| format!("{why}: {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirror_core::plan::target::Target;

    fn paths(texts: &[&str]) -> Vec<TreePath> {
        texts.iter().map(|text| TreePath::new(text.as_bytes()).unwrap()).collect()
    }

    fn failed(lines: &[&str], covered: Covered<'_>) -> Vec<String> {
        let target = Target::new(b"/dst").unwrap();
        let names = Names { source: b"/src/", target: &target };
        let mut findings = Findings::default();
        for line in lines {
            findings.hear(&names, line.as_bytes());
        }
        let failed = findings.failed_places(covered, 23);
        assert!(failed.iter().all(|(_, failure)| failure.code == Some(23)));
        failed.iter().map(|(place, _)| format!("{} {:?}", place.path, place.scope)).collect()
    }

    const END: &str = "rsync error: some files/attrs were not transferred (code 23)";

    #[test]
    fn only_what_failed_is_tried_again_and_what_is_below_it() {
        let (entries, gone) = (paths(&["a", "d/x", "d/e/y"]), paths(&["d/z", "q"]));
        let covered = Covered::List { entries: &entries, gone: &gone };
        let line = r#"rsync: [generator] recv_generator: mkdir "/dst/d" failed: No such file (2)"#;
        let places = ["/d Entry", "/d/x Entry", "/d/e/y Entry", "/d/z Entry"];
        assert_eq!(failed(&[line, END], covered), places);
    }

    #[test]
    fn of_the_root_it_is_only_itself() {
        let (entries, trees) = (paths(&["a"]), paths(&["d"]));
        let line =
            r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#;
        let list = Covered::List { entries: &entries, gone: &[] };
        assert_eq!(failed(&[line, END], list), ["/ Entry"]);
        assert_eq!(failed(&[line, END], Covered::Trees(&trees)), ["/ Entry"]);
    }

    #[test]
    fn of_a_tree_it_is_the_tree_below_what_failed() {
        let trees = paths(&["d", "e"]);
        let line = r#"rsync: [sender] opendir "/src/d/shut" failed: Permission denied (13)"#;
        assert_eq!(failed(&[line, END], Covered::Trees(&trees)), ["/d/shut Tree"]);
        assert_eq!(failed(&[line, END], Covered::Root(Scope::Tree)), ["/d/shut Tree"]);
    }

    #[test]
    fn what_cannot_be_told_is_everything() {
        let entries = paths(&["a", "b"]);
        let covered = Covered::List { entries: &entries, gone: &[] };
        let everything = ["/a Entry", "/b Entry"];
        assert_eq!(failed(&[], covered), everything);
        assert_eq!(failed(&[END], covered), everything);
        let lines = ["rsync: something new went wrong", r#"file has vanished: "/src/a""#];
        assert_eq!(failed(&lines, covered), everything);
        assert_eq!(failed(&[END], Covered::Root(Scope::Tree)), ["/ Tree"]);
    }

    #[test]
    fn what_can_be_mended_comes_with_a_remedy() {
        for (line, remedy) in [
            (
                r#"rsync: [receiver] write failed on "/dst/a": No space left on device (28)"#,
                "the target is full: free space there",
            ),
            (
                "@ERROR: Unknown module 'www'",
                "put that module into rsyncd.conf there, or see \
              whether it lets this host in",
            ),
        ] {
            let target = Target::new(b"/dst").unwrap();
            let mut findings = Findings::default();
            findings.hear(&Names { source: b"/src/", target: &target }, line.as_bytes());
            let failure = findings.failure(Some(11), "rsync failed");
            assert_eq!(failure.why, format!("rsync failed: {line}: {remedy}"));
        }
    }
}
