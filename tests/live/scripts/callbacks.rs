//! Slow and failing functions of scripts, and programs that do not react.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::support::{
    ProgramRecorder, Requirement, Sandbox, TestDaemon, exit_code, needs, wait_until,
};

#[track_caller]
fn terminate(mut daemon: TestDaemon) {
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_exit()), 143, "{}", daemon.log());
}

/// Returns the content of a file, or nothing if it does not exist.
fn read_file(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Returns a script that passes eight million bytes to `tool` for each created file.
fn large_stdin_config(tool: &ProgramRecorder, top: &Path) -> String {
    let tool = tool.program().display().to_string().replace(top.to_str().unwrap(), "@");
    format!(
        "sync{{ source = '@/src', maxProcesses = 3
              , init = function(event)
                    event.inlet.discardEvent(event)
                    log('Normal', 'ready')
                end
              , action = function(inlet)
                    local event = inlet.getEvent()
                    if event.etype ~= 'Create' then return inlet.discardEvent(event) end
                    spawn(event, '{tool}', '<', string.rep('12345678', 1000000), event.name)
                end
              , collect = function(event, code)
                    log('Normal', 'collected ', event.name, ' ', code)
                end }}"
    )
}

#[test]
fn a_program_that_does_not_read_its_stdin_blocks_nothing() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let tool = ProgramRecorder::new(
        &sandbox,
        "case $1 in
            deaf) exit 7 ;;
            idle) exec <&-; until test -e go; do sleep 0.05; done ;;
            slow) until test -e go; do sleep 0.05; done
                  for n in 1 2 3 4 5 6 7 8 9; do head -c 5000 >> slow.got; sleep 0.02; done
                  cat >> slow.got; echo done > slow.done ;;
            *) cat > \"$1.got\" ;;
        esac",
    );
    let daemon = sandbox.daemon().config(&large_stdin_config(&tool, sandbox.top()), 1).start();
    daemon.wait_for_log("ready");
    fs::write(source.join("slow"), "").unwrap();
    fs::write(source.join("idle"), "").unwrap();
    daemon.wait_until("both run", || tool.lines().len() == 2);
    // The third process slot is left for the others, one after the other.
    fs::write(source.join("deaf"), "").unwrap();
    daemon.wait_for_log("collected deaf 7");
    fs::write(source.join("quick"), "").unwrap();
    daemon.wait_for_log("collected quick 0");
    assert_eq!(fs::metadata(sandbox.path("quick.got")).unwrap().len(), 8_000_000);
    fs::write(sandbox.path("go"), "").unwrap();
    daemon.wait_for_log("collected idle 0");
    daemon.wait_for_log("collected slow 0");
    assert_eq!(read_file(&sandbox.path("slow.done")), "done\n");
    let got = read_file(&sandbox.path("slow.got"));
    assert!(got == "12345678".repeat(1_000_000), "{} bytes have arrived", got.len());
    terminate(daemon);
}

#[test]
fn a_failing_function_is_logged_with_a_traceback_and_retried() {
    let sandbox = Sandbox::new();
    let (source, other) = (sandbox.create_dir("src"), sandbox.create_dir("other"));
    let text = "
        local function note(event)
            spawnShell(event, 'echo \"$1\" >> @/noted', event.pathname)
        end
        local function read_what_is_needed()
            local file = io.open('@/needed')
            file:close()
        end
        sync{ source = '@/src', delay = 0, exitcodes = { [0] = 'ok' }
            , onStartup = note
            , onCreate = function(event)
                  if event.name == 'bad' then read_what_is_needed() end
                  note(event)
              end }
        sync{ source = '@/other', delay = 0, onStartup = note, onCreate = note }";
    let daemon = sandbox.daemon().config(text, 2).start();
    let noted = || read_file(&sandbox.path("noted"));
    daemon.wait_until("both are live", || noted() == "\n\n");
    fs::write(source.join("bad"), "").unwrap();
    daemon.wait_for_log("stack traceback");
    let log = daemon.log();
    assert!(log.contains("Error") && log.contains("conf.lua:7"), "{log}");
    assert!(log.contains("read_what_is_needed"), "{log}");
    fs::write(other.join("elsewhere"), "").unwrap();
    daemon.wait_until("the other one goes on", || noted().contains("elsewhere\n"));
    assert!(log.contains("Sync1: Create on /bad: "), "{log}");
    // Unrelated events continue.
    fs::write(source.join("good"), "").unwrap();
    daemon.wait_until("another event goes on", || noted().contains("good\n"));
    assert!(!noted().contains("bad"), "{}", noted());
    fs::write(sandbox.path("needed"), "").unwrap();
    daemon.wait_until("it is called again", || noted().contains("bad\n"));
    terminate(daemon);
}

