//! One `sync{}` of the file, before it is known how the process is to live.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    guard::{self, MaxDelete, ReplacedSource},
    mirror::scripted::Reset,
    notice::Writes,
    path::Escaped,
    plan::{
        args::{Arg, Args},
        direct::{DirectWords, ExtraRule, Ignored},
        options::{DeletePolicy, ListForm, RsyncOptions},
    },
    queue::{OpenWait, Pace},
    settings::{self, Base, Table as Names, Takes},
    tunnel,
};
use mlua::{Table, Value};

use super::{
    codes::{exit_codes, odd_codes},
    error::Fault,
    fields::{Fields, kind, quoted, text},
    hook,
    patterns::{Patterns, Roots},
    words::Words,
};
use crate::config::{self, Kind, MOST_WAITING, PACE, Script, Sync, cron::Rule, place};

/// What the prelude gathered of a sync.
pub(super) struct Draft<'a> {
    pub(super) config: &'a Table,
    pub(super) base: Base,
    /// Whether functions of the user say what is done.
    pub(super) has_script: bool,
    /// Whether they have one for the beginning.
    pub(super) begins: bool,
    /// Its place among the syncs, from 1 on.
    pub(super) number: usize,
    pub(super) here: &'a Path,
    pub(super) insist: bool,
    /// What the command line says.
    pub(super) max_delete: Option<MaxDelete>,
    pub(super) writes: Writes,
    pub(super) tunnels: &'a [tunnel::Plan],
}

