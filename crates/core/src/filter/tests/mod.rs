use super::*;
use alloc::string::{String, ToString};
use std::{format, vec};

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

/// Returns the kind that a trailing slash indicates.
fn kind(text: &str) -> EntryKind {
    if text.ends_with('/') { EntryKind::Directory } else { EntryKind::Other }
}

/// Returns the contents of the files that rules can merge.
fn read(name: &[u8]) -> Result<Vec<u8>, String> {
    match name {
        b"mixed" => Ok(b"# a comment\n; another\n\n+ keep.o\r\n- *.o\n".to_vec()),
        b"rules" => Ok(b"#c\n- a\n\nP b c\r\n. mixed\n".to_vec()),
        b"names" => Ok(b"one two\nthree".to_vec()),
        b"cvs" => Ok(b"lost ! #kept\n;odd".to_vec()),
        b"hides" => Ok(b"H x".to_vec()),
        b"loop" => Ok(b"\n. loop".to_vec()),
        b"wrong" => Ok(b"- a\n? b".to_vec()),
        b"perdir" => Ok(b":e .rules".to_vec()),
        _ => Err("no such file".to_string()),
    }
}

fn build(builder: Builder, rules: &str) -> Result<Filter, RuleError> {
    let mut builder = builder;
    for rule in rules.split('\n') {
        builder.rule(rule.as_bytes(), &mut read)?;
    }
    Ok(builder.build())
}

fn filter(rules: &str) -> Filter {
    build(Filter::builder(), rules).unwrap()
}

fn chosen(paths: &str, accepts: impl Fn(&TreePath, EntryKind) -> bool) -> String {
    let chosen: Vec<&str> =
        paths.split(' ').filter(|text| accepts(&path(text), kind(text))).collect();
    chosen.join(" ")
}

/// Checks which paths are excluded by the rules, one per line.
fn check(rules: &str, paths: &str, expected: &str) {
    let filter = filter(rules);
    assert_eq!(chosen(paths, |path, kind| filter.excludes(path, kind)), expected, "{rules}");
}

/// Checks which paths the rules protect from deletion.
fn check_protected(rules: &str, paths: &str, expected: &str) {
    let filter = filter(rules);
    assert_eq!(chosen(paths, |path, kind| filter.protects(path, kind)), expected, "{rules}");
}

fn rewritten(filter: &Filter) -> String {
    let rules: Vec<String> =
        filter.to_rsync_rules().map(|rule| String::from_utf8(rule).unwrap()).collect();
    rules.join("\n")
}

#[test]
fn the_first_rule_that_matches_decides() {
    check("+ *.c\n- *", "a.c a.h", "a.h");
    check("- *\n+ *.c", "a.c a.h", "a.c a.h");
    check("- a\n+ a\n- b", "a b c", "a b");
    check("+ a\n- ?\n- a", "a b", "b");
    check("- d/\n+ d", "d d/", "d/");
    check("+ d\n- d/", "d d/", "");
    check("- /a/b\n+ b\n- a/b", "a/b x/a/b", "a/b");
}

#[test]
fn below_an_excluded_directory_nothing_is_included() {
    check("+ d/in\n- d", "d d/ d/in d/in/x", "d d/ d/in d/in/x");
    check("+ d/\n+ d/in\n- *", "d/ d/in d/out", "d/out");
    check("- d/", "d d/ d/in/x e/d/x e", "d/ d/in/x e/d/x");
    check("+ */\n+ *.c\n- *", "d/ d/e/a.c d/e/a.h", "d/e/a.h");
}

#[test]
fn the_root_is_never_excluded() {
    let filter = filter("- *\n-! nothing");
    assert!(!filter.excludes(&TreePath::root(), EntryKind::Directory));
    assert!(!filter.prunes(&TreePath::root()));
    assert!(!filter.excludes_entry(&TreePath::root(), EntryKind::Directory));
    assert!(filter.prunes(&path("d")));
}

#[test]
fn excludes_entry_ignores_the_ancestors() {
    let filter = filter("- d");
    assert!(filter.excludes(&path("d/x"), EntryKind::Other));
    assert!(!filter.excludes_entry(&path("d/x"), EntryKind::Other));
    assert!(filter.excludes_entry(&path("x/d"), EntryKind::Other));
}

