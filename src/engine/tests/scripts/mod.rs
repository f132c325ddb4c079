//! Scripts in a fleet, without watcher and children: what they see and what they want done.

mod names;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mirror_core::{
    effect::{Call, Effect},
    fleet::{Charter, Fleet, Limits},
    input::{ChildExit, Gate, Input},
    mirror::scripted::ScriptSettings,
    notice::{Change, Edit, Kind, MirrorId, News, Notice},
    path::TreePath,
    time::Moment,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    config::Overrides,
    frontend::lua::{self, Purpose, Request},
    report::{Filter, Log},
    script::{Called, Order, Scripts, Seat},
};

/// A script, its mirror, and what it has wanted done. The file reports by `say`.
struct Played {
    place: tempfile::TempDir,
    scripts: Scripts,
    fleet: Fleet,
    now: Moment,
    orders: Vec<Order>,
    /// What calls have failed with.
    failures: Vec<String>,
}

const MIRROR: MirrorId = MirrorId(0);

/// What the files of the tests have in front.
const FRONT: &str = "
    local lines = io.open('@/said', 'a') lines:setvbuf('line')
    function say(...)
        local texts = {}
        for n = 1, select('#', ...) do texts[n] = tostring((select(n, ...))) end
        lines:write(table.concat(texts, ' '), '\\n')
    end
    local config = ";

impl Played {
    /// The file returns the table of the sync.
    fn new(table: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().canonicalize().unwrap();
        fs::create_dir(here.join("src")).unwrap();
        let file = here.join("conf.lua");
        let text = format!("{FRONT} {table} config.source = '@/src' sync(config)");
        fs::write(&file, text.replace('@', here.to_str().unwrap())).unwrap();
        let request = Request {
            scripts: Vec::new(),
            file: Some(file),
            overrides: Overrides::default(),
            here,
            purpose: Purpose::Run,
        };
        let mut filter = Filter::default();
        filter.add(b"scarce").unwrap();
        let loaded = lua::load(&request, &Log::new(filter)).unwrap();
        let sync = &loaded.setup.syncs[0];
        let script = sync.script.as_ref().unwrap();
        let settings = ScriptSettings {
            delay: script.delay,
            max_delays: script.max_delays,
            max_jobs: script.max_jobs,
            moves: script.moves,
            full: script.full,
            anew: script.anew,
            filter: sync.filter.clone(),
            subdirectories: script.subdirectories,
            gate: Gate::Open,
            connection: None,
        };
        let fleet = Fleet::new(vec![Charter::Scripted(settings)], Limits::default());
        let mut scripts = loaded.scripts.unwrap();
        scripts.assign(1, Seat { mirror: MIRROR, insists: false });
        let (now, orders, failures) = (Moment::ORIGIN, Vec::new(), Vec::new());
        let mut played = Self { place, scripts, fleet, now, orders, failures };
        played.fleet.begin(&mut Vec::new());
        played.handle(Input::Covered(MIRROR));
        played
    }

    fn here(&self) -> PathBuf {
        self.place.path().canonicalize().unwrap()
    }

    /// Takes something in, and does what follows until nothing does.
    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        loop {
            let mut effects = Vec::new();
            for input in inputs.drain(..) {
                self.fleet.handle(input, self.now, &mut effects);
            }
            self.fleet.advance(self.now, &mut effects);
            for effect in effects {
                if let Effect::Script(mirror, call) = effect {
                    inputs.push(self.call(mirror, &call));
                }
            }
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn call(&mut self, mirror: MirrorId, call: &Call) -> Input {
        let called = self.scripts.call(&mut self.fleet, (mirror, "Sync1"), call, self.now);
        self.orders.extend(self.scripts.take_orders());
        let result = match called {
            Called::Collected(job, result) => return Input::Collected { job, result },
            Called::Done(result) => result,
        };
        self.failures.extend(result.as_ref().err().map(|failure| failure.why.clone()));
        Input::Called { mirror, result, has_plans: false }
    }

    fn hear(&mut self, edit: Edit, path: &[u8]) {
        let kind = if path.ends_with(b"/") { Kind::Directory } else { Kind::Other };
        let path = TreePath::new(path.strip_suffix(b"/").unwrap_or(path)).unwrap();
        let news = News::Changed(Change { edit, kind, path });
        self.handle(Input::Notice(Notice { mirror: MIRROR, news }));
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.handle(Input::Gate(MIRROR, Gate::Open));
    }

    /// The child that was started last ends with this code.
    fn end(&mut self, code: i32) {
        let Some(Order::Spawn(spawn)) = self.orders.last() else { panic!("{:?}", self.orders) };
        let job = spawn.job;
        self.handle(Input::ChildEnded { job, exit: ChildExit::Code(code) });
    }

    /// What the script has said since it was asked last.
    fn said(&self) -> Vec<String> {
        let file = self.here().join("said");
        let here = self.here();
        let text = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, "").unwrap();
        text.lines().map(|line| line.replace(here.to_str().unwrap(), "@")).collect()
    }
}

