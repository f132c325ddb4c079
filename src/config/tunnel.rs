//! What a file says of tunnels.

use std::collections::BTreeSet;

use mirror_core::{
    path::Escaped,
    plan::ssh::split_words,
    tunnel::{Plan, Settings},
};
use mlua::{Table, Value};

use super::fields::{Fields, quoted};
use crate::setup;

/// The tunnels that the prelude has gathered, in their order; else the place of the one that is
/// wrong, and why.
pub(super) fn read(gathered: &Table) -> Result<Vec<Plan>, String> {
    let mut plans = Vec::new();
    let mut names = BTreeSet::new();
    for made in gathered.sequence_values::<Table>() {
        let made = made.map_err(|error| error.to_string())?;
        let place = made.get::<String>("_place").unwrap_or_default();
        let plan = plan(Fields::new(&made, "tunnel.")).map_err(|why| format!("{place}{why}"))?;
        if !names.insert(plan.name.clone()) {
            return Err(format!("{place}there are two tunnels with the name {}", plan.name));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// The tunnel of a sync, one of `plans`.
pub(super) fn of_sync(sync: Fields<'_>, plans: &[Plan]) -> Result<Option<Plan>, String> {
    let Some(made) = sync.table("tunnel")? else { return Ok(None) };
    let number: Option<usize> = made.raw_get("_number").ok();
    let plan = number.and_then(|number| plans.get(number.checked_sub(1)?));
    match plan {
        Some(plan) => Ok(Some(plan.clone())),
        None => Err("tunnel has to be made by tunnel{ .. }".into()),
    }
}

fn plan(fields: Fields<'_>) -> Result<Plan, String> {
    let seconds = |name, usual: f64| -> Result<_, String> {
        Ok(setup::delay(fields.number(name, 0.0)?.unwrap_or(usual)))
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
    Ok(Plan {
        name: Escaped(&name).to_string(),
        command: command(fields)?,
        pool,
        settings: Settings {
            parallel: usize::try_from(parallel).unwrap_or(usize::MAX),
            retry: seconds("retryDelay", 10.0)?,
            ready: seconds("readyDelay", 5.0)?,
        },
        localhost: fields.text("localhost")?.unwrap_or_else(|| b"localhost".to_vec()),
    })
}

fn command(fields: Fields<'_>) -> Result<Vec<Vec<u8>>, String> {
    let words = match fields.value("command") {
        Value::String(text) => split_words(&text.as_bytes())
            .map_err(|quote| format!("command lacks the second {}", char::from(quote)))?,
        _ => fields.texts("command")?,
    };
    if words.first().is_none_or(Vec::is_empty) {
        return Err("a tunnel needs a command".into());
    }
    Ok(words)
}
