//! Marks, with a script in place of ssh.

use super::*;
use crate::exec::target_mark::MARK_ATTRIBUTE;
use mirror_platform::{dir::Dir, metadata::FileRef};
use std::{
    ffi::OsStr,
    fs,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::symlink},
    },
    path::Path,
    process::Command,
};
use tempfile::TempDir;

/// A directory that stands for a machine: a script in place of ssh runs the command there.
struct FakeRemote {
    place: TempDir,
}

impl FakeRemote {
    fn new() -> Self {
        let host = Self { place: tempfile::tempdir().unwrap() };
        host.set_login("exec sh -c \"$command\"");
        host
    }

    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.place.path().join(path)
    }

    /// Sets the login script. It finds the remote command in `$command`.
    fn set_login(&self, script: &str) {
        let home = self.place.path().display();
        let start = format!("echo >>'{home}/logins'; cd '{home}'; for command; do :; done");
        let script = script.replace("@/", &format!("{home}/"));
        fs::write(self.at("login"), format!("{start}\n{script}\n")).unwrap();
    }

    fn logins(&self) -> usize {
        fs::read_to_string(self.at("logins")).unwrap_or_default().len()
    }

    fn mark(&self, directory: &[u8]) -> RemoteMark {
        let command = vec!["sh".into(), self.at("login").into_os_string()];
        let route = SshRoute { command, host: "u@host".into() };
        let (directory, working_dir) = (directory.to_vec(), "/".into());
        RemoteMark { route, directory, working_dir, state: Arc::default(), log: None }
    }

    fn read(&self, directory: &[u8]) -> Result<Option<String>, MarkError> {
        self.mark(directory).read(&CancelToken::default(), later())
    }

    fn write(&self, directory: &[u8], mark: &str) -> Result<MarkReply, MarkError> {
        self.mark(directory).write(mark, &[], &CancelToken::default(), later())
    }

    /// Returns the attribute of a directory.
    fn attribute(&self, directory: &[u8]) -> Option<String> {
        let directory = Dir::open(&self.at(OsStr::from_bytes(directory))).unwrap();
        let found = FileRef::Open(directory.as_fd()).xattr(MARK_ATTRIBUTE).ok()?;
        Some(String::from_utf8(found).unwrap())
    }

    /// Lets the remote shell find these programs only. Returns false if one is missing.
    fn set_programs(&self, names: &[&str]) -> bool {
        let _ = fs::remove_dir_all(self.at("bin"));
        fs::create_dir(self.at("bin")).unwrap();
        self.set_login("sh=$(command -v sh); PATH='@/bin'; export PATH; exec $sh -c \"exec $sh\"");
        names.iter().all(|name| {
            let found = program(name);
            found.is_some_and(|found| symlink(found, self.at("bin").join(name)).is_ok())
        })
    }
}

const FIRST: &str = "f1";

fn later() -> Instant {
    Instant::now() + TIMEOUT
}

/// Returns the path of a program, as Python or the shell knows it.
fn program(name: &str) -> Option<PathBuf> {
    let found = match name {
        "python3" => {
            Command::new(name).args(["-c", "import sys; print(sys.executable)"]).output().ok()?
        }
        _ => Command::new("sh").args(["-c", &format!("command -v {name}")]).output().ok()?,
    };
    let path = String::from_utf8(found.stdout).unwrap();
    found.status.success().then(|| path.trim().into())
}

/// Bytes that are no UTF-8, except on macOS, whose file systems refuse them.
const NOT_UTF8: &[u8] = if cfg!(target_os = "linux") { b"\xff\xfe" } else { "\u{e9}".as_bytes() };

#[test]
fn each_directory_gets_its_mark_and_no_name_is_a_command() {
    let host = FakeRemote::new();
    let names: [&[u8]; 8] = [
        b"a b",
        b"it's",
        b"-n",
        b"~",
        b"$(touch made)`touch made`;touch made",
        b"line\n feed",
        NOT_UTF8,
        b": No such attribute",
    ];
    for (number, name) in names.into_iter().enumerate() {
        fs::create_dir(host.at(OsStr::from_bytes(name))).unwrap();
        assert_eq!(host.read(name), Ok(None), "{number}");
        let mark = format!("{number:032x}");
        let absolute = host.at(OsStr::from_bytes(name)).into_os_string().into_vec();
        for path in [name, &*absolute] {
            assert_eq!(host.write(path, FIRST), Ok(MarkReply::Written));
            assert_eq!(host.attribute(name).as_deref(), Some(FIRST), "{number}");
            assert_eq!(host.write(path, &mark), Ok(MarkReply::Written));
            assert_eq!(host.attribute(name).as_ref(), Some(&mark), "{number}");
            assert_eq!(host.read(path), Ok(Some(mark.clone())), "{number}");
        }
    }
    assert!(!host.at("made").exists());
}

