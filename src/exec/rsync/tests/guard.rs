//! What is deleted, what is counted first, and what is held.

use mirror_core::{
    job::{HeldDeletions, HeldFor, Rename},
    plan::options::{DeletePolicy, ListForm, Rules},
};

use super::*;

impl Fixture {
    /// So many files in a directory of the target.
    fn stale(&self, directory: &str, number: usize) {
        fs::create_dir_all(self.target(directory)).unwrap();
        for file in 0..number {
            fs::write(self.target(directory).join(format!("stale{file}")), "").unwrap();
        }
    }

    /// How many entries a directory of the target lists. None if there is no such directory.
    fn listed(&self, directory: &str) -> usize {
        fs::read_dir(self.target(directory)).map_or(0, Iterator::count)
    }

    fn rules(&mut self, rules: &[&[u8]]) {
        let mut builder = Filter::builder();
        for rule in rules {
            builder.rule(rule, &mut |_| Err("no file".into())).unwrap();
        }
        self.filter = Arc::new(builder.build());
        self.options.rules = Rules::Filters(rules.iter().map(|rule| rule.to_vec()).collect());
    }
}

fn held(outcome: &Outcome) -> &[HeldDeletions] {
    let Outcome::Split { held, failed, large } = outcome else { panic!("{outcome:?}") };
    assert!(failed.is_empty() && large.is_empty(), "{outcome:?}");
    held
}

/// The first marks were seen to go, the others are only to be looked at.
fn gone_and(gone: &[&[u8]], others: &[&[u8]]) -> Work {
    let Work::Batch { places: all, moves, .. } = batch(&[gone, others].concat()) else { panic!() };
    let Work::Batch { places: gone, .. } = batch(gone) else { panic!() };
    let heard = Heard { gone: (*gone).clone(), ..Heard::default() };
    Work::Batch { places: all, heard: Arc::new(heard), moves }
}

#[test]
fn more_than_the_budget_is_held_and_the_rest_brought() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.on_both("kept");
    fixture.stale("d/e", 20);
    fs::write(fixture.source("new"), "").unwrap();
    let outcome = fixture.full();
    let [only] = held(&outcome) else { panic!("{outcome:?}") };
    // The files and two directories, of these and the root and one file more.
    assert_eq!((only.count, only.of), (22, Some(24)), "{only:?}");
    assert_eq!(only.places, [Place::all()]);
    assert_eq!(only.names.len(), HeldDeletions::MOST_NAMED);
    assert!(only.names.iter().all(|name| name.as_bytes().starts_with(b"d/e/stale")), "{only:?}");
    assert!(fixture.target("new").exists());
    assert_eq!(fixture.listed("d/e"), 20);
    // One that brings and counts, and one that has the names.
    assert_eq!(fixture.calls().len(), 2, "{:?}", fixture.calls());
    // That it is tried again is no consent.
    assert_eq!(held(&fixture.full()).len(), 1);
    fixture.max_delete = MaxDelete::Count(21);
    assert_eq!(held(&fixture.full()).len(), 1);
    fixture.max_delete = MaxDelete::Count(22);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn what_the_budget_allows_goes_by_a_second_call_that_is_fenced() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    for file in 0..20 {
        fixture.on_both(&format!("kept/{file}"));
    }
    fixture.stale("kept", 5);
    fixture.stale("d/e", 5);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
    let calls = fixture.calls();
    assert!(calls[0].contains("[--max-delete=0]") && calls[1].contains("[--max-delete=12]"));
    // The next one has nothing to delete.
    assert_eq!(fixture.full(), Outcome::Done);
    assert_eq!(fixture.calls().len(), 3, "{calls:?}");
    // A few may always go.
    fixture.max_delete = MaxDelete::Share(0);
    fixture.stale("", 9);
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
}

