//! One bounded GET: a key set or a discovery document. Never follows a redirect, never reads past its limit, never waits past
//! its deadline, and goes only where the configuration sent it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use reqwest::{StatusCode, Url, redirect};

use crate::clock::Clock;
use crate::jose::{JsonError, JwkSet, SetError};

/// A key set of a hundred RSA keys is 50 KiB.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The largest real set known has about 20.
pub(crate) const MAX_KEYS: usize = 100;

/// Why a document could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection, TLS refused, reset, or nonsense instead of HTTP.
    #[error("GET {url}: {why}")]
    Transport {
        /// Where.
        url: String,
        /// What the HTTP client said, causes included.
        why: String,
    },
    /// The whole exchange took too long.
    #[error("GET {url}: no answer within {} ms", .deadline.as_millis())]
    Deadline {
        /// Where.
        url: String,
        /// The limit.
        deadline: Duration,
    },
    /// Neither 200 nor an expected 304; a redirect is not followed.
    #[error("GET {url}: status {status}{}", if (300..400).contains(.status) { ", and redirects are not followed" } else { "" })]
    Status {
        /// Where.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The body passed the limit.
    #[error("GET {url}: a body of more than {limit} bytes")]
    TooLarge {
        /// Where.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is no JWK Set.
    #[error("GET {url}: {error}")]
    KeySet {
        /// Where.
        url: String,
        /// What is wrong with it.
        error: SetError,
    },
    /// A JWK Set without one usable key: by mistake far more often than on purpose, and nobody means to refuse everyone.
    #[error("GET {url}: no usable key among {published}")]
    NoUsableKeys {
        /// Where.
        url: String,
        /// How many keys it has in all.
        published: usize,
    },
    /// The metadata is not strict JSON, names another issuer, or a `jwks_uri` that may not be fetched.
    #[error("GET {url}: {why}")]
    Metadata {
        /// Where.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

// === impl FetchError ===

impl FetchError {
    /// The metric label: one of a closed list.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            FetchError::Transport { .. } => "transport",
            FetchError::Deadline { .. } => "deadline",
            FetchError::Status { .. } => "status",
            FetchError::TooLarge { .. } => "too_large",
            FetchError::KeySet { .. } => "bad_document",
            FetchError::NoUsableKeys { .. } => "no_usable_keys",
            FetchError::Metadata { .. } => "bad_metadata",
        }
    }
}

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

/// A key set as it came.
pub(crate) enum Fetched {
    /// 304: what we have is current.
    NotModified { max_age: Option<Duration> },
    /// 200.
    Modified {
        set: JwkSet,
        etag: Option<String>,
        max_age: Option<Duration>,
    },
}

/// Which URLs may be fetched at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UrlRule {
    /// Plain http beyond loopback too.
    pub(crate) allow_http: bool,
}

// === impl UrlRule ===

