//! Scripts with a fleet, but without watcher and child processes.

mod names;

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mirror_core::{
    effect::{Effect, ScriptCall},
    fleet::{Fleet, FleetLimits, MirrorSpec},
    fs_event::{Change, Edit, EntryKind, FsEvent, FsEventKind, MirrorId},
    input::{ChildExit, Input, ScriptInput, TargetLink},
    job::Failure,
    mirror::scripted::ScriptSettings,
    path::TreePath,
    time::Moment,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    config::Overrides,
    frontend::lua::{self, LoadPurpose, LoadRequest},
    report::{Log, LogFilter},
    script::{CallContext, CallResult, ScriptRequest, Scripts, SyncBinding},
};

/// A script, its mirror and its requests. The script reports by `say`.
struct ScriptHarness {
    dir: tempfile::TempDir,
    scripts: Scripts,
    fleet: Fleet,
    now: Moment,
    requests: Vec<ScriptRequest>,
    /// Errors of calls.
    failures: Vec<String>,
}

const MIRROR: MirrorId = MirrorId(0);

/// Prelude of the test configurations.
const FRONT: &str = "
    local lines = io.open('@/said', 'a') lines:setvbuf('line')
    function say(...)
        local texts = {}
        for n = 1, select('#', ...) do texts[n] = tostring((select(n, ...))) end
        lines:write(table.concat(texts, ' '), '\\n')
    end
    local config = ";

impl ScriptHarness {
    /// Creates a fleet from a configuration whose text is the table of the sync.
    fn new(table: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        fs::create_dir(here.join("src")).unwrap();
        let file = here.join("conf.lua");
        let text = format!("{FRONT} {table} config.source = '@/src' sync(config)");
        fs::write(&file, text.replace('@', here.to_str().unwrap())).unwrap();
        let request = LoadRequest {
            scripts: Vec::new(),
            file: Some(file),
            overrides: Overrides::default(),
            start_dir: here,
            purpose: LoadPurpose::Run,
        };
        let mut filter = LogFilter::default();
        filter.add(b"scarce").unwrap();
        let loaded = lua::load(&request, &Log::new(filter)).unwrap();
        let sync = &loaded.config.syncs[0];
        let script = sync.script.as_ref().unwrap();
        let settings = ScriptSettings {
            delay: script.delay,
            max_delays: script.max_delays,
            max_jobs: script.max_jobs,
            wants_renames: script.wants_renames,
            full: script.full,
            restart_mode: script.restart_mode,
            filter: sync.filter.clone(),
            subdirectories: script.subdirectories,
            target_link: TargetLink::Up,
            connection: None,
        };
        let fleet = Fleet::new(vec![MirrorSpec::Scripted(settings)], FleetLimits::default());
        let mut scripts = loaded.scripts.unwrap();
        scripts.bind(1, SyncBinding { mirror: MIRROR, insists: false });
        let (now, requests, failures) = (Moment::ORIGIN, Vec::new(), Vec::new());
        let mut harness = Self { dir, scripts, fleet, now, requests, failures };
        harness.fleet.begin(&mut Vec::new());
        harness.handle(Input::Covered(MIRROR));
        harness
    }

