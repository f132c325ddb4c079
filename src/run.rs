//! From the command line to the engine: what has to be there is made, in the right order.

use std::{ffi::OsString, io, process::ExitCode, sync::mpsc::Receiver};

use mirror_core::fleet::EXIT_FAILURE;
use mirror_platform::house::keep_house;

use crate::{
    config::{self, Daemon},
    daemon::{self, Life, Pending},
    engine::{Engine, Inbox, Load, Message, Reload, inbox},
    frontend::{Loaded, cli, load::Loader, lua},
    report::{Category, Log, Marks},
    watch::{Preference, Watch},
};

/// Runs the daemon as the words of the command line say, until it ends.
///
/// It has to be the first thing that the process does: of a signal that comes before, nobody hears.
#[must_use]
pub fn run(words: &[OsString]) -> ExitCode {
    let signals = daemon::hold_signals().map_err(|error| {
        Log::default().say(Category::Error, cannot("handle signals", &error));
        ExitCode::from(EXIT_FAILURE)
    });
    signals.and_then(|signals| run_here(words, signals)).unwrap_or_else(|code| code)
}

/// Does the work, or has a child do it where this is the first process of a container.
fn run_here(words: &[OsString], signals: Pending) -> Result<ExitCode, ExitCode> {
    match keep_house() {
        Ok(None) => {}
        Ok(Some(code)) => return Err(code.into()),
        Err(error) => {
            let text = format_args!("nobody waits for programs that others leave behind: {error}");
            Log::default().say(Category::Warn, text);
        }
    }
    try_run(words, signals)
}

fn try_run(words: &[OsString], pending: Pending) -> Result<ExitCode, ExitCode> {
    let (invocation, log) = cli::read(words)?;
    let loader = Loader::new(invocation, log.clone());
    let loaded = loader.start()?;
    let setup = &loaded.setup;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(EXIT_FAILURE)
    };
    log.mark_for_syslog(marks(&setup.daemon));
    let Daemon { mode, logfile, pidfile, .. } = setup.daemon.clone();
    let _living = daemon::start(Life { mode, logfile, pidfile }, &pending, &log)?;
    lua::say_warnings(&loaded.warnings, &log);
    let (inbox, receiver) = inbox();
    let signals = inbox.clone();
    daemon::watch_signals(pending, log.clone(), move |signal| signals.signal(signal))
        .map_err(|error| failed(cannot("handle signals", &error)))?;
    // The command line can't have changed: without a file there is nothing to be read again.
    let load = loader.has_files().then(|| Box::new(move || loader.reload()) as Load);
    Ok(engine(loaded, load, &log, (inbox, receiver)).map_err(failed)?.run())
}

fn engine(
    loaded: Loaded,
    load: Option<Load>,
    log: &Log,
    channel: (Inbox, Receiver<Message>),
) -> Result<Engine, String> {
    let watch = start_watch(&loaded.setup.daemon, log, channel.0.clone())?;
    let reload = load.map(|load| {
        let log = log.clone();
        Reload { load, adapt: Box::new(move |was, wanted| adapt(&log, was, wanted)) }
    });
    Engine::new(loaded, reload, watch, channel, log.clone())
}

/// Takes over the settings of the process that were read again, and returns those that are in
/// force. What can't change while it runs is told.
fn adapt(log: &Log, was: &Daemon, wanted: &Daemon) -> Daemon {
    for (name, changed) in [
        ("nodaemon", was.mode != wanted.mode),
        ("pidfile", was.pidfile != wanted.pidfile),
        ("watch", was.watch != wanted.watch),
    ] {
        if changed {
            let text = format!("{name} has changed: that takes effect when lsyncd is restarted");
            log.say(Category::Warn, text);
        }
    }
    let mut in_force = Daemon {
        max_processes: wanted.max_processes,
        status_file: wanted.status_file.clone(),
        status_interval: wanted.status_interval,
        ..was.clone()
    };
    if was.logfile != wanted.logfile {
        match log.change_file(wanted.logfile.clone()) {
            Ok(()) => in_force.logfile.clone_from(&wanted.logfile),
            Err(error) => log.say(Category::Error, error),
        }
    }
    if marks(was) != marks(wanted) {
        log.mark_for_syslog(marks(wanted));
        in_force.log_facility.clone_from(&wanted.log_facility);
        in_force.log_ident.clone_from(&wanted.log_ident);
    }
    in_force
}

fn marks(daemon: &Daemon) -> Marks {
    Marks { facility: daemon.log_facility.clone(), ident: daemon.log_ident.clone() }
}

fn start_watch(daemon: &Daemon, log: &Log, inbox: Inbox) -> Result<Watch, String> {
    let preference = match daemon.watch {
        config::Watch::Auto => Preference::Auto,
        config::Watch::Inotify => Preference::Inotify,
        config::Watch::Fanotify => Preference::Fanotify,
    };
    let wake = Box::new(move || inbox.send(Message::Watch));
    Watch::start(preference, log.clone(), wake).map_err(|error| cannot("watch anything", &error))
}

fn cannot(what: &str, error: &io::Error) -> String {
    format!("cannot {what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_process_the_log_the_status_and_the_number_of_jobs_change_while_it_runs() {
        let place = tempfile::tempdir().unwrap();
        let was = Daemon { pidfile: Some("/run/a.pid".into()), ..Daemon::default() };
        let changed = Daemon {
            max_processes: Some(3),
            log_ident: "x".into(),
            log_facility: "cron".into(),
            logfile: Some(place.path().join("log")),
            status_file: Some("/run/status".into()),
            ..Daemon::default()
        };
        let wanted = Daemon { onepass: true, ..changed.clone() };
        let in_force = adapt(&Log::default(), &was, &wanted);
        assert_eq!(in_force, Daemon { pidfile: was.pidfile.clone(), ..changed });
        let wanted = Daemon { logfile: Some("/nonexistent/log".into()), ..was.clone() };
        assert_eq!(adapt(&Log::default(), &was, &wanted), was);
    }
}
