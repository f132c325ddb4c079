//! One rule, and how it is written.

use alloc::vec::Vec;

use super::{
    class::ByteSet,
    error::Fault,
    pattern::{Base, Pattern},
};

/// What becomes of an entry that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is mirrored, whatever later rules say.
    Include,
    /// It is left alone.
    Exclude,
}

/// Which end of a transfer a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that reads the source: what it hides is not sent.
    Sender,
    /// The end that writes the target: what it protects is not deleted.
    Receiver,
}

/// The letters after the name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Modifiers(ByteSet);

/// A rule with a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    action: Action,
    modifiers: Modifiers,
    pattern: Pattern,
}

/// How the lines of a list of rules are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// The name of a rule, modifiers, a blank or `_`, a pattern.
    Rules,
    /// A pattern, for which `+ ` or `- ` may say another action; `!` clears.
    Patterns(Action),
    /// Nothing but a pattern.
    Bare(Action),
    /// Nothing but a pattern; `!` clears.
    Cvs(Action),
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing: it is empty.
    Blank,
    /// The rules before it do not count any more.
    Clear,
    /// One rule.
    Rule(Rule),
    /// The rules with which CVS ignores files.
    Cvs(Action, Modifiers),
    /// The rules in a file.
    Merge(&'a [u8], Modifiers),
    /// The rules in the files of this name in each directory.
    PerDirectory(&'a [u8], Modifiers),
}

/// What a name or a letter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Match(Action),
    /// An action for one side only.
    Sided(Action, Side),
    Clear,
    Merge,
    PerDirectory,
}

/// The length from which rsync drops a pattern (`MAXPATHLEN`).
const TOO_LONG: usize = 4096;

const LONG_NAMES: [(&[u8], u8); 9] = [
    (b"exclude", b'-'),
    (b"include", b'+'),
    (b"hide", b'H'),
    (b"show", b'S'),
    (b"protect", b'P'),
    (b"risk", b'R'),
    (b"clear", b'!'),
    (b"merge", b'.'),
    (b"dir-merge", b':'),
];

impl Modifiers {
    pub(super) fn has(&self, letter: u8) -> bool {
        self.0.contains(letter)
    }

    pub(super) fn with(mut self, letters: &[u8]) -> Self {
        for &letter in letters {
            self.0.insert(letter);
        }
        self
    }

    /// Those that the rules of a merged file take over from the rule that merges it.
    fn inherited(&self) -> Self {
        b"/psr".iter().filter(|&&l| self.has(l)).fold(Self::default(), |to, l| to.with(&[*l]))
    }

    fn says_a_side(&self) -> bool {
        self.has(b's') || self.has(b'r')
    }

    /// How the lines of the file are to be read that a rule with these modifiers merges.
    pub(super) fn syntax(&self) -> Syntax {
        match (self.has(b'C'), self.has(b'+'), self.has(b'-')) {
            (true, _, _) => Syntax::Cvs(Action::Exclude),
            (_, true, _) => Syntax::Bare(Action::Include),
            (_, _, true) => Syntax::Bare(Action::Exclude),
            _ => Syntax::Rules,
        }
    }

    /// Those of the rules for which `-C` with these modifiers stands.
    pub(super) fn of_cvs_rules(&self) -> Self {
        self.inherited().with(b"p")
    }

    /// Whether a rule with them counts at a side, if nothing else says so.
    pub(super) fn count_at(&self, side: Side) -> bool {
        match (self.has(b's'), self.has(b'r')) {
            (sender, receiver) if sender == receiver => true,
            (sender, _) => sender == (side == Side::Sender),
        }
    }

    /// Writes them as rsync reads them.
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        let implied: &[u8] = if self.has(b'C') { b"-nw" } else { b"" };
        let letters = b"C-+enw/!srpx".iter();
        text.extend(letters.filter(|l| self.has(**l) && !implied.contains(l)));
    }
}

impl Rule {
    /// A rule with modifiers.
    pub(super) fn new(action: Action, modifiers: Modifiers, pattern: &[u8]) -> Self {
        let base = if modifiers.has(b'/') { Base::FileSystem } else { Base::Mirror };
        Self { action, modifiers, pattern: Pattern::new(pattern, base) }
    }

    /// What becomes of an entry that it matches.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Its pattern.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether it takes effect where the pattern does **not** match.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.modifiers.has(b'!')
    }

    /// Whether it does not count inside directories that are being deleted.
    #[must_use]
    pub fn is_perishable(&self) -> bool {
        self.modifiers.has(b'p')
    }

    /// With what its pattern has to be compared, if that is not a name anywhere.
    pub(super) fn base(&self) -> Base {
        if self.modifiers.has(b'/') && !self.pattern.is_for_names() {
            Base::FileSystem
        } else {
            Base::Mirror
        }
    }

    /// Whether it counts for entries at this side. Those about names of extended attributes don't.
    pub(super) fn counts_at(&self, side: Side, delete_excluded: bool) -> bool {
        let sender_only = delete_excluded && !self.modifiers.says_a_side();
        let here = self.modifiers.count_at(side) && !(sender_only && side == Side::Receiver);
        here && !self.modifiers.has(b'x')
    }

    /// The rule in rsync's short form, for `--filter`.
    #[must_use]
    pub fn to_rsync(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.pattern.text().len() + 4);
        text.push(match self.action {
            Action::Include => b'+',
            Action::Exclude => b'-',
        });
        self.modifiers.write(&mut text);
        text.push(b' ');
        text.extend_from_slice(self.pattern.text());
        text
    }
}

