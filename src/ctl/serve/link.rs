//! The sockets of a daemon: the first one, and another one if that does not exist.

use std::{path::PathBuf, time::Duration};

use serde::de::DeserializeOwned;

use crate::control::{client::ControlClient, client_error::ClientError, request::Request};

/// The sockets of a daemon. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub(super) struct DaemonLink {
    socket: PathBuf,
    fallback: Option<PathBuf>,
}

impl DaemonLink {
    /// The link to a socket, and to another one if the first one does not exist.
    pub(super) fn new(socket: PathBuf, fallback: Option<PathBuf>) -> Self {
        Self { socket, fallback }
    }

    /// Sends a request and returns the result.
    ///
    /// # Errors
    ///
    /// If there is no answer in time, or a refusal.
    pub(super) fn request<T: DeserializeOwned>(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let client = match (ControlClient::connect(&self.socket), &self.fallback) {
            // If there is neither, the first one is the one to report.
            (Err(ClientError::NoSocket(missing)), Some(fallback)) => {
                ControlClient::connect(fallback).map_err(|_| ClientError::NoSocket(missing))?
            }
            (result, _) => result?,
        };
        client.ask(request, Some(timeout))
    }
}
