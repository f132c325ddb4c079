//! One mirror as the engine knows it: who carries out its jobs, and what it is called.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
};

use mirror_core::{
    fleet::Charter,
    input::Gate,
    mirror::{Connection, Insist, Settings, scripted::ScriptSettings},
    path::Escaped,
    plan::{
        options::Phase,
        target::{Target, TargetPath},
    },
};

use rustix::process::Signal;

use super::{line::Line, synced::Synced, tunnels::Tunnels};
use crate::{
    config::{Hook, HookCall, Kind, Sync},
    exec::{
        Executor, direct,
        hook::{Hooked, Then},
        process::child::{ChildOutput, Program},
        rsync,
        source_root::{Rules, SourceRoot},
        ssh::{Choice, Connections},
        tunnel::{Tunnel, Way, via::Through},
    },
    report::Log,
};

/// What members have in common.
pub(super) struct Ground<'a> {
    /// From here relative targets count, whatever happens later.
    pub(super) here: PathBuf,
    /// Through which the syncs behind ssh go.
    pub(super) connections: &'a Arc<Connections>,
    /// The tunnels that there are.
    pub(super) tunnels: &'a Tunnels,
    /// How functions are called when a batch is on the target.
    pub(super) synced: Synced,
    /// Where all of it is told.
    pub(super) log: &'a Log,
}

/// What was found out about a target of rsync, once there is an executor for it. All ways through a
/// tunnel lead to one target.
type KnownOfTarget = Arc<OnceLock<Arc<rsync::Learned>>>;

/// What executors have found out about a source and a target.
#[derive(Clone, Default)]
struct Learned {
    direct: Arc<direct::Learned>,
    rsync: KnownOfTarget,
}

/// One mirror as the engine knows it.
pub(super) struct Member {
    /// What was said of it.
    pub(super) sync: Sync,
    /// Where it comes from.
    pub(super) source: Arc<SourceRoot>,
    /// Who carries out its jobs, unless only its script knows what to do.
    pub(super) executor: Option<Arc<dyn Executor>>,
    /// What was found out about its source and its target.
    learned: Learned,
    /// What its target is reached through.
    pub(super) tunnel: Option<Arc<Tunnel>>,
    /// The connection that they share with those of others.
    connection: Option<Connection>,
}

impl Member {
    /// A member that has touched nothing yet.
    ///
    /// # Errors
    ///
    /// If its target is none: a sentence for people.
    pub(super) fn new(sync: Sync, ground: &Ground<'_>) -> Result<Self, String> {
        let source = Arc::new(SourceRoot::with_rules(sync.source.clone(), rules(&sync)));
        Self::from(sync, (source, Learned::default()), ground)
    }

    /// The member that goes on with other settings where this one is.
    ///
    /// # Errors
    ///
    /// As for a new one.
    pub(super) fn with(&self, sync: Sync, ground: &Ground<'_>) -> Result<Self, String> {
        let learned = self.learned_for(&sync);
        Self::from(sync, (Arc::clone(&self.source), learned), ground)
    }

    /// What was found out, if it is true of this sync as well.
    fn learned_for(&self, sync: &Sync) -> Learned {
        let is_same = (self.sync.kind, &self.sync.target) == (sync.kind, &sync.target);
        if is_same { self.learned.clone() } else { Learned::default() }
    }

    /// From now on this is what was said of it. Its source is the same.
    ///
    /// # Errors
    ///
    /// As for a new one. Nothing has changed then.
    pub(super) fn renew(&mut self, sync: Sync, ground: &Ground<'_>) -> Result<(), String> {
        *self = self.with(sync, ground)?;
        Ok(())
    }

    fn from(
        sync: Sync,
        (source, learned): (Arc<SourceRoot>, Learned),
        ground: &Ground<'_>,
    ) -> Result<Self, String> {
        let Ground { log, tunnels, .. } = ground;
        let tunnel = sync.tunnel.as_ref().and_then(|plan| tunnels.get(plan));
        let mut connection = None;
        let executor: Option<Arc<dyn Executor>> = match sync.kind {
            Kind::Own => None,
            Kind::Rsync | Kind::Rsyncssh => {
                if let Some(tunnel) = tunnel.as_ref().filter(|_| is_on_a_way(&sync)) {
                    Some(Arc::new(through(tunnel, &sync, (&source, &learned.rsync), ground)))
                } else {
                    let by_rsync = by_rsync(&sync, &source, &learned.rsync, ground)?;
                    connection = by_rsync.connection;
                    Some(by_rsync.executor)
                }
            }
            Kind::Direct => {
                let settings = direct::Settings {
                    target: ground.here.join(&sync.target),
                    filter: Arc::clone(&sync.filter),
                    delete: direct::Delete {
                        startup: sync.delete.applies(Phase::Startup),
                        running: sync.delete.applies(Phase::Running),
                    },
                    moves: sync.moves,
                    max_delete: sync.max_delete,
                    max_delete_seen: sync.max_delete_seen,
                    modify_window: sync.modify_window,
                    durable: sync.durable,
                    options: sync.direct.clone(),
                    workers: direct::default_workers(),
                };
                let (source, learned) = (Arc::clone(&source), Arc::clone(&learned.direct));
                let log = (*log).clone();
                Some(Arc::new(direct::DirectExecutor::with(source, settings, learned, log)))
            }
        };
        let executor = executor.map(|executor| match &sync.hook {
            Some(hook) => Arc::new(hooked(executor, &sync, hook, ground)) as Arc<dyn Executor>,
            None => executor,
        });
        Ok(Self { sync, source, executor, learned, tunnel, connection })
    }

