//! Excludes.

use std::fs;

use crate::support::{Sandbox, TransferMode, in_both_modes};

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
