//! Very many changes, told to a script as lists.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Sandbox, exit_code};

/// How many changes there are, and in how many directories.
const CHANGES: (u64, u64) = (100_000, 100);
/// How long a name is at least, with the end of its line.
const SHORTEST: u64 = 5;
/// By far enough for as many; what grows with the square of them would take hours.
const LIMIT: Duration = Duration::from_secs(50);

#[test]
fn a_hundred_thousand_names_reach_a_program() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    for directory in 0..CHANGES.1 {
        fs::create_dir(source.join(directory.to_string())).unwrap();
    }
    let text = "
        sync{ source = '@/src', delay = 0.2
            , init = function(event)
                  event.inlet.discardEvent(event)
                  log('Normal', 'ready')
              end
            , action = function(inlet)
                  local events = inlet.getEvents()
                  local names = events.getPaths(function(etype, path) return path .. '\\n' end)
                  spawn(events, 'sh', '<', table.concat(names), '-c', 'cat >> @/names')
              end
            , collect = function(events, code)
                  log('Normal', events.size(), ' names, ', code)
              end }";
    let mut daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_for_log("ready");
    make(&source);
    let made = Instant::now();
    let names = sandbox.path("names");
    let mut found = HashSet::new();
    daemon.wait_until("all names have arrived", || {
        let size = fs::metadata(&names).map_or(0, |file| file.len());
        if size >= CHANGES.0 * SHORTEST {
            found = fs::read_to_string(&names).unwrap().lines().map(str::to_owned).collect();
        }
        found.len() as u64 >= CHANGES.0
    });
    assert!(made.elapsed() < LIMIT, "it took {:?}", made.elapsed());
    for number in 0..CHANGES.0 {
        assert!(found.contains(&name(number)), "{} is missing", name(number));
    }
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_end()), 143);
}

fn name(number: u64) -> String {
    format!("/{}/{number}", number % CHANGES.1)
}

/// Makes links, since each of them is one change.
fn make(source: &Path) {
    for number in 0..CHANGES.0 {
        symlink("nowhere", source.join(&name(number)[1..])).unwrap();
    }
}
