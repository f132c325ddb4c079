//! Message channel of the engine.

use std::{
    os::fd::RawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use mirror_core::{
    fs_event::MirrorId,
    input::{Input, Signal},
};

use super::{SnapshotMessage, control::PathLookup, on_synced::OnSyncedRequest};
use crate::{control::server::ControlRequest, script::FdReadiness};

/// Message to the engine.
#[derive(Debug)]
pub(crate) enum Message {
    /// The watcher has messages. It is sent once until they are taken.
    Watch,
    /// An input that is passed to the fleet.
    Input(Input),
    /// A child of a job was started or has exited, which the status shows.
    ChildChanged,
    /// A tunnel was established or lost.
    TunnelChanged,
    /// A descriptor that scripts observe is ready.
    DescriptorReady(RawFd, FdReadiness),
    /// A job requests a call of `onSynced` for a completed batch.
    OnSynced(OnSyncedRequest),
    /// The type of a path that a client asks about.
    PathFound(PathLookup),
    /// A thread has worked on the snapshot of a source.
    Snapshot(Box<SnapshotMessage>),
    /// The client of this flush does not wait any more.
    FlushAbandoned(u64),
    /// A request of a client of the control socket.
    Control(ControlRequest),
    /// An operator asks for the state in the log.
    LogState,
    /// The source path of this mirror may resolve to another directory.
    SourcePathChanged(MirrorId),
}

/// Sending half of the engine's message channel; clone one per producer.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: Sender<Message>,
    /// True once an exit was requested. Running scripts read it, since they can't receive messages.
    exit_requested: Arc<AtomicBool>,
}

impl Inbox {
    /// Sends a message. A closed channel is ignored: the engine has exited and no longer needs the
    /// message.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.sender.send(message);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if signal != Signal::Hangup {
            self.exit_requested.store(true, Ordering::Relaxed);
        }
        self.send(Message::Input(Input::Signal(signal)));
    }

    pub(super) fn exit_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.exit_requested)
    }
}

/// The two halves of the engine's message channel.
#[derive(Debug)]
pub(crate) struct MessageChannel {
    /// Sending half.
    pub inbox: Inbox,
    /// Receiving half, for the engine.
    pub receiver: Receiver<Message>,
}

impl Default for MessageChannel {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { inbox: Inbox { sender, exit_requested: Arc::default() }, receiver }
    }
}
