//! Reader of `onSynced` and `onSyncedFailure`.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use mirror_core::job::HookFailureAction;
use mlua::Value;

use super::{
    error::SettingError,
    fields::{Fields, quoted},
};
use crate::config::{Hook, HookCall};

/// Returns the hook of the sync with this number. A text is a command for a shell, a list is a
/// program with its arguments.
pub(super) fn read(fields: Fields<'_>, number: usize) -> Result<Option<Hook>, SettingError> {
    let on_failure = match fields.text("onSyncedFailure")?.as_deref() {
        None | Some(b"warn") => None,
        Some(b"retry") => Some(HookFailureAction::Retry),
        Some(b"hold") => Some(HookFailureAction::Hold),
        Some(other) => {
            let other = quoted(other);
            let why =
                format!("onSyncedFailure must be \"warn\", \"retry\" or \"hold\", not {other}");
            return Err(SettingError::Lua(why));
        }
    };
    if let Value::Function(_) = fields.value("onSynced") {
        return Ok(Some(Hook { call: HookCall::Function(number), on_failure }));
    }
    let mut args: Vec<OsString> =
        fields.texts("onSynced")?.into_iter().map(OsString::from_vec).collect();
    if let Value::String(_) = fields.value("onSynced") {
        args.splice(..0, ["sh".into(), "-c".into()]);
    }
    let mut args = args.into_iter();
    let Some(program) = args.next() else { return Ok(None) };
    Ok(Some(Hook { call: HookCall::Program(program, args.collect()), on_failure }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::{Lua, Table};

    fn hook(text: &str) -> Result<Option<Hook>, SettingError> {
        let lua = Lua::new();
        let table: Table = lua.load(format!("return {{ {text} }}")).eval().unwrap();
        read(Fields::new(&table, ""), 3)
    }

    #[test]
    fn hook_is_a_shell_command_or_a_program() {
        for (text, args, on_failure) in [
            ("onSynced = 'a | b'", &["sh", "-c", "a | b"][..], None),
            ("onSynced = { 'x', 'y z' }, onSyncedFailure = 'warn'", &["x", "y z"], None),
            ("onSynced = {'x'}, onSyncedFailure = 'retry'", &["x"], Some(HookFailureAction::Retry)),
            ("onSynced = {'x'}, onSyncedFailure = 'hold'", &["x"], Some(HookFailureAction::Hold)),
        ] {
            let mut args = args.iter().map(OsString::from);
            let program = args.next().unwrap();
            let call = HookCall::Program(program, args.collect());
            let wanted = Hook { call, on_failure };
            assert_eq!(hook(text), Ok(Some(wanted)), "{text}");
        }
        let wanted = Hook { call: HookCall::Function(3), on_failure: None };
        assert_eq!(hook("onSynced = function() end"), Ok(Some(wanted)));
        assert_eq!(hook(""), Ok(None));
        let why = "onSyncedFailure must be \"warn\", \"retry\" or \"hold\", not \"x\"";
        assert_eq!(hook("onSyncedFailure = 'x'"), Err(SettingError::Lua(why.into())));
    }
}
