//! First transfers that are reduced to the differences from a snapshot.

use super::*;
use crate::flush::{FlushPath, FlushRequest};
use crate::snapshot::{DifferenceKind, SourceComparison, SourceDifference, Unconfirmed};

fn with_snapshots() -> Fleet {
    let settings = MirrorSettings { has_snapshots: true, ..settings(Insist::Yes) };
    Fleet::new(vec![settings], FleetLimits::default())
}

/// Parses a comparison: `unknown` with written paths, or differences: `w:` written, `m:` missing,
/// `c:` to be compared; `/**` for a tree.
pub(super) fn comparison(words: &[&str]) -> SourceComparison {
    if let ["unknown", written @ ..] = words {
        let written = written.iter().map(|path| DirtyPath { path: at(path), scope: Scope::Entry });
        return SourceComparison::Unknown { reason: "unknown".into(), written: written.collect() };
    }
    let differences = words.iter().map(|word| {
        let (kind, path) = word.split_once(':').unwrap();
        let kind = match kind {
            "w" => DifferenceKind::Written,
            "m" => DifferenceKind::Missing,
            "c" => DifferenceKind::Compared,
            other => panic!("{other}"),
        };
        let (path, scope) = match path.strip_suffix("/**") {
            Some(path) => (path, Scope::Tree),
            None => (path, Scope::Entry),
        };
        SourceDifference { dirty: DirtyPath { path: at(path), scope }, kind }
    });
    SourceComparison::Differences(differences.collect())
}

