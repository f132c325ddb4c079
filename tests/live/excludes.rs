//! Excludes.

use std::fs;

use crate::support::{Requirement, Sandbox, TransferMode, in_both_modes, needs};

in_both_modes!(excluded_paths_are_neither_mirrored_nor_deleted);

fn excluded_paths_are_neither_mirrored_nor_deleted(mode: TransferMode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    for directory in ["cache", "kept"] {
        fs::create_dir(source.join(directory)).unwrap();
        fs::write(source.join(directory).join("old"), "").unwrap();
    }
    fs::create_dir(target.join("cache")).unwrap();
    fs::write(target.join("cache/of the target"), "").unwrap();
    let args = ["-exclude", "/cache/", "-exclude", "*.tmp"];
    let daemon = sandbox.daemon().mirror(mode, &source, &target).args(args).start();
    daemon.wait_live();
    fs::write(source.join("cache/new"), "").unwrap();
    fs::create_dir(source.join("cache/deep")).unwrap();
    fs::write(source.join("cache/deep/file"), "").unwrap();
    fs::write(source.join("kept/half.tmp"), "").unwrap();
    fs::rename(source.join("kept/half.tmp"), source.join("kept/whole")).unwrap();
    fs::write(source.join("kept/other.tmp"), "").unwrap();
    // The last file is not excluded. Once it has arrived, all earlier changes are processed.
    fs::write(source.join("kept/last"), "").unwrap();
    let [last, whole] = ["kept/last", "kept/whole"].map(|name| target.join(name));
    daemon.wait_until("the others are mirrored", || last.exists() && whole.exists());
    let names = |directory: &str| {
        let entries = fs::read_dir(target.join(directory)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("cache"), ["of the target"]);
    assert_eq!(names("kept"), ["last", "old", "whole"]);
}

/// rsync does not apply its own rules to the parent directories of the names in a list.
#[test]
fn rules_among_the_arguments_of_rsync_protect_directories() {
    needs!(Requirement::Program("rsync"));
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
    fs::write(sandbox.path("rules"), "/from-file\n").unwrap();
    for directory in ["a", "from-file", "later"] {
        fs::create_dir(source.join(directory)).unwrap();
        for name in ["changed", "deleted"] {
            fs::write(source.join(directory).join(name), "of the source").unwrap();
        }
    }
    for directory in ["a", "from-file"] {
        fs::create_dir(target.join(directory)).unwrap();
        for name in ["changed", "deleted"] {
            fs::write(target.join(directory).join(name), "own").unwrap();
        }
    }
    let text = "sync{ default.rsync, source = '@/source', target = '@/target', rsync = {
        _extra = { '--exclude=a', '--exclude-from=@/rules', '--exclude', 'secret/' } } }";
    let daemon = sandbox.daemon().config(text, 1).start();
    daemon.wait_live();
    for directory in ["a", "from-file"] {
        fs::write(source.join(directory).join("changed"), "again").unwrap();
        fs::remove_file(source.join(directory).join("deleted")).unwrap();
    }
    fs::rename(source.join("later"), source.join("secret")).unwrap();
    fs::write(source.join("secret/changed"), "again").unwrap();
    fs::write(source.join("last"), "").unwrap();
    daemon.wait_until("the last change is mirrored", || target.join("last").exists());
    daemon.wait_until("the old name is gone", || !target.join("later").exists());
    for directory in ["a", "from-file"] {
        for name in ["changed", "deleted"] {
            let path = target.join(directory).join(name);
            assert_eq!(fs::read_to_string(path).unwrap(), "own");
        }
    }
    assert!(!target.join("secret").exists());
}
