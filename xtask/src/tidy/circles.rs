//! Circles of imports between the files of a crate.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{SourceFile, SourceToken};

/// Files by their modules, and the modules that each imports.
///
/// A module may know its children and its ancestors: Rust's privacy is made for that. So an import
/// of an ancestor's item is no edge here; an import of a module that lies elsewhere is.
#[derive(Debug, Default)]
struct Imports<'a> {
    of: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    paths: BTreeMap<ModulePath, &'a str>,
}

/// The names that lead from the root of a crate to a module, the root's directory first.
type ModulePath = Vec<String>;

/// Rule: no files import each other, directly or over others.
///
/// Returns one line for each such group.
pub(super) fn problems(sources: &[SourceFile]) -> Vec<String> {
    let code: Vec<&SourceFile> = sources.iter().filter(|source| !source.is_test(1)).collect();
    let imports = Imports::of(&code);
    let groups = imports.groups();
    groups
        .into_iter()
        .map(|group| {
            let paths: Vec<&str> =
                group.iter().filter_map(|&module| imports.paths.get(module).copied()).collect();
            format!("{}: import each other in a circle", paths.join(", "))
        })
        .collect()
}

impl<'a> Imports<'a> {
    fn of(sources: &[&'a SourceFile]) -> Self {
        let mut imports = Self::default();
        for source in sources {
            imports.paths.insert(module_path(&source.path), &source.path);
        }
        for source in sources {
            let module = module_path(&source.path);
            let targets = imported(source)
                .filter_map(|path| imports.resolve(&module, &path))
                .filter(|target| !module.starts_with(target) && !target.starts_with(&module))
                .collect();
            imports.of.insert(module, targets);
        }
        imports
    }

    /// Returns the module in which the item of an imported path lies.
    fn resolve(&self, module: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let (root, rest) = path.split_first()?;
        let mut full: ModulePath = match root.as_str() {
            "crate" => module.first().cloned().into_iter().collect(),
            "self" => module.clone(),
            "super" => module.get(..module.len().checked_sub(1)?)?.to_vec(),
            _ => return None,
        };
        for name in rest {
            if name == "super" {
                full.pop();
            } else {
                full.push(name.clone());
            }
        }
        while full.len() > 1 {
            if self.paths.contains_key(&full) {
                return Some(full);
            }
            full.pop();
        }
        None
    }

    /// Returns the groups of modules that reach each other.
    fn groups(&self) -> Vec<BTreeSet<&ModulePath>> {
        let reach: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> =
            self.of.keys().map(|module| (module, self.reached_from(module))).collect();
        let mut groups: Vec<BTreeSet<&ModulePath>> = Vec::new();
        for (module, reached) in &reach {
            let reaches_back =
                |other: &&&ModulePath| reach.get(*other).is_some_and(|back| back.contains(module));
            let group: BTreeSet<&ModulePath> =
                reached.iter().filter(reaches_back).copied().collect();
            if group.len() > 1 && !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    fn reached_from<'b>(&'b self, module: &'b ModulePath) -> BTreeSet<&'b ModulePath> {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<&ModulePath> = self.of.get(module).into_iter().flatten().collect();
        while let Some(next) = pending.pop() {
            if reached.insert(next) {
                pending.extend(self.of.get(next).into_iter().flatten());
            }
        }
        reached
    }
}

/// Returns the names from the root of a crate to a file: `["src", "exec", "ssh"]`.
fn module_path(path: &str) -> ModulePath {
    let (root, below) = match path.split_once("/src/") {
        Some((root, below)) => (root, below),
        None => path.split_once('/').unwrap_or(("", path)),
    };
    let below = below.strip_suffix(".rs").unwrap_or(below);
    let below = below.strip_suffix("/mod").unwrap_or(below);
    let names = below.split('/').filter(|name| !matches!(*name, "lib" | "main"));
    std::iter::once(root).chain(names).map(str::to_owned).collect()
}

/// Returns the paths that the `use` declarations of a file name, those for tests not counted.
fn imported(source: &SourceFile) -> impl Iterator<Item = Vec<String>> {
    let tokens = &source.tokens;
    let declarations = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "use" && !source.is_test(token.line));
    declarations.flat_map(|(index, _)| {
        let after = tokens.get(index + 1..).unwrap_or_default();
        let end = after.iter().position(|token| token.text == ";").unwrap_or(after.len());
        paths_of(after.get(..end).unwrap_or_default())
    })
}

/// Returns the paths of one declaration, its groups taken apart.
fn paths_of(tokens: &[SourceToken]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut prefixes: Vec<Vec<String>> = vec![Vec::new()];
    let mut current: Vec<String> = Vec::new();
    let mut end = |current: &mut Vec<String>, prefix: &[String]| {
        if current.len() > prefix.len() {
            paths.push(current.clone());
        }
        *current = prefix.to_vec();
    };
    for token in tokens {
        match &*token.text {
            "{" => prefixes.push(current.clone()),
            "}" => {
                end(&mut current, prefixes.last().map_or(&[], Vec::as_slice));
                prefixes.pop();
                current = prefixes.last().cloned().unwrap_or_default();
            }
            "," => end(&mut current, prefixes.last().map_or(&[], Vec::as_slice)),
            "::" => {}
            name => current.push(name.to_owned()),
        }
    }
    end(&mut current, &[]);
    paths
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let files = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
        assert_eq!(problems(&source::all(files)), expected);
    }

    #[test]
    fn files_that_import_each_other_are_a_circle() {
        check(
            &[
                ("src/exec/a.rs", "use super::b::{self, B};"),
                ("src/exec/b.rs", "use crate::{x::Y, exec::{c::C, d}};"),
                ("src/exec/c.rs", "use super::super::exec::a::A;"),
                (
                    "src/exec/d.rs",
                    "use super::a::A;\n#[cfg(test)]\nmod tests { use super::super::c; }",
                ),
            ],
            &[
                "src/exec/a.rs, src/exec/b.rs, src/exec/c.rs, src/exec/d.rs: import each other in a \
               circle",
            ],
        );
    }

    #[test]
    fn parents_children_and_tests_make_no_circle() {
        check(
            &[
                ("src/exec/mod.rs", "use a::A; use self::b::B; use crate::exec::a::C;"),
                ("src/exec/a.rs", "use super::Executor; use crate::exec::b;"),
                ("src/exec/b.rs", "#[cfg(test)]\nmod tests { use super::super::a::A; }"),
            ],
            &[],
        );
    }
}
