//! The units for systemd in `dist`.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    Requirement, Sandbox, TestServer, TransferMode, differences, exit_code, needs, wait_until,
};

/// A unit and the greatest permitted exposure, in tenths. `None`: a unit of a user's manager.
struct UnitLimit {
    path: &'static str,
    exposure: Option<u32>,
}

const UNITS: [UnitLimit; 4] = [
    UnitLimit { path: "lsyncd.service", exposure: Some(40) },
    UnitLimit { path: "lsyncd@.service", exposure: Some(30) },
    UnitLimit { path: "lsyncctl-serve.service", exposure: Some(20) },
    UnitLimit { path: "user/lsyncd.service", exposure: None },
];

fn unit(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(path)
}

/// Runs `systemd-analyze`, and expects success and no output but that of an older systemd.
#[track_caller]
fn analyze(runtime: &Path, args: &[&str], file: &Path) {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(args).arg(file).env("XDG_RUNTIME_DIR", runtime).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} {}: {errors}", file.display());
    let is_expected = |line: &&str| line.ends_with("service type, ignoring: notify-reload");
    let others: Vec<&str> = errors.lines().filter(|line| !is_expected(line)).collect();
    assert!(others.is_empty(), "{args:?} {}: {others:?}", file.display());
}

#[test]
fn each_unit_is_valid_and_confined() {
    needs!(Requirement::Program("systemd-analyze"));
    let sandbox = Sandbox::new();
    for UnitLimit { path, exposure } in UNITS {
        let text = fs::read_to_string(unit(path)).unwrap();
        let program = env!("CARGO_BIN_EXE_lsyncd");
        // The programs need not be installed.
        let text = text.replace("/usr/bin/lsyncd", program).replace("/usr/bin/lsyncctl", program);
        let file = sandbox.create_dir(path.trim_end_matches(".service")).join(
            // The name decides if it is a template.
            Path::new(path).file_name().unwrap(),
        );
        fs::write(&file, text).unwrap();
        let manager = if exposure.is_some() { "--system" } else { "--user" };
        analyze(sandbox.top(), &["verify", "--man=no", manager], &file);
        if let Some(exposure) = exposure {
            let threshold = format!("--threshold={exposure}");
            analyze(sandbox.top(), &["security", "--offline=true", &threshold], &file);
        }
    }
}

/// Returns the capabilities that a unit permits, as `setpriv` expects them.
fn capabilities(path: &str) -> String {
    let text = fs::read_to_string(unit(path)).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet=CAP_"));
    let names: Vec<String> = names.map(|name| format!("+{}", name.to_lowercase())).collect();
    assert!(!names.is_empty());
    format!("--bounding-set=-all,{}", names.join(","))
}

/// Fills a source with entries that only privileged users can read or repeat.
fn fill(source: &Path) {
    let set = |name: &str, mode: u32| {
        let path = source.join(name);
        chown(&path, Some(12345), Some(54321)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir(source.join("private")).unwrap();
    fs::write(source.join("private/file"), "content").unwrap();
    fs::write(source.join("setgid"), "program").unwrap();
    set("private/file", 0o400);
    set("private", 0o500);
    set("setgid", 0o6711);
}

/// Runs one pass of the daemon with the capabilities of a unit.
#[track_caller]
fn run_one_pass(path: &str, args: &[&str]) {
    let output = Command::new("setpriv")
        .args(["--inh-caps=-all", "--no-new-privs", &capabilities(path)])
        .arg(env!("CARGO_BIN_EXE_lsyncd"))
        .args(["-nodaemon", "-onepass"])
        .args(args)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(exit_code(output.status), 0, "{log}");
    assert!(!log.contains("Warn: ") && !log.contains("Error: "), "{log}");
}

#[test]
fn the_capabilities_of_the_unit_suffice_for_local_targets() {
    needs!(Requirement::Root, Requirement::Fanotify, Requirement::Program("setpriv"));
    let sandbox = Sandbox::for_fanotify();
    let source = sandbox.create_dir("src");
    fill(&source);
    let target = sandbox.create_dir("dst");
    // A target of another user.
    chown(&target, Some(11111), None).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o555)).unwrap();
    let device = source.join("null");
    let made = Command::new("mknod").arg(&device).args(["c", "1", "3"]).status().unwrap();
    // A container may forbid it.
    let has_device = made.success();
    let paths = [&source, &target].map(|path| path.to_str().unwrap());
    run_one_pass("lsyncd.service", &["-watch", "fanotify", "-direct", paths[0], paths[1]]);
    let found = differences(TransferMode::Direct, &source, &target);
    assert!(found.is_empty(), "{found:?}");
    if has_device {
        let rdev = |dir: &Path| fs::symlink_metadata(dir.join("null")).unwrap().rdev();
        assert_eq!(rdev(&source), rdev(&target));
    }
    assert_eq!(fs::metadata(target.join("setgid")).unwrap().mode() & 0o7777, 0o6711);
}

#[test]
fn one_capability_suffices_for_remote_targets() {
    needs!(Requirement::Root, Requirement::Program("rsync"), Requirement::Program("setpriv"));
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fill(&source);
    let target = sandbox.create_dir("dst");
    let server = TestServer::rsync(&sandbox, &target);
    let url = format!("rsync://127.0.0.1:{}/mirror", server.port());
    run_one_pass("lsyncd@.service", &["-rsync", source.to_str().unwrap(), &url]);
    assert_eq!(fs::read(target.join("private/file")).unwrap(), b"content");
}

#[test]
fn a_daemon_with_the_group_of_its_socket_needs_no_capability_for_it() {
    needs!(Requirement::Root, Requirement::Program("setpriv"));
    let sandbox = Sandbox::new();
    let [source, _] = ["src", "dst"].map(|name| sandbox.create_dir(name));
    // The daemon has to reach the directories with the rights of their owner only.
    let top = sandbox.top().display();
    let file = sandbox.path("conf.lua");
    for (group, is_member) in [(54321, true), (54322, false)] {
        let text = format!(
            "settings{{ nodaemon = true, socket = '{top}/s.sock', socketGroup = '54321' }}\n\
             sync{{ default.direct, source = '{}', target = '{top}/dst' }}",
            source.display()
        );
        fs::write(&file, text).unwrap();
        let log = sandbox.path("log");
        let mut daemon = Command::new("setpriv")
            .args(["--inh-caps=-all", "--no-new-privs", &capabilities("lsyncd@.service")])
            .args(["--clear-groups", &format!("--regid={group}")])
            .arg(env!("CARGO_BIN_EXE_lsyncd"))
            .arg(&file)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let read_log = || fs::read_to_string(&log).unwrap();
        let socket = sandbox.path("s.status.sock");
        let is_ready = || fs::metadata(&socket).is_ok_and(|it| it.gid() == 54321);
        if is_member {
            wait_until("the socket has its group", read_log, is_ready);
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        } else {
            assert!(!daemon.wait().unwrap().success());
            assert!(read_log().contains("by Group= in its unit"), "{}", read_log());
        }
    }
}
