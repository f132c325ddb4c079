//! `-check` and `-try` validate the configuration and change nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    Requirement, Sandbox, TestServer, TransferMode, exit_code, free_port, in_both_modes, needs,
};

/// Runs the daemon with these arguments, and returns its exit code and output.
fn run(sandbox: &Sandbox, args: &[&str]) -> (i32, String) {
    output_of(&mut command(sandbox, args))
}

fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lsyncd"));
    command.args(args).current_dir(sandbox.top()).stdin(Stdio::null());
    command
}

fn output_of(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (exit_code(output.status), text)
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn a_check_of_the_command_line_starts_and_writes_nothing() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    fs::write(sandbox.path("source/file"), "").unwrap();
    let args = "-check -v -pidfile pid -logfile log -delay 3 -rsync source /nowhere/a -direct source \
                 /nowhere/b";
    let args: Vec<&str> = args.split(' ').collect();
    let (code, text) = run(&sandbox, &args);
    assert_eq!(code, 0, "{text}");
    for part in ["Sync1: default.rsync\n", "Sync2: default.direct\n", "  delay    3 s,", "\nOK\n"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    let names: Vec<_> = fs::read_dir(sandbox.top()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let short: Vec<_> = args.iter().copied().filter(|arg| *arg != "-v").collect();
    let (code, short) = run(&sandbox, &short);
    let source = sandbox.path("source");
    for (name, kind, target) in [("Sync1", "rsync", "a"), ("Sync2", "direct", "b")] {
        let line = format!(
            "{name}: default.{kind} {}/ -> /nowhere/{target}/ (delay 3 s, or 1000 changes)\n",
            source.display()
        );
        assert!(code == 0 && short.contains(&line), "{line:?} is not in: {short}");
    }
    assert!(!short.contains("--max-delete") && short.ends_with("OK\n"), "{short}");
}

#[test]
fn a_check_folds_equal_syncs_and_counts_its_warnings() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let text = "for number = 1, 9 do
            sync{ default.rsync, source = 'source', target = 'h' .. number .. ':/t',
                  delete = 'false' }
        end";
    fs::write(sandbox.path("conf.lua"), text).unwrap();
    let (code, text) = run(&sandbox, &["-check", "conf.lua"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\n  and 8 more like it, to h2:/t/ … h9:/t/\n"), "{text}");
    let warnings = text.matches("Warning: ").count();
    assert!(warnings > 1 && text.ends_with(&format!("\n{warnings} warnings\nOK\n")), "{text}");
}

#[test]
fn shell_commands_with_unbalanced_quotes_cause_warnings() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let warned = |command: &str| {
        let text = format!("sync{{ source = 'source', onCreate = [[{command}]] }}");
        fs::write(sandbox.path("conf.lua"), text).unwrap();
        let (code, text) = run(&sandbox, &["-check", "conf.lua"]);
        assert_eq!(code, 0, "{text}");
        assert!(!text.contains("target"), "it has none: {text}");
        text.contains("conf.lua:1: onCreate: a quote or bracket seems to be open")
    };
    assert!(warned("cat << END\n it's ^path\nEND\necho \"^path\""));
    assert!(!warned("echo \"$(printf '%s' \"^path\")\" ^path # it's"));
    assert!(warned("echo \"$( echo case )\" \"^path\""));
    assert!(!warned("echo \"$( case ^path in a*) echo 1;; esac; echo ^path)\" ^path"));
    assert!(!warned("echo it's"));
}

#[test]
fn a_strict_check_fails_where_something_looks_wrong() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let code = |option: &str, more: &str| {
        let text = format!("sync{{ default.direct, source = 'source', target = '/t', {more} }}");
        fs::write(sandbox.path("conf.lua"), text).unwrap();
        run(&sandbox, &[option, "conf.lua"]).0
    };
    for (more, plain, strict) in [
        ("", 0, 0),
        ("delete = 'false'", 0, 1),
        ("delete = nothing", 0, 1),
        ("dealy = 1", 255, 255),
    ] {
        assert_eq!(code("-check", more), plain, "{more}");
        assert_eq!(code("--check=strict", more), strict, "{more}");
    }
}

#[test]
fn warnings_are_logged_with_their_line() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    sandbox.create_dir("target");
    let text =
        "settings{ logfile = 'log', nodaemon = true, onepass = true }\nsync{\n  default.direct,
  source = 'source',\n  target = 'target',\n  delete = 'false',\n  exclude = { '!kept' },\n}\n";
    fs::write(sandbox.path("conf.lua"), text).unwrap();
    let (code, output) = run(&sandbox, &["conf.lua"]);
    assert_eq!(code, 0, "{output}");
    let log = fs::read_to_string(sandbox.path("log")).unwrap();
    for part in ["conf.lua:6: Sync1: delete = \"false\"", "conf.lua:7: Sync1: the pattern !kept"] {
        let is_warned = |text: &str| {
            text.lines().filter(|line| line.contains("Warn: ") && line.contains(part)).count()
        };
        assert_eq!((is_warned(&output), is_warned(&log)), (1, 1), "{part}: {output}\n{log}");
    }
}

