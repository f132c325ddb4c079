//! Values on the command lines of tasks.

use std::str::FromStr;

/// Parses a number.
///
/// # Errors
///
/// Returns a message that has the text.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
