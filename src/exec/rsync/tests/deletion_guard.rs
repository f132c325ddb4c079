//! Deletion budgets: deletions that are made, counted and held.

use mirror_core::{
    job::{HeldDeletions, HoldReason, Rename},
    plan::options::{DeletePolicy, ExcludeRules, ListForm},
};

use super::*;

impl RsyncFixture {
    /// Creates this number of files in a directory of the target.
    fn stale(&self, directory: &str, number: usize) {
        fs::create_dir_all(self.target(directory)).unwrap();
        for file in 0..number {
            fs::write(self.target(directory).join(format!("stale{file}")), "").unwrap();
        }
    }

    /// Returns the number of entries in a directory of the target; 0 if it does not exist.
    fn listed(&self, directory: &str) -> usize {
        fs::read_dir(self.target(directory)).map_or(0, Iterator::count)
    }

    pub(super) fn rules(&mut self, rules: &[&[u8]]) {
        let mut builder = Filter::builder();
        for rule in rules {
            builder.rule(rule, &mut |_| Err("no file".into())).unwrap();
        }
        self.filter = Arc::new(builder.build());
        self.options.rules =
            ExcludeRules::Filters(rules.iter().map(|rule| rule.to_vec()).collect());
    }
}

fn held(outcome: &Outcome) -> &[HeldDeletions] {
    let Outcome::Split { held, failed, large } = outcome else { panic!("{outcome:?}") };
    assert!(failed.is_empty() && large.is_empty(), "{outcome:?}");
    held
}

/// Returns a batch in which the first marks were observed as deleted, and the others are only to be
/// compared.
fn deleted_and(gone: &[&[u8]], others: &[&[u8]]) -> Work {
    let Work::Batch { paths: all, renames, .. } = batch(&[gone, others].concat()) else { panic!() };
    let Work::Batch { paths: gone, .. } = batch(gone) else { panic!() };
    let observed = ObservedChanges { deleted: (*gone).clone(), ..ObservedChanges::default() };
    Work::Batch { paths: all, observed: Arc::new(observed), renames }
}

#[test]
fn deletions_beyond_the_budget_are_held_and_the_rest_is_transferred() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("kept");
    fixture.stale("d/e", 20);
    fs::write(fixture.source("new"), "").unwrap();
    let outcome = fixture.full();
    let [only] = held(&outcome) else { panic!("{outcome:?}") };
    // The files and two directories, out of these, the root and one file more.
    assert_eq!((only.count, only.total), (22, Some(24)), "{only:?}");
    assert_eq!(only.paths, [DirtyPath::root_tree()]);
    assert_eq!(only.names.len(), HeldDeletions::MAX_NAMES);
    assert!(only.names.iter().all(|name| name.as_bytes().starts_with(b"d/e/stale")), "{only:?}");
    assert!(fixture.target("new").exists());
    assert_eq!(fixture.listed("d/e"), 20);
    // One call that transfers and counts, and one that lists the names.
    assert_eq!(fixture.calls().len(), 2, "{:?}", fixture.calls());
    // A retry is not a confirmation.
    assert_eq!(held(&fixture.full()).len(), 1);
    fixture.max_delete = MaxDelete::Count(21);
    assert_eq!(held(&fixture.full()).len(), 1);
    fixture.max_delete = MaxDelete::Count(22);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn deletions_within_the_budget_are_made_by_a_second_limited_call() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    for file in 0..20 {
        fixture.write_on_both(&format!("kept/{file}"));
    }
    fixture.stale("kept", 5);
    fixture.stale("d/e", 5);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
    let calls = fixture.calls();
    assert!(calls[0].contains("[--max-delete=0]") && calls[1].contains("[--max-delete=12]"));
    // The next call has nothing to delete.
    assert_eq!(fixture.full(), Outcome::Done);
    assert_eq!(fixture.calls().len(), 3, "{calls:?}");
    // A small number is always allowed.
    fixture.max_delete = MaxDelete::Share(0);
    fixture.stale("", 9);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn an_unlimited_budget_needs_no_counting_call() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.write_on_both("kept");
    fixture.stale("d", 50);
    fixture.max_delete = MaxDelete::Unlimited;
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn a_directory_to_be_replaced_is_held_and_does_not_fail() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.stale("x", 30);
    for name in ["x", "y"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    assert_eq!(held(&fixture.full())[0].count, 31);
    assert!(fixture.target("y").exists());
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(held(&run(written(&[b"x", b"y"]))).len(), 1);
    // Observed deletions beside it do not destroy it either.
    fs::write(fixture.target("z"), "").unwrap();
    let Work::Batch { paths, renames, .. } = batch(&[b"x", b"z"]) else { panic!() };
    let Work::Batch { paths: gone, .. } = batch(&[b"z"]) else { panic!() };
    let what = ObservedChanges {
        written: (*paths).clone(),
        deleted: (*gone).clone(),
        ..ObservedChanges::default()
    };
    let work = Work::Batch { paths, observed: Arc::new(what), renames };
    assert_eq!(held(&run(work)).len(), 1);
    assert!(!fixture.target("z").exists());
    assert_eq!(fixture.listed("x"), 30);
    // After an observed deletion it is replaced.
    assert_eq!(run(observed(&[b"x"])), Outcome::Done);
    assert!(fixture.target("x").is_file());
}

