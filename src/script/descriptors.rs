//! Descriptors that scripts want to be told of when they are ready.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mirror_platform::descriptor::duplicate;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::fstat,
    io::ioctl_fionread,
};

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Something can be read, or it is at its end.
    pub read: bool,
    /// Something can be written.
    pub write: bool,
}

/// How long a descriptor is left alone when its function has failed: it is as ready as before, and to
/// call that at once again would cost all of a processor.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How long one is left alone whose function was called at its end, and neither closed nor forgot it.
/// It doubles with each call, up to the time after a failure.
const AT_END: Duration = Duration::from_millis(10);

/// With so many calls that is a second.
const ENDS_TO_TELL: u32 = 8;

/// Polls descriptors on a thread. What was told once is not told again before
/// [`rearm`](Self::rearm).
#[derive(Debug)]
pub struct Descriptors {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    set: Mutex<Set>,
    /// Rung when the set has changed.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct Set {
    observed: BTreeMap<RawFd, Observed>,
    is_over: bool,
}

/// One descriptor. What is polled is a copy, so that the poll never sees another one that got the
/// number meanwhile.
#[derive(Debug)]
struct Observed {
    copy: Arc<OwnedFd>,
    wanted: Ready,
    phase: Phase,
    /// How often it was told, one time after the other, when it was at its end.
    ends: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Polled,
    /// What was told has not been seen to yet.
    Told,
    /// It is left alone until then.
    Rests(Instant),
}

impl Phase {
    fn is_polled(self, now: Instant) -> bool {
        match self {
            Self::Polled => true,
            Self::Told => false,
            Self::Rests(until) => until <= now,
        }
    }

    /// How long it is left alone from now on.
    fn rest(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Rests(until) if until > now => Some(until - now),
            _ => None,
        }
    }
}

