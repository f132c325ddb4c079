//! Lines of text with colours, and their output.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use super::text;

/// A meaning that a colour shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tint {
    /// No colour.
    #[default]
    Plain,
    /// A good state.
    Good,
    /// A warning.
    Warning,
    /// A critical state.
    Critical,
    /// A heading.
    Heading,
}

impl Tint {
    /// Returns the parameters of the control sequence `SGR` of ECMA-48.
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Critical => Some("1;31"),
            Self::Heading => Some("1"),
        }
    }
}

/// A clean text with its colour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TintedText {
    pub(super) text: String,
    pub(super) tint: Tint,
}

impl TintedText {
    /// Cleans a text and colours it.
    pub(super) fn new(text: &str, tint: Tint) -> Self {
        Self { text: text::clean(text), tint }
    }

    /// Cleans a text without a colour.
    pub(super) fn plain(text: &str) -> Self {
        Self::new(text, Tint::Plain)
    }
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TintedLine(pub(super) Vec<TintedText>);

impl TintedLine {
    /// A line without colours.
    pub(super) fn plain(text: &str) -> Self {
        Self(vec![TintedText::plain(text)])
    }
}

/// Properties of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutputStyle {
    /// Width of the terminal. `None`: unlimited.
    pub(super) width: Option<usize>,
    /// True if it shows colours.
    pub(super) has_colours: bool,
}

impl OutputStyle {
    /// The style of stdout.
    pub(super) fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { width: columns, has_colours: !is_set("NO_COLOR") && !is_dumb }
    }

    /// Returns the text of a line, without a newline.
    pub(super) fn line(self, line: &TintedLine) -> String {
        let mut painted = String::new();
        for TintedText { text, tint } in &line.0 {
            match tint.code().filter(|_| self.has_colours && !text.is_empty()) {
                Some(code) => painted.extend(["\x1b[", code, "m", text, "\x1b[0m"]),
                None => painted.push_str(text),
            }
        }
        painted
    }

    /// Returns the text of lines, with a newline at the end of each.
    pub(super) fn lines(self, lines: &[TintedLine]) -> String {
        lines.iter().map(|line| self.line(line) + "\n").collect()
    }
}

/// Returns a line cut to a width.
pub(super) fn cut_line(line: &TintedLine, limit: usize) -> TintedLine {
    let mut rest = limit;
    let mut parts = Vec::new();
    for TintedText { text, tint } in &line.0 {
        let text = text::cut(text, rest).to_owned();
        rest -= text::width(&text);
        parts.push(TintedText { text, tint: *tint });
    }
    TintedLine(parts)
}

/// Prints a text to stdout.
pub(super) fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints bytes to stdout.
pub(super) fn print_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    // A closed stdout is the caller's choice.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_for_those_who_see_them() {
        let line = TintedLine(vec![
            TintedText::plain("a "),
            TintedText::new("b\x1b", Tint::Good),
            TintedText::plain(""),
        ]);
        assert_eq!(OutputStyle::default().line(&line), "a b\\u{1b}");
        let style = OutputStyle { width: None, has_colours: true };
        assert_eq!(style.lines(std::slice::from_ref(&line)), "a \x1b[32mb\\u{1b}\x1b[0m\n");
        assert_eq!(style.line(&cut_line(&line, 3)), "a \x1b[32mb\x1b[0m");
        assert_eq!(style.line(&cut_line(&line, 1)), "a");
    }
}