/// The three kinds of scripts. Each copies files and fails at the name `bad`.
const FAILING: [&str; 3] = [
    "sync{ source = '@/src', target = '@/dst', delay = 0
        , exitcodes = { [0] = 'ok', [1] = 'again' }, onStartup = 'echo ready'
        , onCreate = '[ ^pathname != bad ] && cp ^sourcePathname ^targetPathname'
        , onDelete = 'rm -f ^targetPathname' }",
    "sync{ source = '@/src', target = '@/dst', delay = 0, onStartup = 'echo ready'
        , onCreate = function(event)
              if event.basename == 'bad' then error('on purpose') end
              spawn(event, 'cp', event.sourcePathname, event.targetPathname)
          end
        , onDelete = function(event) spawn(event, 'rm', '-f', event.targetPathname) end }",
    "sync{ source = '@/src', target = '@/dst', delay = 0.3
        , init = function(event) event.inlet.discardEvent(event) log('Normal', 'ready') end
        , action = function(inlet)
              local list = inlet.getEvents()
              spawnShell(list, [[
                  for path; do
                      case \"$path\" in *bad*) [ -e @/src/bad ] && exit 3 ;; esac
                      cp -- \"@/src$path\" \"@/dst$path\" || [ ! -e \"@/src$path\" ] || exit 3
                  done]], list.getPaths())
          end
        , collect = function(agent, code) if code ~= 0 then return 'again' end end }",
];

#[test]
fn a_persistently_failing_event_is_reported_and_blocks_no_other() {
    for text in FAILING {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
        let status = sandbox.path("status");
        let text = format!("settings{{ statusFile = '@/status', statusInterval = 0 }} {text}");
        let daemon = sandbox.daemon().config(&text, 1).start();
        daemon.wait_for_log("ready");
        for name in ["a", "bad", "b", "c d"] {
            fs::write(source.join(name), name).unwrap();
        }
        let is_there = |name: &str| target.join(name).exists();
        daemon.wait_until("the others go on", || ["a", "b", "c d"].iter().all(|it| is_there(it)));
        daemon.wait_for_log("Create on /bad: ");
        fs::write(source.join("later"), "").unwrap();
        daemon.wait_until("what comes later goes on", || is_there("later"));
        daemon.wait_until("the status names it", || {
            read_file(&status)
                .lines()
                .any(|it| it.contains("failed, ") && it.contains("Create on /bad: "))
        });
        assert!(!is_there("bad"));
        fs::remove_file(source.join("bad")).unwrap();
        daemon.wait_until("it goes with its file", || {
            let status = read_file(&status);
            status.contains("no event is pending") && !status.contains("failed")
        });
        terminate(daemon);
    }
}