#[test]
fn without_a_budget_nothing_is_counted() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.on_both("kept");
    fixture.stale("d", 50);
    fixture.max_delete = MaxDelete::Unlimited;
    assert_eq!(fixture.full(), Outcome::Done);
    fixture.assert_equal();
    assert_eq!(fixture.calls().len(), 1);
}

#[test]
fn a_directory_that_would_make_way_is_held_and_has_not_failed() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.stale("x", 30);
    for name in ["x", "y"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    assert_eq!(held(&fixture.full())[0].count, 31);
    assert!(fixture.target("y").exists());
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(held(&run(written(&[b"x", b"y"]))).len(), 1);
    // Neither is it destroyed by what is seen to go beside it.
    fs::write(fixture.target("z"), "").unwrap();
    let Work::Batch { places, moves, .. } = batch(&[b"x", b"z"]) else { panic!() };
    let Work::Batch { places: gone, .. } = batch(&[b"z"]) else { panic!() };
    let what = Heard { written: (*places).clone(), gone: (*gone).clone(), ..Heard::default() };
    let work = Work::Batch { places, heard: Arc::new(what), moves };
    assert_eq!(held(&run(work)).len(), 1);
    assert!(!fixture.target("z").exists());
    assert_eq!(fixture.listed("x"), 30);
    // Once it was seen to go, it makes way.
    assert_eq!(run(heard(&[b"x"])), Outcome::Done);
    assert!(fixture.target("x").is_file());
}

#[test]
fn what_was_seen_to_go_goes_and_what_was_not_is_counted() {
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.options.form = form;
        for file in 0..30 {
            fixture.on_both(&format!("a/{file}"));
            fixture.on_both(&format!("b/{file}"));
        }
        fixture.on_both("kept");
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &Stop::default());
        assert_eq!(run(Work::full()), Outcome::Done);
        fs::remove_dir_all(fixture.source("a")).unwrap();
        fs::remove_dir_all(fixture.source("b")).unwrap();
        let outcome = run(gone_and(&[b"a"], &[b"b"]));
        // 31 of the 64 that there were are fewer than a half.
        assert_eq!(outcome, Outcome::Done, "{form:?}");
        assert!(!fixture.target("a").exists() && !fixture.target("b").exists());
    }
    for form in [ListForm::FilesFrom, ListForm::Filter] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.options.form = form;
        fixture.on_both("kept");
        fixture.stale("a", 30);
        fixture.stale("b", 30);
        let outcome = fixture.run(gone_and(&[b"a"], &[b"b"]));
        assert_eq!(held(&outcome)[0].count, 31, "{form:?}");
        assert!(!fixture.target("a").exists());
        assert_eq!(fixture.listed("b"), 30);
    }
}

#[test]
fn what_was_seen_to_go_and_is_made_anew_before_that_is_heard_makes_way() {
    for new in ["d/new", "d"] {
        let Some(fixture) = Fixture::with_rsync() else { return };
        fixture.stale("d/e", 30);
        fixture.on_both("kept");
        if new.contains('/') {
            fs::create_dir(fixture.source("d")).unwrap();
        }
        fs::write(fixture.source(new), "new").unwrap();
        let work = batch(&[b"d/"]);
        let Work::Batch { places, moves, .. } = work else { panic!() };
        let what = Heard { gone: (*places).clone(), ..Heard::default() };
        let work = Work::Batch { places, heard: Arc::new(what), moves };
        assert_eq!(fixture.run(work), Outcome::Done, "{new}");
        fixture.assert_equal();
    }
}

