//! What the comments of a configuration file say about its test.
//!
//! | line | meaning |
//! |---|---|
//! | `-- expect: exit 0` | the exit code of `-check`, always there |
//! | `-- expect: words rsync ..` | a call that is told, word by word |
//! | `-- expect: says ..` | a part of a line that is told |
//! | `-- expect: lacks ..` | no line has this |
//! | `-- expect: live 143` | it is run, and ends with this code, after TERM unless it is 0 |
//! | `-- expect: not live, ..` | its targets are here, but it is not run for this reason |
//! | `-- expect: leaves out a b` | these files do not get to the target |
//! | `-- expect: makes a` | this file in the place is there at the end |
//! | `-- make: a b` | directories in the place |
//! | `-- with: a b` | files beside this one that it reads or runs |
//! | `-- env: NAME=VALUE` | a variable |

/// What is expected of one file.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) exit: Option<i32>,
    pub(super) words: Vec<String>,
    pub(super) says: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) live: Option<i32>,
    pub(super) not_live: bool,
    pub(super) leaves_out: Vec<String>,
    pub(super) makes: Vec<String>,
    pub(super) directories: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
}

impl Header {
    /// From the text of a file, which need not be UTF-8.
    pub(super) fn read(text: &[u8]) -> Self {
        let mut header = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            let Some((name, value)) = line.strip_prefix("-- ").and_then(|it| it.split_once(": "))
            else {
                continue;
            };
            let list = || value.split_whitespace().map(str::to_owned);
            match name {
                "expect" => header.expect(value),
                "make" => header.directories.extend(list()),
                "with" => header.files.extend(list()),
                "env" => {
                    let (name, value) = value.split_once('=').unwrap();
                    header.variables.push((name.into(), value.into()));
                }
                _ => {}
            }
        }
        header
    }

    fn expect(&mut self, what: &str) {
        if what.starts_with("not live, ") {
            self.not_live = true;
            return;
        }
        if let Some(files) = what.strip_prefix("leaves out ") {
            self.leaves_out.extend(files.split_whitespace().map(str::to_owned));
            return;
        }
        let (name, value) = what.split_once(' ').unwrap_or((what, ""));
        match name {
            "exit" => self.exit = Some(value.parse().unwrap()),
            "words" => self.words.push(value.into()),
            "says" => self.says.push(value.into()),
            "lacks" => self.lacks.push(value.into()),
            "live" => self.live = Some(value.parse().unwrap()),
            "makes" => self.makes.push(value.into()),
            _ => panic!("nobody knows what is expected by {what:?}"),
        }
    }
}
