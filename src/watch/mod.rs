//! Where changes come from.

mod forest;
mod inotify;
mod source;

#[cfg(test)]
mod trial;

pub use source::{Skip, Tree};