/// Reads one line. `outer` are the modifiers of the rule that merges the file.
pub(super) fn parse<'a>(
    line: &'a [u8],
    syntax: Syntax,
    outer: &Modifiers,
) -> Result<Line<'a>, Fault> {
    if line.contains(&0) {
        return Err(Fault::Nul);
    }
    let modifiers = outer.inherited();
    match syntax {
        _ if line.is_empty() => Ok(Line::Blank),
        Syntax::Patterns(_) | Syntax::Cvs(_) if line == b"!" => Ok(Line::Clear),
        Syntax::Bare(action) | Syntax::Cvs(action) => rule(action, modifiers, line),
        Syntax::Patterns(action) => match line {
            [b'-', b' ', pattern @ ..] => rule(Action::Exclude, modifiers, pattern),
            [b'+', b' ', pattern @ ..] => rule(Action::Include, modifiers, pattern),
            pattern => rule(action, modifiers, pattern),
        },
        Syntax::Rules => {
            let (name, rest) = name(line)?;
            if name == Name::Clear {
                return rest.is_empty().then_some(Line::Clear).ok_or(Fault::Trailing);
            }
            let at = rest.iter().position(|b| b" _".contains(b)).unwrap_or(rest.len());
            let (letters, rest) = rest.split_at_checked(at).unwrap_or((rest, b""));
            named(name, letters, rest.get(1..).unwrap_or_default(), &modifiers)
        }
    }
}

/// The name at the start of a line, and what follows it and a comma.
fn name(line: &[u8]) -> Result<(Name, &[u8]), Fault> {
    let long = LONG_NAMES.iter().find_map(|(name, letter)| {
        let rest = line.strip_prefix(*name)?;
        let ends = rest.first().is_none_or(|&b| b == b'_' || b == b',' || is_c_space(b));
        ends.then_some((*letter, rest))
    });
    let (letter, rest) = match (long, line) {
        (Some(found), _) => found,
        // A small letter starts a long name or nothing.
        (None, [letter, rest @ ..]) => (*letter, rest),
        (None, []) => return Err(Fault::UnknownRule),
    };
    let name = match letter {
        b'-' => Name::Match(Action::Exclude),
        b'+' => Name::Match(Action::Include),
        b'H' => Name::Sided(Action::Exclude, Side::Sender),
        b'S' => Name::Sided(Action::Include, Side::Sender),
        b'P' => Name::Sided(Action::Exclude, Side::Receiver),
        b'R' => Name::Sided(Action::Include, Side::Receiver),
        b'!' => Name::Clear,
        b'.' => Name::Merge,
        b':' => Name::PerDirectory,
        _ => return Err(Fault::UnknownRule),
    };
    Ok((name, rest.strip_prefix(b",").unwrap_or(rest)))
}

fn named<'a>(
    name: Name,
    letters: &[u8],
    argument: &'a [u8],
    inherited: &Modifiers,
) -> Result<Line<'a>, Fault> {
    let own = letters.iter().try_fold(Modifiers::default(), |own, &letter| {
        let all: &[u8] = if letter == b'C' { b"C-nw" } else { &[letter] };
        takes(name, letter, &own).then(|| own.with(all)).ok_or(Fault::Modifier(letter))
    })?;
    let own = match name {
        Name::Sided(_, Side::Sender) => own.with(b"s"),
        Name::Sided(_, Side::Receiver) => own.with(b"r"),
        Name::Match(_) | Name::Clear | Name::Merge | Name::PerDirectory => own,
    };
    if own.says_a_side() && inherited.says_a_side() {
        return Err(Fault::SidesTwice);
    }
    let modifiers = Modifiers(own.0.union(&inherited.0));
    match name {
        Name::Clear => Ok(Line::Clear),
        Name::Match(action) if modifiers.has(b'C') => match argument {
            [] => Ok(Line::Cvs(action, modifiers)),
            _ => Err(Fault::Trailing),
        },
        Name::Match(action) | Name::Sided(action, _) => rule(action, modifiers, argument),
        Name::Merge => Ok(Line::Merge(file(argument, &modifiers)?, modifiers)),
        Name::PerDirectory => Ok(Line::PerDirectory(file(argument, &modifiers)?, modifiers)),
    }
}

/// Whether a rule takes a modifier after those that it has already.
fn takes(name: Name, letter: u8, before: &Modifiers) -> bool {
    let (matches, sided, merges) = match name {
        Name::Match(_) => (true, false, false),
        Name::Sided(..) => (true, true, false),
        Name::Merge | Name::PerDirectory => (false, false, true),
        Name::Clear => return false,
    };
    let bare = before.has(b'+') || before.has(b'-');
    match letter {
        b'/' | b'p' | b'x' => true,
        // rsync takes `-!C` for "exclude everything", which nobody can mean.
        b'!' => matches && !before.has(b'C'),
        b's' | b'r' => !sided,
        b'C' => !sided && !bare && !before.has(b'!'),
        b'+' | b'-' => merges && !bare,
        b'e' | b'n' | b'w' => merges,
        _ => false,
    }
}

fn rule<'a>(action: Action, modifiers: Modifiers, pattern: &[u8]) -> Result<Line<'a>, Fault> {
    match pattern.len() {
        0 => Err(Fault::NoPattern),
        TOO_LONG.. => Err(Fault::TooLong),
        _ => Ok(Line::Rule(Rule::new(action, modifiers, pattern))),
    }
}

fn file<'a>(name: &'a [u8], modifiers: &Modifiers) -> Result<&'a [u8], Fault> {
    match name {
        [] if modifiers.has(b'C') => Ok(b".cvsignore"),
        [] => Err(Fault::NoPattern),
        name => Ok(name),
    }
}

/// What C's `isspace` takes, in the locales C and UTF-8.
pub(super) fn is_c_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}
