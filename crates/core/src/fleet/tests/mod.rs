//! Reactions of a fleet to its inputs, as scripts.
//!
//! A line is `MILLISECONDS INPUT -> EFFECT, EFFECT`: the input at that time and all its effects. A
//! time alone is a wake-up. Jobs are numbered in their order, from 0.

mod limits;
mod lost_jobs;
mod scripts;
mod snapshots;

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::*;
use crate::{
    filter::Filter,
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, RootGone},
    guard::AcceptedDeletions,
    input::TargetLink,
    job::{
        DirtyPath, Failure, FatalReason, HeldDeletions, HoldReason, HookFailureAction, JobEnd,
        Outcome, Scope, Work,
    },
    log_event::{
        BatchEvent, DeletionEvent, FullEvent, HoldEnd, MirrorEvent, SourceEvent, StartupEvent,
    },
    mirror::{Insist, MirrorSettings},
    path::TreePath,
    plan::options::DeletePolicy,
    queue::{Debounce, ObservedChanges, OpenWait, PathSet},
};

/// Plays a script on a fleet of one mirror that insists.
fn check(script: &str) {
    play(fleet(1, Insist::Yes, FleetLimits::default()), script);
}

fn fleet(mirrors: usize, insist: Insist, limits: FleetLimits) -> Fleet {
    Fleet::new(vec![settings(insist); mirrors], limits)
}

fn settings(insist: Insist) -> MirrorSettings {
    let (filter, max_jobs, connection) = (Arc::default(), 1, None);
    let open_wait = OpenWait::default();
    MirrorSettings {
        host: crate::mirror::TargetHost::Local,
        debounce: Debounce::DEFAULT,
        open_wait,
        delete: DeletePolicy::Always,
        init: true,
        has_snapshots: false,
        insist,
        filter,
        target_link: TargetLink::Up,
        max_jobs,
        connection,
    }
}

/// A fleet of one mirror without an initial full transfer.
fn without_init(limits: FleetLimits) -> Fleet {
    Fleet::new(vec![MirrorSettings { init: false, ..settings(Insist::No) }], limits)
}

fn play(mut fleet: Fleet, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (input, wanted) = line.split_once("->").unwrap_or((line, ""));
        let mut words = input.split_whitespace();
        let millis = words.next().unwrap().parse().unwrap();
        let now = Moment::new(Duration::from_millis(millis));
        let mut effects = Vec::new();
        send(&mut fleet, &words.collect::<Vec<_>>(), now, &mut effects);
        fleet.advance(now, &mut effects);
        let got: Vec<_> = effects.iter().map(show).collect();
        assert_eq!(got.join(", "), wanted.trim(), "at the line {line:?}");
    }
}

fn send(fleet: &mut Fleet, words: &[&str], now: Moment, effects: &mut Vec<Effect>) {
    let input = match words {
        [] => return,
        ["begin"] => return fleet.begin(effects),
        ["compared", n, how @ ..] => {
            Input::Compared(MirrorId(n.parse().unwrap()), snapshots::comparison(how))
        }
        ["covered", n] => Input::Covered(MirrorId(n.parse().unwrap())),
        ["cannot", n, reason] => Input::CannotCover {
            mirror: MirrorId(n.parse().unwrap()),
            reason: String::from(*reason),
        },
        ["link", n, "up"] => Input::TargetLink(MirrorId(n.parse().unwrap()), TargetLink::Up),
        ["link", n, "down"] => Input::TargetLink(MirrorId(n.parse().unwrap()), TargetLink::Down),
        ["silent", n] => Input::SourceAnswers(MirrorId(n.parse().unwrap()), false),
        ["answers", n] => Input::SourceAnswers(MirrorId(n.parse().unwrap()), true),
        ["back", n] => Input::TargetBack(MirrorId(n.parse().unwrap())),
        ["term"] => Input::Signal(Signal::Terminate),
        ["hup"] => Input::Signal(Signal::Hangup),
        ["full", n] => Input::FullDue(MirrorId(n.parse().unwrap())),
        ["replace", replacements @ ..] => {
            fleet.replace(replacements.iter().map(|it| replacement(it)).collect(), now, effects);
            return;
        }
        ["job", n, how @ ..] => {
            Input::JobEnded(JobEnd::new(JobId(n.parse().unwrap()), outcome(how)))
        }
        [n, event @ ..] => {
            Input::FsEvent(FsEvent { mirror: MirrorId(n.parse().unwrap()), kind: fs_event(event) })
        }
    };
    fleet.handle(input, now, effects);
}

/// Parses a replacement: `0` keeps mirror 0; `0~` gives it other settings, `0!` another budget,
/// too, `0?` also deletes at startup only. `new` adds a mirror, `new:0,1` one that waits for these.
fn replacement(word: &str) -> Replacement {
    let id = |text: &str| MirrorId(text.parse().unwrap());
    if let Some(changed) = word.strip_suffix(['~', '!', '?']) {
        let (mirror, settings) = (id(changed), settings(Insist::Always));
        let debounce = Debounce::FixedDelay { delay: Duration::from_secs(5), max_waiting: 100 };
        let recount = word.ends_with(['!', '?']);
        let delete = if word.ends_with('?') { DeletePolicy::Startup } else { DeletePolicy::Always };
        let settings = MirrorSettings { debounce, delete, ..settings };
        return Replacement::Update { mirror, settings, recount };
    }
    let Some(after) = word.strip_prefix("new") else { return Replacement::Keep(id(word)) };
    let after = after.trim_start_matches(':').split(',').filter(|it| !it.is_empty()).map(id);
    Replacement::Add {
        spec: settings(Insist::Always).into(),
        after: after.collect(),
        predecessor: None,
    }
}

fn outcome(words: &[&str]) -> Outcome {
    let failure = || Failure { code: Some(12), message: "no".into() };
    match words {
        ["done"] => Outcome::Done,
        ["again"] => Outcome::Retry(failure()),
        ["die"] => Outcome::Fatal(failure(), FatalReason::User),
        ["hook", action, rest @ ..] => {
            let action =
                if *action == "hold" { HookFailureAction::Hold } else { HookFailureAction::Retry };
            let held = match rest {
                [] => vec![],
                rest => match outcome(rest) {
                    Outcome::Split { held, .. } => held,
                    other => panic!("no hook after {other:?}"),
                },
            };
            Outcome::HookFailed { failure: failure(), action, held }
        }
        ["fatal"] => Outcome::Fatal(failure(), FatalReason::Program),
        ["unknown"] => Outcome::Fatal(failure(), FatalReason::Unknown),
        ["gone"] => Outcome::SourceGone(failure()),
        ["but", path] => {
            Outcome::Partial(vec![(DirtyPath { path: at(path), scope: Scope::Entry }, failure())])
        }
        ["held", count, paths @ ..] => {
            let tree = |path: &&str| DirtyPath { path: at(path), scope: Scope::Tree };
            let paths = paths.iter().map(tree).collect();
            let (count, total) = (count.parse().unwrap(), None);
            let reason = HoldReason::Unobserved;
            let held =
                vec![HeldDeletions { paths, count, total, names: vec![at("held/1")], reason }];
            Outcome::Split { large: vec![], failed: vec![], held }
        }
        ["split", path] => Outcome::Split { large: vec![at(path)], failed: vec![], held: vec![] },
        _ => panic!("no such outcome: {words:?}"),
    }
}

