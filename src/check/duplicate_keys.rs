//! Lint for keys that are written twice in one table.

use std::{fs, path::Path};

use mirror_core::{path::Escaped, settings::lua_keys};

use super::shown;

/// Returns the warnings about a file. An unreadable file has none.
pub(super) fn warnings(file: &Path) -> Vec<String> {
    let text = fs::read(file).unwrap_or_default();
    let found = lua_keys::duplicate_keys(&text).into_iter().map(|duplicate| {
        let lua_keys::DuplicateKey { key, first, again } = duplicate;
        let (file, key) = (shown(file), Escaped(key.as_bytes()));
        format!(
            "{file}:{again}: duplicate key {key}, first set in line {first}: the last one takes \
             effect"
        )
    });
    found.collect()
}
