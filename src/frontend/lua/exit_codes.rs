//! Exit codes of rsync and ssh.

use mirror_core::{
    path::Escaped,
    plan::exit::{ExitCodes, ExitMeaning},
};
use mlua::Value;

use super::{
    error::SettingError,
    fields::{Fields, quoted, text},
    host::RSYNC_CODES,
};

/// Reads a table of exit codes. A table of the user replaces the default as a whole.
pub(super) fn exit_codes(fields: Fields<'_>, name: &str) -> Result<ExitCodes, SettingError> {
    let Some(table) = fields.table(name)? else { return Ok(ExitCodes::rsync()) };
    let mut given = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (code, class) = pair.map_err(|error| error.to_string())?;
        let (Value::Integer(code), Some(class)) = (&code, text(&class)) else { continue };
        let code =
            i32::try_from(*code).map_err(|_| format!("{name}: {code} is not an exit code"))?;
        given.push((code, class));
    }
    given.sort_unstable();
    let default = RSYNC_CODES.iter().map(|(code, class)| (*code, class.as_bytes().to_vec()));
    if given.iter().cloned().eq(default) {
        return Ok(ExitCodes::rsync());
    }
    let meanings = given.iter().map(|(code, class)| {
        let meaning = match &**class {
            b"ok" => ExitMeaning::Ok,
            b"again" => ExitMeaning::Again,
            b"die" => ExitMeaning::Die,
            other => {
                let other = quoted(other);
                return Err(SettingError::Lua(format!(
                    "{name}[{code}] must be \"ok\", \"again\" or \"die\", not {other}"
                )));
            }
        };
        Ok((*code, meaning))
    });
    Ok(ExitCodes::from_table(&meanings.collect::<Result<Vec<_>, _>>()?))
}

/// Warns of keys that are texts: they have no effect.
pub(super) fn exit_code_warnings(fields: Fields<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in ["exitcodes", "rsyncExitCodes", "sshExitCodes"] {
        let Ok(Some(table)) = fields.table(name) else { continue };
        for (key, _) in table.pairs::<Value, Value>().flatten() {
            let Value::String(key) = key else { continue };
            let key = key.as_bytes();
            let is_number = !key.is_empty() && key.iter().all(u8::is_ascii_digit);
            let write = if is_number { format!("[{}]", Escaped(&key)) } else { "[23], say".into() };
            warnings.push(format!(
                "{name} has the key {}, which is not a number and has no effect: write {write}",
                quoted(&key)
            ));
        }
    }
    warnings.sort_unstable();
    warnings
}
