//! The secret that permits control.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{hex, random_bytes};

/// Minimum length of a token in a file.
const MIN_LENGTH: usize = 16;

/// Maximum size of the file in bytes.
const MAX_FILE: u64 = 4096;

/// The secret that permits control.
pub struct Token(String);

/// An unusable file with a token.
#[derive(Debug)]
pub struct TokenError {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads a token from a file that only its owner may read.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, belongs to somebody else, is accessible for others, or has no
    /// token of sufficient length.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        Self::read_private(path).map_err(|reason| TokenError { path: path.to_owned(), reason })
    }

    fn read_private(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        let user = rustix::process::geteuid().as_raw();
        if !metadata.is_file() {
            return Err("not a regular file".to_owned());
        }
        if metadata.uid() != user && metadata.uid() != 0 {
            return Err(format!("belongs to user {}: change its owner", metadata.uid()));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(format!("others may access it (mode {mode:03o}): use chmod 600"));
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let text = text.trim();
        if text.len() < MIN_LENGTH || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "has no token: one line of at least {MIN_LENGTH} ASCII characters \
                 without spaces is needed"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Makes a token of 256 random bits.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        Ok(Self(hex(&random_bytes::<32>()?)))
    }

    /// The secret text.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Returns true if an `Authorization` header has this token. The time that it takes does not
    /// depend on the place of a difference.
    pub(super) fn is_in(&self, header: &str) -> bool {
        let Some((scheme, token)) = header.split_once(' ') else { return false };
        let (ours, theirs) = (self.0.as_bytes(), token.trim().as_bytes());
        let difference = ours.iter().zip(theirs).fold(0, |found, (a, b)| found | (a ^ b));
        scheme.eq_ignore_ascii_case("bearer") && ours.len() == theirs.len() && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn read(text: &str, mode: u32) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file.as_file().set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        Token::read(file.path()).map(|token| token.0).map_err(|error| error.reason)
    }

    #[test]
    fn a_token_is_read_from_a_private_file_only() {
        assert_eq!(read("0123456789abcdef\n", 0o600).unwrap(), "0123456789abcdef");
        assert_eq!(read("0123456789abcdef", 0o400).unwrap(), "0123456789abcdef");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let reason = read("0123456789abcdef", mode).unwrap_err();
            assert!(reason.contains("chmod 600"), "{reason}");
        }
        for text in ["", "short", "0123456789abcdef 0123456789abcdef", "0123456789abcdeä"] {
            assert!(read(text, 0o600).unwrap_err().contains("no token"), "{text}");
        }
        assert!(Token::read(Path::new("/")).unwrap_err().reason.contains("not a regular file"));
        assert!(Token::read(Path::new("/missing")).unwrap_err().to_string().contains("/missing"));
    }

    #[test]
    fn a_header_must_have_the_whole_token() {
        let token = Token("0123456789abcdef".to_owned());
        assert!(token.is_in("Bearer 0123456789abcdef"));
        assert!(token.is_in("bearer 0123456789abcdef"));
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!token.is_in(header), "{header}");
        }
    }

    #[test]
    fn random_tokens_differ_and_are_not_shown() {
        let [a, b] = [Token::random().unwrap(), Token::random().unwrap()];
        assert_eq!(a.secret().len(), 64);
        assert_ne!(a.secret(), b.secret());
        assert_eq!(format!("{a:?}"), "Token(..)");
    }
}
