//! Users' scripts: the files in `examples`, as they are, and what scripts stumble over.

mod beside;
mod calls;
mod chat;
mod churn;
mod defaults;
mod examples;
mod guide;
mod images;
mod lists;
mod names;
mod upload;

use std::path::{Path, PathBuf};

use crate::support::{Daemon, Sandbox};

/// An example that runs, with the two places that it is given.
struct Example {
    source: PathBuf,
    target: PathBuf,
    daemon: Daemon,
}

impl Example {
    /// Starts the example of this name from `src` to `dst`, with these variables.
    #[track_caller]
    fn start(sandbox: &Sandbox, name: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(sandbox, name, variables, &["-log", "Inotify"])
    }

    /// The same with these words on its command line.
    #[track_caller]
    fn start_with(
        sandbox: &Sandbox,
        name: &str,
        variables: &[(&str, &str)],
        words: &[&str],
    ) -> Self {
        let (source, target) = (sandbox.directory("src"), sandbox.directory("dst"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let places = [(source.clone(), target.clone())];
        let mut start = sandbox.daemon().with(words).configured(&file, &places);
        let [from, to] = [&source, &target].map(|path| path.to_str().unwrap());
        for (name, value) in [("SOURCE", from), ("TARGET", to)].iter().chain(variables) {
            start = start.environment(name, value);
        }
        Self { daemon: start.start(), source, target }
    }
}
