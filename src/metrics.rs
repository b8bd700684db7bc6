//! Every metric: its name, its help, its labels. Label values come from closed lists: no input can create a time series.
//!
//! `docs/metrics.md` lists them for people; a test holds the two against each other.

mod ages;
mod audit;
mod catalogue;
mod histogram;
#[cfg(feature = "server")]
pub(crate) mod http;
#[cfg(feature = "server")]
pub(crate) mod issuer;
#[cfg(feature = "server")]
mod pulled;
mod sharded;
mod verifier;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder as _, Registry, TextEncoder};

pub(crate) use audit::AuditCounts;
pub use catalogue::{Described, Kind};
#[cfg(feature = "server")]
pub(crate) use http::{ConnectionEnd, ConnectionMetrics, RouteMetrics};
pub(crate) use sharded::{SAMPLED, is_sampled};
pub(crate) use verifier::{CacheResults, Look, Outcomes, SourceMetrics, StatusListMetrics};

use audit::AuditMetrics;
use catalogue::Registrar;
use verifier::VerifierMetrics;

/// The `issuer` label of a verification that ended before a configured issuer was found.
pub(crate) const NO_ISSUER: &str = "none";

/// A Prometheus registry with Keywheel's metrics. Cheap to clone; clones count into the same registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    catalogue: Arc<[Described]>,
    verifier: VerifierMetrics,
    audit: AuditMetrics,
    #[cfg(feature = "server")]
    pub(crate) issuer: issuer::IssuerMetrics,
    #[cfg(feature = "server")]
    pub(crate) http: http::HttpMetrics,
}

// === impl Metrics ===

impl Metrics {
    /// Metrics in a registry of their own.
    ///
    /// # Errors
    /// None in practice; a name that prometheus refuses would be one.
    pub fn new() -> Result<Self, prometheus::Error> {
        Self::register(&Registry::new())
    }

    /// Metrics in a registry that one's own program serves.
    ///
    /// # Errors
    /// `AlreadyReg` if the registry has Keywheel's metrics already: clone that `Metrics` instead.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut registrar = Registrar::new(registry);
        let to = &mut registrar;
        let verifier = VerifierMetrics::register(to)?;
        let audit = AuditMetrics::register(to)?;
        #[cfg(feature = "server")]
        let issuer = issuer::IssuerMetrics::register(to)?;
        #[cfg(feature = "server")]
        let http = http::HttpMetrics::register(to)?;
        let build = to.gauges(
            "build_info",
            &["version"],
            "1, with the version as a label.",
        )?;
        let version = env!("CARGO_PKG_VERSION");
        build.with_label_values(&[version]).set(1);
        Ok(Metrics {
            registry: registry.clone(),
            catalogue: registrar.into_list().into(),
            verifier,
            audit,
            #[cfg(feature = "server")]
            issuer,
            #[cfg(feature = "server")]
            http,
        })
    }

    /// The registry, for one's own metrics or exposition.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every metric there is, also those that have no series yet.
    pub fn catalogue(&self) -> &[Described] {
        &self.catalogue
    }

    /// Everything in the registry in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        // Fails only if a metric family is empty or not UTF-8, and gather leaves such out.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        String::from_utf8(out).unwrap_or_default()
    }

    pub(crate) fn outcomes(&self, issuer: &str) -> Outcomes {
        self.verifier.outcomes(issuer)
    }

    pub(crate) fn token_cache(&self) -> CacheResults {
        self.verifier.token_cache()
    }

    pub(crate) fn status_lists(&self, issuer: &str) -> StatusListMetrics {
        self.verifier.status_lists(issuer)
    }

    /// `max_stale` is how old the key set may become before it is dropped.
    pub(crate) fn source(&self, issuer: &str, max_stale: Duration) -> SourceMetrics {
        self.verifier.source(issuer, max_stale)
    }

    pub(crate) fn audit_counts(&self) -> AuditCounts {
        self.audit.counts()
    }
}
