//! Call context: state shared between scripts and the engine during a call.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::BTreeMap,
    ffi::OsString,
    os::fd::RawFd,
};

use mirror_core::{
    fleet::Fleet,
    fs_event::MirrorId,
    job::{Job, JobId},
    mirror::scripted::ScriptedMirror,
    queue::event_queue::EventId,
    time::Moment,
};
use mlua::{Error, Result};

/// Request of a script. The engine performs it after the call.
#[derive(Debug)]
pub enum ScriptRequest {
    /// Start a child process.
    Spawn(SpawnRequest),
    /// Transfer changes to the built-in target.
    Transfer(Job),
    /// Reload the filter of the sync with this number.
    Refilter(usize),
    /// Make a full transfer of a mirror without a script.
    Full(MirrorId),
    /// Report when this descriptor is readable or writable.
    Observe {
        /// The descriptor.
        fd: RawFd,
        /// Report when it is readable.
        read: bool,
        /// Report when it is writable.
        write: bool,
    },
    /// Stop reporting this descriptor.
    Forget(RawFd),
}

/// Child process that a script requests.
#[derive(Debug)]
pub struct SpawnRequest {
    /// Its job id.
    pub job: JobId,
    /// Program, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    /// Its standard input.
    pub stdin: Option<Vec<u8>>,
}

/// Binding of a sync in the configuration file to its mirror.
#[derive(Clone, Copy, Debug)]
pub struct SyncBinding {
    /// The mirror.
    pub mirror: MirrorId,
    /// True if a failed startup is retried.
    pub insists: bool,
}

/// State shared between scripts and the engine.
#[derive(Debug, Default)]
pub(super) struct CallContext {
    /// The fleet, during a call.
    pub(super) fleet: RefCell<Option<Fleet>>,
    pub(super) now: Cell<Moment>,
    /// Bindings by sync number.
    pub(super) bindings: RefCell<BTreeMap<usize, SyncBinding>>,
    pub(super) requests: RefCell<Vec<ScriptRequest>>,
    /// Time of the next alarm, in ticks.
    pub(super) next_alarm: Cell<Option<f64>>,
    /// Exit code that a script has requested.
    pub(super) exit_code: Cell<Option<u8>>,
}

impl CallContext {
    pub(super) fn request(&self, request: ScriptRequest) {
        self.requests.borrow_mut().push(request);
    }

    /// Requests a filter reload of this sync, once for all exclusions that one call changes.
    pub(super) fn request_refilter(&self, number: usize) {
        let mut requests = self.requests.borrow_mut();
        if !requests
            .iter()
            .any(|request| matches!(request, ScriptRequest::Refilter(known) if *known == number))
        {
            requests.push(ScriptRequest::Refilter(number));
        }
    }

    pub(super) fn binding(&self, number: usize) -> Result<SyncBinding> {
        let binding = self.bindings.borrow().get(&number).copied();
        binding.ok_or_else(|| Error::runtime("this can be used while the daemon runs only"))
    }

    /// Borrows the fleet.
    pub(super) fn fleet(&self) -> Result<Ref<'_, Fleet>> {
        let not_running = || Error::runtime("this can be used while the daemon runs only");
        Ref::filter_map(self.fleet.borrow(), Option::as_ref).map_err(|_| not_running())
    }

    /// Borrows the fleet mutably.
    pub(super) fn fleet_mut(&self) -> Result<RefMut<'_, Fleet>> {
        let busy = |_| Error::runtime("nothing can be changed while a list of events is made");
        let fleet = self.fleet.try_borrow_mut().map_err(busy)?;
        let not_running = || Error::runtime("this can be used while the daemon runs only");
        RefMut::filter_map(fleet, Option::as_mut).map_err(|_| not_running())
    }

    /// Borrows the mirror of this sync.
    pub(super) fn mirror(&self, number: usize) -> Result<Ref<'_, ScriptedMirror>> {
        let binding = self.binding(number)?;
        let mirror = Ref::filter_map(self.fleet()?, |fleet| fleet.script(binding.mirror));
        mirror.map_err(|_| no_script_error())
    }

    /// Records that the script of this sync handles these events: a failure now is attributed to
    /// them.
    pub(super) fn note_accessed(&self, number: usize, ids: &[EventId]) {
        // While a list is built the mirror can't be changed, and the failing event is known.
        if let Ok(mut mirror) = self.mirror_mut(number) {
            mirror.set_given(ids);
        }
    }

    /// Borrows the mirror of this sync mutably.
    pub(super) fn mirror_mut(&self, number: usize) -> Result<RefMut<'_, ScriptedMirror>> {
        let binding = self.binding(number)?;
        let mirror = RefMut::filter_map(self.fleet_mut()?, |fleet| fleet.scripted(binding.mirror));
        mirror.map_err(|_| no_script_error())
    }
}

fn no_script_error() -> Error {
    Error::runtime("this sync has no script: its changes are not told one by one")
}
