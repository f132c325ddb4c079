//! Deletions that no event reported are counted before any is made.

use std::{fs, sync::Arc};

use mirror_core::{
    guard::MaxDelete,
    job::{DirtyPath, HeldDeletions, HoldReason, Outcome, Work},
    plan::options::DeletePolicy,
    queue::{ObservedChanges, PathSet},
};

use super::{CopierFixture, dirty_path, failures, observed_changes, rename};

/// Creates a mirror of a hundred files in ten directories, with the default budget.
fn mirror() -> CopierFixture {
    let mut mirror = CopierFixture::new();
    mirror.executor.settings.max_delete = MaxDelete::default();
    for n in 0..100 {
        let path = mirror.source(&format!("d{}/f{n}", n % 10));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"content").unwrap();
    }
    mirror.assert_mirrored();
    mirror
}

fn lose(mirror: &CopierFixture, directories: usize) {
    for n in 0..directories {
        fs::remove_dir_all(mirror.source(&format!("d{n}"))).unwrap();
    }
}

#[track_caller]
fn held(outcome: Outcome) -> Vec<HeldDeletions> {
    let Outcome::Split { large, failed, held } = outcome else { panic!("{outcome:?}") };
    assert!(large.is_empty() && failed.is_empty(), "{failed:?}");
    held
}

fn count(mirror: &CopierFixture) -> usize {
    fs::read_dir(&mirror.target).unwrap().count()
}

#[test]
fn deletions_of_more_than_half_of_the_target_are_held_and_copies_go_on() {
    let mirror = mirror();
    lose(&mirror, 5);
    fs::write(mirror.source("new"), b"").unwrap();
    mirror.assert_mirrored();
    for n in 5..9 {
        fs::remove_dir_all(mirror.source(&format!("d{n}"))).unwrap();
    }
    fs::write(mirror.source("newer"), b"").unwrap();
    let all = held(mirror.full());
    let [it] = &all[..] else { panic!("{all:?}") };
    assert_eq!(it.paths, [DirtyPath::root_tree()]);
    assert_eq!((it.count, it.total), (44, Some(56)));
    assert_eq!(
        it.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/d5", "/d6", "/d7", "/d8"]
    );
    assert!(fs::exists(mirror.target("newer")).unwrap());
    assert_eq!(count(&mirror), 7);
    // A repetition loses nothing, and restored entries are no longer held.
    assert_eq!(held(mirror.full())[0].count, 44);
    fs::create_dir(mirror.source("d5")).unwrap();
    for n in (5..100).step_by(10) {
        fs::write(mirror.source(&format!("d5/f{n}")), b"").unwrap();
    }
    assert_eq!(held(mirror.full())[0].count, 33);
}

#[test]
fn held_deletions_are_made_when_the_budget_allows_them() {
    let mut mirror = mirror();
    lose(&mirror, 9);
    let settings = [MaxDelete::Count(98), MaxDelete::Share(80), MaxDelete::Count(0)];
    for budget in settings {
        mirror.executor.settings.max_delete = budget;
        assert_eq!(held(mirror.full())[0].count, 99, "{budget}");
        assert_eq!(count(&mirror), 10);
    }
    mirror.executor.settings.max_delete = MaxDelete::Count(99);
    mirror.assert_mirrored();
}

