//! Who may know whom (architecture, section 6).

use super::source::{Source, Token};

/// What a module of the daemon may name.
struct Row {
    module: &'static str,
    /// Other modules of the daemon.
    modules: &'static [&'static str],
    /// Other packages of the workspace.
    packages: &'static [&'static str],
}

/// What puts the daemon together may name all; the others are here.
const TABLE: [Row; 8] = [
    Row { module: "config", modules: &["report"], packages: &["mirror_core"] },
    Row { module: "check", modules: &["config", "report"], packages: &["mirror_core"] },
    Row {
        module: "frontend",
        modules: &["check", "config", "report", "script"],
        packages: &["mirror_core", "mirror_platform"],
    },
    Row {
        module: "script",
        modules: &["config", "report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    Row { module: "watch", modules: &["report"], packages: &["mirror_core", "mirror_platform"] },
    Row { module: "exec", modules: &["report"], packages: &["mirror_core", "mirror_platform"] },
    Row { module: "report", modules: &[], packages: &["mirror_core", "mirror_platform"] },
    Row { module: "daemon", modules: &["report"], packages: &["mirror_core", "mirror_platform"] },
];

/// The modules that know all others, and that only `lib.rs` and the programs know.
const TOP: [&str; 2] = ["engine", "run"];

/// The packages of the workspace.
const PACKAGES: [&str; 3] = ["mirror_core", "mirror_platform", "lsyncd"];

/// A name right below a root of names.
#[derive(Debug, PartialEq, Eq)]
struct Mention<'a> {
    root: Root,
    name: &'a str,
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// `crate::name`
    Crate,
    /// So many `super::`, then the name.
    Above(usize),
    /// The name is that of a package.
    Package,
}

/// What names in a file that it must not know.
pub(super) fn problems(source: &Source) -> Vec<String> {
    let parts: Vec<&str> = source.path.split('/').collect();
    let (packages, modules): (&[&str], Option<Module>) = match &*parts {
        ["crates", "core" | "platform", ..] => (&[], None),
        ["src", "lib.rs"] | ["src", "bin", ..] => return Vec::new(),
        ["src", path @ ..] => {
            let module = Module::of(path);
            if TOP.contains(&&*module.name) {
                return Vec::new();
            }
            let Some(row) = TABLE.iter().find(|row| row.module == module.name) else {
                let what =
                    format!("`{}` is not in the table of xtask/src/tidy/layers.rs", module.name);
                return vec![source.problem(1, &what)];
            };
            (row.packages, Some(Module { allowed: row.modules, ..module }))
        }
        _ => return Vec::new(),
    };
    let bad = mentions(&source.tokens).into_iter().filter(|mention| match mention.root {
        Root::Package => !packages.contains(&mention.name),
        Root::Crate => modules.as_ref().is_some_and(|module| module.must_not(mention.name)),
        Root::Above(levels) => modules
            .as_ref()
            .is_some_and(|module| levels >= module.depth && module.must_not(mention.name)),
    });
    bad.map(|mention| source.problem(mention.line, &format!("must not know `{}`", mention.name)))
        .collect()
}

/// The module of the daemon that a file belongs to.
struct Module {
    name: String,
    /// How many names lead from the root of the crate to the file.
    depth: usize,
    allowed: &'static [&'static str],
}

impl Module {
    /// From the parts of a path below `src`.
    fn of(path: &[&str]) -> Self {
        let depth = path.len() - usize::from(path.last() == Some(&"mod.rs"));
        let name = path.first().copied().unwrap_or_default();
        let name = name.strip_suffix(".rs").unwrap_or(name).to_owned();
        Self { name, depth, allowed: &[] }
    }

    fn must_not(&self, name: &str) -> bool {
        let is_module = TOP.contains(&name) || TABLE.iter().any(|row| row.module == name);
        is_module && name != self.name && !self.allowed.contains(&name)
    }
}

/// All names that stand right below a root of names, in `use` and elsewhere.
fn mentions(tokens: &[Token]) -> Vec<Mention<'_>> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let follows_path = at > 0 && tokens.get(at - 1).is_some_and(|t| t.text == "::");
        let after = tokens.get(at + 1..).unwrap_or_default();
        if follows_path || after.first().is_none_or(|next| next.text != "::") {
            continue;
        }
        let after = after.get(1..).unwrap_or_default();
        match &*token.text {
            "crate" => found.extend(below(after, Root::Crate)),
            "super" => {
                let pairs = after
                    .chunks(2)
                    .take_while(|pair| pair.first().is_some_and(|t| t.text == "super"))
                    .count();
                let after = after.get(pairs * 2..).unwrap_or_default();
                found.extend(below(after, Root::Above(pairs + 1)));
            }
            name if PACKAGES.contains(&name) => {
                found.push(Mention { root: Root::Package, name, line: token.line });
            }
            _ => {}
        }
    }
    found
}