#[test]
fn short_and_long_names_and_modifiers() {
    check("exclude a\ninclude,s b\n-,s c\n-_d\nhide_e", "a b c d e f", "a c d e");
    check("show a\n- a", "a b", "");
    check("- a\nclear\n- b\n!\nH c", "a b c", "c");
    check("-! a*\n", "a ab b", "b");
    check("exclude,! */", "a b/", "a");
    check("-r a\nP b\n-x c\n-p d\nprotect e", "a b c d e", "d");
    check("- _a\n-  b", "a _a b", "_a");
}

#[test]
fn excluded_entries_are_protected_unless_the_rule_is_for_the_sender() {
    check_protected("- a\nH b\nP c\n-s d\n-r e\n-sr f", "a b c d e f g", "a c e f");
    check_protected("R a\n- a\nrisk b\nP *", "a b c", "c");
    check_protected("P d/", "d d/ d/x", "d/ d/x");
}

#[test]
fn delete_excluded_protects_by_receiver_rules_only() {
    let filter = build(Filter::builder().delete_excluded(), "- a\nP b\n-sr c\n- *").unwrap();
    assert_eq!(chosen("a b c d", |path, kind| filter.protects(path, kind)), "b c");
    assert_eq!(chosen("a b c d", |path, kind| filter.excludes(path, kind)), "a b c d");
}

#[test]
fn perishable_rules_do_not_keep_a_removed_directory() {
    let filter = filter("-p *.o\n- keep");
    assert!(filter.protects(&path("d/a.o"), EntryKind::Other));
    let stays = |text| filter.protects_in_removed(&path("d"), &path(text), EntryKind::Other);
    assert!(!stays("d/a.o"));
    assert!(stays("d/keep"));
    assert!(stays("d/keep/x"));
    // The name of the removed directory itself was decided before.
    assert!(!filter.protects_in_removed(&path("keep"), &path("keep/x"), EntryKind::Other));
}

#[test]
fn exclude_patterns_may_have_a_sign() {
    let mut builder = Filter::builder();
    for pattern in ["lost", "!", "+ a.c", "- a.h", "", "*.c", "! x", "#y", "- - z"] {
        builder.exclude(pattern.as_bytes()).unwrap();
    }
    builder.include(b"*.d").unwrap();
    builder.include(b"- *.d").unwrap();
    assert_eq!(
        rewritten(&builder.build()),
        "+ a.c\n- a.h\n- *.c\n- ! x\n- #y\n- - z\n+ *.d\n- *.d"
    );
}

#[test]
fn exclude_files_are_parsed_as_by_rsync() {
    let mut builder = Filter::builder();
    builder
        .exclude_from(b"; c\n#c\n\n a \r\n-x\n+y\n+ z\n- w\n!x\n;\ngone\n!\n*.o\n-- b\n")
        .unwrap();
    assert_eq!(rewritten(&builder.build()), "- *.o\n- -- b");
}

#[test]
fn rule_files_are_parsed_as_by_rsync() {
    let mut builder = Filter::builder();
    builder.rule(b". rules", &mut read).unwrap();
    assert_eq!(rewritten(&builder.build()), "- a\n-r b c\n+ keep.o\n- *.o");
}

#[test]
fn merged_rules_replace_the_merge_rule() {
    for (rules, expected) in [
        ("- a\nmerge mixed\n- b", "- a\n+ keep.o\n- *.o\n- b"),
        (".- names", "- one two\n- three"),
        (".+ names", "+ one two\n+ three"),
        (".-w names", "- one\n- two\n- three"),
        (".C cvs", "- #kept\n- ;odd"),
        (".-sp/ names", "-/sp one two\n-/sp three"),
        (".-x names", "- one two\n- three"),
        (".e mixed", "- mixed\n+ keep.o\n- *.o"),
        (".s perdir", ":es .rules"),
        (":C", ":C .cvsignore"),
        (":n-,s x", ""),
        ("dir-merge,n- x", ":-n x"),
    ] {
        match build(Filter::builder(), rules) {
            Ok(filter) => assert_eq!(rewritten(&filter), expected, "{rules}"),
            Err(error) => assert!(expected.is_empty(), "{rules}: {error}"),
        }
    }
}

#[test]
fn cvs_exclude_adds_the_rules_of_rsync() {
    check("-C", "a.o core d/CVS/x .git .git/ .#a #a a.c", "a.o core d/CVS/x .git/ .#a #a");
    let rules = rewritten(&filter("-sC"));
    assert!(rules.starts_with("-sp RCS\n-sp SCCS\n"), "{rules}");
    assert_eq!(rules.lines().count(), 36);
}

