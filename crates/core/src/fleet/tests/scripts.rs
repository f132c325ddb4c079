//! Mirrors with scripts in a fleet: when a script is called, and what comes of what it does.

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use super::{super::*, at, settings};
use crate::{
    effect::Call,
    event::MirrorEvent,
    filter::Filter,
    input::{Answer, ChildExit, Gate, Listed},
    job::{Failure, Place, Scope},
    mirror::{
        Insist, Settings, State,
        scripted::{MOST_EVENTS, PATIENCE, Reset, ScriptSettings, Scripted, Spawned},
    },
    notice::{Change, Edit, Gone, Kind, News, Notice},
    queue::ordered::{Entry, EventId, Pick, Refused, Status},
};

/// A fleet, the time in milliseconds, and what the last step made it say.
struct Played {
    fleet: Fleet,
    now: u64,
}

fn script_settings() -> ScriptSettings {
    let (filter, gate) = (Arc::default(), Gate::Open);
    let delay = Duration::from_secs(5);
    ScriptSettings {
        delay,
        max_delays: 1_000,
        max_jobs: 1,
        moves: true,
        full: true,
        anew: Reset::Clear,
        filter,
        subdirectories: true,
        gate,
        connection: None,
    }
}

impl Played {
    fn new(settings: Vec<Charter>, limits: Limits) -> Self {
        let mut played = Self { fleet: Fleet::new(settings, limits), now: 0 };
        let mut effects = Vec::new();
        played.fleet.begin(&mut effects);
        played
    }

    /// One mirror, whose beginning is done.
    fn live(settings: ScriptSettings) -> Self {
        let mut played = Self::new(vec![settings.into()], Limits::default());
        played.begin(0);
        played
    }

    fn begin(&mut self, mirror: u32) {
        let said = self.handle(Input::Covered(MirrorId(mirror)));
        let init = self.first(mirror);
        assert_eq!(said, [format!("init {mirror} {}", init.0)]);
        assert_eq!(self.scripted(mirror).discard(init), Ok(()));
        assert!(self.called(mirror).is_empty());
    }

    fn scripted(&mut self, mirror: u32) -> &mut Scripted {
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

    fn wait(&mut self, milliseconds: u64) -> Vec<String> {
        self.now += milliseconds;
        let mut effects = Vec::new();
        self.fleet.advance(self.moment(), &mut effects);
        effects.iter().map(show).collect()
    }

    /// How long it sleeps if nothing happens.
    fn sleeps(&self) -> Option<u64> {
        let until = self.fleet.next_wakeup()?.since_origin().as_millis();
        Some(u64::try_from(until).unwrap().saturating_sub(self.now))
    }

    fn hear(&mut self, edit: Edit, path: &str) -> Vec<String> {
        let kind = if path.ends_with('/') { Kind::Directory } else { Kind::Other };
        self.tell(News::Changed(Change { edit, kind, path: at(path) }))
    }

    fn tell(&mut self, news: News) -> Vec<String> {
        self.handle(Input::Notice(Notice { mirror: MirrorId(0), news }))
    }

    fn first(&mut self, mirror: u32) -> EventId {
        let now = self.moment();
        self.scripted(mirror).queue().first_due(now).map(Entry::id).unwrap()
    }

    /// The script starts a child for what is due first.
    fn spawn(&mut self, mirror: u32) -> JobId {
        let id = self.first(mirror);
        self.fleet.spawn(MirrorId(mirror), &[id]).unwrap()
    }

    fn called(&mut self, mirror: u32) -> Vec<String> {
        self.handle(Input::Called { mirror: MirrorId(mirror), result: Ok(()), has_plans: false })
    }

    fn failed(&mut self) -> Vec<String> {
        let result = Err(Failure::new("no such field"));
        self.handle(Input::Called { mirror: MirrorId(0), result, has_plans: false })
    }

    fn ended(&mut self, job: JobId, code: i32) -> Vec<String> {
        self.handle(Input::ChildEnded { job, exit: ChildExit::Code(code) })
    }

    fn collected(&mut self, job: JobId, answer: Answer) -> Vec<String> {
        self.handle(Input::Collected { job, result: Ok(answer) })
    }

    fn events(&mut self) -> Vec<String> {
        let show = |entry: &Entry| {
            let to = entry.to().map_or(String::new(), |to| format!(" {to}"));
            format!("{} {}{to} {}", entry.etype().name(), entry.path(), entry.status().name())
        };
        self.scripted(0).queue().iter().map(show).collect()
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::Script(mirror, Call::Init(id)) => format!("init {} {}", mirror.0, id.0),
        Effect::Script(mirror, Call::Full(id)) => format!("full {} {}", mirror.0, id.0),
        Effect::Script(mirror, Call::Action) => format!("action {}", mirror.0),
        Effect::Script(_, Call::Collect { job, code, .. }) => format!("collect {} {code}", job.0),
        Effect::List { path, .. } => format!("list {path}"),
        Effect::Report(Event::Mirror(_, event)) => match event {
            MirrorEvent::ScriptFailed { about, wait, .. } => {
                format!("{} failed {wait:?}", about.as_deref().unwrap_or("something"))
            }
            MirrorEvent::ScriptAgain { about, failure, wait } => {
                format!("{}: {}; {wait:?}", about.as_deref().unwrap_or("something"), failure.why)
            }
            MirrorEvent::ChildKilled { about, signal } => {
                format!("{} killed by {signal}", about.as_deref().unwrap_or("something"))
            }
            event => format!("{event:?}"),
        },
        Effect::Stop(job) => format!("stop {}", job.0),
        Effect::Exit(code) => format!("exit {code}"),
        effect => format!("{effect:?}"),
    }
}

#[test]
fn a_script_is_called_when_its_delay_is_over_and_asked_what_its_child_did() {
    let mut played = Played::live(script_settings());
    assert!(played.hear(Edit::Create, "a").is_empty());
    assert_eq!(played.sleeps(), Some(5_000));
    assert_eq!(played.wait(5_000), ["action 0"]);
    let job = played.spawn(0);
    assert!(played.called(0).is_empty());
    assert_eq!(played.sleeps(), None);
    assert_eq!(played.ended(job, 3), [format!("collect {} 3", job.0)]);
    assert_eq!(played.collected(job, Answer::Again), ["Create on /a: exit code 3; Some(5s)"]);
    assert_eq!(played.events(), ["Create /a wait"]);
    assert_eq!(played.sleeps(), Some(5_000));
    assert_eq!(played.wait(5_000), ["action 0"]);
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 0);
    played.collected(job, Answer::Done);
    assert!(played.events().is_empty());
}