#[test]
fn observed_deletions_are_made_and_others_are_counted() {
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.form = form;
        for file in 0..30 {
            fixture.write_on_both(&format!("a/{file}"));
            fixture.write_on_both(&format!("b/{file}"));
        }
        fixture.write_on_both("kept");
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        assert_eq!(run(Work::full()), Outcome::Done);
        fs::remove_dir_all(fixture.source("a")).unwrap();
        fs::remove_dir_all(fixture.source("b")).unwrap();
        let outcome = run(deleted_and(&[b"a"], &[b"b"]));
        // 31 of 64 entries are less than a half.
        assert_eq!(outcome, Outcome::Done, "{form:?}");
        assert!(!fixture.target("a").exists() && !fixture.target("b").exists());
    }
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.form = form;
        fixture.write_on_both("kept");
        fixture.stale("a", 30);
        fixture.stale("b", 30);
        let outcome = fixture.run(deleted_and(&[b"a"], &[b"b"]));
        assert_eq!(held(&outcome)[0].count, 31, "{form:?}");
        assert!(!fixture.target("a").exists());
        assert_eq!(fixture.listed("b"), 30);
    }
}

#[test]
fn a_deleted_path_recreated_before_its_event_is_replaced() {
    for new in ["d/new", "d"] {
        let Some(fixture) = RsyncFixture::with_rsync() else { return };
        fixture.stale("d/e", 30);
        fixture.write_on_both("kept");
        if new.contains('/') {
            fs::create_dir(fixture.source("d")).unwrap();
        }
        fs::write(fixture.source(new), "new").unwrap();
        let work = batch(&[b"d/"]);
        let Work::Batch { paths, renames, .. } = work else { panic!() };
        let what = ObservedChanges { deleted: (*paths).clone(), ..ObservedChanges::default() };
        let work = Work::Batch { paths, observed: Arc::new(what), renames };
        assert_eq!(fixture.run(work), Outcome::Done, "{new}");
        fixture.assert_equal();
    }
}

#[test]
fn a_blocked_hard_link_breaks_no_call() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.short.push(b'H');
    for number in 0..40 {
        let [one, other] = ["a", "b"].map(|name| fixture.source(format!("{name}{number}")));
        fs::write(&one, "").unwrap();
        fs::hard_link(&one, &other).unwrap();
        if number % 3 > 0 {
            fixture.stale(&format!("{}{number}/d", if number % 3 == 1 { "a" } else { "b" }), 3);
        }
    }
    let outcome = fixture.full();
    assert_eq!(held(&outcome)[0].count, 26 * 5);
    let one = |fixture: &RsyncFixture, number| {
        let inode = |name: &str| fs::metadata(fixture.target(name)).unwrap().ino();
        inode(&format!("a{number}")) == inode(&format!("b{number}"))
    };
    assert!(one(&fixture, 0) && one(&fixture, 39));
    assert_eq!(fixture.listed("a1/d"), 3);
    fixture.max_delete = MaxDelete::Count(26 * 5);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
    assert!((0..40).all(|number| one(&fixture, number)));
}