#[test]
fn a_file_of_several_names_that_is_held_breaks_no_call() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
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
    let one = |fixture: &Fixture, number| {
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
fn what_never_makes_way_for_a_file_of_several_names_is_told() {
    let changes: [fn(&mut Fixture); 2] = [
        |fixture| fixture.options.delete = DeletePolicy::Never,
        |fixture| fixture.rules(&[b"- stale*"]),
    ];
    for change in changes {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.options.short.push(b'H');
        change(&mut fixture);
        fs::write(fixture.source("a"), "").unwrap();
        for name in ["b", "c"] {
            fs::hard_link(fixture.source("a"), fixture.source(name)).unwrap();
        }
        fixture.stale("b", 3);
        for outcome in [fixture.full(), fixture.run(written(&[b"a", b"b", b"c"]))] {
            assert!(partly(&outcome).iter().all(|place| place.starts_with("/b ")), "{outcome:?}");
            assert!(fixture.target("a").is_file() && fixture.target("c").is_file());
            assert_eq!(fixture.listed("b"), 3);
        }
    }
}

#[test]
fn a_budget_for_what_was_seen_holds_that_too() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(20);
    fixture.on_both("kept");
    fixture.stale("a", 30);
    let outcome = fixture.run(heard(&[b"a"]));
    assert_eq!(held(&outcome)[0].count, 31);
    assert_eq!(fixture.listed("a"), 30);
    fixture.max_delete_seen = MaxDelete::Count(31);
    assert_eq!(fixture.run(heard(&[b"a"])), Outcome::Done);
    assert!(!fixture.target("a").exists());
}

#[test]
fn a_share_is_one_of_what_the_target_holds_now() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.on_both("kept");
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    // Since then it has become much more.
    for number in 0..60 {
        fixture.on_both(&format!("new/{number}"));
    }
    fixture.stale("d", 30);
    fs::create_dir(fixture.source("d")).unwrap();
    assert_eq!(run(batch(&[b"d/"])), Outcome::Done);
    assert_eq!(fixture.listed("d"), 0);
    // It is still a share.
    fixture.stale("d", 70);
    assert_eq!(held(&run(batch(&[b"d/"])))[0].of, Some(134));
}

#[test]
fn a_rename_is_no_deletion() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(5);
    fixture.stale("old", 10);
    fixture.stale("gone", 10);
    for number in 0..10 {
        fixture.on_both(&format!("new/{number}"));
    }
    fs::remove_dir_all(fixture.target("new")).unwrap();
    let Work::Batch { places, moves, .. } = batch(&[b"old", b"new/", b"gone"]) else { panic!() };
    let heard = Heard {
        moved: [tree(b"new")].iter().collect(),
        gone: [tree(b"old"), tree(b"gone")].iter().collect(),
        left: [tree(b"old")].iter().collect(),
        ..Heard::default()
    };
    let outcome = fixture.run(Work::Batch { places, heard: Arc::new(heard), moves });
    let [held] = held(&outcome) else { panic!("{outcome:?}") };
    let paths: Vec<_> = held.places.iter().map(|place| place.path.to_string()).collect();
    assert_eq!((held.count, paths), (11, vec!["/gone".to_owned()]));
    assert_eq!((fixture.listed("new"), fixture.target("old").exists()), (10, false));
    assert_eq!(fixture.listed("gone"), 10);
}

fn tree(path: &[u8]) -> Place {
    Place { path: TreePath::new(path).unwrap(), scope: Scope::Tree }
}

#[test]
fn all_places_of_a_call_are_held() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.max_delete_seen = MaxDelete::Count(5);
    fixture.on_both("kept");
    for name in ["a", "b", "c"] {
        fixture.stale(name, 10);
    }
    let outcome = fixture.run(heard(&[b"a", b"b", b"c"]));
    let [held] = held(&outcome) else { panic!("{outcome:?}") };
    assert_eq!((held.count, held.why), (33, HeldFor::Seen));
    let mut places: Vec<_> = held.places.iter().map(|place| place.path.to_string()).collect();
    places.sort();
    assert_eq!(places, ["/a", "/b", "/c"]);
    let lies_there = |name| held.places.iter().any(|place| place.path.contains(name));
    assert!(held.names.iter().all(lies_there));
}

