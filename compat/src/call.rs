//! The calls of programs, as the recorder writes them down.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    pattern,
    step::{Order, Stdin},
    words,
};

/// The variable that tells the recorder where to write.
pub const PLACE: &str = "COMPAT_PLACE";

/// The programs in whose place the recorder stands.
pub const PROGRAMS: [&str; 6] = ["rsync", "ssh", "cp", "mv", "rm", "mkdir"];

/// Between two looks whether something has come true.
pub const INTERVAL: Duration = Duration::from_millis(5);

/// Any number of words.
const REST: &str = "<rest>";

/// The calls below one directory.
#[derive(Clone, Debug)]
pub struct Calls {
    place: PathBuf,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The program and its words.
    pub words: Vec<String>,
    /// What it read.
    pub stdin: Vec<u8>,
}

impl Calls {
    /// Those that are written below this directory.
    #[must_use]
    pub fn below(place: &Path) -> Self {
        Self { place: place.to_owned() }
    }

    /// Records the call that this process is: its words and what it reads.
    ///
    /// It then waits if it was told to be held, and returns the exit code that it was told.
    ///
    /// # Errors
    ///
    /// If something cannot be read or written.
    pub fn record(&self) -> io::Result<u8> {
        let number = self.new_number()?;
        let directory = self.path(number);
        let mut words = Vec::new();
        for (index, word) in env::args_os().enumerate() {
            let word =
                if index == 0 { Path::new(&word).file_name().unwrap_or(&word) } else { &word };
            words.extend_from_slice(OsStr::as_bytes(word));
            words.push(0);
        }
        fs::write(directory.join("words"), &words)?;
        let mut stdin = Vec::new();
        // A shell behind ssh would read as long as somebody has something to say.
        if !words.starts_with(b"ssh\0") {
            io::stdin().read_to_end(&mut stdin)?;
        }
        fs::write(directory.join("stdin"), stdin)?;
        fs::write(directory.join("complete"), "")?;
        self.obey(number)
    }

    fn obey(&self, number: u32) -> io::Result<u8> {
        if let Ok(text) = fs::read(self.order(number, "speak")) {
            io::stderr().write_all(&text)?;
        }
        while self.order(number, "hold").exists() && !self.order(number, "release").exists() {
            thread::sleep(INTERVAL);
        }
        let code = fs::read_to_string(self.order(number, "answer")).ok();
        Ok(code.and_then(|code| code.parse().ok()).unwrap_or(0))
    }

    /// A number that no other call has; the first one is 1.
    fn new_number(&self) -> io::Result<u32> {
        let mut number = 1;
        loop {
            match fs::create_dir(self.path(number)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                result => return result.map(|()| number),
            }
        }
    }

    /// Tells the recorder something about a call that is to come.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn tell(&self, number: u32, order: &Order) -> io::Result<()> {
        let (name, text) = match order {
            Order::Answer(code) => ("answer", code.to_string()),
            Order::Hold => ("hold", String::new()),
            Order::Release => ("release", String::new()),
            Order::Speak(text) => ("speak", format!("{text}\n")),
        };
        fs::write(self.order(number, name), text)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.place.join(number.to_string())
    }

    fn order(&self, number: u32, name: &str) -> PathBuf {
        self.place.join(format!("{number}.{name}"))
    }

    /// The call of this number, as soon as it is complete.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Call> {
        let directory = self.path(number);
        if !directory.join("complete").exists() {
            return None;
        }
        let words = fs::read(directory.join("words")).ok()?;
        let mut words: Vec<String> = words
            .split(|&byte| byte == 0)
            .map(|word| String::from_utf8_lossy(word).into())
            .collect();
        words.pop();
        Some(Call { words, stdin: fs::read(directory.join("stdin")).ok()? })
    }

    /// All of them, in their order.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        (1..).map_while(|number| self.get(number)).collect()
    }
}

impl Call {
    /// Whether its words are these, some of which are patterns.
    ///
    /// The letters of one word of short options of rsync are a set, as the original shuffles them.
    #[must_use]
    pub fn has_words(&self, wanted: &[String]) -> bool {
        all_fit(wanted, &self.words)
    }

