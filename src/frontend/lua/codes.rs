//! What the exit codes of programs mean.

use mirror_core::{
    path::Escaped,
    plan::exit::{ExitCodes, Meaning},
};
use mlua::Value;

use super::{
    error::Fault,
    fields::{Fields, quoted, text},
    host::RSYNC_CODES,
};

/// The user's own table takes the place of the default as a whole.
pub(super) fn exit_codes(fields: Fields<'_>, name: &str) -> Result<ExitCodes, Fault> {
    let Some(table) = fields.table(name)? else { return Ok(ExitCodes::rsync()) };
    let mut given = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (code, class) = pair.map_err(|error| error.to_string())?;
        let (Value::Integer(code), Some(class)) = (&code, text(&class)) else { continue };
        let code = i32::try_from(*code).map_err(|_| format!("{name}: {code} is no exit code"))?;
        given.push((code, class));
    }
    given.sort_unstable();
    let standard = RSYNC_CODES.iter().map(|(code, class)| (*code, class.as_bytes().to_vec()));
    if given.iter().cloned().eq(standard) {
        return Ok(ExitCodes::rsync());
    }
    let meanings = given.iter().map(|(code, class)| {
        let meaning = match &**class {
            b"ok" => Meaning::Ok,
            b"again" => Meaning::Again,
            b"die" => Meaning::Die,
            other => {
                let other = quoted(other);
                return Err(Fault::Lua(format!(
                    "{name}[{code}] must be \"ok\", \"again\" or \"die\", not {other}"
                )));
            }
        };
        Ok((*code, meaning))
    });
    Ok(ExitCodes::from_table(&meanings.collect::<Result<Vec<_>, _>>()?))
}

/// Exit codes that are texts: they mean nothing.
pub(super) fn odd_codes(fields: Fields<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["exitcodes", "rsyncExitCodes", "sshExitCodes"] {
        let Ok(Some(table)) = fields.table(name) else { continue };
        for (key, _) in table.pairs::<Value, Value>().flatten() {
            let Value::String(key) = key else { continue };
            let key = key.as_bytes();
            let is_number = !key.is_empty() && key.iter().all(u8::is_ascii_digit);
            let write = if is_number { format!("[{}]", Escaped(&key)) } else { "[23], say".into() };
            found.push(format!(
                "{name} has the key {}, which is no number and means nothing: write {write}",
                quoted(&key)
            ));
        }
    }
    found.sort_unstable();
    found
}
