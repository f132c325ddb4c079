//! Reader of `tunnel{}`.

use std::collections::BTreeSet;

use mirror_core::{
    path::Escaped,
    plan::ssh::split_words,
    tunnel::{TunnelSettings, TunnelSpec},
};
use mlua::{Table, Value};

use super::{
    error::message_key,
    fields::{Fields, quoted},
    host::PreludeHost,
};
use crate::config;

/// Reads the tunnels that the prelude has collected, in their order, and returns the errors. Each
/// declaration yields a plan, so that the numbers in the syncs stay right.
pub(super) fn read(declared: &Table, host: &PreludeHost) -> (Vec<TunnelSpec>, Vec<String>) {
    let (mut plans, mut errors) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for entry in declared.sequence_values::<Table>().flatten() {
        let position = entry.get::<String>("_place").unwrap_or_default();
        let plan = plan(Fields::new(&entry, "tunnel.")).and_then(|plan| {
            if names.insert(plan.name.clone()) {
                Ok(plan)
            } else {
                Err(format!(
                    "name {} is already used by another tunnel",
                    quoted(plan.name.as_bytes())
                ))
            }
        });
        plans.push(plan.unwrap_or_else(|why| {
            let key = message_key(&why).map(|key| key.trim_start_matches("tunnel."));
            let position = key.map_or(position.clone(), |key| host.key_position(&position, key));
            errors.push(format!("{position}{why}"));
            placeholder()
        }));
    }
    (plans, errors)
}

/// Returns a placeholder for an invalid tunnel. It is never run.
fn placeholder() -> TunnelSpec {
    let settings = TunnelSettings {
        parallel: 1,
        retry: config::delay_from_secs(0.0),
        ready: config::delay_from_secs(0.0),
    };
    TunnelSpec {
        name: String::new(),
        command: Vec::new(),
        pool: false,
        settings,
        localhost: Vec::new(),
    }
}

/// Returns the tunnel of a sync, which is one of `plans`.
pub(super) fn for_sync(
    sync: Fields<'_>,
    plans: &[TunnelSpec],
) -> Result<Option<TunnelSpec>, String> {
    let Some(entry) = sync.table("tunnel")? else { return Ok(None) };
    let number: Option<usize> = entry.raw_get("_number").ok();
    let plan = number.and_then(|number| plans.get(number.checked_sub(1)?));
    match plan {
        Some(plan) => Ok(Some(plan.clone())),
        None => Err("tunnel must be created by tunnel{ .. }".into()),
    }
}

fn plan(fields: Fields<'_>) -> Result<TunnelSpec, String> {
    let seconds = |name, default: f64| -> Result<_, String> {
        Ok(config::delay_from_secs(fields.number(name, 0.0)?.unwrap_or(default)))
    };
    let pool = match fields.text("mode")?.as_deref() {
        None | Some(b"command") => false,
        Some(b"pool") => true,
        Some(other) => {
            return Err(format!("mode must be \"command\" or \"pool\", not {}", quoted(other)));
        }
    };
    if let Some(other) = fields.text("distribution")?.filter(|it| it != b"rr") {
        return Err(format!("distribution must be \"rr\", not {}", quoted(&other)));
    }
    let name = fields.text("name")?.unwrap_or_default();
    let parallel = fields.whole("parallel", 1)?.unwrap_or(1);
    Ok(TunnelSpec {
        name: Escaped(&name).to_string(),
        command: command(fields)?,
        pool,
        settings: TunnelSettings {
            parallel: usize::try_from(parallel).unwrap_or(usize::MAX),
            retry: seconds("retryDelay", 10.0)?,
            ready: seconds("readyDelay", 5.0)?,
        },
        localhost: fields.text("localhost")?.unwrap_or_else(|| b"localhost".to_vec()),
    })
}

fn command(fields: Fields<'_>) -> Result<Vec<Vec<u8>>, String> {
    let args = if let Value::String(text) = fields.value("command") {
        split_words(&text.as_bytes())
            .map_err(|quote| format!("command lacks the closing {}", char::from(quote)))?
    } else {
        fields.texts("command")?
    };
    if args.first().is_none_or(Vec::is_empty) {
        return Err("a tunnel needs a command".into());
    }
    Ok(args)
}
