//! From texts to a filter.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{
    Filter, Item,
    error::{Fault, RuleError},
    rule::{self, Action, Line, Modifiers, Rule, Syntax, is_c_space},
};

/// Reads the file that a `merge` rule names; the error says why it can't.
///
/// The name is that in the rule: rsync takes a relative one from its working directory.
pub type Reader<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// Gathers rules in their order.
///
/// The texts mean what they mean to rsync. Where Lsyncd 2.x reads them otherwise:
///
/// | text | rsync, and so we | Lsyncd 2.x, for events |
/// |---|---|---|
/// | `[a-z]`, `\` | a class, an escape | these characters |
/// | `foo/` | a directory and all in it | the directory, not what is in it |
/// | `a/***` | `a` and all in it | only what is in it |
/// | `x$` | a name that is `x$` | also names that start with `x$` |
/// | directory excluded, entry in it included | excluded | included |
/// | exclude `+ foo`, `- foo`, `!` | include, exclude, clear | the pattern as it stands |
/// | file of excludes: line starting with `;` | a comment | a pattern |
/// | file of excludes: line starting with `+` | with a blank: an include | skipped |
/// | file of excludes: line `-x` | the pattern `-x` | the pattern `x` |
/// | file of excludes: blanks at the start of a line | belong to the pattern | are skipped |
/// | file of excludes or rules: CR at the end of a line | ends the line | belongs to the pattern |
/// | rule `P a-b` and other names | protects `a-b` | excludes `b` |
/// | rule <code>&#124; foo</code> | an error | an include |
/// | the same exclude twice, or the order of excludes | the first that matches decides | a set |
#[derive(Clone, Debug, Default)]
pub struct Builder {
    items: Vec<Item>,
    pub(super) source: Option<Box<[u8]>>,
    pub(super) target: Option<Box<[u8]>>,
    pub(super) delete_excluded: bool,
}

/// The file whose lines are read.
#[derive(Clone, Copy, Debug)]
struct Merged<'a> {
    /// Its name. `None`: contents that the caller gave.
    name: Option<&'a [u8]>,
    modifiers: &'a Modifiers,
    syntax: Syntax,
    depth: usize,
}

/// How deeply merged files can be nested.
const DEEPEST: usize = 16;

/// What `-C` excludes (`man rsync`, `--cvs-exclude`).
const CVS: &[u8] =
    b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* \
    .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc \
    *.ln core .svn/ .git/ .hg/ .bzr/";

impl Builder {
    /// No rules yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says where the root of the source is, an absolute path, for rules with the modifier `/`.
    ///
    /// Without it such rules can't be decided here ([`Filter::undecided`]).
    #[must_use]
    pub fn source(mut self, root: &[u8]) -> Self {
        self.source = Some(trimmed(root));
        self
    }

    /// Says where the root of the target is, an absolute path of this machine.
    #[must_use]
    pub fn target(mut self, root: &[u8]) -> Self {
        self.target = Some(trimmed(root));
        self
    }

    /// Rules that name no side do not protect on the target (rsync's `--delete-excluded`).
    #[must_use]
    pub fn delete_excluded(mut self) -> Self {
        self.delete_excluded = true;
        self
    }

    /// Adds a pattern as rsync's `--exclude` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// If the pattern is missing after `- ` or `+ `, is too long or holds a NUL.
    pub fn exclude(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        self.pattern(pattern, Action::Exclude)
    }