impl UrlRule {
    /// A URL that may be fetched: https, or http to a loopback host, and nothing but those.
    pub(crate) fn parse(self, url: &str) -> Result<Url, String> {
        let parsed = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        match parsed.scheme() {
            "https" => Ok(parsed),
            "http" if self.allow_http || is_loopback(&parsed) => Ok(parsed),
            "http" => Err(format!(
                "`{url}` is plain http to another machine, where anyone between can change the keys; use https, or allow http"
            )),
            scheme => Err(format!("`{url}` has scheme {scheme}; https is wanted")),
        }
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

/// The HTTP client with its limits.
#[derive(Clone)]
pub(crate) struct Fetcher {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    deadline: Duration,
    rule: UrlRule,
}

// === impl Fetcher ===

impl Fetcher {
    pub(crate) fn new(
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
        deadline: Duration,
        rule: UrlRule,
    ) -> Self {
        Fetcher {
            client,
            clock,
            deadline,
            rule,
        }
    }

    /// A client on ring-backed rustls with the platform's roots; no process-wide provider is installed.
    pub(crate) fn default_client() -> Result<reqwest::Client, ClientError> {
        use rustls_platform_verifier::BuilderVerifierExt as _;
        let builder = || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
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
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            // A proxy named in the environment would see, and could answer, even what is meant for this machine alone.
            .no_proxy()
            .referer(false)
            .connect_timeout(Duration::from_secs(3))
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()?;
        Ok(client)
    }

    /// The JWK Set at `url`.
    pub(crate) async fn key_set(
        &self,
        url: &Url,
        etag: Option<&str>,
    ) -> Result<Fetched, FetchError> {
        let answer = self.get(url, etag).await?;
        let max_age = answer.max_age;
        let Some(body) = answer.body else {
            return Ok(Fetched::NotModified { max_age });
        };
        let set = JwkSet::parse_bounded(&body, MAX_KEYS).map_err(|error| FetchError::KeySet {
            url: url.to_string(),
            error,
        })?;
        if set.keys.is_empty() {
            return Err(FetchError::NoUsableKeys {
                url: url.to_string(),
                published: set.skipped.len(),
            });
        }
        Ok(Fetched::Modified {
            set,
            etag: answer.etag,
            max_age,
        })
    }

    /// The `jwks_uri` of `issuer`, by OpenID Connect Discovery 1.0 §4 and, where that is not served, by RFC 8414 §3.
    pub(crate) async fn discover(&self, issuer: &str) -> Result<Url, FetchError> {
        let mut first_error = None;
        for url in metadata_urls(issuer) {
            let url = self.rule.parse(&url).map_err(|why| FetchError::Metadata {
                url: issuer.into(),
                why,
            })?;
            match self.get(&url, None).await {
                Ok(answer) => return self.jwks_uri(issuer, &url, &answer.body.unwrap_or_default()),
                Err(error @ FetchError::Status { status: 404, .. }) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.unwrap_or_else(|| FetchError::Metadata {
            url: issuer.into(),
            why: "the issuer is not a URL".into(),
        }))
    }

    fn jwks_uri(&self, issuer: &str, url: &Url, body: &[u8]) -> Result<Url, FetchError> {
        use crate::jose::json::{self, Value};
        let bad = |why: String| FetchError::Metadata {
            url: url.to_string(),
            why,
        };
        let (mut named, mut jwks_uri) = (None, None);
        json::utf8(body)
            .and_then(|text| {
                json::object(text, |name, value| {
                    match (name, value) {
                        ("issuer", Value::String(text)) => named = Some(text.into_owned()),
                        ("jwks_uri", Value::String(text)) => jwks_uri = Some(text.into_owned()),
                        _ => {}
                    }
                    Ok::<(), JsonError>(())
                })
            })
            .map_err(|error| bad(format!("the metadata is not strict JSON: {error}")))?;
        // RFC 8414 §3.3: "MUST be identical".
        if named.as_deref() != Some(issuer) {
            return Err(bad(format!(
                "the metadata names issuer {named:?}, not `{issuer}`"
            )));
        }
        let jwks_uri = jwks_uri.ok_or_else(|| bad("the metadata has no jwks_uri".into()))?;
        self.rule.parse(&jwks_uri).map_err(bad)
    }

    async fn get(&self, url: &Url, etag: Option<&str>) -> Result<Answer, FetchError> {
        tokio::select! {
            answer = self.exchange(url, etag) => answer,
            () = self.clock.sleep(self.deadline) => Err(FetchError::Deadline {
                url: url.to_string(),
                deadline: self.deadline,
            }),
        }
    }

    async fn exchange(&self, url: &Url, etag: Option<&str>) -> Result<Answer, FetchError> {
        let transport = |error: reqwest::Error| FetchError::Transport {
            url: url.to_string(),
            why: with_causes(&error.without_url()),
        };
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            // A bomb that is never inflated cannot go off.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(transport)?;
        let max_age = max_age(response.headers());
        let etag_sent = etag.is_some();
        let etag = response
            .headers()
            .get(ETAG)
            .and_then(|value| value.to_str().ok())
            .map(Into::into);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag_sent => {
                return Ok(Answer {
                    body: None,
                    etag,
                    max_age,
                });
            }
            status => {
                return Err(FetchError::Status {
                    url: url.to_string(),
                    status: status.as_u16(),
                });
            }
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                return Err(FetchError::TooLarge {
                    url: url.to_string(),
                    limit: MAX_DOCUMENT_BYTES,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            body: Some(body),
            etag,
            max_age,
        })
    }
}

struct Answer {
    /// `None` for a 304.
    body: Option<Vec<u8>>,
    etag: Option<String>,
    max_age: Option<Duration>,
}

fn metadata_urls(issuer: &str) -> Vec<String> {
    let trimmed = issuer.strip_suffix('/').unwrap_or(issuer);
    let mut urls = vec![format!("{trimmed}/.well-known/openid-configuration")];
    // RFC 8414 §3.1 puts the well-known part between host and path.
    if let Ok(mut url) = Url::parse(issuer) {
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        urls.push(url.into());
    }
    urls
}

/// `max-age` less `Age` (RFC 9111 §4.2.1); zero for `no-store` and `no-cache`; `None` when the answer says nothing usable.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return Some(Duration::ZERO);
            }
            if let Some(seconds) = directive.strip_prefix("max-age=") {
                max_age = seconds.trim_matches('"').parse::<u64>().ok();
            }
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    max_age.map(|seconds| Duration::from_secs(seconds.saturating_sub(age)))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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
        let allowed = UrlRule { allow_http: true };
        assert!(allowed.parse("http://auth.internal/jwks").is_ok());
        assert!(allowed.parse("file:///etc/passwd").is_err());
    }

    #[test]
    fn metadata_is_looked_for_where_the_two_standards_put_it() {
        assert_eq!(
            metadata_urls("https://a.example/tenant"),
            [
                "https://a.example/tenant/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/tenant"
            ]
        );
        assert_eq!(
            metadata_urls("https://a.example/"),
            [
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server"
            ]
        );
    }

    #[test]
    fn freshness_is_max_age_less_age() {
        for (cache_control, age, expected) in [
            (Some("public, max-age=600"), None, Some(600)),
            (Some("Max-Age=600"), Some("100"), Some(500)),
            (Some("max-age=600"), Some("1000"), Some(0)),
            (Some("max-age=1000000000000"), None, Some(1_000_000_000_000)),
            (Some("max-age=-1"), None, None),
            (Some("max-age=x"), None, None),
            (Some("no-store, max-age=5"), None, Some(0)),
            (None, Some("5"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = cache_control {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(value) = age {
                headers.insert(AGE, HeaderValue::from_static(value));
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(max_age(&headers), expected, "{cache_control:?} {age:?}");
        }
    }
}
