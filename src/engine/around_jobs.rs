//! Work before and after the jobs of a sync: the validation of its target, and its hook.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::{Arc, Mutex},
};

use mirror_core::path::Escaped;
use rustix::process::Signal;

use super::on_synced::OnSyncedSender;
use crate::{
    config::{HookCall, SyncConfig, refuse_conflict},
    exec::{
        Executor,
        hook::{HookAction, LastHookFailure, WithHook},
        outdated_mark::WithOutdatedMark,
        process::child::{ChildOutput, ChildProgram},
        source_root::SourceRoot,
        target_check::WithTargetCheck,
        target_identity::TargetIdentity,
    },
    report::Log,
};

/// Returns an executor that first validates the target, if that did not answer when the
/// configuration was loaded. A relative target counts from `base_dir`.
pub(super) fn with_target_check(
    executor: Arc<dyn Executor>,
    sync: &SyncConfig,
    source: &SourceRoot,
    base_dir: &Path,
) -> Arc<dyn Executor> {
    let Some(filters) = sync.unchecked_target.clone() else { return executor };
    let (source, target) = (source.path().to_owned(), sync.target.clone());
    let path = base_dir.join(&target);
    let check = move || refuse_conflict(&source, &target, &path, &filters);
    Arc::new(WithTargetCheck::new(executor, check))
}

/// Returns an executor that outdates the mark of a target whose changes are noted in no snapshot.
pub(super) fn with_outdated_mark(
    executor: Arc<dyn Executor>,
    target: Option<Arc<TargetIdentity>>,
) -> Arc<dyn Executor> {
    match target {
        Some(target) => Arc::new(WithOutdatedMark::new(executor, target)),
        None => executor,
    }
}

/// Returns an executor that calls the hook of the sync, if it has one, and notes its last failure.
pub(super) fn with_hook(
    inner: Arc<dyn Executor>,
    sync: &SyncConfig,
    last_failure: &LastHookFailure,
    on_synced: &OnSyncedSender,
    log: &Log,
) -> Arc<dyn Executor> {
    let Some(hook) = &sync.hook else { return inner };
    let action = match &hook.call {
        HookCall::Function(number) => HookAction::Function(on_synced.blocking_call(*number)),
        HookCall::Program(program, args) => {
            HookAction::Program(hook_program(sync, program.clone(), log), args.clone())
        }
    };
    let (on_failure, log) = (hook.on_failure, log.clone());
    let [source, target] = [sync.source.as_os_str(), &sync.target].map(|it| Escaped(it.as_bytes()));
    let sync_name = format!("{source} -> {target}");
    let (serial, last_failure) = (Mutex::default(), Arc::clone(last_failure));
    Arc::new(WithHook { inner, action, on_failure, log, sync_name, serial, last_failure })
}

fn hook_program(sync: &SyncConfig, binary: OsString, log: &Log) -> ChildProgram {
    let target = sync.target.as_bytes();
    let environment = vec![
        ("LSYNCD_SYNC".into(), sync.name.clone().into()),
        ("LSYNCD_SOURCE".into(), sync.source.clone().into()),
        ("LSYNCD_TARGET".into(), OsString::from_vec(target.to_vec())),
    ];
    let output = ChildOutput::Log(log.clone());
    ChildProgram {
        binary,
        working_dir: sync.source.clone(),
        environment,
        output,
        parent_death_signal: Signal::TERM,
        inherited: None,
    }
}
