//! One bounded GET: a key set, a discovery document, a status list. Never reads past its limit, never waits past its deadline,
//! and goes only where the configuration sent it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use reqwest::{Response, StatusCode, Url};

use super::dial::{MAX_REDIRECTS, UrlRule};
use super::freshness::fresh_for;
use crate::clock::Clock;
use crate::jose::SetError;

/// RFC 7240 §2 and §3.
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// For key sets and metadata. A key set of a hundred RSA keys is 50 KiB.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
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
    /// A redirect that leads elsewhere, or too far; or one that the caller's own HTTP client has followed unasked.
    #[error("GET {url}: a redirect to {to}, which is not allowed")]
    Redirected {
        /// Where.
        url: String,
        /// Where it led.
        to: String,
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
    /// The body is no status list of this issuer's, signed by it and in force.
    #[error("GET {url}: {why}")]
    StatusList {
        /// Where.
        url: String,
        /// What is wrong with it.
        why: String,
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
            FetchError::Status { .. } | FetchError::Redirected { .. } => "status",
            FetchError::TooLarge { .. } => "too_large",
            FetchError::KeySet { .. } | FetchError::StatusList { .. } => "bad_document",
            FetchError::NoUsableKeys { .. } => "no_usable_keys",
            FetchError::Metadata { .. } => "bad_metadata",
        }
    }
}

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) url: &'a Url,
    pub(crate) accept: &'static str,
    /// The longest body, in bytes.
    pub(crate) max_bytes: usize,
    /// The entity tag of what we have.
    pub(crate) etag: Option<&'a str>,
    /// `Prefer: wait` (RFC 7240 §4.3): how long the server may hold the request for something new. Zero asks only whether
    /// it would.
    pub(crate) wait: Option<Duration>,
}

// === impl Exchange ===

impl<'a> Exchange<'a> {
    pub(crate) fn plain(url: &'a Url, accept: &'static str) -> Self {
        Exchange {
            url,
            accept,
            max_bytes: MAX_DOCUMENT_BYTES,
            etag: None,
            wait: None,
        }
    }
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `None` for a 304.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) etag: Option<String>,
    pub(crate) fresh_for: Option<Duration>,
    /// The server says that it holds requests.
    pub(crate) waits: bool,
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

    pub(crate) fn rule(&self) -> UrlRule {
        self.rule
    }

    /// One exchange within its deadline, redirects included: what the server may wait, and what an exchange may take.
    pub(crate) async fn get(&self, exchange: Exchange<'_>) -> Result<Answer, FetchError> {
        let deadline = self.deadline + exchange.wait.unwrap_or_default();
        tokio::select! {
            answer = self.follow(exchange) => answer,
            () = self.clock.sleep(deadline) => Err(FetchError::Deadline {
                url: exchange.url.to_string(),
                deadline,
            }),
        }
    }

    async fn follow(&self, exchange: Exchange<'_>) -> Result<Answer, FetchError> {
        let mut url = exchange.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, exchange).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED
            {
                return read(&url, response, exchange).await;
            }
            url = self.redirect(&url, &response)?;
        }
        Err(FetchError::Redirected {
            url: exchange.url.to_string(),
            to: url.to_string(),
        })
    }

    fn redirect(&self, url: &Url, response: &Response) -> Result<Url, FetchError> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok());
        match location {
            Some(to) if self.rule.same_origin_redirects => {
                self.rule
                    .redirect(url, to)
                    .ok_or_else(|| FetchError::Redirected {
                        url: url.to_string(),
                        to: to.to_owned(),
                    })
            }
            _ => Err(FetchError::Status {
                url: url.to_string(),
                status: response.status().as_u16(),
            }),
        }
    }

    async fn send(&self, url: &Url, exchange: Exchange<'_>) -> Result<Response, FetchError> {
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, exchange.accept)
            // A bomb that is never inflated cannot go off.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(etag) = exchange
            .etag
            .and_then(|etag| HeaderValue::from_str(etag).ok())
        {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(wait) = exchange.wait {
            request = request.header(PREFER, format!("wait={}", wait.as_secs()));
        }
        let response = request
            .send()
            .await
            .map_err(|error| transport(url, error))?;
        // Our own client follows nothing; a caller's might.
        if response.url() != url {
            return Err(FetchError::Redirected {
                url: url.to_string(),
                to: response.url().to_string(),
            });
        }
        Ok(response)
    }
}

async fn read(
    url: &Url,
    mut response: Response,
    exchange: Exchange<'_>,
) -> Result<Answer, FetchError> {
    let headers = response.headers();
    let mut answer = Answer {
        body: None,
        etag: headers
            .get(ETAG)
            .and_then(|value| value.to_str().ok())
            .map(Into::into),
        fresh_for: fresh_for(headers),
        waits: waits(headers),
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if exchange.etag.is_some() => return Ok(answer),
        status => {
            return Err(FetchError::Status {
                url: url.to_string(),
                status: status.as_u16(),
            });
        }
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport(url, error))?
    {
        if body.len() + chunk.len() > exchange.max_bytes {
            return Err(FetchError::TooLarge {
                url: url.to_string(),
                limit: exchange.max_bytes,
            });
        }
        body.extend_from_slice(&chunk);
    }
    answer.body = Some(body);
    Ok(answer)
}

/// Whether `Preference-Applied` (RFC 7240 §3) names `wait`.
fn waits(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFERENCE_APPLIED).iter();
    values
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .any(|applied| {
            let name = applied.split('=').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("wait")
        })
}

fn transport(url: &Url, error: reqwest::Error) -> FetchError {
    FetchError::Transport {
        url: url.to_string(),
        why: with_causes(&error.without_url()),
    }
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
