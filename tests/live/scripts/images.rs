//! The example that writes into its own source.

use std::{fs, path::Path};

use super::RunningExample;
use crate::support::{ProgramRecorder, Sandbox};

/// A converter that copies the file, and fails if it contains `bad`.
fn converter(sandbox: &Sandbox) -> ProgramRecorder {
    ProgramRecorder::new(sandbox, "cd src && grep -qv bad \"$1\" && cp \"$1\" \"$2\"")
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn each_image_is_converted_once_and_results_are_not() {
    let sandbox = Sandbox::new();
    let tool = converter(&sandbox);
    let source = sandbox.create_dir("src");
    fs::create_dir(source.join("album")).unwrap();
    let variables = [("CONVERT", tool.program().to_str().unwrap()), ("DELAY", "0.3")];
    let example = RunningExample::start(&sandbox, "image-conversion.lua", &variables);
    example.daemon.wait_watched();
    let odd = "album/[x] \\*$(touch pwned)";
    let mut calls = Vec::new();
    for (name, text) in [(odd, "first"), ("-n", "second"), ("plain", "third")] {
        let made = source.join(format!("{name}.jpg"));
        let write = || fs::write(source.join(format!("{name}.png")), text).unwrap();
        example.daemon.while_stopped(write);
        example.daemon.wait_until("it is converted", || content(&made) == text);
        calls.push(format!("./{name}.png ./{name}.jpg"));
    }
    // The time until the next conversion suffices for unwanted ones of the results.
    example.daemon.while_stopped(|| {
        fs::write(source.join("note.txt"), "").unwrap();
        fs::write(source.join("bad.png"), "bad").unwrap();
    });
    example.daemon.wait_for_log("./bad.png is not converted");
    calls.push("./bad.png ./bad.jpg".into());
    assert_eq!(tool.lines(), calls);
    // After a while the results count as ordinary images.
    example.daemon.wait_until("it goes the other way round, too", || {
        fs::write(source.join("plain.jpg"), "fourth").unwrap();
        content(&source.join("plain.png")) == "fourth"
    });
    assert!(!sandbox.path("pwned").exists() && !source.join("pwned").exists());
}

#[test]
fn without_subdirectories_only_top_level_images_are_converted() {
    let sandbox = Sandbox::new();
    let tool = converter(&sandbox);
    let source = sandbox.create_dir("src");
    fs::create_dir(source.join("album")).unwrap();
    let program = tool.program().to_str().unwrap();
    let variables = [("CONVERT", program), ("DELAY", "0"), ("SUBDIRS", "no")];
    let example = RunningExample::start(&sandbox, "image-conversion.lua", &variables);
    example.daemon.wait_watched();
    for number in 0..3 {
        fs::write(source.join(format!("album/{number}.png")), "").unwrap();
        fs::write(source.join(format!("{number}.png")), "image\n").unwrap();
        let made = source.join(format!("{number}.jpg"));
        example.daemon.wait_until("it is converted", || made.exists());
    }
    assert!(tool.lines().iter().all(|line| !line.contains("album")), "{:?}", tool.lines());
}

#[test]
fn many_images_are_converted() {
    let sandbox = Sandbox::new();
    let tool = converter(&sandbox);
    let source = sandbox.create_dir("src");
    let variables = [("CONVERT", tool.program().to_str().unwrap()), ("DELAY", "0.3")];
    let example = RunningExample::start(&sandbox, "image-conversion.lua", &variables);
    example.daemon.wait_watched();
    // An image that is closed long after its creation is converted twice.
    let write = |name: &str| fs::write(source.join(name), "image\n").unwrap();
    example.daemon.while_stopped(|| (0..200).for_each(|number| write(&format!("{number}.png"))));
    let made = |number| source.join(format!("{number}.jpg")).exists();
    example.daemon.wait_until("all are converted", || (0..200).all(made));
    example.daemon.while_stopped(|| write("last.png"));
    let last = source.join("last.jpg");
    example.daemon.wait_until("so is a later one", || last.exists());
    assert_eq!(tool.lines().len(), 201);
}
