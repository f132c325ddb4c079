//! Excluded entries on both sides.

use std::fs;

use mirror_core::{
    filter::Filter,
    job::{HoldReason, Outcome},
};

use super::{ALWAYS, CopierFixture};

fn mirror(rules: &str) -> CopierFixture {
    let mut builder = Filter::builder();
    for rule in rules.split_whitespace() {
        let (kind, pattern) = rule.split_at(1);
        match kind {
            "-" => builder.exclude(pattern.as_bytes()),
            _ => builder.include(pattern.as_bytes()),
        }
        .unwrap();
    }
    CopierFixture::filtered(ALWAYS, builder.build())
}

fn make(mirror: &CopierFixture, files: &str) {
    for name in files.split_whitespace() {
        let path = mirror.source.with_file_name(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

fn target(mirror: &CopierFixture) -> Vec<String> {
    let tree = super::tree::read(&mirror.target);
    let names = tree.into_keys().map(|path| path.into_os_string().into_string().unwrap());
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn an_excluded_name_of_a_file_is_not_linked_to_the_others() {
    for whole in [true, false] {
        let mirror = mirror("-*.x");
        make(&mirror, "source/d/a target/d/b.x");
        for name in ["d/b.x", "c.x", "d/e"] {
            fs::hard_link(mirror.source("d/a"), mirror.source(name)).unwrap();
        }
        let copy = || if whole { mirror.full() } else { mirror.batch("d/a d/e") };
        assert_eq!(copy(), Outcome::Done);
        fs::write(mirror.source("d/a"), "changed").unwrap();
        assert_eq!(copy(), Outcome::Done);
        let read = |name| fs::read_to_string(mirror.target(name)).unwrap();
        let read = ["d/a", "d/e", "d/b.x"].map(read);
        assert_eq!(read, ["changed", "changed", "target/d/b.x"], "{whole}");
        assert!(!mirror.target("c.x").exists());
    }
}

#[test]
fn excluded_entries_are_neither_copied_nor_deleted() {
    let all = "source/a source/a.tmp source/cache/x source/d/cache/x source/d/b.tmp source/d/b \
               target/old target/old.tmp target/cache/kept target/d/old.tmp target/d/old";
    for whole in [true, false] {
        let mirror = mirror("-*.tmp -/cache/");
        make(&mirror, all);
        let paths = "a a.tmp cache/ cache/x d/ d/cache/x d/b.tmp old old.tmp cache/kept d/old.tmp";
        let outcome = if whole { mirror.full() } else { mirror.batch(paths) };
        assert_eq!(outcome, Outcome::Done);
        let expected = [
            "a",
            "cache",
            "cache/kept",
            "d",
            "d/b",
            "d/cache",
            "d/cache/x",
            "d/old.tmp",
            "old.tmp",
        ];
        assert_eq!(target(&mirror), expected, "{whole}");
    }
}

#[test]
fn a_directory_with_excluded_entries_is_kept() {
    let mirror = mirror("-*.tmp");
    make(&mirror, "source/a target/gone/b/kept.tmp target/gone/b/c target/gone/d/e");
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(target(&mirror), ["a", "gone", "gone/b", "gone/b/kept.tmp"]);
    // It cannot be replaced either.
    make(&mirror, "source/gone");
    let Outcome::Partial(failures) = mirror.full() else { panic!() };
    assert_eq!(failures[0].0.path.to_string(), "/gone");
    assert_eq!(target(&mirror), ["a", "gone", "gone/b", "gone/b/kept.tmp"]);
}

#[test]
fn an_earlier_include_rule_wins() {
    let mirror = mirror("+/keep.tmp -*.tmp");
    make(&mirror, "source/keep.tmp source/other.tmp source/d/keep.tmp");
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(target(&mirror), ["d", "keep.tmp"]);
}

#[test]
fn a_source_with_only_excluded_entries_counts_as_empty() {
    let mirror = mirror("-/lost+found/");
    make(&mirror, "source/lost+found/x target/precious");
    let outcome = mirror.full();
    let Outcome::Split { held, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((held[0].count, held[0].reason), (1, HoldReason::EmptySource));
    assert_eq!(target(&mirror), ["precious"]);
}

#[test]
fn a_rename_does_not_apply_to_excluded_names() {
    let mirror = mirror("-*.tmp");
    make(&mirror, "source/a source/x.tmp target/a target/x.tmp");
    fs::rename(mirror.source("a"), mirror.source("a.tmp")).unwrap();
    fs::rename(mirror.source("x.tmp"), mirror.source("x")).unwrap();
    assert_eq!(mirror.batch_with("a a.tmp x x.tmp", "a>a.tmp x.tmp>x"), Outcome::Done);
    assert_eq!(target(&mirror), ["x", "x.tmp"]);
    assert_eq!(fs::read(mirror.target("x")).unwrap(), b"source/x.tmp");
}

#[test]
fn excluded_entries_are_kept_when_their_directory_is_renamed_or_becomes_a_file() {
    for becomes in ["nothing", "renamed", "file"] {
        let mirror = mirror("-cache -.env");
        make(&mirror, "source/a/f source/a/b/g target/a/cache/k target/a/b/.env source/left");
        assert_eq!(mirror.full(), Outcome::Done);
        let aside = if becomes == "renamed" {
            mirror.source("new")
        } else {
            mirror.source.with_file_name("aside")
        };
        fs::rename(mirror.source("a"), aside).unwrap();
        if becomes == "file" {
            fs::write(mirror.source("a"), b"").unwrap();
        }
        let outcome = mirror.batch_with("a/ new/", "a>new");
        assert_eq!(outcome == Outcome::Done, becomes != "file", "{outcome:?}");
        let mut expected = vec!["a", "a/b", "a/b/.env", "a/cache", "a/cache/k", "left"];
        if becomes == "renamed" {
            expected.extend(["new", "new/b", "new/b/g", "new/f"]);
        }
        assert_eq!(target(&mirror), expected, "{becomes}");
    }
}

#[test]
fn an_entry_that_becomes_excluded_is_judged_by_the_target_entry() {
    for paths in ["cache", "cache/", "cache/x", "cache cache/x"] {
        let mirror = mirror("-cache/");
        make(&mirror, "source/cache source/left");
        assert_eq!(mirror.full(), Outcome::Done);
        fs::remove_file(mirror.source("cache")).unwrap();
        make(&mirror, "source/cache/x");
        assert_eq!(mirror.batch(paths), Outcome::Done);
        assert_eq!(target(&mirror), ["left"], "{paths}");
        // The target's own entry of that name is kept.
        make(&mirror, "target/cache/precious");
        assert_eq!(mirror.batch(paths), Outcome::Done);
        assert_eq!(mirror.full(), Outcome::Done);
        assert_eq!(target(&mirror), ["cache", "cache/precious", "left"], "{paths}");
    }
}

#[test]
fn a_protected_directory_of_the_source_loses_what_the_source_lacks() {
    for is_seen in [false, true] {
        let mut builder = Filter::builder();
        builder.rule(b"P cache", &mut |_| Err("no file".into())).unwrap();
        let mirror = CopierFixture::filtered(ALWAYS, builder.build());
        make(&mirror, "source/cache/new source/other target/cache/old target/cache/cache");
        let run = |name| {
            if is_seen { mirror.batch_observed(name, name, "") } else { mirror.full() }
        };
        assert_eq!(run("cache/old"), Outcome::Done);
        let kept = target(&mirror);
        assert!(!kept.contains(&"cache/old".into()) && kept.contains(&"cache/cache".into()));
        // All of a missing one is kept.
        fs::remove_dir_all(mirror.source("cache")).unwrap();
        make(&mirror, "target/cache/old");
        assert_eq!(run("cache/old"), Outcome::Done);
        assert!(target(&mirror).contains(&"cache/old".into()));
    }
}
