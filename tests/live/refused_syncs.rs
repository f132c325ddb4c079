//! Syncs that are refused before anything is changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{Requirement, Sandbox, TransferMode, exit_code, in_both_modes, needs};

in_both_modes!(
    a_target_inside_of_its_source_is_refused,
    a_source_inside_of_its_target_is_refused,
    a_target_that_is_the_source_under_another_name_is_refused,
    a_source_that_is_missing_or_not_a_directory_is_refused,
    a_target_that_is_empty_or_the_root_is_refused,
);

/// Expects that a sync from `source` to `target` is refused with a message that has both paths.
#[track_caller]
fn expect_refused(sandbox: &Sandbox, mode: TransferMode, source: &Path, target: &Path) {
    let mut daemon = sandbox.daemon().mirror(mode, source, target).args(["-insist"]).start();
    assert_eq!(exit_code(daemon.wait_exit()), 255, "{}", daemon.log());
    for path in [source, target] {
        let log = daemon.log();
        assert!(log.contains(path.to_str().unwrap()), "{} is not in: {log}", path.display());
    }
}

fn a_target_inside_of_its_source_is_refused(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    expect_refused(&sandbox, mode, &source, &sandbox.create_dir("source/inner/target"));
    expect_refused(&sandbox, mode, &source, &sandbox.path("source/not/there/yet"));
    assert!(!source.join("not").exists());
}

fn a_source_inside_of_its_target_is_refused(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("target/inner/source");
    fs::write(sandbox.path("target/kept"), "").unwrap();
    expect_refused(&sandbox, mode, &source, &sandbox.path("target"));
    assert!(sandbox.path("target/kept").exists());
}

fn a_target_that_is_the_source_under_another_name_is_refused(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    let link = sandbox.path("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    expect_refused(&sandbox, mode, &source, &link);
    expect_refused(&sandbox, mode, &source, &link.join("inner"));
}

fn a_source_that_is_missing_or_not_a_directory_is_refused(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let target = sandbox.create_dir("target");
    fs::write(target.join("kept"), "").unwrap();
    let file = sandbox.path("file");
    fs::write(&file, "").unwrap();
    for source in [sandbox.path("missing"), file] {
        let mut daemon = sandbox.daemon().mirror(mode, &source, &target).start();
        assert_eq!(exit_code(daemon.wait_exit()), 255);
        let log = daemon.log();
        assert!(log.contains(source.to_str().unwrap()), "{log}");
        assert!(log.contains("Cannot access source directory"), "{log}");
    }
    assert!(target.join("kept").exists());
}

#[test]
fn an_invalid_configuration_has_its_own_exit_code_on_request() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let at = |name: &str| sandbox.path(name).to_str().unwrap().to_owned();
    let file = |text: &str| {
        sandbox.write_config(text);
        at("conf.lua")
    };
    let exit_of = |args: &[&str]| {
        let daemon = env!("CARGO_BIN_EXE_lsyncd");
        let output = Command::new(daemon).args(args).stdin(Stdio::null()).output().unwrap();
        exit_code(output.status)
    };
    let (source, target) = (source.to_str().unwrap(), at("dst"));
    let invalid: [&[&str]; 8] = [
        &["-nosuchoption"],
        &[],
        &["-delay", "x", "-direct", source, &target],
        &["-direct", source, source],
        &["-direct", &at("conf.lua"), &target],
        &[&at("absent.lua")],
        &[&file("sync{ default.direct, source = '@/src', target = '@/dst', dealy = 1 }")],
        &["-check", &at("conf.lua")],
    ];
    for args in invalid {
        assert_eq!(exit_of(args), 255, "{args:?}");
        assert_eq!(exit_of(&[&["-configExitCode", "78"], args].concat()), 78, "{args:?}");
    }
    assert_eq!(exit_of(&["-configExitCode", "78", "-configExitCode", "x"]), 78);
    assert_eq!(exit_of(&["-configExitCode", "x"]), 255);

    // These can change without a change of the configuration.
    let missing = "sync{ default.direct, source = '@/missing', target = '@/dst' }";
    let pidfile = at("none/pid");
    let others: [&[&str]; 3] = [
        &[&file(missing)],
        &["-nodaemon", "-direct", &at("missing"), &target],
        &["-nodaemon", "-pidfile", &pidfile, "-direct", source, &target],
    ];
    for args in others {
        assert_eq!(exit_of(&[&["-configExitCode", "78"], args].concat()), 255, "{args:?}");
    }
    let both = format!("{missing} sync{{ default.direct, source = '@/src' }}");
    assert_eq!(exit_of(&["-configExitCode", "78", &file(&both)]), 78);
    let own = "os.exit(3)";
    assert_eq!(exit_of(&["-configExitCode", "78", &file(own)]), 3);
}

/// Runs the daemon with targets that would delete the whole machine if they were not refused.
///
/// **Safety.** The daemon runs in a chroot inside the sandbox, in a private mount namespace. Its
/// `/` contains only read-only bind mounts of the programs, and its `rsync` does nothing.
fn a_target_that_is_empty_or_the_root_is_refused(mode: TransferMode) {
    needs!(Requirement::Mounts, Requirement::Program("unshare"), Requirement::Program("chroot"));
    let sandbox = Sandbox::new();
    let jail = jail(&sandbox);
    for target in ["", "/", "//", "/source/.."] {
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", ENTER, "sh"])
            .arg(&jail)
            .arg(env!("CARGO_BIN_EXE_lsyncd"))
            .args(["-nodaemon", "-onepass", mode.option(), "/source", target])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(exit_code(output.status), 255, "{target:?}: {message}");
        assert!(message.contains("target"), "{target:?}: {message}");
        assert!(jail.join("kept").exists(), "{target:?} was not refused");
    }
}

/// Mounts the programs of the machine read-only in the jail, and runs the daemon there.
const ENTER: &str = r#"
jail=$1; program=$2; shift 2
test -n "$jail" -a -d "$jail/source"
mount --bind /usr "$jail/usr"
mount -o remount,bind,ro "$jail/usr"
mount --bind "$program" "$jail/lsyncd"
mount -o remount,bind,ro "$jail/lsyncd"
PATH=/programs exec "$(command -v chroot)" "$jail" /lsyncd "$@"
"#;

fn jail(sandbox: &Sandbox) -> PathBuf {
    let jail = sandbox.create_dir("jail");
    for directory in ["usr", "source", "programs"] {
        sandbox.create_dir(&format!("jail/{directory}"));
    }
    for file in ["lsyncd", "kept"] {
        fs::write(jail.join(file), "").unwrap();
    }
    // As on the machine itself: links into /usr, or separate directories.
    for library in ["lib", "lib64", "bin"] {
        let real = Path::new("/").join(library);
        if let Ok(link) = fs::read_link(real) {
            std::os::unix::fs::symlink(link, jail.join(library)).unwrap();
        }
    }
    std::os::unix::fs::symlink("/usr/bin/true", jail.join("programs/rsync")).unwrap();
    jail
}