#[test]
fn in_a_new_directory_what_the_target_has_is_counted() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.on_both("kept");
    fixture.stale("d", 30);
    fs::create_dir(fixture.source("d")).unwrap();
    fs::write(fixture.source("d/new"), "").unwrap();
    let outcome = fixture.run(written(&[b"d/"]));
    assert_eq!(held(&outcome)[0].count, 30);
    assert_eq!(held(&outcome)[0].places[0].path, TreePath::new(b"d").unwrap());
    assert_eq!(fixture.listed("d"), 31);
    // With the name all that was below it was seen to go.
    assert_eq!(fixture.run(heard(&[b"d/"])), Outcome::Done);
    assert_eq!(fixture.listed("d"), 1);
}

#[test]
fn a_source_that_lists_nothing_of_its_own_deletes_only_what_was_seen_to_go() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.rules(&[b"- *.tmp"]);
    fixture.max_delete = MaxDelete::Unlimited;
    fs::create_dir(fixture.source("lost+found")).unwrap();
    fs::write(fixture.source("x.tmp"), "").unwrap();
    for name in ["a", "b", "d/c"] {
        fs::create_dir_all(fixture.target(name).parent().unwrap()).unwrap();
        fs::write(fixture.target(name), "").unwrap();
    }
    for (outcome, count) in
        [(fixture.full(), 4), (fixture.run(gone_and(&[b"a"], &[b"b", b"d/"])), 3)]
    {
        assert_eq!((held(&outcome)[0].count, held(&outcome)[0].why), (count, HeldFor::EmptySource));
    }
    assert!(fixture.target("b").exists() && fixture.target("d/c").exists());
    assert!(!fixture.target("a").exists() && fixture.target("lost+found").exists());
}

