//! Where a cookie of the session's name may have been set besides the place that the service uses: by another host of the domain, by
//! an older service, for another path. `Set-Cookie` removes a cookie only with the same domain and path (RFC 6265 §5.3).

use url::Host;

/// Most lines in one answer: proxies take 4 KiB of headers by default, and a line is about a hundred bytes.
const MAX_PLACES: usize = 20;

/// The labels under two-letter top-level domains that are nobody's own. A browser ignores a cookie for any public suffix
/// (RFC 6265 §5.3), so one that is missing here costs a line without effect.
const SUFFIX_LABELS: &[&str] = &[
    "ac", "co", "com", "edu", "go", "gov", "mil", "ne", "net", "or", "org",
];

/// The domains and paths that a browser of this service may hold a cookie for.
pub(super) struct Places {
    domains: Vec<String>,
    /// The path of the issuer's URL, without a slash at its end.
    base: String,
}

// === impl Places ===

impl Places {
    pub(super) fn new(issuer: &str) -> Self {
        let url = url::Url::parse(issuer).ok();
        let domains = match url.as_ref().and_then(url::Url::host) {
            Some(Host::Domain(host)) => domains(host.trim_end_matches('.')),
            // No cookie can be set for more than one address.
            _ => Vec::new(),
        };
        let base = url.map(|url| url.path().trim_end_matches('/').to_owned());
        Places {
            domains,
            base: base.unwrap_or_default(),
        }
    }

    /// The attributes `Path` and `Domain` of each place that a request to `path` sends cookies from, but the service's own
    /// (`Path=/` without a domain). Where they are too many for one answer, `turn` says which come first.
    pub(super) fn others(&self, path: &str, turn: i64) -> Vec<String> {
        let mut places = Vec::new();
        for path in paths(&self.base, path) {
            if path != "/" {
                places.push(format!("; Path={path}"));
            }
            for domain in &self.domains {
                places.push(format!("; Path={path}; Domain={domain}"));
            }
        }
        if places.len() > MAX_PLACES {
            let first = usize::try_from(turn).unwrap_or(0) % places.len();
            places.rotate_left(first);
            places.truncate(MAX_PLACES);
        }
        places
    }

    /// Those of [`others`](Self::others) that go with every request.
    pub(super) fn domains(&self) -> impl Iterator<Item = String> {
        let domains = self.domains.iter();
        domains.map(|domain| format!("; Path=/; Domain={domain}"))
    }
}

/// The host and its parents, as far as somebody can own them.
fn domains(host: &str) -> Vec<String> {
    let mut domains = Vec::new();
    let mut rest = host;
    while rest.contains('.') && !is_suffix(rest) {
        domains.push(rest.to_owned());
        rest = rest.split_once('.').map_or("", |(_, parent)| parent);
    }
    domains
}

fn is_suffix(domain: &str) -> bool {
    domain.split_once('.').is_some_and(|(label, top)| {
        top.len() == 2 && !top.contains('.') && SUFFIX_LABELS.contains(&label)
    })
}

/// Every `Path` that matches the request (RFC 6265 §5.1.4): each of its beginnings, with and without a slash at its end.
fn paths(base: &str, path: &str) -> Vec<String> {
    let whole = format!("{base}{path}");
    // The routes of the API are plain; any other path is no business of a cookie's attribute.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let mut paths = vec!["/".to_owned()];
    if whole.bytes().all(is_plain) {
        let slashes: Vec<usize> = whole.match_indices('/').map(|(at, _)| at).skip(1).collect();
        paths.extend(slashes.iter().map(|&at| whole[..at].to_owned()));
        paths.push(whole.clone());
        paths.extend(slashes.iter().map(|&at| whole[..=at].to_owned()));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_cleared_on_every_domain_that_somebody_can_own() {
        for (issuer, expected) in [
            (
                "https://auth.example.com",
                vec!["auth.example.com", "example.com"],
            ),
            (
                "https://a.b.example.com:8443/x",
                vec!["a.b.example.com", "b.example.com", "example.com"],
            ),
            (
                "https://auth.example.co.uk",
                vec!["auth.example.co.uk", "example.co.uk"],
            ),
            ("https://example.co.uk", vec!["example.co.uk"]),
            (
                "https://AUTH.Example.com.",
                vec!["auth.example.com", "example.com"],
            ),
            ("http://localhost:3001", vec![]),
            ("http://127.0.0.1:3001", vec![]),
            ("http://[::1]:3001", vec![]),
        ] {
            assert_eq!(Places::new(issuer).domains, expected, "{issuer}");
        }
    }

    #[test]
    fn a_cookie_is_cleared_on_every_path_that_the_request_admits() {
        assert_eq!(
            paths("", "/api/auth/token"),
            [
                "/",
                "/api",
                "/api/auth",
                "/api/auth/token",
                "/api/",
                "/api/auth/"
            ]
        );
        let below = paths("/login", "/api/auth/token");
        assert!(below.contains(&"/login".into()) && below.contains(&"/login/api/auth".into()));
        assert_eq!(paths("", "/a;Domain=x"), ["/"]);
        let places = Places::new("https://auth.example.com").others("/api/auth/token", 7);
        assert!(!places.contains(&"; Path=/".into()), "{places:?}");
        assert!(
            places.contains(&"; Path=/; Domain=example.com".into()),
            "{places:?}"
        );
        assert!(places.contains(&"; Path=/api/auth/".into()), "{places:?}");
        // All of them in turn.
        let deep = Places::new("https://a.b.c.example.com");
        let mut cleared: Vec<String> = Vec::new();
        for turn in 0..40 {
            let places = deep.others("/api/auth/token", turn);
            assert_eq!(places.len(), MAX_PLACES);
            cleared.extend(places);
        }
        cleared.sort();
        cleared.dedup();
        assert_eq!(cleared.len(), 6 * 5 - 1);
    }
}
