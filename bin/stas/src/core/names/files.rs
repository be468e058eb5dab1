// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the two files that name resolution depends on: `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Pure text in, values out. Lines and words that make no sense are passed over, as every other
//! reader of these files does. Syntax: hosts(5) and resolv.conf(5).

use std::net::{IpAddr, Ipv4Addr};

/// Name servers used of `resolv.conf`; the rest is ignored, as in the C library.
pub const SERVERS_MAX: usize = 3;
/// Search domains used.
pub const SEARCH_MAX: usize = 6;
/// Addresses taken for one name.
pub const ADDRESSES_MAX: usize = 32;

/// A name server, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address; the port is always 53.
    pub address: IpAddr,
    /// The zone of a link-local address: an interface name or index.
    pub zone: Option<String>,
}

/// What `resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Where to ask, in this order. Never empty.
    pub servers: Vec<Server>,
    /// Domains to complete short names with.
    pub search: Vec<String>,
    /// Names with at least this many dots are tried as they are first.
    pub dots_min: usize,
}

impl Resolver {
    /// Reads the text of `resolv.conf`; an empty text means the server on this host.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self { servers: Vec::new(), search: Vec::new(), dots_min: 1 };
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => found.servers.extend(words.next().and_then(server)),
                Some("search" | "domain") => {
                    found.search = words.take(SEARCH_MAX).map(str::to_owned).collect();
                }
                Some("options") => found.options(words),
                _ => {}
            }
        }
        found.servers.truncate(SERVERS_MAX);
        if found.servers.is_empty() {
            found.servers.push(Server { address: Ipv4Addr::LOCALHOST.into(), zone: None });
        }
        found
    }

    fn options<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            if let Some(number) = word.strip_prefix("ndots:").and_then(|text| text.parse().ok()) {
                self.dots_min = usize::min(number, 15);
            }
        }
    }

    /// The full names to ask for, best first, for a name as a person wrote it.
    #[must_use]
    pub fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let completed = self
            .search
            .iter()
            .map(|domain| domain.trim_matches('.'))
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{host}.{domain}"));
        let mut names: Vec<String> = completed.collect();
        let dots = host.bytes().filter(|&byte| byte == b'.').count();
        let position = if dots >= self.dots_min { 0 } else { names.len() };
        names.insert(position, host.to_owned());
        names
    }
}

fn server(word: &str) -> Option<Server> {
    let (address, zone) = match word.split_once('%') {
        Some((address, zone)) => (address, Some(zone.to_owned())),
        None => (word, None),
    };
    Some(Server { address: address.parse().ok()?, zone })
}

/// The addresses that the text of `/etc/hosts` gives `host`, in the order of the file.
#[must_use]
pub fn hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let wanted = host.strip_suffix('.').unwrap_or(host);
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(wanted)).then_some(address)
    });
    addresses.take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names_whatever_the_case() {
        let text = "127.0.0.1 localhost # me\n\
                    # 10.9.9.9 array\n\
                    10.0.0.7\tarray.example array\r\n\
                    fd00::7 ARRAY\n\
                    garbage array\n";
        assert_eq!(hosts(text, "Array"), ["10.0.0.7", "fd00::7"].map(ip));
        assert_eq!(hosts(text, "array.example."), [ip("10.0.0.7")]);
        assert_eq!(hosts(text, "me"), [] as [IpAddr; 0]);
        assert_eq!(hosts(text, "10.0.0.7"), [] as [IpAddr; 0]);
    }

    #[test]
    fn resolv_conf_gives_servers_search_list_and_dots() {
        let found = Resolver::parse(
            "; by hand\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver nonsense\n\
             domain old.example\nsearch a.example b.example.\noptions rotate ndots:2 timeout:1\n\
             nameserver 10.0.0.2\nnameserver 10.0.0.3\n",
        );
        let text: Vec<_> = found.servers.iter().map(|s| (s.address.to_string(), &s.zone)).collect();
        assert_eq!(
            text,
            [
                ("10.0.0.1".to_owned(), &None),
                ("fe80::1".to_owned(), &Some("eth0".to_owned())),
                ("10.0.0.2".to_owned(), &None)
            ]
        );
        assert_eq!(found.dots_min, 2);
        assert_eq!(found.candidates("x"), ["x.a.example", "x.b.example", "x"]);
        assert_eq!(found.candidates("x.y.z"), ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]);
        assert_eq!(found.candidates("x."), ["x"]);
    }

    #[test]
    fn without_resolv_conf_the_local_server_is_asked() {
        let found = Resolver::parse("");
        assert_eq!(found.servers.len(), 1);
        assert!(found.servers[0].address.is_loopback());
        assert_eq!(found.candidates("x"), ["x"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\n\t]{0,200}", host in "[ -~]{0,20}") {
            let found = Resolver::parse(&text);
            prop_assert!(!found.servers.is_empty() && found.servers.len() <= SERVERS_MAX);
            prop_assert!(!found.candidates(&host).is_empty());
            prop_assert!(hosts(&text, &host).len() <= ADDRESSES_MAX);
        }
    }
}
