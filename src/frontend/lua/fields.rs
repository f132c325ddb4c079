//! A table of Lua as typed values.
//!
//! What the original lets pass is taken: numbers as texts, texts as numbers, anything for a switch.

use mirror_core::path::Escaped;
use mlua::{Table, Value};

/// The values of a table, by their names.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    table: Option<&'a Table>,
    /// What stands in front of a name in messages: `rsync.`
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// Of a table that is not there.
    pub(super) const EMPTY: Self = Self { table: None, path: "" };

    pub(super) const fn new(table: &'a Table, path: &'a str) -> Self {
        Self { table: Some(table), path }
    }

    /// The value of this name, `nil` if there is none.
    pub(super) fn value(self, name: &str) -> Value {
        // It fails only if there is no memory for the name.
        self.table.and_then(|table| table.raw_get(name).ok()).unwrap_or(Value::Nil)
    }

    /// Whether a switch is on: anything but `nil` and `false` is true for Lua.
    pub(super) fn is_on(self, name: &str) -> bool {
        !matches!(self.value(name), Value::Nil | Value::Boolean(false))
    }

    /// A warning for a switch that is on though its value looks like off.
    pub(super) fn odd_switch(self, name: &str) -> Option<String> {
        let named = match self.value(name) {
            Value::Integer(0) | Value::Number(0.0) => "0".into(),
            Value::String(text) => {
                let word = text.to_string_lossy().trim().to_ascii_lowercase();
                let is_off = matches!(&*word, "" | "0" | "false" | "no" | "off" | "nil" | "none");
                is_off.then(|| quoted(&text.as_bytes()))?
            }
            _ => return None,
        };
        let name = [self.path, name].concat();
        Some(format!(
            "{name} = {named} is on, as all but false and nil: write {name} = false or {name} = true"
        ))
    }

    /// A text, or a number as it is written. `false` is nothing.
    pub(super) fn text(self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self.value(name) {
            Value::Nil | Value::Boolean(false) => Ok(None),
            value => text(&value).map(Some).ok_or_else(|| self.wrong(name, "a text", &value)),
        }
    }

    /// A number that is not less than `least`.
    pub(super) fn number(self, name: &str, least: f64) -> Result<Option<f64>, String> {
        let value = self.value(name);
        let number = match &value {
            Value::Nil | Value::Boolean(false) => return Ok(None),
            #[expect(clippy::cast_precision_loss, reason = "nobody means such numbers exactly")]
            Value::Integer(number) => Some(*number as f64),
            Value::Number(number) => Some(*number),
            Value::String(text) => text.to_string_lossy().trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| *number >= least) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{}{name} must be a number and >= {least}", self.path)),
        }
    }

    /// A whole number that is not less than `least`.
    pub(super) fn whole(self, name: &str, least: u32) -> Result<Option<u64>, String> {
        let Some(number) = self.number(name, f64::from(least))? else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and what is too large becomes the largest"
        )]
        Ok(Some(number as u64))
    }

    /// A whole number; what is less than one counts as one, as in the original.
    pub(super) fn at_least_one(self, name: &str) -> Result<Option<usize>, String> {
        let number = self
            .number(name, f64::NEG_INFINITY)
            .map_err(|_| format!("{}{name} must be a number", self.path))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and what is too large becomes the largest"
        )]
        Ok(number.map(|number| number.max(1.0) as usize))
    }

    /// A list of texts; a text alone is a list of one.
    pub(super) fn texts(self, name: &str) -> Result<Vec<Vec<u8>>, String> {
        match self.value(name) {
            Value::Nil | Value::Boolean(false) => Ok(Vec::new()),
            Value::Table(list) => self.list(name, &list),
            Value::String(text) => Ok(vec![text.as_bytes().to_vec()]),
            _ => Err(format!("type for {}{name} must be table or string", self.path)),
        }
    }

    fn list(self, name: &str, list: &Table) -> Result<Vec<Vec<u8>>, String> {
        let items = list.sequence_values::<Value>().map(|item| {
            let item = item.unwrap_or(Value::Nil);
            text(&item).ok_or_else(|| {
                format!("{}{name} must be a list of texts, not of a {}", self.path, kind(&item))
            })
        });
        items.collect()
    }

    /// The table of this name.
    pub(super) fn table(self, name: &str) -> Result<Option<Table>, String> {
        match self.value(name) {
            Value::Nil | Value::Boolean(false) => Ok(None),
            Value::Table(table) => Ok(Some(table)),
            value => Err(self.wrong(name, "a table", &value)),
        }
    }

    fn wrong(self, name: &str, wanted: &str, value: &Value) -> String {
        format!("{}{name} must be {wanted}, not a {}", self.path, kind(value))
    }
}