#[test]
fn a_missing_directory_has_no_mark() {
    let host = FakeRemote::new();
    fs::write(host.at("file"), "").unwrap();
    for path in [&b"gone"[..], b"file"] {
        let missing = MarkError::Away("no directory there at u@host".into());
        assert_eq!(host.read(path), Err(missing));
        assert_eq!(host.write(path, FIRST), Ok(MarkReply::Missing));
    }
}

#[test]
fn either_program_is_enough_and_none_is_reported_with_the_remedy() {
    let host = FakeRemote::new();
    fs::create_dir(host.at("target")).unwrap();
    // Python loads no module from a directory of the user.
    fs::write(host.at("os.py"), "raise SystemExit(1)").unwrap();
    for names in [&["setfattr", "getfattr"][..], &["python3"]] {
        if !host.set_programs(names) {
            println!("skipped: no {names:?}");
            continue;
        }
        fs::remove_dir(host.at("target")).unwrap();
        fs::create_dir(host.at("target")).unwrap();
        assert_eq!(host.read(b"target"), Ok(None), "{names:?}");
        assert_eq!(host.write(b"target", "0a1b"), Ok(MarkReply::Written), "{names:?}");
        assert_eq!(host.attribute(b"target").as_deref(), Some("0a1b"), "{names:?}");
        assert_eq!(host.read(b"target"), Ok(Some("0a1b".into())), "{names:?}");
    }
    assert!(host.set_programs(&[]));
    let refused = |program: &str| {
        MarkError::Refused(format!(
            "u@host has neither {program} nor python3: install the package attr there, or set \
             trustTarget = true if nothing but this sync changes the target"
        ))
    };
    assert_eq!(host.read(b"target"), Err(refused("getfattr")));
    assert_eq!(host.write(b"target", "0a"), Err(refused("setfattr")));
}

#[test]
fn hosts_that_do_not_answer_are_told_from_those_that_refuse() {
    let host = FakeRemote::new();
    let text = |text: &str| text.to_owned();
    let cases = [
        ("echo no route >&2; exit 255", MarkError::Away(text("no route"))),
        (
            "echo 'u@host: Permission denied (publickey).' >&2; exit 255",
            MarkError::NoLogin(text("u@host: Permission denied (publickey).")),
        ),
        (
            "echo only rsync >&2; exit 1",
            MarkError::Refused(format!("no shell at u@host (only rsync): {TRUST}")),
        ),
        (
            "cat; exit 0",
            MarkError::Refused(format!("no shell at u@host (sh exited with code 0): {TRUST}")),
        ),
    ];
    for (script, error) in cases {
        host.set_login(script);
        assert_eq!(host.read(b"target"), Err(error.clone()), "{script}");
        assert_eq!(host.write(b"target", "0a"), Err(error), "{script}");
    }
    host.set_login("exec sleep 600");
    let mark = host.mark(b"target");
    let until = Instant::now() + Duration::from_millis(50);
    let silent = mark.read(&CancelToken::default(), until);
    assert_eq!(silent, Err(MarkError::Away("it did not answer in 10 s".into())));
}

/// Returns routes to the same mark without a shared connection.
fn routes(mark: &RemoteMark) -> MarkRoutes {
    let mark = Arc::new(mark.clone());
    MarkRoutes {
        connections: Weak::new(),
        master: None,
        via_master: Arc::clone(&mark),
        via_user_config: mark,
        log: Log::default(),
    }
}

