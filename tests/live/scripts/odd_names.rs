//! Names of any bytes reach a program unchanged, and nothing in them is executed.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::support::{CallArgs, ProgramRecorder, Sandbox, TestDaemon};

const NAMES: [&[u8]; 28] = [
    b"plain",
    b"new\nline",
    b"\n",
    b"'single",
    b"\"double",
    b"both'\"",
    b"back\\slash\\",
    b"\\n",
    b"$(touch pwned)",
    b"`touch pwned`",
    b";touch pwned;",
    b"'; touch pwned; '",
    b"\"; touch pwned; \"",
    b"$HOME",
    b"$1",
    b"\"$2\"",
    b"-rf",
    b"--",
    b"*",
    b"?[a-z]",
    b" blanks ",
    b"\ttabs\t",
    NOT_UTF8,
    b"^path",
    b"^o.pathname",
    b"]]",
    b"%s%d%n",
    b"& | < >",
];

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] =
    if cfg!(target_os = "linux") { b"not utf-8 \xff\xfe" } else { "\u{e9}".as_bytes() };

#[test]
fn every_name_reaches_a_shell_command() {
    let program = |recorder: &ProgramRecorder| format!("^{}", recorder.program().display());
    every_name_arrives(program);
}

#[test]
fn every_name_reaches_a_program() {
    every_name_arrives(|recorder| recorder.program().display().to_string());
}

/// Creates, changes, renames and deletes files of all names, and compares the arguments of a
/// program.
#[track_caller]
fn every_name_arrives(command: impl Fn(&ProgramRecorder) -> String) {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let recorder = ProgramRecorder::new(&sandbox, "");
    let program = command(&recorder).replace(sandbox.top().to_str().unwrap(), "@");
    let text = format!(
        "sync{{ source = '@/src', onStartup = [[{program} startup]]
              , onCreate = [[{program} create ^pathname]], onModify = [[{program} modify ^pathname]]
              , onDelete = [[{program} delete ^pathname]], onAttrib = [[{program} attrib ^pathname]]
              , onMove = [[{program} move ^o.pathname ^d.pathname]] }}"
    );
    let daemon = sandbox.daemon().config(&text, 1).start();
    let mut expected = BTreeSet::from([vec![b"startup".to_vec()]]);
    let mut possible = BTreeSet::new();
    wait_for(&daemon, &recorder, &expected, &possible);
    let at = |name: &[u8]| source.join(OsStr::from_bytes(name));
    let inside = |name: &[u8]| [b"in ", name, b"/", name].concat();
    let moved = |name: &[u8]| [name, b" to ", name].concat();
    // Each step is complete before the next, so that renames are not split.
    for name in NAMES {
        fs::write(at(name), "").unwrap();
        fs::create_dir(at(&inside(name)).parent().unwrap()).unwrap();
        fs::write(at(&inside(name)), "").unwrap();
        let directory = [b"in ", name].concat();
        for (event, path) in [("create", name), ("create", &directory), ("create", &inside(name))] {
            expected.insert(vec![event.into(), path.to_vec()]);
        }
        expected.insert(vec![b"modify".to_vec(), name.to_vec()]);
        // A file in a new directory may be found after it was closed.
        possible.insert(vec![b"modify".to_vec(), inside(name)]);
    }
    wait_for(&daemon, &recorder, &expected, &possible);
    for name in NAMES {
        append(&at(&inside(name)));
        expected.insert(vec![b"modify".to_vec(), inside(name)]);
    }
    wait_for(&daemon, &recorder, &expected, &possible);
    for name in NAMES {
        fs::rename(at(name), at(&moved(name))).unwrap();
        expected.insert(vec![b"move".to_vec(), name.to_vec(), moved(name)]);
    }
    wait_for(&daemon, &recorder, &expected, &possible);
    for name in NAMES {
        fs::remove_file(at(&moved(name))).unwrap();
        expected.insert(vec![b"delete".to_vec(), moved(name)]);
    }
    wait_for(&daemon, &recorder, &expected, &possible);
    for place in [sandbox.top(), &source, Path::new("/")] {
        assert!(!place.join("pwned").exists(), "a name was executed");
    }
}

fn append(path: &Path) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"more").unwrap();
}

/// Waits for the expected calls, and fails at one that is neither expected nor possible.
#[track_caller]
fn wait_for(
    daemon: &TestDaemon,
    recorder: &ProgramRecorder,
    expected: &BTreeSet<CallArgs>,
    possible: &BTreeSet<CallArgs>,
) {
    daemon.wait_until("all names have arrived", || {
        let calls: BTreeSet<CallArgs> = recorder.calls().into_iter().collect();
        let is_wrong = |call: &&CallArgs| !expected.contains(*call) && !possible.contains(*call);
        let wrong: Vec<String> = calls.iter().filter(is_wrong).map(shown).collect();
        assert!(wrong.is_empty(), "unexpected calls: {}", wrong.join(", "));
        expected.is_subset(&calls)
    });
}

fn shown(call: &CallArgs) -> String {
    call.join(&b' ').escape_ascii().to_string()
}
