//! What a sync does when a batch is on the target.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use mirror_core::job::AfterHook;
use mlua::Value;

use super::{
    error::Fault,
    fields::{Fields, quoted},
};
use crate::config::{Hook, HookCall};

/// The hook of the sync of this number, if there is one. A text is for a shell, a list is a program
/// with its words.
pub(super) fn read(fields: Fields<'_>, number: usize) -> Result<Option<Hook>, Fault> {
    let on_failure = match fields.text("onSyncedFailure")?.as_deref() {
        None | Some(b"warn") => None,
        Some(b"retry") => Some(AfterHook::Retry),
        Some(b"hold") => Some(AfterHook::Hold),
        Some(other) => {
            let other = quoted(other);
            let why =
                format!("onSyncedFailure must be \"warn\", \"retry\" or \"hold\", not {other}");
            return Err(Fault::Lua(why));
        }
    };
    if let Value::Function(_) = fields.value("onSynced") {
        return Ok(Some(Hook { call: HookCall::Function(number), on_failure }));
    }
    let mut words: Vec<OsString> =
        fields.texts("onSynced")?.into_iter().map(OsString::from_vec).collect();
    if let Value::String(_) = fields.value("onSynced") {
        words.splice(..0, ["sh".into(), "-c".into()]);
    }
    let mut words = words.into_iter();
    let Some(program) = words.next() else { return Ok(None) };
    Ok(Some(Hook { call: HookCall::Program(program, words.collect()), on_failure }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::{Lua, Table};

    fn hook(text: &str) -> Result<Option<Hook>, Fault> {
        let lua = Lua::new();
        let table: Table = lua.load(format!("return {{ {text} }}")).eval().unwrap();
        read(Fields::new(&table, ""), 3)
    }

    #[test]
    fn it_is_a_command_for_a_shell_or_a_program_with_its_words() {
        for (text, words, on_failure) in [
            ("onSynced = 'a | b'", &["sh", "-c", "a | b"][..], None),
            ("onSynced = { 'x', 'y z' }, onSyncedFailure = 'warn'", &["x", "y z"], None),
            ("onSynced = {'x'}, onSyncedFailure = 'retry'", &["x"], Some(AfterHook::Retry)),
            ("onSynced = {'x'}, onSyncedFailure = 'hold'", &["x"], Some(AfterHook::Hold)),
        ] {
            let mut words = words.iter().map(OsString::from);
            let program = words.next().unwrap();
            let call = HookCall::Program(program, words.collect());
            let wanted = Hook { call, on_failure };
            assert_eq!(hook(text), Ok(Some(wanted)), "{text}");
        }
        let wanted = Hook { call: HookCall::Function(3), on_failure: None };
        assert_eq!(hook("onSynced = function() end"), Ok(Some(wanted)));
        assert_eq!(hook(""), Ok(None));
        let why = "onSyncedFailure must be \"warn\", \"retry\" or \"hold\", not \"x\"";
        assert_eq!(hook("onSyncedFailure = 'x'"), Err(Fault::Lua(why.into())));
    }
}
