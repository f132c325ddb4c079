//! Small examples: a few changes show what they do.

use std::{
    fs,
    io::{Write, pipe},
    path::Path,
};

use super::Example;
use crate::support::{Mode, Need, Recorder, Sandbox, exit_code, needs};

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_check_finds_nothing_wrong_with_them() {
    needs!(Need::Program("rsync"), Need::Program("ssh"));
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
        let mut example = Example::start_with(&sandbox, &name, &[("TARGET", &target)], &["-check"]);
        let code = exit_code(example.daemon.wait_end());
        let log = example.daemon.log();
        assert!(code == 0 && log.ends_with("OK\n"), "{name}: {log}");
        // What is opened for writing is not.
        let is_odd = |line: &&str| line.starts_with("Warning") && !line.contains("io.open");
        assert_eq!(log.lines().filter(is_odd).collect::<Vec<_>>(), [""; 0], "{name}");
    }
    assert!(found >= 10, "there are {found}");
}

#[test]
fn each_event_is_told() {
    let sandbox = Sandbox::new();
    let echo = Recorder::new(&sandbox, "");
    let example =
        Example::start(&sandbox, "echo.lua", &[("ECHO", echo.program().to_str().unwrap())]);
    let at = |name: &str| example.source.join(name);
    // An event that meets one that is being worked on is told in another way.
    let is_done = || {
        let log = example.daemon.log();
        log.matches("Finished ").count() + log.matches("finished.").count() == echo.calls().len()
    };
    let wait_for = |lines: &[&str]| {
        example.daemon.wait_until(&format!("{lines:?} are told"), || {
            let told = echo.lines();
            lines.iter().all(|line| told.iter().any(|told| told == line)) && is_done()
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
fn an_alarm_rings_again_and_again() {
    let sandbox = Sandbox::new();
    let tool = Recorder::new(&sandbox, "");
    let command = format!("exec '{}' \"$1\"", tool.program().display());
    let variables = [("INTERVAL", "0.2"), ("COMMAND", &*command)];
    let example = Example::start(&sandbox, "alarm.lua", &variables);
    let told = || tool.lines().iter().map(|line| line.parse::<usize>().unwrap()).sum::<usize>();
    example.daemon.wait_until("it rings without a change", || tool.lines().len() >= 3);
    assert_eq!(told(), 0);
    for number in 0..20 {
        fs::create_dir(example.source.join(number.to_string())).unwrap();
    }
    example.daemon.wait_until("all changes are counted", || told() == 20);
    let before = tool.lines().len();
    example.daemon.wait_until("it goes on", || tool.lines().len() >= before + 2);
    assert_eq!(told(), 20);
}

#[test]
fn orders_come_in_by_a_descriptor() {
    needs!(Need::Program("rsync"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
    let answers = sandbox.path("answers");
    let (input, mut orders) = pipe().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/descriptor.lua");
    let daemon = sandbox
        .daemon()
        .configured(&file, &[(source.clone(), target.clone())])
        .environment("SOURCE", &source)
        .environment("TARGET", &target)
        .environment("ANSWERS", &answers)
        .reading(input)
        .start();
    let mut expected = String::new();
    let mut order = |words: &str, answer: &str| {
        orders.write_all(words.as_bytes()).unwrap();
        expected += answer;
        daemon.wait_until(&format!("the answer to {words:?}"), || content(&answers) == expected);
    };
    daemon.wait_live();
    // Half an order holds nobody up.
    order("say he", "");
    fs::write(source.join("file"), "").unwrap();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
    order("llo  \n", "said hello\n");
    order("dance\nchanges\n", &format!("unknown dance\nchanges {}\n", 2));
    // What was lost on the target comes back by a full transfer.
    fs::remove_file(target.join("file")).unwrap();
    order("full\n", "full\n");
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
    order("stop\n", "stopped\n");
    orders.write_all(b"changes\n").unwrap();
    fs::write(source.join("later"), "").unwrap();
    daemon.wait_mirrored(Mode::Rsync, &source, &target);
    assert!(content(&answers).ends_with("stopped\n"));
}
