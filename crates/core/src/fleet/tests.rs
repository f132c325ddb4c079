//! What a fleet does with what it is told, as scripts.
//!
//! A line is `MILLISECONDS WHAT -> EFFECT, EFFECT`: what comes in at that time, and all that goes
//! out for it. A time without anything is a wake-up. Jobs are named by their order, from 0.

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::*;
use crate::{
    event::MirrorEvent,
    job::{Failure, Place, Scope, Work},
    notice::{Change, Edit, Gone, Kind, News, Notice},
    path::TreePath,
    queue::Pace,
};

const QUIET: Pace =
    Pace::Quiet { quiet: Duration::from_millis(100), ceiling: Duration::from_secs(1) };

/// Plays a script on a fleet of one mirror that insists.
fn check(script: &str) {
    play(fleet(1, true, Limits::default()), script);
}

fn fleet(mirrors: usize, insist: bool, limits: Limits) -> Fleet {
    let settings = Settings { pace: QUIET, insist, filter: Arc::default() };
    Fleet::new(vec![settings; mirrors], limits)
}

fn play(mut fleet: Fleet, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (said, wanted) = line.split_once("->").unwrap_or((line, ""));
        let mut words = said.split_whitespace();
        let millis = words.next().unwrap().parse().unwrap();
        let now = Moment::new(Duration::from_millis(millis));
        let mut effects = Vec::new();
        tell(&mut fleet, &words.collect::<Vec<_>>(), now, &mut effects);
        fleet.advance(now, &mut effects);
        let got: Vec<_> = effects.iter().map(show).collect();
        assert_eq!(got.join(", "), wanted.trim(), "at the line {line:?}");
    }
}

fn tell(fleet: &mut Fleet, words: &[&str], now: Moment, effects: &mut Vec<Effect>) {
    let input = match words {
        [] => return,
        ["begin"] => return fleet.begin(effects),
        ["covered", n] => Input::Covered(MirrorId(n.parse().unwrap())),
        ["cannot", n, why] => {
            Input::CannotCover { mirror: MirrorId(n.parse().unwrap()), why: String::from(*why) }
        }
        ["term"] => Input::Signal(Signal::Terminate),
        ["hup"] => Input::Signal(Signal::Hangup),
        ["job", n, how @ ..] => {
            Input::JobEnded { job: JobId(n.parse().unwrap()), outcome: outcome(how) }
        }
        [n, news @ ..] => {
            Input::Notice(Notice { mirror: MirrorId(n.parse().unwrap()), news: heard(news) })
        }
    };
    fleet.handle(input, now, effects);
}

fn outcome(words: &[&str]) -> Outcome {
    let failure = || Failure { code: Some(12), why: "no".into() };
    match words {
        ["done"] => Outcome::Done,
        ["again"] => Outcome::Again(failure()),
        ["fatal"] => Outcome::Fatal(failure()),
        ["gone"] => Outcome::SourceGone(failure()),
        ["but", path] => {
            Outcome::Partly(vec![(Place { path: at(path), scope: Scope::Entry }, failure())])
        }
        _ => panic!("no such outcome: {words:?}"),
    }
}

fn heard(words: &[&str]) -> News {
    let change = |edit, kind, path: &str| News::Changed(Change { edit, kind, path: at(path) });
    match words {
        ["write", path] => change(Edit::Modify, Kind::Other, path),
        ["mkdir", path] => change(Edit::Create, Kind::Directory, path),
        ["chmod-dir", path] => change(Edit::Attrib, Kind::Directory, path),
        ["mv", from, to] => News::Moved { from: at(from), to: at(to), kind: Kind::Other },
        ["lost", path] => News::Lost(at(path)),
        ["unmounted"] => News::Gone(Gone::Unmounted),
        _ => panic!("no such news: {words:?}"),
    }
}

fn at(path: &str) -> TreePath {
    TreePath::new(path.as_bytes()).unwrap()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Cover { mirror, accept } => format!("cover {} {accept:?}", mirror.0),
        Effect::Uncover(mirror) => format!("uncover {}", mirror.0),
        Effect::Start(job) => format!("start {} {}", job.mirror.0, show_work(&job.work)),
        Effect::Stop(job) => format!("stop {}", job.0),
        Effect::Exit(code) => format!("exit {code}"),
        Effect::Report(Event::Mirror(_, event)) => show_event(event),
        Effect::Report(event) => format!("{event:?}"),
    }
}