#[test]
fn absolute_patterns_need_the_root() {
    let rooted = Filter::builder().source(b"/srv/www/").target(b"/backup");
    let filter = build(rooted, "-/ /srv/*/a\n-/ b\n-/ www/c\n-/ /backup/d").unwrap();
    assert_eq!(chosen("a b c d x/a x/c", |path, kind| filter.excludes(path, kind)), "a b c");
    assert_eq!(chosen("a b c d", |path, kind| filter.protects(path, kind)), "b d");
    assert_eq!(filter.undecided(), None);
    let elsewhere = filter.for_source(b"/srv/ftp");
    assert_eq!(chosen("a b c d x/a x/c", |path, kind| elsewhere.excludes(path, kind)), "a b");
    assert_eq!(chosen("a b c d", |path, kind| elsewhere.protects(path, kind)), "b d");
    assert_eq!(elsewhere.for_source(b"/srv/www/"), filter);
}

#[test]
fn undecidable_entries_are_sent_and_protected() {
    for (rules, undecided) in [("- a\n: .rules\n- b", ": .rules"), ("- a\n-/ /x/y\n- b", "-/ /x/y")]
    {
        check(rules, "a b c", "a");
        check_protected(rules, "a b c", "a b c");
        assert_eq!(filter(rules).undecided(), Some(undecided.into()));
        assert_eq!(rewritten(&filter(rules)), rules);
    }
    // A pattern for names needs no root.
    assert_eq!(filter("-/ b").undecided(), None);
    // A rule for the sender only leaves the receiver decided.
    check_protected(":s .rules\n- b", "a b", "b");
}

#[test]
fn rules_are_written_in_rsyncs_short_form() {
    let rules = "- a\n+ b c\nH x\nP,p y\n-! */\nexclude,/s /z\nrisk *\n- \n\\\u{1}";
    let rules = rules.replace("- \n", "- e\n+ ");
    let rules = rules.replace("+ \\", "- \\");
    assert_eq!(
        rewritten(&filter(&rules)),
        "- a\n+ b c\n-s x\n-rp y\n-! */\n-/s /z\n+r *\n- e\n- \\\u{1}"
    );
}