#[test]
fn everything_waits_for_the_beginning_which_is_tried_again() {
    let mut played = Played::new(vec![script_settings().into()], Limits::default());
    played.handle(Input::Covered(MirrorId(0)));
    let job = played.spawn(0);
    played.called(0);
    played.hear(Edit::Create, "a");
    // What the beginning brings may have the new name already.
    played.tell(News::Moved { from: at("a"), to: at("b"), kind: Kind::Other });
    let seen = ["Init / active", "Create /a block", "Delete /a block", "Create /b block"];
    assert_eq!(played.events(), seen);
    played.ended(job, 10);
    played.collected(job, Answer::Again);
    assert_eq!(*played.scripted(0).state(), State::Starting);
    assert_eq!(played.sleeps(), Some(5_000));
    assert_eq!(played.wait(5_000).len(), 1);
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 0);
    assert_eq!(played.collected(job, Answer::Done), ["action 0"]);
    assert_eq!(*played.scripted(0).state(), State::Live);
}

#[test]
fn a_script_that_does_nothing_is_not_called_all_the_time() {
    let mut played = Played::live(script_settings());
    played.hear(Edit::Create, "a");
    assert_eq!(played.wait(5_000), ["action 0"]);
    assert_eq!(played.called(0), ["ScriptIdle"]);
    assert_eq!(played.sleeps(), Some(1_000));
    assert_eq!(played.wait(1_000), ["action 0"]);
    assert!(played.called(0).is_empty(), "told once");
    // Something changes.
    assert_eq!(played.hear(Edit::Create, "b"), ["action 0"]);
    assert!(played.called(0).is_empty());
    // It may be meant so, and another function does what is to be done.
    let first = played.first(0);
    assert_eq!(played.scripted(0).discard(first), Ok(()));
    played.wait(5_000);
    assert!(played.called(0).is_empty(), "told once");
}

#[test]
fn a_script_that_does_an_event_and_makes_another_is_not_called_all_the_time() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(played.hear(Edit::Create, "a"), ["action 0"]);
    for _ in 0..3 {
        let first = played.first(0);
        assert_eq!(played.scripted(0).discard(first), Ok(()));
        played.scripted(0).push_blanket();
        assert!(played.called(0).is_empty());
        assert_eq!(played.sleeps(), Some(10));
        assert_eq!(played.wait(10), ["action 0"]);
    }
    // One that gets on is.
    let first = played.first(0);
    assert_eq!(played.scripted(0).discard(first), Ok(()));
    played.hear(Edit::Create, "b");
    let first = played.first(0);
    assert_eq!(played.scripted(0).discard(first), Ok(()));
    played.called(0);
    assert_eq!(played.hear(Edit::Create, "c"), ["action 0"]);
}

#[test]
fn a_script_that_fails_is_called_again_after_growing_pauses() {
    let mut played = Played::live(script_settings());
    played.hear(Edit::Create, "a");
    assert_eq!(played.wait(5_000), ["action 0"]);
    assert_eq!(played.failed(), ["Create on /a failed Some(1s)"]);
    assert_eq!(played.sleeps(), Some(1_000));
    assert_eq!(played.wait(1_000), ["action 0"]);
    played.failed();
    assert!((1_500..=2_000).contains(&played.sleeps().unwrap()));
    played.handle(Input::Signal(Signal::Hangup));
    // What it failed with after it had begun something is told, and that goes on.
    let job = played.spawn(0);
    assert_eq!(played.failed(), ["something failed None"]);
    played.ended(job, 0);
    let result = Err(Failure::new("no"));
    let said = played.handle(Input::Collected { job, result });
    assert_eq!(said, ["Create on /a failed Some(5s)"]);
    assert_eq!(played.events(), ["Create /a wait"]);
}

