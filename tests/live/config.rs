//! Configuration files and their reload.

use std::fs;

use rustix::process::Signal;

use crate::support::{FakeRsync, Sandbox, TransferMode, exit_code, needs};

/// Returns two direct syncs with separate sources, the second to `target`.
fn two(target: &str) -> String {
    format!(
        "for name, target in pairs{{ a = 'one', b = '{target}' }} do
             sync{{ default.direct, source = '@/' .. name, target = '@/' .. target }}
         end"
    )
}

#[test]
fn syncs_of_a_file_mirror() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::write(source.join("kept"), "").unwrap();
    fs::write(source.join("left.tmp"), "").unwrap();
    let text = "settings{ logfile = '@/own-log', pidfile = '@/own-pid' }
        for _, base in ipairs{ 'rsync', 'direct' } do
            sync{ default[base], source = '@/src', target = '@/' .. base, delay = 0,
                  exclude = { '*.tmp' }, rsync = { archive = true } }
        end
        sync{ default.rsync, source = '@/src', target = '@/rules', listForm = 'filter',
              excludeFrom = '@/patterns', rsync = { archive = true } }";
    fs::write(sandbox.path("patterns"), "# none of these\n*.tmp\n").unwrap();
    let daemon = sandbox.daemon().config(text, 3).start();
    daemon.wait_live();
    fs::create_dir_all(source.join("new/inner")).unwrap();
    fs::write(source.join("new/inner/file"), "later").unwrap();
    fs::write(source.join("new/no.tmp"), "").unwrap();
    for target in ["rsync", "direct", "rules"] {
        let target = sandbox.path(target);
        daemon.wait_until("the change is mirrored", || target.join("new/inner/file").exists());
        assert!(target.join("kept").exists() && !target.join("left.tmp").exists());
        assert!(!target.join("new/no.tmp").exists());
    }
    assert!(sandbox.path("own-log").exists() && sandbox.path("own-pid").exists());
}

#[test]
fn the_status_file_reports_each_state() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::create_dir(source.join("in")).unwrap();
    let rsync = FakeRsync::new(&sandbox);
    rsync.set_hanging(true);
    let text = "settings{ statusFile = '@/status', statusInterval = 0, watch = 'inotify' }
        sync{ default.rsync, source = '@/src', target = '@/dst', delay = 3600,
              exclude = 'x*', filter = { '- *.tmp' } }";
    let daemon = sandbox.daemon().config(text, 1).env("PATH", rsync.search_path()).start();
    let status = || fs::read_to_string(sandbox.path("status")).unwrap_or_default();
    let has = |wanted: &str| {
        let wanted = wanted.replace('@', source.parent().unwrap().to_str().unwrap());
        daemon.wait_until(&format!("the status has {wanted:?}"), || status().contains(&wanted));
    };
    has("\n\nSync1 source=@/src/\nThere are 1 delays\nactive Init \n");
    #[cfg(target_os = "linux")]
    has("Filtering:\n- *.tmp\nFrom excludes:\nx*\n\n\nInotify watching 2 directories\n  ");
    has("\n\nRunning processes: 1\n  pid=");
    #[cfg(target_os = "linux")]
    has(": @/src/in/\n");
    has("Sync1 -> @/dst/: starting, first full transfer is running, oldest change ");
    rsync.set_hanging(false);
    daemon.wait_live();
    has("There are 0 delays\n");
    has("Running processes: 0\n");
    has("Sync1 -> @/dst/: in sync\n");
    fs::write(source.join("in/file"), "").unwrap();
    fs::create_dir(source.join("made")).unwrap();
    has("There are 2 delays\nwait   Modify /in/file\nwait   Create /made/\n");
    has("Sync1 -> @/dst/: live, 2 not on the target, oldest change ");
    assert!(status().starts_with("Lsyncd status report at "));
}

