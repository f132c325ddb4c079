//! Capabilities of the terminal: colours, and a line that is redrawn.

use std::{
    env,
    ffi::OsString,
    io::{IsTerminal, stderr, stdout},
    sync::LazyLock,
};

use super::{Category, stream::StdStream};

/// Kind of output that each standard stream accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TerminalStyle {
    colours_out: bool,
    colours_err: bool,
    /// True if a line of stderr can be redrawn.
    pub(super) redraws: bool,
}

impl TerminalStyle {
    /// Returns the style of this process. It is looked up once: later the streams are only closed.
    pub(super) fn of_process() -> Self {
        static FOUND: LazyLock<TerminalStyle> = LazyLock::new(|| {
            let is_terminal = [stdout().is_terminal(), stderr().is_terminal()];
            TerminalStyle::new(is_terminal, env::var_os("TERM"), env::var_os("NO_COLOR"))
        });
        *FOUND
    }

    /// Returns the style for these streams and variables. An empty `NO_COLOR` counts as unset
    /// (no-color.org).
    fn new([out, err]: [bool; 2], terminal: Option<OsString>, no_color: Option<OsString>) -> Self {
        let is_capable = terminal.is_some_and(|name| !name.is_empty() && name != "dumb");
        let has_colours = is_capable && no_color.is_none_or(|value| value.is_empty());
        Self {
            colours_out: out && has_colours,
            colours_err: err && has_colours,
            redraws: err && is_capable,
        }
    }

    /// Returns true if colours are written to this stream.
    pub(super) const fn has_colours(self, stream: StdStream) -> bool {
        match stream {
            StdStream::Out => self.colours_out,
            StdStream::Err => self.colours_err,
        }
    }
}

/// Returns the sequence of ECMA-48 that selects the colour of a category. `None`: the normal one.
pub(super) const fn colour(category: Category) -> Option<&'static str> {
    match category {
        Category::Error => Some("\x1b[1;31m"),
        Category::Warn => Some("\x1b[33m"),
        Category::Normal => None,
        Category::Debug(_) => Some("\x1b[2m"),
    }
}

/// Sequence of ECMA-48 that selects the normal colour.
pub(super) const NORMAL: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_capable_terminal_and_no_refusal() {
        let style = |terminal: Option<&str>, no_color: Option<&str>| {
            let [terminal, no_color] = [terminal, no_color].map(|it| it.map(OsString::from));
            let style = TerminalStyle::new([false, true], terminal, no_color);
            assert!(!style.has_colours(StdStream::Out));
            (style.has_colours(StdStream::Err), style.redraws)
        };
        assert_eq!(style(Some("xterm"), None), (true, true));
        assert_eq!(style(Some("xterm"), Some("")), (true, true));
        assert_eq!(style(Some("xterm"), Some("1")), (false, true));
        for terminal in [None, Some(""), Some("dumb")] {
            assert_eq!(style(terminal, None), (false, false));
        }
    }
}