#[test]
fn what_is_excluded_survives_its_directory() {
    type Alter = fn(&mut Fixture);
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
    for (name, alter) in ways {
        for seen in [true, false] {
            let Some(mut fixture) = Fixture::with_rsync() else { return };
            alter(&mut fixture);
            fixture.rules(&[b"- cache", b"- .env"]);
            fixture.on_both("kept");
            for file in ["a/f", "a/cache/k", "a/b/.env", "a/b/g", "c/d/e"] {
                let path = fixture.target(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            let marks: [&[u8]; 2] = [b"a", b"c/d/e"];
            let work = if seen { heard(&marks) } else { batch(&marks) };
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
fn what_is_excluded_keeps_its_directory_from_making_way() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.rules(&[b"- .env"]);
    fs::create_dir(fixture.target("d")).unwrap();
    fs::write(fixture.target("d/.env"), "").unwrap();
    for name in ["d", "other"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    assert_eq!(partly(&fixture.run(heard(&[b"d", b"other"]))), ["/d Entry"]);
    assert_eq!(partly(&fixture.full()), ["/d Tree"]);
    assert!(fixture.target("d/.env").exists() && fixture.target("other").exists());
}

#[test]
fn what_is_gone_is_deleted_as_what_the_target_has() {
    for local in [true, false] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        if !local {
            fixture.go_through_a_shell();
        }
        fixture.rules(&[b"+ */", b"+ *.conf", b"- *"]);
        fixture.on_both("kept.conf");
        for file in ["d/a.conf", "d/in/b.conf", "own/x", "f", "e/c.conf"] {
            let path = fixture.target(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        // In the place of `e` comes a file, which is excluded.
        fs::write(fixture.source("e"), "").unwrap();
        let marks: [&[u8]; 4] = [b"d", b"own", b"f", b"e"];
        assert_eq!(fixture.run(heard(&marks)), Outcome::Done);
        assert!(!fixture.target("d").exists() && !fixture.target("e").exists(), "{local}");
        assert!(fixture.target("own/x").exists() && fixture.target("f").exists(), "{local}");
        assert!(fixture.target("kept.conf").exists(), "{local}");
        fixture.rules(&[b"- */"]);
        fs::write(fixture.target("top"), "").unwrap();
        fs::create_dir(fixture.source("top2")).unwrap();
        fs::write(fixture.target("top2"), "").unwrap();
        let marks: [&[u8]; 3] = [b"top", b"top2", b"own"];
        assert_eq!(fixture.run(heard(&marks)), Outcome::Done);
        assert!(!fixture.target("top").exists() && !fixture.target("top2").exists(), "{local}");
        assert!(fixture.target("own/x").exists(), "{local}");
    }
}

#[test]
fn without_deletion_nothing_goes_for_whatever_reason() {
    for policy in [DeletePolicy::Never, DeletePolicy::Startup] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.options.delete = policy;
        fixture.stale("d", 3);
        fixture.stale("t/x", 3);
        fs::create_dir(fixture.source("t")).unwrap();
        for name in ["d", "t/x", "other"] {
            fs::write(fixture.source(name), "").unwrap();
        }
        let outcome = fixture.run(heard(&[b"d", b"t/", b"other"]));
        assert_eq!(partly(&outcome), ["/d Entry", "/t/x Tree"], "{policy:?}");
        assert_eq!((fixture.listed("d"), fixture.listed("t/x")), (3, 3));
        assert!(fixture.target("other").exists());
        assert!(matches!(fixture.batch(&[b"/"]), Outcome::Partly(_)));
        assert_eq!((fixture.listed("d"), fixture.listed("t/x")), (3, 3));
    }
}

#[test]
fn the_users_own_bound_is_not_passed_by_another_call() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    fixture.options.extra.push(b"--max-delete=5".to_vec());
    fixture.on_both("kept");
    fixture.stale("", 20);
    let marks: Vec<Vec<u8>> = (0..20).map(|file| format!("stale{file}").into_bytes()).collect();
    let marks: Vec<&[u8]> = marks.iter().map(Vec::as_slice).collect();
    let outcome = fixture.run(heard(&marks));
    assert_eq!(held(&outcome)[0].count, 15);
    assert_eq!(fixture.listed(""), 16);
    // Of all of it, too: what is counted may go, but not more than the user says.
    fixture.max_delete = MaxDelete::Share(100);
    let outcome = fixture.full();
    assert_eq!(held(&outcome)[0].count, 10);
    assert_eq!(fixture.listed(""), 11);
}

#[test]
fn backups_are_not_taken_for_something_that_is_in_the_way() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.options.long.extend([b"--backup".to_vec(), b"--suffix=.bak".to_vec()]);
    fixture.on_both("kept");
    fixture.on_both("d/f");
    fs::remove_dir_all(fixture.source("d")).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.source("d")).unwrap();
    for _ in 0..3 {
        fixture.run(heard(&[b"d"]));
        fixture.full();
        assert!(fixture.target("d/f.bak").exists() || fixture.target("d/f").exists());
    }
}

#[test]
fn a_target_that_was_exchanged_loses_nothing_of_its_own() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.record();
    for file in 0..30 {
        fixture.on_both(&format!("f{file}"));
    }
    let executor = fixture.executor();
    let run = |work| executor.run(&mut job(work), &Stop::default());
    assert_eq!(run(Work::full()), Outcome::Done);
    fs::rename(fixture.target(""), fixture.place.path().join("aside")).unwrap();
    fixture.stale("", 2);
    let outcome = run(batch(&[b"f1"]));
    assert_eq!(held(&outcome)[0].count, 2);
    assert_eq!(fixture.listed(""), 32);
}

#[test]
fn a_module_that_takes_no_bound_is_asked_first() {
    for allowed in [true, false] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        fixture.go_to_a_daemon("refuse options = max-delete");
        fixture.on_both("kept");
        fixture.stale("d", 30);
        fs::write(fixture.source("new"), "").unwrap();
        fixture.max_delete = if allowed { MaxDelete::Count(31) } else { MaxDelete::default() };
        let executor = fixture.executor();
        let run = |work| executor.run(&mut job(work), &Stop::default());
        for round in 0..2 {
            let outcome = run(Work::full());
            if allowed {
                assert_eq!(outcome, Outcome::Done);
                assert!(!fixture.target("d").exists());
            } else {
                assert_eq!((held(&outcome)[0].count, held(&outcome)[0].of), (31, Some(33 + round)));
                assert_eq!(fixture.listed("d"), 30);
            }
            assert!(fixture.target("new").exists());
        }
    }
}