#[test]
fn a_child_that_is_killed_each_time_is_run_again_after_growing_pauses() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "a");
    for pause in [1_000..=1_000, 1_500..=2_000, 3_000..=4_000] {
        let job = played.spawn(0);
        played.called(0);
        played.handle(Input::ChildEnded { job, exit: ChildExit::Signal(9) });
        let sleeps = played.sleeps().unwrap();
        assert!(pause.contains(&sleeps), "{sleeps} in {pause:?}");
        assert_eq!(played.wait(sleeps), ["action 0"]);
    }
}

#[test]
fn a_child_whose_end_makes_the_script_fail_is_run_again_after_growing_pauses() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    let fail = |played: &mut Played, said: Vec<String>| {
        assert_eq!(said, ["action 0"]);
        let job = played.spawn(0);
        played.called(0);
        played.ended(job, 0);
        let result = Err(Failure::new("no"));
        played.handle(Input::Collected { job, result });
        played.sleeps().unwrap()
    };
    let said = played.hear(Edit::Create, "a");
    assert_eq!(fail(&mut played, said), 1_000);
    let said = played.wait(1_000);
    assert!((1_500..=2_000).contains(&fail(&mut played, said)));
    let said = played.wait(2_000);
    assert!((3_000..=4_000).contains(&fail(&mut played, said)));
    // As soon as it is right once, that is over.
    assert_eq!(played.wait(4_000), ["action 0"]);
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 0);
    played.collected(job, Answer::Done);
    let said = played.hear(Edit::Create, "b");
    assert_eq!(fail(&mut played, said), 1_000);
}

#[test]
fn a_child_that_was_killed_has_not_done_its_work() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(played.hear(Edit::Create, "a"), ["action 0"]);
    let job = played.spawn(0);
    played.called(0);
    let exit = ChildExit::Signal(9);
    assert_eq!(played.handle(Input::ChildEnded { job, exit }), ["Create on /a killed by 9"]);
    assert_eq!(played.events(), ["Create /a wait"]);
    assert_eq!(played.sleeps(), Some(1_000));
}

#[test]
fn a_script_may_start_as_many_children_as_it_is_allowed() {
    let mut played = Played::live(ScriptSettings { max_jobs: 2, ..script_settings() });
    for path in ["a", "b", "c"] {
        played.hear(Edit::Create, path);
    }
    assert_eq!(played.wait(5_000), ["action 0"]);
    let a = played.spawn(0);
    let b = played.spawn(0);
    let c = played.first(0);
    assert_eq!(played.fleet.spawn(MirrorId(0), &[c]), Err(Spawned::TooMany));
    let active = Err(Spawned::Not(Refused::Is(Status::Active)));
    assert_eq!(played.fleet.spawn(MirrorId(0), &[EventId(2)]), active);
    assert!(played.called(0).is_empty());
    played.ended(b, 0);
    assert_eq!(played.collected(b, Answer::Done), ["action 0"]);
    played.spawn(0);
    played.called(0);
    assert_ne!(a, b);
    assert_eq!(played.fleet.busy(), 2);
}

#[test]
fn scripts_and_others_share_the_limit_of_all() {
    let limits = Limits { max_jobs: Some(1), onepass: false };
    let mut played = Played::new(vec![script_settings().into(); 2], limits);
    played.begin(0);
    played.begin(1);
    for mirror in [0, 1] {
        let change = Change { edit: Edit::Create, kind: Kind::Other, path: at("a") };
        let news = News::Changed(change);
        played.handle(Input::Notice(Notice { mirror: MirrorId(mirror), news }));
    }
    assert_eq!(played.wait(5_000), ["action 0"]);
    let job = played.spawn(0);
    assert!(played.called(0).is_empty());
    played.ended(job, 0);
    assert_eq!(played.collected(job, Answer::Done), ["action 1"]);
}

#[test]
fn one_pass_is_over_when_all_beginnings_are_done() {
    let limits = Limits { max_jobs: None, onepass: true };
    let built = Settings { init: false, ..settings(Insist::Yes) };
    let mut played = Played::new(vec![script_settings().into(), built.into()], limits);
    played.handle(Input::Covered(MirrorId(1)));
    played.handle(Input::Covered(MirrorId(0)));
    let job = played.spawn(0);
    assert!(played.called(0).is_empty());
    played.ended(job, 0);
    assert_eq!(played.collected(job, Answer::Done), ["Report(OnepassDone)", "exit 0"]);
}

#[test]
fn one_pass_is_over_when_the_script_of_a_beginning_fails_twice() {
    let limits = Limits { max_jobs: None, onepass: true };
    let names = |said: &[String]| said.join("; ").contains("OnepassFailed(MirrorId(0), [(\"Init\"");
    let mut played = Played::new(vec![script_settings().into()], limits);
    played.handle(Input::Covered(MirrorId(0)));
    assert_eq!(played.failed(), ["Init failed Some(1s)"]);
    assert_eq!(played.wait(1_000).len(), 1);
    let said = played.failed();
    assert!(names(&said) && said.last().unwrap() == "exit 255", "{said:?}");
    let mut played = Played::new(vec![script_settings().into()], limits);
    played.handle(Input::Covered(MirrorId(0)));
    let mut said = Vec::new();
    for _ in 0..2 {
        let job = played.spawn(0);
        played.called(0);
        played.ended(job, 0);
        let result = Err(Failure::new("no"));
        said = played.handle(Input::Collected { job, result });
        assert_eq!(said[0].split(" Some").next(), Some("Init failed"));
        played.wait(5_000);
    }
    assert!(names(&said) && said.last().unwrap() == "exit 255", "{said:?}");
}

