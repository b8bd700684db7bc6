//! `keywheel gate`: a proxy asks whether a request may pass, and who it is from. nginx's `auth_request`, Caddy's `forward_auth`,
//! Traefik's ForwardAuth and Envoy's `ext_authz` ask in different words; the answer is the same.

mod credentials;
mod identity;
mod original;
mod path;
mod question;
mod rules;
mod service;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::verify::Verifier;
pub use rules::{Access, Rule, RuleError, Rules};
pub use service::{GateFuture, GateService};

/// What becomes of a request while the issuer's keys cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    /// 503 with `Retry-After`.
    #[default]
    Refuse,
    /// It passes without an identity, where no more than a token is asked for: the backend then sees a stranger.
    Anonymous,
}

/// What a gate decides by. Replaced as a whole when the configuration changes.
#[derive(Clone)]
pub struct GateRules {
    /// Who is believed.
    pub verifier: Verifier,
    /// What a request must have.
    pub rules: Rules,
    /// The realm of challenges.
    pub realm: String,
    /// A cookie that may hold the token of a browser's navigation.
    pub cookie: Option<String>,
    /// While keys cannot be had.
    pub unavailable: Unavailable,
}

/// A running gate. Cheap to clone; clones share the rules.
#[derive(Clone)]
pub struct Gate {
    current: Arc<ArcSwap<GateRules>>,
}

// === impl Gate ===

impl Gate {
    /// A gate that decides by `rules`.
    pub fn new(rules: GateRules) -> Self {
        Gate {
            current: Arc::new(ArcSwap::from_pointee(rules)),
        }
    }

    /// Decides by other rules from the next request on.
    pub fn replace(&self, rules: GateRules) {
        self.current.store(Arc::new(rules));
    }

    /// What it decides by at the moment.
    pub fn current(&self) -> Arc<GateRules> {
        self.current.load_full()
    }

    /// What answers at `/verify` and `/envoy/…`, and is counted in `metrics`.
    pub fn service(&self, metrics: &Metrics) -> GateService {
        GateService::new(self.current.clone(), metrics)
    }
}
