//! Where a fetch may go at all: which URLs, which redirects, which addresses; and the HTTP client that goes there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Url, redirect};

/// The most hops of a followed redirect. Nobody moves a key set more often within one origin.
pub(crate) const MAX_REDIRECTS: usize = 3;
/// A host that does not answer a SYN for this long is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The TLS library refused its own defaults.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP library did.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// Which URLs may be fetched at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UrlRule {
    /// Plain http beyond loopback too.
    pub(crate) allow_http: bool,
    /// Redirects within one origin are followed.
    pub(crate) same_origin_redirects: bool,
    /// Only public addresses: neither loopback nor private ranges, by name or by number.
    pub(crate) public_only: bool,
}

// === impl UrlRule ===

impl UrlRule {
    /// A URL that may be fetched: https, or http to a loopback host, and nothing but those.
    pub(crate) fn parse(self, url: &str) -> Result<Url, String> {
        let parsed = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        match parsed.scheme() {
            "https" => {}
            "http" if self.allow_http || is_loopback(&parsed) => {}
            "http" => {
                return Err(format!(
                    "`{url}` is plain http to another machine, where anyone between can change the keys; use https, or allow http"
                ));
            }
            scheme => return Err(format!("`{url}` has scheme {scheme}; https is wanted")),
        }
        // Names are looked at when they are resolved: see `PublicOnly`.
        let number = match parsed.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if self.public_only && number.is_some_and(|address| !is_public(address)) {
            return Err(format!(
                "`{url}` is a private address, and those are refused"
            ));
        }
        Ok(parsed)
    }

    /// Where a redirect from `from` may lead: to the same scheme, host and port, if that was asked for.
    pub(crate) fn redirect(self, from: &Url, location: &str) -> Option<Url> {
        let to = from.join(location).ok()?;
        let allowed = self.same_origin_redirects && to.origin() == from.origin();
        allowed.then(|| self.parse(to.as_str()).ok()).flatten()
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether an address belongs to the public internet, by the IANA special-purpose registries (RFC 6890 and its updates).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        // "This network", carrier-grade NAT, protocol assignments, benchmarking, reserved.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Forms that carry an IPv4 address go where that goes: mapped, NAT64, 6to4.
    let [.., high, low] = segments;
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = embedded {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Global unicast is 2000::/3; of it, documentation and the protocol assignments are not anybody's servers.
    let global = segments[0] & 0xe000 == 0x2000;
    let documentation = segments[0] == 0x2001 && segments[1] == 0xdb8 || segments[0] == 0x3fff;
    let protocol = segments[0] == 0x2001 && segments[1] < 0x200;
    global && !documentation && !protocol
}

/// Resolves names to public addresses alone. Done at dial time: what a name meant when it was checked is not what it means
/// when it is used.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = all.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!(
                    "`{}` has no public address, and private ones are refused",
                    name.as_str()
                )
                .into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// A client on ring-backed rustls with the platform's roots; no process-wide provider is installed.
pub(crate) fn default_client(rule: UrlRule) -> Result<reqwest::Client, ClientError> {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    };
    let tls = match builder()?.with_platform_verifier() {
        Ok(config) => config.with_no_client_auth(),
        // No usable trust store: https fails at connect with a clear error; http on loopback still works.
        Err(error) => {
            tracing::warn!(%error, "no trust store for https");
            builder()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    let mut client = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        // A proxy named in the environment would see, and could answer, even what is meant for this machine alone.
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls);
    if rule.public_only {
        client = client.dns_resolver(Arc::new(PublicOnly));
    }
    Ok(client.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_may_be_fetched() {
        let rule = UrlRule::default();
        for (url, ok) in [
            ("https://auth.example.com/jwks", true),
            ("http://127.0.0.1:3001/jwks", true),
            ("http://[::1]/jwks", true),
            ("http://localhost:3001/jwks", true),
            ("http://auth.example.com/jwks", false),
            ("http://localhost.evil.test/jwks", false),
            ("http://169.254.169.254/latest", false),
            ("file:///etc/passwd", false),
            ("ftp://127.0.0.1/", false),
            ("not a url", false),
        ] {
            assert_eq!(rule.parse(url).is_ok(), ok, "{url}");
        }
        let allowed = UrlRule {
            allow_http: true,
            ..rule
        };
        assert!(allowed.parse("http://auth.internal/jwks").is_ok());
        assert!(allowed.parse("file:///etc/passwd").is_err());
        let public = UrlRule {
            public_only: true,
            ..rule
        };
        assert!(public.parse("https://auth.example.com/jwks").is_ok());
        assert!(public.parse("https://10.0.0.1/jwks").is_err());
        assert!(public.parse("https://[fd00::1]/jwks").is_err());
        // Other ways to write 127.0.0.1; the URL parser knows them all.
        assert!(public.parse("https://2130706433/jwks").is_err());
        assert!(public.parse("https://0x7f.1/jwks").is_err());
    }

    #[test]
    fn redirects_lead_within_one_origin_or_nowhere() {
        let from = Url::parse("https://auth.example.com/a/jwks").unwrap();
        let follow = UrlRule {
            same_origin_redirects: true,
            ..UrlRule::default()
        };
        for (location, to) in [
            ("/b/jwks", Some("https://auth.example.com/b/jwks")),
            ("keys", Some("https://auth.example.com/a/keys")),
            (
                "https://auth.example.com:443/b",
                Some("https://auth.example.com/b"),
            ),
            ("http://auth.example.com/b", None),
            ("https://auth.example.com:8443/b", None),
            ("https://evil.example/b", None),
            ("//evil.example/b", None),
            ("file:///etc/passwd", None),
            ("http://[", None),
        ] {
            let led = follow.redirect(&from, location).map(String::from);
            assert_eq!(led.as_deref(), to, "{location}");
            assert_eq!(UrlRule::default().redirect(&from, location), None);
        }
    }

    #[test]
    fn private_ranges_are_not_public_in_any_spelling() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("100.63.255.255", true),
            ("172.32.0.1", true),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("192.0.0.8", false),
            ("198.18.0.1", false),
            ("203.0.113.5", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("3fff::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