    /// What the core has to know of it when the daemon starts.
    pub(super) fn charter(&self) -> Charter {
        let sync = &self.sync;
        if let Some(script) = &sync.script {
            return Charter::Scripted(ScriptSettings {
                delay: script.delay,
                max_delays: script.max_delays,
                max_jobs: script.max_jobs,
                moves: script.moves,
                subdirectories: script.subdirectories,
                full: script.full,
                anew: script.anew,
                filter: Arc::clone(&sync.filter),
                gate: self.gate(),
                connection: self.connection.clone(),
            });
        }
        Charter::Built(Settings {
            pace: sync.pace,
            open_wait: sync.open_wait,
            delete: sync.delete,
            init: sync.init,
            insist: if sync.insists() { Insist::Yes } else { Insist::No },
            filter: Arc::clone(&sync.filter),
            gate: self.gate(),
            max_jobs: sync.max_processes,
            connection: self.connection.clone(),
        })
    }

    /// Whether there is a way to the target.
    pub(super) fn gate(&self) -> Gate {
        match &self.tunnel {
            Some(tunnel) if !tunnel.is_up() => Gate::Closed,
            Some(_) | None => Gate::Open,
        }
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

/// What the user says of the source of a sync.
pub(super) fn rules(sync: &Sync) -> Rules {
    Rules {
        marker: sync.marker.clone(),
        replaced: sync.replaced_source,
        given: Some(sync.given.clone()),
    }
}

/// Whether its target, or how it is reached, is another for each transfer.
fn is_on_a_way(sync: &Sync) -> bool {
    let words = sync.rsync.extra.iter().chain(&sync.rsync.long);
    Way::concerns(sync.target.as_bytes()) || words.into_iter().any(|word| Way::concerns(word))
}

fn through(
    tunnel: &Arc<Tunnel>,
    sync: &Sync,
    (source, known): (&Arc<SourceRoot>, &KnownOfTarget),
    ground: &Ground<'_>,
) -> Through {
    let (sync, source, known) = (sync.clone(), Arc::clone(source), Arc::clone(known));
    let (here, connections) = (ground.here.clone(), Arc::clone(ground.connections));
    let (log, synced) = (ground.log.clone(), ground.synced.clone());
    Through::new(Arc::clone(tunnel), move |way| {
        let mut sync = sync.clone();
        sync.target = OsString::from_vec(way.put_into(sync.target.as_bytes()));
        for word in sync.rsync.extra.iter_mut().chain(&mut sync.rsync.long) {
            *word = way.put_into(word);
        }
        let ground = Ground {
            here: here.clone(),
            connections: &connections,
            tunnels: &Tunnels::default(),
            synced: synced.clone(),
            log: &log,
        };
        Ok(by_rsync(&sync, &source, &known, &ground)?.executor)
    })
}

/// Who carries out the jobs of a sync by rsync.
struct ByRsync {
    executor: Arc<dyn Executor>,
    /// Through which connection, if we make one.
    connection: Option<Connection>,
}

/// Where a connection of ours may be shared, whether the user has it done is found out by the jobs:
/// that can take long, and here everybody would wait for it.
fn by_rsync(
    sync: &Sync,
    source: &Arc<SourceRoot>,
    known: &KnownOfTarget,
    ground: &Ground<'_>,
) -> Result<ByRsync, String> {
    let config = rsync_config(sync, source, ground, true)?;
    let master = config.master.clone();
    let ours = rsync_executor(config, known);
    let Some(master) = master else {
        return Ok(ByRsync { executor: Arc::new(ours), connection: None });
    };
    let config = rsync_config(sync, source, ground, false)?;
    let users = rsync_executor(config, known);
    let connection = Some(master.words().concat().into());
    let (connections, log) = (Arc::clone(ground.connections), ground.log.clone());
    let executor = Arc::new(Choice { connections, master, ours, users, log });
    Ok(ByRsync { executor, connection })
}

/// An executor that goes on with what is `known` of its target.
fn rsync_executor(config: rsync::RsyncConfig, known: &KnownOfTarget) -> rsync::RsyncExecutor {
    let learned = known.get().cloned();
    let executor = rsync::RsyncExecutor::new(rsync::RsyncConfig { learned, ..config });
    // Two ways may be taken for the first time at once: then one of them learns for itself.
    let _ = known.set(Arc::clone(executor.learned()));
    executor
}

/// How rsync is called: through a connection of ours, if that is to be shared.
fn rsync_config(
    sync: &Sync,
    source: &Arc<SourceRoot>,
    Ground { here, connections, log, .. }: &Ground<'_>,
    is_shared: bool,
) -> Result<rsync::RsyncConfig, String> {
    let target = Target::new(sync.target.as_bytes()).map_err(|error| error.to_string())?;
    let mut options = sync.rsync.clone();
    let shared = is_shared.then_some(&***connections);
    let line = target.host().map(|host| Line::to(host, &mut options, shared, log));
    let renames = line.as_ref().and_then(|line| renames(sync, &target, line, (connections, log)));
    let (remote_shell, master) =
        line.map(|line| (line.remote_shell, line.master)).unwrap_or_default();
    Ok(rsync::RsyncConfig {
        root: Arc::clone(source),
        target,
        options,
        filter: Arc::clone(&sync.filter),
        binary: sync.binary.clone(),
        directory: here.clone(),
        remote_shell,
        master,
        codes: sync.codes.clone(),
        batch_size_limit: sync.batch_size_limit,
        large_apart: sync.max_processes > 1,
        max_delete: sync.max_delete,
        max_delete_seen: sync.max_delete_seen,
        modify_window: sync.modify_window,
        learned: None,
        renames,
        output: ChildOutput::Log((*log).clone()),
        log: (*log).clone(),
    })
}

fn hooked(inner: Arc<dyn Executor>, sync: &Sync, hook: &Hook, ground: &Ground<'_>) -> Hooked {
    let log = ground.log;
    let then = match &hook.call {
        HookCall::Function(number) => Then::Function(ground.synced.function(*number)),
        HookCall::Program(program, words) => {
            Then::Program(hook_program(sync, program.clone(), log), words.clone())
        }
    };
    let (on_failure, log) = (hook.on_failure, log.clone());
    let [source, target] = [sync.source.as_os_str(), &sync.target].map(|it| Escaped(it.as_bytes()));
    let whose = format!("{source} -> {target}");
    Hooked { inner, then, on_failure, log, whose, turn: Mutex::default() }
}

fn hook_program(sync: &Sync, binary: OsString, log: &Log) -> Program {
    let target = sync.target.as_bytes();
    let environment = vec![
        ("LSYNCD_SYNC".into(), sync.name.clone().into()),
        ("LSYNCD_SOURCE".into(), sync.source.clone().into()),
        ("LSYNCD_TARGET".into(), OsString::from_vec(target.to_vec())),
    ];
    let output = ChildOutput::Log(log.clone());
    Program {
        binary,
        directory: sync.source.clone(),
        environment,
        output,
        at_our_end: Signal::TERM,
    }
}

/// Who repeats renames at the target of `default.rsyncssh`. Nobody if it is not sure that a shell
/// sees the same places there as rsync does, or if nothing is to be deleted, the old name included.
fn renames(
    sync: &Sync,
    target: &Target,
    line: &Line,
    (connections, log): (&Connections, &Log),
) -> Option<rsync::Renames> {
    // Such as `sudo chroot /srv rsync`.
    let goes_elsewhere = |word: &Vec<u8>| word.starts_with(b"--rsync-path") && word.contains(&b' ');
    let mut words = sync.rsync.extra.iter().chain(&sync.rsync.long);
    let deletes = sync.delete.applies(Phase::Running);
    if sync.kind != Kind::Rsyncssh || !sync.moves || !deletes || words.any(goes_elsewhere) {
        return None;
    }
    let directory = match target.path() {
        // A home of somebody else, as far as a shell on the way does not change that.
        TargetPath::Relative([b'~', ..]) => return None,
        TargetPath::Absolute(path) | TargetPath::Relative(path) => path,
        TargetPath::Unknown => b".",
    };
    let shell = connections.shell(&line.command, target.host()?, log)?;
    Some(rsync::Renames { shell, directory: directory.to_vec(), codes: sync.ssh_codes.clone() })
}
