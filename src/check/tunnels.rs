//! Lints for tunnels, and their description.

use std::os::unix::ffi::OsStrExt;

use mirror_core::{path::Escaped, tunnel::TunnelSpec};

use super::shell_line;
use crate::config::{Config, SyncConfig};

/// Wrong spellings of placeholders. An old example of the original used them, without effect.
const NOT_REPLACED: [&[u8]; 2] = [b"${localport}", b"${localhost}"];

/// Placeholder of the port.
const PORT: &[u8] = b"^localport";

/// Returns the warnings about tunnels and their use.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut found: Vec<String> = config.syncs.iter().flat_map(sync_warnings).collect();
    for plan in &config.tunnels {
        let has = |name: &[u8]| plan.command.iter().any(|arg| contains(arg, name));
        found.extend(misspelled(&has).map(|text| format!("tunnel {}: {text}", plan.name)));
        if plan.pool && !has(PORT) {
            let text = "the command of a pool lacks ^localport: all of its programs are identical";
            found.push(format!("tunnel {}: {text}", plan.name));
        }
        if !config.syncs.iter().any(|sync| sync.tunnel.as_ref() == Some(plan)) {
            found.push(format!("tunnel {}: no sync uses it", plan.name));
        }
    }
    found
}

fn sync_warnings(sync: &SyncConfig) -> Vec<String> {
    let args = || sync.rsync.extra.iter().chain(&sync.rsync.long);
    let has = |name: &[u8]| {
        contains(sync.target.as_bytes(), name) || args().any(|arg| contains(arg, name))
    };
    let is_pool = sync.tunnel.as_ref().is_some_and(|plan| plan.pool);
    let port = (has(PORT) && !is_pool)
        .then(|| "^localport has no value without a tunnel of mode \"pool\"".into());
    misspelled(&has).chain(port).map(|text| format!("{}: {text}", sync.name)).collect()
}

fn misspelled(has: &dyn Fn(&[u8]) -> bool) -> impl Iterator<Item = String> {
    let found: Vec<_> = NOT_REPLACED.into_iter().filter(|name| has(name)).collect();
    found.into_iter().map(|name| {
        let name = String::from_utf8_lossy(name);
        format!("{name} is not replaced: write ^{}", name.trim_matches(['$', '{', '}']))
    })
}

fn contains(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|part| part == name)
}

/// Describes a tunnel in one line.
pub(super) fn description(plan: &TunnelSpec) -> String {
    let number = match plan.settings.parallel {
        1 => String::new(),
        many => format!("{many} of "),
    };
    let command = shell_line::join_quoted(plan.command.iter().map(Vec::as_slice));
    format!("{}, {number}{command}", Escaped(plan.name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use mirror_core::tunnel::TunnelSettings;

    use super::*;
    use crate::{check::lints::tests::sync, config::DaemonConfig};

    #[test]
    fn placeholders_without_effect_cause_warnings() {
        let second = Duration::from_secs(1);
        let plan = |command: &str, pool| TunnelSpec {
            name: "T".into(),
            command: command.split(' ').map(|arg| arg.as_bytes().to_vec()).collect(),
            pool,
            settings: TunnelSettings { parallel: 2, retry: second, ready: second },
            localhost: b"localhost".to_vec(),
        };
        let check = |target: &str, tunnel: Option<TunnelSpec>, expected: &[&str]| {
            let sync =
                SyncConfig { tunnel: tunnel.clone(), ..sync(1, Path::new("/nonexistent"), target) };
            let tunnels = tunnel.into_iter().collect();
            let config = Config { daemon: DaemonConfig::default(), syncs: vec![sync], tunnels };
            assert_eq!(warnings(&config), expected, "{target}");
        };
        check("h::m/", None, &[]);
        check("rsync://^localhost:^localport/m/", Some(plan("ssh ^localport", true)), &[]);
        let nothing = "Sync1: ^localport has no value without a tunnel of mode \"pool\"";
        check("rsync://h:^localport/m/", Some(plan("ssh", false)), &[nothing]);
        check("rsync://h:^localport/m/", None, &[nothing]);
        let misspelled = "Sync1: ${localport} is not replaced: write ^localport";
        let same =
            "tunnel T: the command of a pool lacks ^localport: all of its programs are identical";
        check("rsync://h:${localport}/m/", Some(plan("ssh", true)), &[misspelled, same]);
        assert_eq!(description(&plan("ssh -N", true)), "T, 2 of ssh -N");
    }
}
