//! What keeps a tunnel standing: when its programs are started, and when it counts as up.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::time::Moment;

/// The longest wait between two tries.
pub const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// A program that ends at once is not started more often than this.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// What a user says of when programs of a tunnel are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many run beside each other, at least one.
    pub parallel: usize,
    /// How long to wait after a failure, the first time; then twice as long each time.
    pub retry: Duration,
    /// How long a program has to live until it counts as ready, if nothing tells so before.
    pub ready: Duration,
}

/// What a tunnel is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name in messages, which no other has.
    pub name: String,
    /// The program and its words, one at least. In them `^localhost` and, in a pool, `^localport`
    /// are replaced.
    pub command: Vec<Vec<u8>>,
    /// Whether each program gets a port of its own.
    pub pool: bool,
    /// When it is started.
    pub settings: Settings,
    /// What `^localhost` stands for.
    pub localhost: Vec<u8>,
}

/// A tunnel. It consists of so many lanes, each of them a program; it is up while one of them is
/// ready.
#[derive(Debug)]
pub struct Tunnel {
    settings: Settings,
    lanes: Vec<Lane>,
}

/// One program, again and again.
#[derive(Clone, Copy, Debug)]
struct Lane {
    state: State,
    /// How often in a row it ended before it was of use for long.
    failures: u32,
    /// How long it was waited the last time.
    waited: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does not run, and is to be started then.
    Down(Moment),
    /// It runs since then, and is not known to be of use.
    Connecting(Moment),
    /// It is of use since then.
    Ready(Moment),
}

impl Tunnel {
    /// A tunnel of which nothing runs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let state = State::Down(Moment::ORIGIN);
        let lane = Lane { state, failures: 0, waited: Duration::ZERO };
        Self { settings, lanes: alloc::vec![lane; settings.parallel.max(1)] }
    }

    /// Whether something can go through it.
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

    /// Does what is due at `now`, and returns the lanes whose program is to be started. Each of
    /// them counts as running until [`ended`](Self::ended) says otherwise.
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

    /// Something tells that what was started in this lane is ready.
    pub fn listens(&mut self, lane: usize, now: Moment) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && let State::Connecting(_) = lane.state
        {
            lane.state = State::Ready(now);
        }
    }

    /// The program of this lane ended, or could not be started. How long until it is started
    /// again: soon if it was ready for longer than it was waited for, else later and later.
    pub fn ended(&mut self, lane: usize, now: Moment) -> Duration {
        let settings = self.settings;
        let Some(lane) = self.lanes.get_mut(lane) else { return Duration::ZERO };
        let stood = match lane.state {
            State::Ready(since) => Some(now - since),
            State::Down(_) | State::Connecting(_) => None,
        };
        let wait = if stood.is_some_and(|stood| stood >= lane.waited) {
            lane.failures = 0;
            SHORTEST_WAIT
        } else {
            let factor = 1_u32.checked_shl(lane.failures).unwrap_or(u32::MAX);
            lane.failures = lane.failures.saturating_add(1);
            let most = LONGEST_WAIT.max(settings.retry);
            settings.retry.max(SHORTEST_WAIT).saturating_mul(factor).min(most)
        };
        lane.state = State::Down(now + wait);
        lane.waited = wait;
        wait
    }

    /// A person wants it tried again now.
    pub fn hangup(&mut self, now: Moment) {
        for lane in &mut self.lanes {
            if let State::Down(at) = &mut lane.state {
                *at = now;
                lane.failures = 0;
                lane.waited = Duration::ZERO;
            }
        }
    }

    /// When [`advance`](Self::advance) may next have something to do.
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
        Tunnel::new(Settings { parallel, retry, ready })
    }

    const fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    #[test]
    fn a_program_is_ready_when_it_has_lived_for_a_while_or_is_known_to_listen() {
        let mut tunnel = tunnel(2);
        assert_eq!(tunnel.advance(at(0)), [0, 1]);
        assert_eq!(tunnel.advance(at(1)), [0; 0]);
        assert!(!tunnel.is_up());
        tunnel.listens(1, at(1));
        assert_eq!(tunnel.ready().collect::<Vec<_>>(), [1]);
        assert_eq!(tunnel.next_wakeup(), Some(at(5)));
        tunnel.advance(at(5));
        assert_eq!(tunnel.ready().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(tunnel.next_wakeup(), None);
    }

    #[test]
    fn what_was_never_ready_is_tried_later_and_later() {
        let mut tunnel = tunnel(1);
        let mut now = 0;
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(tunnel.advance(at(now)), [0]);
            assert_eq!(tunnel.ended(0, at(now)), Duration::from_secs(wait));
            assert_eq!(tunnel.advance(at(now + wait - 1)), [0; 0]);
            assert_eq!(tunnel.next_wakeup(), Some(at(now + wait)));
            now += wait;
        }
        // A person shortens it, and what comes then is a first failure.
        assert_eq!(tunnel.advance(at(now)), [0]);
        tunnel.ended(0, at(now));
        tunnel.hangup(at(now));
        assert_eq!(tunnel.advance(at(now)), [0]);
        assert_eq!(tunnel.ended(0, at(now)), Duration::from_secs(10));
    }

    #[test]
    fn what_was_ready_is_started_again_soon() {
        let mut tunnel = tunnel(2);
        tunnel.advance(at(0));
        tunnel.advance(at(5));
        assert_eq!(tunnel.ended(0, at(9)), SHORTEST_WAIT);
        assert!(tunnel.is_up(), "by the other one");
        assert_eq!(tunnel.advance(at(10)), [0]);
        tunnel.ended(1, at(10));
        assert!(!tunnel.is_up());
        tunnel.listens(0, at(10));
        assert!(tunnel.is_up());
    }

    #[test]
    fn what_is_ready_and_falls_soon_is_tried_later_and_later() {
        let mut tunnel = tunnel(1);
        let mut now = 0;
        for (stood, wait) in [(0, 1), (0, 10), (9, 20), (3, 40), (40, 1), (0, 10)] {
            assert_eq!(tunnel.advance(at(now)), [0]);
            tunnel.listens(0, at(now));
            now += stood;
            assert_eq!(tunnel.ended(0, at(now)), Duration::from_secs(wait));
            now += wait;
        }
    }

    #[test]
    fn one_that_is_never_ready_does_not_spin() {
        let none = Duration::ZERO;
        let mut tunnel = Tunnel::new(Settings { parallel: 0, retry: none, ready: none });
        assert_eq!(tunnel.advance(at(0)), [0]);
        assert_eq!(tunnel.ended(0, at(0)), SHORTEST_WAIT);
        assert_eq!(tunnel.advance(at(0)), [0; 0]);
        assert_eq!(tunnel.advance(at(1)), [0]);
        tunnel.advance(at(1));
        assert!(tunnel.is_up());
        assert_eq!(tunnel.ended(0, at(1)), 2 * SHORTEST_WAIT);
    }
}
