//! Typed access to a Lua table.
//!
//! Values are converted as leniently as in the original: numbers as texts, texts as numbers,
//! anything as a switch.
#![expect(clippy::wildcard_enum_match_arm, reason = "the types of Lua are many")]

use mirror_core::path::Escaped;
use mlua::{Table, Value};

/// Typed view of a table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    table: Option<&'a Table>,
    /// Prefix of names in messages: `rsync.`
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// View of a missing table.
    pub(super) const EMPTY: Self = Self { table: None, path: "" };

    pub(super) const fn new(table: &'a Table, path: &'a str) -> Self {
        Self { table: Some(table), path }
    }

    /// Returns the value of this name, `nil` if there is none.
    pub(super) fn value(self, name: &str) -> Value {
        // It only fails if there is no memory for the name.
        self.table.and_then(|table| table.raw_get(name).ok()).unwrap_or(Value::Nil)
    }

    /// Returns true if a switch is on: anything but `nil` and `false` is true in Lua.
    pub(super) fn is_on(self, name: &str) -> bool {
        !matches!(self.value(name), Value::Nil | Value::Boolean(false))
    }

    /// Warns of a switch that is on though its value looks like off.
    pub(super) fn switch_warning(self, name: &str) -> Option<String> {
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
            "{name} = {named} is on, as any value except false and nil: write {name} = false or \
             {name} = true"
        ))
    }

    /// Returns a text, or a number in decimal notation. `false` counts as unset.
    pub(super) fn text(self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self.value(name) {
            Value::Nil | Value::Boolean(false) => Ok(None),
            value => {
                text(&value).map(Some).ok_or_else(|| self.type_error(name, "a string", &value))
            }
        }
    }

    /// Returns a number that is not less than `least`.
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

    /// Returns a whole number that is not less than `least`.
    pub(super) fn whole(self, name: &str, least: u32) -> Result<Option<u64>, String> {
        let Some(number) = self.number(name, f64::from(least))? else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative, and what is too large becomes the largest"
        )]
        Ok(Some(number as u64))
    }

    /// Returns a whole number. Values below one count as one, as in the original.
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

    /// Returns a list of texts. A single text is a list of one.
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
                format!(
                    "{}{name} must be a list of strings, not of a {}",
                    self.path,
                    type_name(&item)
                )
            })
        });
        items.collect()
    }

    pub(super) fn table(self, name: &str) -> Result<Option<Table>, String> {
        match self.value(name) {
            Value::Nil | Value::Boolean(false) => Ok(None),
            Value::Table(table) => Ok(Some(table)),
            value => Err(self.type_error(name, "a table", &value)),
        }
    }

    fn type_error(self, name: &str, wanted: &str, value: &Value) -> String {
        format!("{}{name} must be {wanted}, not a {}", self.path, type_name(value))
    }
}

/// Returns Lua's name for the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    if matches!(value, Value::Integer(_)) { "number" } else { value.type_name() }
}

/// Converts a value to text. A whole number has no `.0`, which Lua would add.
pub(super) fn text(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        _ => return None,
    })
}

/// Escapes and quotes a text for a message.
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
    fn numbers_convert_to_plain_decimal_text() {
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
    fn limits_below_one_count_as_one() {
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
    fn numeric_texts_convert_to_numbers() {
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
    fn lists_contain_texts() {
        with("a = {'x', 2}, b = 'x', c = {{}}, d = true, e = {'x', nil, 'y'}", |fields| {
            assert_eq!(fields.texts("a"), Ok(vec![b"x".to_vec(), b"2".to_vec()]));
            assert_eq!(fields.texts("b"), Ok(vec![b"x".to_vec()]));
            assert_eq!(fields.texts("e"), Ok(vec![b"x".to_vec()]));
            let why = "rsync.c must be a list of strings, not of a table";
            assert_eq!(fields.texts("c"), Err(why.into()));
            assert_eq!(fields.texts("d"), Err("type for rsync.d must be table or string".into()));
        });
    }

    #[test]
    fn switch_that_looks_off_causes_a_warning() {
        with("a = 'No', b = 0, c = '', d = 'yes', e = false, f = 1, g = 0.0, h = true", |fields| {
            let warning = |name| fields.switch_warning(name);
            assert_eq!(
                warning("a").unwrap(),
                "rsync.a = \"No\" is on, as any value except false and nil: write rsync.a = false \
                 or rsync.a = true"
            );
            for (name, is_odd) in
                [("b", true), ("c", true), ("d", false), ("e", false), ("f", false), ("g", true)]
            {
                assert_eq!(warning(name).is_some(), is_odd, "{name}");
            }
            assert_eq!((warning("h"), warning("nope")), (None, None));
        });
    }

    #[test]
    fn lua_truth_decides_switches() {
        with("a = 1, b = 'false', c = false, d = true", |fields| {
            for (name, on) in [("a", true), ("b", true), ("c", false), ("d", true), ("e", false)] {
                assert_eq!(fields.is_on(name), on, "{name}");
            }
        });
    }
}
