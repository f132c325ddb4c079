//! File names with arbitrary bytes in text commands, run by a real shell.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, process::Command};

use mirror_core::{fs_event::Edit, path::TreePath};

use super::ScriptHarness;
use crate::script::ScriptRequest;

/// Hostile file names.
const HOSTILE: [&[u8]; 38] = [
    b"$(touch pwned)",
    b"`touch pwned`",
    b"; touch pwned",
    b"' ; touch pwned ; '",
    b"\"; touch pwned; \"",
    b"-rf",
    b"--",
    b"*",
    b"?",
    b"[a-z]",
    b" a b ",
    b"a\nb",
    b"\n",
    b"a\\",
    b"\\",
    b"\\n",
    b"~",
    b"!x",
    b"%s",
    b"#x",
    b"^path",
    b"^",
    b"]]",
    b"$1",
    b"${10}",
    b"$$",
    b"&",
    b"|cat",
    b">pwned",
    b"<x",
    b"\xff\xfe",
    b"\x01\x7f",
    b"a\tb",
    b"''",
    b"\"\"",
    b"=",
    b"a=b",
    b"{a,b}",
];

/// Returns these names, and random ones of bytes that are special to a shell.
fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = HOSTILE.map(<[u8]>::to_vec).to_vec();
    let mut state = 12_345_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let bytes = b"'\"\\$`(){};&|<>*?[]~!#%^= \n\tab-\xff";
    for _ in 0..200 {
        let length = 1 + random() as usize % 12;
        let name = (0..length).map(|_| bytes[random() as usize % bytes.len()]);
        names.push(name.collect());
    }
    names.sort();
    names.dedup();
    names
}

/// Runs the last requested command in an empty directory, and returns its output.
fn run(request: Option<&ScriptRequest>) -> Vec<u8> {
    let Some(ScriptRequest::Spawn(spawn)) = request else {
        panic!("nothing to be run: {request:?}")
    };
    let dir = tempfile::tempdir().unwrap();
    let args = spawn.args.iter().map(|arg| OsStr::from_bytes(arg));
    let output = Command::new(&spawn.program).args(args).current_dir(dir.path()).output().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{:?}", spawn.args);
    assert!(output.stderr.is_empty(), "{:?}: {}", spawn.args, output.stderr.escape_ascii());
    output.stdout
}

/// Text commands and their expected output: the name replaces `|`, or is appended to a text that
/// has no `|` and no leading `!`.
fn commands() -> Vec<(String, &'static [&'static str])> {
    let print = "printf '%s\\\\0'";
    vec![
        (format!("{print} ^path ^sourcePathname"), &["", "@/src//"]),
        // In quotes, and in nested command substitutions.
        (format!("{print} \"^path\" \"x^pathname y\""), &["", "x| y"]),
        (format!("{print} \"$(printf '%sX' ^path)\""), &["|X"]),
        (format!("{print} \"$(printf '%sX' \"^path\")\""), &["|X"]),
        // An unbalanced bracket of a case pattern.
        (
            format!(
                "{print} \"$(case x in a) :;; *) case x in (a) :;; x) printf '%sX' ^path;; esac;; esac)\""
            ),
            &["|X"],
        ),
        (format!("# it's a comment ^path\\n{print} ^path"), &[""]),
        (format!("{print} it\\\\'s ^path"), &["!it's", ""]),
        (format!("{print} a\\\\ #b \"^path\" # it's"), &["!a #b", ""]),
        (format!("^{print} ^path"), &[""]),
        ("/usr/bin/printf %s\\\\0 ^path x^path".to_owned(), &["", "x"]),
        // More than nine arguments.
        (
            format!(
                "{print} ^pathname ^pathdir ^path ^sourcePathname ^sourcePathdir ^sourcePath ^source \
                 ^targetPathname ^targetPathdir ^targetPath ^target ^o.path"
            ),
            &[
                "", "!", "", "@/src//", "!@/src//", "@/src//", "!@/src/", "t/", "!t/", "t/", "!t",
                "",
            ],
        ),
    ]
}

/// Expands a template of the expected output, and appends a NUL.
fn printed(template: &str, name: &[u8], here: &str) -> Vec<u8> {
    let template = template.replace('@', here);
    let text = match (template.strip_prefix('!'), template.split_once('|')) {
        (Some(fixed), _) => fixed.into(),
        (None, Some((front, back))) => [front.as_bytes(), name, back.as_bytes()].concat(),
        (None, None) => [template.as_bytes(), name].concat(),
    };
    [&text[..], b"\0"].concat()
}

#[test]
fn file_names_are_never_parsed_as_shell_code() {
    for (command, templates) in commands() {
        let quoted = command.replace('"', "\\\"");
        let mut harness = ScriptHarness::new(&format!(
            "{{ target = 't', onCreate = \"{quoted}\", collect = function() end }}"
        ));
        let here = harness.here();
        for name in hostile_names() {
            let Some(path) = TreePath::new(&name).filter(|path| path.as_bytes() == name) else {
                continue;
            };
            harness.hear(Edit::Create, path.as_bytes());
            assert_eq!(harness.failures, [""; 0]);
            let got = run(harness.requests.last());
            let expected =
                templates.iter().map(|template| printed(template, &name, here.to_str().unwrap()));
            let expected = expected.collect::<Vec<_>>().concat();
            let is_same = got == expected;
            assert!(is_same, "{command}\n{}\n{}", got.escape_ascii(), expected.escape_ascii());
            harness.end(0);
        }
    }
}

#[test]
fn a_file_named_like_a_redirection_is_an_ordinary_argument() {
    let mut harness = ScriptHarness::new(
        "{ target = 't', onCreate = '/bin/echo ^path ^target', onModify = '/bin/cat < ^path' }",
    );
    harness.hear(Edit::Create, b"<");
    let Some(ScriptRequest::Spawn(spawn)) = harness.requests.last() else {
        panic!("{:?}", harness.failures)
    };
    assert_eq!((&spawn.args[..], &spawn.stdin), (&[b"<".to_vec(), b"t".to_vec()][..], &None));
    harness.end(0);
    // A redirection in the text of the command is honoured.
    harness.hear(Edit::Modify, b"f");
    let Some(ScriptRequest::Spawn(spawn)) = harness.requests.last() else {
        panic!("{:?}", harness.failures)
    };
    assert_eq!((spawn.args.len(), spawn.stdin.as_deref()), (0, Some(&b"f"[..])));
}
