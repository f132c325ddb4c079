//! Scripted mirrors in a fleet: the calls of a script and the handling of their results.

use alloc::{borrow::ToOwned, format, string::String, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::{super::*, at, settings, show_event};
use crate::{
    effect::ScriptCall,
    filter::Filter,
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, RootGone},
    input::{ChildExit, CollectAnswer, DirectoryListing, ScriptInput, TargetLink},
    job::{DirtyPath, Failure, Scope},
    log_event::{MirrorEvent, ScriptEvent},
    mirror::{
        Insist, MirrorSettings,
        scripted::{
            FullHandling, INIT_IDLE_LIMIT, MAX_EVENTS, RestartMode, ScriptSettings, ScriptedMirror,
            SpawnError,
        },
    },
    queue::event_queue::{EventId, EventRefusal, EventStatus, Pick, QueuedEvent},
};

/// A fleet and the time in milliseconds.
struct ScriptFleet {
    fleet: Fleet,
    now: u64,
}

fn script_settings() -> ScriptSettings {
    let (filter, target_link) = (Arc::default(), TargetLink::Up);
    let delay = Duration::from_secs(5);
    ScriptSettings {
        delay,
        max_delays: 1_000,
        max_jobs: 1,
        wants_renames: true,
        full: FullHandling::Function,
        restart_mode: RestartMode::Clear,
        filter,
        subdirectories: true,
        target_link,
        connection: None,
    }
}

impl ScriptFleet {
    fn new(settings: Vec<MirrorSpec>, limits: FleetLimits) -> Self {
        let mut harness = Self { fleet: Fleet::new(settings, limits), now: 0 };
        let mut effects = Vec::new();
        harness.fleet.begin(&mut effects);
        harness
    }

    /// One mirror, whose init event is done.
    fn live(settings: ScriptSettings) -> Self {
        let mut harness = Self::new(vec![settings.into()], FleetLimits::default());
        harness.begin(0);
        harness
    }

    fn begin(&mut self, mirror: u32) {
        let shown = self.handle(Input::Covered(MirrorId(mirror)));
        let init = self.first(mirror);
        assert_eq!(shown, [format!("init {mirror} {}", init.0)]);
        assert_eq!(self.scripted(mirror).discard(init), Ok(()));
        assert!(self.called(mirror).is_empty());
    }

    fn scripted(&mut self, mirror: u32) -> &mut ScriptedMirror {
        self.fleet.scripted(MirrorId(mirror)).unwrap()
    }

    fn moment(&self) -> Moment {
        Moment::new(Duration::from_millis(self.now))
    }

    fn handle(&mut self, input: Input) -> Vec<String> {
        let mut effects = Vec::new();
        self.fleet.handle(input, self.moment(), &mut effects);
        self.fleet.advance(self.moment(), &mut effects);
        effects.iter().map(show).collect()
    }

    fn handle_script(&mut self, input: ScriptInput) -> Vec<String> {
        self.handle(Input::Script(input))
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<String> {
        self.now += milliseconds;
        let mut effects = Vec::new();
        self.fleet.advance(self.moment(), &mut effects);
        effects.iter().map(show).collect()
    }

    /// The time until the next wake-up without further inputs.
    fn sleeps(&self) -> Option<u64> {
        let until = self.fleet.next_wakeup()?.since_origin().as_millis();
        Some(u64::try_from(until).unwrap().saturating_sub(self.now))
    }

    fn change(&mut self, edit: Edit, path: &str) -> Vec<String> {
        let kind = if path.ends_with('/') { EntryKind::Directory } else { EntryKind::Other };
        self.fs_event(FsEventKind::Changed(Change { edit, kind, path: at(path) }))
    }

    fn fs_event(&mut self, event: FsEventKind) -> Vec<String> {
        self.handle(Input::FsEvent(FsEvent { mirror: MirrorId(0), kind: event }))
    }

    fn first(&mut self, mirror: u32) -> EventId {
        let now = self.moment();
        self.scripted(mirror).queue().first_due(now).map(QueuedEvent::id).unwrap()
    }

    /// The script starts a child for the first due event.
    fn spawn(&mut self, mirror: u32) -> JobId {
        let id = self.first(mirror);
        self.fleet.spawn(MirrorId(mirror), &[id]).unwrap()
    }

    fn called(&mut self, mirror: u32) -> Vec<String> {
        self.handle_script(ScriptInput::Returned {
            mirror: MirrorId(mirror),
            result: Ok(()),
            has_pending_work: false,
        })
    }

    fn failed(&mut self) -> Vec<String> {
        let result = Err(Failure::new("no such field"));
        self.handle_script(ScriptInput::Returned {
            mirror: MirrorId(0),
            result,
            has_pending_work: false,
        })
    }

    fn ended(&mut self, job: JobId, code: i32) -> Vec<String> {
        self.handle_script(ScriptInput::ChildExited { job, exit: ChildExit::Code(code) })
    }

    fn collected(&mut self, job: JobId, answer: CollectAnswer) -> Vec<String> {
        self.handle_script(ScriptInput::Collected { job, result: Ok(answer) })
    }

    fn events(&mut self) -> Vec<String> {
        let show = |event: &QueuedEvent| {
            let to = event.to().map_or(String::new(), |to| format!(" {to}"));
            format!("{} {}{to} {}", event.etype().name(), event.path(), event.status().name())
        };
        self.scripted(0).queue().iter().map(show).collect()
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::CallScript(mirror, ScriptCall::Init(id)) => format!("init {} {}", mirror.0, id.0),
        Effect::CallScript(mirror, ScriptCall::Full(id)) => format!("full {} {}", mirror.0, id.0),
        Effect::CallScript(mirror, ScriptCall::Action) => format!("action {}", mirror.0),
        Effect::CallScript(_, ScriptCall::Collect { job, code, .. }) => {
            format!("collect {} {code}", job.0)
        }
        Effect::ListDirectory { path, .. } => format!("list {path}"),
        Effect::Report(LogEvent::Mirror(_, event)) => match event {
            MirrorEvent::Script(ScriptEvent::Failed { about, wait, .. }) => {
                format!("{} failed {wait:?}", about.as_deref().unwrap_or("something"))
            }
            MirrorEvent::Script(ScriptEvent::Retry { about, failure, wait }) => {
                format!(
                    "{}: {}; {wait:?}",
                    about.as_deref().unwrap_or("something"),
                    failure.message
                )
            }
            MirrorEvent::Script(ScriptEvent::ChildKilled { about, signal }) => {
                format!("{} killed by {signal}", about.as_deref().unwrap_or("something"))
            }
            event => show_event(event),
        },
        Effect::Stop(job) => format!("stop {}", job.0),
        Effect::Exit(code) => format!("exit {code}"),
        effect => format!("{effect:?}"),
    }
}

#[test]
fn a_script_is_called_after_its_delay_and_collects_its_child() {
    let mut harness = ScriptFleet::live(script_settings());
    assert!(harness.change(Edit::Create, "a").is_empty());
    assert_eq!(harness.sleeps(), Some(5_000));
    assert_eq!(harness.wait(5_000), ["action 0"]);
    let job = harness.spawn(0);
    assert!(harness.called(0).is_empty());
    assert_eq!(harness.sleeps(), None);
    assert_eq!(harness.ended(job, 3), [format!("collect {} 3", job.0)]);
    assert_eq!(
        harness.collected(job, CollectAnswer::Again),
        ["Create on /a: exit code 3; Some(5s)"]
    );
    assert_eq!(harness.events(), ["Create /a wait"]);
    assert_eq!(harness.sleeps(), Some(5_000));
    assert_eq!(harness.wait(5_000), ["action 0"]);
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 0);
    harness.collected(job, CollectAnswer::Done);
    assert!(harness.events().is_empty());
}

