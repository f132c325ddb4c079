//! Call context: what scripts share with the engine during a call.

use std::{
    cell::{Cell, RefCell},
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
use mlua::{AnyUserData, Error, Lua, Result};

/// Request of a script. The engine performs it after the call.
#[derive(Debug)]
pub(crate) enum ScriptRequest {
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
pub(crate) struct SpawnRequest {
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
pub(crate) struct SyncBinding {
    pub mirror: MirrorId,
    /// True if a failed startup is retried.
    pub insists: bool,
}

/// State of the daemon that scripts use during a call. It is borrowed for as long as the call
/// takes.
#[derive(Debug)]
pub(crate) struct CallContext<'a> {
    /// The fleet, with the queues of the scripts.
    pub fleet: &'a mut Fleet,
    /// Time of the call.
    pub now: Moment,
}

/// State shared by the functions that scripts call.
#[derive(Debug, Default)]
pub(super) struct ScriptState {
    /// The borrowed fleet, during a call. Lua invalidates the reference at the end of the call.
    fleet: RefCell<Option<AnyUserData>>,
    pub(super) now: Cell<Moment>,
    /// Bindings by sync number.
    pub(super) bindings: RefCell<BTreeMap<usize, SyncBinding>>,
    pub(super) requests: RefCell<Vec<ScriptRequest>>,
    /// Time of the next alarm, in ticks.
    pub(super) next_alarm: Cell<Option<f64>>,
    /// Exit code that a script has requested.
    pub(super) exit_code: Cell<Option<u8>>,
}

impl ScriptState {
    /// Makes a call, for which the functions of scripts may use the context.
    pub(super) fn with_context<R>(
        &self,
        lua: &Lua,
        CallContext { fleet, now }: CallContext<'_>,
        call: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        self.now.set(now);
        lua.scope(|scope| {
            self.fleet.replace(Some(scope.create_any_userdata_ref_mut(fleet)?));
            let returned = call();
            self.fleet.take();
            returned
        })
    }

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
        binding.ok_or_else(not_running_error)
    }

    /// Reads the fleet.
    pub(super) fn with_fleet<R>(&self, read: impl FnOnce(&Fleet) -> R) -> Result<R> {
        let fleet = self.fleet.borrow();
        fleet.as_ref().ok_or_else(not_running_error)?.borrow_scoped(read)
    }

    /// Changes the fleet.
    pub(super) fn with_fleet_mut<R>(&self, change: impl FnOnce(&mut Fleet) -> R) -> Result<R> {
        let busy =
            |_| Error::runtime("the queue cannot be changed while a list of events is built");
        let fleet = self.fleet.borrow();
        fleet.as_ref().ok_or_else(not_running_error)?.borrow_mut_scoped(change).map_err(busy)
    }

    /// Reads the mirror of this sync.
    pub(super) fn with_mirror<R>(
        &self,
        number: usize,
        read: impl FnOnce(&ScriptedMirror) -> R,
    ) -> Result<R> {
        let id = self.binding(number)?.mirror;
        self.with_fleet(|fleet| fleet.script(id).map(read))?.ok_or_else(no_script_error)
    }

    /// Changes the mirror of this sync.
    pub(super) fn with_mirror_mut<R>(
        &self,
        number: usize,
        change: impl FnOnce(&mut ScriptedMirror) -> R,
    ) -> Result<R> {
        let id = self.binding(number)?.mirror;
        self.with_fleet_mut(|fleet| fleet.scripted(id).map(change))?.ok_or_else(no_script_error)
    }

    /// Records that the script of this sync handles these events: a failure now is attributed to
    /// them.
    pub(super) fn note_accessed(&self, number: usize, ids: &[EventId]) {
        // While a list is built the mirror can't be changed, and the failing event is known.
        let _ = self.with_mirror_mut(number, |mirror| mirror.set_given(ids));
    }
}

fn not_running_error() -> Error {
    Error::runtime("this can only be used while the daemon runs")
}

fn no_script_error() -> Error {
    Error::runtime("this sync has no script: its events are not available")
}

#[cfg(test)]
mod tests {
    use mirror_core::fleet::{FleetLimits, MirrorSpec};

    use super::*;

    #[test]
    fn the_fleet_can_be_used_only_during_a_call() {
        let (lua, state) = (Lua::new(), ScriptState::default());
        let mut fleet = Fleet::new(Vec::<MirrorSpec>::new(), FleetLimits::default());
        let count = || state.with_fleet(|fleet| fleet.members().len());
        let context = CallContext { fleet: &mut fleet, now: Moment::ORIGIN };
        assert_eq!(state.with_context(&lua, context, count).unwrap(), 0);
        assert!(count().unwrap_err().to_string().contains("only be used while the daemon runs"));
    }

    #[test]
    fn the_fleet_cannot_be_changed_while_it_is_read() {
        let (lua, state) = (Lua::new(), ScriptState::default());
        let mut fleet = Fleet::new(Vec::<MirrorSpec>::new(), FleetLimits::default());
        let nested =
            || state.with_fleet(|_| (state.with_fleet(|_| ()), state.with_fleet_mut(|_| ())));
        let context = CallContext { fleet: &mut fleet, now: Moment::ORIGIN };
        let (read, changed) = state.with_context(&lua, context, nested).unwrap();
        assert!(read.is_ok());
        assert!(changed.unwrap_err().to_string().contains("while a list of events is built"));
    }
}