#[test]
fn sighup_replaces_only_changed_syncs() {
    let sandbox = Sandbox::new();
    let [a, b] = ["a", "b"].map(|name| sandbox.create_dir(name));
    fs::write(a.join("file"), "").unwrap();
    fs::write(b.join("file"), "").unwrap();
    let daemon = sandbox.daemon().config(&two("two"), 2).start();
    daemon.wait_live();
    sandbox.write_config(&two("three"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("--- HUP signal, resetting ---");
    daemon.wait_until("the new target is filled", || sandbox.path("three/file").exists());
    let startups = |source: &str| {
        let text = format!("Startup of \"{}/\" finished", sandbox.path(source).display());
        daemon.log().matches(&text).count()
    };
    daemon.wait_until("the new sync is live", || startups("b") == 2);
    assert_eq!(startups("a"), 1, "{}", daemon.log());
    for (source, target) in [(&a, "one"), (&b, "three")] {
        fs::write(source.join("later"), "").unwrap();
        let later = sandbox.path(target).join("later");
        daemon.wait_until("a change is mirrored", || later.exists());
    }
    assert!(!sandbox.path("two/later").exists(), "{}", daemon.log());
}

#[test]
fn sighup_with_changed_options_causes_no_full_transfer() {
    needs!(TransferMode::Rsync.requirement());
    for kind in ["direct", "rsync"] {
        let sandbox = Sandbox::new();
        let source = sandbox.create_dir("src");
        fs::write(source.join("file"), "").unwrap();
        let config = |more: &str| {
            format!("sync{{ default.{kind}, source = '@/src', target = '@/dst', {more} }}")
        };
        let daemon = sandbox.daemon().config(&config("delay = 60"), 1).start();
        daemon.wait_live();
        fs::write(source.join("before"), "").unwrap();
        let more = "delay = 0, maxDelete = 100, onSynced = 'true', crontab = '0 0 0 1 1 *'";
        sandbox.write_config(&config(more));
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("1 sync is kept with other settings");
        let target = sandbox.path("dst");
        daemon.wait_until("what waited goes out", || target.join("before").exists());
        fs::write(source.join("later"), "").unwrap();
        daemon.wait_until("a change is mirrored", || target.join("later").exists());
        assert_eq!(daemon.log().matches("Startup of ").count(), 1, "{}", daemon.log());
    }
}

#[test]
fn the_target_identity_survives_a_change_of_settings() {
    needs!(TransferMode::Rsync.requirement());
    for kind in ["direct", "rsync"] {
        let sandbox = Sandbox::new();
        let source = sandbox.create_dir("src");
        fs::write(source.join("old"), "").unwrap();
        let config = |delay: &str| {
            format!("sync{{ default.{kind}, source = '@/src', target = '@/dst', delay = {delay} }}")
        };
        let daemon = sandbox.daemon().config(&config("1"), 1).start();
        daemon.wait_live();
        sandbox.write_config(&config("0"));
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("1 sync is kept with other settings");
        let target = sandbox.path("dst");
        fs::rename(&target, sandbox.path("before")).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(source.join("new"), "").unwrap();
        daemon.wait_until("all is in the other target", || {
            target.join("new").exists() && target.join("old").exists()
        });
    }
}

#[test]
fn sighup_logs_the_changes() {
    let sandbox = Sandbox::new();
    for name in ["a", "b", "c"] {
        sandbox.create_dir(name);
    }
    let sync = |name: &str, more: &str| {
        format!("sync{{ default.direct, source = '@/{name}', target = '@/to-{name}' {more} }}\n")
    };
    let text = [sync("a", ""), sync("b", "")].concat();
    let daemon = sandbox.daemon().config(&text, 2).start();
    daemon.wait_live();
    sandbox.write_config(&[sync("c", ""), sync("a", ", exclude = 'x', init = false")].concat());
    daemon.signal(Signal::HUP);
    let at = |name: &str| sandbox.path(name).display().to_string();
    for (number, name, what) in [
        (1, "c", "is new and begins"),
        (2, "a", "has changed (init, exclude or filter) and begins anew"),
        (2, "b", "is gone and ends"),
    ] {
        let target = at(&format!("to-{name}"));
        daemon.wait_for_log(&format!("Sync{number}: {} -> {target}/ {what}", at(name)));
    }
}

#[test]
fn an_invalid_file_is_ignored_at_sighup() {
    let sandbox = Sandbox::new();
    let [a, _b] = ["a", "b"].map(|name| sandbox.create_dir(name));
    let mut daemon = sandbox.daemon().config(&two("two"), 2).start();
    daemon.wait_live();
    for (text, why) in [
        ("sync{ = }", "Error: error loading "),
        ("settings{ foo = 1 }", "setting \"foo\" unknown."),
        ("sync{ default.direct, source = '@/b', target = '@/b/in' }", "is inside its source"),
        ("os.exit(3)", "the configuration requested exit code 3"),
        ("", "Nothing to watch!"),
    ] {
        sandbox.write_config(text);
        let before = daemon.log().matches("keeping the running configuration").count();
        daemon.signal(Signal::HUP);
        daemon.wait_until("the error is logged", || {
            daemon.log().matches("keeping the running configuration").count() > before
        });
        assert!(daemon.log().contains(why), "{why}: {}", daemon.log());
    }
    fs::write(a.join("later"), "").unwrap();
    daemon.wait_until("it goes on", || sandbox.path("one/later").exists());
    assert!(daemon.is_running());
}

#[test]
fn an_invalid_file_aborts_the_start() {
    for (text, why) in [
        ("sync{ default.rsync, target = 'x' }", "conf.lua:1: source missing from sync."),
        ("\nerror('boom')", "conf.lua:2: boom"),
        ("settings{ nodaemon = true }", "Error: Nothing to watch!"),
    ] {
        let sandbox = Sandbox::new();
        let mut daemon = sandbox.daemon().config(text, 1).start();
        assert_eq!(exit_code(daemon.wait_exit()), 255);
        assert!(daemon.log().contains(why), "{}", daemon.log());
    }
}

#[test]
fn scripts_run_before_the_file() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("a");
    sandbox.create_dir("b");
    let script = sandbox.path("script.lua");
    fs::write(&script, "from_script = 'seen'").unwrap();
    let text = format!("assert(from_script == 'seen') {}", two("two"));
    let args = [script.to_str().unwrap()];
    let daemon = sandbox.daemon().args(["-script"]).args(args).config(&text, 2).start();
    daemon.wait_live();
    fs::write(&script, "os.exit(7)").unwrap();
    let start = sandbox.daemon().args(["-script"]).args(args);
    let mut daemon = start.config(&text, 2).start();
    assert_eq!(exit_code(daemon.wait_exit()), 7, "{}", daemon.log());
}

#[test]
fn a_check_prints_the_configuration_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("a");
    sandbox.create_dir("b");
    let text = format!(
        "settings{{ logfile = '@/own-log', statusFile = '@/status', pidfile = '@/own-pid' }}
         os.execute('touch @/touched')
         {}
         sync{{ default.rsync, source = '@/a', target = 'host:dst', delay = 5, delay = 6,
                rsync = {{ archive = true, rsh = 'ssh -p 22' }} }}",
        two("two")
    );
    let mut daemon = sandbox.daemon().args(["-check", "-v"]).config(&text, 3).start();
    assert_eq!(exit_code(daemon.wait_exit()), 0, "{}", daemon.log());
    let source = sandbox.path("a");
    let output = daemon.log();
    for line in [
        format!(
            "    rsync --delete -ltspgoD '--rsh=ssh -p 22' --timeout=300 --modify-window=-1 \
             --max-delete=0 --stats -r {}/ host:dst/\n",
            source.display()
        ),
        "conf.lua:6: duplicate key delay, first set in line 6".into(),
        "not executed by -check: os.execute(\"touch ".into(),
        "Sync3: the target is remote and insist is not set".into(),
        "\nOK\n".into(),
    ] {
        assert!(output.contains(&line), "{line:?} is missing: {output}");
    }
    for name in ["own-log", "own-pid", "status", "touched", "one", "two"] {
        assert!(!sandbox.path(name).exists(), "{name} was made");
    }
}

