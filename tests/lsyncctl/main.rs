//! `lsyncctl` against a fake daemon, which answers with prepared documents or misbehaves.
#![cfg(test)]

mod commands;
mod discovery;
mod documents;
mod fake_daemon;
mod live_view;
mod misbehaviour;
mod status;
mod tool;