#[test]
fn one_pass_does_what_came_until_its_beginning_was_done_and_tries_each_of_it_twice() {
    let limits = Limits { max_jobs: None, onepass: true };
    let mut played = Played::new(vec![script_settings().into()], limits);
    played.handle(Input::Covered(MirrorId(0)));
    let job = played.spawn(0);
    played.called(0);
    played.hear(Edit::Create, "bad");
    played.hear(Edit::Modify, "bad");
    played.hear(Edit::Create, "good");
    played.ended(job, 0);
    assert!(played.collected(job, Answer::Done).is_empty());
    // What comes later is not waited for.
    played.hear(Edit::Create, "later");
    assert_eq!(played.wait(5_000), ["action 0"]);
    assert_eq!(played.failed().len(), 2, "it failed, and the next one is due");
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 0);
    assert_eq!(played.collected(job, Answer::Done), ["action 0"], "what came later is due, too");
    let later = played.first(0);
    assert_eq!(played.scripted(0).discard(later), Ok(()));
    assert!(played.called(0).is_empty());
    assert_eq!(played.wait(1_000), ["action 0"]);
    let said = played.failed();
    assert!(said[2].contains("OnepassFailed(MirrorId(0), [(\"Create on /bad\""), "{said:?}");
    assert_eq!(said.last().unwrap(), "exit 255");
}

#[test]
fn an_event_that_fails_each_time_holds_up_nothing_else() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    assert_eq!(played.hear(Edit::Create, "bad"), ["action 0"]);
    played.failed();
    assert_eq!(played.hear(Edit::Create, "good"), ["action 0"]);
    assert_eq!(played.hear(Edit::Modify, "bad"), [""; 0]);
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 0);
    played.collected(job, Answer::Done);
    assert_eq!(played.events(), ["Create /bad wait", "Modify /bad block"]);
    // Where the script is given a list, the list is what it fails at.
    played.wait(1_000);
    played.hear(Edit::Create, "a");
    let now = played.moment();
    let bad = played.first(0);
    played.scripted(0).asked(&[bad]);
    let said = played.failed();
    assert_eq!(said[0], "list /", "it may be gone");
    assert_eq!(said[1].split(" Some").next(), Some("Create on /bad failed"));
    let list = played.scripted(0).queue().select(now, |_| Pick::Take);
    assert_eq!(list.len(), 1);
    played.scripted(0).discard(list[0]).unwrap();
    played.called(0);
    // When it is gone, it is given up.
    played.hear(Edit::Delete, "bad");
    assert_eq!(played.events(), ["Delete /bad wait"]);
}

#[test]
fn what_fails_and_is_gone_without_a_word_is_given_up() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    for path in ["d/bad", "d/gone"] {
        assert_eq!(played.hear(Edit::Create, path), ["action 0"]);
        played.failed();
    }
    let list = |played: &mut Played, names: &[&str], is_whole| {
        let entries = names.iter().map(|it| (it.as_bytes().to_vec(), Kind::Other)).collect();
        let listed = Listed { entries, is_whole };
        played.handle(Input::Listed { mirror: MirrorId(0), path: at("d"), listed })
    };
    assert_eq!(played.wait(1_000), ["action 0"]);
    assert_eq!(played.failed()[0], "list /d");
    // Where not all could be read, nothing is known.
    list(&mut played, &["bad"], false);
    assert_eq!(played.events().len(), 2);
    assert_eq!(played.failed()[0], "list /d");
    list(&mut played, &["bad", "another"], true);
    assert_eq!(played.events(), ["Create /d/bad wait"]);
}

#[test]
fn so_many_failures_in_a_row_are_followed_by_pauses() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    let mut called = 0;
    for n in 0..200 {
        let mut said = played.hear(Edit::Create, &format!("f{n}"));
        while said.last().is_some_and(|it| it == "action 0") {
            called += 1;
            said = played.failed();
        }
    }
    assert!(called <= 25, "{called} calls for nothing");
    for _ in 0..10 {
        let mut said = played.wait(1_000);
        while said.last().is_some_and(|it| it == "action 0") {
            called += 1;
            said = played.failed();
        }
    }
    assert!(called <= 40, "{called} calls for nothing");
    // As soon as one succeeds, all go.
    let mut said = played.wait(1_000);
    while said.last().is_some_and(|it| it == "action 0") {
        let first = played.first(0);
        assert_eq!(played.scripted(0).discard(first), Ok(()));
        said = played.called(0);
    }
    assert!(played.events().is_empty(), "{:?}", played.events().len());
}

