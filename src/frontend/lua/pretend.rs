//! A file that is only looked at must not change anything.

use std::{cell::RefCell, rc::Rc};

use mlua::{Lua, Result, Value, Variadic};

/// What the file wanted to do, and was not let.
#[derive(Clone, Default)]
pub(super) struct Noted(Rc<RefCell<Vec<String>>>);

impl Noted {
    pub(super) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    fn note(&self, what: &str, argument: Option<&Value>) {
        let argument = argument.and_then(|value| value.to_string().ok()).unwrap_or_default();
        self.0.borrow_mut().push(format!("not carried out for a check: {what}(\"{argument}\")"));
    }
}

/// Puts harmless functions in the place of those that run programs for their effects, or change
/// files. Reading goes on, also from programs: files are made of what they find.
pub(super) fn install(lua: &Lua) -> Result<Noted> {
    let noted = Noted::default();
    let note = {
        let noted = noted.clone();
        lua.create_function(move |_, (what, arguments): (String, Variadic<Value>)| {
            noted.note(&what, arguments.first());
            Ok(())
        })?
    };
    lua.load(include_str!("pretend.lua")).set_name("=pretend").call::<()>(note)?;
    Ok(noted)
}
