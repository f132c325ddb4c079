//! The hook `onSynced`.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::support::{Sandbox, TestDaemon, TransferMode, in_both_modes};

in_both_modes!(
    the_hook_gets_the_paths_of_the_batch,
    the_hook_gets_the_root_after_a_full_resync,
    with_retry_batch_and_hook_are_repeated_until_the_hook_succeeds,
    with_hold_a_failed_hook_suspends_the_sync,
);

/// Starts a sync from `src` to `dst` with this hook, a shell command with the sandbox in `$TOP`.
fn start(
    sandbox: &Sandbox,
    mode: TransferMode,
    hook: &str,
    on_failure: &str,
) -> (TestDaemon, PathBuf) {
    let source = sandbox.create_dir("src");
    let default = match mode {
        TransferMode::Direct => "direct",
        TransferMode::Rsync => "rsync",
    };
    let text = format!(
        "sync{{ default.{default}, source = '@/src', target = '@/dst', onSyncedFailure = '{on_failure}'
              , onSynced = [[TOP=$(dirname \"$LSYNCD_SOURCE\"); {hook}]] }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).start();
    (daemon, source)
}

fn the_hook_gets_the_paths_of_the_batch(mode: TransferMode) {
    let sandbox = Sandbox::new();
    // The names are on the target when the hook runs.
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

fn the_hook_gets_the_root_after_a_full_resync(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let hook = "tr '\\0' '|' >> \"$TOP/names\"; echo >> \"$TOP/names\"";
    let (daemon, source) = start(&sandbox, mode, hook, "warn");
    daemon.wait_live();
    let names = || fs::read_to_string(sandbox.path("names")).unwrap_or_default();
    daemon.wait_until("it is called for the startup", || names() == "./|\n");
    fs::rename(sandbox.path("dst"), sandbox.path("aside")).unwrap();
    fs::write(source.join("new"), "").unwrap();
    daemon.wait_until("it is called again", || names().matches('\n').count() == 2);
    assert_eq!(names(), "./|\n./|\n");
}

fn with_retry_batch_and_hook_are_repeated_until_the_hook_succeeds(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let hook = "echo call >> \"$TOP/calls\"; test -e \"$TOP/ready\"";
    let (daemon, source) = start(&sandbox, mode, hook, "retry");
    daemon.wait_for_log("onSynced: sh exited with code 1; retrying in");
    fs::write(source.join("second"), "").unwrap();
    fs::write(sandbox.path("ready"), "").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(mode, &source, &sandbox.path("dst"));
    let calls = || fs::read_to_string(sandbox.path("calls")).unwrap().lines().count();
    daemon.wait_until("it was called again", || calls() >= 2);
}

fn with_hold_a_failed_hook_suspends_the_sync(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let hook = "test -e \"$TOP/ready\"";
    let (mut daemon, source) = start(&sandbox, mode, hook, "hold");
    daemon.wait_for_log("onSynced: sh exited with code 1; Sync1 waits for SIGHUP");
    fs::write(source.join("second"), "").unwrap();
    fs::write(sandbox.path("ready"), "").unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait_exit();
    assert!(!sandbox.path("dst/second").exists());
    let (daemon, source) = start(&sandbox, mode, hook, "hold");
    daemon.wait_mirrored(mode, &source, &sandbox.path("dst"));
}