#[test]
fn an_invalid_sync_fails_the_check() {
    let sandbox = Sandbox::new();
    let (code, text) = run(&sandbox, &["-check", "-direct", "source", "target"]);
    assert_eq!(code, 255, "{text}");
    assert!(text.contains("Cannot access source directory: source"), "{text}");
    assert!(!text.contains("OK\n"), "{text}");
}

#[test]
fn a_try_contacts_a_target_and_changes_nothing() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let sandbox = Sandbox::new();
    let target = sandbox.create_dir("target");
    sandbox.create_dir("source");
    fs::write(target.join("kept"), "").unwrap();
    fs::write(sandbox.path("source/file"), "").unwrap();
    let server = TestServer::rsync(&sandbox, &target);
    let url = format!("rsync://127.0.0.1:{}/mirror", server.port());
    let here = target.to_str().unwrap();
    let args = ["-check", "-try", "-rsync", "source", &url, "-rsync", "source", here];
    let (code, text) = run(&sandbox, &[&args[..], &["-direct", "source", here]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("OK\n"), "{text}");
    let names: Vec<_> = fs::read_dir(&target).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"]);
}

/// Creates a source and a target that differ, and returns the target and what `-try` says of it.
fn differing_target(sandbox: &Sandbox, name: &str) -> (PathBuf, String) {
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir(name));
    for (path, content) in [("same", "same"), ("changed", "long"), ("new\nname", "12345")] {
        fs::write(source.join(path), content).unwrap();
    }
    let copied = Command::new("cp").arg("-a").arg(source.join("same")).arg(&target).status();
    assert!(copied.unwrap().success());
    fs::write(target.join("changed"), "c").unwrap();
    fs::create_dir(target.join("gone")).unwrap();
    fs::write(target.join("gone/file"), "").unwrap();
    let lines = [
        " reached",
        "  would send 2 entries:",
        "    /changed",
        "    /new\\nname",
        "  9 B of files",
        "  would delete 2 entries:",
    ];
    (target, lines.join("\n"))
}

#[track_caller]
fn assert_tried(sandbox: &Sandbox, target: &Path, sync: [&str; 2], expected: &str) {
    assert_tried_by(
        sandbox,
        target,
        &mut command(sandbox, &["-try", sync[0], "source", sync[1]]),
        expected,
    );
}

#[track_caller]
fn assert_tried_by(sandbox: &Sandbox, target: &Path, command: &mut Command, expected: &str) {
    let (before, of_source) = (TreeTimes::of(target), TreeTimes::of(&sandbox.path("source")));
    let (code, text) = output_of(command);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(expected), "{expected} is not in: {text}");
    for name in ["/gone", "/gone/file"] {
        assert!(text.lines().any(|line| line == format!("    {name}")), "{name}: {text}");
    }
    assert!(!text.contains("/same") && text.ends_with("OK\n"), "{text}");
    assert_eq!(TreeTimes::of(target), before, "the target has changed");
    assert_eq!(TreeTimes::of(&sandbox.path("source")), of_source, "the source has changed");
}

/// Names, sizes and times of a tree.
#[derive(Debug, PartialEq)]
struct TreeTimes(Vec<(PathBuf, u64, i64, i64)>);

impl TreeTimes {
    fn of(top: &Path) -> Self {
        let (mut found, mut directories) = (Vec::new(), vec![top.to_owned()]);
        while let Some(directory) = directories.pop() {
            let stat = fs::metadata(&directory).unwrap();
            found.push((directory.clone(), 0, stat.mtime(), stat.mtime_nsec()));
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                if stat.is_dir() {
                    directories.push(path);
                } else {
                    found.push((path, stat.len(), stat.mtime(), stat.mtime_nsec()));
                }
            }
        }
        found.sort();
        Self(found)
    }
}

in_both_modes!(a_try_tells_what_the_first_transfer_would_do);

