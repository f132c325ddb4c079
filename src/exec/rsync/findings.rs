//! What one call of rsync said, and what that means for the places it was about.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use mirror_core::{
    job::{Failure, HeldDeletions, Place, Scope},
    path::{Escaped, TreePath, directories_above},
    plan::{
        complaint::{Complaint, Names, for_people, number, unescape},
        rsync::SAME,
    },
};

use crate::exec::process::remedy::remedy;

/// The places that a call was about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Covered<'a> {
    /// Of these, if they are directories, only themselves.
    pub(super) entries: &'a [TreePath],
    /// These with what is below them.
    pub(super) trees: &'a [TreePath],
    /// What is gone.
    pub(super) gone: &'a [TreePath],
    /// The root, or all of it.
    pub(super) root: Option<Scope>,
}

impl Covered<'_> {
    pub(super) const fn root(scope: Scope) -> Self {
        Self { entries: &[], trees: &[], gone: &[], root: Some(scope) }
    }

    pub(super) fn places(self) -> impl Iterator<Item = Place> {
        let root = self.root.map(|scope| Place { path: TreePath::root(), scope });
        let place = |scope| move |path: &TreePath| Place { path: path.clone(), scope };
        let entries = self.entries.iter().chain(self.gone).map(place(Scope::Entry));
        root.into_iter().chain(entries).chain(self.trees.iter().map(place(Scope::Tree)))
    }
}

/// To which place of a call a path belongs.
#[derive(Debug)]
pub(super) struct Owners<'a> {
    of: Covered<'a>,
    known: OnceCell<Index<'a>>,
}

/// The places of a call, and the directories that lead to them.
type Index<'a> = (BTreeMap<&'a TreePath, Scope>, BTreeSet<TreePath>);

impl<'a> Owners<'a> {
    pub(super) const fn new(of: Covered<'a>) -> Self {
        Self { of, known: OnceCell::new() }
    }

    /// The place of the call that a complaint about `path` is about, if there is one.
    fn owner(&self, path: &TreePath) -> Option<Place> {
        if path.is_root() {
            let scope = self.of.root.unwrap_or(Scope::Entry);
            return Some(Place { path: path.clone(), scope });
        }
        match self.place_of(path) {
            Some(Place { scope: Scope::Tree, .. }) => {
                Some(Place { path: path.clone(), scope: Scope::Tree })
            }
            // In a directory that is gone, or that makes way.
            Some(entry) => Some(entry),
            None => {
                let (_, above) = self.known();
                above.contains(path).then(|| Place { path: path.clone(), scope: Scope::Entry })
            }
        }
    }

    /// The place of the call at or below which a path is.
    fn place_of(&self, path: &TreePath) -> Option<Place> {
        if self.of.root == Some(Scope::Tree) {
            return Some(Place::all());
        }
        let (places, _) = self.known();
        let mut at = path.clone();
        while !at.is_root() {
            if let Some(scope) = places.get(&at) {
                return Some(Place { path: at, scope: *scope });
            }
            at.pop();
        }
        None
    }

    fn known(&self) -> &Index<'a> {
        self.known.get_or_init(|| self.index())
    }

    fn index(&self) -> Index<'a> {
        let Covered { entries, trees, gone, .. } = self.of;
        let entries = entries.iter().chain(gone).map(|path| (path, Scope::Entry));
        let places: BTreeMap<_, _> =
            entries.chain(trees.iter().map(|path| (path, Scope::Tree))).collect();
        let above = directories_above(places.keys().copied());
        (places, above)
    }
}

/// Why another call is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The receiver can't delete by a list.
    BrokenReceiver,
    /// The other side does not know one of the options.
    Restricted,
    /// The other side takes no bound for deletions.
    Limit,
    /// The target is not there.
    TargetGone,
}

