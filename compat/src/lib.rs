//! Runs the same cases with the original Lsyncd and with ours.
//!
//! A [`case`] is a file that says what is done and what must be seen; `cases/` is full of them. Each
//! is [played](play) in a [`jail`], where nothing can be harmed and no file is transferred. The
//! [`gate`] decides what it means that a case passed or failed with either program.
#![forbid(unsafe_code)]

pub mod call;
pub mod case;
pub mod gate;
pub mod jail;
pub mod mark;
pub mod pattern;
pub mod play;
pub mod step;
pub mod words;
