//! Small examples.

use std::{
    fs,
    io::{Write, pipe},
    path::Path,
};

use super::RunningExample;
use crate::support::{ProgramRecorder, Requirement, Sandbox, TransferMode, exit_code, needs};

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_examples_pass_a_check() {
    needs!(Requirement::Program("rsync"), Requirement::Program("ssh"));
    let sandbox = Sandbox::new();
    let target = format!("{}/HOST", sandbox.path("dst").display());
    let mut found = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "lua") {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap().to_owned();
        found += 1;
        let mut example =
            RunningExample::start_with(&sandbox, &name, &[("TARGET", &target)], &["-check"]);
        let code = exit_code(example.daemon.wait_exit());
        let log = example.daemon.log();
        assert!(code == 0 && log.ends_with("OK\n"), "{name}: {log}");
        // Ignores the warning about files opened for writing.
        let is_odd = |line: &&str| line.starts_with("Warning") && !line.contains("io.open");
        assert_eq!(log.lines().filter(is_odd).collect::<Vec<_>>(), [""; 0], "{name}");
    }
    assert!(found >= 10, "there are {found}");
}

#[test]
fn each_event_runs_its_command() {
    let sandbox = Sandbox::new();
    let echo = ProgramRecorder::new(&sandbox, "");
    let example =
        RunningExample::start(&sandbox, "echo.lua", &[("ECHO", echo.program().to_str().unwrap())]);
    let at = |name: &str| example.source.join(name);
    // An event that is related to an active one is logged differently.
    let is_done = || {
        let log = example.daemon.log();
        log.matches("Finished ").count() + log.matches("finished.").count() == echo.calls().len()
    };
    let wait_for = |lines: &[&str]| {
        example.daemon.wait_until(&format!("{lines:?} are recorded"), || {
            let calls = echo.lines();
            lines.iter().all(|line| calls.iter().any(|call| call == line)) && is_done()
        });
    };
    wait_for(&[&format!("startup {}/", example.source.display())]);
    fs::create_dir(at("d d")).unwrap();
    wait_for(&["create d d/"]);
    fs::write(at("d d/file"), "").unwrap();
    wait_for(&["create d d/file", "modify d d/file"]);
    fs::set_permissions(at("d d/file"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    wait_for(&["attrib d d/file"]);
    fs::rename(at("d d/file"), at("other")).unwrap();
    wait_for(&["move d d/file other"]);
    fs::rename(at("d d"), at("e")).unwrap();
    wait_for(&["move d d/ e/"]);
    fs::remove_dir(at("e")).unwrap();
    fs::remove_file(at("other")).unwrap();
    wait_for(&["delete e/", "delete other"]);
}

#[test]
fn an_alarm_repeats() {
    let sandbox = Sandbox::new();
    let tool = ProgramRecorder::new(&sandbox, "");
    let command = format!("exec '{}' \"$1\"", tool.program().display());
    let variables = [("INTERVAL", "0.2"), ("COMMAND", &*command)];
    let example = RunningExample::start(&sandbox, "alarm.lua", &variables);
    let total = || tool.lines().iter().map(|line| line.parse::<usize>().unwrap()).sum::<usize>();
    example.daemon.wait_until("it repeats without a change", || tool.lines().len() >= 3);
    assert_eq!(total(), 0);
    for number in 0..20 {
        fs::create_dir(example.source.join(number.to_string())).unwrap();
    }
    example.daemon.wait_until("all changes are counted", || total() == 20);
    let before = tool.lines().len();
    example.daemon.wait_until("it goes on", || tool.lines().len() >= before + 2);
    assert_eq!(total(), 20);
}

#[test]
fn commands_are_read_from_a_descriptor() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
    let answers = sandbox.path("answers");
    let (input, mut commands) = pipe().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/descriptor.lua");
    let daemon = sandbox
        .daemon()
        .config_file(&file, &[(source.clone(), target.clone())])
        .env("SOURCE", &source)
        .env("TARGET", &target)
        .env("ANSWERS", &answers)
        .stdin(input)
        .start();
    let mut expected = String::new();
    let mut send = |command: &str, answer: &str| {
        commands.write_all(command.as_bytes()).unwrap();
        expected += answer;
        daemon.wait_until(&format!("the answer to {command:?}"), || content(&answers) == expected);
    };
    daemon.wait_live();
    // An incomplete command blocks nothing.
    send("say he", "");
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    send("llo  \n", "said hello\n");
    send("dance\nchanges\n", &format!("unknown dance\nchanges {}\n", 2));
    // A full transfer restores a file that was deleted on the target.
    fs::remove_file(target.join("file")).unwrap();
    send("full\n", "full\n");
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    send("stop\n", "stopped\n");
    commands.write_all(b"changes\n").unwrap();
    fs::write(source.join("later"), "").unwrap();
    daemon.wait_mirrored(TransferMode::Rsync, &source, &target);
    assert!(content(&answers).ends_with("stopped\n"));
}
