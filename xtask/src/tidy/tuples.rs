//! Tuples as parameters: the positions of their fields have no names.

use super::source::{SourceFile, SourceToken};

/// Rule: no parameter of a function is a tuple.
pub(super) fn problems(source: &SourceFile) -> Vec<String> {
    let tokens = &source.tokens;
    let functions = (0..tokens.len()).filter(|&at| is(tokens.get(at), "fn"));
    let parameters = functions.flat_map(|at| parameters(tokens.get(at + 1..).unwrap_or_default()));
    let tuples = parameters.filter(|parameter| is_tuple(parameter));
    let lines = tuples.filter_map(|parameter| Some(parameter.first()?.line));
    lines
        .filter(|&line| !source.is_test(line))
        .map(|line| source.problem(line, "a tuple as a parameter: a struct names its fields"))
        .collect()
}

/// Returns the parameters of a function, given the tokens after its `fn`. A function pointer has
/// none: its parameters have no names either.
fn parameters(tokens: &[SourceToken]) -> Vec<&[SourceToken]> {
    if is(tokens.first(), "(") {
        return Vec::new();
    }
    let mut list = Vec::new();
    // Open brackets, of generics as well.
    let mut depth = 0_usize;
    let mut start = None;
    for (index, token) in tokens.iter().enumerate() {
        match &*token.text {
            "(" if depth == 0 => start = Some(index + 1),
            "," if depth == 1 => {
                let Some(from) = start else { continue };
                list.extend(tokens.get(from..index));
                start = Some(index + 1);
            }
            _ => {}
        }
        depth = depth_after(depth, tokens, index);
        if depth == 0 && is(Some(token), ")") {
            list.extend(start.and_then(|from| tokens.get(from..index)));
            break;
        }
    }
    list
}

/// Returns true if the pattern or the type of a parameter is a tuple, or a reference to one.
fn is_tuple(parameter: &[SourceToken]) -> bool {
    [parameter, type_of(parameter)].into_iter().any(|tokens| {
        let start = tokens.iter().position(|token| !matches!(&*token.text, "&" | "mut"));
        let tokens = start.and_then(|start| tokens.get(start..)).unwrap_or_default();
        is(tokens.first(), "(") && has_comma(tokens)
    })
}

/// Returns the type of a parameter: what follows the colon after its pattern.
fn type_of(parameter: &[SourceToken]) -> &[SourceToken] {
    let mut depth = 0;
    for (index, token) in parameter.iter().enumerate() {
        if depth == 0 && token.text == ":" {
            return parameter.get(index + 1..).unwrap_or_default();
        }
        depth = depth_after(depth, parameter, index);
    }
    &[]
}

/// Returns true if the parentheses that `tokens` begin with contain several parts. `&(dyn A + B)`
/// has only one.
fn has_comma(tokens: &[SourceToken]) -> bool {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate() {
        if depth == 1 && token.text == "," {
            return true;
        }
        depth = depth_after(depth, tokens, index);
        if depth == 0 {
            return false;
        }
    }
    false
}

/// Returns the number of open brackets after the token at `index`. The arrow `->` is none.
fn depth_after(depth: usize, tokens: &[SourceToken], index: usize) -> usize {
    let is_arrow = index > 0 && is(tokens.get(index - 1), "-");
    match tokens.get(index).map(|token| &*token.text) {
        Some("(" | "[" | "{" | "<") => depth + 1,
        Some(">") if is_arrow => depth,
        Some(")" | "]" | "}" | ">") => depth.saturating_sub(1),
        _ => depth,
    }
}

fn is(token: Option<&SourceToken>, text: &str) -> bool {
    token.is_some_and(|token| token.text == text)
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn check(text: &str, expected: &[usize]) {
        let sources = source::all(vec![("src/a.rs".to_owned(), text.to_owned())]);
        let problems = problems(&sources[0]);
        let line = |problem: &String| problem.split(':').nth(1).unwrap().parse().unwrap();
        assert_eq!(problems.iter().map(line).collect::<Vec<usize>>(), expected, "{text}");
    }

    #[test]
    fn patterns_and_types_of_tuples_are_reported() {
        check("fn f((a, b): (A, B)) {}\nfn g(\n  a: A,\n  b: &(B, C),\n) {}", &[1, 4]);
        check("fn f<T: Fn(A) -> B, U>(\n  &self,\n  mut a: (A, B),\n) -> (A, B) {}", &[3]);
    }

    #[test]
    fn other_parameters_are_allowed() {
        check("fn f(a: &(dyn Fn(A, B) + Sync), b: Map<A, (B, C)>, c: [(A, B); 2]) {}", &[]);
        check("fn f(a: fn((A, B)), b: impl Fn((A, B)) -> (A, B), S { x: (y, z) }: S) {}", &[]);
        check("fn f() { a.map(|(a, b): (A, B)| g((a, b))); }", &[]);
        check("#[cfg(test)]\nmod tests { fn f((a, b): (A, B)) {} }", &[]);
    }
}