#[test]
fn a_directory_that_always_blocks_a_hard_link_is_reported() {
    let changes: [fn(&mut RsyncFixture); 2] = [
        |fixture| fixture.options.delete = DeletePolicy::Never,
        |fixture| fixture.rules(&[b"- stale*"]),
    ];
    for change in changes {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.short.push(b'H');
        change(&mut fixture);
        fs::write(fixture.source("a"), "").unwrap();
        for name in ["b", "c"] {
            fs::hard_link(fixture.source("a"), fixture.source(name)).unwrap();
        }
        fixture.stale("b", 3);
        for outcome in [fixture.full(), fixture.run(written(&[b"a", b"b", b"c"]))] {
            assert!(
                failed_paths(&outcome).iter().all(|place| place.starts_with("/b ")),
                "{outcome:?}"
            );
            assert!(fixture.target("a").is_file() && fixture.target("c").is_file());
            assert_eq!(fixture.listed("b"), 3);
        }
    }
}

#[test]
fn a_budget_of_observed_deletions_holds_them() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(20);
    fixture.write_on_both("kept");
    fixture.stale("a", 30);
    let outcome = fixture.run(observed(&[b"a"]));
    assert_eq!(held(&outcome)[0].count, 31);
    assert_eq!(fixture.listed("a"), 30);
    fixture.max_delete_seen = MaxDelete::Count(31);
    assert_eq!(fixture.run(observed(&[b"a"])), Outcome::Done);
    assert!(!fixture.target("a").exists());
}

#[test]
fn observed_deletions_that_are_held_bind_unobserved_ones() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(20);
    for number in 0..100 {
        fixture.write_on_both(&format!("kept/{number}"));
    }
    fixture.stale("a", 30);
    let seen = |outcome: Outcome| {
        let held = held(&outcome);
        assert!(held.iter().all(|it| it.reason == HoldReason::Observed), "{held:?}");
        held.iter().map(|it| it.count).sum::<u64>()
    };
    assert_eq!(seen(fixture.run(observed(&[b"a"]))), 31);
    let may_include =
        || Arc::new(ObservedChanges { may_include_held: true, ..ObservedChanges::default() });
    assert_eq!(seen(fixture.run(Work::Full { observed: may_include() })), 31);
    let Work::Batch { paths, renames, .. } = batch(&[b"a", b"kept/"]) else { panic!() };
    let work = Work::Batch { paths, observed: may_include(), renames };
    assert_eq!(seen(fixture.run(work)), 31);
    // Those of one job count for its other deletions, and are counted once.
    let gone = Arc::clone(observed(&[b"a"]).observed());
    assert_eq!(seen(fixture.run(Work::full_batch(gone))), 31);
    assert_eq!(fixture.listed("a"), 30);
    assert_eq!(fixture.full(), Outcome::Done);
    assert!(!fixture.target("a").exists());
}

#[test]
fn a_share_refers_to_the_current_entry_count() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("kept");
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    // The target has grown since.
    for number in 0..60 {
        fixture.write_on_both(&format!("new/{number}"));
    }
    fixture.stale("d", 30);
    fs::create_dir(fixture.source("d")).unwrap();
    assert_eq!(run(batch(&[b"d/"])), Outcome::Done);
    assert_eq!(fixture.listed("d"), 0);
    // The share still applies.
    fixture.stale("d", 70);
    assert_eq!(held(&run(batch(&[b"d/"])))[0].total, Some(134));
}

#[test]
fn what_a_job_creates_does_not_enlarge_a_share() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("kept");
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fixture.stale("d", 12);
    fs::create_dir(fixture.source("d")).unwrap();
    for number in 0..12 {
        fs::write(fixture.source(format!("d/new{number}")), "").unwrap();
    }
    // 12 of 15, although the target has 27 now.
    assert_eq!(held(&run(batch(&[b"d/"])))[0].total, Some(15));
    assert_eq!(fixture.listed("d"), 24);
}

#[test]
fn what_was_deleted_since_a_full_transfer_does_not_count_for_a_share() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    for directory in ["gone", "left"] {
        for number in 0..if directory == "gone" { 100 } else { 20 } {
            fixture.write_on_both(&format!("{directory}/{number}"));
        }
    }
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::remove_dir_all(fixture.source("gone")).unwrap();
    let Work::Batch { paths, renames, .. } = batch(&[b"gone"]) else { panic!() };
    let deleted = [tree(b"gone")].iter().collect();
    let observed = Arc::new(ObservedChanges { deleted, ..ObservedChanges::default() });
    assert_eq!(run(Work::Batch { paths, observed, renames }), Outcome::Done);
    assert!(!fixture.target("gone").exists());
    for number in 0..15 {
        fs::remove_file(fixture.source(format!("left/{number}"))).unwrap();
    }
    // 15 of 22, and not of 123.
    assert_eq!(held(&run(batch(&[b"left/"])))[0].total, Some(22));
    assert_eq!(fixture.listed("left"), 20);
}