#[test]
fn only_differences_are_transferred() {
    play(
        with_snapshots(),
        "0 begin                          -> cover 0
         0 covered 0                      -> compare 0
         5 0 write a                      ->
         900                              ->
         1000 compared 0 w:/b m:/c/** c:/e -> reduced to 4, start 0 /a+/b+/c/**+/e
         1100 job 0 but /c                -> 1 failed, StartupFinished(12)
         1200 0 write a                   ->
         1300                             -> start 0 /a",
    );
}

#[test]
fn a_flush_during_the_comparison_waits_for_what_it_finds() {
    let mut fleet = with_snapshots();
    let mut effects = Vec::new();
    let mut send_at = |fleet: &mut Fleet, words: &[&str], seconds| {
        let now = Moment::new(Duration::from_secs(seconds));
        effects.clear();
        send(fleet, words, now, &mut effects);
        fleet.advance(now, &mut effects);
        effects.iter().map(show).filter(|it| it.starts_with("flushed")).collect::<Vec<_>>()
    };
    send_at(&mut fleet, &["begin"], 0);
    send_at(&mut fleet, &["covered", "0"], 1);
    let paths = vec![FlushPath { mirror: MirrorId(0), path: TreePath::root() }];
    let flush = Input::Flush(FlushRequest { id: 7, paths, until: None });
    fleet.handle(flush, Moment::new(Duration::from_secs(2)), &mut Vec::new());
    assert!(send_at(&mut fleet, &["compared", "0", "w:/a"], 3).is_empty());
    let first = send_at(&mut fleet, &["job", "0", "but", "/a"], 4);
    assert!(first.is_empty(), "a first failure: {first:?}");
    fleet.advance(Moment::new(Duration::from_secs(5)), &mut Vec::new());
    let [end] = &send_at(&mut fleet, &["job", "1", "but", "/a"], 6)[..] else { panic!() };
    assert!(end.contains("PathsFailed"), "{end}");
}

#[test]
fn nothing_is_transferred_without_differences() {
    let script = "0 begin                     -> cover 0
         0 covered 0                      -> compare 0
         0 compared 0                     -> reduced to 0, StartupFinished
         0 compared 0 w:/late             ->
         9 0 write a                      ->
         109                              -> start 0 /a";
    play(with_snapshots(), script);
    let mut fleet = with_snapshots();
    assert_eq!(
        fleet.mirror_mut(MirrorId(0)).unwrap().unconfirmed(),
        Unconfirmed::Everything { written: vec![] }
    );
    let mut effects = Vec::new();
    for words in [&["begin"][..], &["covered", "0"], &["compared", "0"]] {
        send(&mut fleet, words, Moment::ORIGIN, &mut effects);
    }
    let mirror = fleet.mirror_mut(MirrorId(0)).unwrap();
    assert_eq!(mirror.unconfirmed(), Unconfirmed::Paths(vec![]));
    assert!(mirror.take_touched().is_empty());
}

/// The comparison tells only afterwards that it was written, under its old name.
#[test]
fn what_is_renamed_during_the_comparison_counts_as_written() {
    for (difference, is_written) in [("w:/old", true), ("w:/dir/**", true), ("c:/old", false)] {
        let mut fleet = with_snapshots();
        let mut effects = Vec::new();
        for words in [
            &["begin"][..],
            &["covered", "0"],
            &["0", "mv", "old", "new"],
            &["compared", "0", difference],
        ] {
            effects.clear();
            send(&mut fleet, words, Moment::ORIGIN, &mut effects);
        }
        fleet.advance(Moment::new(Duration::from_secs(1)), &mut effects);
        let (_, observed) = started_batch(&effects);
        assert!(observed.renamed_to.covers(&at("/new"), Scope::Entry));
        let found = observed.written.covers(&at("/new"), Scope::Entry);
        assert_eq!(found, is_written, "{difference}: {observed:?}");
    }
}

/// The first transfer deletes what later ones do not, or the reverse.
#[test]
fn a_first_transfer_that_deletes_otherwise_is_not_reduced() {
    for delete in [DeletePolicy::Startup, DeletePolicy::Running] {
        let settings = MirrorSettings { has_snapshots: true, delete, ..settings(Insist::Yes) };
        play(
            Fleet::new(vec![settings], FleetLimits::default()),
            "0 begin                          -> cover 0
             0 covered 0                      -> start 0 all",
        );
    }
}

fn noted_deletions() -> HeldDeletions {
    HeldDeletions {
        paths: vec![DirtyPath { path: at("d"), scope: Scope::Tree }],
        count: 20,
        total: Some(30),
        names: vec![at("d/a")],
        reason: HoldReason::Observed,
    }
}

#[test]
fn restored_deletions_are_held_until_they_are_counted_again() {
    let mut fleet = with_snapshots();
    let mirror = fleet.mirror_mut(MirrorId(0)).unwrap();
    let held = noted_deletions();
    mirror.restore_held(vec![held.clone()]);
    assert_eq!(mirror.held().collect::<Vec<_>>(), [&held]);
    let mut effects = Vec::new();
    for words in [&["begin"][..], &["covered", "0"]] {
        send(&mut fleet, words, Moment::ORIGIN, &mut effects);
    }
    assert_eq!(fleet.mirror_mut(MirrorId(0)).unwrap().held().count(), 1);
    play(
        fleet,
        "0 compared 0                     -> reduced to 1, start 0 /d/**
         9 job 0 held 20 /d               -> 20 held, StartupFinished",
    );
}

#[test]
fn a_startup_that_deletes_nothing_keeps_restored_deletions() {
    let settings = MirrorSettings { delete: DeletePolicy::Running, ..settings(Insist::Yes) };
    let mut fleet = Fleet::new(vec![settings], FleetLimits::default());
    fleet.mirror_mut(MirrorId(0)).unwrap().restore_held(vec![noted_deletions()]);
    play(
        fleet,
        "0 begin                          -> cover 0
         0 covered 0                      -> start 0 all
         9 job 0 done                     -> StartupFinished
         10 0 rm d/a                      ->
         1000                             -> start 0 /d/**
         1001 job 1 done                  -> nothing held, BatchFinished",
    );
}

#[test]
fn an_unknown_target_gets_everything() {
    play(
        with_snapshots(),
        "0 begin                          -> cover 0
         0 covered 0                      -> compare 0
         0 compared 0 unknown             -> full: unknown, start 0 all
         9 job 0 done                     -> StartupFinished",
    );
    play(
        with_snapshots(),
        "0 begin                          -> cover 0
         0 covered 0                      -> compare 0
         0 0 lost /                       -> lost /
         0 compared 0 w:/a                -> full: events of the source were lost meanwhile, start 0 all",
    );
}

#[test]
fn what_was_written_is_known_of_a_target_that_lacks_everything() {
    let mut fleet = with_snapshots();
    let mut effects = Vec::new();
    let unconfirmed = |fleet: &mut Fleet| fleet.mirror_mut(MirrorId(0)).unwrap().unconfirmed();
    let entry = |path| DirtyPath { path: at(path), scope: Scope::Entry };
    for words in [&["begin"][..], &["covered", "0"], &["compared", "0", "unknown", "/d/before"]] {
        send(&mut fleet, words, Moment::ORIGIN, &mut effects);
    }
    send(&mut fleet, &["0", "write", "a"], Moment::ORIGIN, &mut effects);
    let written = vec![entry("a"), entry("d/before")];
    assert_eq!(unconfirmed(&mut fleet), Unconfirmed::Everything { written: written.clone() });
    // Also while it is transferred.
    fleet.advance(Moment::new(Duration::from_secs(1)), &mut effects);
    assert_eq!(unconfirmed(&mut fleet), Unconfirmed::Everything { written });
}

#[test]
fn a_full_transfer_knows_what_was_written_since_the_snapshot() {
    let mut fleet = with_snapshots();
    let mut effects = Vec::new();
    for words in [&["begin"][..], &["covered", "0"], &["compared", "0", "unknown", "/d/written"]] {
        send(&mut fleet, words, Moment::ORIGIN, &mut effects);
    }
    fleet.advance(Moment::ORIGIN, &mut effects);
    let observed = started_full(&effects);
    assert!(observed.is_written(&at("/d/written"), || false));
    assert!(!observed.is_written(&at("/d/other"), || false));
}

#[test]
fn a_source_that_is_lost_during_the_comparison_is_transferred() {
    play(
        with_snapshots(),
        "0 begin                          -> cover 0
         0 covered 0                      -> compare 0
         0 0 unmounted                    -> uncover 0, gone: its file system was unmounted
         5 compared 0                     ->
         1000                             -> cover 0
         1000 covered 0                   -> SourceBack, start 0 all
         1001 compared 0                  ->",
    );
}

#[test]
fn a_failed_reduced_transfer_is_retried_as_such() {
    play(
        with_snapshots(),
        "0 begin                          -> cover 0
         0 covered 0                      -> compare 0
         0 compared 0 w:/a                -> reduced to 1, start 0 /a
         9 job 0 again                    -> retry startup in 1000
         500 0 write b                    ->
         1009                             -> start 0 /a+/b
         1010 full 0                      -> FullDue
         1020 job 1 done                     -> recovered, StartupFinished, start 0 //**",
    );
}

#[test]
fn what_is_not_on_the_target_is_unconfirmed() {
    let mut fleet = with_snapshots();
    let mut effects = Vec::new();
    let mut at_millis = |fleet: &mut Fleet, millis, words: &[&str]| {
        let now = Moment::new(Duration::from_millis(millis));
        send(fleet, words, now, &mut effects);
        fleet.advance(now, &mut effects);
    };
    at_millis(&mut fleet, 0, &["begin"]);
    at_millis(&mut fleet, 0, &["covered", "0"]);
    at_millis(&mut fleet, 0, &["compared", "0"]);
    at_millis(&mut fleet, 1, &["0", "write", "in-flight"]);
    at_millis(&mut fleet, 200, &[]);
    at_millis(&mut fleet, 201, &["0", "writing", "open"]);
    at_millis(&mut fleet, 202, &["0", "mv", "old", "waiting"]);
    let mirror = fleet.mirror_mut(MirrorId(0)).unwrap();
    let Unconfirmed::Paths(paths) = mirror.unconfirmed() else { panic!() };
    let shown = |paths: &mut dyn Iterator<Item = DirtyPath>| {
        let mut shown: Vec<_> = paths.map(|dirty| format!("{}", dirty.path)).collect();
        shown.sort();
        shown.join(" ")
    };
    assert_eq!(shown(&mut paths.into_iter().map(|it| it.dirty)), "/in-flight /old /open /waiting");
    assert_eq!(shown(&mut mirror.take_touched().iter()), "/in-flight /old /waiting");
    assert!(mirror.take_touched().is_empty());
    at_millis(&mut fleet, 300, &["job", "0", "done"]);
    at_millis(&mut fleet, 400, &[]);
    at_millis(&mut fleet, 401, &["job", "1", "held", "9", "gone"]);
    at_millis(&mut fleet, 5000, &[]);
    at_millis(&mut fleet, 5001, &["job", "2", "but", "open"]);
    let mirror = fleet.mirror_mut(MirrorId(0)).unwrap();
    let Unconfirmed::Paths(paths) = mirror.unconfirmed() else { panic!() };
    assert_eq!(shown(&mut paths.into_iter().map(|it| it.dirty)), "/gone /open");
}

#[test]
fn a_source_that_is_back_is_read_again() {
    let mut fleet = with_snapshots();
    let mut effects = Vec::new();
    let all: [&[&str]; 6] = [
        &["begin"],
        &["covered", "0"],
        &["compared", "0"],
        &["0", "unmounted"],
        &["cannot", "0", "gone"],
        &["covered", "0"],
    ];
    for (second, words) in (0..).zip(all) {
        assert!(fleet.mirror_mut(MirrorId(0)).unwrap().take_touched().is_empty(), "{words:?}");
        send(&mut fleet, words, Moment::new(Duration::from_secs(second)), &mut effects);
    }
    let touched = fleet.mirror_mut(MirrorId(0)).unwrap().take_touched();
    assert!(touched.covers(&TreePath::root(), Scope::Tree));
}