/// What rsync said in one call.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What failed where, and the first line that said so.
    failed: BTreeMap<TreePath, (Scope, String)>,
    /// Those of them that could not be read at the source.
    pub(super) unread: BTreeSet<TreePath>,
    /// Those of them that could not be written.
    pub(super) unwritten: BTreeSet<TreePath>,
    /// For what a directory did not make way.
    pub(super) in_the_way: BTreeMap<TreePath, (Scope, String)>,
    /// The directories that did not go since they are not empty.
    not_empty: BTreeSet<TreePath>,
    /// How many deletions a limit kept from being made.
    pub(super) limited: Option<u64>,
    /// How many entries there are, ..
    files: Option<u64>,
    /// .. and how many of them the target did not have.
    created: Option<u64>,
    /// How many entries were said to be deleted, and the first of them.
    pub(super) deleting: (u64, Vec<TreePath>),
    /// The places of the call in which they are.
    pub(super) deleting_in: BTreeSet<Place>,
    /// Which they were: with `-H` rsync may say it twice.
    deleted: HashSet<u64>,
    /// For some things a directory did not make way, and they were left out then: what lies in that
    /// directory was not counted.
    pub(super) is_incomplete: bool,
    /// Of how many files of equal size the time is the same, and of how many it is not.
    pub(super) times: (u64, u64),
    /// The first line about something that failed somewhere.
    unplaced: Option<String>,
    /// The first line of all that is no chatter.
    first: Option<String>,
    /// The last line of all.
    last: Option<String>,
    deletions_skipped: bool,
    /// What the module takes from nobody, and deletes for nobody.
    pub(super) refused: BTreeSet<TreePath>,
    /// What rsync says if there is no process or descriptor for a part of it.
    pub(super) shortage: Option<String>,
    /// Why the other side does not do what this call asks for.
    pub(super) refusal: Option<Refusal>,
    remedy: Option<&'static str>,
}

impl Findings {
    /// The most places that are told apart. With more it counts as a failure of the whole call.
    const MOST: usize = 10_000;

    /// Takes in a line of stderr.
    pub(super) fn hear(&mut self, names: &Names<'_>, owners: &Owners<'_>, line: &[u8]) {
        let text = || Escaped(&for_people(line)).to_string();
        // What to do about one file may be of no use to another.
        let own = remedy(line);
        let with_own = || own.map_or_else(text, |own| format!("{}: {own}", text()));
        self.remedy = self.remedy.or(own);
        self.last = Some(text());
        if is_of_a_shortage(line) {
            self.shortage.get_or_insert_with(text);
        }
        match names.read(line) {
            Complaint::Chatter => return,
            Complaint::DeletionsSkipped => self.deletions_skipped = true,
            Complaint::BrokenReceiver => self.refusal = Some(Refusal::BrokenReceiver),
            Complaint::Restricted => self.refusal = Some(Refusal::Restricted),
            Complaint::LimitRefused => self.refusal = Some(Refusal::Limit),
            Complaint::TargetGone => self.refusal = Some(Refusal::TargetGone),
            Complaint::Limited(number) => {
                self.limited = Some(self.limited.unwrap_or(0).max(number));
                return;
            }
            Complaint::NotEmpty(paths) => return self.add_not_empty(paths, owners),
            Complaint::InTheWay(paths) => {
                if let Some(Place { path, scope }) = of_the_call(&paths, owners) {
                    self.in_the_way.entry(path).or_insert_with(|| (scope, with_own()));
                } else {
                    self.blame_all(with_own);
                }
                return;
            }
            Complaint::Unplaced => self.blame_all(with_own),
            Complaint::Vanished(paths) => self.blame(&paths, owners, with_own),
            Complaint::Unwritten(paths) => {
                self.add_unwritten(line, &paths, owners, with_own);
            }
            Complaint::Unread(paths) => {
                if let Some(place) = of_the_call(&paths, owners).filter(|_| !self.is_full()) {
                    self.unread.insert(place.path);
                }
                self.blame(&paths, owners, with_own);
            }
        }
        if self.first.is_none() {
            self.first = Some(text());
        }
    }

