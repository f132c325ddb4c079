//! What a file says of tunnels.

use std::collections::BTreeSet;

use mirror_core::{
    path::Escaped,
    plan::ssh::split_words,
    tunnel::{Plan, Settings},
};
use mlua::{Table, Value};

use super::{
    error::key_of,
    fields::{Fields, quoted},
    host::Host,
};
use crate::config;

/// The tunnels that the prelude has gathered, in their order, and what is wrong with them. Each has
/// a plan, so that its number is right for the syncs.
pub(super) fn read(gathered: &Table, host: &Host) -> (Vec<Plan>, Vec<String>) {
    let (mut plans, mut wrong) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for made in gathered.sequence_values::<Table>().flatten() {
        let place = made.get::<String>("_place").unwrap_or_default();
        let plan = plan(Fields::new(&made, "tunnel.")).and_then(|plan| {
            if names.insert(plan.name.clone()) {
                Ok(plan)
            } else {
                Err(format!("name {} is that of another tunnel, too", quoted(plan.name.as_bytes())))
            }
        });
        plans.push(plan.unwrap_or_else(|why| {
            let key = key_of(&why).map(|key| key.trim_start_matches("tunnel."));
            let place = key.map_or(place.clone(), |key| host.place_of_key(&place, key));
            wrong.push(format!("{place}{why}"));
            useless()
        }));
    }
    (plans, wrong)
}

/// In the place of a tunnel with which nothing is run.
fn useless() -> Plan {
    let settings = Settings { parallel: 1, retry: config::delay(0.0), ready: config::delay(0.0) };
    Plan { name: String::new(), command: Vec::new(), pool: false, settings, localhost: Vec::new() }
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
        Ok(config::delay(fields.number(name, 0.0)?.unwrap_or(usual)))
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
