//! The script that gives lists of names to a program.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::Example;
use crate::support::{Recorder, Sandbox};

/// A far place that is a directory, and the program that brings files to it.
struct Far {
    tool: Recorder,
    place: PathBuf,
}

impl Far {
    /// It reads names with this byte behind each, as `tr` writes it; it fails while `busy` exists.
    fn new(sandbox: &Sandbox, separator: &str) -> Self {
        let body = format!(
            "test -e busy && exit 5
            case $1 in
                copy) if [ \"$2\" = --files-from-raw ]; then
                          cat > names; tr '{separator}' '\\0' < names > list
                          cd \"$4\" && xargs -0 sh -c '
                              for name; do
                                  test -e \"$name\" && printf \"%s\\0\" \"$name\"
                              done' sh < ../list | xargs -0 -r cp --parents -t \"$5\" --
                      else cp -r \"$2.\" \"$3\"; fi ;;
                delete) tr '{separator}' '\\0' > list; cd \"$4\" && xargs -0 rm -f -- < ../list ;;
                purge) test -e \"$2\" || exit 3; rm -rf \"$2\" ;;
            esac"
        );
        Self { tool: Recorder::new(sandbox, &body), place: sandbox.path("dst") }
    }

    fn start(&self, sandbox: &Sandbox, separator: &str) -> Example {
        let program = self.tool.program().to_str().unwrap();
        let variables = [("UPLOADER", program), ("DELAY", "0.3"), ("SEPARATOR", separator)];
        Example::start(sandbox, "batch-upload.lua", &variables)
    }

    /// All files below `root` with their contents.
    fn files(root: &Path) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
        let mut found = BTreeSet::new();
        let mut left = vec![root.to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
                found.insert((name, fs::read(&path).unwrap_or_default()));
            }
        }
        found
    }

    fn has_all_of(&self, example: &Example) -> bool {
        Self::files(&example.source) == Self::files(&self.place)
    }
}

#[test]
fn many_files_go_by_few_calls_and_deletions_in_their_order() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    fs::create_dir_all(source.join("old/deep")).unwrap();
    fs::write(source.join("old/deep/file"), "old").unwrap();
    let far = Far::new(&sandbox, "\\n");
    let example = far.start(&sandbox, "");
    example.daemon.wait_live();
    assert!(far.has_all_of(&example), "all is there at the start");
    example.daemon.while_stopped(|| {
        for number in 0..500 {
            fs::write(source.join(format!("file {number}")), number.to_string()).unwrap();
        }
    });
    example.daemon.wait_until("the new ones are", || far.has_all_of(&example));
    assert!(far.tool.calls().len() < 20, "{:?}", far.tool.lines());
    // A deletion and a creation of the same name, one after the other.
    for number in 0..100 {
        fs::remove_file(source.join(format!("file {number}"))).unwrap();
        fs::write(source.join(format!("file {}", number + 1)), "anew").unwrap();
    }
    fs::remove_dir_all(source.join("old")).unwrap();
    example.daemon.wait_until("so are these", || far.has_all_of(&example));
    let log = example.daemon.log();
    assert!(!log.contains("Error"), "{log}");
}

#[test]
fn with_nul_behind_each_name_all_names_can_be_told() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let far = Far::new(&sandbox, "\\0");
    let example = far.start(&sandbox, "nul");
    example.daemon.wait_live();
    for name in ["new\nline", "$(touch pwned)", " blanks ", "quotes'\"", "-rf", "%"] {
        fs::write(source.join(name), name).unwrap();
    }
    example.daemon.wait_until("all are there", || far.has_all_of(&example));
    fs::remove_file(source.join("new\nline")).unwrap();
    example.daemon.wait_until("it is gone", || far.has_all_of(&example));
}

#[test]
fn what_may_pass_is_tried_again_and_what_cannot_be_told_is_named() {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("src");
    let far = Far::new(&sandbox, "\\n");
    let example = far.start(&sandbox, "");
    example.daemon.wait_live();
    fs::write(sandbox.path("busy"), "").unwrap();
    fs::write(source.join("file"), "").unwrap();
    fs::write(source.join("line\nbreak"), "").unwrap();
    example.daemon.wait_until("it is tried again", || far.tool.calls().len() >= 3);
    fs::remove_file(sandbox.path("busy")).unwrap();
    let arrived = far.place.join("file");
    example.daemon.wait_until("it has arrived", || arrived.exists());
    example.daemon.wait_for_log("a name with a line break is left out");
    assert_eq!(Far::files(&far.place).len(), 1);
}
