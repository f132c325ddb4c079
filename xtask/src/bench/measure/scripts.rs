//! User scripts.

use std::{collections::HashSet, fs, io, process::Command, time::Instant};

use super::{BenchEnv, wait_for_arrival};
use crate::bench::{
    metric::{Metric, Sample},
    process::MeteredProcess,
    scratch::{ScratchDir, ScratchPath},
    tool::Tool,
    workload::Workload,
};

/// A script that handles this number of created files. Each appends their names to a file, with the
/// same configuration for the original and for ours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScriptBench {
    /// A function that takes all due events as a list, and passes their names to one program.
    Lists(usize),
    /// A command for each file.
    Commands(usize),
}

/// A file that is written until the daemon handles it, which shows that it is live.
const MARKER: &str = "live";

impl ScriptBench {
    /// Measures one run.
    ///
    /// # Errors
    ///
    /// If a name does not arrive.
    pub(crate) fn measure(self, bench: &BenchEnv, tool: Tool) -> io::Result<Sample> {
        let scratch = ScratchDir::new(&bench.base)?;
        let source = scratch.create_dir("source")?;
        let names = scratch.path("names")?;
        let (Self::Lists(number) | Self::Commands(number)) = self;
        let workload = Workload::Create(number);
        workload.prepare(source.path())?;
        let file = scratch.path("script.lua")?;
        fs::write(file.path(), self.configuration(&source, &names))?;
        let mut command = tool.lsyncd(&bench.ours)?;
        command.arg("-nodaemon").arg(file.path());
        let mut running = start(&command, &scratch, &source, &names)?;
        let before = running.usage()?;
        let mut missing: HashSet<String> =
            workload.expected_changes().keys().map(|path| format!("/{}", path.display())).collect();
        let started = Instant::now();
        workload.change(source.path())?;
        let mut read = 0;
        let wall = wait_for_arrival(started, || {
            let text = fs::read_to_string(names.path()).unwrap_or_default();
            // The last line may be incomplete.
            let complete = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text.get(read..complete).unwrap_or_default().lines() {
                missing.remove(line);
            }
            read = complete;
            missing.is_empty()
        })?;
        running.wait_without_children()?;
        let used = running.usage()?;
        Ok(Sample::from([
            (Metric::Wall, wall),
            (Metric::OwnCpu, used.own - before.own),
            (Metric::AllCpu, used.own + used.children - before.own - before.children),
            (Metric::Memory, running.peak_memory()?),
        ]))
    }

    fn configuration(self, source: &ScratchPath, names: &ScratchPath) -> String {
        let (source, names) = (source.path().display(), names.path().display());
        let action = match self {
            Self::Lists(_) => format!(
                "action = function(inlet)
                     local events = inlet.getEvents()
                     local paths = events.getPaths(function(etype, path) return path .. '\\n' end)
                     spawn(events, '/bin/sh', '<', table.concat(paths), '-c', 'cat >> {names}')
                 end"
            ),
            Self::Commands(_) => format!("onCreate = 'echo /^pathname >> {names}'"),
        };
        format!("sync{{ source = '{source}', delay = 0, {action} }}\n")
    }
}

/// Starts a daemon and waits until it handles changes.
fn start(
    command: &Command,
    scratch: &ScratchDir,
    source: &ScratchPath,
    names: &ScratchPath,
) -> io::Result<MeteredProcess> {
    let mut running = MeteredProcess::start(command, &scratch.path("output")?)?;
    let marker = source.path().join(MARKER);
    let mut polls = 0;
    running.wait_until("a marker arrives", |_| {
        polls += 1;
        // Not continuously, because a script may handle each write as a change.
        if polls % 500 == 1 {
            let _ = fs::remove_file(&marker);
            let _ = fs::write(&marker, "");
        }
        fs::read_to_string(names.path()).is_ok_and(|names| names.contains(MARKER))
    })?;
    running.wait_without_children()?;
    Ok(running)
}