/// Says all fields of the event that is due.
const SHOW: &str =
        "{ target = 'h:x', delay = 0, onMove = true }
         config.action = function(inlet)
             local one, two = inlet.getEvent()
             for _, event in ipairs { one, two } do
                 for _, name in ipairs { 'etype', 'status', 'isdir', 'isList', 'name', 'basename', 'path',
                     'pathname', 'pathdir', 'source', 'sourcePath', 'sourcePathname', 'sourcePathdir',
                     'target', 'targetPath', 'targetPathname', 'targetPathdir', 'move' } do
                     say(name, event[name])
                 end
                 say(event.config.target, event.inlet.getConfig() == event.config)
             end
             say(pcall(function() return one.nope end))
             inlet.discardEvent(one)
             say(one.status)
         end";

#[test]
fn the_fields_of_events() {
    let mut played = Played::new(SHOW);
    played.hear(Edit::Delete, b"d/e/");
    assert_eq!(
        played.said(),
        [
            "etype Delete",
            "status wait",
            "isdir true",
            "isList false",
            "name e/",
            "basename e",
            "path d/e/",
            "pathname d/e",
            "pathdir d/",
            "source @/src/",
            "sourcePath @/src//d/e/",
            "sourcePathname @/src//d/e",
            "sourcePathdir @/src//d/",
            "target h:x",
            "targetPath h:x/d/e/",
            "targetPathname h:x/d/e",
            "targetPathdir h:x/d/",
            "move nil",
            "h:x true",
            "false @/conf.lua:19: event does not have field \"nope\"",
            "done",
        ]
    );
}

#[test]
fn a_move_has_an_event_for_each_name() {
    let mut played = Played::new(SHOW);
    let (from, to) = (TreePath::new(b"d/f").unwrap(), TreePath::new(b"g").unwrap());
    let news = News::Moved { from, to, kind: Kind::Other };
    played.handle(Input::Notice(Notice { mirror: MIRROR, news }));
    let said = played.said();
    let of = |name: &str| -> Vec<String> {
        let values = said.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.map(str::to_owned).collect()
    };
    assert_eq!(of("etype"), ["Move", "Move"]);
    assert_eq!(of("path"), ["d/f", "g"]);
    assert_eq!(of("sourcePathdir"), ["@/src//d/", "@/src//"]);
    assert_eq!(of("targetPath"), ["h:x/d/f", "h:x/g"]);
    assert_eq!(of("move"), ["Fr", "To"]);
    assert_eq!(of("isdir"), ["false", "false"]);
}

#[test]
fn an_event_is_one_object_as_long_as_it_waits_or_is_worked_on() {
    let mut played = Played::new(
        "{ delay = 1,
           action = function(inlet)
               local event = inlet.getEvent()
               collectgarbage()
               say(event.path, rawget(event, 'mark'), event == SEEN)
               event.mark, SEEN = (rawget(event, 'mark') or 0) + 1, event
               if event.mark == 2 then spawn(event, 'true') end
           end,
           collect = function(event, code) say('collect', event.mark, code) return event.mark < 3 and 'again' end }
         SEEN = false",
    );
    played.hear(Edit::Modify, b"f");
    for _ in 0..3 {
        played.wait(1);
    }
    assert_eq!(played.said(), ["f nil false", "f 1 true"]);
    played.end(3);
    assert_eq!(played.said(), ["collect 2 3"]);
    // What is tried again is the same, and is one more time not begun.
    played.wait(1);
    assert_eq!(played.said(), ["f 2 true"]);
}

#[test]
fn nothing_is_called_any_more_once_a_script_asked_to_end() {
    let mut played = Played::new(
        "{ action = function(inlet)
               say(inlet.getEvent().path)
               for n = 1, 2 do alarm(now(), function() say('alarm', n) terminate(7) end) end
           end }",
    );
    played.hear(Edit::Create, b"a");
    assert!(played.scripts.ring(&mut played.fleet, played.now).is_err());
    assert_eq!(played.scripts.exit(), Some(7));
    played.wait(10);
    assert_eq!(played.said(), ["a", "alarm 1"]);
}

