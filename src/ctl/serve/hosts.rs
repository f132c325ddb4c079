//! Names by which the server may be addressed.
//!
//! With a name of their own that resolves to an address of this machine, foreign pages could read
//! everything ("DNS rebinding"). So a name must be known; an address can't be rebound.

use std::net::{IpAddr, Ipv6Addr};

/// The permitted names.
#[derive(Debug)]
pub(super) struct HostPolicy {
    names: Vec<String>,
}

impl HostPolicy {
    /// Permits these names, besides addresses and `localhost`.
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Returns true if a `Host` header addresses this server.
    pub(super) fn permits_host(&self, header: &str) -> bool {
        let Some(host) = host_of(header) else { return false };
        is_address(host) || host.eq_ignore_ascii_case("localhost") || self.is_known(host)
    }

    /// Returns true if the page with this `Origin` header is ours: that of the `Host` header, or of
    /// a permitted name, if a proxy changes that header.
    pub(super) fn permits_origin(&self, origin: &str, host: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let is_web = matches!(scheme, "http" | "https");
        let is_known = host_of(authority).is_some_and(|name| self.is_known(name));
        is_web && (authority.eq_ignore_ascii_case(host) || is_known)
    }

    fn is_known(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// The host of `host:port`. `None` if it is none.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (is_port && !host.is_empty()).then_some(host)
}

fn is_address(host: &str) -> bool {
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_known_names_are_permitted() {
        let policy = HostPolicy::new(vec!["mirror.example.com".to_owned()]);
        for host in [
            "127.0.0.1:80",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "192.168.1.7:1",
            "localhost:8080",
            "LOCALHOST",
            "mirror.example.com",
            "Mirror.Example.com:443",
        ] {
            assert!(policy.permits_host(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "mirror.example.com.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil",
            "127.0.0.1@evil.example",
            "[::1",
            "::1",
            "0x7f000001",
        ] {
            assert!(!policy.permits_host(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_that_of_the_server_or_of_a_known_name() {
        let policy = HostPolicy::new(vec!["mirror.example.com".to_owned()]);
        let check = |origin, host, expected| {
            assert_eq!(policy.permits_origin(origin, host), expected, "{origin} at {host}");
        };
        check("http://127.0.0.1:9783", "127.0.0.1:9783", true);
        check("http://127.0.0.1:8731", "127.0.0.1:9783", false);
        check("http://localhost:9783", "127.0.0.1:9783", false);
        check("https://mirror.example.com", "127.0.0.1:9783", true);
        check("https://mirror.example.com:8443", "mirror.example.com:8443", true);
        check("https://evil.example", "127.0.0.1:9783", false);
        check("null", "127.0.0.1:9783", false);
        check("file://127.0.0.1:9783", "127.0.0.1:9783", false);
    }
}
