//! Several jobs of one mirror and the limits of concurrency, as scripts; see [`tests`](super).

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};

use super::{super::*, Outcome, play, settings};
use crate::mirror::{Insist, MirrorSettings};

/// A fleet of one mirror with `max_jobs` jobs and without an initial full transfer.
fn of_jobs(max_jobs: usize) -> Fleet {
    let settings = MirrorSettings { init: false, max_jobs, ..settings(Insist::No) };
    Fleet::new(vec![settings], FleetLimits::default())
}

#[test]
fn due_paths_are_dispatched_while_other_jobs_run() {
    play(
        of_jobs(2),
        "0    begin      -> cover 0
         0    covered 0
         0    0 write /a
         100             -> start 0 /a
         200  0 write /a
         200  0 write /b
         300             -> start 0 /b
         400  0 write /c
         600
         700  job 1 done -> BatchFinished, start 0 /c
         800  job 0 done -> BatchFinished, start 0 /a
         900  job 2 done -> BatchFinished
         900  job 3 done -> BatchFinished",
    );
}

#[test]
fn a_full_transfer_runs_alone() {
    play(
        of_jobs(3),
        "0    begin      -> cover 0
         0    covered 0
         0    0 write /a
         100             -> start 0 /a
         100  0 write /b
         200             -> start 0 /b
         300  full 0     -> FullDue
         300  0 write /c
         600  job 1 done -> BatchFinished
         700  job 0 done -> BatchFinished, start 0 //**
         800  0 write /d
         1000
         1100 job 2 done -> FullFinished, start 0 /d",
    );
}

#[test]
fn jobs_that_fail_together_lengthen_the_pause_once() {
    play(
        of_jobs(3),
        "0    begin       -> cover 0
         0    covered 0
         0    0 write /a
         100              -> start 0 /a
         100  0 write /b
         200              -> start 0 /b
         200  0 write /c
         300              -> start 0 /c
         400  job 0 again -> retry in 1000
         500  job 1 again -> retry in 900
         600  job 2 done  -> BatchFinished
         1399
         1400             -> start 0 /a+/b",
    );
}

#[test]
fn a_lost_source_stops_all_jobs_of_its_mirror() {
    play(
        of_jobs(2),
        "0    begin        -> cover 0
         0    covered 0
         0    0 write /a
         100               -> start 0 /a
         100  0 write /b
         200               -> start 0 /b
         300  job 0 gone   -> uncover 0, gone: no, stop 1
         400  job 1 done
         1300              -> cover 0
         1300 covered 0    -> SourceBack, start 0 //**",
    );
}

#[test]
fn a_successor_waits_for_all_jobs_on_its_target() {
    play(
        of_jobs(2),
        "0    begin         -> cover 0
         0    covered 0
         0    0 write /a
         100                -> start 0 /a
         100  0 write /b
         200                -> start 0 /b
         300  replace new:0 -> uncover 0, stop 0, stop 1
         400  job 1 done
         500  job 0 done    -> forget 0, cover 1",
    );
}

#[test]
fn large_files_are_transferred_in_parallel_to_small_ones() {
    play(
        of_jobs(3),
        "0    begin          -> cover 0
         0    covered 0
         0    0 write /l
         100                 -> start 0 /l
         200  job 0 split /l -> BatchFinished, start 0 large /l
         200  0 write /m
         200  0 write /n
         200  0 write /l
         300                 -> start 0 /m+/n
         400  job 2 split /n -> BatchFinished, start 0 large /n
         500  0 write /o
         600                 -> start 0 /o
         700  job 4 split /o -> BatchFinished
         800  0 write /s
         900                 -> start 0 /s
         1000 job 5 done     -> BatchFinished
         1100 job 3 done     -> BatchFinished, start 0 large /o
         1200 job 1 done     -> BatchFinished, start 0 /l
         1300 job 7 done     -> BatchFinished
         1400 job 6 done     -> BatchFinished",
    );
}

#[test]
fn a_large_file_is_transferred_with_its_directory_if_that_is_dirty() {
    play(
        of_jobs(2),
        "0    begin            -> cover 0
         0    covered 0
         0    0 write /d/l
         0    0 write /d/m
         100                   -> start 0 /d/l+/d/m
         100  0 lost /d        -> lost /d
         200  job 0 split /d/l -> BatchFinished, start 0 /d/**
         300  job 1 done       -> BatchFinished",
    );
}

#[test]
fn a_large_file_that_keeps_failing_is_retried_with_growing_backoff() {
    play(
        of_jobs(2),
        "0    begin           -> cover 0
         0    covered 0
         0    0 write /l
         100                  -> start 0 /l
         100  job 0 split /l  -> BatchFinished, start 0 large /l
         100  job 1 but /l    -> 1 failed, BatchFinished(12)
         1099
         1100                 -> start 0 /l
         1100 job 2 split /l  -> BatchFinished, start 0 large /l
         1100 job 3 but /l    -> 1 failed, BatchFinished(12)
         3099
         3100                 -> start 0 /l",
    );
}

#[test]
fn a_full_connection_does_not_delay_other_mirrors() {
    let through = |connection: Option<&[u8]>| MirrorSettings {
        connection: connection.map(Arc::from),
        ..settings(Insist::No)
    };
    let mut all = vec![through(Some(b"a")); MAX_JOBS_PER_CONNECTION + 2];
    all.push(through(Some(b"b")));
    all.push(through(None));
    let mut fleet = Fleet::new(all, FleetLimits::default());
    let mut effects = Vec::new();
    let now = Moment::ORIGIN;
    for mirror in 0..12 {
        fleet.handle(Input::Covered(MirrorId(mirror)), now, &mut effects);
    }
    fleet.advance(now, &mut effects);
    assert_eq!(started(&effects), "0 1 2 3 4 5 6 7 10 11");
    assert_eq!(fleet.next_wakeup(), None, "nobody wakes up for what has no room");
    for (job, next) in [(5, "8"), (0, "9"), (1, "")] {
        effects.clear();
        fleet.handle(Input::JobEnded(JobEnd::new(JobId(job), Outcome::Done)), now, &mut effects);
        fleet.advance(now, &mut effects);
        assert_eq!(started(&effects), next);
    }
}

/// The mirrors whose jobs were started.
fn started(effects: &[Effect]) -> String {
    let started = effects.iter().filter_map(|effect| match effect {
        Effect::Start(job) => Some(format!("{}", job.mirror.0)),
        _ => None,
    });
    started.collect::<Vec<_>>().join(" ")
}
