//! Measures the cost of watching: `watch_cost BACKEND DIRECTORIES FILES`.
//!
//! Creates a tree below the temporary directory, watches it, creates files in it and in an excluded
//! directory, and prints the CPU time and the memory of this process for each step.

use std::{
    error::Error,
    fs,
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use lsyncd::{
    report::Log,
    watch::{Barrier, Preference, WatchMessage, WatchTree, Watcher},
};
use mirror_core::fs_event::MirrorId;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let preference = match args.next().as_deref() {
        Some("inotify") => Preference::Inotify,
        Some("fanotify") => Preference::Fanotify,
        _ => Preference::Auto,
    };
    let mut number = || args.next().and_then(|arg| arg.parse::<usize>().ok()).unwrap_or(10_000);
    let (directories, files) = (number(), number());
    let place = std::env::temp_dir().join(format!("watch-cost-{}", std::process::id()));
    let result = measure(preference, &place, directories, files);
    fs::remove_dir_all(&place)?;
    result
}

fn measure(
    preference: Preference,
    place: &Path,
    directories: usize,
    files: usize,
) -> Result<(), Box<dyn Error>> {
    for n in 0..directories {
        fs::create_dir_all(place.join(format!("tree/{}/{}/{n}", n % 10, n / 10 % 100)))?;
    }
    for name in ["storm", "skip"] {
        fs::create_dir_all(place.join("tree").join(name))?;
    }
    let root = fs::canonicalize(place)?.join("tree");
    let (wake, woken) = mpsc::channel();
    let wake = Box::new(move || {
        // After the measurement the receiver is gone.
        let _ = wake.send(());
    });
    let meter = CostMeter::start("covered");
    let watch = Watcher::start(preference, Log::default(), wake)?;
    let skip = Arc::new(|path: &mirror_core::path::TreePath| path.as_bytes().starts_with(b"skip"));
    watch.cover(WatchTree { mirror: MirrorId(0), root: root.clone(), skip, exact: None }, None);
    wait(&watch, &woken, |message| matches!(message, WatchMessage::Covered { .. }))?;
    meter.stop();
    for (id, name) in [(1, "storm"), (2, "skip")] {
        let path = root.join(name);
        let meter = CostMeter::start(name);
        make_files(&path, files)?;
        watch.drain(Barrier(id));
        let notices =
            wait(&watch, &woken, |message| *message == WatchMessage::BarrierReached(Barrier(id)))?;
        println!("{notices} events");
        meter.stop();
    }
    let mut delays: Vec<Duration> = Vec::new();
    for n in 0..200 {
        std::thread::sleep(Duration::from_millis(20));
        drop(watch.take());
        while woken.try_recv().is_ok() {}
        fs::create_dir(root.join(format!("single{n}")))?;
        let began = Instant::now();
        woken.recv()?;
        delays.push(began.elapsed());
    }
    delays.sort_unstable();
    println!("one change: median {:?}, 99 % {:?}", delays.get(100), delays.get(198));
    let meter = CostMeter::start("idle");
    std::thread::sleep(Duration::from_secs(2));
    meter.stop();
    Ok(())
}

/// Creates the files in another process, whose CPU time is not counted.
fn make_files(path: &Path, files: usize) -> Result<(), Box<dyn Error>> {
    let script = "import sys\nfor n in range(int(sys.argv[2])):\n  \
                  open(f'{sys.argv[1]}/{n}', 'w').write('x')";
    let done = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .arg(files.to_string())
        .status()?;
    if done.success() { Ok(()) } else { Err("no files".into()) }
}

fn wait(
    watch: &Watcher,
    woken: &mpsc::Receiver<()>,
    last: impl Fn(&WatchMessage) -> bool,
) -> Result<usize, Box<dyn Error>> {
    let mut count = 0;
    loop {
        woken.recv()?;
        let messages = watch.take();
        count += messages.len();
        if let Some(end) = messages.iter().find(|message| last(message)) {
            println!("{end:?}");
            return Ok(count);
        }
    }
}

struct CostMeter {
    what: &'static str,
    began: Instant,
    usage: (Duration, i64),
}

impl CostMeter {
    fn start(what: &'static str) -> Self {
        Self { what, began: Instant::now(), usage: usage() }
    }

    fn stop(self) {
        let (time, switches) = usage();
        let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let memory = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        println!(
            "{}: {:?} wall, {:?} of the processor, {} wake-ups, {memory}",
            self.what,
            self.began.elapsed(),
            time.saturating_sub(self.usage.0),
            switches - self.usage.1
        );
    }
}

/// Returns the CPU time of this process, and the voluntary context switches of its threads.
fn usage() -> (Duration, i64) {
    let ticks = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let time = Duration::try_from(ticks).unwrap_or_default();
    let mut switches = 0;
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += line.and_then(|count| count.trim().parse::<i64>().ok()).unwrap_or_default();
    }
    (time, switches)
}