#[test]
fn where_our_own_work_has_failed_is_tried_alone_and_the_rest_at_once() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    for path in ["a", "bad", "c"] {
        played.hear(Edit::Create, path);
    }
    let now = played.moment();
    let list = played.scripted(0).queue().select(now, |_| Pick::Take);
    let job = played.fleet.spawn(MirrorId(0), &list).unwrap();
    played.called(0);
    let place = Place { path: at("bad"), scope: Scope::Entry };
    let exit = ChildExit::Partly(vec![(place, Failure::new("no"))]);
    let said = played.handle(Input::ChildEnded { job, exit });
    assert_eq!(said.last().unwrap(), "action 0");
    let list = played.scripted(0).queue().select(now, |_| Pick::Take);
    assert_eq!(list.len(), 2, "its script has not been told that they are done");
    let job = played.fleet.spawn(MirrorId(0), &list).unwrap();
    played.called(0);
    played.ended(job, 0);
    played.collected(job, Answer::Done);
    assert_eq!(played.events(), ["Create /bad wait"]);
}

#[test]
fn one_pass_is_over_when_a_beginning_is_left_alone_and_nothing_else_is_to_come() {
    let limits = Limits { max_jobs: None, onepass: true };
    let mut played = Played::new(vec![script_settings().into(); 2], limits);
    played.handle(Input::Covered(MirrorId(0)));
    assert_eq!(played.called(0), ["BeginningIdle"]);
    played.handle(Input::Covered(MirrorId(1)));
    let job = played.spawn(1);
    assert!(played.called(1).is_empty());
    for _ in 1..PATIENCE.as_secs() {
        assert_eq!(played.wait(1_000).len(), 1);
        assert!(played.called(0).is_empty());
    }
    // Who is called for its end may do what is to be done.
    played.wait(1_000);
    assert!(played.called(0).is_empty());
    played.ended(job, 0);
    assert!(played.collected(job, Answer::Done).is_empty());
    // So may an alarm.
    played.wait(1_000);
    let called = Input::Called { mirror: MirrorId(0), result: Ok(()), has_plans: true };
    assert!(played.handle(called).is_empty());
    played.wait(1_000);
    assert_eq!(played.called(0), ["Report(OnepassStuck(MirrorId(0)))", "exit 255"]);
}

#[test]
fn who_does_something_after_all_has_one_pass() {
    let limits = Limits { max_jobs: None, onepass: true };
    let mut played = Played::new(vec![script_settings().into()], limits);
    played.handle(Input::Covered(MirrorId(0)));
    played.called(0);
    for _ in 1..PATIENCE.as_secs() {
        played.wait(1_000);
        assert!(played.called(0).is_empty());
    }
    played.wait(1_000);
    let init = played.first(0);
    assert_eq!(played.scripted(0).discard(init), Ok(()));
    assert_eq!(played.called(0), ["Report(OnepassDone)", "exit 0"]);
}

#[test]
fn transfers_of_scripts_count_for_their_connection() {
    let through = || ScriptSettings { connection: Some(b"host"[..].into()), ..script_settings() };
    let most = u32::try_from(MOST_THROUGH_CONNECTION).unwrap();
    let settings = (0..=most).map(|_| through().into()).collect();
    let mut played = Played::new(settings, Limits::default());
    let mut jobs = Vec::new();
    for mirror in 0..most {
        assert_eq!(played.handle(Input::Covered(MirrorId(mirror))).len(), 1);
        jobs.push(played.spawn(mirror));
        played.called(mirror);
    }
    assert!(played.handle(Input::Covered(MirrorId(most))).is_empty());
    assert_eq!(played.ended(jobs[3], 0), [format!("collect {} 0", jobs[3].0)]);
    let init = played.first(most);
    assert_eq!(played.collected(jobs[3], Answer::Done), [format!("init {most} {}", init.0)]);
}

#[test]
fn nothing_is_begun_while_the_daemon_ends_and_the_children_are_collected() {
    let mut played = Played::live(ScriptSettings { max_jobs: 2, ..script_settings() });
    played.hear(Edit::Create, "a");
    played.hear(Edit::Create, "b");
    played.wait(5_000);
    let job = played.spawn(0);
    let b = played.first(0);
    played.called(0);
    played.handle(Input::Signal(Signal::Terminate));
    assert_eq!(played.fleet.spawn(MirrorId(0), &[b]), Err(Spawned::NotNow));
    assert_eq!(played.ended(job, 0), [format!("collect {} 0", job.0)]);
    assert_eq!(played.collected(job, Answer::Done), ["exit 143"]);
}

#[test]
fn the_daemon_ends_when_a_script_says_die() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "a");
    let job = played.spawn(0);
    played.called(0);
    played.ended(job, 1);
    assert_eq!(played.collected(job, Answer::Die), ["exit 255"]);
}

#[test]
fn who_is_replaced_is_dismissed_when_its_children_have_ended() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "a");
    let job = played.spawn(0);
    played.called(0);
    let after = vec![MirrorId(0)];
    let heir_of = Some(MirrorId(0));
    played.hear(Edit::Create, "b");
    played.hear(Edit::Create, "d/");
    let settings = ScriptSettings { delay: Duration::ZERO, anew: Reset::Keep, ..script_settings() };
    let joins = Entrant::Joins { settings: settings.into(), after, heir_of };
    let mut effects = Vec::new();
    let now = played.moment();
    played.fleet.replace(vec![joins], now, &mut effects);
    let said: Vec<_> = effects.iter().map(show).collect();
    let cover = "Cover(MirrorId(1))";
    let stop = format!("stop {}", job.0);
    assert_eq!(said, [&*stop, cover, "list /d"]);
    // What happens until it is watched is told by the watching of the one before.
    assert!(played.hear(Edit::Create, "c").is_empty());
    // It is watched, but the script is not called before the children of the one before have ended.
    assert_eq!(played.handle(Input::Covered(MirrorId(1))), ["Uncover(MirrorId(0))"]);
    assert!(played.hear(Edit::Create, "late").is_empty());
    assert_eq!(played.sleeps(), None);
    assert_eq!(played.ended(job, 0), ["Dismiss(MirrorId(0))", "action 1"]);
    let queue = played.scripted(1).queue();
    let events: Vec<_> = queue.iter().map(|it| format!("{}", it.path())).collect();
    assert_eq!(events, ["/a", "/b", "/d", "/c", "/"]);
}