#[test]
fn a_rename_is_no_deletion() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(5);
    fixture.stale("old", 10);
    fixture.stale("gone", 10);
    for number in 0..10 {
        fixture.write_on_both(&format!("new/{number}"));
    }
    fs::remove_dir_all(fixture.target("new")).unwrap();
    let Work::Batch { paths, renames, .. } = batch(&[b"old", b"new/", b"gone"]) else { panic!() };
    let observed = ObservedChanges {
        renamed_to: [tree(b"new")].iter().collect(),
        deleted: [tree(b"old"), tree(b"gone")].iter().collect(),
        renamed_from: [tree(b"old")].iter().collect(),
        ..ObservedChanges::default()
    };
    let outcome = fixture.run(Work::Batch { paths, observed: Arc::new(observed), renames });
    let [held] = held(&outcome) else { panic!("{outcome:?}") };
    let paths: Vec<_> = held.paths.iter().map(|place| place.path.to_string()).collect();
    assert_eq!((held.count, paths), (11, vec!["/gone".to_owned()]));
    assert_eq!((fixture.listed("new"), fixture.target("old").exists()), (10, false));
    assert_eq!(fixture.listed("gone"), 10);
}

/// The event of its removal is still to come.
#[test]
fn a_renamed_directory_that_was_moved_away_is_a_deletion() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(5);
    fixture.write_on_both("kept");
    fixture.stale("old", 10);
    let Work::Batch { paths, .. } = batch(&[b"old", b"new/"]) else { panic!() };
    let observed = ObservedChanges {
        renamed_to: [tree(b"new")].iter().collect(),
        deleted: [tree(b"old")].iter().collect(),
        renamed_from: [tree(b"old")].iter().collect(),
        ..ObservedChanges::default()
    };
    let renames = Arc::new([Rename { from: tree(b"old").path, to: tree(b"new").path }]);
    let outcome = fixture.run(Work::Batch { paths, observed: Arc::new(observed), renames });
    assert_eq!(held(&outcome)[0].count, 11);
    assert_eq!(fixture.listed("old"), 10);
}

#[test]
fn the_old_name_of_a_rename_is_deleted_beside_a_new_directory() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(100);
    fixture.write_on_both("kept");
    fs::write(fixture.target("old"), "").unwrap();
    fs::write(fixture.source("new"), "").unwrap();
    // Something is below it on the target, so its deletions are counted.
    fixture.stale("d", 1);
    fs::create_dir(fixture.source("d")).unwrap();
    let Work::Batch { paths, renames, .. } = batch(&[b"old", b"new", b"d/"]) else { panic!() };
    let entry = |path: &[u8]| DirtyPath { path: TreePath::new(path).unwrap(), scope: Scope::Entry };
    let observed = ObservedChanges {
        written: [tree(b"d")].iter().collect(),
        renamed_to: [entry(b"new")].iter().collect(),
        deleted: [entry(b"old")].iter().collect(),
        renamed_from: [entry(b"old")].iter().collect(),
        ..ObservedChanges::default()
    };
    let outcome = fixture.run(Work::Batch { paths, observed: Arc::new(observed), renames });
    assert_eq!(outcome, Outcome::Done);
    fixture.assert_equal();
}

fn tree(path: &[u8]) -> DirtyPath {
    DirtyPath { path: TreePath::new(path).unwrap(), scope: Scope::Tree }
}

#[test]
fn all_paths_of_a_call_are_held() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(5);
    fixture.write_on_both("kept");
    for name in ["a", "b", "c"] {
        fixture.stale(name, 10);
    }
    let outcome = fixture.run(observed(&[b"a", b"b", b"c"]));
    let [held] = held(&outcome) else { panic!("{outcome:?}") };
    assert_eq!((held.count, held.reason), (33, HoldReason::Observed));
    let mut paths: Vec<_> = held.paths.iter().map(|place| place.path.to_string()).collect();
    paths.sort();
    assert_eq!(paths, ["/a", "/b", "/c"]);
    let lies_there = |name| held.paths.iter().any(|place| place.path.contains(name));
    assert!(held.names.iter().all(lies_there));
}