#[test]
fn crontab_runs_a_full_transfer() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    // No event while it runs reports this file.
    fs::write(source.join("before"), "").unwrap();
    let text = "for _, base in ipairs{ 'rsync', 'direct' } do
            sync{ default[base], source = '@/src', target = '@/' .. base, init = false,
                  crontab = { '* * * * * *' } }
        end";
    let targets = ["rsync", "direct"].map(|name| sandbox.create_dir(name).join("before"));
    let daemon = sandbox.daemon().config(text, 2).start();
    for target in targets {
        daemon.wait_until("all is mirrored", || target.exists());
    }
}

#[test]
fn small_files_do_not_wait_for_a_large_one() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
    let (runs, go) = (sandbox.path("runs"), sandbox.path("go"));
    let script = format!(
        "#!/bin/sh\n\
         list='{here}'/list.$$\n\
         cat >\"$list\"\n\
         if grep -q large \"$list\"; then\n\
             : >'{runs}'\n\
             while [ ! -e '{go}' ]; do sleep 0.1; done\n\
         fi\n\
         exec rsync \"$@\" <\"$list\"\n",
        here = sandbox.top().display(),
        runs = runs.display(),
        go = go.display(),
    );
    sandbox.write_program(&sandbox.path("slow-rsync"), script.as_bytes());
    let text = "sync{ default.rsync, source = '@/src', target = '@/dst', maxProcesses = 2,
                      batchSizeLimit = 1000, rsync = { binary = '@/slow-rsync' } }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    fs::write(source.join("large"), [b'1'; 2000]).unwrap();
    daemon.wait_until("the large file is on its way", || runs.exists());
    for name in ["one", "two"] {
        fs::write(source.join(name), "").unwrap();
        daemon.wait_until("a small file is mirrored", || target.join(name).exists());
    }
    assert!(!target.join("large").exists(), "the large file still waits");
    let changed = [b'2'; 3000];
    fs::write(source.join("large"), changed).unwrap();
    fs::write(go, "").unwrap();
    let large = target.join("large");
    daemon.wait_until("the large file as it is now", || {
        fs::read(&large).is_ok_and(|content| content == changed)
    });
}
