//! The licences of what we are linked with.

use std::{env, ffi::OsString, path::Path, process::Command};

/// Licences under which code can be part of a program under GPL-2.0-or-later.
///
/// Apache-2.0 alone is compatible with version 3 of the GPL only. As ours is "or later", that is
/// fine; a program that has such a part is distributed under version 3. MPL-2.0 names the GPL as a
/// licence that the whole may have.
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

/// The packages of the lock file whose licence is not on the list, or that could not be asked.
pub(super) fn problems(top: &Path) -> Vec<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    // It asks cargo's registry only for packages that were never built here.
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--workspace", "--all-features", "--prefix", "none"])
        .args(["--edges", "normal,build,dev", "--format", "{p}|{l}"])
        .current_dir(top)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            incompatible(&String::from_utf8_lossy(&output.stdout))
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            vec![format!("cargo tree cannot tell the licences: {}", why.trim())]
        }
        Err(error) => vec![format!("cargo tree cannot be run: {error}")],
    }
}

/// Of lines `package|licence` those with a licence that is not compatible.
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

/// Whether an SPDX expression lets us choose compatible licences for all parts.
fn is_compatible(expression: &str) -> bool {
    // Cargo once allowed a slash for "or".
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &*words;
    any(&mut rest).is_some_and(|compatible| compatible && rest.is_empty())
}

/// `x OR y`, the weakest bond.
fn any(rest: &mut &[&str]) -> Option<bool> {
    let mut compatible = every(rest)?;
    while let Some((&"OR", after)) = rest.split_first() {
        *rest = after;
        compatible |= every(rest)?;
    }
    Some(compatible)
}

/// `x AND y`
fn every(rest: &mut &[&str]) -> Option<bool> {
    let mut compatible = one(rest)?;
    while let Some((&"AND", after)) = rest.split_first() {
        *rest = after;
        compatible &= one(rest)?;
    }
    Some(compatible)
}

/// A licence, one with an exception, or an expression in parentheses.
fn one(rest: &mut &[&str]) -> Option<bool> {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let compatible = any(rest)?;
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
    fn expressions() {
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
    fn each_package_is_judged_once() {
        let tree = "a v1|MIT\nb v1|CDDL-1.0\nb v1|CDDL-1.0 (*)\nc v2 (/x)|\n\n";
        let problems = incompatible(tree);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("b v1: its licence (CDDL-1.0) is not"));
        assert!(problems[1].starts_with("c v2 (/x): its licence (none that it names) is not"));
        assert_eq!(incompatible(""), ["cargo tree names no packages"]);
    }
}