fn a_try_tells_what_the_first_transfer_would_do(mode: TransferMode) {
    needs!(mode.requirement());
    let sandbox = Sandbox::new();
    let (target, expected) = differing_target(&sandbox, "target");
    let arg = target.to_str().unwrap();
    assert_tried(&sandbox, &target, [mode.option(), arg], &expected);
    // A target that the first transfer would create.
    let missing = sandbox.path("missing");
    let (code, text) = run(&sandbox, &["-try", mode.option(), "source", missing.to_str().unwrap()]);
    assert!(code == 0 && text.contains("    /same\n"), "{text}");
    assert!(!text.contains("would delete") && !missing.exists(), "{text}");
}

#[test]
fn a_try_of_a_module_tells_what_the_first_transfer_would_do() {
    needs!(TransferMode::Rsync.requirement(), Requirement::Root);
    let sandbox = Sandbox::new();
    let (target, expected) = differing_target(&sandbox, "target");
    let server = TestServer::rsync(&sandbox, &target);
    let url = format!("rsync://127.0.0.1:{}/mirror", server.port());
    assert_tried(&sandbox, &target, ["-rsync", &url], &expected);
}

#[test]
fn a_try_over_ssh_tells_what_the_first_transfer_would_do() {
    needs!(Requirement::Ssh);
    let sandbox = Sandbox::new();
    let (target, expected) = differing_target(&sandbox, "target with blank");
    let server = TestServer::ssh(&sandbox);
    let to = format!("root@127.0.0.1:{}", target.display());
    let mut command = command(&sandbox, &["-try", "-rsync", "source", &to]);
    command.env("RSYNC_RSH", server.remote_shell());
    assert_tried_by(&sandbox, &target, &mut command, &expected);
}

#[test]
fn a_try_of_equal_trees_has_nothing_to_transfer() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    fs::create_dir(source.join("sub")).unwrap();
    fs::write(source.join("sub/file"), "x").unwrap();
    std::os::unix::fs::symlink("sub", source.join("link")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(&source).arg(sandbox.path("target")).status();
    assert!(copied.unwrap().success());
    let target = sandbox.path("target");
    let target = target.to_str().unwrap();
    let (code, text) = run(&sandbox, &["-try", "-direct", "source", target]);
    assert!(code == 0 && text.contains(" reached\n  nothing to transfer\n"), "{text}");
    // Excluded entries are neither sent nor deleted.
    fs::write(source.join("a.tmp"), "").unwrap();
    fs::write(sandbox.path("target/b.tmp"), "").unwrap();
    let excluding = ["-try", "-exclude", "*.tmp", "-direct", "source", target];
    let (code, text) = run(&sandbox, &excluding);
    assert!(code == 0 && text.contains("  nothing to transfer\n"), "{text}");
}

#[test]
fn an_unavailable_target_fails_a_try_but_not_a_check() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("source");
    let url = format!("rsync://127.0.0.1:{}/mirror", free_port());
    let (code, text) = run(&sandbox, &["-check", "-rsync", "source", &url]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&sandbox, &["-try", "-rsync", "source", &url]);
    assert_eq!(code, 255, "{text}");
    let why = format!("Error: Sync1: cannot reach the target {url}/: ");
    assert!(text.contains(&why) && !text.contains("OK\n"), "{text}");
    assert!(is_empty(&source));
}

#[test]
fn custom_rsync_options_cannot_make_a_try_delete() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let target = sandbox.create_dir("target");
    fs::write(target.join("kept"), "").unwrap();
    let config = sandbox.path("lsyncd.lua");
    let text = "sync{ default.rsync, source = 'source', target = 'TARGET',
                      rsync = { _extra = { '--delete', '-r' } } }";
    fs::write(&config, text.replace("TARGET", target.to_str().unwrap())).unwrap();
    let (code, text) = run(&sandbox, &["-check", "-try", config.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert!(target.join("kept").exists(), "{text}");
}

#[test]
fn a_target_behind_a_tunnel_is_not_tried() {
    needs!(TransferMode::Rsync.requirement());
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let config = sandbox.path("config.lua");
    let text = "sync{ default.rsync, source = 'source', target = 'rsync://^localhost:^localport/m',
                      tunnel = tunnel{ mode = 'pool', command = 'true ^localport' } }";
    fs::write(&config, text).unwrap();
    let (code, text) = run(&sandbox, &["-check", "-try", config.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let message = "target rsync://^localhost:^localport/m/ not tried: its tunnel is not up";
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_sync_with_functions_only_is_not_tried() {
    let sandbox = Sandbox::new();
    sandbox.create_dir("source");
    let config = sandbox.path("config.lua");
    let text = "sync{ source = 'source', target = 'host:dst', onCreate = 'cp ^source ^target' }";
    fs::write(&config, text).unwrap();
    let (code, text) = run(&sandbox, &["-check", "-try", config.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let message = "target host:dst not tried: only its functions know what they transfer\n";
    assert!(text.contains(message), "{text}");
}
