//! The thread that drains the sources.
//!
//! It never waits for the engine. A change after a quiet time is read at once; while more come,
//! it rests some milliseconds between two drains, which costs a fifth of the time that reading
//! each event at once does. When nothing happens it sleeps.

use std::{
    collections::BTreeMap,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use mirror_core::{
    notice::{MirrorId, News, Notice},
    path::{Escaped, TreePath},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    Asks, Barrier, Inventory, MOST_LISTED, Preference, Told,
    choose::{Sources, is_remote},
    limits::Limit,
    open::tell_open,
    outbox::Outbox,
    poll::{Answer, Order},
    sentinel::Sentinel,
    source::{Findings, Ready, Tree, Unwatched, below},
};
use crate::report::{Category, Log};

/// The shortest rest between two drains.
const REST: Duration = Duration::from_millis(1);

/// The longest rest between two drains.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// A drain that found more than this makes the next rest longer.
const MANY: usize = 64;

/// How long the second half of a rename is awaited.
const PATIENCE: Duration = Duration::from_millis(3);

/// What the reader can be asked for.
#[derive(Debug)]
pub(super) enum Command {
    Cover(Tree, Option<PathBuf>),
    Uncover(MirrorId),
    Ignore(PathBuf),
    Drain(Barrier),
    List,
    Polled(Vec<Answer>),
    Stop,
}

/// The thread's own.
pub(super) struct Reader {
    sources: Sources,
    sentinel: Sentinel,
    log: Log,
    asks: Asks,
    inbox: Receiver<Command>,
    outbox: Arc<Outbox>,
    wake: Box<dyn Fn() + Send>,
    poller: Option<Sender<Order>>,
    mirrors: BTreeMap<MirrorId, Mirror>,
    /// Files of our own.
    ignored: Vec<PathBuf>,
    found: Findings,
    told: Vec<Told>,
    /// How long to rest before the next drain; `None` when nothing happens.
    rest: Option<Duration>,
    /// Whether the sources have work left.
    busy: bool,
    /// When what waits for its other half is told without.
    patience: Option<Instant>,
    limit_was_told: bool,
}

/// How far the covering of a mirror is.
#[derive(Debug, Default)]
struct Mirror {
    /// Its source. `None` if it wants each event as it is.
    root: Option<PathBuf>,
    /// The directories that are watched, when all are.
    watched: Option<usize>,
    /// How many subtrees are being read for the first time by the polling.
    awaited: usize,
    polled: usize,
    is_covered: bool,
    ignored: Vec<TreePath>,
}

impl Reader {
    pub(super) fn new(
        preference: Preference,
        log: Log,
        (asks, inbox): (Asks, Receiver<Command>),
        (outbox, wake): (Arc<Outbox>, Box<dyn Fn() + Send>),
    ) -> io::Result<Self> {
        Ok(Self {
            sources: Sources::new(preference)?,
            sentinel: Sentinel::new()?,
            log,
            asks,
            inbox,
            outbox,
            wake,
            poller: None,
            mirrors: BTreeMap::new(),
            ignored: Vec::new(),
            found: Findings::default(),
            told: Vec::new(),
            rest: None,
            busy: false,
            patience: None,
            limit_was_told: false,
        })
    }

    #[cfg(test)]
    pub(super) fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Reads until it is asked to stop.
    pub(super) fn run(mut self) {
        loop {
            let signs = self.wait();
            // Names come and go beside a link that leads to a root.
            if signs.table || (signs.events && self.sentinel.has_sign()) {
                self.look_at_roots();
            }
            if !self.obey() {
                return;
            }
            self.drain();
            self.busy = self.sources.work(&mut self.found);
            self.hand_over();
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Signs {
        let rest = self.rest.or_else(|| self.patience.map(|_| REST));
        if self.busy {
            return self.poll(Some(Duration::ZERO));
        }
        let Some(rest) = rest else { return self.poll(None) };
        // Only the bell ends a rest: what the sources have can wait.
        let mut bell = [PollFd::new(&*self.asks.bell, PollFlags::IN)];
        let _ = poll(&mut bell, timespec(rest).as_ref());
        self.poll(Some(Duration::ZERO))
    }

    fn poll(&self, timeout: Option<Duration>) -> Signs {
        let (read, table) = (PollFlags::IN, PollFlags::PRI | PollFlags::ERR);
        let mut fds = vec![
            PollFd::new(&*self.asks.bell, read),
            PollFd::from_borrowed_fd(self.sentinel.events(), read),
            PollFd::from_borrowed_fd(self.sentinel.mounts(), table),
        ];
        let sources = self.sources.descriptors();
        fds.extend(sources.map(|fd| PollFd::from_borrowed_fd(fd, read)));
        while poll(&mut fds, timeout.and_then(timespec).as_ref()) == Err(Errno::INTR) {}
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Signs { events: is_ready(1), table: is_ready(2) }
    }

    /// Does what it is asked to. Returns whether to go on.
    fn obey(&mut self) -> bool {
        let mut rings = [0; 8];
        let _ = rustix::io::read(&*self.asks.bell, &mut rings);
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::Stop => return false,
                Command::Cover(tree, given) => self.cover(&tree, given.as_deref()),
                Command::Uncover(mirror) => self.uncover(mirror),
                Command::Ignore(path) => {
                    self.ignored.push(path);
                    let mirrors: Vec<MirrorId> = self.mirrors.keys().copied().collect();
                    for mirror in mirrors {
                        self.find_ignored(mirror);
                    }
                }
                Command::Drain(barrier) => self.drain_all(barrier),
                Command::List => self.told.push(Told::Listed(self.inventory())),
                Command::Polled(answers) => self.hear(answers),
            }
        }
        true
    }

    fn inventory(&self) -> Inventory {
        let (watched, listed) = self.sources.list(MOST_LISTED);
        let marked = self.sources.marked().collect();
        let polled = self.mirrors.iter().map(|(&id, mirror)| (id, mirror.polled));
        let polled: Vec<_> = polled.filter(|(_, polled)| *polled > 0).collect();
        let is_limited = self.limit_was_told && !polled.is_empty();
        Inventory {
            watched,
            listed,
            marked,
            polled,
            advice: is_limited.then(|| Limit::Watches.advice()),
        }
    }

    fn cover(&mut self, tree: &Tree, given: Option<&Path>) {
        let mirror = tree.mirror;
        self.uncover(mirror);
        // First the sentinel, so that what is covered is what it watches over.
        let added = self.sentinel.add(mirror, &tree.root, given);
        let covered = added.and_then(|is_elsewhere| {
            self.told.extend(is_elsewhere.then_some(Told::Elsewhere(mirror)));
            self.sources.cover(tree)
        });
        if let Err(error) = covered {
            return self.cannot_cover(mirror, &format!("cannot watch {}: {error}", shown(tree)));
        }
        let root = tree.exact.is_none().then(|| tree.root.clone());
        self.mirrors.insert(mirror, Mirror { root, ..Mirror::default() });
        self.find_ignored(mirror);
        if is_remote(&tree.root) {
            self.poll_below(tree.clone(), TreePath::root());
        }
        self.busy = true;
    }

    fn cannot_cover(&mut self, mirror: MirrorId, why: &str) {
        self.uncover(mirror);
        self.told.push(Told::CannotCover { mirror, why: why.into() });
    }

    fn uncover(&mut self, mirror: MirrorId) {
        self.sources.uncover(mirror);
        self.sentinel.remove(mirror);
        self.mirrors.remove(&mirror);
        if let Some(poller) = &self.poller {
            let _ = poller.send(Order::Remove(mirror));
        }
    }

    fn find_ignored(&mut self, mirror: MirrorId) {
        let Some(tree) = self.sources.tree(mirror) else { return };
        let root = tree.root.as_os_str().as_bytes();
        let paths = self.ignored.iter().map(|path| path.as_os_str().as_bytes());
        let ignored =
            paths.filter_map(|path| below(root, path)).filter_map(TreePath::new).collect();
        if let Some(mirror) = self.mirrors.get_mut(&mirror) {
            mirror.ignored = ignored;
        }
    }

    /// Drains once, and finds out how long to rest afterwards.
    fn drain(&mut self) {
        self.found.events = 0;
        let ready = self.sources.drain(&mut self.found);
        self.rest = match (self.found.events, self.rest) {
            (0, _) if ready == Ready::Nothing => None,
            (MANY.., Some(rest)) => Some(LONGEST_REST.min(rest + REST)),
            _ => Some(REST),
        };
        self.lose_patience();
    }

    /// Tells what waits for its other half, if it has waited long enough.
    fn lose_patience(&mut self) {
        let awaits = self.sources.all().any(|source| source.awaits());
        let now = Instant::now();
        match self.patience {
            _ if !awaits => self.patience = None,
            None => self.patience = Some(now + PATIENCE),
            Some(end) if end <= now => {
                self.sources.all().for_each(|source| source.settle(&mut self.found));
                self.patience = None;
                // Something may have begun to wait meanwhile.
                if self.sources.all().any(|source| source.awaits()) {
                    self.patience = Some(now + PATIENCE);
                }
            }
            Some(_) => {}
        }
    }

    /// Tells all that has happened up to now, and then says so.
    fn drain_all(&mut self, barrier: Barrier) {
        // Twice, as the second half of a rename may be queued while the first is read.
        for _ in 0..2 {
            while self.sources.drain(&mut self.found) == Ready::More {}
            while self.sources.work(&mut self.found) {}
        }
        self.sources.all().for_each(|source| source.settle(&mut self.found));
        while self.sources.work(&mut self.found) {}
        self.hand_over();
        self.told.push(Told::Drained(barrier));
    }

    fn look_at_roots(&mut self) {
        let signs = self.sentinel.look();
        for point in signs.unmounted {
            self.sources.all().for_each(|source| source.unmounted(&point, &mut self.found));
        }
        for point in signs.mounted {
            self.sources.all().for_each(|source| source.mounted(&point));
            self.busy = true;
        }
        self.told.extend(signs.elsewhere.into_iter().map(Told::Elsewhere));
        for (mirror, gone) in signs.gone {
            // What was found before goes first.
            self.hand_over();
            let was_covered = self.mirrors.get(&mirror).is_some_and(|mirror| mirror.is_covered);
            self.uncover(mirror);
            if was_covered {
                self.told.push(Told::Notice(Notice { mirror, news: News::Gone(gone) }));
            } else {
                let why =
                    format!("the source went while it was being watched: {}", gone.sentence());
                self.told.push(Told::CannotCover { mirror, why });
            }
        }
    }

    /// Hands what was found on to the engine.
    fn hand_over(&mut self) {
        if self.found.is_empty() && self.told.is_empty() {
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        found.overflows.dedup();
        for limit in found.overflows.drain(..) {
            let [line, more] = limit.overflow();
            self.log.say(Category::Normal, line);
            self.log.say(Category::Warn, more);
        }
        for warning in found.warnings.drain(..) {
            self.log.say(Category::Warn, warning);
        }
        for unwatched in found.unwatched.drain(..) {
            self.on_unwatched(unwatched);
        }
        for (mirror, error) in found.failed.drain(..) {
            self.cannot_cover(mirror, &format!("cannot watch its source: {error}"));
        }
        let mirrors = &self.mirrors;
        tell_open(&mut found, |mirror| mirrors.get(&mirror)?.root.as_deref());
        let notices = found.notices.drain(..).filter(|notice| {
            let mirror = mirrors.get(&notice.mirror);
            mirror.is_some_and(|mirror| mirror.is_covered && !mirror.ignores(&notice.news))
        });
        let mut told: Vec<Told> = notices.map(Told::Notice).collect();
        told.append(&mut self.told);
        for (id, directories) in found.covered.drain(..) {
            let Some(mirror) = self.mirrors.get_mut(&id) else { continue };
            mirror.watched = Some(directories);
            if mirror.is_covered {
                // A source was started anew, and what it missed is not known.
                let news = News::Lost(TreePath::root());
                told.push(Told::Notice(Notice { mirror: id, news }));
            }
        }
        self.told = told;
        self.tell_covered();
        // The memory is used again.
        self.found = found;
        if self.outbox.put(self.told.drain(..)) {
            (self.wake)();
        }
    }

    fn tell_covered(&mut self) {
        for (&id, mirror) in &mut self.mirrors {
            if let (Some(directories), 0, false) =
                (mirror.watched, mirror.awaited, mirror.is_covered)
            {
                mirror.is_covered = true;
                let coverage = self.sources.coverage(id, directories, mirror.polled);
                self.told.push(Told::Covered { mirror: id, coverage });
            }
        }
    }
}

/// What needs polling.
impl Reader {
    fn on_unwatched(&mut self, unwatched: Unwatched) {
        let Unwatched { mirror, path, error } = unwatched;
        let Some(tree) = self.sources.tree(mirror).cloned() else { return };
        let shown = format!("{}{path}", shown(&tree));
        if Errno::from_io_error(&error) == Some(Errno::NOSPC) {
            if !std::mem::replace(&mut self.limit_was_told, true) {
                self.log.say(Category::Warn, too_many_watches(&shown));
            }
        } else {
            let message = format!("cannot watch {shown}: {error}: it is polled");
            self.log.say(Category::Warn, message);
        }
        self.poll_below(tree, path);
    }

    fn poll_below(&mut self, tree: Tree, path: TreePath) {
        if self.poller.is_none() {
            let asks = self.asks.clone();
            let tell = move |answers: Vec<Answer>| {
                if !answers.is_empty() {
                    asks.send(Command::Polled(answers));
                }
            };
            match super::poll::start(tell) {
                Ok(poller) => self.poller = Some(poller),
                Err(error) => {
                    self.log.say(Category::Error, format!("cannot start to poll: {error}"));
                }
            }
        }
        let Some(mirror) = self.mirrors.get_mut(&tree.mirror) else { return };
        if let Some(poller) = &self.poller
            && poller.send(Order::Add(tree, path)).is_ok()
        {
            mirror.awaited += 1;
        }
    }

    fn hear(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            let (Answer::Known(id, path, _) | Answer::Changed(id, path)) = &answer;
            let Some(mirror) = self.mirrors.get_mut(id) else { continue };
            if let Answer::Known(_, _, count) = answer {
                mirror.awaited = mirror.awaited.saturating_sub(1);
                mirror.polled += count;
            }
            // What changed before it was known, nobody saw. Until the mirror is covered nobody
            // needs to.
            if mirror.is_covered {
                self.found.tell(*id, News::Lost(path.clone()));
            }
        }
        self.tell_covered();
    }
}

impl Mirror {
    /// Whether news concern only files of our own.
    fn ignores(&self, news: &News) -> bool {
        if self.ignored.is_empty() {
            return false;
        }
        match news {
            News::Changed(change) => self.ignored.contains(&change.path),
            News::Moved { from, to, .. } => {
                self.ignored.contains(from) && self.ignored.contains(to)
            }
            News::Lost(_) | News::Gone(_) => false,
        }
    }
}

/// What was ready after a wait.
struct Signs {
    /// The watches of the sentinel have something to tell.
    events: bool,
    /// Something was mounted or unmounted.
    table: bool,
}

fn timespec(duration: Duration) -> Option<Timespec> {
    Timespec::try_from(duration).ok()
}

fn shown(tree: &Tree) -> String {
    Escaped(tree.root.as_os_str().as_bytes()).to_string()
}

/// What to say when the kernel watches no more directories.
fn too_many_watches(path: &str) -> String {
    let advice = Limit::Watches.advice();
    format!(
        "cannot watch {path}, and maybe others: {advice}; until the next start what is not \
         watched is polled"
    )
}