/// What Lua calls the type of a value.
pub(super) fn kind(value: &Value) -> &'static str {
    if matches!(value, Value::Integer(_)) { "number" } else { value.type_name() }
}

/// A text, or a number as a program reads it: without the `.0` that Lua puts behind a whole one.
pub(super) fn text(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        _ => return None,
    })
}

/// A text for people, in quotes.
pub(super) fn quoted(text: &[u8]) -> String {
    format!("\"{}\"", Escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::Lua;

    fn with(chunk: &str, check: impl FnOnce(Fields<'_>)) {
        let lua = Lua::new();
        let table: Table = lua.load(format!("return {{ {chunk} }}")).eval().unwrap();
        check(Fields::new(&table, "rsync."));
    }

    #[test]
    fn a_number_is_a_text_as_a_program_reads_it() {
        with("a = 5, b = 10/2, c = 1.5, d = 'x', e = false, f = '', g = 1e15", |fields| {
            for (name, text) in [
                ("a", "5"),
                ("b", "5"),
                ("c", "1.5"),
                ("d", "x"),
                ("f", ""),
                ("g", "1000000000000000"),
            ] {
                assert_eq!(fields.text(name), Ok(Some(text.into())), "{name}");
            }
            assert_eq!(fields.text("e"), Ok(None));
            assert_eq!(fields.text("nope"), Ok(None));
        });
    }

    #[test]
    fn a_limit_below_one_is_one() {
        with("a = 0, b = 0.5, c = -3, d = '0', e = 2.9, f = 'x', g = 1e300, h = {}", |fields| {
            for (name, limit) in
                [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 2), ("g", usize::MAX)]
            {
                assert_eq!(fields.at_least_one(name), Ok(Some(limit)), "{name}");
            }
            assert_eq!(fields.at_least_one("nope"), Ok(None));
            for name in ["f", "h"] {
                let why = format!("rsync.{name} must be a number");
                assert_eq!(fields.at_least_one(name), Err(why));
            }
        });
    }

    #[test]
    fn a_text_is_a_number_if_it_spells_one() {
        with("a = '10', b = ' 0.5 ', c = 'x', d = -1, e = {}, f = 0", |fields| {
            assert_eq!(fields.number("a", 0.0), Ok(Some(10.0)));
            assert_eq!(fields.number("b", 0.0), Ok(Some(0.5)));
            assert_eq!(fields.whole("f", 0), Ok(Some(0)));
            for name in ["c", "d", "e"] {
                let why = format!("rsync.{name} must be a number and >= 0");
                assert_eq!(fields.number(name, 0.0), Err(why));
            }
            assert_eq!(fields.whole("f", 1), Err("rsync.f must be a number and >= 1".into()));
        });
    }

    #[test]
    fn a_list_is_a_list_of_texts() {
        with("a = {'x', 2}, b = 'x', c = {{}}, d = true, e = {'x', nil, 'y'}", |fields| {
            assert_eq!(fields.texts("a"), Ok(vec![b"x".to_vec(), b"2".to_vec()]));
            assert_eq!(fields.texts("b"), Ok(vec![b"x".to_vec()]));
            assert_eq!(fields.texts("e"), Ok(vec![b"x".to_vec()]));
            let why = "rsync.c must be a list of texts, not of a table";
            assert_eq!(fields.texts("c"), Err(why.into()));
            assert_eq!(fields.texts("d"), Err("type for rsync.d must be table or string".into()));
        });
    }

    #[test]
    fn a_switch_that_looks_like_off_is_told() {
        with("a = 'No', b = 0, c = '', d = 'yes', e = false, f = 1, g = 0.0, h = true", |fields| {
            let told = |name| fields.odd_switch(name);
            assert_eq!(
                told("a").unwrap(),
                "rsync.a = \"No\" is on, as all but false and nil: write rsync.a = false or rsync.a = true"
            );
            for (name, is_odd) in
                [("b", true), ("c", true), ("d", false), ("e", false), ("f", false), ("g", true)]
            {
                assert_eq!(told(name).is_some(), is_odd, "{name}");
            }
            assert_eq!((told("h"), told("nope")), (None, None));
        });
    }

    #[test]
    fn what_is_true_for_lua_is_on() {
        with("a = 1, b = 'false', c = false, d = true", |fields| {
            for (name, on) in [("a", true), ("b", true), ("c", false), ("d", true), ("e", false)] {
                assert_eq!(fields.is_on(name), on, "{name}");
            }
        });
    }
}
