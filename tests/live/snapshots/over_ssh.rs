//! Targets that are reached over ssh: the mark is on the other machine.

use std::{
    fs::{self, File, FileTimes},
    os::unix::fs::symlink,
};

use super::{EVERYTHING, NOTHING, Restarts, check_exchanged_source};
use crate::support::{Requirement, TestServer, TransferMode, find_program, needs};

/// A way to write such a sync.
#[derive(Clone, Copy, Debug)]
enum SyncForm {
    Rsyncssh,
    /// `default.rsync` with `host:path`.
    Rsync,
}

use SyncForm::{Rsync, Rsyncssh};

/// Text of the status of a change at the source.
const CHANGED: &str = "may have changed since the last snapshot";

/// Skips the test without a server and its tools.
macro_rules! needs_marks {
    () => {
        needs!(
            Requirement::Ssh,
            Requirement::Program("setfattr"),
            Requirement::Program("getfattr")
        );
    };
}

/// Returns restarts of a sync over ssh, with more settings.
fn over_ssh(form: SyncForm, more: &str) -> (Restarts, TestServer) {
    let mut restarts = Restarts::new(TransferMode::Rsync);
    let server = TestServer::ssh(&restarts.sandbox);
    set_sync(&mut restarts, &server, form, more);
    (restarts, server)
}

fn set_sync(restarts: &mut Restarts, server: &TestServer, form: SyncForm, more: &str) {
    restarts.remote = Some(match form {
        Rsyncssh => {
            let sync = server.rsyncssh_config(more);
            let sync = sync.strip_prefix("sync{").unwrap().trim().trim_end_matches([' ', ',']);
            let sync = sync.strip_suffix('}').unwrap();
            sync.replace("@/src", "@/source").replace("@/dst", "@/served/target")
        }
        Rsync => format!(
            "default.rsync, source = '@/source', target = 'root\\x40127.0.0.1:@/served/target',
             rsync = {{ rsh = [[{}]], bwlimit = '100000' }}, {more}",
            server.remote_shell()
        ),
    });
}