fn fs_event(words: &[&str]) -> FsEventKind {
    let change =
        |edit, kind, path: &str| FsEventKind::Changed(Change { edit, kind, path: at(path) });
    match words {
        ["write", path] => change(Edit::Modify, EntryKind::Other, path),
        ["writing", path] => change(Edit::Write, EntryKind::Other, path),
        ["chmod", path] => change(Edit::Attrib, EntryKind::Other, path),
        ["rm", path] => change(Edit::Delete, EntryKind::Other, path),
        ["rm-dir", path] => change(Edit::Delete, EntryKind::Directory, path),
        ["mkdir", path] => change(Edit::Create, EntryKind::Directory, path),
        ["chmod-dir", path] => change(Edit::Attrib, EntryKind::Directory, path),
        ["mv", from, to] => {
            FsEventKind::Renamed { from: at(from), to: at(to), kind: EntryKind::Other }
        }
        ["mv-dir", from, to] => {
            FsEventKind::Renamed { from: at(from), to: at(to), kind: EntryKind::Directory }
        }
        ["lost", path] => FsEventKind::Lost(at(path)),
        ["unmounted"] => FsEventKind::RootGone(RootGone::Unmounted),
        _ => panic!("no such event: {words:?}"),
    }
}

fn at(path: &str) -> TreePath {
    TreePath::new(path.as_bytes()).unwrap()
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Cover(mirror) => format!("cover {}", mirror.0),
        Effect::Uncover(mirror) => format!("uncover {}", mirror.0),
        Effect::Compare(mirror) => format!("compare {}", mirror.0),
        Effect::Start(job) => format!("start {} {}", job.mirror.0, show_work(&job.work)),
        Effect::Stop(job) => format!("stop {}", job.0),
        Effect::Forget(mirror) => format!("forget {}", mirror.0),
        Effect::CallScript(..) | Effect::ListDirectory { .. } => format!("{effect:?}"),
        Effect::Flushed(end) => format!("flushed {} {:?}", end.id, end.obstacles),
        Effect::Exit(code) => format!("exit {code}"),
        Effect::Report(LogEvent::Mirror(_, event)) => show_event(event),
        Effect::Report(event) => format!("{event:?}"),
    }
}

fn show_work(work: &Work) -> String {
    let (paths, renames) = match work {
        Work::Full { .. } => return "all".into(),
        Work::Large { path, .. } => return format!("large {path}"),
        Work::Batch { paths, renames, .. } => (paths, renames),
    };
    let mut words: Vec<_> = paths
        .iter()
        .map(|dirty| match dirty.scope {
            Scope::Entry => format!("{}", dirty.path),
            Scope::Tree => format!("{}/**", dirty.path),
        })
        .collect();
    words.extend(renames.iter().map(|rename| format!("{}=>{}", rename.from, rename.to)));
    words.join("+")
}

fn show_event(event: &MirrorEvent) -> String {
    match event {
        MirrorEvent::Startup(event) => show_startup_event(event),
        MirrorEvent::Full(FullEvent::Due) => "FullDue".into(),
        MirrorEvent::Full(FullEvent::Finished(code)) => show_finished("Full", *code),
        MirrorEvent::Full(FullEvent::Retry(_, wait)) => {
            format!("retry all in {}", wait.as_millis())
        }
        MirrorEvent::Full(FullEvent::Fatal(_)) => "full fatal".into(),
        MirrorEvent::Batch(BatchEvent::Finished(code)) => show_finished("Batch", *code),
        MirrorEvent::Batch(BatchEvent::Retry(_, wait)) => format!("retry in {}", wait.as_millis()),
        MirrorEvent::Batch(BatchEvent::Fatal(_)) => "batch fatal".into(),
        MirrorEvent::HookFailed(_, Some(wait)) => format!("hook again in {}", wait.as_millis()),
        MirrorEvent::HookFailed(_, None) => "hook holds".into(),
        MirrorEvent::Recovered => "recovered".into(),
        MirrorEvent::ComparedAgain(count) => format!("{count} again"),
        MirrorEvent::PathsFailed(failed) => format!("{} failed", failed.len()),
        MirrorEvent::Deletions(DeletionEvent::Held { found, .. }) => {
            format!("{} held", found.iter().map(|it| it.count).sum::<u64>())
        }
        MirrorEvent::Deletions(DeletionEvent::NoneHeld(HoldEnd::Released)) => "released".into(),
        MirrorEvent::Deletions(DeletionEvent::NoneHeld(HoldEnd::Obsolete)) => "nothing held".into(),
        MirrorEvent::Script(event) => format!("{event:?}"),
        MirrorEvent::Source(SourceEvent::EventsLost(path)) => format!("lost {path}"),
        MirrorEvent::Source(SourceEvent::Gone(reason)) => format!("gone: {reason}"),
        MirrorEvent::Source(SourceEvent::StillGone(reason)) => format!("still gone: {reason}"),
        MirrorEvent::Source(event) => format!("Source{event:?}"),
    }
}

fn show_startup_event(event: &StartupEvent) -> String {
    match event {
        StartupEvent::Full(reason) => format!("full: {reason}"),
        StartupEvent::Reduced(count) => format!("reduced to {count}"),
        StartupEvent::Finished(code) => show_finished("Startup", *code),
        StartupEvent::Retry(_, wait) => format!("retry startup in {}", wait.as_millis()),
        StartupEvent::GivenUp(_) => "given up".into(),
        StartupEvent::Fatal(_, reason) => format!("startup fatal: {reason:?}"),
    }
}

fn show_finished(subject: &str, code: i32) -> String {
    match code {
        0 => format!("{subject}Finished"),
        code => format!("{subject}Finished({code})"),
    }
}

