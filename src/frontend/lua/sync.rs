//! Reader of one `sync{}`.

mod warnings;

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mirror_core::{
    filter::Filter,
    fs_event::WriteDetection,
    guard::{self, MaxDelete, ReplacedSource},
    mirror::scripted::{FullHandling, RestartMode},
    path::Escaped,
    plan::{
        args::{RsyncArg, RsyncArgParser},
        direct::{DirectTranslation, IgnoredOption},
        options::{DeletePolicy, ListForm, RsyncOptions},
    },
    queue::{Debounce, OpenWait},
    settings::{self, SettingsTable, SyncBase, ValueType},
    tunnel,
};
use mlua::{LuaString, Table, Value};

use super::{
    error::SettingError,
    exit_codes::exit_codes,
    fields::{Fields, quoted, text},
    hook,
    patterns::{ExtraRules, PatternContext, SyncPatterns},
    rsync_args::RsyncArgs,
};
use crate::config::{
    self, DEFAULT_MAX_DELAYS, ScriptConfig, SyncConfig, SyncKind, cron::CronRule, target_path,
};
use warnings::doubtful_values;

/// Table of a sync as collected by the prelude, with its context.
pub(super) struct SyncReader<'a> {
    pub(super) table: &'a Table,
    pub(super) base: SyncBase,
    /// True if functions of the user handle the events.
    pub(super) has_script: bool,
    /// `Clear` if the user has a function for the startup.
    pub(super) restart_mode: RestartMode,
    /// True if it has an action of its own.
    pub(super) has_action: bool,
    /// Number of the sync, from 1.
    pub(super) number: usize,
    pub(super) start_dir: &'a Path,
    pub(super) insist: bool,
    /// Override of the command line.
    pub(super) max_delete: Option<MaxDelete>,
    pub(super) writes: WriteDetection,
    pub(super) tunnels: &'a [tunnel::TunnelSpec],
}

/// Returns the target with a slash at its end. To a script it may mean anything, so it stays.
fn normalized_target(kind: SyncKind, target: OsString) -> OsString {
    if kind == SyncKind::Script { target } else { target_path::with_slash(&target) }
}