    /// Takes in a line of stdout.
    pub(super) fn hear_out(&mut self, names: &Names<'_>, owners: &Owners<'_>, line: &[u8]) {
        if let Some(rest) = line.strip_prefix(DELETED) {
            if !self.deleted.insert(HASHER.hash_one(rest)) {
                return;
            }
            self.deleting.0 += 1;
            let Some(path) = TreePath::new(&unescape(rest)) else { return };
            self.deleting_in.extend(owners.place_of(&path));
            if self.deleting.1.len() < HeldDeletions::MOST_NAMED {
                self.deleting.1.push(path);
            }
        } else if let Some(rest) = line.strip_prefix(FILES) {
            self.files = number(rest);
        } else if let Some(rest) = line.strip_prefix(CREATED) {
            self.created = number(rest);
        } else if let Some(rest) = line.strip_prefix(SAME) {
            self.add_times(rest);
        } else if line.starts_with(NOT_EMPTY) {
            if let Complaint::NotEmpty(paths) = names.read(line) {
                self.add_not_empty(paths, owners);
            }
        } else if line.starts_with(b"IO error encountered -- skipping file deletion") {
            self.deletions_skipped = true;
        }
    }

    /// Takes in what differs at a file: `%i` of rsync(1), `.f..t......` for one.
    fn add_times(&mut self, differs: &[u8]) {
        let [_, b'f', _, _, time, ..] = differs else { return };
        match time {
            b'.' | b' ' => self.times.0 += 1,
            b't' => self.times.1 += 1,
            _ => {}
        }
    }

    fn is_full(&self) -> bool {
        self.failed.len() >= Self::MOST
    }

    fn add_not_empty(&mut self, paths: Vec<TreePath>, owners: &Owners<'_>) {
        let known = paths.iter().find(|path| owners.owner(path).is_some()).cloned();
        self.not_empty.extend(known.or_else(|| paths.into_iter().next()));
    }

    fn add_unwritten(
        &mut self,
        line: &[u8],
        paths: &[TreePath],
        owners: &Owners<'_>,
        text: impl Fn() -> String,
    ) {
        if let Some(Place { path, .. }) = of_the_call(paths, owners).filter(|_| !self.is_full()) {
            if line.starts_with(b"ERROR: daemon refused to receive ") {
                self.refused.insert(path.clone());
            }
            // Of the root only attributes are written.
            if path.is_root() {
                self.failed.entry(path.clone()).or_insert_with(|| (Scope::Entry, text()));
            }
            self.unwritten.insert(path);
        }
        self.blame(paths, owners, text);
    }

    fn blame_all(&mut self, text: impl Fn() -> String) {
        self.unplaced = self.unplaced.take().or_else(|| Some(text()));
    }

    /// The first reading that has to do with this call is what failed.
    fn blame(&mut self, paths: &[TreePath], owners: &Owners<'_>, text: impl Fn() -> String) {
        match of_the_call(paths, owners).filter(|_| !self.is_full()) {
            Some(Place { path, scope }) => {
                self.failed.entry(path).or_insert_with(|| (scope, text()));
            }
            None => self.blame_all(text),
        }
    }

    /// What is tried again since something was in its way.
    pub(super) fn blocked(&self) -> Vec<(Place, Failure)> {
        Self::failures(&self.in_the_way, None)
    }

    /// Whether a call that deletes may have left something out, since the source could not be read
    /// completely.
    ///
    /// That rsync says so can't be relied upon: it says it on stdout, and with `-q` not at all.
    pub(super) fn kept_from_deleting(&self) -> bool {
        self.deletions_skipped || !self.unread.is_empty()
    }

    /// How many entries a call would have deleted that was to delete none.
    ///
    /// rsync leaves the topmost directories that are not empty out of its number.
    pub(super) fn would_delete(&self) -> u64 {
        let Some(limited) = self.limited else { return 0 };
        let mut last: Option<&TreePath> = None;
        let mut topmost = 0;
        let mut sorted: Vec<_> = self.not_empty.iter().collect();
        sorted.sort_by(|a, b| a.components().cmp(b.components()));
        for path in sorted {
            if !last.is_some_and(|last| last.contains(path)) {
                topmost += 1;
                last = Some(path);
            }
        }
        limited.saturating_add(topmost)
    }

    /// How many entries the target has of the source.
    pub(super) fn held_before(&self) -> Option<u64> {
        Some(self.files?.saturating_sub(self.created?))
    }