#[test]
fn a_failed_init_event_is_retried_and_blocks_everything() {
    let mut harness = ScriptFleet::new(vec![script_settings().into()], FleetLimits::default());
    harness.handle(Input::Covered(MirrorId(0)));
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "a");
    // The init transfer may have brought the new name already.
    harness.fs_event(FsEventKind::Renamed { from: at("a"), to: at("b"), kind: EntryKind::Other });
    let seen = ["Init / active", "Create /a block", "Delete /a block", "Create /b block"];
    assert_eq!(harness.events(), seen);
    harness.ended(job, 10);
    harness.collected(job, CollectAnswer::Again);
    assert!(!harness.scripted(0).is_live());
    assert_eq!(harness.sleeps(), Some(5_000));
    assert_eq!(harness.wait(5_000).len(), 1);
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 0);
    assert_eq!(harness.collected(job, CollectAnswer::Done), ["action 0"]);
    assert!(harness.scripted(0).is_live());
}

#[test]
fn an_idle_script_is_not_called_in_a_loop() {
    let mut harness = ScriptFleet::live(script_settings());
    harness.change(Edit::Create, "a");
    assert_eq!(harness.wait(5_000), ["action 0"]);
    assert_eq!(harness.called(0), ["Idle"]);
    assert_eq!(harness.sleeps(), Some(1_000));
    assert_eq!(harness.wait(1_000), ["action 0"]);
    assert!(harness.called(0).is_empty(), "reported once");
    // A change.
    assert_eq!(harness.change(Edit::Create, "b"), ["action 0"]);
    assert!(harness.called(0).is_empty());
    // It may be intended: another function may do the work.
    let first = harness.first(0);
    assert_eq!(harness.scripted(0).discard(first), Ok(()));
    harness.wait(5_000);
    assert!(harness.called(0).is_empty(), "reported once");
}

#[test]
fn a_script_that_adds_an_event_for_each_it_does_is_not_called_in_a_loop() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(harness.change(Edit::Create, "a"), ["action 0"]);
    for _ in 0..3 {
        let first = harness.first(0);
        assert_eq!(harness.scripted(0).discard(first), Ok(()));
        harness.scripted(0).push_blanket();
        assert!(harness.called(0).is_empty());
        assert_eq!(harness.sleeps(), Some(10));
        assert_eq!(harness.wait(10), ["action 0"]);
    }
    // A script that makes progress is.
    let first = harness.first(0);
    assert_eq!(harness.scripted(0).discard(first), Ok(()));
    harness.change(Edit::Create, "b");
    let first = harness.first(0);
    assert_eq!(harness.scripted(0).discard(first), Ok(()));
    harness.called(0);
    assert_eq!(harness.change(Edit::Create, "c"), ["action 0"]);
}

#[test]
fn a_failing_script_is_called_with_growing_backoff() {
    let mut harness = ScriptFleet::live(script_settings());
    harness.change(Edit::Create, "a");
    assert_eq!(harness.wait(5_000), ["action 0"]);
    assert_eq!(harness.failed(), ["Create on /a failed Some(1s)"]);
    assert_eq!(harness.sleeps(), Some(1_000));
    assert_eq!(harness.wait(1_000), ["action 0"]);
    harness.failed();
    assert!((1_500..=2_000).contains(&harness.sleeps().unwrap()));
    harness.handle(Input::Signal(Signal::Hangup));
    // An error after it started something is reported, and the child continues.
    let job = harness.spawn(0);
    assert_eq!(harness.failed(), ["something failed None"]);
    harness.ended(job, 0);
    let result = Err(Failure::new("no"));
    let shown = harness.handle_script(ScriptInput::Collected { job, result });
    assert_eq!(shown, ["Create on /a failed Some(5s)"]);
    assert_eq!(harness.events(), ["Create /a wait"]);
}

#[test]
fn a_child_that_keeps_being_killed_is_retried_with_growing_backoff() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "a");
    for pause in [1_000..=1_000, 1_500..=2_000, 3_000..=4_000] {
        let job = harness.spawn(0);
        harness.called(0);
        harness.handle_script(ScriptInput::ChildExited { job, exit: ChildExit::Signal(9) });
        let sleeps = harness.sleeps().unwrap();
        assert!(pause.contains(&sleeps), "{sleeps} in {pause:?}");
        assert_eq!(harness.wait(sleeps), ["action 0"]);
    }
}

