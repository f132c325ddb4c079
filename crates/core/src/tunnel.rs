//! Restart policy of a tunnel: the start of its processes and its readiness.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::time::Moment;

/// The longest wait between two tries: that the other end is back is to be noticed within a minute.
pub const MAX_WAIT: Duration = Duration::from_secs(50);

/// The shortest wait between two starts of a process.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// Restart settings of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSettings {
    /// The number of parallel processes, at least one.
    pub parallel: usize,
    /// The wait after a first failure; it doubles with each further one.
    pub retry: Duration,
    /// The lifetime after which a process counts as ready, if nothing reports so before.
    pub ready: Duration,
}

/// Specification of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelSpec {
    /// The unique name in messages.
    pub name: String,
    /// The program and its arguments, at least one element. `^localhost` and, in a pool,
    /// `^localport` are replaced in them.
    pub command: Vec<Vec<u8>>,
    /// True if each process gets a port of its own.
    pub pool: bool,
    /// The restart settings.
    pub settings: TunnelSettings,
    /// The replacement of `^localhost`.
    pub localhost: Vec<u8>,
}

/// A tunnel. It consists of lanes, each a process that is restarted; it is up while at least one of
/// them is ready.
#[derive(Debug)]
pub struct Tunnel {
    settings: TunnelSettings,
    lanes: Vec<Lane>,
}

/// One process and its restarts.
#[derive(Clone, Copy, Debug)]
struct Lane {
    state: State,
    /// The number of exits in a row before it was ready for long.
    failures: u32,
    /// The last wait before a start.
    waited: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does not run and starts at this time.
    Down(Moment),
    /// It runs since this time and is not known to be ready.
    Connecting(Moment),
    /// It is ready since this time.
    Ready(Moment),
}

impl Tunnel {
    /// A tunnel without running processes.
    #[must_use]
    pub fn new(settings: TunnelSettings) -> Self {
        let state = State::Down(Moment::ORIGIN);
        let lane = Lane { state, failures: 0, waited: Duration::ZERO };
        Self { settings, lanes: alloc::vec![lane; settings.parallel.max(1)] }
    }

