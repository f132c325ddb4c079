//! What scripts and the engine share: the fleet while a script is called, and what it wants done.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    collections::BTreeMap,
    ffi::OsString,
    os::fd::RawFd,
};

use mirror_core::{
    fleet::Fleet,
    job::{Job, JobId},
    mirror::scripted::Scripted,
    notice::MirrorId,
    queue::ordered::EventId,
    time::Moment,
};
use mlua::{Error, Result};

/// What a script wants done. It is carried out when the call is over.
#[derive(Debug)]
pub enum Order {
    /// Start a child.
    Spawn(Spawn),
    /// Have the target of ours brought to the state of the source.
    Transfer(Job),
    /// Read again what the sync of this number leaves out.
    Refilter(usize),
    /// A mirror without a script is to make a full transfer.
    Full(MirrorId),
    /// Tell when this descriptor can be read, or written.
    Observe {
        /// The descriptor.
        fd: RawFd,
        /// Whether it is of interest that it can be read.
        read: bool,
        /// Whether it is of interest that it can be written.
        write: bool,
    },
    /// Tell nothing of this descriptor any more.
    Forget(RawFd),
}

/// A child of a script.
#[derive(Debug)]
pub struct Spawn {
    /// Its job.
    pub job: JobId,
    /// The program, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Its words.
    pub words: Vec<Vec<u8>>,
    /// What it reads from its standard input.
    pub stdin: Option<Vec<u8>>,
}

/// The mirror of a sync of the file.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Its name.
    pub mirror: MirrorId,
    /// Whether a failed startup is tried again.
    pub insists: bool,
}

/// What scripts and the engine share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// The fleet, while a script is called.
    pub(super) fleet: RefCell<Option<Fleet>>,
    pub(super) now: Cell<Moment>,
    /// The mirrors of the syncs of the file, by their numbers.
    pub(super) seats: RefCell<BTreeMap<usize, Seat>>,
    pub(super) orders: RefCell<Vec<Order>>,
    /// When the next alarm is due, in ticks.
    pub(super) wake_at: Cell<Option<f64>>,
    /// Whether a script wants the daemon to end, and with which code.
    pub(super) exit: Cell<Option<u8>>,
}

impl Desk {
    pub(super) fn order(&self, order: Order) {
        self.orders.borrow_mut().push(order);
    }

    /// Has the sync of this number read again, once, however many exclusions one call changes.
    pub(super) fn order_refilter(&self, number: usize) {
        let mut orders = self.orders.borrow_mut();
        if !orders.iter().any(|order| matches!(order, Order::Refilter(known) if *known == number)) {
            orders.push(Order::Refilter(number));
        }
    }

    pub(super) fn seat(&self, number: usize) -> Result<Seat> {
        let seat = self.seats.borrow().get(&number).copied();
        seat.ok_or_else(|| Error::runtime("this can be used while the daemon runs only"))
    }

    /// To look at the fleet.
    pub(super) fn fleet(&self) -> Result<Ref<'_, Fleet>> {
        let away = || Error::runtime("this can be used while the daemon runs only");
        Ref::filter_map(self.fleet.borrow(), Option::as_ref).map_err(|_| away())
    }

    /// To change the fleet.
    pub(super) fn fleet_mut(&self) -> Result<RefMut<'_, Fleet>> {
        let busy = |_| Error::runtime("nothing can be changed while a list of events is made");
        let fleet = self.fleet.try_borrow_mut().map_err(busy)?;
        let away = || Error::runtime("this can be used while the daemon runs only");
        RefMut::filter_map(fleet, Option::as_mut).map_err(|_| away())
    }

    /// To look at the mirror of the sync of this number.
    pub(super) fn mirror(&self, number: usize) -> Result<Ref<'_, Scripted>> {
        let seat = self.seat(number)?;
        let mirror = Ref::filter_map(self.fleet()?, |fleet| fleet.script(seat.mirror));
        mirror.map_err(|_| no_script())
    }

    /// The script of this sync is being given these events: if it fails now, it is at them.
    pub(super) fn note_asked(&self, number: usize, ids: &[EventId]) {
        // While a list is made nothing can be changed, and what fails then is known.
        if let Ok(mut mirror) = self.mirror_mut(number) {
            mirror.asked(ids);
        }
    }

    /// To change it.
    pub(super) fn mirror_mut(&self, number: usize) -> Result<RefMut<'_, Scripted>> {
        let seat = self.seat(number)?;
        let mirror = RefMut::filter_map(self.fleet_mut()?, |fleet| fleet.scripted(seat.mirror));
        mirror.map_err(|_| no_script())
    }
}

fn no_script() -> Error {
    Error::runtime("this sync has no script: its changes are not told one by one")
}
