//! Overflow of the kernel's event queue.

use std::fs;

use rustix::process::Signal;

use crate::support::{LiveMirror, Sandbox, TransferMode, in_both_modes};

in_both_modes!(a_queue_overflow_causes_a_rescan_without_a_restart);

/// With two events each, more than the default of `fs.inotify.max_queued_events`.
const FILES: usize = 10_000;

fn a_queue_overflow_causes_a_rescan_without_a_restart(mode: TransferMode) {
    let mut live = LiveMirror::start_with(Sandbox::new(), mode, &["-watch", "inotify"]);
    live.daemon.signal(Signal::STOP);
    fs::create_dir(live.source_path("many")).unwrap();
    for file in 0..FILES {
        // The directory is not watched yet, so a rescan must find these.
        let directory = if file % 2 == 0 { "old/deep" } else { "old" };
        fs::write(live.source_path(directory).join(format!("file{file}")), "").unwrap();
        if file < 100 {
            fs::write(live.source_path("many").join(file.to_string()), "").unwrap();
        }
    }
    fs::remove_file(live.source_path("old/deep/file")).unwrap();
    live.daemon.signal(Signal::CONT);
    live.expect_mirrored();
    assert!(live.daemon.is_running());
    let log = live.daemon.log();
    assert!(log.contains("events lost: rescanning"), "{log}");
    assert_eq!(log.matches("Startup of").count(), 1, "{log}");
    fs::write(live.source_path("many/afterwards"), "").unwrap();
    live.expect_mirrored();
}