/// Creates a file at the target, which a full transfer deletes. Nothing else shows that it is
/// there.
fn add_surplus(restarts: &Restarts) {
    let directory = restarts.target.join("empty");
    let time = fs::metadata(&directory).unwrap().modified().unwrap();
    fs::write(directory.join("surplus"), "").unwrap();
    File::open(&directory).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Removes that file, which must be there.
fn remove_surplus(restarts: &Restarts) {
    let directory = restarts.target.join("empty");
    let time = fs::metadata(restarts.source.join("empty")).unwrap().modified().unwrap();
    fs::remove_file(directory.join("surplus")).unwrap();
    File::open(&directory).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn check_restart(form: SyncForm) {
    let (restarts, _server) = over_ssh(form, "");
    restarts.fill();
    add_surplus(&restarts);
    let daemon = restarts.start(&["-log", "Exec"]);
    assert!(daemon.log().contains(NOTHING), "{}", daemon.log());
    assert!(!daemon.log().contains("--delete"), "no rsync: {}", daemon.log());
    restarts.stop(daemon);
    fs::write(restarts.source.join("a/file0"), "changed").unwrap();
    let daemon = restarts.start(&[]);
    assert!(daemon.log().contains(CHANGED), "{}", daemon.log());
    remove_surplus(&restarts);
    daemon.wait_mirrored(restarts.mode, &restarts.source, &restarts.target);
    // A crash, with a mark that may be the one of the snapshot before.
    restarts.settle(&daemon);
    fs::write(restarts.source.join("a/file0"), "changed again").unwrap();
    restarts.wait_for_any_snapshot(&daemon);
    Restarts::kill(daemon);
    let daemon = restarts.start(&[]);
    assert!(!daemon.log().contains(EVERYTHING), "{}", daemon.log());
    restarts.stop(daemon);
}

#[test]
fn a_restart_of_rsyncssh_transfers_only_differences() {
    needs_marks!();
    check_restart(Rsyncssh);
}

#[test]
fn a_restart_of_rsync_over_ssh_transfers_only_differences() {
    needs_marks!();
    check_restart(Rsync);
}

#[test]
fn a_target_over_ssh_is_compared_as_a_whole_if_it_may_have_changed() {
    needs_marks!();
    let (restarts, _server) = over_ssh(Rsyncssh, "");
    restarts.fill();
    let (snapshot, old) = (restarts.snapshot(), restarts.sandbox.path("old"));
    fs::copy(&snapshot, &old).unwrap();
    let daemon = restarts.expect(NOTHING);
    fs::write(restarts.source.join("a/new"), "").unwrap();
    daemon.wait_mirrored(restarts.mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    fs::copy(&old, &snapshot).unwrap();
    restarts.stop(restarts.expect("the target is newer than the snapshot"));
    // Restored before a run has taken a snapshot.
    fs::copy(restarts.snapshot(), &old).unwrap();
    Restarts::kill(restarts.expect(NOTHING));
    Restarts::kill(restarts.expect(NOTHING));
    fs::copy(&old, restarts.snapshot()).unwrap();
    restarts.stop(restarts.expect("the target is newer than the snapshot"));
    // A directory without the content.
    fs::rename(&restarts.target, restarts.sandbox.path("moved")).unwrap();
    fs::create_dir(&restarts.target).unwrap();
    restarts.stop(restarts.expect("the target has lost its mark"));
    restarts.stop(restarts.expect(NOTHING));
    fs::remove_dir_all(&restarts.target).unwrap();
    restarts.stop(restarts.expect("the target can't be checked: no directory there at "));
    restarts.stop(restarts.expect(NOTHING));
}

#[test]
fn a_host_without_the_tools_needs_trust() {
    needs_marks!();
    let (mut restarts, server) = over_ssh(Rsync, "");
    restarts.fill();
    let bin = restarts.sandbox.create_dir("bin");
    for name in ["rsync", "sh"] {
        symlink(find_program(name).unwrap(), bin.join(name)).unwrap();
    }
    let bin = bin.display();
    server.force_command(&format!(
        r#"PATH={bin}; export PATH; exec {bin}/sh -c "$SSH_ORIGINAL_COMMAND""#
    ));
    let reason = "the target can't be checked: root@127.0.0.1 has neither getfattr nor python3: \
                  install the package attr there, or set trustTarget = true if";
    add_surplus(&restarts);
    let daemon = restarts.expect(reason);
    restarts.stop(daemon);
    set_sync(&mut restarts, &server, Rsync, "trustTarget = true");
    restarts.stop(restarts.expect(NOTHING));
}

#[test]
fn a_host_that_runs_only_rsync_needs_trust() {
    needs_marks!();
    let (mut restarts, server) = over_ssh(Rsyncssh, "");
    server.force_command(
        r"case $SSH_ORIGINAL_COMMAND in rsync*) exec $SSH_ORIGINAL_COMMAND;; esac; exit 1",
    );
    let daemon = restarts.start(&[]);
    daemon.wait_mirrored(restarts.mode, &restarts.source, &restarts.target);
    daemon.wait_for_log("the next start transfers everything: no shell at root@127.0.0.1 (");
    restarts.stop(daemon);
    restarts.stop(restarts.expect("the target can't be checked: no shell at root@127.0.0.1 ("));
    set_sync(&mut restarts, &server, Rsyncssh, "trustTarget = true");
    restarts.stop(restarts.expect(NOTHING));
    server.allow_commands();
    set_sync(&mut restarts, &server, Rsyncssh, "");
    restarts.stop(restarts.expect("the target has lost its mark"));
    restarts.stop(restarts.expect(NOTHING));
}

#[test]
fn a_host_that_is_down_at_the_start_gets_everything_later() {
    needs_marks!();
    let (restarts, server) = over_ssh(Rsyncssh, "");
    restarts.fill();
    let stopped = server.stop();
    fs::write(restarts.source.join("a/file0"), "changed").unwrap();
    let daemon = restarts.start_without_waiting(&["-insist"]);
    daemon.wait_for_log(&format!("{EVERYTHING}the target can't be checked: "));
    daemon.wait_for_log("Retry");
    let _server = stopped.start();
    daemon.wait_live();
    daemon.wait_mirrored(restarts.mode, &restarts.source, &restarts.target);
    restarts.stop(daemon);
    // What was known to change is compared again, because a transfer was lost less than a minute
    // ago.
    restarts.stop(restarts.expect("1 path may have changed since the last snapshot"));
}

/// A snapshot marks no directory but the one that has received everything.
#[test]
fn a_target_over_ssh_that_is_replaced_meanwhile_is_transferred() {
    needs_marks!();
    let (restarts, _server) = over_ssh(Rsyncssh, "");
    restarts.fill();
    let daemon = restarts.expect(NOTHING);
    fs::rename(&restarts.target, restarts.sandbox.path("moved")).unwrap();
    fs::create_dir(&restarts.target).unwrap();
    fs::write(restarts.source.join("a/file0"), "changed").unwrap();
    daemon.wait_for_log("the next start transfers everything: the target at root@127.0.0.1 was");
    restarts.stop(daemon);
    restarts.stop(restarts.expect("the target has lost its mark"));
    restarts.stop(restarts.expect(NOTHING));
}

/// The mark of the first source must not outlast the first change from the second one.
#[test]
fn a_target_over_ssh_that_another_source_has_changed_is_transferred() {
    needs_marks!();
    let (mut restarts, server) = over_ssh(Rsync, "");
    set_sync(&mut restarts, &server, Rsync, "maxDelete = false");
    let sync = restarts.remote.take().unwrap();
    restarts.remote = Some(sync.replace("bwlimit = '100000'", "bwlimit = '10'"));
    check_exchanged_source(&restarts);
}

/// rsync may run in another root than a shell.
#[test]
fn a_target_of_a_wrapped_rsync_has_no_mark() {
    needs_marks!();
    let (mut restarts, _server) = over_ssh(Rsync, "");
    let sync = restarts.remote.take().unwrap();
    restarts.remote = Some(sync.replace("bwlimit = '100000'", "rsync_path = 'env rsync'"));
    restarts.fill();
    restarts.stop(restarts.expect("it is unknown whether the target was changed by others"));
}