#[test]
fn a_mirror_watches_then_transfers_all_then_changes() {
    check(
        "0    begin        -> cover 0
         5    covered 0    -> start 0 all
         20   0 write /a
         30   job 0 done   -> StartupFinished
         119
         120               -> start 0 /a
         130  job 1 done   -> BatchFinished",
    );
}

#[test]
fn new_settings_cause_no_transfer() {
    check(
        "0    begin        -> cover 0
         5    covered 0    -> start 0 all
         30   job 0 done   -> StartupFinished
         40   0 write /a
         50   replace 0~
         5039
         5040              -> start 0 /a
         5050 job 1 done   -> BatchFinished
         9000 replace 0!",
    );
}

#[test]
fn held_deletions_are_recounted_with_a_new_budget() {
    check(
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 held 20 / -> 20 held, StartupFinished
         40   hup             -> Hangup
         50   replace 0~
         50   0 mkdir /d
         5050                 -> start 0 /d/**
         5050 job 1 held 3 /d -> 3 held, BatchFinished
         6000 0 mkdir /d
         11000                -> start 0 /d/**
         11000 job 2 done     -> BatchFinished
         12000 replace 0!     -> start 0 //**
         12000 job 3 held 20 / -> FullFinished
         13000 replace 0!     -> start 0 //**
         13000 job 4 done     -> released, FullFinished",
    );
}

#[test]
fn all_paths_with_held_deletions_are_recounted() {
    check(
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 done      -> StartupFinished
         50   0 mkdir /a
         50   0 mkdir /b
         5050                 -> start 0 /a/**+/b/**
         5050 job 1 held 3 /b /a /c -> 3 held, BatchFinished
         6000 0 mkdir /b
         11000                -> start 0 /a/**+/b/**+/c/**
         11000 job 2 held 2 /a /c -> 2 held, BatchFinished
         12000 replace 0!     -> start 0 /a/**+/c/**
         12000 job 3 done     -> released, BatchFinished",
    );
}

/// Returns the observed changes of the first transfer that was started.
fn started_full(effects: &[Effect]) -> &ObservedChanges {
    let mut transfers = effects.iter().filter_map(|effect| match effect {
        Effect::Start(crate::job::Job { work: Work::Full { observed }, .. }) => Some(&**observed),
        _ => None,
    });
    transfers.next().unwrap()
}

/// Returns the paths and the observed changes of the first batch that is not a first transfer.
fn started_batch(effects: &[Effect]) -> (&PathSet, &ObservedChanges) {
    let mut batches = effects.iter().filter_map(|effect| match effect {
        Effect::Start(crate::job::Job { work: Work::Batch { paths, observed, .. }, .. }) => {
            Some((&**paths, &**observed))
        }
        _ => None,
    });
    batches.next().unwrap()
}

#[test]
fn held_deletions_that_were_observed_stay_observed() {
    let cases = [
        (HoldReason::Observed, "d", true),
        (HoldReason::Unobserved, "d", false),
        // Not everything below the root was observed.
        (HoldReason::Observed, "", false),
    ];
    // Another budget, and changes of a name that is held.
    let recounts: [&[&str]; 3] = [&["replace", "0!"], &["0", "write", "d/x"], &["0", "rm", "d/x"]];
    for ((reason, held, is_observed), recount) in
        cases.into_iter().flat_map(|case| recounts.map(|recount| (case, recount)))
    {
        let mut fleet = fleet(1, Insist::Yes, FleetLimits::default());
        let (now, mut effects) = (Moment::ORIGIN, Vec::new());
        fleet.begin(&mut effects);
        send(&mut fleet, &["covered", "0"], now, &mut effects);
        let paths = vec![DirtyPath { path: at(held), scope: Scope::Tree }];
        let held = HeldDeletions { paths, count: 20, total: None, names: vec![at("d/x")], reason };
        let outcome = Outcome::Split { large: vec![], failed: vec![], held: vec![held] };
        fleet.advance(now, &mut effects);
        fleet.handle(Input::JobEnded(JobEnd::new(JobId(0), outcome)), now, &mut effects);
        send(&mut fleet, recount, now, &mut effects);
        fleet.advance(now + Duration::from_secs(1), &mut effects);
        let (_, observed) = started_batch(&effects);
        assert_eq!(observed.is_deleted(&at("d")), is_observed, "{reason:?} {recount:?}");
    }
}

#[test]
fn changes_of_excluded_entries_are_ignored() {
    let mut rules = Filter::builder();
    rules.exclude(b"/no").unwrap();
    rules.exclude(b"/no-directory/").unwrap();
    let filter = Arc::new(rules.build());
    let fleet = Fleet::new(
        vec![MirrorSettings { filter, init: false, ..settings(Insist::No) }],
        FleetLimits::default(),
    );
    play(
        fleet,
        "0    begin               -> cover 0
         0    covered 0
         0    0 write /no
         0    0 writing /no
         0    0 chmod /no
         0    0 rm /no
         0    0 mkdir /no
         0    0 lost /no
         0    0 chmod-dir /no-directory
         0    0 chmod-dir /no/below
         20000
         20000 0 write /no-directory
         20100                    -> start 0 /no-directory
         20100 job 0 done         -> BatchFinished
         20200 0 mkdir /no-directory
         20300                    -> start 0 /no-directory/**",
    );
}

#[test]
fn one_pass_with_held_deletions_fails() {
    play(
        fleet(1, Insist::No, FleetLimits { onepass: true, ..FleetLimits::default() }),
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 held 20 / -> 20 held, StartupFinished, OnepassLeft(MirrorId(0), [], 0), exit 255",
    );
}

#[test]
fn a_directory_rename_is_a_hint_unless_a_filter_rule_applies_below() {
    let mut rules = Filter::builder();
    rules.exclude(b"/kept/cache").unwrap();
    let filter = Arc::new(rules.build());
    let fleet = Fleet::new(
        vec![MirrorSettings { filter, ..settings(Insist::Yes) }],
        FleetLimits::default(),
    );
    play(
        fleet,
        "0    begin               -> cover 0
         0    covered 0           -> start 0 all
         0    job 0 done          -> StartupFinished
         0    0 mv-dir /a /b
         100                      -> start 0 /a/**+/b/**+/a=>/b
         100  job 1 done          -> BatchFinished
         200  0 mv-dir /b /kept
         300                      -> start 0 /b/**+/kept/**
         300  0 mv /x /kept/y
         300  job 2 done          -> BatchFinished
         400                      -> start 0 /kept/y+/x+/x=>/kept/y",
    );
}

#[test]
fn a_batch_is_repeated_until_its_hook_succeeds() {
    play(
        fleet(1, Insist::No, FleetLimits::default()),
        "0    begin            -> cover 0
         0    covered 0        -> start 0 all
         0    job 0 hook retry -> StartupFinished, hook again in 1000
         10   0 write /a
         999
         1000                  -> start 0 //**
         1000 job 1 hook hold  -> FullFinished, hook holds
         1000 0 write /b
         900000
         900000 hup            -> Hangup, start 0 //**
         900000 job 2 done     -> recovered, FullFinished",
    );
}

#[test]
fn held_deletions_survive_a_failed_hook() {
    play(
        fleet(1, Insist::No, FleetLimits::default()),
        "0    begin                       -> cover 0
         0    covered 0                   -> start 0 all
         0    job 0 hook retry held 20 /  -> 20 held, StartupFinished, hook again in 1000
         1000                             -> start 0 //**
         1000 job 1 held 20 /             -> recovered, FullFinished
         2000 replace 0!                  -> start 0 //**
         2000 job 2 hook hold             -> released, FullFinished, hook holds",
    );
    play(
        fleet(1, Insist::No, FleetLimits { onepass: true, ..FleetLimits::default() }),
        "0    begin                       -> cover 0
         0    covered 0                   -> start 0 all
         0    job 0 hook hold held 20 /   -> 20 held, StartupFinished, hook holds, exit 255",
    );
}

#[test]
fn a_target_link_that_is_down_starts_no_job_and_loses_nothing() {
    let closed = MirrorSettings { target_link: TargetLink::Down, ..settings(Insist::Yes) };
    play(
        Fleet::new(vec![closed], FleetLimits::default()),
        "0    begin          -> cover 0
         0    covered 0
         500  0 write /a
         5000
         5000 link 0 up      -> start 0 all
         5000 link 0 down    -> stop 0
         5000 job 0 unknown
         9000
         9500 link 0 up      -> start 0 all
         9500 link 0 down    -> stop 1
         9500 link 0 up
         9500 job 1 fatal    -> start 0 all
         9500 link 0 down    -> stop 2
         9500 job 2 done     -> StartupFinished
         9500 0 write /b
         9999
         9999 link 0 up      -> start 0 /b",
    );
}

#[test]
fn one_pass_does_not_wait_for_an_operator() {
    play(
        fleet(1, Insist::No, FleetLimits { onepass: true, ..FleetLimits::default() }),
        "0    begin            -> cover 0
         0    covered 0        -> start 0 all
         0    job 0 hook hold  -> StartupFinished, hook holds, exit 255",
    );
}

#[test]
fn changes_before_covering_are_part_of_the_first_transfer() {
    check(
        "0    begin        -> cover 0
         1    0 write /a
         5    covered 0    -> start 0 all
         30   job 0 done   -> StartupFinished
         2000",
    );
}

#[test]
fn a_change_during_a_batch_is_part_of_the_next() {
    check(
        "0    begin        -> cover 0
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
fn created_and_deleted_directories_are_compared_as_trees() {
    check(
        "0    begin        -> cover 0
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
fn an_unreachable_target_is_retried_with_growing_backoff() {
    check(
        "0    begin        -> cover 0
         0    covered 0    -> start 0 all
         0    job 0 done   -> StartupFinished
         0    0 write /a
         100               -> start 0 /a
         200  job 1 again  -> retry in 1000
         300  0 write /b
         1199
         1200              -> start 0 /a+/b
         1300 job 2 fatal  -> retry in 1630
         2000 hup          -> Hangup, start 0 /a+/b
         2100 job 3 done   -> recovered, BatchFinished",
    );
}

#[test]
fn a_target_that_may_be_back_is_retried_at_once_and_its_backoff_grows() {
    check(
        "0    begin        -> cover 0
         0    covered 0    -> start 0 all
         10   job 0 again  -> retry startup in 1000
         20   back 0       -> start 0 all
         30   back 0
         40   job 1 again  -> retry startup in 1630
         50   back 0       -> start 0 all
         60   job 2 but /x -> 1 failed, recovered, StartupFinished(12)
         70   back 0       -> start 0 /x
         80   job 3 done   -> BatchFinished",
    );
}

#[test]
fn a_failed_path_does_not_delay_others() {
    check(
        "0    begin        -> cover 0
         0    covered 0    -> start 0 all
         0    job 0 but /x -> 1 failed, StartupFinished(12)
         100  0 write /a
         200               -> start 0 /a
         210  job 1 done   -> BatchFinished
         1000              -> start 0 /x
         1010 job 2 done   -> BatchFinished",
    );
}

#[test]
fn a_failed_first_transfer_exits_the_daemon_unless_it_insists() {
    let script = "0  begin       -> cover 0
                  0  covered 0   -> start 0 all
                  9  job 0 again -> given up, exit 255";
    play(fleet(1, Insist::No, FleetLimits::default()), script);
    check(
        "0    begin       -> cover 0
         0    covered 0   -> start 0 all
         9    job 0 again -> retry startup in 1000
         1009             -> start 0 all
         1010 job 1 fatal -> startup fatal: Program, exit 255",
    );
}

#[test]
fn a_permanent_exit_code_exits_the_daemon_at_startup_only() {
    check(
        "0    begin         -> cover 0
         0    covered 0     -> start 0 all
         10   job 0 unknown -> startup fatal: Unknown, exit 255",
    );
    check(
        "0    begin         -> cover 0
         0    covered 0     -> start 0 all
         10   job 0 done    -> StartupFinished
         10   0 write /a
         110                -> start 0 /a
         120  job 1 unknown -> retry in 1000
         1120               -> start 0 /a
         1130 job 2 fatal   -> retry in 1630
         2760               -> start 0 /a
         2770 job 3 die     -> batch fatal, exit 255",
    );
}

#[test]
fn a_failure_after_the_source_is_back_does_not_exit_the_daemon() {
    play(
        fleet(1, Insist::No, FleetLimits::default()),
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         0    job 0 done     -> StartupFinished
         10   0 unmounted    -> uncover 0, gone: its file system was unmounted
         1010                -> cover 0
         1020 covered 0      -> SourceBack, start 0 //**
         1030 job 1 unknown  -> retry all in 1000
         2030                -> start 0 //**
         2040 job 2 again    -> retry all in 1630
         3670                -> start 0 //**
         3680 job 3 die      -> full fatal, exit 255",
    );
}

#[test]
fn without_init_a_covered_mirror_is_live() {
    play(
        without_init(FleetLimits::default()),
        "0    begin          -> cover 0
         1    0 write /a
         5    covered 0
         101                 -> start 0 /a
         110  job 0 unknown  -> retry in 1000
         1110                -> start 0 /a
         1120 job 1 done     -> recovered, BatchFinished
         2000 0 unmounted    -> uncover 0, gone: its file system was unmounted
         3000                -> cover 0
         3010 covered 0      -> SourceBack, start 0 //**
         3020 job 2 done     -> FullFinished",
    );
}

#[test]
fn without_init_one_pass_is_done_at_once() {
    play(
        without_init(FleetLimits { onepass: true, max_jobs: None }),
        "0  begin      -> cover 0
         5  covered 0  -> OnepassDone, exit 0",
    );
}

#[test]
fn a_scheduled_full_transfer_includes_all_waiting_paths() {
    check(
        "0    begin       -> cover 0
         0    covered 0   -> start 0 all
         0    job 0 done  -> StartupFinished
         10   0 write /a
         20   full 0      -> FullDue, start 0 //**
         30   0 write /b
         35   full 0      -> FullDue
         40   job 1 done  -> FullFinished
         130              -> start 0 /b
         140  full 0      -> FullDue
         150  job 2 done  -> BatchFinished, start 0 //**
         160  job 3 again -> retry all in 1000
         200  full 0      -> FullDue
         1160             -> start 0 //**
         1170 job 4 done  -> recovered, FullFinished
         9000",
    );
}

#[test]
fn a_scheduled_full_transfer_is_not_added_to_the_first_one() {
    check(
        "0    begin       -> cover 0
         1    full 0      -> FullDue
         5    covered 0   -> start 0 all
         6    full 0      -> FullDue
         9    job 0 again -> retry startup in 1000
         10   full 0      -> FullDue
         1009             -> start 0 all
         1010 job 1 done  -> recovered, StartupFinished
         9000",
    );
}

#[test]
fn replace_keeps_running_mirrors_and_stops_removed_ones() {
    play(
        fleet(3, Insist::Yes, FleetLimits::default()),
        "0    begin           -> cover 0, cover 1, cover 2
         0    covered 0       -> start 0 all
         0    covered 1       -> start 1 all
         0    covered 2       -> start 2 all
         5    job 2 done      -> StartupFinished
         10   2 write /a
         20   replace new 1   -> uncover 0, stop 0, uncover 2, forget 2, cover 3
         30   0 write /b
         30   2 write /b
         30   covered 0
         40   job 1 done      -> StartupFinished
         50   covered 3       -> start 3 all
         60   job 0 again     -> forget 0
         70   1 write /c
         170                  -> start 1 /c
         180  job 3 done      -> StartupFinished
         190  job 4 done      -> BatchFinished
         9000",
    );
}

#[test]
fn a_successor_waits_for_the_job_on_its_target() {
    play(
        fleet(2, Insist::Yes, FleetLimits::default()),
        "0    begin           -> cover 0, cover 1
         0    covered 0       -> start 0 all
         0    covered 1       -> start 1 all
         10   replace new:0,1 -> uncover 0, stop 0, uncover 1, stop 1
         20   replace 2       ->
         30   job 1 again     -> forget 1
         40   replace new:0,2 -> uncover 2, forget 2
         50   job 0 done      -> forget 0, cover 3
         60   covered 3       -> start 3 all
         70   job 2 fatal     -> retry startup in 1000",
    );
}

#[test]
fn held_deletions_are_recounted_when_a_name_reappears() {
    check(
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 held 20 / -> 20 held, StartupFinished
         40   0 write /other
         140                  -> start 0 /other
         150  job 1 done      -> BatchFinished
         200  0 write /held/1
         300                  -> start 0 //**
         310  job 2 held 19 / -> 19 held, FullFinished
         400  0 mv-dir /x /held
         500                  -> start 0 //**+/x=>/held
         510  job 3 done      -> nothing held, FullFinished",
    );
}

#[test]
fn held_deletions_do_not_follow_a_rename_of_their_directory() {
    let time = |millis| Moment::new(Duration::from_millis(millis));
    let mut fleet = fleet(1, Insist::Yes, FleetLimits::default());
    let mut effects = Vec::new();
    fleet.begin(&mut effects);
    let lines: [(u64, &[&str]); 5] = [
        (0, &["covered", "0"]),
        (10, &["job", "0", "held", "20", "/"]),
        (2_010, &["0", "mv-dir", "held", "away"]),
        (2_010, &["0", "mv-dir", "other", "new"]),
        (2_500, &[]),
    ];
    for (millis, words) in lines {
        send(&mut fleet, words, time(millis), &mut effects);
        fleet.advance(time(millis), &mut effects);
    }
    let (paths, observed) = started_batch(&effects);
    assert!(paths.covers(&at("held"), Scope::Tree));
    assert!(!observed.is_deleted(&at("held")) && observed.is_deleted(&at("other")));
}

/// A fleet of one mirror whose first transfer has held deletions in the tree `path`.
fn fleet_with_held(path: &str, names: &[&str], reason: HoldReason) -> (Fleet, Vec<Effect>) {
    let mut fleet = fleet(1, Insist::Yes, FleetLimits::default());
    let (now, mut effects) = (Moment::ORIGIN, Vec::new());
    fleet.begin(&mut effects);
    send(&mut fleet, &["covered", "0"], now, &mut effects);
    let paths = vec![DirtyPath { path: at(path), scope: Scope::Tree }];
    let names = names.iter().map(|name| at(name)).collect();
    let held = HeldDeletions { paths, count: 20, total: None, names, reason };
    let outcome = Outcome::Split { large: vec![], failed: vec![], held: vec![held] };
    fleet.advance(now, &mut effects);
    fleet.handle(Input::JobEnded(JobEnd::new(JobId(0), outcome)), now, &mut effects);
    (fleet, effects)
}

#[test]
fn held_deletions_that_were_observed_stay_observed_under_a_new_name() {
    for (reason, is_observed) in [(HoldReason::Observed, true), (HoldReason::Unobserved, false)] {
        let (mut fleet, mut effects) = fleet_with_held("old/d", &["old/d/x"], reason);
        let later = Moment::new(Duration::from_secs(3));
        send(&mut fleet, &["0", "mv-dir", "old", "new"], later, &mut effects);
        fleet.advance(later + Duration::from_secs(1), &mut effects);
        let (_, observed) = started_batch(&effects);
        assert_eq!(observed.is_deleted(&at("new/d")), is_observed, "{reason:?}");
        // So the old name is counted with them.
        assert_eq!(observed.is_deleted(&at("old")), is_observed, "{reason:?}");
        assert!(observed.renamed_from.is_empty(), "{reason:?}");
        assert_eq!(observed.may_include_held, is_observed, "{reason:?}");
    }
}

#[test]
fn a_job_that_compared_a_replaced_target_as_a_whole_ends_older_holds() {
    let (mut fleet, mut effects) = fleet_with_held("d", &["d/x"], HoldReason::Observed);
    let now = Moment::new(Duration::from_secs(1));
    send(&mut fleet, &["0", "write", "new"], now, &mut effects);
    fleet.advance(now + Duration::from_secs(1), &mut effects);
    effects.clear();
    let end = JobEnd { is_full: true, ..JobEnd::new(JobId(1), Outcome::Done) };
    fleet.handle(Input::JobEnded(end), now, &mut effects);
    let shown: Vec<_> = effects.iter().map(show).collect();
    assert_eq!(shown, ["nothing held", "BatchFinished"]);
}

#[test]
fn a_retry_of_what_the_startup_has_left_says_so_until_it_changes() {
    let sec = |n| Moment::new(Duration::from_secs(n));
    let retried = |end: &[&str], event: &[&str]| {
        let mut fleet = fleet(1, Insist::Yes, FleetLimits::default());
        let mut effects = Vec::new();
        fleet.begin(&mut effects);
        for (at, words) in [(0, &["covered", "0"][..]), (0, end), (9, event)] {
            send(&mut fleet, words, sec(at), &mut effects);
            fleet.advance(sec(at), &mut effects);
        }
        fleet.advance(sec(10), &mut effects);
        let retry = effects.iter().rev().find_map(|effect| match effect {
            Effect::Start(job) if !matches!(job.work, Work::Full { .. }) => Some(&job.work),
            _ => None,
        });
        retry.unwrap().observed().retries_startup()
    };
    for end in [&["job", "0", "but", "d"][..], &["job", "0", "split", "d"]] {
        assert!(retried(end, &["0", "chmod", "d"]), "{end:?}");
    }
    assert!(retried(&["job", "0", "but", "d"], &["0", "write", "other"]));
    assert!(!retried(&["job", "0", "but", "d"], &["0", "write", "d"]));
    assert!(!retried(&["job", "0", "done"], &["0", "write", "d"]));
}

#[test]
fn a_rename_counts_if_unlisted_deletions_may_be_held_below() {
    let many: Vec<_> = (0..10).map(|number| format!("a/{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for (names, is_counted) in [(&*many, true), (&many[..9], false)] {
        let (mut fleet, mut effects) = fleet_with_held("", names, HoldReason::Unobserved);
        let later = Moment::new(Duration::from_secs(3));
        send(&mut fleet, &["0", "mv-dir", "old", "new"], later, &mut effects);
        fleet.advance(later + Duration::from_secs(1), &mut effects);
        let (_, observed) = started_batch(&effects);
        assert_eq!(observed.renamed_from.is_empty(), is_counted);
        assert_eq!(observed.is_deleted(&at("old")), !is_counted);
    }
}

#[test]
fn a_rename_soon_after_the_count_does_not_explain_what_was_missing_below_it() {
    let (mut fleet, mut effects) = fleet_with_held("old", &["old/x"], HoldReason::Unobserved);
    let later = Moment::new(Duration::from_millis(1));
    send(&mut fleet, &["0", "mv-dir", "old", "new"], later, &mut effects);
    fleet.advance(later + Duration::from_secs(1), &mut effects);
    let (_, observed) = started_batch(&effects);
    assert!(!observed.is_deleted(&at("old/x")));
}

#[test]
fn released_deletions_are_accepted_once_as_they_were_counted() {
    for reason in [HoldReason::Observed, HoldReason::Unobserved, HoldReason::EmptySource] {
        let (mut fleet, mut effects) = fleet_with_held("d", &["d/x"], reason);
        effects.clear();
        fleet.handle(Input::Release(MirrorId(0)), Moment::ORIGIN, &mut effects);
        fleet.advance(Moment::ORIGIN, &mut effects);
        let mut accepted = AcceptedDeletions::default();
        accepted.add(reason, 20);
        assert_eq!(started_batch(&effects).1.accepted, accepted, "{reason:?}");
        // The job has not run: the next one may make them, too.
        let failed = Outcome::Retry(Failure::new("no"));
        fleet.handle(Input::JobEnded(JobEnd::new(JobId(1), failed)), Moment::ORIGIN, &mut effects);
        effects.clear();
        fleet.advance(Moment::new(Duration::from_mins(10)), &mut effects);
        assert_eq!(started_batch(&effects).1.accepted, accepted, "{reason:?}");
        // After it has run, a later one may not.
        let held = HeldDeletions {
            paths: vec![DirtyPath { path: at("d"), scope: Scope::Tree }],
            count: 21,
            total: None,
            names: vec![at("d/x")],
            reason,
        };
        let outcome = Outcome::Split { large: vec![], failed: vec![], held: vec![held] };
        let now = Moment::new(Duration::from_mins(11));
        fleet.handle(Input::JobEnded(JobEnd::new(JobId(2), outcome)), now, &mut effects);
        effects.clear();
        send(&mut fleet, &["full", "0"], now, &mut effects);
        fleet.advance(now, &mut effects);
        assert_eq!(started_batch(&effects).1.accepted, AcceptedDeletions::default(), "{reason:?}");
    }
}

#[test]
fn a_silent_source_goes_on_with_what_is_known() {
    play(
        fleet(1, Insist::Yes, FleetLimits::default()),
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 done      -> StartupFinished
         40   silent 0        -> SourceSilent
         50   silent 0        ->
         60   0 write a       ->
         200                  -> start 0 /a
         210  job 1 done      -> BatchFinished
         220  answers 0       -> SourceAnswers
         230  0 unmounted     -> uncover 0, gone: its file system was unmounted
         240  silent 0        ->
         250  answers 0       ->",
    );
}

#[test]
fn a_source_that_is_lost_ends_the_acceptance_of_deletions() {
    let (mut fleet, mut effects) = fleet_with_held("d", &["d/x"], HoldReason::Observed);
    fleet.handle(Input::Release(MirrorId(0)), Moment::ORIGIN, &mut effects);
    send(&mut fleet, &["0", "unmounted"], Moment::ORIGIN, &mut effects);
    send(&mut fleet, &["covered", "0"], Moment::ORIGIN, &mut effects);
    effects.clear();
    fleet.advance(Moment::new(Duration::from_mins(10)), &mut effects);
    let (_, observed) = started_batch(&effects);
    assert!(observed.may_include_held);
    assert_eq!(observed.accepted, AcceptedDeletions::default());
}

#[test]
fn a_full_transfer_does_not_release_observed_deletions() {
    for (reason, is_bound) in [(HoldReason::Observed, true), (HoldReason::Unobserved, false)] {
        for how in [&["full", "0"][..], &["0", "unmounted"]] {
            let (mut fleet, mut effects) = fleet_with_held("d", &["d/x"], reason);
            let later = Moment::new(Duration::from_secs(1));
            send(&mut fleet, how, later, &mut effects);
            send(&mut fleet, &["covered", "0"], later, &mut effects);
            fleet.advance(later + Duration::from_secs(100), &mut effects);
            let (paths, observed) = started_batch(&effects);
            assert!(paths.covers(&TreePath::root(), Scope::Tree), "{how:?}");
            assert_eq!(observed.may_include_held, is_bound, "{how:?}");
        }
        let (mut fleet, mut effects) = fleet_with_held("d", &["d/x"], reason);
        let successor = Replacement::Add {
            spec: settings(Insist::Always).into(),
            after: vec![MirrorId(0)],
            predecessor: Some(MirrorId(0)),
        };
        effects.clear();
        let names = fleet.replace(vec![successor], Moment::ORIGIN, &mut effects);
        fleet.handle(Input::Covered(names[0]), Moment::ORIGIN, &mut effects);
        fleet.advance(Moment::ORIGIN, &mut effects);
        assert_eq!(started_full(&effects).may_include_held, is_bound, "{reason:?}");
    }
}

#[test]
fn held_startup_deletions_are_released_by_another_startup() {
    let delete = DeletePolicy::Startup;
    let fleet = Fleet::new(
        vec![MirrorSettings { delete, ..settings(Insist::Yes) }],
        FleetLimits::default(),
    );
    play(
        fleet,
        "0    begin           -> cover 0
         5    covered 0       -> start 0 all
         30   job 0 held 20 / -> 20 held, StartupFinished
         40   0 lost /        -> lost /
         140                  -> start 0 //**
         150  job 1 done      -> FullFinished
         200  replace 0?      -> start 0 all
         210  job 2 held 20 / -> StartupFinished
         300  0 write /held/1 -> start 0 all
         310  job 3 done      -> released, StartupFinished",
    );
}

#[test]
fn a_successor_inherits_observed_changes() {
    let time = |millis| Moment::new(Duration::from_millis(millis));
    let mut fleet = fleet(1, Insist::Yes, FleetLimits::default());
    let mut effects = Vec::new();
    fleet.begin(&mut effects);
    let lines: [(u64, &[&str]); 7] = [
        (0, &["covered", "0"]),
        (10, &["job", "0", "done"]),
        (20, &["0", "write", "in-flight"]),
        (500, &[]),
        (510, &["0", "write", "waits"]),
        (510, &["0", "rm", "gone"]),
        (510, &["0", "writing", "open"]),
    ];
    for (millis, words) in lines {
        send(&mut fleet, words, time(millis), &mut effects);
        fleet.advance(time(millis), &mut effects);
    }
    effects.clear();
    let successor = Replacement::Add {
        spec: settings(Insist::Always).into(),
        after: vec![MirrorId(0)],
        predecessor: Some(MirrorId(0)),
    };
    let names = fleet.replace(vec![successor], time(520), &mut effects);
    let is_watched = |effects: &[Effect]| !effects.iter().any(|it| show(it) == "uncover 0");
    assert!(is_watched(&effects), "until its successor is");
    // Events of the predecessor until then are forwarded to the successor.
    send(&mut fleet, &["0", "write", "meanwhile"], time(530), &mut effects);
    send(&mut fleet, &["job", "1", "done"], time(540), &mut effects);
    fleet.handle(Input::Covered(names[0]), time(550), &mut effects);
    fleet.advance(time(550), &mut effects);
    assert!(!is_watched(&effects));
    let full = started_full(&effects);
    for name in ["in-flight", "waits", "open", "meanwhile"] {
        assert!(full.is_written(&at(name), || false), "{name}");
    }
    assert!(full.is_deleted(&at("gone")));
    assert!(!full.is_written(&at("other"), || false));
}

#[test]
fn a_retiring_job_counts_until_it_has_ended() {
    let limits = FleetLimits { max_jobs: Some(1), onepass: true };
    play(
        fleet(1, Insist::Yes, limits),
        "0     begin       -> cover 0
         0     covered 0   -> start 0 all
         10    replace new -> uncover 0, stop 0, cover 1
         20    covered 1
         30    term        -> Draining(Terminate, 1)
         10030             -> Stopping(1), stop 0
         10040 job 0 again -> forget 0, exit 143",
    );
}

#[test]
fn mirror_ids_are_not_reused() {
    let mut fleet = fleet(2, Insist::Yes, FleetLimits::default());
    let now = Moment::ORIGIN;
    let replacements = ["1", "new", "new"].map(replacement).to_vec();
    let names = fleet.replace(replacements, now, &mut Vec::new());
    assert_eq!(names, [1, 2, 3].map(MirrorId));
    let names = fleet.replace(vec![replacement("3"), replacement("new")], now, &mut Vec::new());
    assert_eq!(names, [3, 4].map(MirrorId));
    let order: Vec<_> = fleet.mirrors().map(Mirror::id).collect();
    assert_eq!(order, names);
}

#[test]
fn no_job_starts_while_the_source_is_gone() {
    check(
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         0    job 0 done     -> StartupFinished
         0    0 write /a
         50   0 unmounted    -> uncover 0, gone: its file system was unmounted
         500
         1050                -> cover 0
         1060 cannot 0 why   -> still gone: why
         2060                -> cover 0
         2061 cannot 0 why
         2100 hup            -> Hangup, cover 0
         5000
         5001 covered 0      -> SourceBack, start 0 //**
         5002 job 1 done     -> FullFinished
         9000",
    );
}

#[test]
fn the_outcome_of_a_job_that_outlives_its_source_is_ignored() {
    check(
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         10   0 unmounted    -> uncover 0, gone: its file system was unmounted, stop 0
         1010                -> cover 0
         1020 covered 0      -> SourceBack
         1030 job 0 done     -> start 0 all
         1040 job 1 done     -> StartupFinished",
    );
}

#[test]
fn a_job_that_finds_the_source_gone_holds_the_mirror() {
    check(
        "0    begin          -> cover 0
         0    covered 0      -> start 0 all
         10   job 0 gone     -> uncover 0, gone: no
         1010                -> cover 0",
    );
}

#[test]
fn shutdown_drains_then_stops_then_abandons_jobs() {
    check(
        "0     begin       -> cover 0
         0     covered 0   -> start 0 all
         10    term        -> Draining(Terminate, 1)
         5000
         10010             -> Stopping(1), stop 0
         15009
         15010             -> exit 143",
    );
    check(
        "0     begin       -> cover 0
         0     covered 0   -> start 0 all
         10    term        -> Draining(Terminate, 1)
         20    term        -> Stopping(1), stop 0
         30    job 0 again -> exit 143",
    );
    check(
        "0     begin       -> cover 0
         0     covered 0   -> start 0 all
         0     job 0 done  -> StartupFinished
         10    term        -> Draining(Terminate, 0), exit 143",
    );
}

#[test]
fn one_pass_ends_when_all_first_transfers_are_done() {
    let limits = FleetLimits { onepass: true, max_jobs: None };
    play(
        fleet(2, Insist::No, limits),
        "0  begin      -> cover 0, cover 1
         0  covered 0  -> start 0 all
         0  covered 1  -> start 1 all
         5  job 0 done -> StartupFinished
         6  job 1 done -> StartupFinished, OnepassDone, exit 0",
    );
}

/// Plays a one-pass run of two mirrors.
fn check_onepass(script: &str) {
    let begin = "0  begin      -> cover 0, cover 1
         0  covered 0  -> start 0 all
         0  covered 1  -> start 1 all\n";
    let limits = FleetLimits { onepass: true, max_jobs: None };
    play(fleet(2, Insist::No, limits), &[begin, script].concat());
}

#[test]
fn one_pass_retries_failures_once() {
    check_onepass(
        "5  job 0 but /a -> 1 failed, StartupFinished(12)
         6  job 1 done   -> StartupFinished, start 0 /a
         7  job 2 done   -> BatchFinished, OnepassDone, exit 0",
    );
    let failed = "OnepassLeft(MirrorId(0), [/a], 1), exit 255";
    check_onepass(&format!(
        "5  job 0 but /a -> 1 failed, StartupFinished(12)
         6  job 1 done   -> StartupFinished, start 0 /a
         7  job 2 but /a -> 1 failed, BatchFinished(12), {failed}"
    ));
    // Neither constant changes nor a target that goes away keep the run from ending.
    check_onepass(&format!(
        "5  job 1 but /b -> 1 failed, StartupFinished(12)
         6  0 write /c
         6  job 0 but /a -> 1 failed, StartupFinished(12), start 0 /a+/c, start 1 /b
         7  0 write /c
         8  job 3 done   -> BatchFinished
         9  job 2 again  -> retry in 1000, {}",
        failed.replace("1)", "2)").replace("/a", "/a, /c")
    ));
}

#[test]
fn one_pass_transfers_split_files_before_it_ends() {
    check_onepass(
        "5  job 0 but /a   -> 1 failed, StartupFinished(12)
         6  job 1 done     -> StartupFinished, start 0 /a
         7  job 2 split /a -> BatchFinished, start 0 large /a
         8  job 3 done     -> BatchFinished, OnepassDone, exit 0",
    );
}

#[test]
fn a_job_limit_is_shared_round_robin() {
    let limits = FleetLimits { onepass: false, max_jobs: Some(1) };
    play(
        fleet(3, Insist::No, limits),
        "0  begin      -> cover 0, cover 1, cover 2
         0  covered 0  -> start 0 all
         0  covered 1
         0  covered 2
         5  job 0 done -> StartupFinished, start 1 all
         6  job 1 done -> StartupFinished, start 2 all
         7  job 2 done -> StartupFinished",
    );
}

#[test]
fn one_unreachable_target_does_not_delay_others() {
    play(
        fleet(2, Insist::Yes, FleetLimits::default()),
        "0    begin       -> cover 0, cover 1
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

/// Plays a script on a live mirror, after its begin.
#[track_caller]
fn check_live(script: &str) {
    play(
        without_init(FleetLimits::default()),
        &format!("0 begin -> cover 0\n0 covered 0\n{script}"),
    );
}

#[test]
fn an_open_file_is_transferred_when_it_is_closed() {
    check_live(
        "0 0 writing a
         500 0 chmod a
         900 0 writing a
         1800 0 writing a
         2000 0 write a
         2099
         2100 -> start 0 /a
         2100 job 0 done -> BatchFinished",
    );
}

#[test]
fn an_open_file_is_transferred_when_it_is_quiet_or_overdue() {
    check_live(
        "0 0 writing a
         0 0 write b
         100 -> start 0 /b
         100 job 0 done -> BatchFinished
         999
         1000 -> start 0 /a
         1000 job 1 done -> BatchFinished
         2000 0 writing log
         2900 0 writing log
         3800 0 writing log
         4700 0 writing log
         5600 0 writing log
         6500 0 writing log
         7400 0 writing log
         8300 0 writing log
         9200 0 writing log
         10100 0 writing log
         11000 0 writing log
         11900 0 writing log
         11999
         12000 -> start 0 /log
         12000 job 2 done -> BatchFinished
         20000",
    );
}

#[test]
fn open_files_follow_renames_and_deletions() {
    check_live(
        "0 0 writing d/a
         0 0 writing d/b
         0 0 writing d/c
         10 0 rm d/b
         110 -> start 0 /d/b
         110 job 0 done -> BatchFinished
         200 0 mv-dir d e
         300 -> start 0 /d/**+/e/**+/d=>/e
         300 job 1 done -> BatchFinished
         400 0 rm e/c
         500 -> start 0 /e/c
         500 job 2 done -> BatchFinished
         1000 -> start 0 /e/a
         1000 job 3 done -> BatchFinished
         20000",
    );
}

#[test]
fn an_explicit_delay_counts_from_the_first_write() {
    let debounce = Debounce::FixedDelay { delay: Duration::from_secs(5), max_waiting: 100 };
    let settings = MirrorSettings { debounce, init: false, ..settings(Insist::No) };
    play(
        Fleet::new(vec![settings], FleetLimits::default()),
        "0 begin -> cover 0
         0 covered 0
         0 0 writing a
         3000 0 write a
         4999
         5000 -> start 0 /a",
    );
}

#[test]
fn an_open_file_counts_as_a_delay() {
    let mut fleet = without_init(FleetLimits::default());
    let mut effects = Vec::new();
    fleet.begin(&mut effects);
    let now = Moment::new(Duration::from_secs(3));
    fleet.handle(Input::Covered(MirrorId(0)), now, &mut effects);
    send(&mut fleet, &["0", "writing", "a"], now, &mut effects);
    let mirror = fleet.mirrors().next().unwrap();
    assert_eq!((mirror.delay_count(), mirror.open_count()), (1, 1));
    assert_eq!(mirror.delays().count(), 1);
    assert_eq!(mirror.oldest(), Some(now));
    assert_eq!(fleet.next_wakeup(), Some(now + Duration::from_secs(1)));
}