impl Draft<'_> {
    /// The sync, and what is odd about it. Its target is not checked yet.
    pub(super) fn read(&self) -> Result<(Sync, Vec<String>), Fault> {
        let fields = Fields::new(self.config, "");
        let source = source(fields)?;
        let (kind, target) = self.target(fields)?;
        // What a script of its own means by such names is its own affair.
        let ours = if kind == Kind::Own { Fields::EMPTY } else { fields };
        let Calls { words, direct, binary } = Calls::read(ours, kind)?;
        let patterns = self.patterns(fields, kind, &source, (&words.options, &direct.rules))?;
        let delete = delete(ours);
        refuse_removal(kind, delete, &words.options)?;
        let name = self.name(fields)?;
        let sync = Sync {
            crontab: crontab(fields, &name)?,
            name,
            kind,
            given: given(fields, self.here)?,
            source,
            target: if kind == Kind::Own { target } else { place::with_slash(&target) },
            pace: pace(fields)?,
            open_wait: self.open_wait(ours)?,
            insist: self.insist,
            max_delete: self.max_delete(ours)?,
            max_delete_seen: budget(ours, "maxDeleteSeen")?.unwrap_or(MaxDelete::Unlimited),
            replaced_source: replaced_source(fields)?,
            marker: marker(fields)?,
            modify_window: ours.number("modifyWindow", 0.0)?.map(config::delay),
            durable: ours.is_on("durable"),
            direct: direct.options,
            init: !matches!(fields.value("init"), Value::Boolean(false)),
            delete,
            moves: !matches!(fields.value("onMove"), Value::Boolean(false)),
            filter: patterns.filter,
            exclusions: patterns.exclusions,
            rsync: RsyncOptions {
                delete,
                rules: patterns.rules,
                form: list_form(ours)?,
                ..words.options
            },
            binary,
            codes: exit_codes(ours, rsync_codes(kind))?,
            ssh_codes: exit_codes(ours, "sshExitCodes")?,
            batch_size_limit: ours.whole("batchSizeLimit", 0)?,
            max_processes: max_processes(fields, kind)?,
            hook: hook::read(ours, self.number)?,
            script: self.script(fields)?,
            tunnel: super::tunnel::of_sync(fields, self.tunnels)?,
        };
        let mut warnings = [words.warnings, without_effect(&direct.ignored)?].concat();
        warnings.append(&mut self.odd(fields, ours, (&sync.binary, kind))?);
        Ok((sync, warnings))
    }

    /// What is odd about values.
    fn odd(
        &self,
        fields: Fields<'_>,
        ours: Fields<'_>,
        (binary, kind): (&OsStr, Kind),
    ) -> Result<Vec<String>, Fault> {
        let odd = odd_delete(ours).into_iter().chain(odd_binary(ours, binary, kind));
        let odd = odd.chain(odd_switches(fields, self.base)?).chain(odd_codes(ours));
        Ok(odd.chain(odd_functions(fields)).collect())
    }

    fn patterns(
        &self,
        fields: Fields<'_>,
        kind: Kind,
        source: &Path,
        (options, extra): (&RsyncOptions, &[ExtraRule]),
    ) -> Result<Patterns, Fault> {
        let delete_excluded = options.delete_excluded;
        let roots = Roots { here: self.here, source, delete_excluded, extra };
        let patterns = Patterns::read(fields, roots)?;
        if kind == Kind::Direct {
            refuse_undecided(&patterns.filter)?;
        }
        Ok(patterns)
    }

    fn script(&self, fields: Fields<'_>) -> Result<Option<Script>, Fault> {
        if !self.has_script {
            return Ok(None);
        }
        let delay = match (fields.number("delay", 0.0)?, self.base) {
            (Some(seconds), _) => config::delay(seconds),
            (None, Base::Own) => Duration::ZERO,
            // What it brings is a batch: the more, the better.
            (None, _) => Duration::from_secs(1),
        };
        Ok(Some(Script {
            number: self.number,
            delay,
            max_delays: fields.at_least_one("maxDelays")?.unwrap_or(MOST_WAITING),
            max_jobs: fields.at_least_one("maxProcesses")?.unwrap_or(1),
            moves: fields.is_on("onMove"),
            full: matches!(fields.value("full"), Value::Function(_)),
            anew: if self.begins { Reset::Clear } else { Reset::Keep },
            subdirectories: !matches!(fields.value("subdirs"), Value::Boolean(false)),
            writes: self.writes,
        }))
    }

    /// Who wants each write to count has nothing held back.
    fn open_wait(&self, fields: Fields<'_>) -> Result<OpenWait, Fault> {
        let standard = OpenWait::default();
        let seconds = |name, standard| {
            Ok::<_, Fault>(fields.number(name, 0.0)?.map_or(standard, config::delay))
        };
        let quiet = seconds("openQuiet", standard.quiet)?;
        let max_wait = seconds("openMaxWait", standard.max_wait)?;
        Ok(match self.writes {
            Writes::Closed => OpenWait { quiet, max_wait },
            Writes::Written | Writes::Both => OpenWait::NONE,
        })
    }

    /// What the command line says comes first.
    fn max_delete(&self, fields: Fields<'_>) -> Result<MaxDelete, Fault> {
        let set = budget(fields, "maxDelete")?.unwrap_or_default();
        Ok(self.max_delete.unwrap_or(set))
    }

    fn name(&self, fields: Fields<'_>) -> Result<String, Fault> {
        let name = fields.text("name")?;
        Ok(name.map_or_else(|| format!("Sync{}", self.number), |name| Escaped(&name).to_string()))
    }

    fn target(&self, fields: Fields<'_>) -> Result<(Kind, OsString), Fault> {
        let kind = match self.base {
            Base::Own => Kind::Own,
            Base::Rsync => Kind::Rsync,
            Base::Rsyncssh => Kind::Rsyncssh,
            Base::Direct => Kind::Direct,
        };
        // With the slash that is appended, nothing would be the root of this or the other machine.
        let text = |name| {
            let text = fields.text(name)?.filter(|text| !text.is_empty());
            text.ok_or_else(|| Fault::Lua(format!("{name} is empty")))
        };
        let target = match kind {
            Kind::Own => {
                let target = fields.text("target").ok().flatten();
                return Ok((kind, OsString::from_vec(target.unwrap_or_default())));
            }
            Kind::Rsync | Kind::Direct => text("target")?,
            Kind::Rsyncssh => [text("host")?, b":".to_vec(), text("targetdir")?].concat(),
        };
        Ok((kind, OsString::from_vec(target)))
    }
}

