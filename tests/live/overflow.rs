//! More events than the kernel keeps.

use std::fs;

use rustix::process::Signal;

use crate::support::{Live, Mode, Sandbox, in_both_modes};

in_both_modes!(an_overflow_is_read_again_without_a_restart);

/// Two events each: more than `fs.inotify.max_queued_events` allows by default.
const FILES: usize = 10_000;

fn an_overflow_is_read_again_without_a_restart(mode: Mode) {
    let mut live = Live::start_with(Sandbox::new(), mode, &["-watch", "inotify"]);
    live.daemon.signal(Signal::STOP);
    fs::create_dir(live.at("many")).unwrap();
    for file in 0..FILES {
        // The directory is not watched yet, so these are seen from above.
        let directory = if file % 2 == 0 { "old/deep" } else { "old" };
        fs::write(live.at(directory).join(format!("file{file}")), "").unwrap();
        if file < 100 {
            fs::write(live.at("many").join(file.to_string()), "").unwrap();
        }
    }
    fs::remove_file(live.at("old/deep/file")).unwrap();
    live.daemon.signal(Signal::CONT);
    live.expect_mirrored();
    assert!(live.daemon.runs());
    let log = live.daemon.log();
    assert!(log.contains("may have been missed"), "{log}");
    assert_eq!(log.matches("Startup of").count(), 1, "{log}");
    fs::write(live.at("many/afterwards"), "").unwrap();
    live.expect_mirrored();
}
