//! What holds for the whole process: `settings{}`, and the command line before it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::Duration};

use mirror_core::{
    notice::Writes,
    path::Escaped,
    settings::{self, Table as Names, Takes},
};
use mlua::Table;

use super::{
    Request,
    fields::{Fields, text},
};
use crate::{
    report::{Mode, is_facility},
    setup::{Daemon, Watch, absolute},
};

/// What the settings say.
pub(super) fn daemon(values: &Table, request: &Request) -> Result<Daemon, String> {
    let fields = Fields::new(values, "");
    let (overrides, here) = (&request.overrides, &*request.here);
    let path = |name: &str, given: &Option<std::path::PathBuf>| {
        let set =
            fields.text(name).map(|path| path.map(|path| absolute(here, OsStr::from_bytes(&path))));
        set.map(|set| given.clone().or(set))
    };
    let foreground = overrides.nodaemon || fields.is_on("nodaemon");
    let standard = Daemon::default();
    let ident = fields.text("logident")?.map(|ident| Escaped(&ident).to_string());
    Ok(Daemon {
        mode: if foreground { Mode::Foreground } else { Mode::Daemon },
        logfile: path("logfile", &overrides.logfile)?,
        pidfile: path("pidfile", &overrides.pidfile)?,
        status_file: path("statusFile", &None)?,
        status_interval: fields
            .number("statusInterval", 0.0)?
            .map_or(standard.status_interval, |seconds| {
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }),
        log_facility: facility(fields, standard.log_facility)?,
        log_ident: ident.unwrap_or(standard.log_ident),
        onepass: overrides.onepass || fields.is_on("onepass"),
        max_processes: fields.at_least_one("maxProcesses")?,
        watch: watch(fields, request)?,
        writes: writes(fields)?,
        share_connections: fields.value("shareConnections").is_nil()
            || fields.is_on("shareConnections"),
    })
}

/// Whether a failed startup is tried again.
pub(super) fn insist(values: &Table, request: &Request) -> bool {
    request.overrides.insist || Fields::new(values, "").is_on("insist")
}

fn facility(fields: Fields<'_>, standard: String) -> Result<String, String> {
    let value = fields.value("logfacility");
    if value.is_nil() {
        return Ok(standard);
    }
    let name = text(&value).ok_or("Logging facility must be a number or string")?;
    let name = Escaped(&name).to_string();
    if is_facility(&name) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(format!("Logging facility '{name}' unknown."))
}

fn writes(fields: Fields<'_>) -> Result<Writes, String> {
    check_choice(fields, "inotifyMode", |given| {
        if given.0 == b"CloseWrite after Modify" {
            "'CloseWrite after Modify' not implemented.".into()
        } else {
            format!("'{given}' not a valid inotfiyMode.")
        }
    })?;
    Ok(match fields.text("inotifyMode")?.as_deref() {
        Some(b"Modify") => Writes::Written,
        Some(b"CloseWrite or Modify") => Writes::Both,
        _ => Writes::Closed,
    })
}

fn watch(fields: Fields<'_>, request: &Request) -> Result<Watch, String> {
    check_choice(fields, "watch", |given| {
        format!("watch must be auto, inotify or fanotify, not '{given}'")
    })?;
    if let Some(watch) = request.overrides.watch {
        return Ok(watch);
    }
    Ok(match fields.text("watch")?.as_deref() {
        Some(b"inotify") => Watch::Inotify,
        Some(b"fanotify") => Watch::Fanotify,
        _ => Watch::Auto,
    })
}

fn check_choice(
    fields: Fields<'_>,
    name: &str,
    wrong: impl FnOnce(&Escaped<'_>) -> String,
) -> Result<(), String> {
    let Some(given) = fields.text(name)? else { return Ok(()) };
    let setting = settings::of(Names::Settings).find(|setting| setting.name == name);
    match setting.map(|setting| setting.takes) {
        Some(Takes::OneOf(choices)) if !choices.iter().any(|choice| choice.as_bytes() == given) => {
            Err(wrong(&Escaped(&given)))
        }
        _ => Ok(()),
    }
}
