//! The system's log: as whom we write there.

use std::{
    collections::BTreeSet,
    error::Error,
    ffi::{CStr, CString},
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use mirror_core::path::Escaped;
use mirror_linux::syslog::{self, Severity};

use super::{Category, text::Message};

/// The names of the facilities, as the original takes them, with their numbers. It is for the kernel alone to write as
/// `kern`: of others the C library makes that `user`, and so do we, at once.
const FACILITIES: [(&str, u8); 21] = [
    ("user", 1),
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 1),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("security", 4),
    ("syslog", 5),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// A facility of the system's log: a class of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility {
    name: &'static str,
    code: u8,
}

impl Default for Facility {
    fn default() -> Self {
        Self { name: "user", code: 1 }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Facility {
    type Err = UnknownFacility;

    /// The facility of this name, in whatever case.
    fn from_str(name: &str) -> Result<Self, UnknownFacility> {
        let found = FACILITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .map(|&(name, code)| Self { name, code })
            .ok_or_else(|| UnknownFacility(Escaped(name.as_bytes()).to_string()))
    }
}

/// No facility has this name. The text is the original's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFacility(String);

impl fmt::Display for UnknownFacility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logging facility '{}' unknown.", self.0)
    }
}

impl Error for UnknownFacility {}

/// As whom we write to the system's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// The class of programs.
    pub facility: Facility,
    /// The name of the program.
    pub ident: String,
}

impl Default for Syslog {
    fn default() -> Self {
        Self { facility: Facility::default(), ident: "lsyncd".into() }
    }
}

impl Syslog {
    /// From now on all that is written comes from us.
    pub(super) fn open(&self) {
        syslog::open(kept(&self.ident));
    }

    /// Writes a message.
    pub(super) fn write(&self, message: Message<'_>) {
        let severity = match message.category {
            Category::Error => Severity::Error,
            Category::Warn => Severity::Warning,
            Category::Debug("Exec") => Severity::Debug,
            Category::Normal | Category::Debug(_) => Severity::Notice,
        };
        let text = CString::new(message.for_syslog()).unwrap_or_default();
        syslog::write(self.facility.code, severity, &text);
    }
}

/// The name for the C library, which does not copy it.
fn kept(ident: &str) -> &'static CStr {
    /// Those that were given. There are few: somebody wrote each into a file.
    static NAMES: Mutex<BTreeSet<&'static CStr>> = Mutex::new(BTreeSet::new());
    // It comes as text for people, so there is no NUL in it.
    let ident = CString::new(ident).unwrap_or_default();
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.get(&*ident).copied();
    let name: &'static CStr = known.unwrap_or_else(|| Box::leak(ident.into_boxed_c_str()));
    names.insert(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facility_is_known_by_its_name_in_any_case() {
        for (name, code) in FACILITIES {
            for name in [name.to_owned(), name.to_uppercase()] {
                assert_eq!(name.parse::<Facility>().map(|it| it.code), Ok(code), "{name}");
            }
        }
        assert_eq!("Local3".parse::<Facility>().unwrap().to_string(), "local3");
        for name in ["foo", "", "local8", " user", "1", "LOG_USER"] {
            let unknown = name.parse::<Facility>().unwrap_err().to_string();
            assert_eq!(unknown, format!("Logging facility '{name}' unknown."));
        }
    }

    #[test]
    fn a_name_is_kept_once() {
        let (one, other) = (kept("a name"), kept(&String::from("a name")));
        assert!(std::ptr::eq(one, other));
        assert_eq!(one, c"a name");
    }
}