#[test]
fn existing_target_entries_in_a_new_directory_are_counted() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("kept");
    fixture.stale("d", 30);
    fs::create_dir(fixture.source("d")).unwrap();
    fs::write(fixture.source("d/new"), "").unwrap();
    let outcome = fixture.run(written(&[b"d/"]));
    assert_eq!(held(&outcome)[0].count, 30);
    assert_eq!(held(&outcome)[0].paths[0].path, TreePath::new(b"d").unwrap());
    assert_eq!(fixture.listed("d"), 31);
    // An observed deletion of the name covers everything below it.
    assert_eq!(fixture.run(observed(&[b"d/"])), Outcome::Done);
    assert_eq!(fixture.listed("d"), 1);
}

#[test]
fn an_empty_source_makes_only_observed_deletions() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.rules(&[b"- *.tmp"]);
    fixture.max_delete = MaxDelete::Unlimited;
    fs::create_dir(fixture.source("lost+found")).unwrap();
    fs::write(fixture.source("x.tmp"), "").unwrap();
    for name in ["a", "b", "d/c"] {
        fs::create_dir_all(fixture.target(name).parent().unwrap()).unwrap();
        fs::write(fixture.target(name), "").unwrap();
    }
    for (outcome, count) in
        [(fixture.full(), 4), (fixture.run(deleted_and(&[b"a"], &[b"b", b"d/"])), 3)]
    {
        assert_eq!(
            (held(&outcome)[0].count, held(&outcome)[0].reason),
            (count, HoldReason::EmptySource)
        );
    }
    assert!(fixture.target("b").exists() && fixture.target("d/c").exists());
    assert!(!fixture.target("a").exists() && fixture.target("lost+found").exists());
}

