//! Control of a running daemon: the protocol of its sockets, and its documents.
//!
//! `docs/control-protocol.md` describes the protocol for other programs.

pub mod client;
pub mod client_error;
pub mod frame;
pub mod location;
pub mod metrics;
pub mod request;
pub mod server;
pub mod status;
