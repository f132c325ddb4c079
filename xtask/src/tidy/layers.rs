//! Dependencies between modules and packages (`docs/architecture.md`).

use super::source::{SourceFile, SourceToken};

/// The modules and packages that a module of the daemon may use.
struct LayerRule {
    module: &'static str,
    /// Other modules of the daemon.
    modules: &'static [&'static str],
    /// Other packages of the workspace, or modules of them.
    packages: &'static [&'static str],
}

/// All modules except those that may use everything ([`TOP`]).
const TABLE: [LayerRule; 11] = [
    LayerRule {
        module: "config",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform::answers"],
    },
    LayerRule {
        module: "check",
        modules: &["config", "report"],
        packages: &["mirror_core", "mirror_platform::answers"],
    },
    LayerRule {
        module: "control",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "ctl",
        modules: &["control", "report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "frontend",
        modules: &["check", "config", "report", "script"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "script",
        modules: &["config", "report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "watch",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "exec",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule {
        module: "snapshot",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform"],
    },
    LayerRule { module: "report", modules: &[], packages: &["mirror_core", "mirror_platform"] },
    LayerRule {
        module: "daemon",
        modules: &["report"],
        packages: &["mirror_core", "mirror_platform"],
    },
];

/// The modules that may use all others except [`TOOL`]. Only `lib.rs` and the binaries use them.
const TOP: [&str; 2] = ["engine", "run"];

/// The module of the tool, which the daemon does not use.
const TOOL: &str = "ctl";

/// The packages of the workspace.
const PACKAGES: [&str; 3] = ["mirror_core", "mirror_platform", "lsyncd"];

/// The first segment of a path after its root.
#[derive(Debug, PartialEq, Eq)]
struct PathMention<'a> {
    root: PathRoot<'a>,
    name: &'a str,
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathRoot<'a> {
    /// `crate::name`
    Crate,
    /// This number of `super::`, then the name.
    Above(usize),
    /// The name of a package, with what follows: a module, or the brace of a group.
    Package(&'a str),
}

/// Rule: a file uses only the modules and packages that its layer permits.
pub(super) fn problems(source: &SourceFile) -> Vec<String> {
    let parts: Vec<&str> = source.path.split('/').collect();
    let (packages, modules): (&[&str], Option<SourceModule>) = match &*parts {
        ["crates", "core" | "platform", ..] => (&[], None),
        ["src", "lib.rs"] | ["src", "bin", ..] => return Vec::new(),
        ["src", path @ ..] => {
            let module = SourceModule::of(path);
            if TOP.contains(&&*module.name) {
                return uses_of_tool(source, module.depth);
            }
            let Some(row) = TABLE.iter().find(|row| row.module == module.name) else {
                let message =
                    format!("`{}` is not in the table of xtask/src/tidy/layers.rs", module.name);
                return vec![source.problem(1, &message)];
            };
            (row.packages, Some(SourceModule { allowed: row.modules, ..module }))
        }
        _ => return Vec::new(),
    };
    let bad = mentions(&source.tokens).into_iter().filter(|mention| match mention.root {
        PathRoot::Package(module) => {
            let is_module = |it: &&str| it.split_once("::") == Some((mention.name, module));
            !packages.contains(&mention.name) && !packages.iter().any(is_module)
        }
        PathRoot::Crate => modules.as_ref().is_some_and(|module| module.forbids(mention.name)),
        PathRoot::Above(levels) => modules
            .as_ref()
            .is_some_and(|module| levels >= module.depth && module.forbids(mention.name)),
    });
    bad.map(|mention| source.problem(mention.line, &format!("must not use `{}`", mention.name)))
        .collect()
}

/// Reports uses of the module of the tool `lsyncctl`: its HTTP library is not for the daemon.
fn uses_of_tool(source: &SourceFile, depth: usize) -> Vec<String> {
    let is_use = |mention: &PathMention| match mention.root {
        PathRoot::Package(_) => false,
        PathRoot::Crate => mention.name == TOOL,
        PathRoot::Above(levels) => levels >= depth && mention.name == TOOL,
    };
    let uses = mentions(&source.tokens).into_iter().filter(is_use);
    uses.map(|mention| source.problem(mention.line, &format!("must not use `{TOOL}`"))).collect()
}

/// The module of the daemon that a file belongs to.
struct SourceModule {
    name: String,
    /// Number of path segments from the root of the crate to the file.
    depth: usize,
    allowed: &'static [&'static str],
}

impl SourceModule {
    /// Returns the module of a path below `src`, given as its parts.
    fn of(path: &[&str]) -> Self {
        let depth = path.len() - usize::from(path.last() == Some(&"mod.rs"));
        let name = path.first().copied().unwrap_or_default();
        let name = name.strip_suffix(".rs").unwrap_or(name).to_owned();
        Self { name, depth, allowed: &[] }
    }

    fn forbids(&self, name: &str) -> bool {
        let is_module = TOP.contains(&name) || TABLE.iter().any(|row| row.module == name);
        is_module && name != self.name && !self.allowed.contains(&name)
    }
}

/// Returns the first segments of all paths, in `use` and elsewhere.
fn mentions(tokens: &[SourceToken]) -> Vec<PathMention<'_>> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let follows_path = at > 0 && tokens.get(at - 1).is_some_and(|t| t.text == "::");
        let after = tokens.get(at + 1..).unwrap_or_default();
        if follows_path || after.first().is_none_or(|next| next.text != "::") {
            continue;
        }
        let after = after.get(1..).unwrap_or_default();
        match &*token.text {
            "crate" => found.extend(following_names(after, PathRoot::Crate)),
            "super" => {
                let pairs = after
                    .chunks(2)
                    .take_while(|pair| pair.first().is_some_and(|t| t.text == "super"))
                    .count();
                let after = after.get(pairs * 2..).unwrap_or_default();
                found.extend(following_names(after, PathRoot::Above(pairs + 1)));
            }
            name if PACKAGES.contains(&name) => {
                let root = PathRoot::Package(after.first().map_or("", text));
                found.push(PathMention { root, name, line: token.line });
            }
            _ => {}
        }
    }
    found
}