    /// Whether it read this.
    #[must_use]
    pub fn has_read(&self, wanted: &Stdin) -> bool {
        if wanted.entries.is_empty() {
            return self.stdin.is_empty();
        }
        let stripped = self.stdin.strip_suffix(&[wanted.separator]);
        if wanted.ends.is_some_and(|ends| ends != stripped.is_some()) {
            return false;
        }
        let rest = stripped.unwrap_or(&self.stdin);
        let mut entries: Vec<_> = rest
            .split(|&byte| byte == wanted.separator)
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect();
        let mut expected = wanted.entries.clone();
        if !wanted.ordered {
            entries.sort();
            expected.sort();
        }
        entries == expected
    }

    /// In one line, as a case says it.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdin).replace('\0', "\\0").replace('\n', "\\n");
        format!("{} < {text:?}", words::join(&self.words))
    }
}

fn all_fit(wanted: &[String], words: &[String]) -> bool {
    match (wanted, words) {
        ([rest, wanted @ ..], words) if rest == REST => (0..=words.len())
            .filter_map(|skipped| words.get(skipped..))
            .any(|words| all_fit(wanted, words)),
        ([pattern, wanted @ ..], [word, words @ ..]) => {
            fits(pattern, word) && all_fit(wanted, words)
        }
        ([], []) => true,
        _ => false,
    }
}

fn fits(wanted: &str, word: &str) -> bool {
    match (letters(wanted), letters(word)) {
        (Some(wanted), Some(found)) => wanted == found,
        _ => pattern::matches(wanted, word),
    }
}

/// The letters of a word of short options, in the order of the alphabet.
fn letters(word: &str) -> Option<Vec<char>> {
    let letters = word.strip_prefix('-')?;
    let mut letters: Vec<char> = letters.chars().collect();
    letters.sort_unstable();
    letters.iter().all(char::is_ascii_alphanumeric).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &str, stdin: &[u8]) -> Call {
        Call { words: words::split(words).unwrap(), stdin: stdin.to_vec() }
    }

    #[test]
    fn words_are_compared_and_letters_are_a_set() {
        for (wanted, words, expected) in [
            ("rsync -lts -r a b", "rsync -tsl -r a b", true),
            ("rsync -lts -r a b", "rsync -ts -r a b", false),
            ("rsync -lts -r a b", "rsync -lts -r b a", false),
            ("rsync --delete", "rsync --delete", true),
            ("rsync --delete", "rsync --eeltde", false),
            ("rsync <rest> b", "rsync -r a b", true),
            ("rsync <rest> b", "rsync b", true),
            ("rsync <rest> b", "rsync b c", false),
            ("rsync <any>/src/ b", "rsync x/src/ b", true),
            ("rsync", "rsync a", false),
        ] {
            let wanted = words::split(wanted).unwrap();
            assert_eq!(call(words, b"").has_words(&wanted), expected, "{wanted:?} {words}");
        }
    }

    #[test]
    fn lists_are_compared_as_sets_unless_their_order_counts() {
        let wanted = |separator, ends, ordered, entries: &[&str]| {
            let entries = entries.iter().map(|&entry| entry.to_owned()).collect();
            Stdin { separator, ends, ordered, entries }
        };
        let check = |read: &[u8], wanted, expected| {
            assert_eq!(call("a", read).has_read(&wanted), expected, "{read:?} {wanted:?}");
        };
        let (joined, ended) = (Some(false), Some(true));
        check(b"", wanted(0, None, false, &[]), true);
        check(b"a", wanted(0, None, false, &[]), false);
        check(b"b\0a", wanted(0, joined, false, &["a", "b"]), true);
        check(b"b\0a", wanted(0, ended, false, &["a", "b"]), false);
        check(b"b\0a\0", wanted(0, joined, false, &["a", "b"]), false);
        check(b"b\0a\0", wanted(0, ended, false, &["a", "b"]), true);
        check(b"b\0a\0", wanted(0, None, false, &["a", "b"]), true);
        check(b"b\na", wanted(b'\n', joined, true, &["a", "b"]), false);
        check(b"a\na", wanted(b'\n', joined, false, &["a"]), false);
    }
}
