//! Very many changes as lists for a script.

use std::{collections::HashSet, fs, os::unix::fs::symlink};

use rustix::process::Signal;

use crate::support::{Sandbox, exit_code};

/// Number of changes, and of directories.
const CHANGES: (u64, u64) = (100_000, 100);
/// Number of changes that fit safely into the kernel's event queue.
const CHUNK: u64 = 5_000;
/// Minimum length of a name with its line break.
const SHORTEST: u64 = 5;

#[test]
fn a_program_gets_a_hundred_thousand_names() {
    let sandbox = Sandbox::new();
    let (source, other) = (sandbox.create_dir("src"), sandbox.create_dir("other"));
    for directory in 0..CHANGES.1 {
        fs::create_dir(source.join(directory.to_string())).unwrap();
    }
    let text = "
        sync{ source = '@/src', onStartup = 'echo ready'
            , action = function(inlet)
                  local events = inlet.getEvents()
                  local names = events.getPaths(function(etype, path) return path .. '\\n' end)
                  spawn(events, 'sh', '<', table.concat(names), '-c',
                        'until test -e @/go; do sleep 0.05; done; cat >> @/names')
              end }
        sync{ source = '@/other', onCreate = 'echo has read ^path' }";
    let mut daemon = sandbox.daemon().args(["-log", "Inotify"]).config(text, 2).start();
    daemon.wait_for_log("ready\n");
    daemon.wait_watched();
    for number in 0..CHANGES.0 {
        // A symbolic link is one change.
        symlink("nowhere", source.join(&name(number)[1..])).unwrap();
        if number % CHUNK == 0 {
            fs::create_dir(other.join(number.to_string())).unwrap();
            daemon.wait_for_log(&format!("has read {number}/\n"));
        }
    }
    fs::write(sandbox.path("go"), "").unwrap();
    let names = sandbox.path("names");
    let mut found = HashSet::new();
    // A quadratic algorithm would take hours.
    daemon.wait_until("all names have arrived", || {
        let size = fs::metadata(&names).map_or(0, |file| file.len());
        if size >= CHANGES.0 * SHORTEST {
            found = fs::read_to_string(&names).unwrap().lines().map(str::to_owned).collect();
        }
        found.len() as u64 >= CHANGES.0
    });
    for number in 0..CHANGES.0 {
        assert!(found.contains(&name(number)), "{} is missing", name(number));
    }
    daemon.signal(Signal::TERM);
    assert_eq!(exit_code(daemon.wait_exit()), 143);
}

fn name(number: u64) -> String {
    format!("/{}/{number}", number % CHANGES.1)
}
