//! Filter rules and their syntax.

use alloc::vec::Vec;

use super::{
    class::ByteSet,
    error::RuleErrorKind,
    pattern::{Pattern, PatternRoot},
};

/// Effect of a rule on a matching entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// The entry is mirrored, regardless of later rules.
    Include,
    /// The entry is left alone.
    Exclude,
}

/// The side of a transfer to which a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferSide {
    /// The side that reads the source: entries that it hides are not sent.
    Sender,
    /// The side that writes the target: entries that it protects are not deleted.
    Receiver,
}

/// Modifier letters after the name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct RuleModifiers(ByteSet);

/// A rule with a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRule {
    action: RuleAction,
    modifiers: RuleModifiers,
    pattern: Pattern,
}

/// Syntax of the lines of a rule list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleSyntax {
    /// Rule name, modifiers, a blank or `_`, a pattern.
    Rules,
    /// A pattern, with an optional `+ ` or `- ` that overrides the action; `!` clears the list.
    Patterns(RuleAction),
    /// Only a pattern.
    Bare(RuleAction),
    /// Only a pattern; `!` clears the list.
    Cvs(RuleAction),
}

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleLine<'a> {
    /// An empty line.
    Blank,
    /// Discards all rules before it.
    Clear,
    /// One rule.
    Rule(FilterRule),
    /// The ignore rules of CVS.
    Cvs(RuleAction, RuleModifiers),
    /// The rules in this file.
    Merge(&'a [u8], RuleModifiers),
    /// The rules in the files of this name in each directory.
    PerDirectory(&'a [u8], RuleModifiers),
}

/// A rule name, long or short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleName {
    Match(RuleAction),
    /// An action for one side only.
    Sided(RuleAction, TransferSide),
    Clear,
    Merge,
    PerDirectory,
}

/// Length from which rsync drops a pattern (`MAXPATHLEN`).
const PATTERN_LIMIT: usize = 4096;

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

impl RuleModifiers {
    pub(super) fn has(&self, letter: u8) -> bool {
        self.0.contains(letter)
    }

    pub(super) fn with(mut self, letters: &[u8]) -> Self {
        for &letter in letters {
            self.0.insert(letter);
        }
        self
    }

    /// Returns the modifiers that the rules of a merged file inherit from the merge rule.
    fn inherited(&self) -> Self {
        b"/psr".iter().filter(|&&l| self.has(l)).fold(Self::default(), |to, l| to.with(&[*l]))
    }

    fn names_a_side(&self) -> bool {
        self.has(b's') || self.has(b'r')
    }

    /// Returns the syntax of the lines of a file that a rule with these modifiers merges.
    pub(super) fn syntax(&self) -> RuleSyntax {
        match (self.has(b'C'), self.has(b'+'), self.has(b'-')) {
            (true, _, _) => RuleSyntax::Cvs(RuleAction::Exclude),
            (_, true, _) => RuleSyntax::Bare(RuleAction::Include),
            (_, _, true) => RuleSyntax::Bare(RuleAction::Exclude),
            _ => RuleSyntax::Rules,
        }
    }

    /// Returns the modifiers of the rules that `-C` with these modifiers stands for.
    pub(super) fn for_cvs_rules(&self) -> Self {
        self.inherited().with(b"p")
    }

    /// Returns true if a rule with these modifiers applies at `side` by default.
    pub(super) fn apply_at(&self, side: TransferSide) -> bool {
        match (self.has(b's'), self.has(b'r')) {
            (sender, receiver) if sender == receiver => true,
            (sender, _) => sender == (side == TransferSide::Sender),
        }
    }

    /// Appends the modifiers in rsync's syntax.
    pub(super) fn write(&self, text: &mut Vec<u8>) {
        let implied: &[u8] = if self.has(b'C') { b"-nw" } else { b"" };
        let letters = b"C-+enw/!srpx".iter();
        text.extend(letters.filter(|l| self.has(**l) && !implied.contains(l)));
    }
}

impl FilterRule {
    pub(super) fn new(action: RuleAction, modifiers: RuleModifiers, pattern: &[u8]) -> Self {
        let base = if modifiers.has(b'/') { PatternRoot::FileSystem } else { PatternRoot::Mirror };
        Self { action, modifiers, pattern: Pattern::new(pattern, base) }
    }

