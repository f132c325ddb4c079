//! Names of any bytes in commands that are written as texts, run by a real shell.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, process::Command};

use mirror_core::{notice::Edit, path::TreePath};

use super::Played;
use crate::script::Order;

/// Names of any bytes.
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

/// These, and others of bytes that mean something to a shell.
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

/// Runs what was ordered last in an empty directory, and gives what it printed.
fn run(order: Option<&Order>) -> Vec<u8> {
    let Some(Order::Spawn(spawn)) = order else { panic!("nothing to be run: {order:?}") };
    let place = tempfile::tempdir().unwrap();
    let words = spawn.words.iter().map(|word| OsStr::from_bytes(word));
    let output =
        Command::new(&spawn.program).args(words).current_dir(place.path()).output().unwrap();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{:?}", spawn.words);
    assert!(output.stderr.is_empty(), "{:?}: {}", spawn.words, output.stderr.escape_ascii());
    output.stdout
}

/// Commands, and what each prints of a name: it stands for `|`, or at the end of what has none and
/// no `!` in front.
fn commands() -> Vec<(String, &'static [&'static str])> {
    let print = "printf '%s\\\\0'";
    vec![
        (format!("{print} ^path ^sourcePathname"), &["", "@/src//"]),
        // In quotes, and in commands within commands.
        (format!("{print} \"^path\" \"x^pathname y\""), &["", "x| y"]),
        (format!("{print} \"$(printf '%sX' ^path)\""), &["|X"]),
        (format!("{print} \"$(printf '%sX' \"^path\")\""), &["|X"]),
        // A bracket that ends none.
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
        // More than nine.
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

/// What `word` stands for, with a NUL behind it.
fn printed(word: &str, name: &[u8], here: &str) -> Vec<u8> {
    let word = word.replace('@', here);
    let text = match (word.strip_prefix('!'), word.split_once('|')) {
        (Some(fixed), _) => fixed.into(),
        (None, Some((front, back))) => [front.as_bytes(), name, back.as_bytes()].concat(),
        (None, None) => [word.as_bytes(), name].concat(),
    };
    [&text[..], b"\0"].concat()
}

#[test]
fn no_name_becomes_a_part_of_a_command() {
    for (command, words) in commands() {
        let quoted = command.replace('"', "\\\"");
        let mut played = Played::new(&format!(
            "{{ target = 't', onCreate = \"{quoted}\", collect = function() end }}"
        ));
        let here = played.here();
        for name in hostile_names() {
            let Some(path) = TreePath::new(&name).filter(|path| path.as_bytes() == name) else {
                continue;
            };
            played.hear(Edit::Create, path.as_bytes());
            assert_eq!(played.failures, [""; 0]);
            let got = run(played.orders.last());
            let words = words.iter().map(|word| printed(word, &name, here.to_str().unwrap()));
            let wanted = words.collect::<Vec<_>>().concat();
            let is_same = got == wanted;
            assert!(is_same, "{command}\n{}\n{}", got.escape_ascii(), wanted.escape_ascii());
            played.end(0);
        }
    }
}

#[test]
fn a_name_does_not_say_what_a_child_reads() {
    let mut played = Played::new(
        "{ target = 't', onCreate = '/bin/echo ^path ^target', onModify = '/bin/cat < ^path' }",
    );
    played.hear(Edit::Create, b"<");
    let Some(Order::Spawn(spawn)) = played.orders.last() else { panic!("{:?}", played.failures) };
    assert_eq!((&spawn.words[..], &spawn.stdin), (&[b"<".to_vec(), b"t".to_vec()][..], &None));
    played.end(0);
    // What the text of the command says does.
    played.hear(Edit::Modify, b"f");
    let Some(Order::Spawn(spawn)) = played.orders.last() else { panic!("{:?}", played.failures) };
    assert_eq!((spawn.words.len(), spawn.stdin.as_deref()), (0, Some(&b"f"[..])));
}