#[test]
fn who_is_replaced_again_before_his_heir_is_watched_is_watched_until_the_last_one_is() {
    let settings = || ScriptSettings { anew: Reset::Keep, full: false, ..script_settings() };
    let mut played = Played::live(settings());
    // One of which is being asked what is there.
    played.tell(News::Lost(at("d")));
    let replace = |played: &mut Played, heirs: &[u32]| {
        let joins = |&old: &u32| Entrant::Joins {
            settings: settings().into(),
            after: Vec::new(),
            heir_of: Some(MirrorId(old)),
        };
        let mut effects = Vec::new();
        let now = played.moment();
        played.fleet.replace(heirs.iter().map(joins).collect(), now, &mut effects);
        effects.iter().map(show).collect::<Vec<_>>()
    };
    let cover = |mirror| format!("Cover(MirrorId({mirror}))");
    let dismiss = |mirror| format!("Dismiss(MirrorId({mirror}))");
    let uncover = |mirror| format!("Uncover(MirrorId({mirror}))");
    assert_eq!(replace(&mut played, &[0]), [dismiss(0), cover(1), "list /d".into()]);
    let said = replace(&mut played, &[1, 1]);
    let lists = ["list /d", "list /d"].map(String::from);
    assert_eq!(said, [&[uncover(1), dismiss(1), cover(2), cover(3)][..], &lists].concat());
    played.hear(Edit::Create, "a");
    assert!(played.handle(Input::Covered(MirrorId(2))).is_empty());
    played.hear(Edit::Create, "b");
    let queue = |played: &mut Played, mirror| {
        let queue = played.scripted(mirror).queue();
        queue.iter().map(|it| format!("{}", it.path())).collect::<Vec<_>>()
    };
    assert_eq!(queue(&mut played, 2), ["/a", "/"]);
    assert_eq!(queue(&mut played, 3), ["/a", "/b"]);
    assert_eq!(
        replace(&mut played, &[]),
        [uncover(2), dismiss(2), uncover(3), dismiss(3), uncover(0)]
    );
}

#[test]
fn a_move_of_which_one_end_does_not_concern_the_mirror_is_a_create_or_a_delete() {
    let mut rules = Filter::builder();
    rules.exclude(b"*.tmp").unwrap();
    let filter = Arc::new(rules.build());
    let mut played = Played::live(ScriptSettings { filter, ..script_settings() });
    for (from, to) in [("a.tmp", "a"), ("b", "b.tmp"), ("c.tmp", "d.tmp"), ("e", "f")] {
        played.tell(News::Moved { from: at(from), to: at(to), kind: Kind::Other });
    }
    assert_eq!(played.events(), ["Create /a wait", "Delete /b wait", "Move /e /f wait"]);
}

#[test]
fn a_move_beside_a_full_event_is_a_delete_and_a_create() {
    let mut played = Played::live(script_settings());
    played.handle(Input::FullDue(MirrorId(0)));
    let job = played.spawn(0);
    played.called(0);
    played.tell(News::Moved { from: at("a"), to: at("b"), kind: Kind::Other });
    assert_eq!(played.events(), ["Full / active", "Delete /a wait", "Create /b wait"]);
    played.ended(job, 0);
    played.collected(job, Answer::Done);
    played.tell(News::Moved { from: at("c"), to: at("d"), kind: Kind::Other });
    assert_eq!(played.events()[2], "Move /c /d wait");
}

#[test]
fn who_wants_no_moves_is_told_of_a_delete_and_a_create() {
    let mut played = Played::live(ScriptSettings { moves: false, ..script_settings() });
    let said = played.tell(News::Moved { from: at("d"), to: at("e"), kind: Kind::Directory });
    assert_eq!(said, ["list /e"]);
    assert_eq!(played.events(), ["Delete /d wait", "Create /e wait"]);
}

#[test]
fn what_a_new_directory_holds_is_told_as_made() {
    let mut played = Played::live(script_settings());
    assert_eq!(played.hear(Edit::Create, "d/"), ["list /d"]);
    let entries = vec![(b"f".to_vec(), Kind::Other), (b"e".to_vec(), Kind::Directory)];
    let listed = Input::Listed {
        mirror: MirrorId(0),
        path: at("d"),
        listed: Listed { entries, is_whole: true },
    };
    assert_eq!(played.handle(listed), ["list /d/e"]);
    assert_eq!(played.events(), ["Create /d wait", "Create /d/f block", "Create /d/e block"]);
}

