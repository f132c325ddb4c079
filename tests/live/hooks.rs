//! What a user wants done whenever a batch is on the target.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::support::{Daemon, Mode, Sandbox, in_both_modes};

in_both_modes!(
    it_is_called_with_what_was_looked_at,
    it_is_called_with_all_where_all_was_owed_to_the_target,
    the_batch_and_it_are_made_again_until_it_succeeds,
    nothing_more_is_done_until_somebody_says_so,
);

/// A sync from `src` to `dst` with this hook, a shell command that finds the sandbox in `$TOP`.
fn start(sandbox: &Sandbox, mode: Mode, hook: &str, on_failure: &str) -> (Daemon, PathBuf) {
    let source = sandbox.directory("src");
    let default = match mode {
        Mode::Direct => "direct",
        Mode::Rsync => "rsync",
    };
    let text = format!(
        "sync{{ default.{default}, source = '@/src', target = '@/dst', onSyncedFailure = '{on_failure}'
              , onSynced = [[TOP=$(dirname \"$LSYNCD_SOURCE\"); {hook}]] }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).start();
    (daemon, source)
}

fn it_is_called_with_what_was_looked_at(mode: Mode) {
    let sandbox = Sandbox::new();
    // When it is called, what it reads is there.
    let hook = "tr '\\0' '|' > \"$TOP/names.new\"; ls \"$LSYNCD_TARGET\" >> \"$TOP/names.new\"; \
                mv \"$TOP/names.new\" \"$TOP/names\"; echo \"hook of $LSYNCD_SYNC\"";
    let (daemon, source) = start(&sandbox, mode, hook, "warn");
    daemon.wait_live();
    let names = || fs::read_to_string(sandbox.path("names")).unwrap_or_default();
    daemon.wait_until("it is called for the startup", || names() == "./|");
    fs::write(source.join("it's \n"), "").unwrap();
    daemon.wait_until("it is called for a change", || names().starts_with("it's \n|"));
    assert!(names().ends_with("|it's \n\n"), "{}", names());
    daemon.wait_for_log("hook of Sync1");
}

fn it_is_called_with_all_where_all_was_owed_to_the_target(mode: Mode) {
    let sandbox = Sandbox::new();
    let hook = "tr '\\0' '|' >> \"$TOP/names\"; echo >> \"$TOP/names\"";
    let (daemon, source) = start(&sandbox, mode, hook, "warn");
    daemon.wait_live();
    let names = || fs::read_to_string(sandbox.path("names")).unwrap_or_default();
    daemon.wait_until("it is called for the startup", || names() == "./|\n");
    fs::rename(sandbox.path("dst"), sandbox.path("aside")).unwrap();
    fs::write(source.join("new"), "").unwrap();
    daemon.wait_until("it is called again", || names().lines().count() == 2);
    assert_eq!(names(), "./|\n./|\n");
}

fn the_batch_and_it_are_made_again_until_it_succeeds(mode: Mode) {
    let sandbox = Sandbox::new();
    let hook = "echo call >> \"$TOP/calls\"; test -e \"$TOP/ready\"";
    let (daemon, source) = start(&sandbox, mode, hook, "retry");
    daemon.wait_for_log("onSynced: sh ended with code 1; next try in");
    fs::write(source.join("second"), "").unwrap();
    fs::write(sandbox.path("ready"), "").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(mode, &source, &sandbox.path("dst"));
    let calls = || fs::read_to_string(sandbox.path("calls")).unwrap().lines().count();
    daemon.wait_until("it was called again", || calls() >= 2);
}

fn nothing_more_is_done_until_somebody_says_so(mode: Mode) {
    let sandbox = Sandbox::new();
    let hook = "test -e \"$TOP/ready\"";
    let (mut daemon, source) = start(&sandbox, mode, hook, "hold");
    daemon.wait_for_log("onSynced: sh ended with code 1; Sync1 waits for SIGHUP");
    fs::write(source.join("second"), "").unwrap();
    fs::write(sandbox.path("ready"), "").unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(!sandbox.path("dst/second").exists());
    let (daemon, source) = start(&sandbox, mode, hook, "hold");
    daemon.wait_mirrored(mode, &source, &sandbox.path("dst"));
}
