//! What is excluded is neither mirrored nor deleted.

use std::fs;

use crate::support::{Mode, Sandbox, in_both_modes};

in_both_modes!(excluded_places_are_left_alone);

fn excluded_places_are_left_alone(mode: Mode) {
    let sandbox = Sandbox::new();
    let (source, target) = (sandbox.directory("source"), sandbox.directory("target"));
    for directory in ["cache", "kept"] {
        fs::create_dir(source.join(directory)).unwrap();
        fs::write(source.join(directory).join("old"), "").unwrap();
    }
    fs::create_dir(target.join("cache")).unwrap();
    fs::write(target.join("cache/of the target"), "").unwrap();
    let words = ["-exclude", "/cache/", "-exclude", "*.tmp"];
    let daemon = sandbox.daemon().mirror(mode, &source, &target).with(words).start();
    daemon.wait_live();
    fs::write(source.join("cache/new"), "").unwrap();
    fs::create_dir(source.join("cache/deep")).unwrap();
    fs::write(source.join("cache/deep/file"), "").unwrap();
    fs::write(source.join("kept/half.tmp"), "").unwrap();
    fs::rename(source.join("kept/half.tmp"), source.join("kept/whole")).unwrap();
    fs::write(source.join("kept/other.tmp"), "").unwrap();
    // What comes last is not excluded; when it is there, the others had their chance.
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