#[test]
fn what_is_heard_of_a_directory_that_is_being_listed_is_newer() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "d/");
    let id = played.first(0);
    assert_eq!(played.scripted(0).discard(id), Ok(()));
    played.hear(Edit::Delete, "d/gone");
    // Nobody has told the script of the old name.
    played.tell(News::Moved { from: at("d/a"), to: at("d/b"), kind: Kind::Other });
    let entries = ["gone", "a", "f"].map(|name| (name.as_bytes().to_vec(), Kind::Other)).into();
    played.handle(Input::Listed {
        mirror: MirrorId(0),
        path: at("d"),
        listed: Listed { entries, is_whole: true },
    });
    assert_eq!(
        played.events(),
        ["Delete /d/gone wait", "Delete /d/a wait", "Create /d/b wait", "Create /d/f wait"]
    );
}

#[test]
fn what_was_missed_is_told_as_a_whole_or_listed() {
    let mut played = Played::live(script_settings());
    let said = played.tell(News::Lost(at("d")));
    assert_eq!(said[0], "Lost(/d)");
    assert!(said[1].starts_with("full 0"), "{said:?}");
    let mut played = Played::live(ScriptSettings { full: false, ..script_settings() });
    assert_eq!(played.tell(News::Lost(at("d"))), ["list /d", "Lost(/d)"]);
}

#[test]
fn what_was_missed_everywhere_is_a_beginning_once_nothing_runs() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "a");
    let job = played.spawn(0);
    played.called(0);
    played.hear(Edit::Create, "b");
    assert_eq!(played.tell(News::Lost(at(""))), ["Lost(/)"]);
    played.hear(Edit::Create, "c");
    played.ended(job, 0);
    let said = played.collected(job, Answer::Done);
    assert!(said[0].starts_with("init 0"), "{said:?}");
    assert_eq!(played.events(), ["Init / wait"]);
}

#[test]
fn who_has_no_function_for_the_beginning_loses_nothing_by_one() {
    let mut played = Played::live(ScriptSettings {
        delay: Duration::ZERO,
        anew: Reset::Keep,
        full: false,
        ..script_settings()
    });
    played.hear(Edit::Create, "a");
    let job = played.spawn(0);
    played.called(0);
    played.hear(Edit::Create, "b");
    assert_eq!(played.tell(News::Lost(at(""))), ["list /", "Lost(/)"]);
    played.hear(Edit::Create, "c");
    played.ended(job, 0);
    assert_eq!(played.collected(job, Answer::Done), ["action 0"]);
    assert_eq!(played.events(), ["Create /b wait", "Create /c wait"]);
    played.tell(News::Gone(Gone::Removed));
    played.wait(1_000);
    played.called(0);
    // What happened there meanwhile nobody has told.
    let said = played.handle(Input::Covered(MirrorId(0)));
    assert_eq!(said[..2], ["SourceBack", "list /"]);
    assert_eq!(played.events(), ["Create /b wait", "Create /c wait", "Init / wait"]);
}

#[test]
fn what_is_missed_while_a_directory_is_listed_that_just_came_is_told() {
    let settings = ScriptSettings { anew: Reset::Keep, full: false, ..script_settings() };
    let mut played = Played::live(settings);
    let listed = |played: &mut Played, path, entries: &[(&[u8], Kind)]| {
        let entries = entries.iter().map(|(name, kind)| (name.to_vec(), *kind)).collect();
        played.handle(Input::Listed {
            mirror: MirrorId(0),
            path: at(path),
            listed: Listed { entries, is_whole: true },
        })
    };
    let root: [(&[u8], Kind); 1] = [(b"d", Kind::Directory)];
    played.tell(News::Lost(at("")));
    assert_eq!(played.hear(Edit::Create, "d/"), ["list /d"]);
    listed(&mut played, "d", &[]);
    // A file in it, as nobody can know.
    assert_eq!(played.tell(News::Lost(at(""))), ["list /", "Lost(/)"]);
    assert!(listed(&mut played, "", &root).is_empty());
    assert_eq!(listed(&mut played, "", &root), ["list /"]);
    assert_eq!(listed(&mut played, "", &root), ["list /d"]);
    listed(&mut played, "d", &[(b"f", Kind::Other)]);
    assert!(
        played.events().iter().any(|it| it.starts_with("Create /d/f")),
        "{:?}",
        played.events()
    );
}

#[test]
fn what_was_missed_is_listed_also_for_who_wants_the_root_only() {
    let mut played = Played::live(ScriptSettings {
        subdirectories: false,
        anew: Reset::Keep,
        full: false,
        ..script_settings()
    });
    assert_eq!(played.tell(News::Lost(at(""))), ["list /", "Lost(/)"]);
}

#[test]
fn too_much_becomes_a_beginning() {
    let mut played = Played::live(script_settings());
    played.handle(Input::Gate(MirrorId(0), Gate::Closed));
    for _ in 0..MOST_EVENTS {
        played.scripted(0).push_full(at("d"));
    }
    assert_eq!(played.scripted(0).queue().len(), MOST_EVENTS);
    assert_eq!(played.hear(Edit::Create, "one"), ["Lost(/)"]);
    assert_eq!(played.events(), ["Init / wait"]);
}

