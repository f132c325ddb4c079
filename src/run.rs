//! Startup sequence: from the command line to the running engine, in the required order.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::{self, ExitCode},
};

use jiff::Timestamp;
use mirror_core::{fleet::EXIT_FAILURE, path::Escaped};
use mirror_platform::{memory, reaper::reap_as_init};

use crate::{
    config::{self, DaemonConfig, SocketSetting},
    control::{
        location::{SocketHints, read_only_socket},
        server::{ControlSocket, SocketSpec, group_id},
    },
    daemon::{self, CaughtSignal, PendingSignals, ProcessOptions, ServiceManager},
    engine::{
        self, ConfigOrigin, DaemonFacts, Engine, Inbox, LoadConfig, Message, MessageChannel,
        Reload, request_handler,
    },
    frontend::{Loaded, cli, load::Loader, lua},
    report::{Category, Log, RunMode, SyslogIdentity},
    watch::{Preference, Watcher},
};

/// Runs the daemon with these command-line arguments until it exits.
///
/// It must be the first action of the process: a signal that arrives earlier is not handled.
#[must_use]
pub fn run(args: &[OsString]) -> ExitCode {
    memory::limit_heaps();
    let signals = daemon::hold_signals().map_err(|error| {
        Log::default().say(Category::Error, cannot("handle signals", &error));
        ExitCode::from(EXIT_FAILURE)
    });
    signals.and_then(|signals| run_with_reaper(args, signals)).unwrap_or_else(|code| code)
}

/// Runs the daemon, or lets a child run it if this process is the init process of a container.
fn run_with_reaper(args: &[OsString], signals: PendingSignals) -> Result<ExitCode, ExitCode> {
    // Before any child exists: none may notify the service manager in the name of the daemon.
    let manager = ServiceManager::from_environment().unwrap_or_else(|error| {
        let text = format_args!("cannot notify the service manager: {error}");
        Log::default().say(Category::Warn, text);
        None
    });
    match reap_as_init() {
        Ok(None) => {}
        Ok(Some(code)) => return Err(code.into()),
        Err(error) => {
            let text = format_args!("cannot reap orphaned processes: {error}");
            Log::default().say(Category::Warn, text);
        }
    }
    try_run(args, signals, manager)
}

fn try_run(
    args: &[OsString],
    pending: PendingSignals,
    manager: Option<ServiceManager>,
) -> Result<ExitCode, ExitCode> {
    let (invocation, log) = cli::read(args)?;
    let loader = Loader::new(invocation, log.clone()).with_try(engine::describe_first_transfer);
    let initial = loader.start()?;
    let config = &initial.config;
    let failed = |why: String| {
        log.say(Category::Error, why);
        ExitCode::from(EXIT_FAILURE)
    };
    log.set_syslog_identity(syslog_identity(&config.daemon));
    log.set_format(config.daemon.log_format);
    let DaemonConfig { mode, logfile, pidfile, .. } = config.daemon.clone();
    let mut process = daemon::start(ProcessOptions { mode, logfile, pidfile }, &pending, &log)?;
    lua::log_warnings(&initial.warnings, &log);
    let channel = MessageChannel::default();
    let signals = channel.inbox.clone();
    daemon::watch_signals(pending, log.clone(), move |caught| match caught {
        CaughtSignal::Fleet(signal) => signals.signal(signal),
        CaughtSignal::LogState => signals.send(Message::LogState),
    })
    .map_err(|error| failed(cannot("handle signals", &error)))?;
    let sockets = control_sockets(&config.daemon, &channel.inbox, &log).map_err(failed)?;
    let facts = daemon_facts(&loader);
    // The command line can't change: without a file there is nothing to reload.
    let load = loader.has_files().then(|| Box::new(move || loader.reload()) as LoadConfig);
    let origin = ConfigOrigin { hash: initial.hash.clone(), positions: initial.positions.clone() };
    // The service manager knows the process that it has started, which a daemon is not.
    let manager = manager.filter(|_| mode == RunMode::Foreground);
    let mut engine = engine(initial, load, &log, channel).map_err(failed)?.notifying(manager);
    engine.set_facts(facts, origin);
    let own = sockets.iter().map(|socket| socket.path().to_owned());
    engine.ignore_files(own);
    process.detach(&log)?;
    let code = engine.run();
    log.close_progress();
    Ok(code)
}

/// Facts about this process for its status.
fn daemon_facts(loader: &Loader) -> DaemonFacts {
    let files = loader.files();
    let shown = |file: &PathBuf| Escaped(file.as_os_str().as_bytes()).to_string();
    let started = Timestamp::now().as_duration().as_secs_f64();
    DaemonFacts { started, config_files: files.iter().map(shown).collect() }
}

