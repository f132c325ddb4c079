//! Errors of a configuration file.

use mlua::Error;

/// Reason why there is no configuration to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The configuration is invalid, for these reasons: lines for people.
    Invalid(Vec<String>),
    /// The configuration is valid, but a source is missing, which can change at any time: lines for
    /// people.
    MissingSource(Vec<String>),
    /// The file itself called `os.exit` with this code.
    Exit(u8),
}

impl ConfigError {
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(vec![why.into()])
    }
}

/// Error in the value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingError {
    /// The original raises a Lua error, which is prefixed with the file name and a position.
    Lua(String),
    /// The original prints only this line, and exits.
    Fatal(String),
}

impl SettingError {
    /// Returns the setting whose value is wrong, such as `rsync.binary`. The message begins with
    /// it.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Lua(why) if why.contains(" - crontab rule ") => Some("crontab".into()),
            Self::Lua(why) if why.starts_with('"') && why.contains(" in rsync._extra") => {
                Some("rsync._extra".into())
            }
            Self::Lua(why) => message_key(why).map(str::to_owned),
            Self::Fatal(why) => rule_message_key(why).map(str::to_owned),
        }
    }
}

/// Returns the setting that a message begins with.
pub(super) fn message_key(why: &str) -> Option<&str> {
    let why = why.strip_prefix("type for ").unwrap_or(why);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
    let end = why.find(|letter| !is_name(letter)).unwrap_or(why.len());
    why.get(..end).filter(|name| !name.is_empty())
}

/// Returns the setting that a message about filter rules refers to.
fn rule_message_key(why: &str) -> Option<&'static str> {
    const STARTS: [(&str, &str); 6] = [
        ("Cannot open exclude file", "excludeFrom"),
        ("Cannot open filter file", "filterFrom"),
        ("Cannot open the file", "rsync._extra"),
        ("Unknown filter rule in ", "filterFrom"),
        ("Unknown filter rule", "filter"),
        ("cannot exclude", "exclude"),
    ];
    STARTS.iter().find(|(start, _)| why.starts_with(start)).map(|(_, key)| *key)
}

impl From<String> for SettingError {
    fn from(why: String) -> Self {
        Self::Lua(why)
    }
}

/// Returns the message of a Lua error without the traceback.
#[expect(clippy::wildcard_enum_match_arm, reason = "the errors of Lua are many")]
pub(super) fn lua_message(error: &Error) -> String {
    let text = match error {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::CallbackError { cause, .. } => return lua_message(cause),
        other => other.to_string(),
    };
    let end = text.find("\nstack traceback:").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}