#[test]
fn where_nothing_makes_up_for_too_much_it_is_done_and_then_told_what_is_there() {
    let mut played = Played::live(ScriptSettings {
        delay: Duration::ZERO,
        anew: Reset::Keep,
        full: false,
        ..script_settings()
    });
    played.handle(Input::Gate(MirrorId(0), Gate::Closed));
    for _ in 0..MOST_EVENTS {
        played.scripted(0).push_full(at("d"));
    }
    assert_eq!(played.hear(Edit::Create, "one"), ["Lost(/)"]);
    assert!(played.hear(Edit::Create, "two").is_empty());
    assert_eq!(played.scripted(0).queue().len(), MOST_EVENTS + 1);
    played.handle(Input::Gate(MirrorId(0), Gate::Open));
    let ids: Vec<_> = played.scripted(0).queue().iter().map(Entry::id).collect();
    for id in ids {
        played.scripted(0).discard(id).unwrap();
    }
    assert_eq!(played.called(0), ["list /"]);
    played.hear(Edit::Create, "three");
    assert_eq!(played.events(), ["Create /three wait"]);
}

#[test]
fn a_source_that_is_gone_begins_anew_when_it_is_back() {
    let mut played = Played::live(ScriptSettings { delay: Duration::ZERO, ..script_settings() });
    played.hear(Edit::Create, "a");
    let job = played.spawn(0);
    played.called(0);
    let said = played.tell(News::Gone(Gone::Removed));
    assert!(said.contains(&format!("stop {}", job.0)), "{said:?}");
    played.handle(Input::ChildEnded { job, exit: ChildExit::Signal(15) });
    assert!(played.tell(News::Lost(at(""))).is_empty());
    assert_eq!(played.sleeps(), Some(1_000));
    played.wait(1_000);
    let said = played.handle(Input::Covered(MirrorId(0)));
    assert_eq!(said[0], "SourceBack");
    assert!(said[1].starts_with("init 0"), "{said:?}");
    assert_eq!(played.events(), ["Init / wait"]);
}

#[test]
fn what_was_missed_while_a_source_was_gone_is_told_to_who_has_no_function_for_the_beginning() {
    let listing = || ScriptSettings { anew: Reset::Keep, full: false, ..script_settings() };
    let comes_back = |settings, means: &str| {
        let mut played = Played::live(settings);
        played.tell(News::Gone(Gone::Unmounted));
        played.wait(1_000);
        let said = played.handle(Input::Covered(MirrorId(0)));
        assert_eq!(&*said[0], "SourceBack");
        assert!(said.iter().any(|it| it.starts_with(means)), "{said:?}");
    };
    comes_back(listing(), "list /");
    comes_back(ScriptSettings { full: true, ..listing() }, "full 0");
    // Of a source that was never there nothing was missed.
    let mut played = Played::new(vec![listing().into()], Limits::default());
    let why = String::from("it is not mounted");
    played.handle(Input::CannotCover { mirror: MirrorId(0), why });
    let said = played.handle(Input::Covered(MirrorId(0)));
    assert!(!said.contains(&String::from("list /")), "{said:?}");
}

#[test]
fn what_was_missed_before_one_was_replaced_or_until_his_heir_was_watched_is_told_to_the_heir() {
    type Happens<'a> = &'a dyn Fn(&mut Played);
    let settings = || ScriptSettings { anew: Reset::Keep, full: false, ..script_settings() };
    let tell_gone = |played: &mut Played| _ = played.tell(News::Gone(Gone::Unmounted));
    let no_source = |played: &mut Played| {
        let why = String::from("it is not mounted");
        played.handle(Input::CannotCover { mirror: MirrorId(1), why });
    };
    let nothing = |_: &mut Played| {};
    let cases: [(Happens, Happens, bool); 4] = [
        (&tell_gone, &nothing, true),
        (&nothing, &tell_gone, true),
        (&nothing, &no_source, true),
        (&nothing, &nothing, false),
    ];
    for (at, (before, after, is_listed)) in cases.into_iter().enumerate() {
        let mut played = Played::live(settings());
        before(&mut played);
        let heir_of = Some(MirrorId(0));
        let settings = settings().into();
        let joins = Entrant::Joins { settings, after: Vec::new(), heir_of };
        played.fleet.replace(vec![joins], played.moment(), &mut Vec::new());
        after(&mut played);
        let said = played.handle(Input::Covered(MirrorId(1)));
        assert_eq!(said.contains(&String::from("list /")), is_listed, "case {at}: {said:?}");
    }
}

#[test]
fn a_full_event_goes_to_its_function_and_by_the_calendar() {
    let mut played = Played::live(script_settings());
    let said = played.handle(Input::FullDue(MirrorId(0)));
    assert!(said[0].starts_with("full 0"), "{said:?}");
    let mut played = Played::live(ScriptSettings { full: false, ..script_settings() });
    assert_eq!(played.handle(Input::FullDue(MirrorId(0))), ["action 0"]);
}

#[test]
fn who_wants_the_root_only_is_told_nothing_of_what_is_below_its_directories() {
    let mut played = Played::live(ScriptSettings { subdirectories: false, ..script_settings() });
    // Nor is the directory listed.
    assert!(played.hear(Edit::Create, "d/").is_empty());
    played.hear(Edit::Create, "d/f");
    played.tell(News::Moved { from: at("d/g"), to: at("g"), kind: Kind::Other });
    assert_eq!(played.events(), ["Create /d wait", "Create /g wait"]);
}