/// How rsync is called, or what the same words mean to direct.
struct Calls {
    words: Words,
    direct: DirectWords,
    binary: OsString,
}

impl Calls {
    fn read(fields: Fields<'_>, kind: Kind) -> Result<Self, Fault> {
        let (rsync, ssh) = (fields.table("rsync")?, fields.table("ssh")?);
        let ssh = ssh.as_ref().filter(|_| kind == Kind::Rsyncssh);
        let rsync = rsync.as_ref().map_or(Fields::EMPTY, |rsync| Fields::new(rsync, "rsync."));
        let words = Words::read(rsync, ssh.map(|ssh| Fields::new(ssh, "ssh.")))?;
        let direct = direct(kind, rsync, &words.options)?;
        Ok(Self { words, direct, binary: binary(rsync)? })
    }
}

/// The source in the words of the file, which the prelude keeps.
fn given(fields: Fields<'_>, here: &Path) -> Result<PathBuf, Fault> {
    let text = fields.text("_source")?.unwrap_or_default();
    Ok(config::absolute(here, &OsString::from_vec(text)))
}

/// The prelude has made it canonical, with a slash at its end.
fn source(fields: Fields<'_>) -> Result<PathBuf, Fault> {
    let mut source = fields.text("source")?.unwrap_or_default();
    if source.len() > 1 && source.ends_with(b"/") {
        source.pop();
    }
    Ok(PathBuf::from(OsString::from_vec(source)))
}

fn pace(fields: Fields<'_>) -> Result<Pace, Fault> {
    let max_waiting = fields.at_least_one("maxDelays")?.unwrap_or(MOST_WAITING);
    let Some(seconds) = fields.number("delay", 0.0)? else { return Ok(PACE) };
    let delay = config::delay(seconds);
    Ok(Pace::Fixed { delay, max_waiting })
}

/// How many transfers run at once. A direct sync uses several threads anyway.
fn max_processes(fields: Fields<'_>, kind: Kind) -> Result<usize, Fault> {
    let most = fields.at_least_one("maxProcesses")?.unwrap_or(1);
    Ok(if kind == Kind::Rsync { most } else { 1 })
}

/// A share, a number, or `false` for any. `None` if nothing is said.
fn budget(fields: Fields<'_>, name: &str) -> Result<Option<MaxDelete>, Fault> {
    let value = fields.value(name);
    let (given, named) = match &value {
        Value::Nil => return Ok(None),
        Value::Boolean(false) => (Some(MaxDelete::Unlimited), "false".to_owned()),
        Value::Boolean(true) => (None, "true".to_owned()),
        value => match text(value) {
            Some(text) if matches!(value, Value::String(_)) => {
                (MaxDelete::parse(&text), quoted(&text))
            }
            Some(text) => (MaxDelete::parse(&text), Escaped(&text).to_string()),
            None => (None, format!("a {}", value.type_name())),
        },
    };
    match given {
        Some(budget) => Ok(Some(budget)),
        None => Err(Fault::Lua(guard::wrong_max_delete(name, &named))),
    }
}

fn replaced_source(fields: Fields<'_>) -> Result<ReplacedSource, Fault> {
    let Some(given) = fields.text("replacedSource")? else { return Ok(ReplacedSource::default()) };
    ReplacedSource::named(&given).ok_or_else(|| {
        let given = quoted(&given);
        Fault::Lua(format!(
            "replacedSource must be \"wait\", \"accept\" or \"budget\", not {given}"
        ))
    })
}

fn marker(fields: Fields<'_>) -> Result<Option<OsString>, Fault> {
    let Some(name) = fields.text("marker")? else { return Ok(None) };
    if matches!(&*name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        let name = quoted(&name);
        return Err(Fault::Lua(format!("marker must be one name in the source, not {name}")));
    }
    Ok(Some(OsString::from_vec(name)))
}