#[test]
fn a_partial_job_uses_the_last_total_and_ignores_reported_deletions() {
    let mirror = mirror();
    lose(&mirror, 9);
    let paths = "d0/ d1/ d2/ d3/ d4/ d5/ d6/ d7/ d8/";
    let all = held(mirror.batch(paths));
    assert_eq!(all.iter().map(|it| it.count).collect::<Vec<_>>(), [99]);
    assert_eq!(all[0].total, Some(110));
    assert_eq!(count(&mirror), 10);
    // The other five were not reported, and are not more than half.
    let seen = "d5 d6 d7 d8";
    assert_eq!(mirror.batch_observed(paths, seen, ""), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn reported_deletions_can_have_a_budget_of_their_own() {
    let mut mirror = mirror();
    lose(&mirror, 9);
    mirror.executor.settings.max_delete_seen = MaxDelete::Count(50);
    let gone = "d0 d1 d2 d3 d4 d5 d6 d7 d8";
    let all = held(mirror.batch_observed(gone, gone, ""));
    assert_eq!(all.iter().map(|it| (it.count, it.paths.len())).collect::<Vec<_>>(), [(99, 9)]);
    assert_eq!(count(&mirror), 10);
    mirror.executor.settings.max_delete_seen = MaxDelete::Unlimited;
    assert_eq!(mirror.batch_observed(gone, gone, ""), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn observed_deletions_that_are_held_bind_unobserved_ones() {
    let mut mirror = mirror();
    lose(&mirror, 4);
    mirror.executor.settings.max_delete_seen = MaxDelete::Count(20);
    let held = |outcome| {
        let all = held(outcome);
        let count: u64 = all.iter().map(|it| it.count).sum();
        (count, all.iter().all(|it| it.reason == HoldReason::Observed))
    };
    let gone = "d0 d1 d2";
    assert_eq!(held(mirror.batch_observed(gone, gone, "")), (33, true));
    let observed = ObservedChanges { may_include_held: true, ..ObservedChanges::default() };
    let observed = Arc::new(observed);
    for work in [Work::Full { observed: Arc::clone(&observed) }, Work::full_batch(observed)] {
        assert_eq!(held(mirror.run(work)), (44, true));
    }
    assert_eq!(count(&mirror), 10);
    // Where they are known they are counted apart.
    let gone = observed_changes(gone, "");
    assert_eq!(held(mirror.run(Work::full_batch(gone))), (33, true));
    assert_eq!(count(&mirror), 9);
    mirror.assert_mirrored();
}

/// The observation of a rename, whose old name is gone.
fn renamed(from: &str, to: &str) -> Arc<ObservedChanges> {
    let set = |name| [dirty_path(name)].iter().collect::<PathSet>();
    Arc::new(ObservedChanges {
        renamed_to: set(to),
        deleted: set(from),
        renamed_from: set(from),
        ..ObservedChanges::default()
    })
}

#[test]
fn a_rename_that_is_not_repeated_is_no_deletion() {
    let mut mirror = mirror();
    mirror.executor.settings.max_delete_seen = MaxDelete::Count(5);
    fs::rename(mirror.source("d0"), mirror.source("new")).unwrap();
    let paths = Arc::new(["d0/", "new/"].map(dirty_path).iter().collect());
    let work = Work::Batch { paths, observed: renamed("d0/", "new/"), renames: Arc::new([]) };
    assert_eq!(mirror.run(work), Outcome::Done);
    mirror.assert_same();
}

/// The event of its removal is still to come.
#[test]
fn a_renamed_directory_that_was_moved_away_is_a_deletion() {
    let mut mirror = mirror();
    mirror.executor.settings.max_delete_seen = MaxDelete::Count(5);
    fs::remove_dir_all(mirror.source("d0")).unwrap();
    let paths = Arc::new(["d0/", "between/", "new/"].map(dirty_path).iter().collect());
    let renames = Arc::new(["d0>between", "between>new"].map(rename));
    let work = Work::Batch { paths, observed: renamed("d0/", "new/"), renames };
    let all = held(mirror.run(work));
    assert_eq!((all[0].count, all[0].reason), (11, HoldReason::Observed));
    assert_eq!(count(&mirror), 10);
}

#[test]
fn without_a_total_a_partial_job_counts_the_target() {
    for (lost, places, allowed) in [(1, "d0/", true), (6, "d0/ d1/ d2/ d3/ d4/ d5/", false)] {
        let mirror = mirror();
        lose(&mirror, lost);
        // What the job creates makes no share smaller.
        (0..100).for_each(|n| fs::write(mirror.source(&format!("d9/new{n}")), "").unwrap());
        let executor = super::executor(&mirror.source, &mirror.target, DeletePolicy::Always);
        let mut mirror = CopierFixture { executor, ..mirror };
        mirror.executor.settings.max_delete = MaxDelete::default();
        let outcome = mirror.batch(&format!("{places} d9/"));
        if allowed {
            assert_eq!(outcome, Outcome::Done);
            continue;
        }
        let all = held(outcome);
        assert_eq!((all[0].count, all[0].total), (66, Some(110)));
        assert!(fs::exists(mirror.target("d9/new99")).unwrap());
    }
}

#[test]
fn what_may_be_older_than_the_mirror_is_held_if_only_later_deletions_are_made() {
    let mut mirror = CopierFixture::with(DeletePolicy::Running);
    mirror.executor.settings.max_delete = MaxDelete::default();
    fs::create_dir(mirror.target("d")).unwrap();
    for name in ["d/old", "old"] {
        fs::write(mirror.target(name), b"").unwrap();
    }
    for name in ["d", "kept"] {
        fs::write(mirror.source(name), b"content").unwrap();
    }
    assert_eq!(failures(mirror.full()).len(), 1);
    let paths: Arc<PathSet> = Arc::new([dirty_path("d")].iter().collect());
    let left_by_startup = (*paths).clone();
    let observed = Arc::new(ObservedChanges { left_by_startup, ..ObservedChanges::default() });
    let retry = Work::Batch { paths, observed, renames: Arc::new([]) };
    assert_eq!(held(mirror.run(retry))[0].count, 2);
    assert_eq!(held(mirror.run(Work::full_batch(Arc::default())))[0].count, 3);
    assert_eq!(mirror.batch_observed("old", "old", ""), Outcome::Done);
    mirror.executor.settings.max_delete = MaxDelete::Unlimited;
    assert_eq!(mirror.batch("d"), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_file_that_replaces_a_held_directory_is_held_as_well() {
    let mut mirror = mirror();
    mirror.executor.settings.max_delete = MaxDelete::Count(0);
    lose(&mirror, 1);
    fs::write(mirror.source("d0"), b"a file now").unwrap();
    assert_eq!(held(mirror.full())[0].count, 11);
    assert!(fs::exists(mirror.target("d0/f0")).unwrap());
    // If reported, or within a budget, it is deleted.
    assert_eq!(mirror.batch_observed("d0/", "d0", "d0"), Outcome::Done);
    mirror.assert_same();
    fs::remove_dir_all(mirror.source("d1")).unwrap();
    fs::write(mirror.source("d1"), b"a file now").unwrap();
    mirror.executor.settings.max_delete = MaxDelete::Count(11);
    mirror.assert_mirrored();
}

#[test]
fn excluded_target_entries_are_kept_and_not_counted() {
    let mut mirror = mirror();
    let mut filter = mirror_core::filter::Filter::builder();
    filter.exclude(b"*.own").unwrap();
    mirror.executor.settings.filter = Arc::new(filter.build());
    mirror.executor.settings.max_delete = MaxDelete::Count(0);
    fs::create_dir_all(mirror.target("d0/x")).unwrap();
    for n in 0..30 {
        fs::write(mirror.target(&format!("d0/x/{n}.own")), b"").unwrap();
    }
    lose(&mirror, 1);
    assert_eq!(held(mirror.full())[0].count, 10);
    mirror.executor.settings.max_delete = MaxDelete::Count(10);
    assert_eq!(mirror.full(), Outcome::Done);
    assert_eq!(fs::read_dir(mirror.target("d0")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(mirror.target("d0/x")).unwrap().count(), 30);
}

#[test]
fn an_unreported_deletion_above_the_dirty_paths_is_compared_again() {
    let mut mirror = mirror();
    mirror.executor.settings.max_delete = MaxDelete::Count(0);
    lose(&mirror, 1);
    // The event of the file has arrived; that of its directory is on the way.
    let failed = failures(mirror.batch_observed("d0/f0", "d0/f0", ""));
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, "/d0");
    assert!(failed[0].1.contains("without a reported deletion"), "{failed:?}");
    assert_eq!(mirror.batch_observed("d0/", "d0", ""), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn a_rename_is_no_deletion() {
    let mut mirror = mirror();
    mirror.executor.settings.max_delete = MaxDelete::Count(0);
    fs::rename(mirror.source("d0"), mirror.source("e0")).unwrap();
    let paths: Vec<_> = ["d0/", "e0/"].map(super::dirty_path).to_vec();
    let work = super::work(&paths, &[super::rename("d0>e0")]);
    assert_eq!(mirror.run(work), Outcome::Done);
    mirror.assert_same();
}

#[test]
fn entries_of_a_replaced_target_are_kept_until_the_budget_changes() {
    let mut mirror = mirror();
    let aside = mirror.target.with_extension("old");
    fs::rename(&mirror.target, &aside).unwrap();
    fs::create_dir(&mirror.target).unwrap();
    fs::write(mirror.target("own"), b"").unwrap();
    fs::write(mirror.source("new"), b"").unwrap();
    assert_eq!(held(mirror.batch("new"))[0].count, 1);
    assert!(
        fs::exists(mirror.target("new")).unwrap() && fs::exists(mirror.target("d9/f99")).unwrap()
    );
    // Neither the same setting nor later changes lift the hold.
    assert_eq!(held(mirror.full())[0].count, 1);
    mirror.executor.settings.max_delete = MaxDelete::Count(1);
    mirror.assert_mirrored();
    fs::write(mirror.target("own"), b"").unwrap();
    mirror.executor.settings.max_delete = MaxDelete::default();
    mirror.assert_mirrored();
}

#[test]
fn a_change_of_settings_keeps_the_state() {
    let mut mirror = mirror();
    let settings = super::DirectSettings {
        max_delete: MaxDelete::Share(10),
        ..mirror.executor.settings.clone()
    };
    let source = Arc::clone(&mirror.executor.source);
    let state = Arc::clone(&mirror.executor.state);
    mirror.executor = super::DirectExecutor::new(source, settings, state, super::Log::default());
    lose(&mirror, 2);
    let all = held(mirror.batch("d0/ d1/"));
    assert_eq!((all[0].count, all[0].total), (22, Some(110)));
    assert_eq!(mirror.batch("d0/"), Outcome::Done);
}

#[test]
fn deferred_links_are_counted_once() {
    let mut mirror = CopierFixture::new();
    mirror.executor.settings.max_delete = MaxDelete::default();
    for n in 0..30 {
        std::os::unix::fs::symlink("old", mirror.source(&format!("l{n}"))).unwrap();
        fs::write(mirror.source(&format!("f{n}")), b"").unwrap();
    }
    mirror.assert_mirrored();
    for n in 0..30 {
        fs::remove_file(mirror.source(&format!("l{n}"))).unwrap();
        std::os::unix::fs::symlink("new", mirror.source(&format!("l{n}"))).unwrap();
        fs::remove_file(mirror.source(&format!("f{n}"))).unwrap();
    }
    for n in 30..62 {
        fs::write(mirror.target(&format!("f{n}")), b"").unwrap();
    }
    let all = held(mirror.full());
    assert_eq!((all[0].count, all[0].total), (62, Some(92)));
}
