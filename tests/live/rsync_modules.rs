//! Modules of rsync daemons that refuse access temporarily.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use rustix::process::Signal;

use crate::support::{Requirement, Sandbox, TestDaemon, TestServer, TransferMode, needs};

/// A daemon with a module as target.
struct ModuleMirror {
    source: PathBuf,
    target: PathBuf,
    daemon: TestDaemon,
    server: TestServer,
    sandbox: Sandbox,
}

impl ModuleMirror {
    /// Starts with these settings of rsync and these lines in the module.
    fn start(rsync: &str, lines: &str, prepare: impl FnOnce(&Sandbox)) -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
        prepare(&sandbox);
        fs::write(source.join("file"), "content").unwrap();
        let server = TestServer::rsync(&sandbox, &target);
        server.configure(&target, &lines.replace('@', sandbox.top().to_str().unwrap()));
        let text = format!(
            "settings{{ insist = true }}
             sync{{ default.rsync, source = '@/src', target = 'rsync://me\\x40127.0.0.1:{}/mirror'
                  , rsync = {{ {rsync} }} }}",
            server.port()
        );
        let daemon = sandbox.daemon().config(&text, 1).start();
        Self { source, target, daemon, server, sandbox }
    }

    /// Waits until a failure with this message and a retry are logged.
    #[track_caller]
    fn expect_retry(&self, message: &str) {
        self.daemon.wait_until(&format!("a retry is logged with {message:?}"), || {
            let log = self.daemon.log();
            log.lines().any(|line| line.contains(message) && line.contains("retrying in"))
        });
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.signal(Signal::HUP);
        self.daemon.wait_mirrored(TransferMode::Rsync, &self.source, &self.target);
    }
}

const SECRET: &str = "auth users = me\nsecrets file = @/secrets";

fn write_private_file(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_password_file_is_used() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mirror = ModuleMirror::start("password_file = '@/password'", SECRET, |sandbox| {
        write_private_file(sandbox, "secrets", "me:right\n");
        write_private_file(sandbox, "password", "right\n");
    });
    mirror.daemon.wait_live();
    mirror.expect_mirrored();
}

#[test]
fn a_wrong_or_missing_password_is_reported_and_retried() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mirror = ModuleMirror::start("password_file = '@/password'", SECRET, |sandbox| {
        write_private_file(sandbox, "secrets", "me:right\n");
        write_private_file(sandbox, "password", "right\n");
    });
    mirror.daemon.wait_live();
    let password = mirror.sandbox.path("password");
    let wrong = || write_private_file(&mirror.sandbox, "password", "wrong\n");
    let open = || fs::set_permissions(&password, Permissions::from_mode(0o644)).unwrap();
    let missing = || fs::remove_file(&password).unwrap();
    let failures: [(&dyn Fn(), &str); 3] = [
        (&wrong, "auth failed on module mirror"),
        (&open, "password file must not be other-accessible"),
        (&missing, "could not open password file"),
    ];
    for (break_access, message) in failures {
        break_access();
        fs::write(mirror.source.join("file"), message).unwrap();
        mirror.expect_retry(message);
        write_private_file(&mirror.sandbox, "password", "right\n");
        mirror.expect_mirrored();
    }
}

#[test]
fn an_inaccessible_module_is_reported_and_retried() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mirror = ModuleMirror::start("", "", |_| ());
    mirror.daemon.wait_live();
    for (lines, message) in [
        ("hosts allow = 192.0.2.1", "access denied to mirror"),
        ("read only = yes", "module is read only"),
        ("path = /nonexistent/mirror", "chdir failed"),
        ("max connections = -1", "max connections (-1) reached"),
    ] {
        mirror.server.configure(&mirror.target, lines);
        fs::write(mirror.source.join("file"), message).unwrap();
        mirror.expect_retry(message);
        mirror.server.configure(&mirror.target, "");
        mirror.expect_mirrored();
    }
}

#[test]
fn a_module_with_too_many_connections_is_retried() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mirror = ModuleMirror::start("", "", |_| ());
    mirror.daemon.wait_live();
    let lines =
        format!("max connections = 1\nlock file = {}", mirror.sandbox.path("lock").display());
    mirror.server.configure(&mirror.target, &lines);
    let guest = mirror.server.occupy_module();
    fs::write(mirror.source.join("file"), "changed").unwrap();
    mirror.expect_retry("max connections (1) reached");
    drop(guest);
    mirror.expect_mirrored();
}

#[test]
fn a_refused_file_is_forgotten_once_it_is_deleted() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let mirror = ModuleMirror::start("", "exclude = secret", |_| ());
    mirror.daemon.wait_live();
    // A file that the module hides must not be deleted.
    fs::write(mirror.target.join("secret"), "of the module").unwrap();
    fs::write(mirror.source.join("secret"), "").unwrap();
    mirror.daemon.wait_until("it is refused", || {
        mirror.daemon.log().lines().any(|line| line.contains("/secret: ERROR: daemon refused"))
    });
    fs::remove_file(mirror.source.join("secret")).unwrap();
    mirror.daemon.wait_for_log("Finished a list after exitcode: 0");
    assert!(mirror.target.join("secret").exists());
}

#[test]
fn a_transfer_to_a_killed_server_is_retried() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    // The transfer would take twenty seconds.
    let mirror = ModuleMirror::start("bwlimit = 100", "", |_| ());
    mirror.daemon.wait_live();
    let large = mirror.source.join("large");
    fs::write(&large, vec![b'x'; 2 << 20]).unwrap();
    let begun = || fs::read_dir(&mirror.target).unwrap().count() > 1;
    mirror.daemon.wait_until("a part is there", begun);
    let ModuleMirror { source, target, daemon, server, sandbox: _sandbox } = mirror;
    server.cut_connections();
    let stopped = server.stop();
    daemon.wait_for_log("retrying in");
    // A retry takes no time, because the file is small now.
    fs::write(large, "it has become small").unwrap();
    let _server = stopped.start();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
}