#[test]
fn a_slow_function_is_reported_and_loses_no_change() {
    let sandbox = Sandbox::new();
    let (source, other) = (sandbox.create_dir("src"), sandbox.create_dir("other"));
    let text = "
        local function note(event)
            spawnShell(event, 'echo \"$1\" >> @/noted', event.pathname)
        end
        sync{ source = '@/src', delay = 0, onStartup = note
            , onCreate = function(event)
                  if event.name == 'long' then
                      io.open('@/begun', 'w'):close()
                      os.execute('sleep 1.5')
                  end
                  note(event)
              end }
        sync{ source = '@/other', delay = 0, onStartup = note, onCreate = note }";
    let daemon = sandbox.daemon().config(text, 2).start();
    let noted = || read_file(&sandbox.path("noted"));
    daemon.wait_until("both are live", || noted() == "\n\n");
    fs::write(source.join("long"), "").unwrap();
    let begun = sandbox.path("begun");
    daemon.wait_until("it has begun", || begun.exists());
    for number in 0..50 {
        fs::write(source.join(format!("a{number}")), "").unwrap();
        fs::write(other.join(format!("b{number}")), "").unwrap();
    }
    daemon.wait_until("nothing is lost", || noted().lines().count() == 2 + 1 + 100);
    let log = daemon.log();
    let is_warning =
        |line: &str| line.contains("Warn: action of Sync1 blocked the event loop for ");
    assert!(log.lines().any(is_warning), "{log}");
    terminate(daemon);
}

#[test]
fn a_missing_or_killed_program_does_not_stop_the_daemon() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let text = "
        sync{ source = '@/src', delay = 0
            , init = function(event)
                  event.inlet.discardEvent(event)
                  log('Normal', 'ready')
              end
            , onCreate = function(event)
                  if event.name == 'missing' then return spawn(event, '@/missing') end
                  if event.name == 'long' then
                      return spawn(event, 'true', string.rep('too long', 1000000))
                  end
                  spawnShell(event, 'echo call >> @/calls; test -e @/go || kill -KILL $$')
              end
            , collect = function(event, code)
                  log('Normal', 'collected ', event.name, ' ', code)
              end }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("ready");
    fs::write(source.join("missing"), "").unwrap();
    daemon.wait_for_log("collected missing 255");
    fs::write(source.join("long"), "").unwrap();
    daemon.wait_for_log("collected long 255");
    fs::write(source.join("killed"), "").unwrap();
    let calls = sandbox.path("calls");
    daemon.wait_until("it runs again", || read_file(&calls).lines().count() >= 2);
    assert!(!daemon.log().contains("collected killed"), "{}", daemon.log());
    fs::write(sandbox.path("go"), "").unwrap();
    daemon.wait_for_log("collected killed 0");
    terminate(daemon);
}

#[test]
fn a_blocked_script_does_not_prevent_the_exit() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    // The programs outlive the daemon, but not the test.
    let text = "local forever = 'while [ -e @/src ]; do sleep 0.05; done'
        reader = io.popen(forever)
        sync{ source = '@/src', delay = 0, onStartup = 'echo ready'
            , onCreate = function() os.execute('echo waits; ' .. forever) end }";
    let mut reads = sandbox.daemon().config(text, 1).start();
    let mut waits = sandbox.daemon().config(text, 1).start();
    waits.wait_for_log("ready\n");
    reads.wait_for_log("ready\n");
    reads.signal(Signal::TERM);
    assert_eq!(exit_code(reads.wait_exit()), 143, "{}", reads.log());
    assert!(!reads.log().contains("did not return"), "{}", reads.log());
    fs::write(source.join("file"), "").unwrap();
    waits.wait_for_log("waits\n");
    waits.signal(Signal::TERM);
    assert_eq!(exit_code(waits.wait_exit()), 143, "{}", waits.log());
    assert!(waits.log().contains("a script callback did not return"), "{}", waits.log());
}

