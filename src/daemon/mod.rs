//! What makes a process a daemon: detaching, the pidfile, signals.