#[test]
fn excluded_files_survive_the_deletion_of_their_directory() {
    type Alter = fn(&mut RsyncFixture);
    let ways: [(&str, Alter); 3] = [
        ("list", |_| {}),
        ("rules", |fixture| fixture.options.form = ListForm::Filter),
        ("broken", |fixture| {
            fixture.use_script(
                r#"case "$*" in *--delete-missing-args*)
  cat >/dev/null
  echo "invalid file mode 00 for a [Receiver]" >&2
  exit 2;;
esac
exec rsync "$@""#,
            );
        }),
    ];
    for (name, rewrite) in ways {
        for seen in [true, false] {
            let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
            rewrite(&mut fixture);
            fixture.rules(&[b"- cache", b"- .env"]);
            fixture.write_on_both("kept");
            for file in ["a/f", "a/cache/k", "a/b/.env", "a/b/g", "c/d/e"] {
                let path = fixture.target(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            let marks: [&[u8]; 2] = [b"a", b"c/d/e"];
            let work = if seen { observed(&marks) } else { batch(&marks) };
            assert_eq!(fixture.run(work), Outcome::Done, "{name} {seen}");
            for file in ["a/cache/k", "a/b/.env"] {
                assert!(fixture.target(file).exists(), "{file} {name} {seen}");
            }
            for file in ["a/f", "a/b/g", "c"] {
                assert!(!fixture.target(file).exists(), "{file} {name} {seen}");
            }
        }
    }
}

#[test]
fn an_excluded_file_keeps_its_directory_from_being_replaced() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.rules(&[b"- .env"]);
    fs::create_dir(fixture.target("d")).unwrap();
    fs::write(fixture.target("d/.env"), "").unwrap();
    for name in ["d", "other"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    assert_eq!(failed_paths(&fixture.run(observed(&[b"d", b"other"]))), ["/d Entry"]);
    assert_eq!(failed_paths(&fixture.full()), ["/d Tree"]);
    assert!(fixture.target("d/.env").exists() && fixture.target("other").exists());
}

#[test]
fn a_missing_path_is_deleted_by_its_type_on_the_target() {
    for local in [true, false] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        if !local {
            fixture.use_remote_shell();
        }
        fixture.rules(&[b"+ */", b"+ *.conf", b"- *"]);
        fixture.write_on_both("kept.conf");
        for file in ["d/a.conf", "d/in/b.conf", "own/x", "f", "e/c.conf"] {
            let path = fixture.target(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        // `e` becomes a file, which is excluded.
        fs::write(fixture.source("e"), "").unwrap();
        let marks: [&[u8]; 4] = [b"d", b"own", b"f", b"e"];
        assert_eq!(fixture.run(observed(&marks)), Outcome::Done);
        assert!(!fixture.target("d").exists() && !fixture.target("e").exists(), "{local}");
        assert!(fixture.target("own/x").exists() && fixture.target("f").exists(), "{local}");
        assert!(fixture.target("kept.conf").exists(), "{local}");
        fixture.rules(&[b"- */"]);
        fs::write(fixture.target("top"), "").unwrap();
        fs::create_dir(fixture.source("top2")).unwrap();
        fs::write(fixture.target("top2"), "").unwrap();
        let marks: [&[u8]; 3] = [b"top", b"top2", b"own"];
        assert_eq!(fixture.run(observed(&marks)), Outcome::Done);
        assert!(!fixture.target("top").exists() && !fixture.target("top2").exists(), "{local}");
        assert!(fixture.target("own/x").exists(), "{local}");
    }
}

#[test]
fn without_deletion_nothing_is_ever_deleted() {
    for policy in [DeletePolicy::Never, DeletePolicy::Startup] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.delete = policy;
        fixture.stale("d", 3);
        fixture.stale("t/x", 3);
        fs::create_dir(fixture.source("t")).unwrap();
        for name in ["d", "t/x", "other"] {
            fs::write(fixture.source(name), "").unwrap();
        }
        let outcome = fixture.run(observed(&[b"d", b"t/", b"other"]));
        assert_eq!(failed_paths(&outcome), ["/d Entry", "/t/x Tree"], "{policy:?}");
        assert_eq!((fixture.listed("d"), fixture.listed("t/x")), (3, 3));
        assert!(fixture.target("other").exists());
        assert!(matches!(fixture.batch(&[b"/"]), Outcome::Partial(_)));
        assert_eq!((fixture.listed("d"), fixture.listed("t/x")), (3, 3));
    }
}

/// Returns a retry of what the startup has failed on.
fn left_by_startup(marks: &[&[u8]]) -> Work {
    let Work::Batch { paths, renames, .. } = batch(marks) else { panic!() };
    let left_by_startup = (*paths).clone();
    let observed = Arc::new(ObservedChanges { left_by_startup, ..ObservedChanges::default() });
    Work::Batch { paths, observed, renames }
}

#[test]
fn what_may_be_older_than_the_mirror_is_held_if_only_later_deletions_are_made() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.delete = DeletePolicy::Running;
    fixture.write_on_both("kept");
    fixture.stale("d", 1);
    fixture.stale("", 1);
    fs::write(fixture.source("d"), "").unwrap();
    assert_eq!(failed_paths(&fixture.full()), ["/d Tree"]);
    assert_eq!(held(&fixture.run(left_by_startup(&[b"d/"])))[0].count, 2);
    assert_eq!(held(&fixture.batch(&[b"/"]))[0].count, 3);
    assert!(fixture.target("d/stale0").exists() && fixture.target("stale0").exists());
    assert_eq!(fixture.run(observed(&[b"stale0"])), Outcome::Done);
    fixture.max_delete = MaxDelete::Unlimited;
    assert_eq!(fixture.batch(&[b"d"]), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn the_users_max_delete_is_never_exceeded() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    fixture.options.extra.push(b"--max-delete=5".to_vec());
    fixture.write_on_both("kept");
    fixture.stale("", 20);
    let marks: Vec<Vec<u8>> = (0..20).map(|file| format!("stale{file}").into_bytes()).collect();
    let marks: Vec<&[u8]> = marks.iter().map(Vec::as_slice).collect();
    let outcome = fixture.run(observed(&marks));
    assert_eq!(held(&outcome)[0].count, 15);
    assert_eq!(fixture.listed(""), 16);
    // The same for a full transfer: the count is allowed, but limited by the user's option.
    fixture.max_delete = MaxDelete::Share(100);
    let outcome = fixture.full();
    assert_eq!(held(&outcome)[0].count, 10);
    assert_eq!(fixture.listed(""), 11);
    // The list of names is not limited.
    fixture.options.extra = vec![b"--max-delete=0".to_vec()];
    let outcome = fixture.full();
    assert_eq!((held(&outcome)[0].count, held(&outcome)[0].names.len()), (10, 10));
    assert_eq!(fixture.listed(""), 11);
}

#[test]
fn backups_do_not_count_as_blocking() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.long.extend([b"--backup".to_vec(), b"--suffix=.bak".to_vec()]);
    fixture.write_on_both("kept");
    fixture.write_on_both("d/f");
    fs::remove_dir_all(fixture.source("d")).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.source("d")).unwrap();
    for _ in 0..3 {
        fixture.run(observed(&[b"d"]));
        fixture.full();
        assert!(fixture.target("d/f.bak").exists() || fixture.target("d/f").exists());
    }
}

