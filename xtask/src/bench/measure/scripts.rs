//! Actions that a user has written.

use std::{collections::HashSet, fs, io, process::Command, time::Instant};

use super::{Bench, wait_for_arrival};
use crate::bench::{
    figure::{Figure, Sample},
    place::{Arena, Place},
    running::Running,
    scene::Scene,
    tool::Tool,
};

/// What a script does with so many files that are created. Each writes their names down, the same
/// text for the original and for ours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// A function that takes all that is due as a list, and feeds its names to one program.
    Lists(usize),
    /// A command for each file.
    Commands(usize),
}

/// Shown to a daemon until it is written down: from then on it carries changes.
const MARKER: &str = "live";

impl Script {
    /// Takes `tool` through it.
    ///
    /// # Errors
    ///
    /// When a name does not arrive.
    pub(crate) fn measure(self, bench: &Bench, tool: Tool) -> io::Result<Sample> {
        let arena = Arena::new(&bench.base)?;
        let source = arena.directory("source")?;
        let names = arena.place("names")?;
        let (Self::Lists(number) | Self::Commands(number)) = self;
        let scene = Scene::Create(number);
        scene.prepare(source.path())?;
        let mut running = self.start(bench, tool, (&arena, &source, &names))?;
        let before = running.usage()?;
        let mut wanted: HashSet<String> =
            scene.changes().keys().map(|path| format!("/{}", path.display())).collect();
        let started = Instant::now();
        scene.change(source.path())?;
        let mut read = 0;
        let wall = wait_for_arrival(started, || {
            let text = fs::read_to_string(names.path()).unwrap_or_default();
            // A line may be there in part.
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            for line in text.get(read..whole).unwrap_or_default().lines() {
                wanted.remove(line);
            }
            read = whole;
            wanted.is_empty()
        })?;
        running.wait_without_children()?;
        let used = running.usage()?;
        Ok(Sample::from([
            (Figure::Wall, wall),
            (Figure::OwnCpu, used.own - before.own),
            (Figure::AllCpu, used.own + used.children - before.own - before.children),
            (Figure::Memory, running.peak_memory()?),
        ]))
    }

    fn start(
        self,
        bench: &Bench,
        tool: Tool,
        (arena, source, names): (&Arena, &Place, &Place),
    ) -> io::Result<Running> {
        let file = arena.place("script.lua")?;
        fs::write(file.path(), self.configuration(source, names))?;
        let mut command = match tool {
            Tool::Ours => Command::new(&bench.ours),
            Tool::Original => Command::new("lsyncd"),
            _ => return Err(io::Error::other("it knows no scripts")),
        };
        command.arg("-nodaemon").arg(file.path());
        let mut running = Running::start(&command, &arena.place("output")?)?;
        let marker = source.path().join(MARKER);
        let mut shown = 0;
        running.wait_until("a marker arrives", |_| {
            shown += 1;
            // Not all the time, since a script may take each for a change.
            if shown % 500 == 1 {
                let _ = fs::remove_file(&marker);
                let _ = fs::write(&marker, "");
            }
            fs::read_to_string(names.path()).is_ok_and(|names| names.contains(MARKER))
        })?;
        running.wait_without_children()?;
        Ok(running)
    }

    fn configuration(self, source: &Place, names: &Place) -> String {
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