impl SyncReader<'_> {
    /// Returns the sync and its warnings. The target is not validated yet.
    pub(super) fn read(&self) -> Result<(SyncConfig, Vec<String>), SettingError> {
        let fields = Fields::new(self.table, "");
        let source = source(fields)?;
        let (kind, target) = self.target(fields)?;
        // A script of its own may use these names in any way.
        let ours = if kind == SyncKind::Script { Fields::EMPTY } else { fields };
        let invocation = RsyncInvocation::read(ours, kind)?;
        let patterns = self.patterns(fields, kind, &source, &invocation)?;
        let RsyncInvocation { args, direct, binary } = invocation;
        let (delete, name) = (delete(ours), self.name(fields)?);
        refuse_remove_source_files(kind, delete, &args.options)?;
        let sync = SyncConfig {
            crontab: crontab(fields, &name)?,
            name,
            kind,
            source_as_given: source_as_given(fields, self.start_dir)?,
            source,
            target: normalized_target(kind, target),
            debounce: debounce(fields)?,
            open_wait: self.open_wait(ours)?,
            insist: self.insist,
            max_delete: self.max_delete(ours)?,
            max_delete_seen: deletion_limit(ours, "maxDeleteSeen")?.unwrap_or(MaxDelete::Unlimited),
            replaced_source: replaced_source(fields)?,
            marker: marker(fields)?,
            trust_target: ours.is_on("trustTarget"),
            modify_window: ours.number("modifyWindow", 0.0)?.map(config::delay_from_secs),
            durable: ours.is_on("durable"),
            direct: direct.options,
            init: !matches!(fields.value("init"), Value::Boolean(false)),
            delete,
            renames: !matches!(fields.value("onMove"), Value::Boolean(false)),
            filter: patterns.filter,
            exclusions: patterns.exclusions,
            rsync: RsyncOptions {
                delete,
                rules: patterns.rules,
                form: list_form(ours)?,
                ..args.options
            },
            binary,
            exit_codes: exit_codes(ours, exit_codes_key(kind))?,
            ssh_exit_codes: exit_codes(ours, "sshExitCodes")?,
            batch_size_limit: ours.whole("batchSizeLimit", 0)?,
            max_processes: max_processes(fields, kind)?,
            hook: hook::read(ours, self.number)?,
            script: self.script(fields)?,
            tunnel: super::tunnel::for_sync(fields, self.tunnels)?,
            unchecked_target: None,
        };
        let doubtful = doubtful_values(&sync, self.base, fields, ours)?;
        Ok((sync, [args.warnings, ignored_option_warnings(&direct.ignored)?, doubtful].concat()))
    }

    fn patterns(
        &self,
        fields: Fields<'_>,
        kind: SyncKind,
        source: &Path,
        invocation: &RsyncInvocation,
    ) -> Result<SyncPatterns, SettingError> {
        let delete_excluded = invocation.args.options.delete_excluded;
        let passed = match kind {
            SyncKind::Rsync | SyncKind::Rsyncssh => {
                DirectTranslation::rules(&invocation.args.options)
            }
            SyncKind::Direct | SyncKind::Script => Vec::new(),
        };
        let extra = match kind {
            SyncKind::Direct => ExtraRules::Only(&invocation.direct.rules),
            SyncKind::Rsync | SyncKind::Rsyncssh | SyncKind::Script => ExtraRules::Passed(&passed),
        };
        let context = PatternContext { start_dir: self.start_dir, source, delete_excluded, extra };
        let patterns = SyncPatterns::read(fields, context)?;
        if kind == SyncKind::Direct {
            refuse_undecided(&patterns.filter)?;
        }
        Ok(patterns)
    }

    fn script(&self, fields: Fields<'_>) -> Result<Option<ScriptConfig>, SettingError> {
        if !self.has_script {
            return Ok(None);
        }
        let delay = match (fields.number("delay", 0.0)?, self.base) {
            (Some(seconds), _) => config::delay_from_secs(seconds),
            (None, SyncBase::Own) => Duration::ZERO,
            // It handles a batch at once: larger batches are better.
            (None, _) => Duration::from_secs(1),
        };
        let is_function = |name| matches!(fields.value(name), Value::Function(_));
        let full = if is_function("full") {
            FullHandling::Function
        } else if self.has_action || self.base != SyncBase::Own || is_function("onFull") {
            FullHandling::Action
        } else {
            FullHandling::Ignored
        };
        Ok(Some(ScriptConfig {
            number: self.number,
            delay,
            max_delays: fields.at_least_one("maxDelays")?.unwrap_or(DEFAULT_MAX_DELAYS),
            max_jobs: fields.at_least_one("maxProcesses")?.unwrap_or(1),
            wants_renames: fields.is_on("onMove"),
            full,
            restart_mode: self.restart_mode,
            subdirectories: !matches!(fields.value("subdirs"), Value::Boolean(false)),
            writes: self.writes,
        }))
    }

    /// Reads the time for which open files are held back: none if each write counts as an event.
    fn open_wait(&self, fields: Fields<'_>) -> Result<OpenWait, SettingError> {
        let default = OpenWait::default();
        let seconds = |name, default| {
            Ok::<_, SettingError>(
                fields.number(name, 0.0)?.map_or(default, config::delay_from_secs),
            )
        };
        let quiet = seconds("openQuiet", default.quiet)?;
        let max_wait = seconds("openMaxWait", default.max_wait)?;
        Ok(match self.writes {
            WriteDetection::OnClose => OpenWait { quiet, max_wait },
            WriteDetection::OnModify | WriteDetection::Both => OpenWait::NONE,
        })
    }

    /// Reads `maxDelete`, which the command line overrides.
    fn max_delete(&self, fields: Fields<'_>) -> Result<MaxDelete, SettingError> {
        let set = deletion_limit(fields, "maxDelete")?.unwrap_or_default();
        Ok(self.max_delete.unwrap_or(set))
    }

    fn name(&self, fields: Fields<'_>) -> Result<String, SettingError> {
        let name = fields.text("name")?;
        // Requests select it by this name.
        Ok(name
            .map_or_else(|| format!("Sync{}", self.number), |name| format!("{:#}", Escaped(&name))))
    }

    fn target(&self, fields: Fields<'_>) -> Result<(SyncKind, OsString), SettingError> {
        let kind = match self.base {
            SyncBase::Own => SyncKind::Script,
            SyncBase::Rsync => SyncKind::Rsync,
            SyncBase::Rsyncssh => SyncKind::Rsyncssh,
            SyncBase::Direct => SyncKind::Direct,
        };
        // With the slash that is appended, an empty target would be the root of this or the other
        // machine.
        let text = |name| {
            let text = fields.text(name)?.filter(|text| !text.is_empty());
            text.ok_or_else(|| SettingError::Lua(format!("{name} is empty")))
        };
        let target = match kind {
            SyncKind::Script => {
                let target = fields.text("target").ok().flatten();
                return Ok((kind, OsString::from_vec(target.unwrap_or_default())));
            }
            SyncKind::Rsync | SyncKind::Direct => text("target")?,
            SyncKind::Rsyncssh => [text("host")?, b":".to_vec(), text("targetdir")?].concat(),
        };
        Ok((kind, OsString::from_vec(target)))
    }
}