fn show_work(work: &Work) -> String {
    let Work::Batch { places, moves } = work else { return "all".into() };
    let mut words: Vec<_> = places
        .iter()
        .map(|place| match place.scope {
            Scope::Entry => format!("{}", place.path),
            Scope::Tree => format!("{}/**", place.path),
        })
        .collect();
    words.extend(moves.iter().map(|rename| format!("{}=>{}", rename.from, rename.to)));
    words.join("+")
}

fn show_event(event: &MirrorEvent) -> String {
    match event {
        MirrorEvent::StartupRetry(_, wait) => format!("retry startup in {}", wait.as_millis()),
        MirrorEvent::BatchRetry(_, wait) => format!("retry in {}", wait.as_millis()),
        MirrorEvent::BatchFatal(_, wait) => format!("fatal, retry in {}", wait.as_millis()),
        MirrorEvent::StartupGivenUp(_) => "given up".into(),
        MirrorEvent::StartupFatal(_) => "startup fatal".into(),
        MirrorEvent::PlacesFailed(failed) => format!("{} failed", failed.len()),
        MirrorEvent::Lost(path) => format!("lost {path}"),
        MirrorEvent::SourceGone(why) => format!("gone: {why}"),
        MirrorEvent::SourceStillGone(why) => format!("still gone: {why}"),
        event => format!("{event:?}"),
    }
}

#[test]
fn a_mirror_covers_then_brings_all_then_changes() {
    check(
        "0    begin        -> cover 0 Any
         5    covered 0    -> start 0 all
         20   0 write /a
         30   job 0 done   -> StartupFinished
         119
         120               -> start 0 /a
         130  job 1 done   -> BatchFinished",
    );
}

#[test]
fn what_happens_before_the_source_is_covered_goes_with_the_first_transfer() {
    check(
        "0    begin        -> cover 0 Any
         1    0 write /a
         5    covered 0    -> start 0 all
         30   job 0 done   -> StartupFinished
         2000",
    );
}

#[test]
fn a_change_while_a_batch_runs_goes_with_the_next() {
    check(
        "0    begin        -> cover 0 Any
         0    covered 0    -> start 0 all
         0    job 0 done   -> StartupFinished
         0    0 write /a
         100               -> start 0 /a
         150  0 write /a
         400
         410  job 1 done   -> BatchFinished, start 0 /a
         420  job 2 done   -> BatchFinished",
    );
}