#[test]
fn a_program_started_by_the_file_does_not_block_a_reload() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    sandbox.create_dir("dst");
    // The last one outlives the daemon, but not the test.
    let text = "started = io.popen('echo $$ >> @/started; while [ -e @/src ]; do sleep 0.05; done')
        sync{ default.direct, source = '@/src', target = '@/dst', delay = 0 }
        if readdir('@')['scripted'] ~= nil then
            sync{ source = '@/src', delay = 0, onCreate = 'echo ^pathname' }
        end";
    let daemon = sandbox.daemon().args(["-log", "Inotify"]).config(text, 1).start();
    let is_there = |number: usize| {
        let started = read_file(&sandbox.path("started"));
        let process = started.lines().nth(number).and_then(|pid| pid.parse().ok());
        process.and_then(Pid::from_raw).is_some_and(|process| test_kill_process(process).is_ok())
    };
    daemon.wait_until("it runs, though no function needs Lua any more", || is_there(0));
    fs::write(source.join("first"), "").unwrap();
    daemon.wait_until("there is a mirror", || sandbox.path("dst/first").exists());
    assert!(is_there(0));
    for round in 1..=2 {
        fs::write(sandbox.path("scripted"), "").unwrap();
        daemon.signal(Signal::HUP);
        daemon.wait_until("another runs in its place", || !is_there(round - 1) && is_there(round));
        let watched = || daemon.log().matches(" is watched: ").count();
        daemon.wait_until("the script listens", || watched() == 1 + round);
        let file = format!("file{round}");
        fs::write(source.join(&file), "").unwrap();
        daemon.wait_for_log(&format!("{file}\n"));
    }
    terminate(daemon);
}

#[test]
fn a_reload_terminates_children_before_the_sync_restarts() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let text = "
        sync{ source = '@/src', exitcodes = { [0] = 'ok' }
            , onStartup = 'echo start >> @/noted'
            , onCreate = [[
                  trap 'echo asked >> @/noted; exit 0' TERM
                  echo runs >> @/noted
                  while true; do sleep 0.05; done ]] }";
    let daemon = sandbox.daemon().config(text, 1).start();
    let noted = || read_file(&sandbox.path("noted"));
    daemon.wait_until("it is live", || noted() == "start\n");
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_until("the child runs", || noted() == "start\nruns\n");
    daemon.signal(Signal::HUP);
    daemon.wait_until("all begins anew", || noted() == "start\nruns\nasked\nstart\n");
    terminate(daemon);
}

#[test]
fn a_reload_loses_no_pending_event() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let text = "
        local inlet = sync{ source = '@/src', exitcodes = { [0] = 'ok' }
            , onCreate = [[
                  if [ -e @/second ]; then echo ^pathname >> @/noted; exit 0; fi
                  touch @/second
                  while true; do sleep 0.05; done ]] }
        local function look(time)
            inlet.getEvents(function(event)
                if event.path == 'waits' then log('Normal', 'event is pending') end
                return false
            end)
            alarm(time + 0.05, look)
        end
        alarm(now(), look)";
    let daemon = sandbox.daemon().args(["-log", "Inotify"]).config(text, 1).start();
    daemon.wait_watched();
    fs::write(source.join("worked-on"), "").unwrap();
    daemon.wait_until("the child runs", || sandbox.path("second").exists());
    fs::write(source.join("waits"), "").unwrap();
    daemon.wait_for_log("event is pending");
    daemon.signal(Signal::HUP);
    let noted = || read_file(&sandbox.path("noted"));
    daemon.wait_until("nothing is lost", || noted().starts_with("worked-on\nwaits\n"));
    terminate(daemon);
}