#[test]
fn what_a_module_refuses_is_the_trouble_of_that_file() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
    fixture.go_to_a_daemon("exclude = secret");
    for name in ["secret", "other"] {
        fs::write(fixture.source(name), "").unwrap();
    }
    fs::write(fixture.target("stale"), "").unwrap();
    assert_eq!(partly(&fixture.full()), ["/secret Tree"]);
    assert!(fixture.target("other").exists() && !fixture.target("stale").exists());
    fs::write(fixture.source("other"), "changed").unwrap();
    assert_eq!(partly(&fixture.run(heard(&[b"secret", b"other"]))), ["/secret Entry"]);
    assert_eq!(fs::read(fixture.target("other")).unwrap(), b"changed");
}

#[test]
fn a_name_that_cannot_be_converted_is_the_trouble_of_that_file() {
    let Some(mut fixture) = Fixture::with_rsync() else { return };
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
    assert_eq!(partly(&outcome), [r"/bad\xff Tree"]);
    assert!(fixture.target("a").exists() && !fixture.target("stale").exists());
    fs::write(fixture.target("stale"), "").unwrap();
    let outcome = fixture.run(heard(&[b"bad\xff", b"a", b"stale"]));
    assert_eq!(partly(&outcome), [r"/bad\xff Entry"]);
    assert!(!fixture.target("stale").exists());
}

#[test]
fn a_full_target_gets_room_by_what_may_be_deleted() {
    for seen in [true, false] {
        let Some(mut fixture) = Fixture::with_rsync() else { return };
        if !can_mount_alone() {
            return;
        }
        // Each call finds the disk as the one before left it.
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
            let Work::Batch { places, moves, .. } = batch(&[b"new", b"old", b"small"]) else {
                panic!()
            };
            let Work::Batch { places: gone, .. } = batch(&[b"old"]) else { panic!() };
            let heard =
                Heard { written: (*places).clone(), gone: (*gone).clone(), ..Heard::default() };
            fixture.run(Work::Batch { places, heard: Arc::new(heard), moves })
        } else {
            fixture.full()
        };
        // What is deleted in the same call may make room in time.
        if !seen {
            assert_eq!(partly(&outcome), ["/new Tree"]);
        }
        let kept = fixture.place.path().join("kept");
        assert!(kept.join("small").exists() && !kept.join("old").exists(), "{seen}");
        if outcome != Outcome::Done {
            assert_eq!(fixture.run(written(&[b"new"])), Outcome::Done);
        }
        assert_eq!(fs::metadata(kept.join("new")).unwrap().len(), 60_000);
    }
}

#[test]
fn a_rename_that_was_not_repeated_is_a_deletion_that_was_seen() {
    let Some(fixture) = Fixture::with_rsync() else { return };
    fixture.on_both("kept");
    fixture.stale("old", 30);
    fs::create_dir(fixture.source("new")).unwrap();
    let [old, new] = [&b"old"[..], b"new"].map(|name| TreePath::new(name).unwrap());
    let Work::Batch { places, .. } = batch(&[b"old/", b"new/"]) else { panic!() };
    let set = |path: &TreePath| {
        [Place { path: path.clone(), scope: Scope::Tree }].iter().collect::<PlaceSet>()
    };
    let heard = Heard { moved: set(&new), gone: set(&old), ..Heard::default() };
    let moves = Arc::from([Rename { from: old, to: new }]);
    assert_eq!(fixture.run(Work::Batch { places, heard: Arc::new(heard), moves }), Outcome::Done);
    assert!(!fixture.target("old").exists() && fixture.target("new").exists());
}