#[test]
fn an_outdated_mark_is_replaced_before_the_target_is_changed() {
    let (host, cancel) = (FakeRemote::new(), CancelToken::default());
    fs::create_dir(host.at("target")).unwrap();
    host.write(b"target", "0a").unwrap();
    let mark = host.mark(b"target");
    let routes = routes(&mark);
    routes.resume("0a");
    mark.settle(&cancel).unwrap();
    assert_eq!(host.attribute(b"target").as_deref(), Some("0a"), "it is not outdated");
    routes.outdate();
    host.set_login("echo no route >&2; exit 255");
    assert_eq!(mark.settle(&cancel), Err("no route".into()));
    host.set_login("exec sh -c \"$command\"");
    mark.settle(&cancel).unwrap();
    let new = host.attribute(b"target").unwrap();
    assert!(new.len() > 16 && new.bytes().all(|byte| byte.is_ascii_hexdigit()), "{new}");
    assert_eq!(routes.present(), [new]);
    // Where there can be no mark, nothing has to wait for it, and nobody asks again.
    routes.outdate();
    host.set_login("exit 1");
    let before = host.logins();
    for _ in 0..3 {
        mark.settle(&cancel).unwrap();
        routes.write("0d");
    }
    assert_eq!(host.logins(), before + 1);
    assert!(routes.present().is_empty());
}

#[test]
fn only_the_directory_that_received_everything_is_marked() {
    let (host, cancel) = (FakeRemote::new(), CancelToken::default());
    let mark = host.mark(b"target");
    let routes = routes(&mark);
    let replace = || {
        let _ = fs::remove_dir(host.at("target"));
        fs::create_dir(host.at("target")).unwrap();
    };
    // It was missing before the full transfer.
    mark.settle(&cancel).unwrap();
    replace();
    routes.write("0a");
    assert_eq!(host.attribute(b"target"), None, "no job has ended yet");
    mark.anchor(&cancel);
    let first = host.attribute(b"target");
    assert!(first.is_some());
    mark.anchor(&cancel);
    assert_eq!(host.attribute(b"target"), first, "once is enough");
    routes.write("0b");
    assert_eq!(host.attribute(b"target").as_deref(), Some("0b"));
    // A mark that may be written or not.
    host.set_login("echo lost >&2; exit 255");
    routes.write("0c");
    assert_eq!(routes.present(), ["0b", "0c"]);
    host.set_login("exec sh -c \"$command\"");
    routes.write("0d");
    assert_eq!(host.attribute(b"target").as_deref(), Some("0d"));
    // Nobody has noticed that it was replaced.
    replace();
    routes.write("0e");
    assert_eq!(host.attribute(b"target"), None);
    assert!(routes.present().is_empty());
    host.write(b"target", "0d").unwrap();
    routes.write("0f");
    assert_eq!(host.attribute(b"target").as_deref(), Some("0d"), "it has changed meanwhile");
    mark.anchor(&cancel);
    routes.write("10");
    assert_eq!(host.attribute(b"target").as_deref(), Some("10"));
    mark.detach();
    routes.write("11");
    assert_eq!(host.attribute(b"target").as_deref(), Some("10"));
    // The next run.
    routes.resume("10");
    routes.write("12");
    assert_eq!(host.attribute(b"target").as_deref(), Some("12"));
}

#[test]
fn replies_are_parsed() {
    let found = |mark: &str| Some(MarkReply::Found(mark.into()));
    let sum = u64::from(NUMBER) + 7;
    for (line, reply) in [
        ("mark 0a1b ", found("0a1b")),
        ("mark  ", found("")),
        ("mark a\u{1b}[0m", found("a\\u{1b}[0m")),
        ("none  ", Some(MarkReply::NotFound)),
        ("done", Some(MarkReply::Written)),
        ("other ", Some(MarkReply::Other)),
        ("missing ", Some(MarkReply::Missing)),
        ("tools ", Some(MarkReply::NoTools)),
        ("refused not supported", Some(MarkReply::Refused("not supported".into()))),
        ("", None),
        ("marks 0a", None),
    ] {
        assert_eq!(parse(format!("lsyncd {sum} {line}").as_bytes(), 7), reply, "{line}");
        assert_eq!(parse(format!("lsyncd {} {line}", sum + 1).as_bytes(), 7), None, "{line}");
    }
    // A shell that echoes its input gives no reply.
    let echo = script("read_mark", 7, &[b"/target"]);
    assert!(echo.split(|&byte| byte == b'\n').all(|line| parse(line, 7).is_none()));
}
