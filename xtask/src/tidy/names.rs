//! Type names: one name has one meaning in the whole workspace. The types that a module of the
//! platform has for each system are the same type.

use std::collections::BTreeMap;

use super::source::{SourceFile, SourceToken};

/// Names that may stand for several types: each is always read with the module before it.
const SHARED: [&str; 4] = ["Error", "State", "Item", "Builder"];

/// Keywords that begin the definition of a type.
const DEFINITIONS: [&str; 5] = ["struct", "enum", "trait", "union", "type"];

/// Roots of paths that lead to an item of the workspace.
const OWN_ROOTS: [&str; 6] = ["crate", "super", "self", "mirror_core", "mirror_platform", "lsyncd"];

/// A definition of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition<'a> {
    source: &'a SourceFile,
    /// The line, from 1 on.
    line: usize,
}

/// Reports each definition whose name has a definition before it, in the order of the sources.
pub(super) fn problems(sources: &[SourceFile]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, definitions) in definitions(sources) {
        let Some((first, others)) = definitions.split_first() else { continue };
        if SHARED.contains(&name) {
            continue;
        }
        let others = others.iter().filter(|other| !is_of_other_system(first.source, other.source));
        problems.extend(others.map(|other| {
            let text = format!(
                "`{name}` is also defined at {}:{}: one type name has one meaning",
                first.source.path, first.line
            );
            other.source.problem(other.line, &text)
        }));
    }
    problems
}

/// Returns all definitions of types by their names.
pub(super) fn definitions(sources: &[SourceFile]) -> BTreeMap<&str, Vec<Definition<'_>>> {
    let mut found: BTreeMap<&str, Vec<Definition>> = BTreeMap::new();
    for source in sources {
        for token in names_of_types(&source.tokens) {
            let definition = Definition { source, line: token.line };
            found.entry(&*token.text).or_default().push(definition);
        }
    }
    found
}

/// Returns the number of names that stand for several types, shared ones not counted.
pub(super) fn with_several_meanings(sources: &[SourceFile]) -> usize {
    let all = definitions(sources);
    let has_several = |of: &[Definition]| {
        of.split_first().is_some_and(|(first, others)| {
            others.iter().any(|other| !is_of_other_system(first.source, other.source))
        })
    };
    all.iter().filter(|(name, of)| has_several(of) && !SHARED.contains(name)).count()
}

/// Returns true if both files are the same module, for two systems: only one of them is compiled.
fn is_of_other_system(one: &SourceFile, other: &SourceFile) -> bool {
    let on_macos = |file: &SourceFile| {
        file.path.replace("/linux/", "/macos/").replace("/linux.rs", "/macos.rs")
    };
    one.path != other.path && on_macos(one) == on_macos(other)
}

/// Returns the names that `tokens` define, associated types not counted.
fn names_of_types(tokens: &[SourceToken]) -> Vec<&SourceToken> {
    let mut names = Vec::new();
    // For each open brace, whether it is the body of an `impl` or a `trait`.
    let mut bodies: Vec<bool> = Vec::new();
    let mut starts_body = false;
    let mut previous = "";
    for (index, token) in tokens.iter().enumerate() {
        match &*token.text {
            "{" => bodies.push(std::mem::take(&mut starts_body)),
            "}" => drop(bodies.pop()),
            ";" | "fn" => starts_body = false,
            "trait" => starts_body = true,
            // `-> impl Iterator` and `x: impl Fn()` begin no body of their own.
            "impl" => starts_body |= !matches!(previous, ">" | ":" | "=" | "<" | "," | "(" | "&"),
            _ => {}
        }
        let is_definition = DEFINITIONS.contains(&previous) && is_type_name(&token.text);
        let is_associated = previous == "type" && bodies.last() == Some(&true);
        if is_definition && !is_associated && !follows_dollar(tokens, index) {
            names.push(token);
        }
        previous = &token.text;
    }
    names
}

fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Returns true for a variable of a macro, which is no name.
fn follows_dollar(tokens: &[SourceToken], index: usize) -> bool {
    index.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(|t| t.text == "$")
}

/// Reports imports of an item of the workspace under another name. `as _` is allowed: it gives no
/// name at all.
pub(super) fn aliases(source: &SourceFile) -> Vec<String> {
    let mut problems = Vec::new();
    let mut own_import = false;
    let mut in_import = false;
    for window in source.tokens.windows(3) {
        let [first, second, third] = window else { continue };
        match (&*first.text, &*second.text) {
            ("use", root) => {
                in_import = true;
                own_import = OWN_ROOTS.contains(&root);
            }
            (";", _) => in_import = false,
            (name, "as") if in_import && own_import && name != ";" && third.text != "_" => {
                let text = format!("`{name}` is imported as `{}`: one name is enough", third.text);
                problems.push(source.problem(second.line, &text));
            }
            _ => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn sources(files: &[(&str, &str)]) -> Vec<SourceFile> {
        source::all(files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect())
    }

    #[test]
    fn a_name_that_stands_for_two_types_is_reported_once() {
        let files =
            [("src/a.rs", "pub struct Call;\nenum Other {}"), ("tests/b.rs", "\ntype Call = u8;")];
        let found = problems(&sources(&files));
        assert_eq!(
            found,
            ["tests/b.rs:2: `Call` is also defined at src/a.rs:1: one type name has one meaning"]
        );
        assert_eq!(with_several_meanings(&sources(&files)), 1);
    }

    #[test]
    fn a_module_of_each_system_may_define_the_same_type() {
        let of = |one: &'static str, other: &'static str| {
            let files = [(one, "struct Table;"), (other, "struct Table;")];
            (problems(&sources(&files)).len(), with_several_meanings(&sources(&files)))
        };
        assert_eq!(of("p/src/linux/a.rs", "p/src/macos/a.rs"), (0, 0));
        assert_eq!(of("p/src/a/linux.rs", "p/src/a/macos.rs"), (0, 0));
        assert_eq!(of("p/src/linux/a.rs", "p/src/macos/b.rs"), (1, 1));
        assert_eq!(of("p/src/linux/a.rs", "p/src/a.rs"), (1, 1));
    }

    #[test]
    fn shared_names_and_associated_types_may_be_defined_often() {
        let text = "enum State { A }\nimpl Iterator for X { type Item2 = u8; fn f() {} }\n\
                    trait T { type Item2; }";
        let files = [("src/a.rs", text), ("src/b.rs", "struct State; fn f() { struct Item2; }")];
        assert_eq!(problems(&sources(&files)), Vec::<String>::new());
    }

    #[test]
    fn an_import_of_our_own_under_another_name_is_reported() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(aliases(&sources(&[("src/a.rs", text)])[0]), expected, "{text}");
        };
        check(
            "use crate::{a::B, c::{D as E}};",
            &["src/a.rs:1: `D` is imported as `E`: one name is enough"],
        );
        check("use super::B as _; use std::io::Error as Other; let x = y as u8;", &[]);
    }
}
