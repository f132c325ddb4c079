//! Checks the licences of all dependencies.

use std::path::Path;

use crate::build::cargo;

/// Licences that are compatible with a program under GPL-2.0-or-later.
///
/// Apache-2.0 alone is compatible with version 3 of the GPL only. As ours is "or later", that is
/// sufficient; a program with such a part is distributed under version 3. MPL-2.0 permits the GPL
/// for the whole.
const COMPATIBLE: [&str; 16] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "GPL-2.0-or-later",
    "ISC",
    "LGPL-2.1-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Returns a problem for each package of the lock file whose licence is not on the list, or for the
/// failure to list them.
pub(super) fn problems(top: &Path) -> Vec<String> {
    // Cargo queries its registry only for packages that were never built here.
    let output = cargo()
        .args(["tree", "--locked", "--workspace", "--all-features", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}|{l}"])
        .current_dir(top)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            incompatible(&String::from_utf8_lossy(&output.stdout))
        }
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            vec![format!("cargo tree cannot tell the licences: {}", reason.trim())]
        }
        Err(error) => vec![format!("cargo tree cannot be run: {error}")],
    }
}

/// Returns a problem for each of the lines `package|licence` whose licence is incompatible.
fn incompatible(tree: &str) -> Vec<String> {
    let mut packages: Vec<(&str, &str)> =
        tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|')).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return vec!["cargo tree names no packages".to_owned()];
    }
    let bad = packages.iter().filter(|(_, licence)| !is_compatible(licence));
    bad.map(|(package, licence)| {
        let licence = if licence.is_empty() { "none that it names" } else { licence };
        format!(
            "{package}: its licence ({licence}) is not on the list in xtask/src/tidy/licence.rs"
        )
    })
    .collect()
}

/// Returns true if an SPDX expression permits compatible licences for all parts.
fn is_compatible(expression: &str) -> bool {
    // Cargo once allowed a slash for "or".
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &*tokens;
    any_of(&mut rest).is_some_and(|compatible| compatible && rest.is_empty())
}

/// Parses `x OR y`, which binds weakest.
fn any_of(rest: &mut &[&str]) -> Option<bool> {
    let mut compatible = all_of(rest)?;
    while let Some((&"OR", after)) = rest.split_first() {
        *rest = after;
        compatible |= all_of(rest)?;
    }
    Some(compatible)
}

/// Parses `x AND y`.
fn all_of(rest: &mut &[&str]) -> Option<bool> {
    let mut compatible = operand(rest)?;
    while let Some((&"AND", after)) = rest.split_first() {
        *rest = after;
        compatible &= operand(rest)?;
    }
    Some(compatible)
}

/// Parses a licence, one with an exception, or an expression in parentheses.
fn operand(rest: &mut &[&str]) -> Option<bool> {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let compatible = any_of(rest)?;
            *rest = rest.strip_prefix(&[")"])?;
            Some(compatible)
        }
        [licence, "WITH", exception, after @ ..] => {
            *rest = after;
            Some(COMPATIBLE.contains(&&*format!("{licence} WITH {exception}")))
        }
        [licence, after @ ..] => {
            *rest = after;
            Some(COMPATIBLE.contains(licence))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spdx_expressions_are_evaluated() {
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("Proprietary OR Zlib", true),
            ("MIT AND Proprietary", false),
            ("MIT OR Apache-2.0 AND Proprietary", true),
            ("(MIT OR Apache-2.0) AND Proprietary", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("Apache-2.0 WITH Odd-exception", false),
            ("GPL-3.0-only WITH LLVM-exception", false),
            ("GPL-2.0-only", false),
            ("CDDL-1.0", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_compatible(expression), expected, "{expression}");
        }
    }

    #[test]
    fn each_package_is_reported_once() {
        let tree = "a v1|MIT\nb v1|CDDL-1.0\nb v1|CDDL-1.0 (*)\nc v2 (/x)|\n\n";
        let problems = incompatible(tree);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("b v1: its licence (CDDL-1.0) is not"));
        assert!(problems[1].starts_with("c v2 (/x): its licence (none that it names) is not"));
        assert_eq!(incompatible(""), ["cargo tree names no packages"]);
    }
}
