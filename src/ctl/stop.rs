//! `lsyncctl stop`: asks the daemon to exit, and waits for its end.

use std::{path::Path, thread, time::Duration};

use mirror_platform::process_handle::ProcessHandle;

use super::{
    args::{CtlOptions, StopArgs},
    connection::ChosenDaemon,
    failure::{CtlFailure, Severity},
    records,
};
use crate::{
    control::{
        client::ControlClient,
        client_error::ClientError,
        request::{Request, Selection},
        status::StatusDocument,
    },
    report::os_error_text,
};

/// Interval between two looks at the socket.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Stops the daemon.
///
/// # Errors
///
/// If it cannot be asked.
pub(super) fn run(options: &CtlOptions, args: &StopArgs) -> Result<Severity, CtlFailure> {
    let daemon = ChosenDaemon::find(options)?;
    let process = if args.no_wait { None } else { process(&daemon) };
    daemon.show(&Request::Stop, records::result_text)?;
    if args.no_wait {
        return Ok(Severity::Ok);
    }
    match process {
        Some(process) => process.wait().map_err(|error| {
            CtlFailure::System(format!("cannot wait for lsyncd: {}", os_error_text(&error)))
        })?,
        None => wait_for_socket(&daemon.socket)?,
    }
    Ok(Severity::Ok)
}

/// Returns a handle of the daemon's process. `None` if it runs in another namespace: then its
/// process id means nothing here.
fn process(daemon: &ChosenDaemon) -> Option<ProcessHandle> {
    let all = Selection::default();
    let document: StatusDocument = daemon.ask(&Request::Status(all)).ok()?;
    let peer = ControlClient::connect(&daemon.socket).ok()?.peer()?;
    let is_here =
        u32::try_from(peer.as_raw_nonzero().get()).is_ok_and(|pid| pid == document.daemon.pid);
    // RACE: the daemon may have exited since, and another process may have its id. As the id of
    // the peer is looked up right before, the kernel would have to reuse it at once.
    is_here.then(|| ProcessHandle::open(peer).ok())?
}

/// Waits until nobody listens at the socket.
fn wait_for_socket(socket: &Path) -> Result<(), ClientError> {
    loop {
        match ControlClient::connect(socket) {
            Err(ClientError::NoSocket(_) | ClientError::Dead(_)) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}
