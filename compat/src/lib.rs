//! Runs the same cases with the original Lsyncd and with ours.
//!
//! A [`case`] is a file in `cases/` that lists actions and expected observations. The [`runner`]
//! runs each case in a [`jail`], where nothing can be harmed and no file is transferred. The
//! [`verdict`] compares the outcome with the expectation that the case declares.
#![forbid(unsafe_code)]

pub mod call_log;
pub mod case;
pub mod expectation;
pub mod jail;
pub mod pattern;
pub mod runner;
pub mod step;
pub mod tokenize;
pub mod verdict;
