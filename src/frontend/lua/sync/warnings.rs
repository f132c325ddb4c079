//! Warnings about doubtful values of a sync.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use mirror_core::{
    path::Escaped,
    settings::{self, SettingsTable, SyncBase, ValueType},
};
use mlua::Value;

use super::super::{
    error::SettingError,
    exit_codes::exit_code_warnings,
    fields::{Fields, quoted, text, type_name},
};
use crate::config::{SyncConfig, SyncKind};

/// Returns warnings about doubtful values of a sync. `ours` is empty for a script of its own, which
/// may use these names in any way.
pub(super) fn doubtful_values(
    sync: &SyncConfig,
    base: SyncBase,
    fields: Fields<'_>,
    ours: Fields<'_>,
) -> Result<Vec<String>, SettingError> {
    let warnings = delete_warning(ours).into_iter().chain(binary_warning(sync, ours));
    let warnings = warnings.chain(switch_warnings(fields, base)?).chain(exit_code_warnings(ours));
    Ok(warnings.chain(function_warnings(fields)).collect())
}

/// Warns of unknown values of `delete`: a text such as `"false"` only happens to have the intended
/// effect.
fn delete_warning(fields: Fields<'_>) -> Option<String> {
    let value = fields.value("delete");
    if value.is_nil() || value.is_boolean() {
        return None;
    }
    let named = match text(&value) {
        Some(number) if !value.is_string() => Escaped(&number).to_string(),
        Some(text) if matches!(&*text, b"startup" | b"running") => return None,
        Some(text) => quoted(&text),
        None => format!("a {}", value.type_name()),
    };
    Some(format!(
        "delete = {named} deletes nothing, as any value except true, \"startup\" and \"running\": \
         write delete = false or delete = true"
    ))
}

/// Warns of other values in place of a function. Commands have become functions by now.
fn function_warnings(fields: Fields<'_>) -> impl Iterator<Item = String> {
    let functions =
        settings::of(SettingsTable::Sync).filter(|it| it.value_type == ValueType::Function);
    functions.filter_map(move |it| {
        let name = it.name;
        let value = fields.value(name);
        let is_valid = matches!(value, Value::Nil | Value::Function(_) | Value::Boolean(false));
        let given = type_name(&value);
        (!is_valid).then(|| {
            format!("{name} must be a function, not a {given}: it fails when it is called")
        })
    })
}

/// Warns of switches with a value that looks like off and counts as on.
fn switch_warnings(fields: Fields<'_>, base: SyncBase) -> Result<Vec<String>, SettingError> {
    let switches = |table| {
        settings::of(table).filter(move |it| {
            it.is_for(base) && matches!(it.value_type, ValueType::Flag | ValueType::FlagOrFunction)
        })
    };
    let mut found: Vec<_> =
        switches(SettingsTable::Sync).filter_map(|it| fields.switch_warning(it.name)).collect();
    if base != SyncBase::Own
        && let Some(rsync) = fields.table("rsync")?
    {
        let rsync = Fields::new(&rsync, "rsync.");
        let of_rsync =
            settings::of(SettingsTable::Rsync).filter(|it| it.value_type == ValueType::Flag);
        found.extend(of_rsync.filter_map(|it| rsync.switch_warning(it.name)));
    }
    Ok(found)
}

/// Warns of a replacement for rsync that is never run, or that may expect the original's arguments.
fn binary_warning(sync: &SyncConfig, fields: Fields<'_>) -> Option<String> {
    let (binary, kind) = (&*sync.binary, sync.kind);
    let is_rsync = Path::new(binary).file_name() == Some(OsStr::new("rsync"));
    if kind == SyncKind::Direct && !is_rsync {
        return Some("rsync.binary has no effect in default.direct".into());
    }
    let calls_it = matches!(kind, SyncKind::Rsync | SyncKind::Rsyncssh);
    (calls_it && !is_rsync && fields.value("listForm").is_nil()).then(|| {
        let binary = Escaped(binary.as_bytes());
        format!(
            "rsync.binary is {binary}: it gets the paths of a batch by --files-from; if it expects \
             filter rules, as from 2.x, write listForm = \"filter\", else listForm = \
             \"files-from\""
        )
    })
}
