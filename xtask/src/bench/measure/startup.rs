//! The first sync.

use std::{io, process::Command, time::Instant};

use super::{Bench, copy_all, rsync, run, timed, wait_live};
use crate::bench::{
    expected::verify,
    figure::{Figure, Sample},
    place::{Arena, Place},
    scene,
    tool::{self, Mode, Order, Tool},
};

/// What there is to do at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Startup {
    /// Nothing: so many directories are equal already. The words tell our daemon how to watch.
    Equal(usize, &'static [&'static str]),
    /// Everything: so many small files go into an empty target.
    Empty(usize),
}

impl Startup {
    /// Takes `tool` from its start until it is live.
    ///
    /// # Errors
    ///
    /// When something cannot be done, or the target is wrong in the end.
    pub(crate) fn measure(self, bench: &Bench, tool: Tool) -> io::Result<Sample> {
        let arena = Arena::new(&bench.base)?;
        let [source, target] = [arena.directory("source")?, arena.directory("target")?];
        match self {
            Self::Equal(number, _) => {
                scene::directories(source.path(), number)?;
                copy_all(&source, &target)?;
            }
            Self::Empty(number) => {
                for directory in 0..100 {
                    let directory = source.path().join(format!("d{directory}"));
                    scene::files(&directory, number / 100, &[b'x'; 1024])?;
                }
            }
        }
        let sample = match tool {
            Tool::Floor => timed(|| match self {
                Self::Equal(..) => run(rsync(&source, &target)),
                Self::Empty(_) => copy_all(&source, &target),
            })?,
            Tool::RsyncArchive => timed(|| run(rsync_archive(&source, &target)))?,
            _ => self.measure_daemon(bench, tool, &arena, (&source, &target))?,
        };
        verify(source.path(), target.path())?;
        Ok(sample)
    }

    fn measure_daemon(
        self,
        bench: &Bench,
        tool: Tool,
        arena: &Arena,
        (source, target): (&Place, &Place),
    ) -> io::Result<Sample> {
        let (mode, ours) = match self {
            Self::Equal(_, words) => (Mode::Rsync, words),
            Self::Empty(_) => (Mode::Direct, [].as_slice()),
        };
        let targets = std::slice::from_ref(target);
        let order =
            Order { mode, source, targets, delay: None, excluded: None, ours, programs: None };
        let started = Instant::now();
        let mut running = tool::start(tool, &bench.ours, &order, arena)?;
        wait_live(tool, &mut running, source, targets)?;
        let wall = started.elapsed().as_secs_f64();
        let used = running.usage()?;
        Ok(Sample::from([
            (Figure::Wall, wall),
            (Figure::OwnCpu, used.own),
            (Figure::AllCpu, used.own + used.children),
            (Figure::Memory, running.peak_memory()?),
        ]))
    }
}

fn rsync_archive(source: &Place, target: &Place) -> Command {
    let mut command = Command::new("rsync");
    command.arg("-a").args([source.content(), target.content()]);
    command
}
