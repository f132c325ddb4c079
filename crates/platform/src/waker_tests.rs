//! Tests of the waker of each system.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::waker::Waker;

fn is_readable(waker: &Waker) -> bool {
    poll(&mut [PollFd::new(waker, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn a_waker_is_readable_until_it_is_cleared() {
    let waker = Waker::new().unwrap();
    assert!(!is_readable(&waker));
    // More than any pipe holds.
    for _ in 0..100_000 {
        waker.wake();
    }
    assert!(is_readable(&waker));
    waker.clear();
    assert!(!is_readable(&waker));
    waker.clear();
    waker.wake();
    assert!(is_readable(&waker));
}
