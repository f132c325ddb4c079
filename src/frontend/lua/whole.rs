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
    error::Fault,
    fields::{Fields, text},
};
use crate::{
    config::{Daemon, Watch, absolute},
    report::{Mode, is_facility},
};

/// What the settings say, and what is wrong with which of them.
pub(super) fn daemon(values: &Table, request: &Request) -> (Daemon, Vec<(&'static str, Fault)>) {
    let fields = Fields::new(values, "");
    let (overrides, here) = (&request.overrides, &*request.here);
    let mut wrong = Wrong(Vec::new());
    let mut path = |name, given: &Option<std::path::PathBuf>| {
        let set = wrong.but(name, fields.text(name));
        given.clone().or(set.map(|path| absolute(here, OsStr::from_bytes(&path))))
    };
    let logfile = path("logfile", &overrides.logfile);
    let pidfile = path("pidfile", &overrides.pidfile);
    let status_file = path("statusFile", &None);
    let interval = wrong.but("statusInterval", fields.number("statusInterval", 0.0));
    let ident = wrong.but("logident", fields.text("logident"));
    // Each sync has it of here.
    wrong.but("maxDelays", fields.at_least_one("maxDelays"));
    let foreground = overrides.nodaemon || fields.is_on("nodaemon");
    let standard = Daemon::default();
    let daemon = Daemon {
        mode: if foreground { Mode::Foreground } else { Mode::Daemon },
        logfile,
        pidfile,
        status_file,
        status_interval: interval.map_or(standard.status_interval, |seconds| {
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        }),
        log_facility: wrong.but("logfacility", facility(fields)).unwrap_or(standard.log_facility),
        log_ident: ident.map_or(standard.log_ident, |ident| Escaped(&ident).to_string()),
        onepass: overrides.onepass || fields.is_on("onepass"),
        max_processes: wrong.but("maxProcesses", fields.at_least_one("maxProcesses")),
        watch: wrong.but("watch", watch(fields, request)).unwrap_or_default(),
        writes: wrong.but("inotifyMode", writes(fields)).unwrap_or_default(),
        share_connections: fields.value("shareConnections").is_nil()
            || fields.is_on("shareConnections"),
    };
    (daemon, wrong.0)
}

/// Switches that look like off, and are on.
pub(super) fn odd(values: &Table) -> impl Iterator<Item = (&'static str, String)> {
    let switches = settings::of(Names::Settings).filter(|setting| setting.takes == Takes::Flag);
    switches.filter_map(|setting| {
        Some((setting.name, Fields::new(values, "").odd_switch(setting.name)?))
    })
}

/// What is wrong with settings.
struct Wrong(Vec<(&'static str, Fault)>);

impl Wrong {
    /// What was read of a setting. If it is wrong, that is noted.
    fn but<T>(
        &mut self,
        name: &'static str,
        read: Result<Option<T>, impl Into<Fault>>,
    ) -> Option<T> {
        read.unwrap_or_else(|fault| {
            self.0.push((name, fault.into()));
            None
        })
    }
}

/// Whether a failed startup is tried again.
pub(super) fn insist(values: &Table, request: &Request) -> bool {
    request.overrides.insist || Fields::new(values, "").is_on("insist")
}

fn facility(fields: Fields<'_>) -> Result<Option<String>, Fault> {
    let value = fields.value("logfacility");
    if value.is_nil() {
        return Ok(None);
    }
    let name = text(&value)
        .ok_or_else(|| Fault::Fatal("Logging facility must be a number or string".into()))?;
    let name = Escaped(&name).to_string();
    if is_facility(&name) {
        return Ok(Some(name.to_ascii_lowercase()));
    }
    Err(Fault::Fatal(format!("Logging facility '{name}' unknown.")))
}

fn writes(fields: Fields<'_>) -> Result<Option<Writes>, Fault> {
    check_choice(fields, "inotifyMode", |given| {
        Fault::Fatal(if given.0 == b"CloseWrite after Modify" {
            "'CloseWrite after Modify' not implemented.".into()
        } else {
            format!("'{given}' not a valid inotfiyMode.")
        })
    })?;
    Ok(Some(match fields.text("inotifyMode")?.as_deref() {
        Some(b"Modify") => Writes::Written,
        Some(b"CloseWrite or Modify") => Writes::Both,
        _ => Writes::Closed,
    }))
}

fn watch(fields: Fields<'_>, request: &Request) -> Result<Option<Watch>, Fault> {
    check_choice(fields, "watch", |given| {
        Fault::Lua(format!("watch must be auto, inotify or fanotify, not '{given}'"))
    })?;
    if request.overrides.watch.is_some() {
        return Ok(request.overrides.watch);
    }
    Ok(Some(match fields.text("watch")?.as_deref() {
        Some(b"inotify") => Watch::Inotify,
        Some(b"fanotify") => Watch::Fanotify,
        _ => Watch::Auto,
    }))
}

fn check_choice(
    fields: Fields<'_>,
    name: &str,
    wrong: impl FnOnce(&Escaped<'_>) -> Fault,
) -> Result<(), Fault> {
    let Some(given) = fields.text(name)? else { return Ok(()) };
    let setting = settings::of(Names::Settings).find(|setting| setting.name == name);
    match setting.map(|setting| setting.takes) {
        Some(Takes::OneOf(choices)) if !choices.iter().any(|choice| choice.as_bytes() == given) => {
            Err(wrong(&Escaped(&given)))
        }
        _ => Ok(()),
    }
}
