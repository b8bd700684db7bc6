//! `TrustedIssuer`: whom to trust, where the keys are, and what the tokens must be.

use std::time::Duration;

use reqwest::Url;

use super::builder::{BuildError, MAX_LEEWAY};
use super::dial::UrlRule;
use super::keyset::Reader;
use super::source::Location;
use super::status::StatusCheck;
use crate::jose::{Algorithm, JwkSet};

/// One issuer to trust: where its keys are, and what its tokens must be.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    pub(super) name: String,
    pub(super) static_keys: Option<JwkSet>,
    pub(super) published: Option<Reader>,
    /// Places of the one key set, in the order in which they are tried; by discovery if there is none.
    places: Vec<Place>,
    pub(super) audiences: Vec<Box<str>>,
    pub(super) algorithms: Vec<Algorithm>,
    leeway: Option<Duration>,
    status: Option<StatusCheck>,
}

#[derive(Debug, Clone)]
enum Place {
    Discover,
    JwksUrl(String),
}

// === impl TrustedIssuer ===

impl TrustedIssuer {
    /// Trusts tokens whose `iss` is exactly this string; its keys are found by discovery unless told otherwise.
    ///
    /// By default EdDSA, ES256 and RS256 are allowed.
    pub fn new(issuer: impl Into<String>) -> Self {
        TrustedIssuer {
            name: issuer.into(),
            static_keys: None,
            published: None,
            places: Vec::new(),
            audiences: Vec::new(),
            algorithms: vec![Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256],
            leeway: None,
            status: None,
        }
    }

    /// The key set is at this URL; no discovery. Call again for further places of the same set: they are tried in this order,
    /// and the first that answers is believed.
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.places.push(Place::JwksUrl(url.into()));
        self
    }

    /// The key set is where the issuer's metadata says. That is the default; said together with
    /// [`jwks_url`](Self::jwks_url), it is one of several places.
    pub fn discover(mut self) -> Self {
        self.places.push(Place::Discover);
        self
    }

    /// These keys, for good; nothing is fetched.
    pub fn static_keys(mut self, set: JwkSet) -> Self {
        self.static_keys = Some(set);
        self
    }

    /// The keys that this process publishes itself, by the [`Publisher`](super::Publisher) at the other end; nothing is fetched.
    pub fn published_keys(mut self, keys: Reader) -> Self {
        self.published = Some(keys);
        self
    }

    /// As [`VerifierBuilder::leeway`](super::VerifierBuilder::leeway), for this issuer alone.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = Some(leeway);
        self
    }

    /// What becomes of tokens that refer to a status list, which says whose session has ended. By default the list decides, and
    /// tokens are refused while it cannot be had; for static keys nothing is fetched, and so nothing is asked.
    pub fn status_check(mut self, check: StatusCheck) -> Self {
        self.status = Some(check);
        self
    }

    /// Accepts tokens meant for this audience; call again for further ones.
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Allows these algorithms and no others.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    pub(super) fn status_rule(&self) -> StatusCheck {
        self.status.unwrap_or(match self.has_keys() {
            true => StatusCheck::Ignore,
            false => StatusCheck::FailClosed,
        })
    }

    /// Whether anything of this issuer's is ever fetched.
    pub(super) fn fetches(&self) -> bool {
        !self.has_keys() || self.status_rule() != StatusCheck::Ignore
    }

    /// Its keys are at hand, and none are fetched.
    pub(super) fn has_keys(&self) -> bool {
        self.static_keys.is_some() || self.published.is_some()
    }

    /// Where to fetch; nothing for keys that are at hand.
    pub(super) fn locations(&self, rule: UrlRule) -> Result<Vec<Location>, BuildError> {
        if self.has_keys() {
            return Ok(Vec::new());
        }
        let places = match &*self.places {
            [] => &[Place::Discover],
            places => places,
        };
        let location = |place: &Place| match place {
            Place::JwksUrl(url) => Ok(Location::Url(parse(rule, "jwks_url", url)?)),
            Place::Discover => {
                parse(rule, "issuer", &self.name)?;
                Ok(Location::Discover {
                    issuer: self.name.clone(),
                })
            }
        };
        places.iter().map(location).collect()
    }

    /// Whether what was said of it can be.
    pub(super) fn check(&self, leeway: Duration) -> Result<(), BuildError> {
        let name = || self.name.clone();
        if self.audiences.is_empty() || self.audiences.iter().any(|aud| aud.is_empty()) {
            return Err(BuildError::NoAudience { issuer: name() });
        }
        if self.algorithms.is_empty() {
            return Err(BuildError::NoAlgorithms { issuer: name() });
        }
        if self.has_keys() && !self.places.is_empty() {
            return Err(BuildError::StaticAndRemote { issuer: name() });
        }
        let leeway = self.leeway_or(leeway);
        if leeway > MAX_LEEWAY {
            return Err(BuildError::Leeway { leeway });
        }
        Ok(())
    }

    /// Its own leeway, or this one.
    pub(super) fn leeway_or(&self, leeway: Duration) -> Duration {
        self.leeway.unwrap_or(leeway)
    }
}

fn parse(rule: UrlRule, setting: &'static str, url: &str) -> Result<Url, BuildError> {
    rule.parse(url)
        .map_err(|why| BuildError::Url { setting, why })
}