/// Command of rsync, or the meaning of its options for direct.
struct RsyncInvocation {
    args: RsyncArgs,
    direct: DirectTranslation,
    binary: OsString,
}

impl RsyncInvocation {
    fn read(fields: Fields<'_>, kind: SyncKind) -> Result<Self, SettingError> {
        let (rsync, ssh) = (fields.table("rsync")?, fields.table("ssh")?);
        let ssh = ssh.as_ref().filter(|_| kind == SyncKind::Rsyncssh);
        let rsync = rsync.as_ref().map_or(Fields::EMPTY, |rsync| Fields::new(rsync, "rsync."));
        let args = RsyncArgs::read(rsync, ssh.map(|ssh| Fields::new(ssh, "ssh.")))?;
        let direct = direct(kind, rsync, &args.options)?;
        Ok(Self { args, direct, binary: binary(rsync)? })
    }
}

/// Reads the source as the user wrote it, which the prelude keeps.
fn source_as_given(fields: Fields<'_>, start_dir: &Path) -> Result<PathBuf, SettingError> {
    let text = fields.text("_source")?.unwrap_or_default();
    Ok(config::absolute(start_dir, &OsString::from_vec(text)))
}

/// Reads the source, which the prelude has made canonical with a trailing slash.
fn source(fields: Fields<'_>) -> Result<PathBuf, SettingError> {
    let mut source = fields.text("source")?.unwrap_or_default();
    if source.len() > 1 && source.ends_with(b"/") {
        source.pop();
    }
    Ok(PathBuf::from(OsString::from_vec(source)))
}

fn debounce(fields: Fields<'_>) -> Result<Debounce, SettingError> {
    let max_waiting = fields.at_least_one("maxDelays")?.unwrap_or(DEFAULT_MAX_DELAYS);
    let Some(seconds) = fields.number("delay", 0.0)? else { return Ok(Debounce::DEFAULT) };
    let delay = config::delay_from_secs(seconds);
    Ok(Debounce::FixedDelay { delay, max_waiting })
}

/// Reads the number of concurrent transfers. A direct sync has one, with several threads.
fn max_processes(fields: Fields<'_>, kind: SyncKind) -> Result<usize, SettingError> {
    let most = fields.at_least_one("maxProcesses")?.unwrap_or(1);
    Ok(if kind == SyncKind::Rsync { most } else { 1 })
}

/// Reads a limit of deletions: a share, a number, or `false` for no limit. `None` if it is not set.
fn deletion_limit(fields: Fields<'_>, name: &str) -> Result<Option<MaxDelete>, SettingError> {
    let value = fields.value(name);
    if value.is_nil() {
        return Ok(None);
    }
    let (given, named) = match (value.as_boolean(), text(&value)) {
        (Some(false), _) => (Some(MaxDelete::Unlimited), "false".to_owned()),
        (Some(true), _) => (None, "true".to_owned()),
        (None, Some(text)) if value.is_string() => (MaxDelete::parse(&text), quoted(&text)),
        (None, Some(text)) => (MaxDelete::parse(&text), Escaped(&text).to_string()),
        (None, None) => (None, format!("a {}", value.type_name())),
    };
    match given {
        Some(limit) => Ok(Some(limit)),
        None => Err(SettingError::Lua(guard::invalid_max_delete(name, &named))),
    }
}

fn replaced_source(fields: Fields<'_>) -> Result<ReplacedSource, SettingError> {
    let Some(given) = fields.text("replacedSource")? else { return Ok(ReplacedSource::default()) };
    ReplacedSource::named(&given).ok_or_else(|| {
        let given = quoted(&given);
        SettingError::Lua(format!(
            "replacedSource must be \"wait\", \"accept\" or \"budget\", not {given}"
        ))
    })
}

fn marker(fields: Fields<'_>) -> Result<Option<OsString>, SettingError> {
    let Some(name) = fields.text("marker")? else { return Ok(None) };
    if matches!(&*name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        let name = quoted(&name);
        return Err(SettingError::Lua(format!(
            "marker must be a single name in the source, not {name}"
        )));
    }
    Ok(Some(OsString::from_vec(name)))
}

/// Translates rsync options for direct.
fn direct(
    kind: SyncKind,
    rsync: Fields<'_>,
    options: &RsyncOptions,
) -> Result<DirectTranslation, SettingError> {
    if kind != SyncKind::Direct {
        return Ok(DirectTranslation::default());
    }
    let mut translation = DirectTranslation::translate(options)?;
    for name in ["perms", "owner", "group"] {
        if rsync.value(name) == Value::Boolean(false) {
            translation.switch_off(name);
        }
    }
    Ok(translation)
}