#[test]
fn a_child_whose_collection_fails_is_retried_with_growing_backoff() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    let fail = |harness: &mut ScriptFleet, shown: Vec<String>| {
        assert_eq!(shown, ["action 0"]);
        let job = harness.spawn(0);
        harness.called(0);
        harness.ended(job, 0);
        let result = Err(Failure::new("no"));
        harness.handle_script(ScriptInput::Collected { job, result });
        harness.sleeps().unwrap()
    };
    let shown = harness.change(Edit::Create, "a");
    assert_eq!(fail(&mut harness, shown), 1_000);
    let shown = harness.wait(1_000);
    assert!((1_500..=2_000).contains(&fail(&mut harness, shown)));
    let shown = harness.wait(2_000);
    assert!((3_000..=4_000).contains(&fail(&mut harness, shown)));
    // One success ends the backoff.
    assert_eq!(harness.wait(4_000), ["action 0"]);
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 0);
    harness.collected(job, CollectAnswer::Done);
    let shown = harness.change(Edit::Create, "b");
    assert_eq!(fail(&mut harness, shown), 1_000);
}

#[test]
fn the_events_of_a_killed_child_are_retried() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(harness.change(Edit::Create, "a"), ["action 0"]);
    let job = harness.spawn(0);
    harness.called(0);
    let exit = ChildExit::Signal(9);
    assert_eq!(
        harness.handle_script(ScriptInput::ChildExited { job, exit }),
        ["Create on /a killed by 9"]
    );
    assert_eq!(harness.events(), ["Create /a wait"]);
    assert_eq!(harness.sleeps(), Some(1_000));
}

#[test]
fn a_script_may_start_children_up_to_its_limit() {
    let mut harness = ScriptFleet::live(ScriptSettings { max_jobs: 2, ..script_settings() });
    for path in ["a", "b", "c"] {
        harness.change(Edit::Create, path);
    }
    assert_eq!(harness.wait(5_000), ["action 0"]);
    let a = harness.spawn(0);
    let b = harness.spawn(0);
    let c = harness.first(0);
    assert_eq!(harness.fleet.spawn(MirrorId(0), &[c]), Err(SpawnError::TooMany));
    let active = Err(SpawnError::Event(EventRefusal::InStatus(EventStatus::Active)));
    assert_eq!(harness.fleet.spawn(MirrorId(0), &[EventId(2)]), active);
    assert!(harness.called(0).is_empty());
    harness.ended(b, 0);
    assert_eq!(harness.collected(b, CollectAnswer::Done), ["action 0"]);
    harness.spawn(0);
    harness.called(0);
    assert_ne!(a, b);
    assert_eq!(harness.fleet.running_jobs(), 2);
}

#[test]
fn scripts_share_the_common_job_limit() {
    let limits = FleetLimits { max_jobs: Some(1), onepass: false };
    let mut harness = ScriptFleet::new(vec![script_settings().into(); 2], limits);
    harness.begin(0);
    harness.begin(1);
    for mirror in [0, 1] {
        let change = Change { edit: Edit::Create, kind: EntryKind::Other, path: at("a") };
        let event = FsEventKind::Changed(change);
        harness.handle(Input::FsEvent(FsEvent { mirror: MirrorId(mirror), kind: event }));
    }
    assert_eq!(harness.wait(5_000), ["action 0"]);
    let job = harness.spawn(0);
    assert!(harness.called(0).is_empty());
    harness.ended(job, 0);
    assert_eq!(harness.collected(job, CollectAnswer::Done), ["action 1"]);
}

#[test]
fn one_pass_ends_when_all_init_events_are_done() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let built = MirrorSettings { init: false, ..settings(Insist::Yes) };
    let mut harness = ScriptFleet::new(vec![script_settings().into(), built.into()], limits);
    harness.handle(Input::Covered(MirrorId(1)));
    harness.handle(Input::Covered(MirrorId(0)));
    let job = harness.spawn(0);
    assert!(harness.called(0).is_empty());
    harness.ended(job, 0);
    assert_eq!(harness.collected(job, CollectAnswer::Done), ["Report(OnepassDone)", "exit 0"]);
}

#[test]
fn one_pass_ends_when_an_init_event_fails_twice() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let names =
        |shown: &[String]| shown.join("; ").contains("OnepassFailed(MirrorId(0), [(\"Init\"");
    let mut harness = ScriptFleet::new(vec![script_settings().into()], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    assert_eq!(harness.failed(), ["Init failed Some(1s)"]);
    assert_eq!(harness.wait(1_000).len(), 1);
    let shown = harness.failed();
    assert!(names(&shown) && shown.last().unwrap() == "exit 255", "{shown:?}");
    let mut harness = ScriptFleet::new(vec![script_settings().into()], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    let mut shown = Vec::new();
    for _ in 0..2 {
        let job = harness.spawn(0);
        harness.called(0);
        harness.ended(job, 0);
        let result = Err(Failure::new("no"));
        shown = harness.handle_script(ScriptInput::Collected { job, result });
        assert_eq!(shown[0].split(" Some").next(), Some("Init failed"));
        harness.wait(5_000);
    }
    assert!(names(&shown) && shown.last().unwrap() == "exit 255", "{shown:?}");
}

#[test]
fn one_pass_tries_events_before_the_end_of_init_twice() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let mut harness = ScriptFleet::new(vec![script_settings().into()], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "bad");
    harness.change(Edit::Modify, "bad");
    harness.change(Edit::Create, "good");
    harness.ended(job, 0);
    assert!(harness.collected(job, CollectAnswer::Done).is_empty());
    // Later events are not waited for.
    harness.change(Edit::Create, "later");
    assert_eq!(harness.wait(5_000), ["action 0"]);
    assert_eq!(harness.failed().len(), 2, "it failed, and the next one is due");
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 0);
    assert_eq!(
        harness.collected(job, CollectAnswer::Done),
        ["action 0"],
        "what came later is due, too"
    );
    let later = harness.first(0);
    assert_eq!(harness.scripted(0).discard(later), Ok(()));
    assert!(harness.called(0).is_empty());
    assert_eq!(harness.wait(1_000), ["action 0"]);
    let shown = harness.failed();
    assert!(shown[2].contains("OnepassFailed(MirrorId(0), [(\"Create on /bad\""), "{shown:?}");
    assert_eq!(shown.last().unwrap(), "exit 255");
}

