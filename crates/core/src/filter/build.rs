//! Builds a filter from rule texts.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{
    Filter, Item,
    error::{RuleError, RuleErrorKind},
    rule::{self, FilterRule, RuleAction, RuleLine, RuleModifiers, RuleSyntax, is_c_space},
};

/// Callback that reads the file named by a `merge` rule; its error is the reason for the failure.
///
/// The name is passed as the rule has it: rsync resolves a relative name in its working directory.
pub type MergeFileReader<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// Collects rules in order.
///
/// The texts mean what they mean to rsync. Differences to the event filter of Lsyncd 2.x:
///
/// | text | rsync and this builder | Lsyncd 2.x, for events |
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

/// Context in which rule lines are read.
#[derive(Clone, Copy, Debug)]
struct MergeContext<'a> {
    /// Name of the merged file. `None` if the caller supplied the text.
    name: Option<&'a [u8]>,
    modifiers: &'a RuleModifiers,
    syntax: RuleSyntax,
    depth: usize,
}

/// Maximum nesting depth of merged files.
const MAX_MERGE_DEPTH: usize = 16;

/// Patterns that `-C` excludes (`man rsync`, `--cvs-exclude`).
const CVS_PATTERNS: &[u8] =
    b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ #* \
    .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z *.elc \
    *.ln core .svn/ .git/ .hg/ .bzr/";

impl Builder {
    /// Returns a builder without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the source root, an absolute path, for rules with the modifier `/`.
    ///
    /// Without it such rules can't be decided here ([`Filter::undecided`]).
    #[must_use]
    pub fn source(mut self, root: &[u8]) -> Self {
        self.source = Some(trim_slashes(root));
        self
    }

    /// Sets the target root, an absolute path on this machine.
    #[must_use]
    pub fn target(mut self, root: &[u8]) -> Self {
        self.target = Some(trim_slashes(root));
        self
    }

    /// Makes rules that name no side apply to the sender only (rsync's `--delete-excluded`).
    #[must_use]
    pub fn delete_excluded(mut self) -> Self {
        self.delete_excluded = true;
        self
    }

    /// Adds a pattern as rsync's `--exclude` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// If the pattern is missing after `- ` or `+ `, is too long or contains a NUL.
    pub fn exclude(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        self.add_pattern(pattern, RuleAction::Exclude)
    }

    /// Adds a pattern as rsync's `--include` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn include(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        self.add_pattern(pattern, RuleAction::Include)
    }

    /// Adds a rule as rsync's `--filter` does. An empty one adds nothing.
    ///
    /// # Errors
    ///
    /// If the text is not a rule, if `read` fails for a merged file, or if a rule in that file is
    /// invalid.
    pub fn rule(&mut self, rule: &[u8], read: &mut MergeFileReader) -> Result<(), RuleError> {
        let modifiers = &RuleModifiers::default();
        let merged = MergeContext { name: None, modifiers, syntax: RuleSyntax::Rules, depth: 0 };
        self.add_line(rule, merged, read)
    }

    /// Adds the patterns in the contents of a file as rsync's `--exclude-from` does.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn exclude_from(&mut self, contents: &[u8]) -> Result<(), RuleError> {
        self.add_patterns(contents, RuleAction::Exclude)
    }

    /// Adds the patterns in the contents of a file as rsync's `--include-from` does.
    ///
    /// # Errors
    ///
    /// As [`Self::exclude`].
    pub fn include_from(&mut self, contents: &[u8]) -> Result<(), RuleError> {
        self.add_patterns(contents, RuleAction::Include)
    }

    fn add_patterns(&mut self, contents: &[u8], action: RuleAction) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&RuleModifiers::default(), RuleSyntax::Patterns(action));
        let context = MergeContext { name: None, modifiers, syntax, depth: 0 };
        self.add_lines(contents, context, &mut no_file)
    }

    /// Compiles the rules.
    #[must_use]
    pub fn build(self) -> Filter {
        Filter::compile(&self, self.items.clone())
    }

    fn add_pattern(&mut self, pattern: &[u8], action: RuleAction) -> Result<(), RuleError> {
        let (modifiers, syntax) = (&RuleModifiers::default(), RuleSyntax::Patterns(action));
        self.add_line(
            pattern,
            MergeContext { name: None, modifiers, syntax, depth: 0 },
            &mut no_file,
        )
    }

    fn add_lines(
        &mut self,
        contents: &[u8],
        merged: MergeContext,
        read: &mut MergeFileReader,
    ) -> Result<(), RuleError> {
        for (number, lines) in contents.split(|&b| b == b'\n').enumerate() {
            let within = |error: RuleError| error.within(merged.name, number + 1);
            for line in lines.split(|&b| b == b'\r') {
                if merged.modifiers.has(b'w') {
                    for word in line.split(|&b| is_c_space(b)) {
                        self.add_line(word, merged, read).map_err(within)?;
                    }
                } else if !matches!(line.first(), Some(b';' | b'#')) {
                    self.add_line(line, merged, read).map_err(within)?;
                }
            }
        }
        Ok(())
    }

    fn add_line(
        &mut self,
        text: &[u8],
        merged: MergeContext,
        read: &mut MergeFileReader,
    ) -> Result<(), RuleError> {
        let fault = |fault| RuleError::new(text, fault);
        match rule::parse(text, merged.syntax, merged.modifiers).map_err(fault)? {
            RuleLine::Blank => {}
            RuleLine::Clear => self.items.clear(),
            RuleLine::Rule(rule) => self.items.push(Item::Rule(rule)),
            RuleLine::Cvs(action, modifiers) => self.add_cvs_rules(action, &modifiers),
            RuleLine::PerDirectory(name, modifiers) => {
                self.items.push(Item::PerDirectory(modifiers, name.into()));
            }
            RuleLine::Merge(name, modifiers) => {
                if merged.depth == MAX_MERGE_DEPTH {
                    return Err(fault(RuleErrorKind::TooDeep));
                }
                if modifiers.has(b'e') {
                    self.exclude_merged_file(name);
                }
                let contents = read(name).map_err(|why| fault(RuleErrorKind::Unreadable(why)))?;
                let (syntax, depth) = (modifiers.syntax(), merged.depth + 1);
                let inner = MergeContext { name: Some(name), modifiers: &modifiers, syntax, depth };
                self.add_lines(&contents, inner, read)?;
            }
        }
        Ok(())
    }

    /// Adds the rules that `-C` stands for, but not those of `$CVSIGNORE` and `~/.cvsignore`: the
    /// builder reads nothing that the caller did not supply.
    fn add_cvs_rules(&mut self, action: RuleAction, modifiers: &RuleModifiers) {
        let modifiers = modifiers.for_cvs_rules();
        let words = CVS_PATTERNS.split(|&b| b == b' ').filter(|word| !word.is_empty());
        self.items
            .extend(words.map(|word| Item::Rule(FilterRule::new(action, modifiers.clone(), word))));
    }

    /// Excludes a merged file itself (modifier `e`).
    fn exclude_merged_file(&mut self, path: &[u8]) {
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
        self.items.push(Item::Rule(FilterRule::new(
            RuleAction::Exclude,
            RuleModifiers::default(),
            name,
        )));
    }
}

fn trim_slashes(root: &[u8]) -> Box<[u8]> {
    let root = root.strip_prefix(b"/").unwrap_or(root);
    root.strip_suffix(b"/").unwrap_or(root).into()
}

/// Reader for pattern lists, in which no line can merge a file.
fn no_file(_: &[u8]) -> Result<Vec<u8>, String> {
    Err("only filter rules can merge files".into())
}