#[test]
fn changes_during_a_reload_are_reported() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    for number in 0..200 {
        fs::create_dir(source.join(format!("d{number}"))).unwrap();
    }
    let text = "sync{ source = '@/src', delay = 0, onCreate = function(event)
        local noted = io.open('@/noted', 'a')
        noted:write(event.pathname, '\\n')
        noted:close() end }";
    let daemon = sandbox.daemon().args(["-log", "Inotify"]).config(text, 1).start();
    daemon.wait_watched();
    let is_over = AtomicBool::new(false);
    let noted = sandbox.path("noted");
    let write = || {
        let mut names: Vec<String> = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..200 {
                names.push(format!("d{}/{}", names.len() % 200, names.len()));
                fs::write(source.join(names.last().unwrap()), "").unwrap();
            }
            let is_near = || read_file(&noted).lines().count() + 400 > names.len();
            wait_until("the script is not far behind", || read_file(&noted), is_near);
        }
        names
    };
    let names = thread::scope(|scope| {
        let writer = scope.spawn(write);
        for count in 1..=8 {
            daemon.signal(Signal::HUP);
            daemon.wait_until("it begins anew", || {
                daemon.log().matches(" is watched: ").count() > count
            });
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    daemon.wait_until("all changes are reported", || {
        let noted = read_file(&noted);
        let noted: BTreeSet<&str> = noted.lines().collect();
        names.iter().all(|name| noted.contains(&**name))
    });
    terminate(daemon);
}

#[test]
fn a_busy_script_does_not_delay_signals() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let text = "sync{ source = '@/src'
        , onStartup = function() log('Normal', 'ready') end
        , onCreate = function(event)
              log('Normal', 'event')
              local time = os.clock() + 0.02
              while os.clock() < time do end
          end }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("ready");
    for number in 0..5000 {
        fs::write(source.join(number.to_string()), "").unwrap();
    }
    daemon.wait_for_log("event");
    // It has work for a hundred seconds, which must not delay the signal.
    let asked = Instant::now();
    terminate(daemon);
    assert!(asked.elapsed() < Duration::from_mins(1), "{:?}", asked.elapsed());
}

#[test]
fn each_failing_alarm_is_reported_once() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("src");
    let text = "
        local due = now()
        for _, name in ipairs{ 'one', 'two' } do
            alarm(due, function() error('the alarm ' .. name) end)
        end
        alarm(due + 0.1, function() log('Normal', 'the last alarm') end)
        sync{ source = '@/src', onCreate = 'true' }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("the last alarm");
    let log = daemon.log();
    assert!(
        log.contains("conf.lua:4: the alarm one\n") && log.contains("conf.lua:4: the alarm two\n"),
        "{log}"
    );
    assert_eq!(log.matches("stack traceback").count(), 2, "{log}");
    terminate(daemon);
}

#[test]
fn an_unreadable_new_directory_is_reported() {
    needs!(Requirement::Root);
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::set_permissions(sandbox.top(), Permissions::from_mode(0o755)).unwrap();
    let text = "sync{ source = '@/src', onStartup = function() log('Normal', 'ready') end }";
    let daemon = sandbox.daemon().run_as(65_534).config(text, 1).start();
    daemon.wait_for_log("ready");
    fs::create_dir(sandbox.path("locked")).unwrap();
    fs::set_permissions(sandbox.path("locked"), Permissions::from_mode(0o700)).unwrap();
    fs::rename(sandbox.path("locked"), source.join("locked")).unwrap();
    daemon.wait_for_log("Error: Sync1: cannot list /locked: Permission denied");
}

#[test]
fn an_inlet_rejects_events_of_another_sync() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    sandbox.create_dir("other");
    let text = "
        local second
        sync{ source = '@/src', delay = 0
            , onStartup = function() log('Normal', 'ready') end
            , action = function(inlet)
                  local event = inlet.getEvent()
                  log('Normal', select(2, pcall(second.discardEvent, event)))
                  inlet.discardEvent(event)
                  log('Normal', 'discarded ', event.path)
              end }
        second = sync{ source = '@/other', delay = 3600, onCreate = 'true' }";
    let daemon = sandbox.daemon().config(text, 2).start();
    daemon.wait_for_log("ready");
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_for_log("discarded file");
    assert!(daemon.log().contains("discardEvent takes an event of the sync"), "{}", daemon.log());
    terminate(daemon);
}