#[test]
fn a_script_that_asked_to_end_does_nothing_more() {
    for file in [
        "pcall(terminate, 3) say('on')",
        "while true do pcall(terminate, 3) end",
        "pcall(coroutine.wrap(function() terminate(3) end)) while true do end",
        "coroutine.wrap(function() pcall(terminate, 3) while true do end end)()",
        "pcall(function() terminate() end)",
        "pcall(os.exit, 3, true) spawn(inlet.getEvent(), 'true')",
    ] {
        let mut played = Played::new(&format!("{{ action = function(inlet) {file} end }}"));
        played.scripts.watch_over(Log::default(), Arc::default()).unwrap();
        played.hear(Edit::Create, b"a");
        let code = if file.contains('3') { 3 } else { 255 };
        assert_eq!(played.scripts.exit(), Some(code), "{file}");
        assert!(played.said().is_empty() && played.orders.is_empty(), "{file}");
    }
}

#[test]
fn many_exclusions_of_one_call_are_read_once() {
    let mut played = Played::new(
        "{ action = function(inlet)
               for n = 1, 100 do inlet.addExclude('x' .. n) end
               inlet.rmExclude('x1')
               inlet.discardEvent(inlet.getEvent())
           end }",
    );
    played.hear(Edit::Create, b"a");
    assert!(matches!(played.orders[..], [Order::Refilter(1)]), "{:?}", played.orders);
    assert_eq!(played.scripts.reread(1).unwrap().exclusions.excludes.len(), 99);
}

#[test]
fn errors_of_a_script_have_a_position_and_the_way_to_it() {
    let mut played = Played::new(
        "{ action = function(inlet)\nlocal event = inlet.getEvent()\nreturn event.targetPath .. '' end }",
    );
    played.hear(Edit::Create, b"f");
    let why = &played.failures[0];
    assert!(why.contains("conf.lua:10: the sync has no target\nstack traceback:\n\t"), "{why}");
}

#[test]
fn names_in_errors_of_a_script_tell_a_terminal_nothing() {
    let mut played = Played::new(
        "{ action = function(inlet)
               local name = inlet.getEvent().name
               alarm(now(), function() error('\\x1b[1A' .. name) end)
               error(name)
           end }",
    );
    played.hear(Edit::Create, b"a\x1b[31m");
    assert!(played.failures[0].contains("conf.lua:11: a\\u{1b}[31m\n"), "{:?}", played.failures);
    played.wait(10);
    let rung = played.scripts.ring(&mut played.fleet, played.now).unwrap_err();
    assert!(rung.why.contains("conf.lua:10: \\u{1b}[1Aa\\u{1b}[31m\n"), "{rung:?}");
}

#[test]
fn what_cannot_be_started_is_an_error_where_it_stands() {
    let mut played = Played::new(
        "{ maxProcesses = 2, action = function(inlet)
               local event = inlet.getEvent()
               for _, what in ipairs { function() spawn(nil, 'x') end, function() spawn({}, 'x') end,
                   function() spawn(event) end, function() spawn(event, 'x', print) end,
                   function() spawn(event, 'x', '<') end, function() inlet.nope() end,
                   function() inlet.getEvents().nope() end, function() spawnShell(event, 'x') end,
                   function() spawn(event, 'x') end, function() inlet.discardEvent(inlet.getEvents()) end } do
                   say(select(2, pcall(what)))
               end
           end }",
    );
    played.hear(Edit::Create, b"f");
    let said: Vec<String> =
        played.said().iter().map(|line| line.replace("@/conf.lua:", "")).collect();
    assert_eq!(
        said,
        [
            "10: spawning with an invalid agent",
            "10: spawning with an unknown agent",
            "11: calling spawn(agent, binary, ...): binary is not a string",
            "11: spawn: a word of the program is a function",
            "12: spawn: what is to be piped is not a text",
            "12: inlet does not have function \"nope\"",
            "13: event list does not have function \"nope\"",
            "",
            "14: spawn() called on an non-waiting event",
            "14: discardEvent takes an event of the sync whose inlet it is called of",
        ]
    );
}