#[test]
fn an_event_that_keeps_failing_delays_no_others() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(harness.change(Edit::Create, "bad"), ["action 0"]);
    harness.failed();
    assert_eq!(harness.change(Edit::Create, "good"), ["action 0"]);
    assert_eq!(harness.change(Edit::Modify, "bad"), [""; 0]);
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 0);
    harness.collected(job, CollectAnswer::Done);
    assert_eq!(harness.events(), ["Create /bad wait", "Modify /bad block"]);
    // If the script is given a list, the list is blamed.
    harness.wait(1_000);
    harness.change(Edit::Create, "a");
    let now = harness.moment();
    let bad = harness.first(0);
    harness.scripted(0).set_given(&[bad]);
    let shown = harness.failed();
    assert_eq!(shown[0], "list /", "it may be gone");
    assert_eq!(shown[1].split(" Some").next(), Some("Create on /bad failed"));
    let list = harness.scripted(0).queue().select(now, |_| Pick::Take);
    assert_eq!(list.len(), 1);
    harness.scripted(0).discard(list[0]).unwrap();
    harness.called(0);
    // A delete gives it up.
    harness.change(Edit::Delete, "bad");
    assert_eq!(harness.events(), ["Delete /bad wait"]);
}

#[test]
fn failed_events_of_entries_that_vanished_unnoticed_are_dropped() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    for path in ["d/bad", "d/gone"] {
        assert_eq!(harness.change(Edit::Create, path), ["action 0"]);
        harness.failed();
    }
    let list = |harness: &mut ScriptFleet, names: &[&str], is_whole| {
        let entries = names.iter().map(|it| (it.as_bytes().to_vec(), EntryKind::Other)).collect();
        let listed = DirectoryListing { entries, is_complete: is_whole };
        harness.handle_script(ScriptInput::DirectoryListed {
            mirror: MirrorId(0),
            path: at("d"),
            listing: listed,
        })
    };
    assert_eq!(harness.wait(1_000), ["action 0"]);
    assert_eq!(harness.failed()[0], "list /d");
    // An incomplete listing proves nothing.
    list(&mut harness, &["bad"], false);
    assert_eq!(harness.events().len(), 2);
    assert_eq!(harness.failed()[0], "list /d");
    list(&mut harness, &["bad", "another"], true);
    assert_eq!(harness.events(), ["Create /d/bad wait"]);
}

#[test]
fn many_failures_in_a_row_pause_the_script() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    let mut called = 0;
    for n in 0..200 {
        let mut shown = harness.change(Edit::Create, &format!("f{n}"));
        while shown.last().is_some_and(|it| it == "action 0") {
            called += 1;
            shown = harness.failed();
        }
    }
    assert!(called <= 25, "{called} calls for nothing");
    for _ in 0..10 {
        let mut shown = harness.wait(1_000);
        while shown.last().is_some_and(|it| it == "action 0") {
            called += 1;
            shown = harness.failed();
        }
    }
    assert!(called <= 40, "{called} calls for nothing");
    // After one success all are retried.
    let mut shown = harness.wait(1_000);
    while shown.last().is_some_and(|it| it == "action 0") {
        let first = harness.first(0);
        assert_eq!(harness.scripted(0).discard(first), Ok(()));
        shown = harness.called(0);
    }
    assert!(harness.events().is_empty(), "{:?}", harness.events().len());
}

#[test]
fn failed_paths_of_a_built_in_transfer_are_retried_alone() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    for path in ["a", "bad", "c"] {
        harness.change(Edit::Create, path);
    }
    let now = harness.moment();
    let list = harness.scripted(0).queue().select(now, |_| Pick::Take);
    let job = harness.fleet.spawn(MirrorId(0), &list).unwrap();
    harness.called(0);
    let dirty = DirtyPath { path: at("bad"), scope: Scope::Entry };
    let exit = ChildExit::Partial(vec![(dirty, Failure::new("no"))]);
    let shown = harness.handle_script(ScriptInput::ChildExited { job, exit });
    assert_eq!(shown.last().unwrap(), "action 0");
    let list = harness.scripted(0).queue().select(now, |_| Pick::Take);
    assert_eq!(list.len(), 2, "its script does not know yet that they are done");
    let job = harness.fleet.spawn(MirrorId(0), &list).unwrap();
    harness.called(0);
    harness.ended(job, 0);
    harness.collected(job, CollectAnswer::Done);
    assert_eq!(harness.events(), ["Create /bad wait"]);
}

#[test]
fn one_pass_includes_a_full_event_that_replaces_earlier_ones() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let mut harness = ScriptFleet::new(vec![script_settings().into()], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "d/a");
    harness.ended(job, 0);
    assert!(harness.collected(job, CollectAnswer::Done).is_empty());
    harness.fs_event(FsEventKind::Lost(at("d")));
    assert_eq!(harness.events(), ["Full /d wait"]);
    assert_eq!(harness.failed(), ["Full on /d/ failed Some(1s)"]);
    assert_eq!(harness.wait(1_000).len(), 1);
    let full = harness.first(0);
    assert_eq!(harness.scripted(0).discard(full), Ok(()));
    assert_eq!(harness.called(0), ["Report(OnepassDone)", "exit 0"]);
}

#[test]
fn one_pass_ends_when_a_script_leaves_its_init_event_alone() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let mut harness = ScriptFleet::new(vec![script_settings().into(); 2], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    assert_eq!(harness.called(0), ["InitIdle"]);
    harness.handle(Input::Covered(MirrorId(1)));
    let job = harness.spawn(1);
    assert!(harness.called(1).is_empty());
    for _ in 1..INIT_IDLE_LIMIT.as_secs() {
        assert_eq!(harness.wait(1_000).len(), 1);
        assert!(harness.called(0).is_empty());
    }
    // The collect function may still process the init event.
    harness.wait(1_000);
    assert!(harness.called(0).is_empty());
    harness.ended(job, 0);
    assert!(harness.collected(job, CollectAnswer::Done).is_empty());
    // So may an alarm.
    harness.wait(1_000);
    let called =
        ScriptInput::Returned { mirror: MirrorId(0), result: Ok(()), has_pending_work: true };
    assert!(harness.handle_script(called).is_empty());
    harness.wait(1_000);
    assert_eq!(harness.called(0), ["Report(OnepassStuck(MirrorId(0)))", "exit 255"]);
}

