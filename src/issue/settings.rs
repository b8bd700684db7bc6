//! `TokenSettings`: what the tokens of an issuer have in common, and what each audience has of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jose::Algorithm;

/// What the tokens of an issuer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// `iss`, exactly as verifiers are configured with.
    pub issuer: String,
    /// Life of a token that asks for none of its own. 15 minutes.
    pub ttl: Duration,
    /// The audiences by name.
    pub audiences: BTreeMap<String, Audience>,
}

/// What is special about tokens for one audience.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// The algorithm to sign by; the policy's first if none is named.
    pub algorithm: Option<Algorithm>,
    /// The scopes that it knows.
    pub scopes: Vec<String>,
    /// The scopes of a user to whom none were given; all of them by default.
    pub default_scopes: Option<Vec<String>>,
    /// How long its tokens live, if not as all others.
    pub ttl: Option<Duration>,
}

// === impl TokenSettings ===

impl TokenSettings {
    /// Tokens of this issuer that live for 15 minutes.
    pub fn new(issuer: impl Into<String>) -> Self {
        TokenSettings {
            issuer: issuer.into(),
            ttl: Duration::from_secs(15 * 60),
            audiences: BTreeMap::new(),
        }
    }
}