/// The name that follows, or the first names of all parts of the group that follows.
fn below(after: &[Token], root: Root) -> Vec<Mention<'_>> {
    let mention = |token| -> Mention { Mention { root, name: text(token), line: line(token) } };
    let Some((first, group)) = after.split_first() else { return Vec::new() };
    if first.text != "{" {
        return vec![mention(first)];
    }
    let mut names = Vec::new();
    let mut depth = 1;
    let mut starts = true;
    for token in group {
        match &*token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && starts => names.push(mention(token)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        starts = depth == 1 && token.text == ",";
    }
    names
}

fn text(token: &Token) -> &str {
    &token.text
}

fn line(token: &Token) -> usize {
    token.line
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    /// What a file must not know: line and name.
    fn check(path: &str, text: &str, expected: &[&str]) {
        let sources = source::all(vec![(path.to_owned(), text.to_owned())]);
        let found = problems(&sources[0]);
        let short: Vec<&str> = found
            .iter()
            .filter_map(|problem| problem.strip_prefix(path)?.strip_prefix(':'))
            .collect();
        assert_eq!(short, expected, "{path}: {text}");
    }

    #[test]
    fn core_and_linux_know_nobody() {
        check(
            "crates/core/src/a.rs",
            "use crate::b;\nuse mirror_platform::Dir;",
            &["2: must not know `mirror_platform`"],
        );
        check(
            "crates/platform/src/a.rs",
            "fn a(x: mirror_core::path::TreePath) {}",
            &["1: must not know `mirror_core`"],
        );
        check("crates/platform/src/a.rs", "lsyncd::a()", &["1: must not know `lsyncd`"]);
        check("crates/core/src/a.rs", "// mirror_platform::a\nlet lsyncd = 1;", &[]);
    }

    #[test]
    fn modules_of_the_daemon_know_only_the_log() {
        check("src/watch/a.rs", "use crate::exec::b;", &["1: must not know `exec`"]);
        check(
            "src/watch/a.rs",
            "use crate::{report::Log,\n watch::b, frontend};",
            &["2: must not know `frontend`"],
        );
        check("src/watch/a.rs", "use crate::{report::{exec, cli}, watch::{self, b}};", &[]);
        check(
            "src/frontend/cli.rs",
            "fn a() { crate::daemon::b() }",
            &["1: must not know `daemon`"],
        );
        check("src/report/mod.rs", "use crate::frontend::Level;", &["1: must not know `frontend`"]);
        check("src/exec/mod.rs", "use crate::engine::Inbox;", &["1: must not know `engine`"]);
        check(
            "src/exec/mod.rs",
            "use mirror_core::a;\nuse mirror_platform::b;\nuse crate::report::Log;",
            &[],
        );
        check(
            "src/config/mod.rs",
            "use mirror_platform::b;",
            &["1: must not know `mirror_platform`"],
        );
    }

    #[test]
    fn the_way_over_super_is_seen() {
        check("src/exec/mod.rs", "use super::watch::a;", &["1: must not know `watch`"]);
        check("src/exec/rsync/mod.rs", "use super::{watch::a};", &[]);
        check(
            "src/exec/rsync/a.rs",
            "super::super::super::watch::a()",
            &["1: must not know `watch`"],
        );
        check("src/exec/rsync/a.rs", "use super::super::{stop, source};", &[]);
        check(
            "src/exec/a.rs",
            "use super::super::{exec, config::B};",
            &["1: must not know `config`"],
        );
    }

    #[test]
    fn engine_and_programs_know_all() {
        for path in
            ["src/engine/mod.rs", "src/run.rs", "src/lib.rs", "src/bin/lsyncd.rs", "tests/a.rs"]
        {
            check(path, "use crate::{exec, watch};\nuse lsyncd::frontend::cli;", &[]);
        }
    }

    #[test]
    fn a_new_module_has_to_get_its_row() {
        check(
            "src/helper.rs",
            "",
            &["1: `helper` is not in the table of xtask/src/tidy/layers.rs"],
        );
    }
}