#[test]
fn a_script_that_acts_late_completes_one_pass() {
    let limits = FleetLimits { max_jobs: None, onepass: true };
    let mut harness = ScriptFleet::new(vec![script_settings().into()], limits);
    harness.handle(Input::Covered(MirrorId(0)));
    harness.called(0);
    for _ in 1..INIT_IDLE_LIMIT.as_secs() {
        harness.wait(1_000);
        assert!(harness.called(0).is_empty());
    }
    harness.wait(1_000);
    let init = harness.first(0);
    assert_eq!(harness.scripted(0).discard(init), Ok(()));
    assert_eq!(harness.called(0), ["Report(OnepassDone)", "exit 0"]);
}

#[test]
fn script_transfers_count_for_their_connection() {
    let through = || ScriptSettings { connection: Some(b"host"[..].into()), ..script_settings() };
    let most = u32::try_from(MAX_JOBS_PER_CONNECTION).unwrap();
    let settings = (0..=most).map(|_| through().into()).collect();
    let mut harness = ScriptFleet::new(settings, FleetLimits::default());
    let mut jobs = Vec::new();
    for mirror in 0..most {
        assert_eq!(harness.handle(Input::Covered(MirrorId(mirror))).len(), 1);
        jobs.push(harness.spawn(mirror));
        harness.called(mirror);
    }
    assert!(harness.handle(Input::Covered(MirrorId(most))).is_empty());
    assert_eq!(harness.ended(jobs[3], 0), [format!("collect {} 0", jobs[3].0)]);
    let init = harness.first(most);
    assert_eq!(
        harness.collected(jobs[3], CollectAnswer::Done),
        [format!("init {most} {}", init.0)]
    );
}

#[test]
fn shutdown_starts_no_child_and_collects_running_ones() {
    let mut harness = ScriptFleet::live(ScriptSettings { max_jobs: 2, ..script_settings() });
    harness.change(Edit::Create, "a");
    harness.change(Edit::Create, "b");
    harness.wait(5_000);
    let job = harness.spawn(0);
    let b = harness.first(0);
    harness.called(0);
    harness.handle(Input::Signal(Signal::Terminate));
    assert_eq!(harness.fleet.spawn(MirrorId(0), &[b]), Err(SpawnError::NotNow));
    assert_eq!(harness.ended(job, 0), [format!("collect {} 0", job.0)]);
    assert_eq!(harness.collected(job, CollectAnswer::Done), ["exit 143"]);
}

#[test]
fn the_daemon_exits_when_a_script_answers_die() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "a");
    let job = harness.spawn(0);
    harness.called(0);
    harness.ended(job, 1);
    assert_eq!(harness.collected(job, CollectAnswer::Die), ["exit 255"]);
}

#[test]
fn a_replaced_script_mirror_is_forgotten_when_its_children_have_exited() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "a");
    let job = harness.spawn(0);
    harness.called(0);
    let after = vec![MirrorId(0)];
    let predecessor = Some(MirrorId(0));
    harness.change(Edit::Create, "b");
    harness.change(Edit::Create, "d/");
    let settings = ScriptSettings {
        delay: Duration::ZERO,
        restart_mode: RestartMode::Keep,
        ..script_settings()
    };
    let joins = Replacement::Add { spec: settings.into(), after, predecessor };
    let mut effects = Vec::new();
    let now = harness.moment();
    harness.fleet.replace(vec![joins], now, &mut effects);
    let shown: Vec<_> = effects.iter().map(show).collect();
    let cover = "Cover(MirrorId(1))";
    let stop = format!("stop {}", job.0);
    assert_eq!(shown, [&*stop, cover, "list /d"]);
    // Until it is watched, events of the predecessor are forwarded.
    assert!(harness.change(Edit::Create, "c").is_empty());
    // It is watched, but the script is not called before the children of the predecessor have
    // ended.
    assert_eq!(harness.handle(Input::Covered(MirrorId(1))), ["Uncover(MirrorId(0))"]);
    assert!(harness.change(Edit::Create, "late").is_empty());
    assert_eq!(harness.sleeps(), None);
    assert_eq!(harness.ended(job, 0), ["Forget(MirrorId(0))", "action 1"]);
    let queue = harness.scripted(1).queue();
    let events: Vec<_> = queue.iter().map(|it| format!("{}", it.path())).collect();
    assert_eq!(events, ["/a", "/b", "/d", "/c", "/"]);
}

#[test]
fn a_predecessor_is_watched_until_the_last_successor_is() {
    let settings = || ScriptSettings {
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    };
    let mut harness = ScriptFleet::live(settings());
    // One directory has a pending listing.
    harness.fs_event(FsEventKind::Lost(at("d")));
    let replace = |harness: &mut ScriptFleet, successors: &[u32]| {
        let joins = |&old: &u32| Replacement::Add {
            spec: settings().into(),
            after: Vec::new(),
            predecessor: Some(MirrorId(old)),
        };
        let mut effects = Vec::new();
        let now = harness.moment();
        harness.fleet.replace(successors.iter().map(joins).collect(), now, &mut effects);
        effects.iter().map(show).collect::<Vec<_>>()
    };
    let cover = |mirror| format!("Cover(MirrorId({mirror}))");
    let forget = |mirror| format!("Forget(MirrorId({mirror}))");
    let uncover = |mirror| format!("Uncover(MirrorId({mirror}))");
    assert_eq!(replace(&mut harness, &[0]), [forget(0), cover(1), "list /d".into()]);
    let shown = replace(&mut harness, &[1, 1]);
    let lists = ["list /d", "list /d"].map(String::from);
    assert_eq!(shown, [&[uncover(1), forget(1), cover(2), cover(3)][..], &lists].concat());
    harness.change(Edit::Create, "a");
    assert!(harness.handle(Input::Covered(MirrorId(2))).is_empty());
    harness.change(Edit::Create, "b");
    let queue = |harness: &mut ScriptFleet, mirror| {
        let queue = harness.scripted(mirror).queue();
        queue.iter().map(|it| format!("{}", it.path())).collect::<Vec<_>>()
    };
    assert_eq!(queue(&mut harness, 2), ["/a", "/"]);
    assert_eq!(queue(&mut harness, 3), ["/a", "/b"]);
    assert_eq!(
        replace(&mut harness, &[]),
        [uncover(2), forget(2), uncover(3), forget(3), uncover(0)]
    );
}