/// What the words for rsync mean to direct.
fn direct(kind: Kind, rsync: Fields<'_>, options: &RsyncOptions) -> Result<DirectWords, Fault> {
    if kind != Kind::Direct {
        return Ok(DirectWords::default());
    }
    let mut words = DirectWords::read(options)?;
    for name in ["perms", "owner", "group"] {
        if rsync.value(name) == Value::Boolean(false) {
            words.switch_off(name);
        }
    }
    Ok(words)
}

/// Such a rule would leave out less than the user thinks.
fn refuse_undecided(filter: &Filter) -> Result<(), Fault> {
    let Some(rule) = filter.undecided() else { return Ok(()) };
    Err(Fault::Lua(format!(
        "default.direct can't follow the filter rule {}: use default.rsync, or write its patterns here",
        quoted(&rule)
    )))
}

/// A warning for what has no effect in direct. What protects something is refused.
fn without_effect(ignored: &[Ignored]) -> Result<Vec<String>, Fault> {
    // A word of several letters may be there several times.
    let names = |protects: bool| {
        let found = ignored.iter().filter(|ignored| ignored.protects == protects);
        let mut names: Vec<&str> = found.map(|ignored| &*ignored.name).collect();
        names.dedup();
        names
    };
    let (refused, idle) = (names(true).join(", "), names(false));
    if !refused.is_empty() {
        let and =
            if idle.is_empty() { String::new() } else { format!(" (nor {})", idle.join(", ")) };
        return Err(Fault::Lua(format!(
            "default.direct can't do what {refused} says{and}, and without it something of the target \
             could be lost: use default.rsync, or leave it out"
        )));
    }
    Ok(idle.into_iter().map(|name| format!("{name} has no effect in default.direct")).collect())
}

/// The name of the table for the exit codes of rsync.
const fn rsync_codes(kind: Kind) -> &'static str {
    if matches!(kind, Kind::Rsync) { "exitcodes" } else { "rsyncExitCodes" }
}

fn list_form(fields: Fields<'_>) -> Result<ListForm, Fault> {
    match fields.text("listForm")?.as_deref() {
        None | Some(b"files-from") => Ok(ListForm::FilesFrom),
        Some(b"filter") => Ok(ListForm::Filter),
        Some(other) => {
            let other = quoted(other);
            Err(Fault::Lua(format!("listForm must be \"files-from\" or \"filter\", not {other}")))
        }
    }
}

/// Only these values delete: a text such as `"false"` does not.
fn delete(fields: Fields<'_>) -> DeletePolicy {
    match fields.value("delete") {
        Value::Boolean(true) => DeletePolicy::Always,
        Value::String(text) => match &*text.as_bytes() {
            b"startup" => DeletePolicy::Startup,
            b"running" => DeletePolicy::Running,
            _ => DeletePolicy::Never,
        },
        _ => DeletePolicy::Never,
    }
}

/// A text such as `"false"` means what it spells, but only by chance.
fn odd_delete(fields: Fields<'_>) -> Option<String> {
    let named = match fields.value("delete") {
        Value::Nil | Value::Boolean(_) => return None,
        Value::String(text) if matches!(&*text.as_bytes(), b"startup" | b"running") => return None,
        Value::String(text) => quoted(&text.as_bytes()),
        value => text(&value).map_or_else(
            || format!("a {}", value.type_name()),
            |number| Escaped(&number).to_string(),
        ),
    };
    Some(format!(
        "delete = {named} deletes nothing, as all but true, \"startup\" and \"running\": write \
         delete = false or delete = true"
    ))
}

/// What is no function where one belongs. Commands are functions by now.
fn odd_functions(fields: Fields<'_>) -> impl Iterator<Item = String> {
    let functions = settings::of(Names::Sync).filter(|it| it.takes == Takes::Function);
    functions.filter_map(move |it| {
        let name = it.name;
        let value = match fields.value(name) {
            Value::Nil | Value::Function(_) | Value::Boolean(false) => return None,
            value => kind(&value),
        };
        Some(format!("{name} must be a function, not a {value}: it fails when it is called"))
    })
}

