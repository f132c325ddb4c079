//! What looks wrong with tunnels, and how they are described.

use std::os::unix::ffi::OsStrExt;

use mirror_core::{path::Escaped, tunnel::Plan};

use super::words;
use crate::config::{Setup, Sync};

/// How a file may spell what is replaced, and did in an example of old, without effect.
const NOT_REPLACED: [&[u8]; 2] = [b"${localport}", b"${localhost}"];

/// The name of a port in texts.
const PORT: &[u8] = b"^localport";

/// All that looks wrong.
pub(super) fn odd(setup: &Setup) -> Vec<String> {
    let mut found: Vec<String> = setup.syncs.iter().flat_map(odd_sync).collect();
    for plan in &setup.tunnels {
        let has = |name: &[u8]| plan.command.iter().any(|word| contains(word, name));
        found.extend(spelled(&has).map(|text| format!("tunnel {}: {text}", plan.name)));
        if plan.pool && !has(PORT) {
            let text = "a pool whose command has no ^localport: all of its programs are the same";
            found.push(format!("tunnel {}: {text}", plan.name));
        }
        if !setup.syncs.iter().any(|sync| sync.tunnel.as_ref() == Some(plan)) {
            found.push(format!("tunnel {}: no sync uses it", plan.name));
        }
    }
    found
}

fn odd_sync(sync: &Sync) -> Vec<String> {
    let words = || sync.rsync.extra.iter().chain(&sync.rsync.long);
    let has = |name: &[u8]| {
        contains(sync.target.as_bytes(), name) || words().any(|word| contains(word, name))
    };
    let is_pool = sync.tunnel.as_ref().is_some_and(|plan| plan.pool);
    let port = (has(PORT) && !is_pool)
        .then(|| "^localport stands for nothing without a tunnel of the mode \"pool\"".into());
    spelled(&has).chain(port).map(|text| format!("{}: {text}", sync.name)).collect()
}

fn spelled(has: &dyn Fn(&[u8]) -> bool) -> impl Iterator<Item = String> {
    let found: Vec<_> = NOT_REPLACED.into_iter().filter(|name| has(name)).collect();
    found.into_iter().map(|name| {
        let name = String::from_utf8_lossy(name);
        format!("{name} is not replaced: write ^{}", name.trim_matches(['$', '{', '}']))
    })
}

fn contains(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|part| part == name)
}

/// A tunnel in a line.
pub(super) fn described(plan: &Plan) -> String {
    let number = match plan.settings.parallel {
        1 => String::new(),
        many => format!("{many} of "),
    };
    let command = words::line(plan.command.iter().map(Vec::as_slice));
    format!("{}, {number}{command}", Escaped(plan.name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use mirror_core::tunnel::Settings;

    use super::*;
    use crate::{check::odd::tests::sync, config::Daemon};

    #[test]
    fn what_stands_for_nothing_is_told() {
        let second = Duration::from_secs(1);
        let plan = |command: &str, pool| Plan {
            name: "T".into(),
            command: command.split(' ').map(|word| word.as_bytes().to_vec()).collect(),
            pool,
            settings: Settings { parallel: 2, retry: second, ready: second },
            localhost: b"localhost".to_vec(),
        };
        let check = |target: &str, tunnel: Option<Plan>, expected: &[&str]| {
            let sync =
                Sync { tunnel: tunnel.clone(), ..sync(1, Path::new("/nonexistent"), target) };
            let tunnels = tunnel.into_iter().collect();
            let setup = Setup { daemon: Daemon::default(), syncs: vec![sync], tunnels };
            assert_eq!(odd(&setup), expected, "{target}");
        };
        check("h::m/", None, &[]);
        check("rsync://^localhost:^localport/m/", Some(plan("ssh ^localport", true)), &[]);
        let nothing = "Sync1: ^localport stands for nothing without a tunnel of the mode \"pool\"";
        check("rsync://h:^localport/m/", Some(plan("ssh", false)), &[nothing]);
        check("rsync://h:^localport/m/", None, &[nothing]);
        let spelled = "Sync1: ${localport} is not replaced: write ^localport";
        let same =
            "tunnel T: a pool whose command has no ^localport: all of its programs are the same";
        check("rsync://h:${localport}/m/", Some(plan("ssh", true)), &[spelled, same]);
        assert_eq!(described(&plan("ssh -N", true)), "T, 2 of ssh -N");
    }
}
