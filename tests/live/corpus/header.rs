//! The header of a configuration file: comments that describe its test.
//!
//! | line | meaning |
//! |---|---|
//! | `-- expect: exit 0` | exit code of `-check`; mandatory |
//! | `-- expect: command rsync ..` | a complete command line in the output |
//! | `-- expect: output ..` | a part of a line of the output |
//! | `-- expect: no-output ..` | no line of the output contains this |
//! | `-- expect: live 143` | run the file; it exits with this code, after SIGTERM unless it is 0 |
//! | `-- expect: not live, ..` | do not run the file although its targets are local: the reason |
//! | `-- expect: excluded a b` | these files do not arrive at the target |
//! | `-- expect: creates a` | this file exists at the end |
//! | `-- mkdir: a b` | create these directories |
//! | `-- with: a b` | files beside this one that it reads or runs |
//! | `-- env: NAME=VALUE` | environment variable |

/// The expectations of one file.
#[derive(Debug, Default)]
pub(super) struct ConfigHeader {
    pub(super) exit: Option<i32>,
    pub(super) commands: Vec<String>,
    pub(super) output: Vec<String>,
    pub(super) no_output: Vec<String>,
    pub(super) live: Option<i32>,
    pub(super) not_live: bool,
    pub(super) excluded: Vec<String>,
    pub(super) creates: Vec<String>,
    pub(super) directories: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
}

impl ConfigHeader {
    /// Parses the text of a file, which may not be UTF-8.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut header = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            let Some((name, value)) = line.strip_prefix("-- ").and_then(|it| it.split_once(": "))
            else {
                continue;
            };
            let list = || value.split_whitespace().map(str::to_owned);
            match name {
                "expect" => header.expect(value),
                "mkdir" => header.directories.extend(list()),
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

    fn expect(&mut self, expectation: &str) {
        if expectation.starts_with("not live, ") {
            self.not_live = true;
            return;
        }
        if let Some(files) = expectation.strip_prefix("excluded ") {
            self.excluded.extend(files.split_whitespace().map(str::to_owned));
            return;
        }
        let (name, value) = expectation.split_once(' ').unwrap_or((expectation, ""));
        match name {
            "exit" => self.exit = Some(value.parse().unwrap()),
            "command" => self.commands.push(value.into()),
            "output" => self.output.push(value.into()),
            "no-output" => self.no_output.push(value.into()),
            "live" => self.live = Some(value.parse().unwrap()),
            "creates" => self.creates.push(value.into()),
            _ => panic!("unknown expectation {expectation:?}"),
        }
    }
}