/// Whether a script says nothing of what is done: what is due to its events is nothing.
pub(super) fn is_idle(config: &Table) -> bool {
    let fields = Fields::new(config, "");
    let of_events = settings::of(Names::Sync).filter(|it| {
        it.name.starts_with("on") && matches!(it.takes, Takes::Function | Takes::FlagOrFunction)
    });
    !fields.is_on("full") && !of_events.into_iter().any(|it| fields.is_on(it.name))
}

/// Switches that look like off, and are on.
fn odd_switches(fields: Fields<'_>, base: Base) -> Result<Vec<String>, Fault> {
    let switches = |table| {
        settings::of(table).filter(move |it| {
            it.is_for(base) && matches!(it.takes, Takes::Flag | Takes::FlagOrFunction)
        })
    };
    let mut found: Vec<_> =
        switches(Names::Sync).filter_map(|it| fields.odd_switch(it.name)).collect();
    if base != Base::Own
        && let Some(rsync) = fields.table("rsync")?
    {
        let rsync = Fields::new(&rsync, "rsync.");
        let of_rsync = settings::of(Names::Rsync).filter(|it| it.takes == Takes::Flag);
        found.extend(of_rsync.filter_map(|it| rsync.odd_switch(it.name)));
    }
    Ok(found)
}

/// A program in the place of rsync that is never called, or may expect to be called as by the
/// original.
fn odd_binary(fields: Fields<'_>, binary: &OsStr, kind: Kind) -> Option<String> {
    let is_rsync = Path::new(binary).file_name() == Some(OsStr::new("rsync"));
    if kind == Kind::Direct && !is_rsync {
        return Some("rsync.binary has no effect in default.direct".into());
    }
    let calls_it = matches!(kind, Kind::Rsync | Kind::Rsyncssh);
    (calls_it && !is_rsync && fields.value("listForm").is_nil()).then(|| {
        let binary = Escaped(binary.as_bytes());
        format!(
            "rsync.binary is {binary}: it gets the names of a batch by --files-from; if it expects \
             filter rules, as 2.x gives them, write listForm = \"filter\", else listForm = \
             \"files-from\""
        )
    })
}

/// With deletion on it empties both sides: what was sent is removed from the source, and then it is
/// deleted on the target.
fn refuse_removal(kind: Kind, delete: DeletePolicy, options: &RsyncOptions) -> Result<(), Fault> {
    let words: Vec<&[u8]> = options.extra.iter().chain(&options.long).map(Vec::as_slice).collect();
    let removes = |arg| matches!(arg, Arg::Option { name: b"remove-source-files", .. });
    let is_called = matches!(kind, Kind::Rsync | Kind::Rsyncssh);
    let deletion = |arg| matches!(arg, Arg::Option { name, .. } if name.starts_with(b"delete"));
    let deletes = delete != DeletePolicy::Never || Args::new(&words).any(deletion);
    if !is_called || !deletes || !Args::new(&words).any(removes) {
        return Ok(());
    }
    Err(Fault::Lua(
        "rsync._extra has --remove-source-files while delete is on: what is sent is removed from \
         the source, and then deleted on the target; write delete = false (and no --delete in \
         rsync._extra), or leave it out"
            .into(),
    ))
}

fn binary(rsync: Fields<'_>) -> Result<OsString, Fault> {
    let binary = rsync.text("binary")?.unwrap_or_else(|| b"rsync".to_vec());
    if binary.is_empty() {
        return Err(Fault::Lua("rsync.binary is empty".into()));
    }
    Ok(OsString::from_vec(binary))
}

fn crontab(fields: Fields<'_>, sync: &str) -> Result<Vec<Rule>, Fault> {
    let rules = fields.texts("crontab")?;
    let parsed = rules.iter().zip(1..).map(|(rule, number)| {
        let text = String::from_utf8_lossy(rule);
        text.parse().map_err(|why| {
            let text = Escaped(rule);
            Fault::Lua(format!(
                "Sync: {sync} - crontab rule {number} is not valid: {why} . Rule: {text}"
            ))
        })
    });
    parsed.collect()
}
