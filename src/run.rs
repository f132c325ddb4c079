//! From the command line to the engine: what has to be there is made, in the right order.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc::Receiver},
};

use mirror_core::{
    fleet::{EXIT_FAILURE, Limits},
    plan::{rsync::Phase, target::Target},
};

use crate::{
    cli,
    daemon::{self, Life},
    engine::{Engine, Inbox, Member, Message, Roster, inbox},
    exec::{Executor, direct, rsync, source::SourceRoot},
    load::Loader,
    report::{Category, Log, Mode},
    setup::{self, Daemon, Kind, Setup, Sync},
    watch::{Preference, Watch},
};

/// Runs the daemon as the words of the command line say, until it ends.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    try_run(words).unwrap_or_else(|code| code)
}

fn try_run(words: &[OsString]) -> Result<ExitCode, ExitCode> {
    let (invocation, log) = cli::read(words)?;
    let loader = Loader::new(invocation, log.clone());
    let setup = loader.start()?;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(EXIT_FAILURE)
    };
    let Daemon { mode, logfile, pidfile, .. } = setup.daemon.clone();
    let _living = daemon::start(Life { mode, logfile, pidfile }, &log)?;
    let (inbox, receiver) = inbox();
    let signals = inbox.clone();
    daemon::watch_signals(move |signal| signals.signal(signal))
        .map_err(|error| failed(cannot("handle signals", &error)))?;
    Ok(engine(setup, &log, (inbox, receiver)).map_err(failed)?.run())
}

fn engine(setup: Setup, log: &Log, channel: (Inbox, Receiver<Message>)) -> Result<Engine, String> {
    let Setup { daemon, syncs } = setup;
    let watch = start_watch(&daemon, log, channel.0.clone())?;
    let members = syncs.into_iter().map(|sync| member(&daemon, sync, log));
    let roster = Roster::new(members.collect::<Result<_, _>>()?);
    let limits = Limits { max_jobs: daemon.max_processes, onepass: daemon.onepass };
    Ok(Engine::new(roster, limits, watch, channel, log.clone()))
}

fn start_watch(daemon: &Daemon, log: &Log, inbox: Inbox) -> Result<Watch, String> {
    let preference = match daemon.watch {
        setup::Watch::Auto => Preference::Auto,
        setup::Watch::Inotify => Preference::Inotify,
        setup::Watch::Fanotify => Preference::Fanotify,
    };
    let wake = Box::new(move || inbox.send(Message::Watch));
    let watch = Watch::start(preference, log.clone(), wake)
        .map_err(|error| cannot("watch anything", &error))?;
    for own in [&daemon.logfile, &daemon.pidfile].into_iter().flatten() {
        watch.ignore(own.clone());
    }
    Ok(watch)
}

fn member(daemon: &Daemon, sync: Sync, log: &Log) -> Result<Member, String> {
    let source = Arc::new(SourceRoot::new(sync.source.clone()));
    let executor: Arc<dyn Executor> = match sync.kind {
        Kind::Rsync | Kind::Rsyncssh => Arc::new(rsync_executor(daemon, &sync, &source, log)?),
        Kind::Direct => {
            let settings = direct::Settings {
                target: PathBuf::from(&sync.target),
                filter: Arc::clone(&sync.filter),
                delete: direct::Delete {
                    startup: sync.delete.applies(Phase::Startup),
                    running: sync.delete.applies(Phase::Running),
                },
                workers: direct::default_workers(),
            };
            Arc::new(direct::DirectExecutor::new(Arc::clone(&source), settings, log.clone()))
        }
    };
    Ok(Member { sync, source, executor })
}

fn rsync_executor(
    daemon: &Daemon,
    sync: &Sync,
    source: &Arc<SourceRoot>,
    log: &Log,
) -> Result<rsync::RsyncExecutor, String> {
    let target = Target::new(sync.target.as_bytes()).map_err(|error| error.to_string())?;
    let output = match (daemon.mode, &daemon.logfile) {
        (Mode::Foreground, _) => rsync::ChildOutput::Inherit,
        (Mode::Daemon, Some(file)) => rsync::ChildOutput::File(file.clone()),
        (Mode::Daemon, None) => rsync::ChildOutput::Null,
    };
    Ok(rsync::RsyncExecutor::new(rsync::RsyncConfig {
        root: Arc::clone(source),
        target,
        options: sync.rsync.clone(),
        filter: Arc::clone(&sync.filter),
        binary: sync.binary.clone(),
        codes: sync.codes.clone(),
        output,
        log: log.clone(),
    }))
}

fn cannot(what: &str, error: &io::Error) -> String {
    format!("cannot {what}: {error}")
}
