//! Handling of messages: they become inputs of the fleet.

use std::path::Path;

use mirror_core::{
    effect::Effect,
    fs_event::MirrorId,
    input::{Input, ScriptInput, Signal},
};

use super::{Engine, Message, sync::SyncInstance};
use crate::{report::Category, script::CallContext, watch::WatchMessage};

impl Engine {
    /// Handles one message.
    pub(super) fn handle_message(&mut self, message: Message, effects: &mut Vec<Effect>) {
        let now = self.now();
        self.freed_memory.count(1, now);
        match message {
            Message::Watch => self.take_watch_messages(effects),
            Message::SourcePathChanged(mirror) => self.update_sources(&[mirror], effects),
            Message::Input(Input::Signal(Signal::Hangup)) if self.fleet.is_running() => {
                self.on_hangup(effects);
            }
            Message::FlushAbandoned(id) => self.abandon_flush(id),
            Message::Snapshot(message) => self.handle_snapshot(*message),
            Message::PathFound(lookup) => self.explain(lookup),
            Message::Control(request) => self.queue_request(request),
            Message::LogState => self.request_state_log(),
            Message::ChildChanged => self.touch_status(),
            Message::OnSynced(request) => {
                self.call_scripts(|scripts, context| scripts.call_on_synced(context, request));
            }
            Message::DescriptorReady(fd, readiness) => {
                self.call_scripts(|scripts, context| {
                    scripts.descriptor_ready(context, fd, readiness)
                });
            }
            Message::TunnelChanged => {
                self.touch_status();
                for input in self.registry.target_links() {
                    self.note_input(&input);
                    self.fleet.handle(input, now, effects);
                }
            }
            Message::Input(input) => {
                self.touch_status();
                self.note_input(&input);
                if let Input::TargetBack(_) = &input {
                    self.connections.reset_failures();
                }
                if let Input::JobEnded(end) = &input {
                    self.jobs.job_ended(end.job);
                }
                if let Input::Script(ScriptInput::ChildExited { job, exit }) = &input {
                    self.jobs.job_ended(*job);
                    let context = CallContext { fleet: &mut self.fleet, now };
                    self.scripts.child_exited(context, *job, exit);
                }
                self.fleet.handle(input, now, effects);
            }
        }
    }

    fn take_watch_messages(&mut self, effects: &mut Vec<Effect>) {
        let mut changed = Vec::new();
        let messages = self.watch.take();
        self.freed_memory.count(messages.len(), self.now());
        for message in messages {
            if let WatchMessage::RootRepointed(mirror) = message {
                changed.push(mirror);
            } else if let WatchMessage::SourceAnswers(source, answers) = message {
                self.note_answers(&source, answers, effects);
            } else if let Some(input) = self.translate(message) {
                self.handle_input(input, effects);
            }
        }
        if !changed.is_empty() {
            self.update_sources(&changed, effects);
        }
    }

    /// Notes that the syncs of a source may not know its changes, or do again.
    fn note_answers(&mut self, source: &Path, answers: bool, effects: &mut Vec<Effect>) {
        self.touch_status();
        let of_source = |(_, sync): &(MirrorId, &SyncInstance)| sync.source.path() == source;
        let mirrors = self.registry.iter().filter(of_source).map(|(id, _)| id);
        for mirror in mirrors.collect::<Vec<_>>() {
            self.handle_input(Input::SourceAnswers(mirror, answers), effects);
        }
    }

    fn translate(&mut self, message: WatchMessage) -> Option<Input> {
        match message {
            WatchMessage::Event(notice) => Some(Input::FsEvent(notice)),
            WatchMessage::Covered { mirror, coverage } => {
                if let Some(instance) = self.registry.get(mirror) {
                    let source = instance.source_text();
                    let text = format_args!("{source} is watched: {}", coverage.reason);
                    self.log.say(Category::Debug("Inotify"), text);
                }
                self.control.covered(mirror, coverage);
                Some(Input::Covered(mirror))
            }
            WatchMessage::CannotCover { mirror, why } => {
                Some(Input::CannotCover { mirror, reason: why })
            }
            WatchMessage::RootRepointed(_) | WatchMessage::SourceAnswers(..) => None,
            WatchMessage::Barrier(id) if self.snapshot_barrier_passed(id) => None,
            WatchMessage::Barrier(id) => self.barrier_passed(id),
            WatchMessage::Listed(inventory) => {
                self.status.set_inventory(inventory, self.now());
                None
            }
        }
    }
}