    /// Returns true if at least one lane is ready.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ready().next().is_some()
    }

    /// The lanes that are ready.
    pub fn ready(&self) -> impl Iterator<Item = usize> {
        self.lanes_that(|state| matches!(state, State::Ready(_)))
    }

    /// The lanes that run and are not ready.
    pub fn connecting(&self) -> impl Iterator<Item = usize> {
        self.lanes_that(|state| matches!(state, State::Connecting(_)))
    }

    fn lanes_that(&self, is: impl Fn(State) -> bool) -> impl Iterator<Item = usize> {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter_map(move |(number, lane)| is(lane.state).then_some(number))
    }

    /// Does the work that is due at `now`, and returns the lanes whose process is to be started.
    /// Each of them counts as running until [`process_exited`](Self::process_exited).
    pub fn advance(&mut self, now: Moment) -> Vec<usize> {
        let mut due = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            match lane.state {
                State::Down(at) if at <= now => {
                    lane.state = State::Connecting(now);
                    due.push(number);
                }
                State::Connecting(since) if since + self.settings.ready <= now => {
                    lane.state = State::Ready(now);
                }
                State::Down(_) | State::Connecting(_) | State::Ready(_) => {}
            }
        }
        due
    }

    /// Notes that the process of this lane is ready.
    pub fn mark_ready(&mut self, lane: usize, now: Moment) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && let State::Connecting(_) = lane.state
        {
            lane.state = State::Ready(now);
        }
    }

    /// Notes that the process of this lane exited or could not be started. Returns the wait before
    /// the restart: short if it was ready for longer than the last wait, otherwise growing.
    pub fn process_exited(&mut self, lane: usize, now: Moment) -> Duration {
        let settings = self.settings;
        let Some(lane) = self.lanes.get_mut(lane) else { return Duration::ZERO };
        let stood = match lane.state {
            State::Ready(since) => Some(now - since),
            State::Down(_) | State::Connecting(_) => None,
        };
        let wait = if stood.is_some_and(|stood| stood >= lane.waited) {
            lane.failures = 0;
            MIN_WAIT
        } else {
            let factor = 1_u32.checked_shl(lane.failures).unwrap_or(u32::MAX);
            lane.failures = lane.failures.saturating_add(1);
            let most = MAX_WAIT.max(settings.retry);
            settings.retry.max(MIN_WAIT).saturating_mul(factor).min(most)
        };
        lane.state = State::Down(now + wait);
        lane.waited = wait;
        wait
    }

    /// Ends all waits at once.
    pub fn retry_now(&mut self, now: Moment) {
        for lane in &mut self.lanes {
            if let State::Down(at) = &mut lane.state {
                *at = now;
                lane.failures = 0;
                lane.waited = Duration::ZERO;
            }
        }
    }

    /// The time at which [`advance`](Self::advance) may next have work.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Moment> {
        let at = |lane: &Lane| match lane.state {
            State::Down(at) => Some(at),
            State::Connecting(since) => Some(since + self.settings.ready),
            State::Ready(_) => None,
        };
        self.lanes.iter().filter_map(at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(parallel: usize) -> Tunnel {
        let [retry, ready] = [10, 5].map(Duration::from_secs);
        Tunnel::new(TunnelSettings { parallel, retry, ready })
    }

    const fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_process_is_ready_after_a_while_or_when_it_listens() {
        let mut tunnel = tunnel(2);
        assert_eq!(tunnel.advance(at(0)), [0, 1]);
        assert_eq!(tunnel.advance(at(1)), [0; 0]);
        assert!(!tunnel.is_up());
        tunnel.mark_ready(1, at(1));
        assert_eq!(tunnel.ready().collect::<Vec<_>>(), [1]);
        assert_eq!(tunnel.next_wakeup(), Some(at(5)));
        tunnel.advance(at(5));
        assert_eq!(tunnel.ready().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(tunnel.next_wakeup(), None);
    }

    #[test]
    fn a_process_that_is_never_ready_is_restarted_with_growing_waits() {
        let mut tunnel = tunnel(1);
        let mut now = 0;
        for wait in [10, 20, 40, 50, 50] {
            assert_eq!(tunnel.advance(at(now)), [0]);
            assert_eq!(tunnel.process_exited(0, at(now)), Duration::from_secs(wait));
            assert_eq!(tunnel.advance(at(now + wait - 1)), [0; 0]);
            assert_eq!(tunnel.next_wakeup(), Some(at(now + wait)));
            now += wait;
        }
        // `retry_now` ends the wait, and the next failure counts as a first one.
        assert_eq!(tunnel.advance(at(now)), [0]);
        tunnel.process_exited(0, at(now));
        tunnel.retry_now(at(now));
        assert_eq!(tunnel.advance(at(now)), [0]);
        assert_eq!(tunnel.process_exited(0, at(now)), Duration::from_secs(10));
    }

    #[test]
    fn a_process_that_was_ready_is_restarted_soon() {
        let mut tunnel = tunnel(2);
        tunnel.advance(at(0));
        tunnel.advance(at(5));
        assert_eq!(tunnel.process_exited(0, at(9)), MIN_WAIT);
        assert!(tunnel.is_up(), "by the other one");
        assert_eq!(tunnel.advance(at(10)), [0]);
        tunnel.process_exited(1, at(10));
        assert!(!tunnel.is_up());
        tunnel.mark_ready(0, at(10));
        assert!(tunnel.is_up());
    }

    #[test]
    fn a_process_that_exits_soon_after_ready_is_restarted_with_growing_waits() {
        let mut tunnel = tunnel(1);
        let mut now = 0;
        for (stood, wait) in [(0, 1), (0, 10), (9, 20), (3, 40), (40, 1), (0, 10)] {
            assert_eq!(tunnel.advance(at(now)), [0]);
            tunnel.mark_ready(0, at(now));
            now += stood;
            assert_eq!(tunnel.process_exited(0, at(now)), Duration::from_secs(wait));
            now += wait;
        }
    }

    #[test]
    fn zero_settings_do_not_spin() {
        let none = Duration::ZERO;
        let mut tunnel = Tunnel::new(TunnelSettings { parallel: 0, retry: none, ready: none });
        assert_eq!(tunnel.advance(at(0)), [0]);
        assert_eq!(tunnel.process_exited(0, at(0)), MIN_WAIT);
        assert_eq!(tunnel.advance(at(0)), [0; 0]);
        assert_eq!(tunnel.advance(at(1)), [0]);
        tunnel.advance(at(1));
        assert!(tunnel.is_up());
        assert_eq!(tunnel.process_exited(0, at(1)), 2 * MIN_WAIT);
    }
}