/// Creates the sockets, which exist until they are dropped. A failure at a default path is logged.
///
/// # Errors
///
/// If one that the configuration names can't be created: a message for the user.
fn control_sockets(
    daemon: &DaemonConfig,
    inbox: &Inbox,
    log: &Log,
) -> Result<Vec<ControlSocket>, String> {
    let (path, is_default) = match &daemon.socket {
        SocketSetting::Off => return Ok(Vec::new()),
        SocketSetting::At(path) => (path.clone(), false),
        SocketSetting::Default => {
            let hints = SocketHints {
                runtime_directory: env::var_os("RUNTIME_DIRECTORY"),
                user_directory: env::var_os("XDG_RUNTIME_DIR"),
                pidfile: daemon.pidfile.clone(),
                pid: process::id(),
            };
            let Some(path) = hints.control_socket() else { return Ok(Vec::new()) };
            (path, true)
        }
    };
    let create = || {
        let mut specs = Vec::new();
        if let Some(name) = &daemon.socket_group {
            let group = group_id(name).map_err(|error| format!("socketGroup: {error}"))?;
            let path = read_only_socket(&path);
            specs.push(SocketSpec { path, group: Some(group), is_read_only: true });
        }
        specs.push(SocketSpec { path: path.clone(), group: None, is_read_only: false });
        let serve = |spec: &SocketSpec| ControlSocket::serve(spec, request_handler(inbox.clone()));
        specs.iter().map(serve).collect::<Result<Vec<_>, String>>()
    };
    match create() {
        Err(error) if is_default => {
            log.say(Category::Warn, format_args!("{error}; lsyncctl cannot reach this daemon"));
            Ok(Vec::new())
        }
        result => result,
    }
}

fn engine(
    loaded: Loaded,
    load: Option<LoadConfig>,
    log: &Log,
    channel: MessageChannel,
) -> Result<Engine, String> {
    let watch = start_watch(&loaded.config.daemon, log, channel.inbox.clone())?;
    let reload = load.map(|load| {
        let log = log.clone();
        Reload { load, apply: Box::new(move |was, wanted| apply_daemon_config(&log, was, wanted)) }
    });
    Engine::new(loaded, reload, watch, channel, log.clone())
}

/// Applies reloaded process settings, and returns those in force. Settings that can't change at
/// runtime are logged.
fn apply_daemon_config(log: &Log, was: &DaemonConfig, wanted: &DaemonConfig) -> DaemonConfig {
    for (name, changed) in [
        ("nodaemon", was.mode != wanted.mode),
        ("pidfile", was.pidfile != wanted.pidfile),
        ("watch", was.watch != wanted.watch),
        ("stateDir", was.state_dir != wanted.state_dir),
        ("socket", was.socket != wanted.socket),
        ("socketGroup", was.socket_group != wanted.socket_group),
    ] {
        if changed {
            let text = format!("{name} has changed: restart lsyncd to apply it");
            log.say(Category::Warn, text);
        }
    }
    log.set_format(wanted.log_format);
    let mut in_force = DaemonConfig {
        log_format: wanted.log_format,
        max_processes: wanted.max_processes,
        status_file: wanted.status_file.clone(),
        status_interval: wanted.status_interval,
        ..was.clone()
    };
    if was.logfile != wanted.logfile {
        match log.change_file(wanted.logfile.clone()) {
            Ok(()) => in_force.logfile.clone_from(&wanted.logfile),
            Err(error) => log.say(Category::Error, format_args!("{error} {}", error.reason())),
        }
    }
    if syslog_identity(was) != syslog_identity(wanted) {
        log.set_syslog_identity(syslog_identity(wanted));
        in_force.log_facility.clone_from(&wanted.log_facility);
        in_force.log_ident.clone_from(&wanted.log_ident);
    }
    in_force
}

fn syslog_identity(daemon: &DaemonConfig) -> SyslogIdentity {
    SyslogIdentity { facility: daemon.log_facility.clone(), ident: daemon.log_ident.clone() }
}

fn start_watch(daemon: &DaemonConfig, log: &Log, inbox: Inbox) -> Result<Watcher, String> {
    let preference = match daemon.watch {
        config::WatchBackend::Auto => Preference::Auto,
        config::WatchBackend::Inotify => Preference::Inotify,
        config::WatchBackend::Fanotify => Preference::Fanotify,
    };
    let wake = Box::new(move || inbox.send(Message::Watch));
    Watcher::start(preference, log.clone(), wake).map_err(|error| cannot("watch anything", &error))
}

fn cannot(what: &str, error: &io::Error) -> String {
    format!("cannot {what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_changes_the_log_the_status_and_the_job_limit_of_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let was = DaemonConfig { pidfile: Some("/run/a.pid".into()), ..DaemonConfig::default() };
        let changed = DaemonConfig {
            max_processes: Some(3),
            log_ident: "x".into(),
            log_facility: "cron".into(),
            logfile: Some(dir.path().join("log")),
            status_file: Some("/run/status".into()),
            log_format: crate::report::LogFormat::Json,
            ..DaemonConfig::default()
        };
        let wanted = DaemonConfig { onepass: true, ..changed.clone() };
        let in_force = apply_daemon_config(&Log::default(), &was, &wanted);
        assert_eq!(in_force, DaemonConfig { pidfile: was.pidfile.clone(), ..changed });
        let wanted = DaemonConfig { logfile: Some("/nonexistent/log".into()), ..was.clone() };
        assert_eq!(apply_daemon_config(&Log::default(), &was, &wanted), was);
    }
}
