//! Reader of `settings{}`, which the command line overrides.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::Duration};

use mirror_core::{
    fs_event::WriteDetection,
    path::Escaped,
    settings::{self, SettingsTable, ValueType},
};
use mlua::Table;

use super::{
    LoadRequest,
    error::SettingError,
    fields::{Fields, text},
};
use crate::{
    config::{DaemonConfig, SocketSetting, WatchBackend, absolute},
    report::{LogFormat, RunMode, is_facility},
};

/// Reads the settings. Returns the errors with the names of the settings.
pub(super) fn daemon(
    values: &Table,
    request: &LoadRequest,
) -> (DaemonConfig, Vec<(&'static str, SettingError)>) {
    let fields = Fields::new(values, "");
    let (overrides, start_dir) = (&request.overrides, &*request.start_dir);
    let mut errors = InvalidSettings(Vec::new());
    let mut path = |name, given: &Option<std::path::PathBuf>| {
        let set = errors.value_or_record(name, fields.text(name));
        given.clone().or(set.map(|path| absolute(start_dir, OsStr::from_bytes(&path))))
    };
    let logfile = path("logfile", &overrides.logfile);
    let pidfile = path("pidfile", &overrides.pidfile);
    let status_file = path("statusFile", &None);
    let state_dir = path("stateDir", &overrides.state_dir);
    let socket = match errors.value_or_record("socket", fields.text("socket")) {
        None => SocketSetting::Default,
        Some(path) if path.is_empty() => SocketSetting::Off,
        Some(path) => SocketSetting::At(absolute(start_dir, OsStr::from_bytes(&path))),
    };
    let socket_group = errors.value_or_record("socketGroup", fields.text("socketGroup"));
    let default = DaemonConfig::default();
    let status_interval = errors.interval("statusInterval", fields, default.status_interval);
    let state_interval = errors.interval("stateInterval", fields, default.state_interval);
    let ident = errors.value_or_record("logident", fields.text("logident"));
    // It is validated here only: each sync inherits it.
    errors.value_or_record("maxDelays", fields.at_least_one("maxDelays"));
    let foreground = overrides.nodaemon || fields.is_on("nodaemon");
    let daemon = DaemonConfig {
        mode: if foreground { RunMode::Foreground } else { RunMode::Daemon },
        logfile,
        pidfile,
        status_file,
        status_interval,
        state_dir,
        state_interval,
        full: overrides.full,
        socket,
        socket_group: socket_group.map(|group| Escaped(&group).to_string()),
        log_format: errors
            .value_or_record("logFormat", log_format(fields, request))
            .unwrap_or_default(),
        log_facility: errors
            .value_or_record("logfacility", facility(fields))
            .unwrap_or(default.log_facility),
        log_ident: ident.map_or(default.log_ident, |ident| Escaped(&ident).to_string()),
        onepass: overrides.onepass || fields.is_on("onepass"),
        max_processes: errors.value_or_record("maxProcesses", fields.at_least_one("maxProcesses")),
        watch: errors.value_or_record("watch", watch(fields, request)).unwrap_or_default(),
        writes: errors.value_or_record("inotifyMode", writes(fields)).unwrap_or_default(),
        share_connections: fields.value("shareConnections").is_nil()
            || fields.is_on("shareConnections"),
    };
    (daemon, errors.0)
}

/// Warns of switches with a value that looks like off and counts as on.
pub(super) fn switch_warnings(values: &Table) -> impl Iterator<Item = (&'static str, String)> {
    let switches = settings::of(SettingsTable::Settings)
        .filter(|setting| setting.value_type == ValueType::Flag);
    switches.filter_map(|setting| {
        Some((setting.name, Fields::new(values, "").switch_warning(setting.name)?))
    })
}

struct InvalidSettings(Vec<(&'static str, SettingError)>);

impl InvalidSettings {
    /// Returns the value of a setting in seconds.
    fn interval(&mut self, name: &'static str, fields: Fields<'_>, default: Duration) -> Duration {
        let seconds = self.value_or_record(name, fields.number(name, 0.0));
        let interval = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        seconds.map_or(default, interval)
    }

    /// Returns the value of a setting. An error is recorded.
    fn value_or_record<T>(
        &mut self,
        name: &'static str,
        read: Result<Option<T>, impl Into<SettingError>>,
    ) -> Option<T> {
        read.unwrap_or_else(|error| {
            self.0.push((name, error.into()));
            None
        })
    }
}

/// Returns true if a failed startup is retried.
pub(super) fn insist(values: &Table, request: &LoadRequest) -> bool {
    request.overrides.insist || Fields::new(values, "").is_on("insist")
}

fn facility(fields: Fields<'_>) -> Result<Option<String>, SettingError> {
    let value = fields.value("logfacility");
    if value.is_nil() {
        return Ok(None);
    }
    let name = text(&value)
        .ok_or_else(|| SettingError::Fatal("Logging facility must be a number or string".into()))?;
    let name = Escaped(&name).to_string();
    if is_facility(&name) {
        return Ok(Some(name.to_ascii_lowercase()));
    }
    Err(SettingError::Fatal(format!("Logging facility '{name}' unknown.")))
}

fn writes(fields: Fields<'_>) -> Result<Option<WriteDetection>, SettingError> {
    check_choice(fields, "inotifyMode", |given| {
        SettingError::Fatal(if given.0 == b"CloseWrite after Modify" {
            "'CloseWrite after Modify' not implemented.".into()
        } else {
            format!("'{given}' not a valid inotfiyMode.")
        })
    })?;
    Ok(Some(match fields.text("inotifyMode")?.as_deref() {
        Some(b"Modify") => WriteDetection::OnModify,
        Some(b"CloseWrite or Modify") => WriteDetection::Both,
        _ => WriteDetection::OnClose,
    }))
}

fn watch(fields: Fields<'_>, request: &LoadRequest) -> Result<Option<WatchBackend>, SettingError> {
    check_choice(fields, "watch", |given| {
        SettingError::Lua(format!("watch must be auto, inotify or fanotify, not '{given}'"))
    })?;
    if request.overrides.watch.is_some() {
        return Ok(request.overrides.watch);
    }
    Ok(Some(match fields.text("watch")?.as_deref() {
        Some(b"inotify") => WatchBackend::Inotify,
        Some(b"fanotify") => WatchBackend::Fanotify,
        _ => WatchBackend::Auto,
    }))
}

fn log_format(
    fields: Fields<'_>,
    request: &LoadRequest,
) -> Result<Option<LogFormat>, SettingError> {
    check_choice(fields, "logFormat", |given| {
        SettingError::Lua(format!("logFormat must be text or json, not '{given}'"))
    })?;
    let given = fields.text("logFormat")?.as_deref().and_then(LogFormat::named);
    Ok(request.overrides.log_format.or(given))
}

fn check_choice(
    fields: Fields<'_>,
    name: &str,
    error: impl FnOnce(&Escaped<'_>) -> SettingError,
) -> Result<(), SettingError> {
    let Some(given) = fields.text(name)? else { return Ok(()) };
    let setting = settings::of(SettingsTable::Settings).find(|setting| setting.name == name);
    match setting.map(|setting| setting.value_type) {
        Some(ValueType::OneOf(choices))
            if !choices.iter().any(|choice| choice.as_bytes() == given) =>
        {
            Err(error(&Escaped(&given)))
        }
        _ => Ok(()),
    }
}