#[test]
fn a_replaced_target_keeps_its_own_files() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.record();
    for file in 0..30 {
        fixture.write_on_both(&format!("f{file}"));
    }
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &CancelToken::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::rename(fixture.target(""), fixture.dir.path().join("aside")).unwrap();
    fixture.stale("", 2);
    let outcome = run(batch(&[b"f1"]));
    assert_eq!(held(&outcome)[0].count, 2);
    assert_eq!(fixture.listed(""), 32);
}

#[test]
fn a_module_without_max_delete_gets_a_dry_run_first() {
    for allowed in [true, false] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.use_daemon("refuse options = max-delete");
        fixture.write_on_both("kept");
        fixture.stale("d", 30);
        fs::write(fixture.source("new"), "").unwrap();
        fixture.max_delete = if allowed { MaxDelete::Count(31) } else { MaxDelete::default() };
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &CancelToken::default());
        for round in 0..2 {
            let outcome = run(Work::full());
            if allowed {
                assert_eq!(outcome, Outcome::Done);
                assert!(!fixture.target("d").exists());
            } else {
                assert_eq!(
                    (held(&outcome)[0].count, held(&outcome)[0].total),
                    (31, Some(33 + round))
                );
                assert_eq!(fixture.listed("d"), 30);
            }
            assert!(fixture.target("new").exists());
        }
    }
}

#[test]
fn a_file_refused_by_a_module_fails_alone() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.use_daemon("exclude = secret");
    for name in ["secret", "other"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    fs::write(fixture.target("stale"), "").unwrap();
    assert_eq!(failed_paths(&fixture.full()), ["/secret Tree"]);
    assert!(fixture.target("other").exists() && !fixture.target("stale").exists());
    fs::write(fixture.source("other"), "changed").unwrap();
    assert_eq!(failed_paths(&fixture.run(observed(&[b"secret", b"other"]))), ["/secret Entry"]);
    assert_eq!(fs::read(fixture.target("other")).unwrap(), b"changed");
}

/// The name is no UTF-8, which the file systems of macOS refuse.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_becomes_empty_goes_if_no_empty_ones_are_wanted() {
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        fixture.options.form = form;
        fixture.options.extra.push(b"--prune-empty-dirs".to_vec());
        fixture.rules(&[b"- *.tmp"]);
        for name in ["a/b/c/f", "a/b/x.tmp", "a/g", "kept"] {
            fixture.write_on_both(name);
        }
        fs::remove_file(fixture.target("a/b/x.tmp")).unwrap();
        fs::remove_file(fixture.source("a/b/c/f")).unwrap();
        assert_eq!(fixture.run(observed(&[b"a/b/c/f"])), Outcome::Done, "{form:?}");
        assert!(!fixture.target("a/b").exists() && fixture.target("a/g").exists(), "{form:?}");
        fs::create_dir(fixture.source("a/new")).unwrap();
        assert_eq!(fixture.run(written(&[b"a/new", b"a/b"])), Outcome::Done, "{form:?}");
        assert!(!fixture.target("a/new").exists() && !fixture.target("a/b").exists(), "{form:?}");
    }
}

