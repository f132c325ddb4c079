//! Dry loading: a file that is only checked must not change anything.

use std::{cell::RefCell, rc::Rc};

use mlua::{Lua, Result, Value, Variadic};

/// Side effects that the file attempted and that were suppressed.
#[derive(Clone, Default)]
pub(super) struct SkippedEffects(Rc<RefCell<Vec<String>>>);

impl SkippedEffects {
    pub(super) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    fn record(&self, function: &str, argument: Option<&Value>) {
        let argument = argument.and_then(|value| value.to_string().ok()).unwrap_or_default();
        self.0.borrow_mut().push(format!("not executed by -check: {function}(\"{argument}\")"));
    }
}

/// Replaces functions that run programs for their effects or change files by harmless ones. Reading
/// still works, also from programs, as configurations are built from it.
pub(super) fn install(lua: &Lua) -> Result<SkippedEffects> {
    let skipped = SkippedEffects::default();
    let note = {
        let skipped = skipped.clone();
        lua.create_function(move |_, (function, arguments): (String, Variadic<Value>)| {
            skipped.record(&function, arguments.first());
            Ok(())
        })?
    };
    lua.load(include_str!("dry_load.lua")).set_name("=dry_load").call::<()>(note)?;
    Ok(skipped)
}