#[test]
fn an_alarm_at_no_time_is_an_error_where_it_stands() {
    let mut played = Played::new(
        "{ onCreate = function() say(pcall(function() alarm(now() + 0 / 0, print) end)) end }",
    );
    played.hear(Edit::Create, b"f");
    played.wait(60);
    assert_eq!(played.said(), ["false @/conf.lua:8: alarm: the time is not a number"]);
}

#[test]
fn an_alarm_that_sets_itself_again_leaves_time_for_others() {
    let mut played = Played::new(
        "{ onCreate = function()
               local function again(time) say('alarm') alarm(time, again) end
               alarm(now(), again)
           end }",
    );
    played.hear(Edit::Create, b"f");
    played.wait(60);
    let (start, mut calls) = (Instant::now(), 0);
    while calls < 5 {
        played.scripts.ring(&mut played.fleet, played.now).unwrap();
        calls += played.said().len();
    }
    // Four hundredths of a second, but for the grain of the clocks.
    assert!(start.elapsed() >= Duration::from_millis(20), "{:?}", start.elapsed());
}

#[test]
fn many_alarms_ring_in_time() {
    let took = |count: u32, when: &str| {
        let mut played = Played::new(&format!(
            "{{ onCreate = function()
                   local start = now()
                   local function ring(at)
                       if at < LAST then OUT = OUT + 1 end
                       LAST, COUNT = at, COUNT + 1
                   end
                   for n = 1, {count} do alarm(start {when}, ring) end
                   alarm(start, function() say(COUNT, OUT) end)
               end }} COUNT, OUT, LAST = 0, 0, now() - 100000"
        ));
        let began = of_this_thread();
        played.hear(Edit::Create, b"f");
        played.wait(60);
        played.scripts.ring(&mut played.fleet, played.now).unwrap();
        assert_eq!(played.said(), [format!("{count} 0")]);
        of_this_thread().saturating_sub(began)
    };
    for when in ["", "- n", "- n * 7919 % 1000"] {
        let (few, many) = (took(3_000, when), took(30_000, when));
        assert!(many < few * 40, "{few:?} for 3,000, {many:?} for 30,000 at '{when}'");
    }
}

#[test]
fn a_script_that_runs_out_of_memory_has_it_again() {
    let mut played = Played::new(
        "{ onCreate = function(event)
               if not package.loaded.full then
                   package.loaded.full = true
                   local kept, much = {}, string.rep('x', 100 * 1000)
                   while true do kept[#kept + 1] = much .. #kept end
               end
               say(event.name)
           end }",
    );
    played.hear(Edit::Create, b"a");
    played.wait(60);
    assert_eq!(played.failures, ["the scripts need more memory than they may have: 1 GiB"]);
    played.wait(60);
    assert_eq!(played.said(), ["a"]);
}

/// The time that this thread has had, whatever else the machine does.
fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn a_hundred_thousand_events_go_through_scripts_in_time() {
    let lists = "{ delay = 1, maxDelays = 1e9, collect = function() end,
        action = function(inlet)
            local list = inlet.getEvents(function(event) return event.etype ~= 'Init' end)
            say(list.size(), #list.getPaths())
            spawn(list, 'true')
        end }";
    let single = "{ delay = 1, maxDelays = 1e9, onCreate = function(event) COUNT = COUNT + #event.path end } COUNT = 0";
    for script in [lists, single] {
        let took = |count: u32| {
            let mut played = Played::new(script);
            for n in 0..count {
                let path = TreePath::new(format!("d{:03}/f{n:06}", n % 100).as_bytes()).unwrap();
                let news = News::Changed(Change { edit: Edit::Create, kind: Kind::Other, path });
                let notice = Notice { mirror: MIRROR, news };
                played.fleet.handle(Input::Notice(notice), played.now, &mut Vec::new());
            }
            let began = of_this_thread();
            played.wait(1);
            if script == lists {
                assert_eq!(played.said(), [format!("{count} {count}")]);
                played.end(0);
            }
            assert!(played.fleet.script(MIRROR).unwrap().queue().is_empty());
            of_this_thread().saturating_sub(began)
        };
        let (few, many) = (took(10_000), took(100_000));
        let rate = 100_000.0 / many.as_secs_f64();
        println!("{rate:.0} events a second");
        // Ten times as many take about ten times as long. What grows with their square takes a hundred
        // times as long; a machine that has others to serve may be slower for some of the time.
        assert!(many < few * 40, "{few:?} for 10,000, {many:?} for 100,000");
    }
}