    /// Adds a pattern as rsync's `--include` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn include(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        self.pattern(pattern, Action::Include)
    }

    /// Adds a rule as rsync's `--filter` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// If it is no rule, or `read` could not read a file that it merges, or a rule in that file
    /// is wrong.
    pub fn rule(&mut self, rule: &[u8], read: &mut Reader) -> Result<(), RuleError> {
        let modifiers = &Modifiers::default();
        let merged = Merged { name: None, modifiers, syntax: Syntax::Rules, depth: 0 };
        self.line(rule, merged, read)
    }

    /// Adds the patterns in the contents of a file as rsync's `--exclude-from` does.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn exclude_from(&mut self, contents: &[u8]) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&Modifiers::default(), Syntax::Patterns(Action::Exclude));
        self.merge(contents, Merged { name: None, modifiers, syntax, depth: 0 }, &mut no_file)
    }

    /// Adds the patterns in the contents of a file as rsync's `--include-from` does.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn include_from(&mut self, contents: &[u8]) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&Modifiers::default(), Syntax::Patterns(Action::Include));
        self.merge(contents, Merged { name: None, modifiers, syntax, depth: 0 }, &mut no_file)
    }

    /// Adds the rules in the contents of a file as rsync's `--filter='. FILE'` does.
    ///
    /// # Errors
    ///
    /// As [`Self::rule`].
    pub fn filter_from(&mut self, contents: &[u8], read: &mut Reader) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&Modifiers::default(), Syntax::Rules);
        self.merge(contents, Merged { name: None, modifiers, syntax, depth: 0 }, read)
    }

    /// The filter with these rules.
    #[must_use]
    pub fn build(self) -> Filter {
        Filter::compile(&self, self.items.clone())
    }

    fn pattern(&mut self, pattern: &[u8], action: Action) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&Modifiers::default(), Syntax::Patterns(action));
        self.line(pattern, Merged { name: None, modifiers, syntax, depth: 0 }, &mut no_file)
    }

    fn merge(
        &mut self,
        contents: &[u8],
        merged: Merged,
        read: &mut Reader,
    ) -> Result<(), RuleError> {
        for (number, lines) in contents.split(|&b| b == b'\n').enumerate() {
            let within = |error: RuleError| error.within(merged.name, number + 1);
            for line in lines.split(|&b| b == b'\r') {
                if merged.modifiers.has(b'w') {
                    for word in line.split(|&b| is_c_space(b)) {
                        self.line(word, merged, read).map_err(within)?;
                    }
                } else if !matches!(line.first(), Some(b';' | b'#')) {
                    self.line(line, merged, read).map_err(within)?;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &[u8], merged: Merged, read: &mut Reader) -> Result<(), RuleError> {
        let fault = |fault| RuleError::new(text, fault);
        match rule::parse(text, merged.syntax, merged.modifiers).map_err(fault)? {
            Line::Blank => {}
            Line::Clear => self.items.clear(),
            Line::Rule(rule) => self.items.push(Item::Rule(rule)),
            Line::Cvs(action, modifiers) => self.cvs(action, &modifiers),
            Line::PerDirectory(name, modifiers) => {
                self.items.push(Item::PerDirectory(modifiers, name.into()));
            }
            Line::Merge(name, modifiers) => {
                if merged.depth == DEEPEST {
                    return Err(fault(Fault::TooDeep));
                }
                if modifiers.has(b'e') {
                    self.exclude_file(name);
                }
                let contents = read(name).map_err(|why| fault(Fault::Unreadable(why)))?;
                let (syntax, depth) = (modifiers.syntax(), merged.depth + 1);
                let inner = Merged { name: Some(name), modifiers: &modifiers, syntax, depth };
                self.merge(&contents, inner, read)?;
            }
        }
        Ok(())
    }

    /// Adds the rules for which `-C` stands. What `$CVSIGNORE` and `~/.cvsignore` say is not among
    /// them: nothing is read here that the caller did not give.
    fn cvs(&mut self, action: Action, modifiers: &Modifiers) {
        let modifiers = modifiers.of_cvs_rules();
        let words = CVS.split(|&b| b == b' ').filter(|word| !word.is_empty());
        self.items.extend(words.map(|word| Item::Rule(Rule::new(action, modifiers.clone(), word))));
    }

    /// Excludes a merged file itself (modifier `e`).
    fn exclude_file(&mut self, path: &[u8]) {
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
        self.items.push(Item::Rule(Rule::new(Action::Exclude, Modifiers::default(), name)));
    }
}

fn trimmed(root: &[u8]) -> Box<[u8]> {
    let root = root.strip_prefix(b"/").unwrap_or(root);
    root.strip_suffix(b"/").unwrap_or(root).into()
}

/// For lists of patterns, in which no line merges a file.
fn no_file(_: &[u8]) -> Result<Vec<u8>, String> {
    Err("files can be merged by filter rules only".into())
}
