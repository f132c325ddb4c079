//! Symbolic links must not lead out of source or target.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, TryRecvError},
    },
    thread,
};

use rustix::fs::{Mode as Permissions, OFlags, open, openat};

use crate::support::{LiveMirror, TransferMode, differences, in_both_modes};

in_both_modes!(
    a_link_in_the_target_does_not_lead_out_of_it,
    a_delete_does_not_follow_a_link_in_the_target,
    a_directory_swapped_for_a_link_leaks_nothing,
);

/// Reads the file in a directory that must not be a symbolic link, through one directory handle.
fn content(directory: &Path) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    let directory = open(directory, flags | OFlags::DIRECTORY, Permissions::empty())?;
    let file = openat(&directory, "file", flags, Permissions::empty())?;
    let mut content = Vec::new();
    File::from(file).read_to_end(&mut content)?;
    Ok(content)
}

/// Creates a directory outside of the trees, with a file that must not change.
fn victim(live: &LiveMirror) -> std::path::PathBuf {
    let outside = live.sandbox.create_dir("outside");
    fs::write(outside.join("file"), "untouched").unwrap();
    outside
}

#[track_caller]
fn expect_untouched(outside: &Path) {
    let names: Vec<_> = fs::read_dir(outside).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
}

fn a_link_in_the_target_does_not_lead_out_of_it(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let outside = victim(&live);
    fs::remove_dir_all(live.target.join("old/deep")).unwrap();
    symlink(&outside, live.target.join("old/deep")).unwrap();
    fs::write(live.source_path("old/deep/file"), "changed").unwrap();
    fs::write(live.source_path("old/deep/new"), "new").unwrap();
    live.expect_mirrored();
    expect_untouched(&outside);
}

fn a_delete_does_not_follow_a_link_in_the_target(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let outside = victim(&live);
    fs::remove_dir_all(live.target.join("old")).unwrap();
    symlink(&outside, live.target.join("old")).unwrap();
    fs::create_dir(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/file"), "untouched").unwrap();
    fs::remove_dir_all(live.source_path("old/deep")).unwrap();
    fs::write(live.source_path("last"), "").unwrap();
    let last = live.target.join("last");
    live.daemon.wait_until("a later change arrives", || last.exists());
    assert_eq!(fs::read_to_string(outside.join("deep/file")).unwrap(), "untouched");
}

fn a_directory_swapped_for_a_link_leaks_nothing(mode: TransferMode) {
    let live = LiveMirror::start(mode);
    let outside = victim(&live);
    fs::write(outside.join("file"), "secret").unwrap();
    let (place, aside) = (live.source_path("old/deep"), live.sandbox.path("aside"));
    let mirrored = live.target.join("old/deep");
    // Through a symbolic link it would be the secret itself, which is not a leak.
    let leaks = || content(&mirrored).is_ok_and(|content| content == b"secret");
    let leaked = AtomicBool::new(false);
    thread::scope(|scope| {
        // The thread exits with this channel, even if a wait times out.
        let (running, ended) = mpsc::channel::<()>();
        let leaked = &leaked;
        scope.spawn(move || {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                leaked.fetch_or(leaks(), Ordering::Relaxed);
            }
        });
        for round in 0..300 {
            fs::write(place.join("file"), format!("ours {round}")).unwrap();
            fs::rename(&place, &aside).unwrap();
            symlink(&outside, &place).unwrap();
            fs::remove_file(&place).unwrap();
            fs::rename(&aside, &place).unwrap();
            if round % 30 == 0 {
                let equal = || differences(mode, &live.source, &live.target).is_empty();
                live.daemon.wait_until("a round is mirrored", equal);
            }
        }
        drop(running);
    });
    live.expect_mirrored();
    // rsync opens files by their paths, so a link can lead it out of the source for one transfer.
    if mode == TransferMode::Direct {
        assert!(!leaked.load(Ordering::Relaxed), "what lies outside came into the target");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "secret");
}
