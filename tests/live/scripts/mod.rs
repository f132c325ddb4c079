//! User scripts: the files in `examples`, and difficult cases.

mod callbacks;
mod chat;
mod convergence;
mod custom_functions;
mod default_examples;
mod examples;
mod guide;
mod images;
mod large_lists;
mod odd_names;
/// The program uses options of GNU cp and xargs.
#[cfg(target_os = "linux")]
mod upload;

use std::path::{Path, PathBuf};

use crate::support::{Sandbox, TestDaemon};

/// A running example with its source and target.
struct RunningExample {
    source: PathBuf,
    target: PathBuf,
    daemon: TestDaemon,
}

impl RunningExample {
    /// Starts the example of this name from `src` to `dst`, with these environment variables.
    #[track_caller]
    fn start(sandbox: &Sandbox, name: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(sandbox, name, variables, &["-log", "Inotify"])
    }

    /// Starts an example with further arguments.
    #[track_caller]
    fn start_with(
        sandbox: &Sandbox,
        name: &str,
        variables: &[(&str, &str)],
        args: &[&str],
    ) -> Self {
        let (source, target) = (sandbox.create_dir("src"), sandbox.create_dir("dst"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let syncs = [(source.clone(), target.clone())];
        let mut start = sandbox.daemon().args(args).config_file(&file, &syncs);
        let [from, to] = [&source, &target].map(|path| path.to_str().unwrap());
        for (name, value) in [("SOURCE", from), ("TARGET", to)].iter().chain(variables) {
            start = start.env(name, value);
        }
        Self { daemon: start.start(), source, target }
    }
}