    /// Returns the effect on a matching entry.
    #[must_use]
    pub fn action(&self) -> RuleAction {
        self.action
    }

    /// Returns the pattern.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Returns true if the rule applies where the pattern does **not** match.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.modifiers.has(b'!')
    }

    /// Returns true if the rule does not apply inside directories that are being deleted.
    #[must_use]
    pub fn is_perishable(&self) -> bool {
        self.modifiers.has(b'p')
    }

    /// Returns the root for the comparison. A pattern for names alone needs no root.
    pub(super) fn base(&self) -> PatternRoot {
        if self.modifiers.has(b'/') && !self.pattern.matches_names_only() {
            PatternRoot::FileSystem
        } else {
            PatternRoot::Mirror
        }
    }

    /// Returns true if the rule applies to entries at this side. Rules about names of extended
    /// attributes never do.
    pub(super) fn applies_at(&self, side: TransferSide, delete_excluded: bool) -> bool {
        let sender_only = delete_excluded && !self.modifiers.names_a_side();
        let here =
            self.modifiers.apply_at(side) && !(sender_only && side == TransferSide::Receiver);
        here && !self.modifiers.has(b'x')
    }

    /// Returns the rule in rsync's short form, for `--filter`.
    #[must_use]
    pub fn to_rsync(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.pattern.text().len() + 4);
        text.push(match self.action {
            RuleAction::Include => b'+',
            RuleAction::Exclude => b'-',
        });
        self.modifiers.write(&mut text);
        text.push(b' ');
        text.extend_from_slice(self.pattern.text());
        text
    }
}

/// Parses one line. `outer` are the modifiers of the rule that merges the file.
pub(super) fn parse<'a>(
    line: &'a [u8],
    syntax: RuleSyntax,
    outer: &RuleModifiers,
) -> Result<RuleLine<'a>, RuleErrorKind> {
    if line.contains(&0) {
        return Err(RuleErrorKind::Nul);
    }
    let modifiers = outer.inherited();
    match syntax {
        _ if line.is_empty() => Ok(RuleLine::Blank),
        RuleSyntax::Patterns(_) | RuleSyntax::Cvs(_) if line == b"!" => Ok(RuleLine::Clear),
        RuleSyntax::Bare(action) | RuleSyntax::Cvs(action) => pattern_line(action, modifiers, line),
        RuleSyntax::Patterns(action) => match line {
            [b'-', b' ', pattern @ ..] => pattern_line(RuleAction::Exclude, modifiers, pattern),
            [b'+', b' ', pattern @ ..] => pattern_line(RuleAction::Include, modifiers, pattern),
            pattern => pattern_line(action, modifiers, pattern),
        },
        RuleSyntax::Rules => {
            let (name, rest) = parse_name(line)?;
            if name == RuleName::Clear {
                return rest.is_empty().then_some(RuleLine::Clear).ok_or(RuleErrorKind::Trailing);
            }
            let at = rest.iter().position(|b| b" _".contains(b)).unwrap_or(rest.len());
            let (letters, rest) = rest.split_at_checked(at).unwrap_or((rest, b""));
            parse_named(name, letters, rest.get(1..).unwrap_or_default(), &modifiers)
        }
    }
}

/// Parses the name at the start of a line. Returns it and the text after it and an optional comma.
fn parse_name(line: &[u8]) -> Result<(RuleName, &[u8]), RuleErrorKind> {
    let long = LONG_NAMES.iter().find_map(|(name, letter)| {
        let rest = line.strip_prefix(*name)?;
        let ends = rest.first().is_none_or(|&b| b == b'_' || b == b',' || is_c_space(b));
        ends.then_some((*letter, rest))
    });
    let (letter, rest) = match (long, line) {
        (Some(found), _) => found,
        // A lowercase letter can only start a long name.
        (None, [letter, rest @ ..]) => (*letter, rest),
        (None, []) => return Err(RuleErrorKind::UnknownRule),
    };
    let name = match letter {
        b'-' => RuleName::Match(RuleAction::Exclude),
        b'+' => RuleName::Match(RuleAction::Include),
        b'H' => RuleName::Sided(RuleAction::Exclude, TransferSide::Sender),
        b'S' => RuleName::Sided(RuleAction::Include, TransferSide::Sender),
        b'P' => RuleName::Sided(RuleAction::Exclude, TransferSide::Receiver),
        b'R' => RuleName::Sided(RuleAction::Include, TransferSide::Receiver),
        b'!' => RuleName::Clear,
        b'.' => RuleName::Merge,
        b':' => RuleName::PerDirectory,
        _ => return Err(RuleErrorKind::UnknownRule),
    };
    Ok((name, rest.strip_prefix(b",").unwrap_or(rest)))
}