#[test]
fn invalid_rules_report_the_expected_syntax() {
    for (rule, expected) in [
        (
            "|foo",
            r#"filter rule "|foo": expected one of the rules - + . : H S P R ! or its long name, then a blank"#,
        ),
        (" - foo", "expected one of the rules"),
        ("excludes x", "expected one of the rules"),
        ("-foo", r#"the rule takes no modifier "f""#),
        ("-s,p x", r#"the rule takes no modifier ",""#),
        ("Hs x", r#"the rule takes no modifier "s""#),
        ("exclude\tx", r#"the rule takes no modifier "\t""#),
        (".! x", r#"the rule takes no modifier "!""#),
        ("-!C", r#"the rule takes no modifier "C""#),
        ("- ", "expected a pattern or a file name after the rule"),
        ("-", "expected a pattern"),
        ("merge", "expected a pattern"),
        ("! x", "expected nothing after this rule"),
        ("-C x", "expected nothing after this rule"),
        ("- a\0b", "a rule cannot contain a NUL byte"),
        (". none", r#"filter rule ". none": cannot read the file: no such file"#),
        (".s hides", r#"hides:1: filter rule "H x": the rule that merges this file already sets"#),
        (". wrong", r#"wrong:2: filter rule "? b": expected one"#),
        (".w mixed", "mixed:1: filter rule \"#\": expected one"),
        (". loop", "loop:2: loop:2: "),
        (". loop", "merged files are nested too deeply"),
    ] {
        let error = build(Filter::builder(), rule).unwrap_err().to_string();
        assert!(error.contains(expected), "{rule}: {error}");
    }
    let long = vec![b'a'; 4096];
    assert_eq!(Filter::builder().exclude(&long).unwrap_err().kind, RuleErrorKind::TooLong);
    assert!(Filter::builder().exclude(&long[1..]).is_ok());
    let error = Filter::builder().exclude_from(b"a\nb\n- ").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"line 3: filter rule "- ": expected a pattern or a file name after the rule"#
    );
}

#[test]
fn patterns_without_wildcards_are_looked_up() {
    let mut builder = Filter::builder();
    for number in 0..10_000 {
        let pattern = match number % 4 {
            0 => format!("name{number}"),
            1 => format!("/at/the/root{number}"),
            2 => format!("in/some/directory{number}/"),
            _ => format!("+ name{}", number + 1),
        };
        builder.exclude(pattern.as_bytes()).unwrap();
    }
    let filter = builder.build();
    assert_eq!(filter.hidden.scanned_count(), 0);
    assert!(filter.excludes(&path("x/name0"), EntryKind::Other));
    // The include precedes the exclude.
    assert!(!filter.excludes(&path("x/name8"), EntryKind::Other));
    assert!(filter.excludes(&path("at/the/root1/x"), EntryKind::Other));
    assert!(!filter.excludes(&path("x/at/the/root1"), EntryKind::Other));
    assert!(filter.excludes(&path("a/in/some/directory2/x"), EntryKind::Other));
    assert!(!filter.excludes(&path("in/some/directory2"), EntryKind::Other));
}

#[test]
fn a_filter_without_rules_excludes_nothing() {
    let filter = Filter::default();
    assert!(filter.is_empty());
    assert!(!filter.excludes(&path("a"), EntryKind::Other));
    assert!(!filter.protects(&path("a"), EntryKind::Other));
    assert_eq!(filter.to_rsync_rules().count(), 0);
}

/// `cargo test --release -p mirror-core -- --ignored --nocapture measure_the_cost_of_filters`
#[test]
#[ignore = "a measurement: prints, asserts nothing about time"]
fn measure_the_cost_of_filters() {
    let usual = "*.tmp *.swp .*.sw? *~ #*# .#* .git/ .svn/ node_modules/ /cache/ /var/tmp/*** \
        core.[0-9]* *.bak *.log.? Thumbs.db .DS_Store **/__pycache__/ lost+found /proc/* foo/*/bar";
    let lines = |patterns: &mut dyn Iterator<Item = String>| -> String {
        patterns.map(|pattern| ["- ", &pattern].concat()).collect::<Vec<_>>().join("\n")
    };
    for (what, rules) in [
        ("20 usual patterns", lines(&mut usual.split_whitespace().map(ToString::to_string))),
        ("10 literals", lines(&mut (0..10).map(|n| format!("name{n}")))),
        ("10,000 literals", lines(&mut (0..10_000).map(|n| format!("name{n}")))),
        ("10,000 wildcards", lines(&mut (0..10_000).map(|n| format!("*.name{n}")))),
    ] {
        let start = std::time::Instant::now();
        let filter = filter(&rules);
        let compiled = start.elapsed();
        let paths: Vec<TreePath> =
            (0..50_000).map(|n| path(&format!("srv/www/site{}/page{n}.html", n % 100))).collect();
        let start = std::time::Instant::now();
        let excluded = paths.iter().filter(|path| filter.excludes(path, EntryKind::Other)).count();
        std::println!("{what}: compiled in {compiled:?}, 50,000 calls in {:?}", start.elapsed());
        assert_eq!(excluded, 0);
    }
    let deep = path(&"a/".repeat(2000));
    let filter = filter("- b**c\n- a**c\n- **/*b*/c");
    let start = std::time::Instant::now();
    assert!(!filter.excludes(&deep, EntryKind::Other));
    std::println!("3 patterns with `**`, 2,000 levels: one call in {:?}", start.elapsed());
}

#[test]
fn location_dependent_rules_distinguish_directories() {
    for (rules, alike) in [
        ("- *.o\n- cache/\n+ kept", true),
        ("- /var/log", true),
        ("- /d/x", false),
        ("- /f/e/*.o", false),
        ("- /f/g/*.o", true),
        ("- /*/x", false),
        ("- d/x", false),
        ("- **/d/x", false),
        ("-/ /x", false),
        (": .rules", false),
    ] {
        let alike_below = filter(rules).decides_equally_below(&path("d"), &path("f/e"));
        assert_eq!(alike_below, alike, "{rules}");
    }
}

#[test]
fn a_protected_directory_of_the_source_does_not_protect_what_is_below() {
    let filter = filter("P kept\n- hidden\nP in/*.o");
    let protected = |has_directory: bool| {
        let protects = |path: &TreePath, kind| filter.protects_below(path, kind, |_| has_directory);
        chosen("kept kept/ kept/a hidden/a other in/a.o in/a", protects)
    };
    assert_eq!(protected(true), "kept kept/ hidden/a in/a.o");
    assert_eq!(protected(false), "kept kept/ kept/a hidden/a in/a.o");
}
