//! Rules about single files.

use super::source::{SourceFile, SourceToken};

/// Maximum number of lines of a file, without its tests.
const MAX_LINES: usize = 500;

/// The only package that may contain `unsafe`.
const UNSAFE_PACKAGE: &str = "crates/platform/";

/// The files outside that package that may ask for the operating system: the list of the watch
/// backends.
const SYSTEM_FILES: [&str; 2] = ["src/watch/mod.rs", "src/watch/backends.rs"];

/// Test files that may sleep: path, number of calls, reason.
const ALLOWED_SLEEPS: [(&str, usize, &str); 4] = [
    ("src/snapshot/tests.rs", 2, "interval between two polls of a condition"),
    ("tests/live/support/wait.rs", 1, "interval between two polls of a condition"),
    ("tests/process_lifecycle.rs", 1, "interval between two polls of a condition"),
    ("tests/live/lifecycle.rs", 1, "absence of activity takes time to observe"),
];

/// Rule: `unsafe` is confined to one package.
pub(super) fn unsafe_elsewhere(source: &SourceFile) -> Vec<String> {
    if source.path.starts_with(UNSAFE_PACKAGE) {
        return Vec::new();
    }
    let found = source.tokens.iter().filter(|token| token.text == "unsafe");
    found.map(|token| source.problem(token.line, "`unsafe` belongs into crates/platform")).collect()
}

/// Rule: only one package, the list of the watch backends, and tests ask for the operating system.
pub(super) fn system_elsewhere(source: &SourceFile) -> Vec<String> {
    let is_daemon = source.path.starts_with("src/") || source.path.starts_with("crates/");
    let is_permitted =
        source.path.starts_with(UNSAFE_PACKAGE) || SYSTEM_FILES.contains(&&*source.path);
    if !is_daemon || is_permitted {
        return Vec::new();
    }
    let asks = |words: &[SourceToken]| {
        let [first, second] = words else { return false };
        ["target_os", "target_vendor"].contains(&&*first.text)
            || ["linux", "macos", "darwin"].contains(&&*first.text) && second.text == "::"
    };
    let found = source.tokens.windows(2).filter(|words| asks(words));
    let found = found.filter_map(|words| Some(words.first()?.line));
    let found = found.filter(|line| !source.is_test(*line));
    let text = "what depends on the operating system belongs into crates/platform";
    found.map(|line| source.problem(line, text)).collect()
}

/// Rule: the root of each other crate forbids `unsafe`.
pub(super) fn unsafe_not_forbidden(source: &SourceFile) -> Vec<String> {
    let path = &source.path;
    let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
    let attribute = ["forbid", "(", "unsafe_code", ")"];
    let texts: Vec<&str> = source.tokens.iter().map(|token| &*token.text).collect();
    let forbids_unsafe = texts.windows(attribute.len()).any(|window| window == attribute);
    if !is_root || forbids_unsafe || path.starts_with(UNSAFE_PACKAGE) {
        return Vec::new();
    }
    vec![source.problem(1, "#![forbid(unsafe_code)] is missing")]
}

/// Rule: a file has at most 500 lines, not counting its tests.
pub(super) fn too_long(source: &SourceFile) -> Vec<String> {
    let lines = source.lines().filter(|(number, _)| !source.is_test(*number)).count();
    if lines <= MAX_LINES {
        return Vec::new();
    }
    let message =
        format!("{lines} lines without tests, more than {MAX_LINES}: find the part with a name");
    vec![source.problem(1, &message)]
}

/// Rule: no reminders; open work is an issue.
pub(super) fn reminders(source: &SourceFile) -> Vec<String> {
    // Put together so that this file does not have them.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let has_one = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric()).any(|word| words.iter().any(|w| w == word))
    };
    let found = source.lines().filter(|(_, line)| has_one(line));
    found.map(|(line, _)| source.problem(line, "a reminder: do it or open an issue")).collect()
}

/// Rule: tests wait for conditions instead of sleeping.
pub(super) fn sleeping_tests(source: &SourceFile) -> Vec<String> {
    let entry = ALLOWED_SLEEPS.iter().find(|(path, ..)| *path == source.path);
    let allowed = entry.map_or(0, |(_, count, _)| *count);
    let calls = source.tokens.windows(2).filter_map(|pair| match pair {
        [name, open] if name.text == "sleep" && open.text == "(" => Some(name.line),
        _ => None,
    });
    calls
        .filter(|&line| source.is_test(line))
        .skip(allowed)
        .map(|line| source.problem(line, "a test that sleeps: wait for what it waits for"))
        .collect()
}

