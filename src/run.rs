//! From the command line to the engine: what has to be there is made, in the right order.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    fleet::{EXIT_FAILURE, Limits},
    mirror::Settings,
    path::Escaped,
    plan::{
        exit::ExitCodes,
        rsync::{RsyncOptions, Rules},
        target::Target,
    },
    queue::Pace,
};

use crate::{
    cli::{self, Plan, Sync},
    daemon::{self, Life},
    engine::{Engine, Inbox, Kind, Member, Message, Roster, inbox},
    exec::{Executor, direct, rsync, source::SourceRoot},
    report::{Category, Log, Mode},
    watch::{Preference, Watch},
};

/// With so many changes waiting, all of them go out, whatever delay was given: `maxDelays`.
const MOST_WAITING: usize = 1000;

/// Where no delay was given: a change goes out once nothing new came for `quiet`, and at the
/// latest after `ceiling`. See `docs/decisions/0004-pace.md`.
const PACE: Pace =
    Pace::Quiet { quiet: Duration::from_millis(100), ceiling: Duration::from_secs(1) };

/// Runs the daemon as the words of the command line say, until it ends.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    try_run(words).unwrap_or_else(|code| code)
}

fn try_run(words: &[OsString]) -> Result<ExitCode, ExitCode> {
    let (plan, log) = cli::run_stages(words)?;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(EXIT_FAILURE)
    };
    // A bad pattern is found while there is still a terminal to say so.
    let filter = Arc::new(filter(&plan).map_err(failed)?);
    let life =
        Life { mode: plan.mode, logfile: plan.logfile.clone(), pidfile: plan.pidfile.clone() };
    let _living = daemon::start(life, &log)?;
    let (inbox, receiver) = inbox();
    let signals = inbox.clone();
    daemon::watch_signals(move |signal| signals.signal(signal))
        .map_err(|error| failed(cannot("handle signals", &error)))?;
    Ok(engine(&plan, &filter, &log, (inbox, receiver)).map_err(failed)?.run())
}

fn engine(
    plan: &Plan,
    filter: &Arc<Filter>,
    log: &Log,
    channel: (Inbox, Receiver<Message>),
) -> Result<Engine, String> {
    let watch = start_watch(plan, log, channel.0.clone())?;
    let members = plan.syncs.iter().map(|sync| member(plan, sync, filter, log));
    let roster = Roster::new(members.collect::<Result<_, _>>()?);
    let limits = Limits { max_jobs: None, onepass: plan.onepass };
    Ok(Engine::new(roster, limits, watch, channel, log.clone()))
}

fn start_watch(plan: &Plan, log: &Log, inbox: Inbox) -> Result<Watch, String> {
    let preference = match plan.watch {
        cli::Watch::Auto => Preference::Auto,
        cli::Watch::Inotify => Preference::Inotify,
        cli::Watch::Fanotify => Preference::Fanotify,
    };
    let wake = Box::new(move || inbox.send(Message::Watch));
    let watch = Watch::start(preference, log.clone(), wake)
        .map_err(|error| cannot("watch anything", &error))?;
    for own in [&plan.logfile, &plan.pidfile].into_iter().flatten() {
        watch.ignore(own.clone());
    }
    Ok(watch)
}

fn filter(plan: &Plan) -> Result<Filter, String> {
    let mut builder = Filter::builder();
    for pattern in &plan.excludes {
        let pattern = pattern.as_bytes();
        builder
            .exclude(pattern)
            .map_err(|error| format!("cannot use -exclude {}: {error}", Escaped(pattern)))?;
    }
    Ok(builder.build())
}

fn member(plan: &Plan, sync: &Sync, filter: &Arc<Filter>, log: &Log) -> Result<Member, String> {
    let source = Arc::new(SourceRoot::new(sync.source.clone()));
    let (kind, executor): (_, Arc<dyn Executor>) = match sync.kind {
        cli::Kind::Rsync => {
            (Kind::Rsync, Arc::new(rsync_executor(plan, sync, &source, filter, log)?))
        }
        cli::Kind::Direct => {
            let settings = direct::Settings {
                target: PathBuf::from(&sync.target),
                filter: Arc::clone(filter),
                delete: direct::Delete { startup: true, running: true },
                workers: direct::default_workers(),
            };
            let executor = direct::DirectExecutor::new(Arc::clone(&source), settings, log.clone());
            (Kind::Direct, Arc::new(executor))
        }
    };
    let pace = plan.delay.map_or(PACE, |delay| Pace::Fixed { delay, max_waiting: MOST_WAITING });
    let settings = Settings { pace, insist: plan.insist, filter: Arc::clone(filter) };
    Ok(Member { kind, source, target: sync.target.clone(), executor, settings })
}

fn rsync_executor(
    plan: &Plan,
    sync: &Sync,
    source: &Arc<SourceRoot>,
    filter: &Arc<Filter>,
    log: &Log,
) -> Result<rsync::RsyncExecutor, String> {
    let target = Target::new(sync.target.as_bytes()).map_err(|error| error.to_string())?;
    let rules = if filter.is_empty() {
        Rules::None
    } else {
        // As rules and not as the user's words: among the lines of `--exclude-from`, a pattern
        // that begins with `#` would be a comment.
        Rules::Filters(filter.to_rsync_rules().collect())
    };
    let output = match (plan.mode, &plan.logfile) {
        (Mode::Foreground, _) => rsync::ChildOutput::Inherit,
        (Mode::Daemon, Some(file)) => rsync::ChildOutput::File(file.clone()),
        (Mode::Daemon, None) => rsync::ChildOutput::Null,
    };
    Ok(rsync::RsyncExecutor::new(rsync::RsyncConfig {
        root: Arc::clone(source),
        target,
        options: RsyncOptions { rules, ..RsyncOptions::default() },
        filter: Arc::clone(filter),
        binary: "rsync".into(),
        codes: ExitCodes::rsync(),
        output,
        log: log.clone(),
    }))
}

fn cannot(what: &str, error: &io::Error) -> String {
    format!("cannot {what}: {error}")
}