    /// How many entries of the source were compared.
    pub(super) const fn listed(&self) -> Option<u64> {
        self.files
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

    /// The places that were complained about.
    pub(super) fn complained(&self, code: Option<i32>) -> Vec<(Place, Failure)> {
        Self::failures(&self.failed, code)
    }

    fn failures(
        failed: &BTreeMap<TreePath, (Scope, String)>,
        code: Option<i32>,
    ) -> Vec<(Place, Failure)> {
        let failure = |(path, (scope, why)): (&TreePath, &(Scope, String))| {
            let place = Place { path: path.clone(), scope: *scope };
            (place, Failure { code, why: why.clone() })
        };
        failed.iter().map(failure).collect()
    }

    /// The places that have to be tried again after a call that ended with `code` and did a part.
    ///
    /// That are the ones it complained about and those below them, which it passes over in silence
    /// when it can't make their directory. If there is a complaint that names no place, or none at
    /// all, it is all of them.
    pub(super) fn failed_places(&self, covered: Covered<'_>, code: i32) -> Vec<(Place, Failure)> {
        let failure = |why: &String| Failure { code: Some(code), why: why.clone() };
        let explained = !self.in_the_way.is_empty() || self.limited.is_some();
        let nothing_said = self.failed.is_empty() && !explained;
        let last = || self.last.as_ref().filter(|_| nothing_said).map(|why| self.with_remedy(why));
        if let Some(why) = self.unplaced.clone().or_else(last) {
            let failure = failure(&why);
            return covered.places().map(|place| (place, failure.clone())).collect();
        }
        if nothing_said {
            let failure = self.failure(Some(code), "rsync did only a part and did not say which");
            return covered.places().map(|place| (place, failure.clone())).collect();
        }
        let below = covered.places().filter_map(|place| {
            let why = self.failed_above(&place.path)?;
            Some((place, failure(why)))
        });
        self.complained(Some(code)).into_iter().chain(below).collect()
    }

    fn failed_above(&self, path: &TreePath) -> Option<&String> {
        // That something is wrong with the root itself keeps nothing else from coming.
        let mut above = path.parent();
        while let Some(path) = above.filter(|path| !path.is_root()) {
            if let Some((_, why)) = self.failed.get(&path) {
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

/// Whether rsync could not start a part of it, as there was too little of something at the moment.
fn is_of_a_shortage(line: &[u8]) -> bool {
    let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
    let failed: [&[u8]; 4] = [b" fork failed in ", b" fork: ", b" pipe failed in ", b" pipe: "];
    let too_little: [&[u8]; 3] = [
        b"Resource temporarily unavailable (11)",
        b"Cannot allocate memory (12)",
        b"Too many open files (24)",
    ];
    // What has a name in it, in quotes, is about that.
    line.starts_with(b"rsync: ")
        && !line.contains(&b'"')
        && failed.iter().any(|part| has(part))
        && too_little.iter().any(|end| line.ends_with(end))
}

fn of_the_call(paths: &[TreePath], owners: &Owners<'_>) -> Option<Place> {
    paths.iter().find_map(|path| owners.owner(path))
}

const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// How a call that only tells says that something would be deleted.
const DELETED: &[u8] = b"del. ";

const NOT_EMPTY: &[u8] = b"cannot delete non-empty directory: ";

const FILES: &[u8] = b"Number of files: ";

const CREATED: &[u8] = b"Number of created files: ";

/// What a line of stdout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something that only we asked for.
    Asked,
    /// A line of `--stats`.
    Number,
    /// One of the lines that end the output of an rsync with `-v`.
    Sum,
    /// Anything else.
    Other,
}

impl Said {
    pub(super) fn of(line: &[u8]) -> Self {
        const NUMBERS: [&[u8]; 14] = [
            FILES,
            CREATED,
            b"Number of deleted files: ",
            b"Number of regular files transferred: ",
            b"Number of files transferred: ",
            b"Total file size: ",
            b"Total transferred file size: ",
            b"Literal data: ",
            b"Matched data: ",
            b"File list size: ",
            b"File list generation time: ",
            b"File list transfer time: ",
            b"Total bytes sent: ",
            b"Total bytes received: ",
        ];
        let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
        let is_sent = line.starts_with(b"sent ") && has(b" bytes/sec");
        let is_total = line.starts_with(b"total size is ") && has(b"speedup is ");
        if [DELETED, NOT_EMPTY, SAME].iter().any(|head| line.starts_with(head)) {
            Self::Asked
        } else if NUMBERS.iter().any(|head| line.starts_with(head)) {
            Self::Number
        } else if line.is_empty() || is_sent || is_total {
            Self::Sum
        } else {
            Self::Other
        }
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
        let owners = Owners::new(covered);
        for line in lines {
            findings.hear(&names, &owners, line.as_bytes());
        }
        let failed = findings.failed_places(covered, 23);
        assert!(failed.iter().all(|(_, failure)| failure.code == Some(23)));
        failed.iter().map(|(place, _)| format!("{} {:?}", place.path, place.scope)).collect()
    }

    const END: &str = "rsync error: some files/attrs were not transferred (code 23)";

    #[test]
    fn only_what_failed_is_tried_again_and_what_is_below_it() {
        let (entries, gone) = (paths(&["a", "d/x", "d/e/y"]), paths(&["d/z", "q"]));
        let covered = Covered { entries: &entries, gone: &gone, ..Covered::default() };
        let line = r#"rsync: [generator] recv_generator: mkdir "/dst/d" failed: No such file (2)"#;
        let places = ["/d Entry", "/d/x Entry", "/d/e/y Entry", "/d/z Entry"];
        assert_eq!(failed(&[line, END], covered), places);
    }

    #[test]
    fn of_the_root_it_is_only_itself() {
        let (entries, trees) = (paths(&["a"]), paths(&["d"]));
        let line =
            r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#;
        let list = Covered { entries: &entries, ..Covered::default() };
        assert_eq!(failed(&[line, END], list), ["/ Entry"]);
        assert_eq!(
            failed(&[line, END], Covered { trees: &trees, ..Covered::default() }),
            ["/ Entry"]
        );
    }

    #[test]
    fn of_a_tree_it_is_the_tree_below_what_failed() {
        let trees = paths(&["d", "e"]);
        let line = r#"rsync: [sender] opendir "/src/d/shut" failed: Permission denied (13)"#;
        assert_eq!(
            failed(&[line, END], Covered { trees: &trees, ..Covered::default() }),
            ["/d/shut Tree"]
        );
        assert_eq!(failed(&[line, END], Covered::root(Scope::Tree)), ["/d/shut Tree"]);
    }

    #[test]
    fn what_cannot_be_told_is_everything() {
        let entries = paths(&["a", "b"]);
        let covered = Covered { entries: &entries, ..Covered::default() };
        let everything = ["/a Entry", "/b Entry"];
        assert_eq!(failed(&[], covered), everything);
        assert_eq!(failed(&[END], covered), everything);
        let lines = ["rsync: something new went wrong", r#"file has vanished: "/src/a""#];
        assert_eq!(failed(&lines, covered), everything);
        assert_eq!(failed(&[END], Covered::root(Scope::Tree)), ["/ Tree"]);
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
            let names = Names { source: b"/src/", target: &target };
            let owners = Owners::new(Covered::root(Scope::Tree));
            findings.hear(&names, &owners, line.as_bytes());
            let failure = findings.failure(Some(11), "rsync failed");
            assert_eq!(failure.why, format!("rsync failed: {line}: {remedy}"));
        }
    }

    #[test]
    fn that_attributes_of_the_root_are_not_set_is_no_reason_to_compare_all() {
        let line =
            r#"rsync: [generator] failed to set times on "/dst/.": Operation not permitted (1)"#;
        assert_eq!(failed(&[line, END], Covered::root(Scope::Tree)), ["/ Entry"]);
    }

    #[test]
    fn a_shortage_is_told_from_all_else() {
        for (line, is_it) in [
            (
                "rsync: [Receiver] fork failed in do_recv: Resource temporarily unavailable (11)",
                true,
            ),
            ("rsync: [sender] pipe: Too many open files (24)", true),
            ("rsync: [sender] fork failed in do_recv: Operation not permitted (1)", false),
            (r#"rsync: [sender] opendir "/src/ fork: a" failed: Too many open files (24)"#, false),
            ("rsync: [receiver] read error: Resource temporarily unavailable (11)", false),
        ] {
            assert_eq!(is_of_a_shortage(line.as_bytes()), is_it, "{line}");
        }
    }

    #[test]
    fn a_remedy_is_of_the_file_that_it_was_said_of() {
        let entries = paths(&["big", "unread", "Disk quota exceeded"]);
        let covered = Covered { entries: &entries, ..Covered::default() };
        let target = Target::new(b"/dst").unwrap();
        let names = Names { source: b"/src/", target: &target };
        let (mut findings, owners) = (Findings::default(), Owners::new(covered));
        for line in [
            r#"rsync: [receiver] write failed on "/dst/big": No space left on device (28)"#,
            r#"rsync: [sender] send_files failed to open "/src/unread": Permission denied (13)"#,
            r#"rsync: [sender] send_files failed to open "/src/Disk quota exceeded": Permission denied (13)"#,
        ] {
            findings.hear(&names, &owners, line.as_bytes());
        }
        let failed = findings.complained(Some(23));
        let is_mended =
            |(place, why): &(Place, Failure)| (place.path.to_string(), !why.why.ends_with(')'));
        let wanted = [("/Disk quota exceeded", false), ("/big", true), ("/unread", false)];
        let wanted = wanted.map(|(path, is_mended)| (path.to_owned(), is_mended));
        assert_eq!(failed.iter().map(is_mended).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn one_line_is_about_one_place_of_the_call() {
        let entries = paths(&["a", "d/x"]);
        let covered = Covered { entries: &entries, ..Covered::default() };
        let line =
            r#"rsync: [receiver] rename "/dst/.a.aBcDeF" -> "a": Operation not permitted (1)"#;
        assert_eq!(failed(&[line, END], covered), ["/a Entry"]);
        let line = r#"rsync: [receiver] mkstemp "/dst/d/.x.aBcDeF" failed: Permission denied (13)"#;
        assert_eq!(failed(&[line, END], covered), ["/d/x Entry"]);
        // A name that is not of the call says nothing about what is.
        let line = r#"rsync: [receiver] mkstemp "/dst/q" failed: Permission denied (13)"#;
        assert_eq!(failed(&[line, END], covered), ["/a Entry", "/d/x Entry"]);
        let gone = paths(&["gone"]);
        let covered = Covered { gone: &gone, ..covered };
        let line = "rsync: [generator] delete_file: unlink(gone/in/it) failed: Not permitted (1)";
        assert_eq!(failed(&[line, END], covered), ["/gone Entry"]);
    }

    #[test]
    fn what_would_be_deleted_is_counted() {
        let target = Target::new(b"/dst").unwrap();
        let names = Names { source: b"/src/", target: &target };
        let owners = Owners::new(Covered::root(Scope::Tree));
        let mut findings = Findings::default();
        assert_eq!(findings.would_delete(), 0);
        for line in [
            "cannot delete non-empty directory: a/b",
            "cannot delete non-empty directory: a-b",
            "cannot delete non-empty directory: a",
            "Number of files: 1,005 (reg: 1,000, dir: 5)",
            "Number of created files: 2 (reg: 1, dir: 1)",
            "Total file size: 4 bytes",
            "",
            "sent 166 bytes  received 367 bytes  1,066.00 bytes/sec",
        ] {
            findings.hear_out(&names, &owners, line.as_bytes());
            assert_ne!(Said::of(line.as_bytes()), Said::Other, "{line}");
        }
        assert_eq!(Said::of(b"a/file"), Said::Other);
        assert_eq!(findings.would_delete(), 0);
        let line = b"Deletions stopped due to --max-delete limit (13 skipped)";
        findings.hear(&names, &owners, line);
        assert_eq!(findings.would_delete(), 15);
        assert_eq!(findings.held_before(), Some(1003));
        let places = findings.failed_places(Covered::root(Scope::Tree), 25);
        assert_eq!(places, []);
    }
}