#[test]
fn a_move_with_one_excluded_end_is_a_create_or_a_delete() {
    let mut rules = Filter::builder();
    rules.exclude(b"*.tmp").unwrap();
    let filter = Arc::new(rules.build());
    let mut harness = ScriptFleet::live(ScriptSettings { filter, ..script_settings() });
    for (from, to) in [("a.tmp", "a"), ("b", "b.tmp"), ("c.tmp", "d.tmp"), ("e", "f")] {
        harness.fs_event(FsEventKind::Renamed {
            from: at(from),
            to: at(to),
            kind: EntryKind::Other,
        });
    }
    assert_eq!(harness.events(), ["Create /a wait", "Delete /b wait", "Move /e /f wait"]);
}

#[test]
fn a_move_beside_a_full_event_is_a_delete_and_a_create() {
    let mut harness = ScriptFleet::live(script_settings());
    harness.handle(Input::FullDue(MirrorId(0)));
    let job = harness.spawn(0);
    harness.called(0);
    harness.fs_event(FsEventKind::Renamed { from: at("a"), to: at("b"), kind: EntryKind::Other });
    assert_eq!(harness.events(), ["Full / active", "Delete /a wait", "Create /b wait"]);
    harness.ended(job, 0);
    harness.collected(job, CollectAnswer::Done);
    harness.fs_event(FsEventKind::Renamed { from: at("c"), to: at("d"), kind: EntryKind::Other });
    assert_eq!(harness.events()[2], "Move /c /d wait");
}

#[test]
fn without_a_move_function_a_rename_is_a_delete_and_a_create() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { wants_renames: false, ..script_settings() });
    let shown = harness.fs_event(FsEventKind::Renamed {
        from: at("d"),
        to: at("e"),
        kind: EntryKind::Directory,
    });
    assert_eq!(shown, ["list /e"]);
    assert_eq!(harness.events(), ["Delete /d wait", "Create /e wait"]);
}

#[test]
fn entries_of_a_new_directory_are_queued_as_created() {
    let mut harness = ScriptFleet::live(script_settings());
    assert_eq!(harness.change(Edit::Create, "d/"), ["list /d"]);
    let entries = vec![(b"f".to_vec(), EntryKind::Other), (b"e".to_vec(), EntryKind::Directory)];
    let listed = ScriptInput::DirectoryListed {
        mirror: MirrorId(0),
        path: at("d"),
        listing: DirectoryListing { entries, is_complete: true },
    };
    assert_eq!(harness.handle_script(listed), ["list /d/e"]);
    assert_eq!(harness.events(), ["Create /d wait", "Create /d/f block", "Create /d/e block"]);
}

#[test]
fn events_during_a_listing_override_it() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "d/");
    let id = harness.first(0);
    assert_eq!(harness.scripted(0).discard(id), Ok(()));
    harness.change(Edit::Delete, "d/gone");
    // The script does not know the old name.
    harness.fs_event(FsEventKind::Renamed {
        from: at("d/a"),
        to: at("d/b"),
        kind: EntryKind::Other,
    });
    let entries =
        ["gone", "a", "f"].map(|name| (name.as_bytes().to_vec(), EntryKind::Other)).into();
    harness.handle_script(ScriptInput::DirectoryListed {
        mirror: MirrorId(0),
        path: at("d"),
        listing: DirectoryListing { entries, is_complete: true },
    });
    assert_eq!(
        harness.events(),
        ["Delete /d/gone wait", "Delete /d/a wait", "Create /d/b wait", "Create /d/f wait"]
    );
}

#[test]
fn directories_above_an_event_are_created_before_their_listing_arrives() {
    let mut harness = ScriptFleet::live(script_settings());
    // It was renamed with its content, which is watched already.
    harness.change(Edit::Delete, "old/");
    assert_eq!(harness.change(Edit::Create, "d/"), ["list /d"]);
    assert_eq!(harness.change(Edit::Create, "d/e/f/file"), ["list /d/e", "list /d/e/f"]);
    assert_eq!(harness.change(Edit::Create, "d/e/f/other"), [""; 0]);
    let entries = vec![(b"e".to_vec(), EntryKind::Directory)];
    let listed = ScriptInput::DirectoryListed {
        mirror: MirrorId(0),
        path: at("d"),
        listing: DirectoryListing { entries, is_complete: true },
    };
    assert_eq!(harness.handle_script(listed), [""; 0]);
    let queued = ["Delete /old wait", "Create /d wait", "Create /d/e block", "Create /d/e/f block"];
    assert_eq!(harness.events()[..4], queued);
    assert_eq!(harness.events()[4..], ["Create /d/e/f/file block", "Create /d/e/f/other block"]);
}

#[test]
fn lost_events_cause_a_full_event_or_a_listing() {
    let mut harness = ScriptFleet::live(script_settings());
    let shown = harness.fs_event(FsEventKind::Lost(at("d")));
    assert_eq!(shown[0], "lost /d");
    assert!(shown[1].starts_with("full 0"), "{shown:?}");
    let mut harness =
        ScriptFleet::live(ScriptSettings { full: FullHandling::Action, ..script_settings() });
    assert_eq!(harness.fs_event(FsEventKind::Lost(at("d"))), ["list /d", "lost /d"]);
}

