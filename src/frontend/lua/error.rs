//! Why a configuration file can't be taken.

use mlua::Error;

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For these reasons: lines for people.
    Because(Vec<String>),
    /// The file itself asked to end, with this code.
    Exit(u8),
}

impl Refusal {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self::Because(vec![why.into()])
    }
}

/// What is wrong with a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The original raises an error in Lua for it, which gets a position and the file's name.
    Lua(String),
    /// The original says just this, and ends.
    Fatal(String),
}

impl Fault {
    /// The setting whose value is wrong, such as `rsync.binary`: it is named first.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Lua(why) if why.contains(" - crontab rule ") => Some("crontab".into()),
            Self::Lua(why) if why.starts_with('"') && why.contains(" in rsync._extra") => {
                Some("rsync._extra".into())
            }
            Self::Lua(why) => key_of(why).map(str::to_owned),
            Self::Fatal(why) => key_of_rules(why).map(str::to_owned),
        }
    }
}

/// The setting whose value is wrong, as such a sentence names it first.
pub(super) fn key_of(why: &str) -> Option<&str> {
    let why = why.strip_prefix("type for ").unwrap_or(why);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
    let end = why.find(|letter| !is_name(letter)).unwrap_or(why.len());
    why.get(..end).filter(|name| !name.is_empty())
}

/// The setting of which one of our sentences about rules speaks.
fn key_of_rules(why: &str) -> Option<&'static str> {
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

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Lua(why)
    }
}

/// What Lua says, without the way by which it came there.
pub(super) fn message(error: &Error) -> String {
    let text = match error {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::CallbackError { cause, .. } => return message(cause),
        other => other.to_string(),
    };
    let end = text.find("\nstack traceback:").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}
