//! One mirror as the engine knows it: who carries out its jobs, and what it is called.

use std::{
    env,
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::Arc,
};

use mirror_core::{
    mirror::{Insist, Settings},
    path::Escaped,
    plan::{
        rsync::Phase,
        target::{Target, TargetPath},
    },
};

use super::way::Way;
use crate::{
    exec::{
        Executor,
        child::{ChildOutput, Program},
        direct,
        hook::Hooked,
        rsync,
        source::SourceRoot,
        ssh::Connections,
    },
    report::Log,
    setup::{Hook, Kind, Sync},
};

/// One mirror as the engine knows it.
pub(super) struct Member {
    /// What was said of it.
    pub(super) sync: Sync,
    /// Where it comes from.
    pub(super) source: Arc<SourceRoot>,
    /// Who carries out its jobs.
    pub(super) executor: Arc<dyn Executor>,
}

impl Member {
    /// A member that has touched nothing yet.
    ///
    /// # Errors
    ///
    /// If its target is none: a sentence for people.
    pub(super) fn new(sync: Sync, connections: &Connections, log: &Log) -> Result<Self, String> {
        // From here relative targets count, whatever happens later.
        let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let source = Arc::new(SourceRoot::new(sync.source.clone()));
        let executor: Arc<dyn Executor> = match sync.kind {
            Kind::Rsync | Kind::Rsyncssh => {
                Arc::new(rsync_executor(&sync, &source, (here, connections), log)?)
            }
            Kind::Direct => {
                let settings = direct::Settings {
                    target: here.join(&sync.target),
                    filter: Arc::clone(&sync.filter),
                    delete: direct::Delete {
                        startup: sync.delete.applies(Phase::Startup),
                        running: sync.delete.applies(Phase::Running),
                    },
                    moves: sync.moves,
                    workers: direct::default_workers(),
                };
                Arc::new(direct::DirectExecutor::new(Arc::clone(&source), settings, log.clone()))
            }
        };
        let executor = match &sync.hook {
            Some(hook) => Arc::new(hooked(executor, &sync, hook, log)),
            None => executor,
        };
        Ok(Self { sync, source, executor })
    }

    /// What the core has to know of it when the daemon starts.
    pub(super) fn settings(&self) -> Settings {
        let Sync { pace, init, insist, filter, .. } = &self.sync;
        let insist = if *insist { Insist::Yes } else { Insist::No };
        Settings { pace: *pace, init: *init, insist, filter: Arc::clone(filter) }
    }

    /// The source as it stands in the log: with a slash at its end.
    pub(super) fn source_text(&self) -> String {
        format!("{}/", Escaped(self.source.path().as_os_str().as_bytes()))
    }

    /// The target as it stands in the log.
    pub(super) fn target_text(&self) -> String {
        Escaped(self.sync.target.as_bytes()).to_string()
    }
}

fn rsync_executor(
    sync: &Sync,
    source: &Arc<SourceRoot>,
    (directory, connections): (PathBuf, &Connections),
    log: &Log,
) -> Result<rsync::RsyncExecutor, String> {
    let target = Target::new(sync.target.as_bytes()).map_err(|error| error.to_string())?;
    let mut options = sync.rsync.clone();
    let way = target.host().map(|host| Way::to(host, &mut options, connections, log));
    let renames = way.as_ref().and_then(|way| renames(sync, &target, way, (connections, log)));
    let (remote_shell, master) = way.map(|way| (way.remote_shell, way.master)).unwrap_or_default();
    Ok(rsync::RsyncExecutor::new(rsync::RsyncConfig {
        root: Arc::clone(source),
        target,
        options,
        filter: Arc::clone(&sync.filter),
        binary: sync.binary.clone(),
        directory,
        remote_shell,
        master,
        codes: sync.codes.clone(),
        batch_size_limit: sync.batch_size_limit,
        renames,
        output: ChildOutput::Log(log.clone()),
        log: log.clone(),
    }))
}

fn hooked(inner: Arc<dyn Executor>, sync: &Sync, hook: &Hook, log: &Log) -> Hooked {
    let target = sync.target.as_bytes();
    let environment = vec![
        ("LSYNCD_SYNC".into(), sync.name.clone().into()),
        ("LSYNCD_SOURCE".into(), sync.source.clone().into()),
        ("LSYNCD_TARGET".into(), OsString::from_vec(target.to_vec())),
    ];
    let program = Program {
        binary: hook.program.clone(),
        directory: sync.source.clone(),
        environment,
        output: ChildOutput::Log(log.clone()),
    };
    Hooked {
        inner,
        program,
        words: hook.words.clone(),
        on_failure: hook.on_failure,
        log: log.clone(),
    }
}

/// Who repeats renames at the target of `default.rsyncssh`. Nobody if it is not sure that a shell
/// sees the same places there as rsync does.
fn renames(
    sync: &Sync,
    target: &Target,
    way: &Way,
    (connections, log): (&Connections, &Log),
) -> Option<rsync::Renames> {
    // Such as `sudo chroot /srv rsync`.
    let goes_elsewhere = |word: &Vec<u8>| word.starts_with(b"--rsync-path") && word.contains(&b' ');
    let mut words = sync.rsync.extra.iter().chain(&sync.rsync.long);
    if sync.kind != Kind::Rsyncssh || !sync.moves || words.any(goes_elsewhere) {
        return None;
    }
    let directory = match target.path() {
        // A home of somebody else, as far as a shell on the way does not change that.
        TargetPath::Relative([b'~', ..]) => return None,
        TargetPath::Absolute(path) | TargetPath::Relative(path) => path,
        TargetPath::Unknown => b".",
    };
    let shell = connections.shell(&way.command, target.host()?, log)?;
    Some(rsync::Renames { shell, directory: directory.to_vec() })
}
