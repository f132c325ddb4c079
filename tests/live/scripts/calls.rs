//! Functions of a user that fail or take their time, and programs that do not listen.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Daemon, Need, Recorder, Sandbox, exit_code, needs, wait_until};

#[track_caller]
fn end(mut daemon: Daemon) {
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_end()), 143, "{}", daemon.log());
}

/// What a program of a test has written so far.
fn written(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A script that gives eight million bytes to `tool` for each file that is created.
fn pouring(tool: &Recorder, top: &Path) -> String {
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
fn a_program_that_reads_slowly_or_not_at_all_holds_nobody_up() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let tool = Recorder::new(
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
    let daemon = sandbox.daemon().config(&pouring(&tool, sandbox.top()), 1).start();
    daemon.wait_for_log("ready");
    fs::write(source.join("slow"), "").unwrap();
    fs::write(source.join("idle"), "").unwrap();
    daemon.wait_until("both run", || tool.lines().len() == 2);
    // The third place is left for those that do not read, one after the other.
    fs::write(source.join("deaf"), "").unwrap();
    daemon.wait_for_log("collected deaf 7");
    fs::write(source.join("quick"), "").unwrap();
    daemon.wait_for_log("collected quick 0");
    assert_eq!(fs::metadata(sandbox.path("quick.got")).unwrap().len(), 8_000_000);
    fs::write(sandbox.path("go"), "").unwrap();
    daemon.wait_for_log("collected idle 0");
    daemon.wait_for_log("collected slow 0");
    assert_eq!(written(&sandbox.path("slow.done")), "done\n");
    let got = written(&sandbox.path("slow.got"));
    assert!(got == "12345678".repeat(1_000_000), "{} bytes have arrived", got.len());
    end(daemon);
}

#[test]
fn a_function_that_fails_is_told_with_its_way_and_called_again() {
    let sandbox = Sandbox::new();
    let (source, other) = (sandbox.directory("src"), sandbox.directory("other"));
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
    let noted = || written(&sandbox.path("noted"));
    daemon.wait_until("both are live", || noted() == "\n\n");
    fs::write(source.join("bad"), "").unwrap();
    daemon.wait_for_log("stack traceback");
    let log = daemon.log();
    assert!(log.contains("Error") && log.contains("conf.lua:7"), "{log}");
    assert!(log.contains("read_what_is_needed"), "{log}");
    fs::write(other.join("elsewhere"), "").unwrap();
    daemon.wait_until("the other one goes on", || noted().contains("elsewhere\n"));
    assert!(log.contains("Sync1: Create on /bad: "), "{log}");
    // What has nothing to do with it goes on.
    fs::write(source.join("good"), "").unwrap();
    daemon.wait_until("another event goes on", || noted().contains("good\n"));
    assert!(!noted().contains("bad"), "{}", noted());
    fs::write(sandbox.path("needed"), "").unwrap();
    daemon.wait_until("it is called again", || noted().contains("bad\n"));
    end(daemon);
}

/// The three ways of scripts, each of which copies what is named as it should be, and fails at `bad`.
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
fn an_event_that_fails_each_time_is_named_and_waits_alone_until_its_file_is_gone() {
    for text in FAILING {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
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
            written(&status)
                .lines()
                .any(|it| it.contains("failed, ") && it.contains("Create on /bad: "))
        });
        assert!(!is_there("bad"));
        fs::remove_file(source.join("bad")).unwrap();
        daemon.wait_until("it goes with its file", || {
            let status = written(&status);
            status.contains("all events are done") && !status.contains("failed")
        });
        end(daemon);
    }
}

#[test]
fn a_function_that_takes_long_is_named_and_costs_no_change() {
    let sandbox = Sandbox::new();
    let (source, other) = (sandbox.directory("src"), sandbox.directory("other"));
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
    let noted = || written(&sandbox.path("noted"));
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
    let is_told = |line: &str| line.contains("Warn: action of Sync1 took ");
    assert!(log.lines().any(is_told), "{log}");
    end(daemon);
}

#[test]
fn a_program_that_cannot_be_started_or_is_killed_ends_nothing() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
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
    daemon.wait_until("it runs again", || written(&calls).lines().count() >= 2);
    assert!(!daemon.log().contains("collected killed"), "{}", daemon.log());
    fs::write(sandbox.path("go"), "").unwrap();
    daemon.wait_for_log("collected killed 0");
    end(daemon);
}

#[test]
fn a_program_that_a_script_waits_for_does_not_keep_the_daemon_from_ending() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
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
    assert_eq!(exit_code(reads.wait_end()), 143, "{}", reads.log());
    assert!(!reads.log().contains("does not return"), "{}", reads.log());
    fs::write(source.join("file"), "").unwrap();
    waits.wait_for_log("waits\n");
    waits.signal(Signal::TERM);
    assert_eq!(exit_code(waits.wait_end()), 143, "{}", waits.log());
    assert!(waits.log().contains("a script does not return"), "{}", waits.log());
}