fn parse_named<'a>(
    name: RuleName,
    letters: &[u8],
    argument: &'a [u8],
    inherited: &RuleModifiers,
) -> Result<RuleLine<'a>, RuleErrorKind> {
    let own = letters.iter().try_fold(RuleModifiers::default(), |own, &letter| {
        let all: &[u8] = if letter == b'C' { b"C-nw" } else { &[letter] };
        accepts_modifier(name, letter, &own)
            .then(|| own.with(all))
            .ok_or(RuleErrorKind::Modifier(letter))
    })?;
    let own = match name {
        RuleName::Sided(_, TransferSide::Sender) => own.with(b"s"),
        RuleName::Sided(_, TransferSide::Receiver) => own.with(b"r"),
        RuleName::Match(_) | RuleName::Clear | RuleName::Merge | RuleName::PerDirectory => own,
    };
    if own.names_a_side() && inherited.names_a_side() {
        return Err(RuleErrorKind::SidesTwice);
    }
    let modifiers = RuleModifiers(own.0.union(&inherited.0));
    match name {
        RuleName::Clear => Ok(RuleLine::Clear),
        RuleName::Match(action) if modifiers.has(b'C') => match argument {
            [] => Ok(RuleLine::Cvs(action, modifiers)),
            _ => Err(RuleErrorKind::Trailing),
        },
        RuleName::Match(action) | RuleName::Sided(action, _) => {
            pattern_line(action, modifiers, argument)
        }
        RuleName::Merge => Ok(RuleLine::Merge(merge_file_name(argument, &modifiers)?, modifiers)),
        RuleName::PerDirectory => {
            Ok(RuleLine::PerDirectory(merge_file_name(argument, &modifiers)?, modifiers))
        }
    }
}

/// Returns true if a rule accepts a modifier after those `before` it.
fn accepts_modifier(name: RuleName, letter: u8, before: &RuleModifiers) -> bool {
    let (matches, sided, merges) = match name {
        RuleName::Match(_) => (true, false, false),
        RuleName::Sided(..) => (true, true, false),
        RuleName::Merge | RuleName::PerDirectory => (false, false, true),
        RuleName::Clear => return false,
    };
    let bare = before.has(b'+') || before.has(b'-');
    match letter {
        b'/' | b'p' | b'x' => true,
        // rsync reads `-!C` as "exclude everything", which is never intended.
        b'!' => matches && !before.has(b'C'),
        b's' | b'r' => !sided,
        b'C' => !sided && !bare && !before.has(b'!'),
        b'+' | b'-' => merges && !bare,
        b'e' | b'n' | b'w' => merges,
        _ => false,
    }
}

fn pattern_line<'a>(
    action: RuleAction,
    modifiers: RuleModifiers,
    pattern: &[u8],
) -> Result<RuleLine<'a>, RuleErrorKind> {
    match pattern.len() {
        0 => Err(RuleErrorKind::NoPattern),
        PATTERN_LIMIT.. => Err(RuleErrorKind::TooLong),
        _ => Ok(RuleLine::Rule(FilterRule::new(action, modifiers, pattern))),
    }
}

fn merge_file_name<'a>(
    name: &'a [u8],
    modifiers: &RuleModifiers,
) -> Result<&'a [u8], RuleErrorKind> {
    match name {
        [] if modifiers.has(b'C') => Ok(b".cvsignore"),
        [] => Err(RuleErrorKind::NoPattern),
        name => Ok(name),
    }
}

/// Returns true for the bytes of C's `isspace` in the locales C and UTF-8.
pub(super) fn is_c_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}