impl Shared {
    fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // The bell can't be too full: it counts to 2^64 - 2 before it blocks.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Descriptors {
    /// Starts to poll, nothing yet. `tell` is called on another thread.
    ///
    /// # Errors
    ///
    /// As `eventfd(2)`, or if there can be no thread.
    pub fn start(tell: impl Fn(RawFd, Ready) + Send + 'static) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { set: Mutex::default(), bell });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("descriptors".into()).spawn(move || {
            while let Some(ready) = its.wait() {
                for (fd, what) in ready {
                    tell(fd, what);
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on tells when this descriptor is ready for that.
    ///
    /// # Errors
    ///
    /// If there is no such descriptor.
    pub fn observe(&self, fd: RawFd, wanted: Ready) -> io::Result<()> {
        let copy = Arc::new(duplicate(fd)?);
        self.shared
            .set()
            .observed
            .insert(fd, Observed { copy, wanted, phase: Phase::Polled, ends: 0 });
        self.shared.ring();
        Ok(())
    }

    /// What was told of this descriptor has been seen to, well or not. If it was closed meanwhile, it
    /// is forgotten: the copy would keep the other side waiting, and be ready for ever.
    ///
    /// Returns whether it was left at its end so often that this is to be told. That is so once.
    #[expect(clippy::must_use_candidate, reason = "what it is called for is done anyway")]
    pub fn rearm(&self, fd: RawFd, is_well: bool) -> bool {
        let mut set = self.shared.set();
        let mut is_left = false;
        if let Some(observed) = set.observed.get_mut(&fd) {
            let rest = if is_well { observed.rest_at_end() } else { Some(AFTER_FAILURE) };
            observed.phase = rest.map_or(Phase::Polled, |rest| Phase::Rests(Instant::now() + rest));
            if observed.is_named(fd) {
                is_left = is_well && observed.ends == ENDS_TO_TELL;
            } else {
                set.observed.remove(&fd);
            }
        }
        drop(set);
        self.shared.ring();
        is_left
    }

    /// Whether none is observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.set().observed.is_empty()
    }

    /// Tells nothing of this descriptor any more.
    pub fn forget(&self, fd: RawFd) {
        self.shared.set().observed.remove(&fd);
        self.shared.ring();
    }
}

impl Set {
    fn polled(&self, now: Instant) -> Vec<(RawFd, Arc<OwnedFd>, Ready)> {
        let polled = self.observed.iter().filter(|(_, it)| it.phase.is_polled(now));
        polled.map(|(fd, it)| (*fd, Arc::clone(&it.copy), it.wanted)).collect()
    }

    /// How long until one is polled again that was left alone.
    fn rest(&self, now: Instant) -> Option<Duration> {
        self.observed.values().filter_map(|it| it.phase.rest(now)).min()
    }
}

impl Observed {
    /// How long it is left alone after its function was called.
    fn rest_at_end(&self) -> Option<Duration> {
        let doubled = self.ends.checked_sub(1)?.min(ENDS_TO_TELL);
        Some((AT_END * 2_u32.pow(doubled)).min(AFTER_FAILURE))
    }

    /// Whether this number still names what is observed.
    fn is_named(&self, fd: RawFd) -> bool {
        let identity = |fd: &OwnedFd| fstat(fd).ok().map(|found| (found.st_dev, found.st_ino));
        duplicate(fd).is_ok_and(|named| identity(&named) == identity(&self.copy))
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        self.shared.set().is_over = true;
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Waits until a descriptor is ready. `None` when all is over.
    fn wait(&self) -> Option<Vec<(RawFd, Ready)>> {
        let (polled, rest) = {
            let (set, now) = (self.set(), Instant::now());
            if set.is_over {
                return None;
            }
            (set.polled(now), set.rest(now))
        };
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        fds.extend(polled.iter().map(|(_, copy, wanted)| PollFd::new(&**copy, flags(*wanted))));
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        // Interrupted, it looks again.
        let _ = poll(&mut fds, rest.as_ref());
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let mut told = Vec::new();
        let mut set = self.set();
        for ((fd, copy, wanted), polled) in polled.iter().zip(fds.iter().skip(1)) {
            let Some(ready) = ready_for(*wanted, polled.revents()) else { continue };
            if let Some(observed) = set.observed.get_mut(fd) {
                observed.phase = Phase::Told;
                let is_at_end = is_at_end(copy, polled.revents());
                observed.ends = if is_at_end { observed.ends.saturating_add(1) } else { 0 };
            }
            told.push((*fd, ready));
        }
        Some(told)
    }
}

fn flags(wanted: Ready) -> PollFlags {
    let read = if wanted.read { PollFlags::IN } else { PollFlags::empty() };
    read | if wanted.write { PollFlags::OUT } else { PollFlags::empty() }
}

/// What of that it is ready for. An end or an error shows when it is read, or written.
fn ready_for(wanted: Ready, seen: PollFlags) -> Option<Ready> {
    let ended = seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
    let read = wanted.read && (ended || seen.contains(PollFlags::IN));
    let write = wanted.write && (ended || seen.contains(PollFlags::OUT));
    (read || write).then_some(Ready { read, write })
}

/// Whether it is broken, or ready to be read with nothing in it, and so for ever. Of what does not
/// tell how much is in it nobody knows.
fn is_at_end(fd: &OwnedFd, seen: PollFlags) -> bool {
    seen.intersects(PollFlags::ERR | PollFlags::NVAL)
        || seen.intersects(PollFlags::IN | PollFlags::HUP) && ioctl_fionread(fd) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::fd::AsRawFd,
        sync::mpsc::channel,
    };

    const TO_READ: Ready = Ready { read: true, write: false };

    #[test]
    fn what_is_ready_is_told_once_until_it_is_seen_to() {
        let (sender, told) = channel();
        let descriptors = Descriptors::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"one").unwrap();
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        // Another one wakes the thread: of the first nothing is told again.
        let (other, mut to_other) = io::pipe().unwrap();
        descriptors.observe(other.as_raw_fd(), TO_READ).unwrap();
        to_other.write_all(b"x").unwrap();
        assert_eq!(told.recv(), Ok((other.as_raw_fd(), TO_READ)));
        let mut text = [0; 3];
        reader.read_exact(&mut text).unwrap();
        writer.write_all(b"two").unwrap();
        descriptors.rearm(fd, true);
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        // An end can be read as well.
        reader.read_exact(&mut text).unwrap();
        drop(writer);
        descriptors.rearm(fd, true);
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        drop(descriptors);
        assert!(told.recv().is_err());
    }

    #[test]
    fn what_was_forgotten_is_not_told() {
        let (sender, told) = channel();
        let descriptors = Descriptors::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        descriptors.observe(reader.as_raw_fd(), TO_READ).unwrap();
        descriptors.forget(reader.as_raw_fd());
        writer.write_all(b"x").unwrap();
        let to_write = Ready { read: false, write: true };
        descriptors.observe(writer.as_raw_fd(), to_write).unwrap();
        assert_eq!(told.recv(), Ok((writer.as_raw_fd(), to_write)));
    }

    #[test]
    fn what_was_closed_is_forgotten_and_closed_here_too() {
        let (sender, told) = channel();
        let descriptors = Descriptors::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        drop(reader);
        descriptors.rearm(fd, true);
        // Nobody is left to read.
        let patience = Timespec { tv_sec: 180, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&writer, PollFlags::empty())], Some(&patience));
        assert_eq!(ended, Ok(1));
    }

    #[test]
    fn what_failed_rests() {
        let (sender, told) = channel();
        let descriptors = Descriptors::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        writer.write_all(b"x").unwrap();
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        let failed = Instant::now();
        descriptors.rearm(fd, false);
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        assert!(failed.elapsed() >= AFTER_FAILURE);
    }

    #[test]
    fn what_is_left_at_its_end_is_told_less_and_less() {
        let (sender, told) = channel();
        let descriptors = Descriptors::start(move |fd, what| sender.send((fd, what)).unwrap());
        let descriptors = descriptors.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = reader.as_raw_fd();
        descriptors.observe(fd, TO_READ).unwrap();
        // As long as there is something in it, its function may take its time.
        writer.write_all(b"x").unwrap();
        for _ in 0..20 {
            assert_eq!(told.recv(), Ok((fd, TO_READ)));
            assert!(!descriptors.rearm(fd, true));
        }
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        (&reader).read_exact(&mut [0]).unwrap();
        drop(writer);
        descriptors.rearm(fd, true);
        let began = Instant::now();
        let left: Vec<bool> = (0..7)
            .map(|_| {
                assert_eq!(told.recv(), Ok((fd, TO_READ)));
                descriptors.rearm(fd, true)
            })
            .collect();
        // 10 + 20 + .. + 320 milliseconds.
        assert!(began.elapsed() >= AT_END * 63, "{:?}", began.elapsed());
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        assert!(!left.contains(&true) && descriptors.rearm(fd, true));
        assert_eq!(told.recv(), Ok((fd, TO_READ)));
        assert!(!descriptors.rearm(fd, true), "told once");
    }

    #[test]
    fn a_number_that_names_nothing_is_refused() {
        let descriptors = Descriptors::start(|_, _| ()).unwrap();
        assert!(descriptors.observe(-1, TO_READ).is_err());
    }
}