/// Refuses rules that direct cannot evaluate: they would exclude less than the user intends.
fn refuse_undecided(filter: &Filter) -> Result<(), SettingError> {
    let Some(rule) = filter.undecided() else { return Ok(()) };
    Err(SettingError::Lua(format!(
        "default.direct does not support the filter rule {}: use default.rsync, or write its \
         patterns here",
        quoted(&rule)
    )))
}

/// Warns of options without effect in direct. Options that protect files are refused.
fn ignored_option_warnings(ignored: &[IgnoredOption]) -> Result<Vec<String>, SettingError> {
    // A group of short options may be listed several times.
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
        return Err(SettingError::Lua(format!(
            "default.direct does not support {refused}{and}, and files of the target could be lost \
             without it: use default.rsync, or remove it"
        )));
    }
    Ok(idle.into_iter().map(|name| format!("{name} has no effect in default.direct")).collect())
}

/// Returns the name of the table for rsync's exit codes.
const fn exit_codes_key(kind: SyncKind) -> &'static str {
    if matches!(kind, SyncKind::Rsync) { "exitcodes" } else { "rsyncExitCodes" }
}

fn list_form(fields: Fields<'_>) -> Result<ListForm, SettingError> {
    match fields.text("listForm")?.as_deref() {
        None | Some(b"files-from") => Ok(ListForm::FilesFrom),
        Some(b"filter") => Ok(ListForm::Filter),
        Some(other) => {
            let other = quoted(other);
            Err(SettingError::Lua(format!(
                "listForm must be \"files-from\" or \"filter\", not {other}"
            )))
        }
    }
}

/// Reads the deletion policy. Only these values delete: a text such as `"false"` does not.
fn delete(fields: Fields<'_>) -> DeletePolicy {
    let value = fields.value("delete");
    if value.as_boolean() == Some(true) {
        return DeletePolicy::Always;
    }
    match value.as_string().map(LuaString::as_bytes).as_deref() {
        Some(b"startup") => DeletePolicy::Startup,
        Some(b"running") => DeletePolicy::Running,
        _ => DeletePolicy::Never,
    }
}

/// Returns true if a script handles no event at all.
pub(super) fn is_idle(table: &Table) -> bool {
    let fields = Fields::new(table, "");
    let of_events = settings::of(SettingsTable::Sync).filter(|it| {
        it.name.starts_with("on")
            && matches!(it.value_type, ValueType::Function | ValueType::FlagOrFunction)
    });
    !fields.is_on("full") && !of_events.into_iter().any(|it| fields.is_on(it.name))
}

/// Refuses `--remove-source-files` with deletion, which empties both sides: what was sent is
/// removed from the source, and then deleted on the target.
fn refuse_remove_source_files(
    kind: SyncKind,
    delete: DeletePolicy,
    options: &RsyncOptions,
) -> Result<(), SettingError> {
    let args: Vec<&[u8]> = options.extra.iter().chain(&options.long).map(Vec::as_slice).collect();
    let removes = |arg| matches!(arg, RsyncArg::Option { name: b"remove-source-files", .. });
    let is_called = matches!(kind, SyncKind::Rsync | SyncKind::Rsyncssh);
    let deletion =
        |arg| matches!(arg, RsyncArg::Option { name, .. } if name.starts_with(b"delete"));
    let deletes = delete != DeletePolicy::Never || RsyncArgParser::new(&args).any(deletion);
    if !is_called || !deletes || !RsyncArgParser::new(&args).any(removes) {
        return Ok(());
    }
    Err(SettingError::Lua(
        "rsync._extra has --remove-source-files while delete is on: sent files are removed from \
         the source, and then deleted on the target; write delete = false (and no --delete in \
         rsync._extra), or remove it"
            .into(),
    ))
}

fn binary(rsync: Fields<'_>) -> Result<OsString, SettingError> {
    let binary = rsync.text("binary")?.unwrap_or_else(|| b"rsync".to_vec());
    if binary.is_empty() {
        return Err(SettingError::Lua("rsync.binary is empty".into()));
    }
    Ok(OsString::from_vec(binary))
}

fn crontab(fields: Fields<'_>, sync: &str) -> Result<Vec<CronRule>, SettingError> {
    let rules = fields.texts("crontab")?;
    let parsed = rules.iter().zip(1..).map(|(rule, number)| {
        let text = String::from_utf8_lossy(rule);
        text.parse().map_err(|why| {
            let text = Escaped(rule);
            SettingError::Lua(format!(
                "Sync: {sync} - crontab rule {number} is not valid: {why} . Rule: {text}"
            ))
        })
    });
    parsed.collect()
}
