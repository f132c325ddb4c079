//! The example that passes lists of names to an upload program.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::RunningExample;
use crate::support::{ProgramRecorder, Sandbox};

/// A directory as remote storage, and the upload program.
struct UploadFixture {
    tool: ProgramRecorder,
    storage: PathBuf,
}

impl UploadFixture {
    /// Creates a program that reads names with this terminator, in the notation of `tr`. It fails
    /// while `busy` exists.
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
        Self { tool: ProgramRecorder::new(sandbox, &body), storage: sandbox.path("dst") }
    }

    fn start(&self, sandbox: &Sandbox, separator: &str) -> RunningExample {
        let program = self.tool.program().to_str().unwrap();
        let variables = [("UPLOADER", program), ("DELAY", "0.3"), ("SEPARATOR", separator)];
        RunningExample::start(sandbox, "batch-upload.lua", &variables)
    }

    /// Returns all files below `root` with their contents.
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

    fn has_all_files_of(&self, example: &RunningExample) -> bool {
        Self::files(&example.source) == Self::files(&self.storage)
    }
}

#[test]
fn many_files_need_few_calls_and_deletions_keep_their_order() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    fs::create_dir_all(source.join("old/deep")).unwrap();
    fs::write(source.join("old/deep/file"), "old").unwrap();
    let fixture = UploadFixture::new(&sandbox, "\\n");
    let example = fixture.start(&sandbox, "");
    example.daemon.wait_live();
    assert!(fixture.has_all_files_of(&example), "all is there at the start");
    example.daemon.while_stopped(|| {
        for number in 0..500 {
            fs::write(source.join(format!("file {number}")), number.to_string()).unwrap();
        }
    });
    example.daemon.wait_until("the new ones are", || fixture.has_all_files_of(&example));
    assert!(fixture.tool.calls().len() < 20, "{:?}", fixture.tool.lines());
    // Alternating deletions and creations of the same names.
    for number in 0..100 {
        fs::remove_file(source.join(format!("file {number}"))).unwrap();
        fs::write(source.join(format!("file {}", number + 1)), "anew").unwrap();
    }
    fs::remove_dir_all(source.join("old")).unwrap();
    example.daemon.wait_until("so are these", || fixture.has_all_files_of(&example));
    let log = example.daemon.log();
    assert!(!log.contains("Error"), "{log}");
}

#[test]
fn with_nul_as_separator_every_name_is_possible() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let fixture = UploadFixture::new(&sandbox, "\\0");
    let example = fixture.start(&sandbox, "nul");
    example.daemon.wait_live();
    for name in ["new\nline", "$(touch pwned)", " blanks ", "quotes'\"", "-rf", "%"] {
        fs::write(source.join(name), name).unwrap();
    }
    example.daemon.wait_until("all are there", || fixture.has_all_files_of(&example));
    fs::remove_file(source.join("new\nline")).unwrap();
    example.daemon.wait_until("it is gone", || fixture.has_all_files_of(&example));
}

#[test]
fn temporary_failures_are_retried_and_unsupported_names_reported() {
    let sandbox = Sandbox::new();
    let source = sandbox.create_dir("src");
    let fixture = UploadFixture::new(&sandbox, "\\n");
    let example = fixture.start(&sandbox, "");
    example.daemon.wait_live();
    fs::write(sandbox.path("busy"), "").unwrap();
    fs::write(source.join("file"), "").unwrap();
    fs::write(source.join("line\nbreak"), "").unwrap();
    example.daemon.wait_until("it is tried again", || fixture.tool.calls().len() >= 3);
    fs::remove_file(sandbox.path("busy")).unwrap();
    let arrived = fixture.storage.join("file");
    example.daemon.wait_until("it has arrived", || arrived.exists());
    example.daemon.wait_for_log("a name with a line break is left out");
    assert_eq!(UploadFixture::files(&fixture.storage).len(), 1);
}