#[test]
fn a_full_event_for_lost_events_replaces_older_events_below_it() {
    let settings = || ScriptSettings { delay: Duration::ZERO, ..script_settings() };
    let lost_d = || FsEventKind::Lost(at("d"));
    let moved =
        |from, to| FsEventKind::Renamed { from: at(from), to: at(to), kind: EntryKind::Directory };
    // Otherwise the full event would bring an entry that the older event then deletes.
    let mut harness = ScriptFleet::live(settings());
    harness.change(Edit::Delete, "d/a");
    harness.failed();
    harness.change(Edit::Delete, "e");
    harness.fs_event(lost_d());
    assert_eq!(harness.events(), ["Delete /e wait", "Full /d wait"]);
    // The same if it is being processed, and fails.
    let mut harness = ScriptFleet::live(settings());
    harness.change(Edit::Delete, "d/a");
    let job = harness.spawn(0);
    harness.called(0);
    harness.fs_event(lost_d());
    assert_eq!(harness.events(), ["Delete /d/a active", "Full /d wait"]);
    harness.ended(job, 1);
    harness.collected(job, CollectAnswer::Again);
    assert_eq!(harness.events(), ["Full /d wait"]);
    // Another entry may have the old name of a move.
    for (from, to, left) in [
        ("d/a", "e", vec!["Full /d wait", "Create /e wait"]),
        ("e", "d/a", vec!["Delete /e wait", "Full /d wait"]),
        ("d/a", "d/e", vec!["Full /d wait"]),
    ] {
        let mut harness = ScriptFleet::live(settings());
        harness.fs_event(moved(from, to));
        harness.failed();
        let shown = harness.fs_event(lost_d());
        assert_eq!(harness.events(), left, "{from} {to}");
        let is_listed = shown.contains(&String::from("list /e"));
        assert_eq!(is_listed, to == "e", "{from} {to}: {shown:?}");
    }
}

#[test]
fn a_move_that_fails_beside_a_full_event_becomes_a_delete_and_a_create() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.fs_event(FsEventKind::Renamed { from: at("a"), to: at("b"), kind: EntryKind::Other });
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "a");
    harness.handle(Input::FullDue(MirrorId(0)));
    harness.ended(job, 1);
    harness.collected(job, CollectAnswer::Again);
    // The full event brings another file of the old name, which must not be moved.
    let left = ["Delete /a wait", "Create /a block", "Full / wait", "Create /b wait"];
    assert_eq!(harness.events(), left);
}

#[test]
fn events_lost_in_the_root_cause_an_init_once_nothing_runs() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "a");
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "b");
    assert_eq!(harness.fs_event(FsEventKind::Lost(at(""))), ["lost /"]);
    harness.change(Edit::Create, "c");
    harness.ended(job, 0);
    let shown = harness.collected(job, CollectAnswer::Done);
    assert!(shown[0].starts_with("init 0"), "{shown:?}");
    assert_eq!(harness.events(), ["Init / wait"]);
}

#[test]
fn an_operators_resync_transfers_all_in_the_way_of_the_script() {
    let resync = |settings: ScriptSettings| {
        let mut harness = ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..settings });
        let shown = harness.handle(Input::Resync(MirrorId(0), at("")));
        (shown, harness.events())
    };
    let (shown, events) = resync(script_settings());
    assert!(shown[0].starts_with("full 0"), "{shown:?}");
    assert_eq!(events, ["Full / wait"]);
    // `onFull` is called by the default action.
    let (shown, events) =
        resync(ScriptSettings { full: FullHandling::Action, ..script_settings() });
    assert_eq!((shown, events), (vec!["action 0".to_owned()], vec!["Full / wait".to_owned()]));
    let without = || ScriptSettings { full: FullHandling::Ignored, ..script_settings() };
    let (shown, events) = resync(without());
    assert!(shown[0].starts_with("init 0"), "{shown:?}");
    assert_eq!(events, ["Init / wait"]);
    let (shown, _) = resync(ScriptSettings { restart_mode: RestartMode::Keep, ..without() });
    assert_eq!(shown, ["list /"]);
}

#[test]
fn without_an_init_function_a_restart_keeps_events() {
    let mut harness = ScriptFleet::live(ScriptSettings {
        delay: Duration::ZERO,
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    });
    harness.change(Edit::Create, "a");
    let job = harness.spawn(0);
    harness.called(0);
    harness.change(Edit::Create, "b");
    assert_eq!(harness.fs_event(FsEventKind::Lost(at(""))), ["list /", "lost /"]);
    harness.change(Edit::Create, "c");
    harness.ended(job, 0);
    assert_eq!(harness.collected(job, CollectAnswer::Done), ["action 0"]);
    assert_eq!(harness.events(), ["Create /b wait", "Create /c wait"]);
    harness.fs_event(FsEventKind::RootGone(RootGone::Removed));
    harness.wait(1_000);
    harness.called(0);
    // Changes in the meantime are unknown.
    let shown = harness.handle(Input::Covered(MirrorId(0)));
    assert_eq!(shown[..2], ["SourceBack", "list /"]);
    assert_eq!(harness.events(), ["Create /b wait", "Create /c wait", "Init / wait"]);
}

#[test]
fn events_lost_during_a_listing_cause_another_one() {
    let settings = ScriptSettings {
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    };
    let mut harness = ScriptFleet::live(settings);
    let listed = |harness: &mut ScriptFleet, path, entries: &[(&[u8], EntryKind)]| {
        let entries = entries.iter().map(|(name, kind)| (name.to_vec(), *kind)).collect();
        harness.handle_script(ScriptInput::DirectoryListed {
            mirror: MirrorId(0),
            path: at(path),
            listing: DirectoryListing { entries, is_complete: true },
        })
    };
    let root: [(&[u8], EntryKind); 1] = [(b"d", EntryKind::Directory)];
    harness.fs_event(FsEventKind::Lost(at("")));
    assert_eq!(harness.change(Edit::Create, "d/"), ["list /d"]);
    listed(&mut harness, "d", &[]);
    // A file in it that nobody has reported.
    assert_eq!(harness.fs_event(FsEventKind::Lost(at(""))), ["list /", "lost /"]);
    assert!(listed(&mut harness, "", &root).is_empty());
    assert_eq!(listed(&mut harness, "", &root), ["list /"]);
    assert_eq!(listed(&mut harness, "", &root), ["list /d"]);
    listed(&mut harness, "d", &[(b"f", EntryKind::Other)]);
    assert!(
        harness.events().iter().any(|it| it.starts_with("Create /d/f")),
        "{:?}",
        harness.events()
    );
}

#[test]
fn lost_events_are_listed_without_subdirectories_too() {
    let mut harness = ScriptFleet::live(ScriptSettings {
        subdirectories: false,
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    });
    assert_eq!(harness.fs_event(FsEventKind::Lost(at(""))), ["list /", "lost /"]);
}

