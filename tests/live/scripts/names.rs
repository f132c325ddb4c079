//! Names of any bytes reach a user's program as they are, and nothing in them is carried out.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::support::{Call, Daemon, Recorder, Sandbox};

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
    b"not utf-8 \xff\xfe",
    b"^path",
    b"^o.pathname",
    b"]]",
    b"%s%d%n",
    b"& | < >",
];

#[test]
fn by_the_shell() {
    let program = |recorder: &Recorder| format!("^{}", recorder.program().display());
    every_name_arrives(program);
}

#[test]
fn by_a_program_of_its_own() {
    every_name_arrives(|recorder| recorder.program().display().to_string());
}

/// Makes, changes, renames and deletes files of all names, and compares what a program was given.
#[track_caller]
fn every_name_arrives(command: impl Fn(&Recorder) -> String) {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let recorder = Recorder::new(&sandbox, "");
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
    // Each of them is worked off before the next, so that a rename stays one.
    for name in NAMES {
        fs::write(at(name), "").unwrap();
        fs::create_dir(at(&inside(name)).parent().unwrap()).unwrap();
        fs::write(at(&inside(name)), "").unwrap();
        let directory = [b"in ", name].concat();
        for (word, path) in [("create", name), ("create", &directory), ("create", &inside(name))] {
            expected.insert(vec![word.into(), path.to_vec()]);
        }
        expected.insert(vec![b"modify".to_vec(), name.to_vec()]);
        // What is in a new directory may be found when it is closed already.
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
        assert!(!place.join("pwned").exists(), "a name was carried out");
    }
}

fn append(path: &Path) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"more").unwrap();
}

/// Waits until these calls were made, and fails if there was one that is not possible either.
#[track_caller]
fn wait_for(
    daemon: &Daemon,
    recorder: &Recorder,
    expected: &BTreeSet<Call>,
    possible: &BTreeSet<Call>,
) {
    daemon.wait_until("all names have arrived", || {
        let calls: BTreeSet<Call> = recorder.calls().into_iter().collect();
        let is_wrong = |call: &&Call| !expected.contains(*call) && !possible.contains(*call);
        let wrong: Vec<String> = calls.iter().filter(is_wrong).map(shown).collect();
        assert!(wrong.is_empty(), "these came: {}", wrong.join(", "));
        expected.is_subset(&calls)
    });
}

fn shown(call: &Call) -> String {
    call.join(&b' ').escape_ascii().to_string()
}