/// Returns the segment that follows, or the first segments of the group that follows.
fn following_names<'a>(after: &'a [SourceToken], root: PathRoot<'a>) -> Vec<PathMention<'a>> {
    let mention = |token| PathMention { root, name: text(token), line: line(token) };
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

fn text(token: &SourceToken) -> &str {
    &token.text
}

fn line(token: &SourceToken) -> usize {
    token.line
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    /// Checks the problems of a file, without its path.
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
    fn core_and_platform_use_no_other_package() {
        check(
            "crates/core/src/a.rs",
            "use crate::b;\nuse mirror_platform::Dir;",
            &["2: must not use `mirror_platform`"],
        );
        check(
            "crates/platform/src/a.rs",
            "fn a(x: mirror_core::path::TreePath) {}",
            &["1: must not use `mirror_core`"],
        );
        check("crates/platform/src/a.rs", "lsyncd::a()", &["1: must not use `lsyncd`"]);
        check("crates/core/src/a.rs", "// mirror_platform::a\nlet lsyncd = 1;", &[]);
    }

    #[test]
    fn modules_of_the_daemon_use_only_what_the_table_permits() {
        check("src/watch/a.rs", "use crate::exec::b;", &["1: must not use `exec`"]);
        check(
            "src/watch/a.rs",
            "use crate::{report::Log,\n watch::b, frontend};",
            &["2: must not use `frontend`"],
        );
        check("src/watch/a.rs", "use crate::{report::{exec, cli}, watch::{self, b}};", &[]);
        check(
            "src/frontend/cli.rs",
            "fn a() { crate::daemon::b() }",
            &["1: must not use `daemon`"],
        );
        check("src/report/mod.rs", "use crate::frontend::Level;", &["1: must not use `frontend`"]);
        check("src/exec/mod.rs", "use crate::engine::Inbox;", &["1: must not use `engine`"]);
        check(
            "src/exec/mod.rs",
            "use mirror_core::a;\nuse mirror_platform::b;\nuse crate::report::Log;",
            &[],
        );
        check(
            "src/config/mod.rs",
            "use mirror_platform::b;",
            &["1: must not use `mirror_platform`"],
        );
        check("src/config/mod.rs", "use mirror_platform::answers::b;", &[]);
    }

    #[test]
    fn paths_with_super_are_resolved() {
        check("src/exec/mod.rs", "use super::watch::a;", &["1: must not use `watch`"]);
        check("src/exec/rsync/mod.rs", "use super::{watch::a};", &[]);
        check(
            "src/exec/rsync/a.rs",
            "super::super::super::watch::a()",
            &["1: must not use `watch`"],
        );
        check("src/exec/rsync/a.rs", "use super::super::{stop, source};", &[]);
        check(
            "src/exec/a.rs",
            "use super::super::{exec, config::B};",
            &["1: must not use `config`"],
        );
    }

    #[test]
    fn engine_and_binaries_may_use_everything() {
        for path in
            ["src/engine/mod.rs", "src/run.rs", "src/lib.rs", "src/bin/lsyncd.rs", "tests/a.rs"]
        {
            check(path, "use crate::{exec, watch};\nuse lsyncd::frontend::cli;", &[]);
        }
    }

    #[test]
    fn the_daemon_does_not_use_the_tool() {
        check("src/run.rs", "use crate::{ctl::serve, exec};", &["1: must not use `ctl`"]);
        check("src/engine/a.rs", "super::super::ctl::run()", &["1: must not use `ctl`"]);
        check("src/bin/lsyncctl.rs", "lsyncd::ctl::run()", &[]);
    }

    #[test]
    fn a_new_module_needs_a_row_in_the_table() {
        check(
            "src/helper.rs",
            "",
            &["1: `helper` is not in the table of xtask/src/tidy/layers.rs"],
        );
    }
}