    fn here(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Passes an input to the fleet, and performs script calls until none is left.
    fn handle(&mut self, input: Input) {
        let mut inputs = vec![input];
        loop {
            let mut effects = Vec::new();
            for input in inputs.drain(..) {
                self.fleet.handle(input, self.now, &mut effects);
            }
            self.fleet.advance(self.now, &mut effects);
            for effect in effects {
                if let Effect::CallScript(mirror, call) = effect {
                    inputs.push(self.call(mirror, &call));
                }
            }
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn call(&mut self, mirror: MirrorId, call: &ScriptCall) -> Input {
        let context = CallContext { fleet: &mut self.fleet, now: self.now };
        let called = self.scripts.call(context, mirror, "Sync1", call);
        self.requests.extend(self.scripts.take_requests());
        let result = match called {
            CallResult::Collected(job, result) => {
                return Input::Script(ScriptInput::Collected { job, result });
            }
            CallResult::Done(result) => result,
        };
        self.failures.extend(result.as_ref().err().map(|failure| failure.message.clone()));
        Input::Script(ScriptInput::Returned { mirror, result, has_pending_work: false })
    }

    fn call_due_alarms(&mut self) -> Result<(), Failure> {
        let context = CallContext { fleet: &mut self.fleet, now: self.now };
        self.scripts.call_due_alarms(context)
    }

    fn hear(&mut self, edit: Edit, path: &[u8]) {
        let kind = if path.ends_with(b"/") { EntryKind::Directory } else { EntryKind::Other };
        let path = TreePath::new(path.strip_suffix(b"/").unwrap_or(path)).unwrap();
        let news = FsEventKind::Changed(Change { edit, kind, path });
        self.handle(Input::FsEvent(FsEvent { mirror: MIRROR, kind: news }));
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.handle(Input::TargetLink(MIRROR, TargetLink::Up));
    }

    /// Ends the child that was started last with this exit code.
    fn end(&mut self, code: i32) {
        let Some(ScriptRequest::Spawn(spawn)) = self.requests.last() else {
            panic!("{:?}", self.requests)
        };
        let job = spawn.job;
        self.handle(Input::Script(ScriptInput::ChildExited { job, exit: ChildExit::Code(code) }));
    }

    /// Returns the lines that the script has written since the last call.
    fn output(&self) -> Vec<String> {
        let file = self.here().join("said");
        let here = self.here();
        let text = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, "").unwrap();
        text.lines().map(|line| line.replace(here.to_str().unwrap(), "@")).collect()
    }
}

/// Writes all fields of the next due event.
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
fn events_have_the_original_fields() {
    let mut harness = ScriptHarness::new(SHOW);
    harness.hear(Edit::Delete, b"d/e/");
    assert_eq!(
        harness.output(),
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
    let mut harness = ScriptHarness::new(SHOW);
    let (from, to) = (TreePath::new(b"d/f").unwrap(), TreePath::new(b"g").unwrap());
    let news = FsEventKind::Renamed { from, to, kind: EntryKind::Other };
    harness.handle(Input::FsEvent(FsEvent { mirror: MIRROR, kind: news }));
    let lines = harness.output();
    let of = |name: &str| -> Vec<String> {
        let values = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
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
fn an_event_stays_one_object_until_it_is_done() {
    let mut harness = ScriptHarness::new(
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
    harness.hear(Edit::Modify, b"f");
    for _ in 0..3 {
        harness.wait(1);
    }
    assert_eq!(harness.output(), ["f nil false", "f 1 true"]);
    harness.end(3);
    assert_eq!(harness.output(), ["collect 2 3"]);
    // A retry has the same object, and is not started this time.
    harness.wait(1);
    assert_eq!(harness.output(), ["f 2 true"]);
}

#[test]
fn nothing_is_called_after_terminate() {
    let mut harness = ScriptHarness::new(
        "{ action = function(inlet)
               say(inlet.getEvent().path)
               for n = 1, 2 do alarm(now(), function() say('alarm', n) terminate(7) end) end
           end }",
    );
    harness.hear(Edit::Create, b"a");
    assert!(harness.call_due_alarms().is_err());
    assert_eq!(harness.scripts.exit_code(), Some(7));
    harness.wait(10);
    assert_eq!(harness.output(), ["a", "alarm 1"]);
}

#[test]
fn terminate_stops_the_running_script() {
    for file in [
        "pcall(terminate, 3) say('on')",
        "while true do pcall(terminate, 3) end",
        "pcall(coroutine.wrap(function() terminate(3) end)) while true do end",
        "coroutine.wrap(function() pcall(terminate, 3) while true do end end)()",
        "pcall(function() terminate() end)",
        "pcall(os.exit, 3, true) spawn(inlet.getEvent(), 'true')",
    ] {
        let mut harness = ScriptHarness::new(&format!("{{ action = function(inlet) {file} end }}"));
        harness.scripts.install_watchdog(Log::default(), Arc::default()).unwrap();
        harness.hear(Edit::Create, b"a");
        let code = if file.contains('3') { 3 } else { 255 };
        assert_eq!(harness.scripts.exit_code(), Some(code), "{file}");
        assert!(harness.output().is_empty() && harness.requests.is_empty(), "{file}");
    }
}

#[test]
fn exclusions_changed_in_one_call_are_reread_once() {
    let mut harness = ScriptHarness::new(
        "{ action = function(inlet)
               for n = 1, 100 do inlet.addExclude('x' .. n) end
               inlet.rmExclude('x1')
               inlet.discardEvent(inlet.getEvent())
           end }",
    );
    harness.hear(Edit::Create, b"a");
    assert!(matches!(harness.requests[..], [ScriptRequest::Refilter(1)]), "{:?}", harness.requests);
    assert_eq!(harness.scripts.reread(1).unwrap().exclusions.excludes.len(), 99);
}

#[test]
fn script_errors_have_a_position_and_a_traceback() {
    let mut harness = ScriptHarness::new(
        "{ action = function(inlet)\nlocal event = inlet.getEvent()\nreturn event.targetPath .. '' end }",
    );
    harness.hear(Edit::Create, b"f");
    let why = &harness.failures[0];
    assert!(why.contains("conf.lua:10: the sync has no target\nstack traceback:\n\t"), "{why}");
}

#[test]
fn script_errors_escape_control_characters() {
    let mut harness = ScriptHarness::new(
        "{ action = function(inlet)
               local name = inlet.getEvent().name
               alarm(now(), function() error('\\x1b[1A' .. name) end)
               error(name)
           end }",
    );
    harness.hear(Edit::Create, b"a\x1b[31m");
    assert!(harness.failures[0].contains("conf.lua:11: a\\u{1b}[31m\n"), "{:?}", harness.failures);
    harness.wait(10);
    let rung = harness.call_due_alarms().unwrap_err();
    assert!(rung.message.contains("conf.lua:10: \\u{1b}[1Aa\\u{1b}[31m\n"), "{rung:?}");
}

#[test]
fn invalid_calls_raise_errors_at_the_call_site() {
    let mut harness = ScriptHarness::new(
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
    harness.hear(Edit::Create, b"f");
    let lines: Vec<String> =
        harness.output().iter().map(|line| line.replace("@/conf.lua:", "")).collect();
    assert_eq!(
        lines,
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
fn an_alarm_at_nan_raises_an_error_at_the_call_site() {
    let mut harness = ScriptHarness::new(
        "{ onCreate = function() say(pcall(function() alarm(now() + 0 / 0, print) end)) end }",
    );
    harness.hear(Edit::Create, b"f");
    harness.wait(60);
    assert_eq!(harness.output(), ["false @/conf.lua:8: alarm: the time is not a number"]);
}

#[test]
fn a_self_renewing_alarm_leaves_time_for_other_work() {
    let mut harness = ScriptHarness::new(
        "{ onCreate = function()
               local function again(time) say('alarm') alarm(time, again) end
               alarm(now(), again)
           end }",
    );
    harness.hear(Edit::Create, b"f");
    harness.wait(60);
    let (start, mut calls) = (Instant::now(), 0);
    while calls < 5 {
        harness.call_due_alarms().unwrap();
        calls += harness.output().len();
    }
    // Four hundredths of a second, minus the granularity of the clocks.
    assert!(start.elapsed() >= Duration::from_millis(20), "{:?}", start.elapsed());
}

#[test]
fn alarms_scale_almost_linearly() {
    let took = |count: u32, when: &str| {
        let mut harness = ScriptHarness::new(&format!(
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
        harness.hear(Edit::Create, b"f");
        harness.wait(60);
        harness.call_due_alarms().unwrap();
        assert_eq!(harness.output(), [format!("{count} 0")]);
        of_this_thread().saturating_sub(began)
    };
    for when in ["", "- n", "- n * 7919 % 1000"] {
        let (few, many) = (took(3_000, when), took(30_000, when));
        assert!(many < few * 40, "{few:?} for 3,000, {many:?} for 30,000 at '{when}'");
    }
}

#[test]
fn memory_is_reclaimed_after_an_out_of_memory_error() {
    let mut harness = ScriptHarness::new(
        "{ onCreate = function(event)
               if not package.loaded.full then
                   package.loaded.full = true
                   local kept, much = {}, string.rep('x', 100 * 1000)
                   while true do kept[#kept + 1] = much .. #kept end
               end
               say(event.name)
           end }",
    );
    harness.hear(Edit::Create, b"a");
    harness.wait(60);
    assert_eq!(harness.failures, ["the scripts exceed their memory limit of 1 GiB"]);
    harness.wait(60);
    assert_eq!(harness.output(), ["a"]);
}

/// Returns the CPU time of this thread, independent of the load of the machine.
fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn script_events_scale_almost_linearly() {
    let lists = "{ delay = 1, maxDelays = 1e9, collect = function() end,
        action = function(inlet)
            local list = inlet.getEvents(function(event) return event.etype ~= 'Init' end)
            say(list.size(), #list.getPaths())
            spawn(list, 'true')
        end }";
    let single = "{ delay = 1, maxDelays = 1e9, onCreate = function(event) COUNT = COUNT + #event.path end } COUNT = 0";
    for script in [lists, single] {
        let took = |count: u32| {
            let mut harness = ScriptHarness::new(script);
            for n in 0..count {
                let path = TreePath::new(format!("d{:03}/f{n:06}", n % 100).as_bytes()).unwrap();
                let news = FsEventKind::Changed(Change {
                    edit: Edit::Create,
                    kind: EntryKind::Other,
                    path,
                });
                let notice = FsEvent { mirror: MIRROR, kind: news };
                harness.fleet.handle(Input::FsEvent(notice), harness.now, &mut Vec::new());
            }
            let began = of_this_thread();
            harness.wait(1);
            if script == lists {
                assert_eq!(harness.output(), [format!("{count} {count}")]);
                harness.end(0);
            }
            assert!(harness.fleet.script(MIRROR).unwrap().queue().is_empty());
            of_this_thread().saturating_sub(began)
        };
        let (few, many) = (took(10_000), took(100_000));
        let rate = 100_000.0 / many.as_secs_f64();
        println!("{rate:.0} events a second");
        // Ten times as many events take about ten times as long; quadratic cost takes a hundred
        // times as long. A loaded machine may be slower for a part of the time.
        assert!(many < few * 40, "{few:?} for 10,000, {many:?} for 100,000");
    }
}
