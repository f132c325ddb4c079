//! Modules of rsync daemons that do not want us, for a while.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use rustix::process::Signal;

use crate::support::{Daemon, Mode, Need, Sandbox, Server, needs};

/// A daemon that mirrors to a module.
struct Mirror {
    source: PathBuf,
    target: PathBuf,
    daemon: Daemon,
    server: Server,
    sandbox: Sandbox,
}

impl Mirror {
    /// Starts with these settings of rsync, while the module has these lines.
    fn start(rsync: &str, lines: &str, prepare: impl FnOnce(&Sandbox)) -> Self {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
        prepare(&sandbox);
        fs::write(source.join("file"), "content").unwrap();
        let server = Server::rsync(&sandbox, &target);
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

    /// Waits until it is told in these words that there is no way, and that it is tried again.
    #[track_caller]
    fn expect_trouble(&self, words: &str) {
        self.daemon.wait_until(&format!("a retry tells {words:?}"), || {
            let log = self.daemon.log();
            log.lines().any(|line| line.contains(words) && line.contains("next try in"))
        });
    }

    #[track_caller]
    fn expect_mirrored(&self) {
        self.daemon.signal(Signal::HUP);
        self.daemon.wait_mirrored(Mode::Rsync, &self.source, &self.target);
    }
}

const SECRET: &str = "auth users = me\nsecrets file = @/secrets";

fn private_file(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_password_is_taken_from_its_file() {
    needs!(Mode::Rsync.need(), Need::Root);
    let mirror = Mirror::start("password_file = '@/password'", SECRET, |sandbox| {
        private_file(sandbox, "secrets", "me:right\n");
        private_file(sandbox, "password", "right\n");
    });
    mirror.daemon.wait_live();
    mirror.expect_mirrored();
}

#[test]
fn a_password_that_is_wrong_or_missing_is_told_and_tried_again() {
    needs!(Mode::Rsync.need(), Need::Root);
    let mirror = Mirror::start("password_file = '@/password'", SECRET, |sandbox| {
        private_file(sandbox, "secrets", "me:right\n");
        private_file(sandbox, "password", "right\n");
    });
    mirror.daemon.wait_live();
    let password = mirror.sandbox.path("password");
    let wrong = || private_file(&mirror.sandbox, "password", "wrong\n");
    let open = || fs::set_permissions(&password, Permissions::from_mode(0o644)).unwrap();
    let missing = || fs::remove_file(&password).unwrap();
    let troubles: [(&dyn Fn(), &str); 3] = [
        (&wrong, "auth failed on module mirror"),
        (&open, "password file must not be other-accessible"),
        (&missing, "could not open password file"),
    ];
    for (make_trouble, words) in troubles {
        make_trouble();
        fs::write(mirror.source.join("file"), words).unwrap();
        mirror.expect_trouble(words);
        private_file(&mirror.sandbox, "password", "right\n");
        mirror.expect_mirrored();
    }
}

#[test]
fn a_module_that_is_not_given_out_is_told_and_tried_again() {
    needs!(Mode::Rsync.need(), Need::Root);
    let mirror = Mirror::start("", "", |_| ());
    mirror.daemon.wait_live();
    for (lines, words) in [
        ("hosts allow = 192.0.2.1", "access denied to mirror"),
        ("read only = yes", "module is read only"),
        ("path = /nonexistent/mirror", "chdir failed"),
        ("max connections = -1", "max connections (-1) reached"),
    ] {
        mirror.server.configure(&mirror.target, lines);
        fs::write(mirror.source.join("file"), words).unwrap();
        mirror.expect_trouble(words);
        mirror.server.configure(&mirror.target, "");
        mirror.expect_mirrored();
    }
}

#[test]
fn a_module_with_too_many_guests_is_tried_again() {
    needs!(Mode::Rsync.need(), Need::Root);
    let mirror = Mirror::start("", "", |_| ());
    mirror.daemon.wait_live();
    let lines =
        format!("max connections = 1\nlock file = {}", mirror.sandbox.path("lock").display());
    mirror.server.configure(&mirror.target, &lines);
    let guest = mirror.server.guest();
    fs::write(mirror.source.join("file"), "changed").unwrap();
    mirror.expect_trouble("max connections (1) reached");
    drop(guest);
    mirror.expect_mirrored();
}

#[test]
fn what_a_module_refuses_is_no_trouble_once_it_is_gone() {
    needs!(Mode::Rsync.need(), Need::Root);
    let mirror = Mirror::start("", "exclude = secret", |_| ());
    mirror.daemon.wait_live();
    // What the module hides is nobody's to delete.
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
fn a_server_that_is_killed_in_a_transfer_gets_it_when_it_is_back() {
    needs!(Mode::Rsync.need(), Need::Root);
    // It would take twenty seconds.
    let mirror = Mirror::start("bwlimit = 100", "", |_| ());
    mirror.daemon.wait_live();
    let large = mirror.source.join("large");
    fs::write(&large, vec![b'x'; 2 << 20]).unwrap();
    let begun = || fs::read_dir(&mirror.target).unwrap().count() > 1;
    mirror.daemon.wait_until("a part is there", begun);
    let Mirror { source, target, daemon, server, sandbox: _sandbox } = mirror;
    server.cut_connections();
    let stopped = server.stop();
    daemon.wait_for_log("next try in");
    // This does not.
    fs::write(large, "it has become small").unwrap();
    let _server = stopped.start();
    daemon.signal(Signal::HUP);
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
}
