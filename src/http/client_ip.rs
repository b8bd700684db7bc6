//! The address that a request comes from: its connection's, or what trusted proxies say of it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::HeaderMap;

use crate::config::Network;

/// `None` where there is no connection, as in a test without sockets.
pub(super) fn client_ip(request: &Request, proxies: &[Network]) -> Option<IpAddr> {
    Some(behind_proxies(peer(request)?, request.headers(), proxies))
}

/// The address that the connection comes from.
pub(super) fn peer(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.0.ip().to_canonical())
}

/// Each proxy appends the address that it was called from, so the list is read from its end, and no further than proxies
/// are trusted: whatever stands before was written by somebody else.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |ip: IpAddr| proxies.iter().any(|network| network.contains(ip));
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        if !is_proxy(client) {
            break;
        }
        match hop_address(hop) {
            Some(ip) => client = ip.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address as proxies write it: alone, in quotes, in brackets, with a port (Azure's gateway and IIS add it).
fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let hop = hop
        .strip_prefix('"')
        .and_then(|hop| hop.strip_suffix('"'))
        .unwrap_or(hop);
    if let Ok(ip) = hop.parse() {
        return Some(ip);
    }
    if let Ok(with_port) = hop.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bare = hop.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        let proxies: Vec<Network> = ["10.0.0.0/8", "::1"]
            .map(|text| serde_json::from_value(text.into()).unwrap())
            .into();
        for (peer, forwarded, client) in [
            ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "203.0.113.5, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("::1", "2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "198.51.100.1:40001", "198.51.100.1"),
            ("10.0.0.1", "[2001:db8::7]:40001", "2001:db8::7"),
            ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
            ("10.0.0.1", "\"[2001:db8::7]:40001\"", "2001:db8::7"),
            ("10.0.0.1", "\"198.51.100.1\"", "198.51.100.1"),
            (
                "10.0.0.1",
                "203.0.113.5, 198.51.100.1:1, 10.0.0.2:2",
                "198.51.100.1",
            ),
            ("10.0.0.1", "198.51.100.1, 203.0.113.5:", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, [203.0.113.5]", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.5:99999", "10.0.0.1"),
            ("192.0.2.9", "198.51.100.1:40001", "192.0.2.9"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let found = behind_proxies(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), client, "{peer} {forwarded}");
        }
    }
}