#[test]
fn directories_that_come_or_go_are_read_whole() {
    check(
        "0    begin        -> cover 0 Any
         0    covered 0    -> start 0 all
         0    job 0 done   -> StartupFinished
         0    0 mkdir /d
         0    0 chmod-dir /e
         0    0 mv /f /g
         0    0 lost /h    -> lost /h
         100               -> start 0 /d/**+/e+/f+/g+/h/**+/f=>/g",
    );
}

#[test]
fn a_target_that_is_away_is_tried_again_later_and_later() {
    check(
        "0    begin        -> cover 0 Any
         0    covered 0    -> start 0 all
         0    job 0 done   -> StartupFinished
         0    0 write /a
         100               -> start 0 /a
         200  job 1 again  -> retry in 1000
         300  0 write /b
         1199
         1200              -> start 0 /a+/b
         1300 job 2 fatal  -> fatal, retry in 1630
         2000 hup          -> Hangup, start 0 /a+/b
         2100 job 3 done   -> BatchFinished",
    );
}

#[test]
fn a_place_that_fails_does_not_hold_up_the_others() {
    check(
        "0    begin        -> cover 0 Any
         0    covered 0    -> start 0 all
         0    job 0 but /x -> 1 failed, StartupFinished
         100  0 write /a
         200               -> start 0 /a
         210  job 1 done   -> BatchFinished
         1000              -> start 0 /x
         1010 job 2 done   -> BatchFinished",
    );
}

#[test]
fn a_first_transfer_that_fails_ends_the_daemon_unless_told_to_insist() {
    let script = "0  begin       -> cover 0 Any
                  0  covered 0   -> start 0 all
                  9  job 0 again -> given up, exit 255";
    play(fleet(1, false, Limits::default()), script);
    check(
        "0    begin       -> cover 0 Any
         0    covered 0   -> start 0 all
         9    job 0 again -> retry startup in 1000
         1009             -> start 0 all
         1010 job 1 fatal -> startup fatal, exit 255",
    );
}

#[test]
fn nothing_is_done_while_the_source_is_gone() {
    check(
        "0    begin          -> cover 0 Any
         0    covered 0      -> start 0 all
         0    job 0 done     -> StartupFinished
         0    0 write /a
         50   0 unmounted    -> uncover 0, gone: its file system was unmounted
         500
         1050                -> cover 0 Successor
         1060 cannot 0 why   -> still gone: why
         2060                -> cover 0 Successor
         2061 cannot 0 why
         2100 hup            -> Hangup, cover 0 Any
         5000
         5001 covered 0      -> SourceBack, start 0 all
         5002 job 1 done     -> StartupFinished
         9000",
    );
}

#[test]
fn a_job_that_outlives_its_source_proves_nothing() {
    check(
        "0    begin          -> cover 0 Any
         0    covered 0      -> start 0 all
         10   0 unmounted    -> uncover 0, stop 0, gone: its file system was unmounted
         1010                -> cover 0 Successor
         1020 covered 0      -> SourceBack
         1030 job 0 done     -> start 0 all
         1040 job 1 done     -> StartupFinished",
    );
}

#[test]
fn a_job_that_finds_the_source_gone_holds_the_mirror() {
    check(
        "0    begin          -> cover 0 Any
         0    covered 0      -> start 0 all
         10   job 0 gone     -> uncover 0, gone: no
         1010                -> cover 0 Successor",
    );
}

#[test]
fn the_daemon_lets_jobs_end_then_asks_them_then_leaves_them() {
    check(
        "0     begin       -> cover 0 Any
         0     covered 0   -> start 0 all
         10    term        -> Draining(Terminate, 1)
         5000
         10010             -> Stopping(1), stop 0
         15009
         15010             -> exit 143",
    );
    check(
        "0     begin       -> cover 0 Any
         0     covered 0   -> start 0 all
         10    term        -> Draining(Terminate, 1)
         20    term        -> Stopping(1), stop 0
         30    job 0 again -> exit 143",
    );
    check(
        "0     begin       -> cover 0 Any
         0     covered 0   -> start 0 all
         0     job 0 done  -> StartupFinished
         10    term        -> Draining(Terminate, 0), exit 143",
    );
}

#[test]
fn one_pass_ends_when_all_first_transfers_are_done() {
    let limits = Limits { onepass: true, max_jobs: None };
    play(
        fleet(2, false, limits),
        "0  begin      -> cover 0 Any, cover 1 Any
         0  covered 0  -> start 0 all
         0  covered 1  -> start 1 all
         5  job 0 done -> StartupFinished
         6  job 1 done -> StartupFinished, OnepassDone, exit 0",
    );
}

#[test]
fn a_limit_of_jobs_is_shared_in_turn() {
    let limits = Limits { onepass: false, max_jobs: Some(1) };
    play(
        fleet(3, false, limits),
        "0  begin      -> cover 0 Any, cover 1 Any, cover 2 Any
         0  covered 0  -> start 0 all
         0  covered 1
         0  covered 2
         5  job 0 done -> StartupFinished, start 2 all
         6  job 1 done -> StartupFinished, start 1 all
         7  job 2 done -> StartupFinished",
    );
}

#[test]
fn one_dead_target_costs_the_others_nothing() {
    play(
        fleet(2, true, Limits::default()),
        "0    begin       -> cover 0 Any, cover 1 Any
         0    covered 0   -> start 0 all
         0    covered 1   -> start 1 all
         5    job 0 again -> retry startup in 1000
         6    job 1 done  -> StartupFinished
         10   0 write /a
         10   1 write /a
         110              -> start 1 /a
         120  job 2 done  -> BatchFinished",
    );
}