#[test]
fn names_that_the_receiver_cannot_convert_fail_alone() {
    for by_daemon in [false, true] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        if by_daemon {
            fixture.use_daemon("charset = iso-8859-1");
            fixture.options.extra.push(b"--iconv=utf-8".to_vec());
        } else {
            fixture.options.extra.push(b"--iconv=utf-8,iso-8859-1".to_vec());
        }
        for name in ["d/中", "d/ok", "中", "ok", "中d/inner"] {
            let path = fixture.source(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(fixture.target("stale"), "").unwrap();
        let outcome = fixture.full();
        if matches!(outcome, Outcome::Fatal(..)) {
            println!("skipped: this rsync converts no names");
            return;
        }
        assert_eq!(failed_paths(&outcome), ["/d/中 Tree", "/中 Tree", "/中d Tree"]);
        assert!(fixture.target("d/ok").exists() && fixture.target("ok").exists());
        assert!(!fixture.target("stale").exists());
        for name in ["d/more", "more", "d/中2"] {
            fs::write(fixture.source(name), "").unwrap();
        }
        let work = observed(&["d/中", "d/more", "more", "d/中2", "中d/"].map(str::as_bytes));
        let failed = failed_paths(&fixture.run(work));
        assert_eq!(failed, ["/d/中 Entry", "/d/中2 Entry", "/中d Tree"]);
        assert!(fixture.target("d/more").exists() && fixture.target("more").exists());
    }
}

#[test]
fn a_name_that_iconv_cannot_convert_fails_alone() {
    let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
    fixture.options.extra.push(b"--iconv=utf-8,iso-8859-1".to_vec());
    for name in [&b"bad\xff"[..], b"a"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    fs::write(fixture.target("stale"), "").unwrap();
    let outcome = fixture.full();
    if matches!(outcome, Outcome::Fatal(..)) {
        println!("skipped: this rsync converts no names");
        return;
    }
    assert_eq!(failed_paths(&outcome), [r"/bad\xff Tree"]);
    assert!(fixture.target("a").exists() && !fixture.target("stale").exists());
    fs::write(fixture.target("stale"), "").unwrap();
    let outcome = fixture.run(observed(&[b"bad\xff", b"a", b"stale"]));
    assert_eq!(failed_paths(&outcome), [r"/bad\xff Entry"]);
    assert!(!fixture.target("stale").exists());
}

#[test]
fn permitted_deletions_free_space_on_a_full_target() {
    for seen in [true, false] {
        let Some(mut fixture) = RsyncFixture::with_rsync() else { return };
        if !can_mount_in_namespace() {
            return;
        }
        // Each call finds the disk in the state left by the previous one.
        fixture.use_script(
            r#"export PLACE
cat >"$PLACE/list"
exec unshare --user --map-root-user --mount sh -c '
  mount -t tmpfs -o size=100k none "$PLACE/dst" || exit 99
  [ -e "$PLACE/kept" ] && cp -a "$PLACE/kept/." "$PLACE/dst" || head -c 60000 /dev/zero >"$PLACE/dst/old"
  rsync "$@" <"$PLACE/list"; code=$?
  rm -rf "$PLACE/kept"; cp -a "$PLACE/dst" "$PLACE/kept"
  exit $code' sh "$@""#,
        );
        fs::write(fixture.source("new"), vec![7; 60_000]).unwrap();
        fs::write(fixture.source("small"), "").unwrap();
        let outcome = if seen {
            let Work::Batch { paths, renames, .. } = batch(&[b"new", b"old", b"small"]) else {
                panic!()
            };
            let Work::Batch { paths: gone, .. } = batch(&[b"old"]) else { panic!() };
            let observed = ObservedChanges {
                written: (*paths).clone(),
                deleted: (*gone).clone(),
                ..ObservedChanges::default()
            };
            fixture.run(Work::Batch { paths, observed: Arc::new(observed), renames })
        } else {
            fixture.full()
        };
        // Deletions in the same call can free space in time.
        if !seen {
            assert_eq!(failed_paths(&outcome), ["/new Tree"]);
        }
        let kept = fixture.dir.path().join("kept");
        assert!(kept.join("small").exists() && !kept.join("old").exists(), "{seen}");
        if outcome != Outcome::Done {
            assert_eq!(fixture.run(written(&[b"new"])), Outcome::Done);
        }
        assert_eq!(fs::metadata(kept.join("new")).unwrap().len(), 60_000);
    }
}

#[test]
fn a_rename_not_repeated_is_an_observed_deletion() {
    let Some(fixture) = RsyncFixture::with_rsync() else { return };
    fixture.write_on_both("kept");
    fixture.stale("old", 30);
    fs::create_dir(fixture.source("new")).unwrap();
    let [old, new] = [&b"old"[..], b"new"].map(|name| TreePath::new(name).unwrap());
    let Work::Batch { paths, .. } = batch(&[b"old/", b"new/"]) else { panic!() };
    let set = |path: &TreePath| {
        [DirtyPath { path: path.clone(), scope: Scope::Tree }].iter().collect::<PathSet>()
    };
    let observed =
        ObservedChanges { renamed_to: set(&new), deleted: set(&old), ..ObservedChanges::default() };
    let renames = Arc::from([Rename { from: old, to: new }]);
    assert_eq!(
        fixture.run(Work::Batch { paths, observed: Arc::new(observed), renames }),
        Outcome::Done
    );
    assert!(!fixture.target("old").exists() && fixture.target("new").exists());
}