#[test]
fn a_queue_overflow_restarts_with_init() {
    let mut harness = ScriptFleet::live(script_settings());
    harness.handle(Input::TargetLink(MirrorId(0), TargetLink::Down));
    for _ in 0..MAX_EVENTS {
        harness.scripted(0).push_full(at("d"));
    }
    assert_eq!(harness.scripted(0).queue().len(), MAX_EVENTS);
    assert_eq!(harness.change(Edit::Create, "one"), ["lost /"]);
    assert_eq!(harness.events(), ["Init / wait"]);
}

#[test]
fn without_init_a_queue_overflow_is_drained_and_then_listed() {
    let mut harness = ScriptFleet::live(ScriptSettings {
        delay: Duration::ZERO,
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    });
    harness.handle(Input::TargetLink(MirrorId(0), TargetLink::Down));
    for _ in 0..MAX_EVENTS {
        harness.scripted(0).push_full(at("d"));
    }
    assert_eq!(harness.change(Edit::Create, "one"), ["lost /"]);
    assert!(harness.change(Edit::Create, "two").is_empty());
    assert_eq!(harness.scripted(0).queue().len(), MAX_EVENTS + 1);
    harness.handle(Input::TargetLink(MirrorId(0), TargetLink::Up));
    let ids: Vec<_> = harness.scripted(0).queue().iter().map(QueuedEvent::id).collect();
    for id in ids {
        harness.scripted(0).discard(id).unwrap();
    }
    assert_eq!(harness.called(0), ["list /"]);
    harness.change(Edit::Create, "three");
    assert_eq!(harness.events(), ["Create /three wait"]);
}

#[test]
fn a_source_that_is_back_restarts_the_script() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    harness.change(Edit::Create, "a");
    let job = harness.spawn(0);
    harness.called(0);
    let shown = harness.fs_event(FsEventKind::RootGone(RootGone::Removed));
    assert!(shown.contains(&format!("stop {}", job.0)), "{shown:?}");
    harness.handle_script(ScriptInput::ChildExited { job, exit: ChildExit::Signal(15) });
    assert!(harness.fs_event(FsEventKind::Lost(at(""))).is_empty());
    assert_eq!(harness.sleeps(), Some(1_000));
    harness.wait(1_000);
    let shown = harness.handle(Input::Covered(MirrorId(0)));
    assert_eq!(shown[0], "SourceBack");
    assert!(shown[1].starts_with("init 0"), "{shown:?}");
    assert_eq!(harness.events(), ["Init / wait"]);
}

#[test]
fn without_init_a_source_that_is_back_is_listed() {
    let listing = || ScriptSettings {
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    };
    let comes_back = |settings, means: &str| {
        let mut harness = ScriptFleet::live(settings);
        harness.fs_event(FsEventKind::RootGone(RootGone::Unmounted));
        harness.wait(1_000);
        let shown = harness.handle(Input::Covered(MirrorId(0)));
        assert_eq!(&*shown[0], "SourceBack");
        assert!(shown.iter().any(|it| it.starts_with(means)), "{shown:?}");
    };
    comes_back(listing(), "list /");
    comes_back(ScriptSettings { full: FullHandling::Function, ..listing() }, "full 0");
    // A source that was never watched has missed nothing.
    let mut harness = ScriptFleet::new(vec![listing().into()], FleetLimits::default());
    let why = String::from("it is not mounted");
    harness.handle(Input::CannotCover { mirror: MirrorId(0), reason: why });
    let shown = harness.handle(Input::Covered(MirrorId(0)));
    assert!(!shown.contains(&String::from("list /")), "{shown:?}");
}

#[test]
fn events_lost_before_a_handover_are_listed_for_the_successor() {
    type Happens<'a> = &'a dyn Fn(&mut ScriptFleet);
    let settings = || ScriptSettings {
        restart_mode: RestartMode::Keep,
        full: FullHandling::Action,
        ..script_settings()
    };
    let tell_gone = |harness: &mut ScriptFleet| {
        _ = harness.fs_event(FsEventKind::RootGone(RootGone::Unmounted));
    };
    let no_source = |harness: &mut ScriptFleet| {
        let why = String::from("it is not mounted");
        harness.handle(Input::CannotCover { mirror: MirrorId(1), reason: why });
    };
    let nothing = |_: &mut ScriptFleet| {};
    let cases: [(Happens, Happens, bool); 4] = [
        (&tell_gone, &nothing, true),
        (&nothing, &tell_gone, true),
        (&nothing, &no_source, true),
        (&nothing, &nothing, false),
    ];
    for (at, (before, after, is_listed)) in cases.into_iter().enumerate() {
        let mut harness = ScriptFleet::live(settings());
        before(&mut harness);
        let predecessor = Some(MirrorId(0));
        let settings = settings().into();
        let joins = Replacement::Add { spec: settings, after: Vec::new(), predecessor };
        harness.fleet.replace(vec![joins], harness.moment(), &mut Vec::new());
        after(&mut harness);
        let shown = harness.handle(Input::Covered(MirrorId(1)));
        assert_eq!(shown.contains(&String::from("list /")), is_listed, "case {at}: {shown:?}");
    }
}

#[test]
fn a_scheduled_full_event_calls_its_function() {
    let mut harness = ScriptFleet::live(script_settings());
    let shown = harness.handle(Input::FullDue(MirrorId(0)));
    assert!(shown[0].starts_with("full 0"), "{shown:?}");
    let mut harness =
        ScriptFleet::live(ScriptSettings { full: FullHandling::Action, ..script_settings() });
    assert_eq!(harness.handle(Input::FullDue(MirrorId(0))), ["action 0"]);
}

#[test]
fn without_subdirectories_deeper_events_are_ignored() {
    let mut harness =
        ScriptFleet::live(ScriptSettings { subdirectories: false, ..script_settings() });
    // The directory is not listed, either.
    assert!(harness.change(Edit::Create, "d/").is_empty());
    harness.change(Edit::Create, "d/f");
    harness.fs_event(FsEventKind::Renamed { from: at("d/g"), to: at("g"), kind: EntryKind::Other });
    assert_eq!(harness.events(), ["Create /d wait", "Create /g wait"]);
}
