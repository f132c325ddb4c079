//! Requests of the commands.

use std::{path::PathBuf, time::Duration};

use serde::de::DeserializeOwned;

use super::{args::CtlOptions, failure::CtlFailure, output};
use crate::control::{
    client::{ControlClient, default_timeout, find_daemon, parse_result},
    client_error::ClientError,
    request::Request,
};

/// Time for the answer of a flush after its own time limit.
const FLUSH_GRACE: Duration = Duration::from_secs(10);

/// The daemon that the commands talk to.
#[derive(Clone, Debug)]
pub(super) struct ChosenDaemon {
    pub(super) socket: PathBuf,
    answer_timeout: Option<Duration>,
    /// True if results are printed as JSON.
    is_json: bool,
}

impl ChosenDaemon {
    /// Finds the daemon.
    ///
    /// # Errors
    ///
    /// If no daemon or more than one runs.
    pub(super) fn find(options: &CtlOptions) -> Result<Self, ClientError> {
        Ok(Self {
            socket: find_daemon(options.socket.as_deref())?,
            answer_timeout: options.answer_timeout,
            is_json: options.json,
        })
    }

    /// Sends a request and returns its result.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let client = ControlClient::connect_for(&self.socket, request)?;
        client.ask(request, self.timeout(request))
    }

    /// Sends a request and prints its result: as the daemon sent it, or as `text` renders it.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        request: &Request,
        text: impl FnOnce(&T) -> String,
    ) -> Result<T, CtlFailure> {
        let client = ControlClient::connect_for(&self.socket, request)?;
        let raw = client.ask_raw(request, self.timeout(request))?;
        let result: T = parse_result(&self.socket, &raw)?;
        if self.is_json {
            output::print(&format!("{}\n", raw.get()));
        } else {
            output::print(&text(&result));
        }
        Ok(result)
    }

    fn timeout(&self, request: &Request) -> Option<Duration> {
        if let Request::Flush { timeout: Some(seconds), .. } = request {
            let limit = Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX);
            return Some(limit.saturating_add(self.answer_timeout.unwrap_or(FLUSH_GRACE)));
        }
        let default = default_timeout(request)?;
        Some(self.answer_timeout.unwrap_or(default))
    }
}