#[test]
fn a_program_that_a_file_has_started_does_not_hold_up_its_end() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    sandbox.directory("dst");
    // The last one outlives the daemon, but not the test.
    let text = "started = io.popen('echo $$ >> @/started; while [ -e @/src ]; do sleep 0.05; done')
        sync{ default.direct, source = '@/src', target = '@/dst', delay = 0 }
        if readdir('@')['scripted'] ~= nil then
            sync{ source = '@/src', delay = 0, onCreate = 'echo ^pathname' }
        end";
    let daemon = sandbox.daemon().with(["-log", "Inotify"]).config(text, 1).start();
    let is_there = |number: usize| {
        let started = written(&sandbox.path("started"));
        let process = started.lines().nth(number).map(|pid| Path::new("/proc").join(pid));
        process.is_some_and(|process| process.exists())
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
    end(daemon);
}

#[test]
fn a_child_is_asked_to_end_before_its_sync_begins_anew() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let text = "
        sync{ source = '@/src', exitcodes = { [0] = 'ok' }
            , onStartup = 'echo start >> @/noted'
            , onCreate = [[
                  trap 'echo asked >> @/noted; exit 0' TERM
                  echo runs >> @/noted
                  while true; do sleep 0.05; done ]] }";
    let daemon = sandbox.daemon().config(text, 1).start();
    let noted = || written(&sandbox.path("noted"));
    daemon.wait_until("it is live", || noted() == "start\n");
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_until("the child runs", || noted() == "start\nruns\n");
    daemon.signal(Signal::HUP);
    daemon.wait_until("all begins anew", || noted() == "start\nruns\nasked\nstart\n");
    end(daemon);
}

#[test]
fn what_waits_is_not_lost_when_the_configuration_is_read_again() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let text = "
        local inlet = sync{ source = '@/src', exitcodes = { [0] = 'ok' }
            , onCreate = [[
                  if [ -e @/second ]; then echo ^pathname >> @/noted; exit 0; fi
                  touch @/second
                  while true; do sleep 0.05; done ]] }
        local function look(time)
            inlet.getEvents(function(event)
                if event.path == 'waits' then log('Normal', 'it is heard of') end
                return false
            end)
            alarm(time + 0.05, look)
        end
        alarm(now(), look)";
    let daemon = sandbox.daemon().with(["-log", "Inotify"]).config(text, 1).start();
    daemon.wait_watched();
    fs::write(source.join("worked-on"), "").unwrap();
    daemon.wait_until("the child runs", || sandbox.path("second").exists());
    fs::write(source.join("waits"), "").unwrap();
    daemon.wait_for_log("it is heard of");
    daemon.signal(Signal::HUP);
    let noted = || written(&sandbox.path("noted"));
    daemon.wait_until("nothing is lost", || noted().starts_with("worked-on\nwaits\n"));
    end(daemon);
}

#[test]
fn what_happens_while_the_configuration_is_read_again_is_told() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    for number in 0..200 {
        fs::create_dir(source.join(format!("d{number}"))).unwrap();
    }
    let text = "sync{ source = '@/src', delay = 0, onCreate = function(event)
        local noted = io.open('@/noted', 'a')
        noted:write(event.pathname, '\\n')
        noted:close() end }";
    let daemon = sandbox.daemon().with(["-log", "Inotify"]).config(text, 1).start();
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
            let is_near = || written(&noted).lines().count() + 400 > names.len();
            wait_until("the script is not far behind", || written(&noted), is_near);
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
    daemon.wait_until("all is told", || {
        let noted = written(&noted);
        let noted: BTreeSet<&str> = noted.lines().collect();
        names.iter().all(|name| noted.contains(&**name))
    });
    end(daemon);
}

#[test]
fn a_daemon_with_much_to_tell_its_script_still_listens() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let text = "sync{ source = '@/src'
        , onStartup = function() log('Normal', 'ready') end
        , onCreate = function(event)
              log('Normal', 'told')
              local time = os.clock() + 0.02
              while os.clock() < time do end
          end }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("ready");
    for number in 0..5000 {
        fs::write(source.join(number.to_string()), "").unwrap();
    }
    daemon.wait_for_log("told");
    // It has work for a hundred seconds, which it does not do before it listens.
    let asked = Instant::now();
    end(daemon);
    assert!(asked.elapsed() < Duration::from_mins(1), "{:?}", asked.elapsed());
}

#[test]
fn each_alarm_that_fails_is_told_once() {
    let sandbox = Sandbox::new();
    sandbox.directory("src");
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
    end(daemon);
}

#[test]
fn a_new_directory_that_cannot_be_read_is_told() {
    needs!(Need::Root);
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::set_permissions(sandbox.top(), Permissions::from_mode(0o755)).unwrap();
    let text = "sync{ source = '@/src', onStartup = function() log('Normal', 'ready') end }";
    let daemon = sandbox.daemon().run_by(65_534).config(text, 1).start();
    daemon.wait_for_log("ready");
    fs::create_dir(sandbox.path("locked")).unwrap();
    fs::set_permissions(sandbox.path("locked"), Permissions::from_mode(0o700)).unwrap();
    fs::rename(sandbox.path("locked"), source.join("locked")).unwrap();
    daemon.wait_for_log("Error: Sync1: cannot list /locked: Permission denied");
}

#[test]
fn the_inlet_of_another_sync_discards_none_of_its_own_events_instead() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    sandbox.directory("other");
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
    end(daemon);
}
