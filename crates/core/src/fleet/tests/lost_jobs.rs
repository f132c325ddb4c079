//! Behaviour after a lost job, whose receiver may live on elsewhere.

use super::*;
use crate::mirror::TargetHost;

fn settings_at(host: TargetHost) -> MirrorSettings {
    MirrorSettings { host, ..settings(Insist::Yes) }
}

fn play_at(host: TargetHost, script: &str) {
    play(Fleet::new(vec![settings_at(host)], FleetLimits::default()), script);
}

#[test]
fn what_follows_a_lost_job_is_compared_once_more() {
    let script = "0    begin       -> cover 0
         0    covered 0      -> start 0 all
         10   job 0 done     -> StartupFinished
         100  0 write /a
         200                 -> start 0 /a
         300  job 1 again    -> retry in 1000
         400  0 write /a
         400  0 rm /b
         1300                -> start 0 /a+/b
         1400 job 2 done     -> recovered, BatchFinished
         2000 0 write /c
         2100                -> start 0 /c
         2200 job 3 done     -> BatchFinished
         61399";
    play_at(TargetHost::Local, &format!("{script}\n61400\n61500"));
    let again = "61400           -> 3 again
         61500               -> start 0 /a+/b+/c
         61600 job 4 done    -> BatchFinished
         62000 0 write /c
         62100               -> start 0 /c
         62200 job 5 done    -> BatchFinished
         200000";
    play_at(TargetHost::Remote, &format!("{script}\n{again}"));
}

#[test]
fn of_a_full_transfer_what_was_seen_to_change_is_compared_once_more() {
    play_at(
        TargetHost::Remote,
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         20   0 write /a
         20   0 chmod /b
         30   job 0 again    -> retry startup in 1000
         40   0 mv /c /d
         1030                -> start 0 all
         2000 job 1 done     -> recovered, StartupFinished
         62000               -> 4 again
         62100               -> start 0 /a+/b+/c+/d
         62200 job 2 done    -> BatchFinished
         200000 0 chmod /b
         200100              -> start 0 /b
         200200 job 3 done   -> BatchFinished
         300000",
    );
}

#[test]
fn changes_that_nobody_saw_may_be_anywhere() {
    play_at(
        TargetHost::Remote,
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         10   job 0 done     -> StartupFinished
         100  0 write /a
         200                 -> start 0 /a
         210  0 lost /       -> lost /
         300  job 1 again    -> retry in 1000
         1300                -> start 0 //**
         1400 job 2 done     -> recovered, FullFinished
         61400               -> 1 again
         61500               -> start 0 //**",
    );
}

#[test]
fn a_successor_continues_with_the_receivers_of_stopped_jobs() {
    let time = |millis| Moment::new(Duration::from_millis(millis));
    let mut fleet = Fleet::new(vec![settings_at(TargetHost::Remote)], FleetLimits::default());
    let mut effects = Vec::new();
    let mut step = |fleet: &mut Fleet, millis, words: &[&str]| {
        effects.clear();
        send(fleet, words, time(millis), &mut effects);
        fleet.advance(time(millis), &mut effects);
        effects.iter().map(show).collect::<Vec<_>>()
    };
    step(&mut fleet, 0, &["begin"]);
    step(&mut fleet, 0, &["covered", "0"]);
    step(&mut fleet, 1, &["job", "0", "done"]);
    step(&mut fleet, 10, &["0", "write", "/a"]);
    assert_eq!(step(&mut fleet, 200, &[]), ["start 0 /a"]);
    let successor = Replacement::Add {
        spec: settings_at(TargetHost::Remote).into(),
        after: vec![MirrorId(0)],
        predecessor: Some(MirrorId(0)),
    };
    let mut replaced = Vec::new();
    fleet.replace(vec![successor], time(210), &mut replaced);
    step(&mut fleet, 220, &["job", "1", "again"]);
    assert_eq!(step(&mut fleet, 230, &["covered", "1"]), ["uncover 0", "start 1 all"]);
    step(&mut fleet, 300, &["job", "2", "done"]);
    assert!(step(&mut fleet, 60_299, &[]).is_empty());
    assert_eq!(step(&mut fleet, 60_300, &[]), ["1 again"]);
    assert_eq!(step(&mut fleet, 60_400, &[]), ["start 1 /a"]);
}