/// Rule: sources contain no paths of the machine on which they were written.
///
/// In tests a home directory may be an example in the output of a program.
pub(super) fn paths_of_a_machine(source: &SourceFile) -> Vec<String> {
    // Put together so that this file does not have them.
    let [home, work, root] = ["home", "work", "root"].map(|name| format!("/{name}/"));
    let starts_one = |line: &str, directory: &str| {
        // A subdirectory of that name is permitted.
        let starts =
            line.match_indices(directory).map(|(at, _)| line.get(..at).unwrap_or_default());
        starts
            .into_iter()
            .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || "_-.*}/]".contains(c)))
    };
    let found = source.lines().filter(|(number, line)| {
        starts_one(line, &work)
            || starts_one(line, &root)
            || (!source.is_test(*number) && starts_one(line, &home))
    });
    found.map(|(line, _)| source.problem(line, "a path of one machine")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    /// Checks the lines that a rule reports for a file.
    fn check(rule: fn(&SourceFile) -> Vec<String>, path: &str, text: &str, expected: &[usize]) {
        let sources = source::all(vec![(path.to_owned(), text.to_owned())]);
        let problems = rule(&sources[0]);
        let line = |problem: &String| problem.split(':').nth(1).unwrap().parse().unwrap();
        let lines: Vec<usize> = problems.iter().map(line).collect();
        assert_eq!(lines, expected, "{path}: {text}: {problems:?}");
    }

    #[test]
    fn unsafe_outside_of_its_package_is_reported() {
        check(unsafe_elsewhere, "src/a.rs", "a\nunsafe { b }", &[2]);
        check(unsafe_elsewhere, "tests/a.rs", "unsafe fn a() {}", &[1]);
        check(unsafe_elsewhere, "crates/platform/src/a.rs", "unsafe { b }", &[]);
        check(unsafe_elsewhere, "src/a.rs", "// unsafe\n\"unsafe\" unsafe_code", &[]);
    }

    #[test]
    fn the_operating_system_outside_of_its_package_is_reported() {
        let text = "a\n#[cfg(target_os = \"linux\")]\nuse std::os::{fd::A, linux::fs::B};";
        check(system_elsewhere, "src/exec/a.rs", text, &[2, 3]);
        check(system_elsewhere, "crates/core/src/a.rs", text, &[2, 3]);
        for permitted in [
            "crates/platform/src/a.rs",
            "src/watch/backends.rs",
            "src/exec/tests/a.rs",
            "tests/a.rs",
        ] {
            check(system_elsewhere, permitted, text, &[]);
        }
        check(system_elsewhere, "src/a.rs", "// linux::\nlet linux = 1;", &[]);
    }

    #[test]
    fn a_crate_root_without_forbid_is_reported() {
        check(unsafe_not_forbidden, "src/lib.rs", "//! #![forbid(unsafe_code)]", &[1]);
        check(unsafe_not_forbidden, "xtask/src/main.rs", "mod a;", &[1]);
        check(unsafe_not_forbidden, "crates/core/src/lib.rs", "#![forbid(unsafe_code)]", &[]);
        check(unsafe_not_forbidden, "crates/platform/src/lib.rs", "mod a;", &[]);
        check(unsafe_not_forbidden, "src/exec/mod.rs", "mod a;", &[]);
    }

    #[test]
    fn a_long_file_is_reported() {
        check(too_long, "src/a.rs", &"a;\n".repeat(501), &[1]);
        check(too_long, "src/a.rs", &"a;\n".repeat(500), &[]);
        let tested = |lines| {
            "a;\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n" + &"b;\n".repeat(400) + "}\n"
        };
        check(too_long, "src/a.rs", &tested(500), &[]);
        check(too_long, "src/a.rs", &tested(501), &[1]);
        check(too_long, "src/tests.rs", &"a;\n".repeat(900), &[]);
    }

    #[test]
    fn a_reminder_is_reported() {
        let word = ["TO", "DO"].concat();
        check(reminders, "src/a.rs", &format!("a\n// {word}: b"), &[2]);
        check(reminders, "tests/a.rs", &format!("{word}!()"), &[1]);
        check(reminders, "src/a.rs", &format!("{word}S, {}", word.to_lowercase()), &[]);
    }

    #[test]
    fn a_sleeping_test_is_reported() {
        check(sleeping_tests, "tests/a.rs", "std::thread::sleep(TIME);", &[1]);
        check(sleeping_tests, "src/a.rs", "#[cfg(test)]\nmod tests {\n sleep (x);\n}", &[3]);
        check(sleeping_tests, "src/a.rs", "thread::sleep(x);", &[]);
        check(sleeping_tests, "tests/a.rs", "run(\"sleep(1)\"); asleep(1);", &[]);
        let (path, count, _) = ALLOWED_SLEEPS[0];
        check(sleeping_tests, path, &"thread::sleep(INTERVAL);\n".repeat(count), &[]);
        check(sleeping_tests, path, &"thread::sleep(A);\n".repeat(count + 1), &[count + 1]);
    }

    #[test]
    fn a_path_of_one_machine_is_reported() {
        let [home, work, root] = ["home", "work", "root"].map(|name| format!("/{name}/"));
        check(paths_of_a_machine, "src/a.rs", &format!("a\n// see {home}me"), &[2]);
        check(paths_of_a_machine, "tests/a.rs", &format!("open(\"{work}main\")"), &[1]);
        check(paths_of_a_machine, "src/a.rs", &format!("\"{root}.bashrc\""), &[1]);
        check(paths_of_a_machine, "tests/a.rs", &format!("\"host:{home}me\""), &[]);
        check(paths_of_a_machine, "src/a.rs", &format!("\"src{work}x\" b{root}y"), &[]);
    }
}
