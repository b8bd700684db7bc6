//! What a verifier counts: handles that are found once and then only added to.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::ages::Ages;
use super::catalogue::Registrar;
use super::histogram::{ShardedHistogram, ShardedHistogramVec};
use super::sharded::{ShardedCounter, ShardedCounterVec};
use crate::clock::Clock;
use crate::verify::Reason;
use crate::verify::source::SourceState;

/// Upper bounds in seconds of the key set fetch histogram.
const FETCH_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Upper bounds in nanoseconds: a token seen before takes a tenth of a microsecond, a new one some ten of them.
const VERIFICATION_BOUNDS: &[u64] = &[
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The metrics of verifiers.
#[derive(Debug, Clone)]
pub(super) struct VerifierMetrics {
    verifications: ShardedCounterVec,
    seconds: ShardedHistogramVec,
    token_cache: ShardedCounterVec,
    jwks_fetches: IntCounterVec,
    jwks_fetch_seconds: HistogramVec,
    jwks_keys: IntGaugeVec,
    jwks_ages: Ages,
    jwks_max_stale: GaugeVec,
    jwks_refreshes_suppressed: IntCounterVec,
    status_list_fetches: IntCounterVec,
    status_list_ages: Ages,
}

// === impl VerifierMetrics ===

impl VerifierMetrics {
    pub(super) fn register(to: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(VerifierMetrics {
            verifications: to.sharded_counters(
                "verifications_total",
                &["issuer", "outcome"],
                "Tokens verified, by issuer and outcome: `accepted` or the reason for refusal.",
            )?,
            seconds: to.sharded_histograms(
                "verification_seconds",
                "issuer",
                VERIFICATION_BOUNDS,
                "Seconds of one verification, waiting for a fetch not included; of cached ones, one in 64 is timed and counts for 64. A rise means a slower machine, or fewer tokens that were seen before.",
            )?,
            token_cache: to.sharded_counters(
                "token_cache_total",
                &["result"],
                "Accepted tokens looked up in the token cache, by result; many misses mean more tokens in use than places.",
            )?,
            jwks_fetches: to.counters(
                "jwks_fetches_total",
                &["issuer", "result"],
                "Fetches of an issuer's key set, by result: `modified`, `not_modified`, `pushed` for a change that a held request brought, or the kind of failure.",
            )?,
            jwks_fetch_seconds: to.histograms(
                "jwks_fetch_seconds",
                &["issuer"],
                FETCH_BOUNDS,
                "Seconds from the start of a key set fetch to its end, discovery included; a rise means a slow issuer or network.",
            )?,
            jwks_keys: to.gauges(
                "jwks_keys",
                &["issuer"],
                "Usable keys of the issuer in force; 0 means that every token of it is refused.",
            )?,
            jwks_ages: to.ages(
                "jwks_age_seconds",
                "Seconds since the issuer's key set was last had or confirmed; at jwks_max_stale_seconds all its tokens are refused.",
            )?,
            jwks_max_stale: to.float_gauges(
                "jwks_max_stale_seconds",
                &["issuer"],
                "Age in seconds at which the issuer's key set is dropped and all its tokens are refused.",
            )?,
            status_list_fetches: to.counters(
                "status_list_fetches_total",
                &["issuer", "result"],
                "Fetches of an issuer's status lists, by result: `modified`, `not_modified`, `pushed` for a change that a held request brought, or the kind of failure.",
            )?,
            status_list_ages: to.ages(
                "status_list_age_seconds",
                "Seconds since the issuer's status list was last had or confirmed, the oldest of several; when it runs out, tokens that refer to it are refused.",
            )?,
            jwks_refreshes_suppressed: to.counters(
                "jwks_refreshes_suppressed_total",
                &["issuer"],
                "Fetches that an unknown kid asked for and did not get; a rise with unknown_key is a flood of invented kids.",
            )?,
        })
    }

    pub(super) fn outcomes(&self, issuer: &str) -> Outcomes {
        let counter = |outcome| self.verifications.counter(&[issuer, outcome]);
        let accepted = Look::ALL.map(|look| {
            let accepted = self.verifications.part(&[issuer, "accepted"], look.name());
            if look != Look::Off {
                self.token_cache
                    .show_also(&[look.name()], issuer, &accepted);
            }
            accepted
        });
        Outcomes {
            accepted,
            rejected: Reason::ALL.map(|reason| counter(reason.code())),
            seconds: self.seconds.histogram(issuer),
        }
    }

    pub(super) fn token_cache(&self) -> CacheResults {
        CacheResults {
            refused: [Look::Hit, Look::Miss].map(|look| self.token_cache.counter(&[look.name()])),
        }
    }

    pub(super) fn status_lists(&self, issuer: &str) -> StatusListMetrics {
        StatusListMetrics {
            issuer: issuer.into(),
            fetches: self.status_list_fetches.clone(),
            ages: self.status_list_ages.clone(),
        }
    }

    pub(super) fn source(&self, issuer: &str, max_stale: Duration) -> SourceMetrics {
        let limit = self.jwks_max_stale.with_label_values(&[issuer]);
        limit.set(max_stale.as_secs_f64());
        SourceMetrics {
            issuer: issuer.into(),
            fetches: self.jwks_fetches.clone(),
            seconds: self.jwks_fetch_seconds.with_label_values(&[issuer]),
            keys: self.jwks_keys.with_label_values(&[issuer]),
            ages: self.jwks_ages.clone(),
            suppressed: self.jwks_refreshes_suppressed.with_label_values(&[issuer]),
        }
    }
}

/// What came of looking an authentic token up in the token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Hit,
    Miss,
    /// There is no cache.
    Off,
}

// === impl Look ===

impl Look {
    const ALL: [Look; 3] = [Look::Hit, Look::Miss, Look::Off];

    fn name(self) -> &'static str {
        match self {
            Look::Hit => "hit",
            Look::Miss => "miss",
            Look::Off => "off",
        }
    }
}

/// The counters of one issuer's verifications.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// By [`Look`]: one addition counts the acceptance and the hit.
    accepted: [ShardedCounter; Look::ALL.len()],
    rejected: [ShardedCounter; Reason::ALL.len()],
    seconds: Arc<ShardedHistogram>,
}

// === impl Outcomes ===

impl Outcomes {
    #[inline]
    pub(crate) fn accepted(&self, look: Look) {
        self.accepted[look as usize].inc();
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        self.rejected[reason as usize].inc();
    }

    /// One verification took `took`, and stands for as many as `weight` says.
    pub(crate) fn took(&self, took: Duration, weight: u64) {
        self.seconds.observe(took, weight);
    }
}

/// What came of looking those authentic tokens up that were refused in the end; [`Outcomes`] counts the accepted ones.
#[derive(Debug)]
pub(crate) struct CacheResults {
    /// [`Look::Hit`], [`Look::Miss`].
    refused: [ShardedCounter; 2],
}

// === impl CacheResults ===

impl CacheResults {
    pub(crate) fn refused(&self, look: Look) {
        if let Some(counter) = self.refused.get(look as usize) {
            counter.inc();
        }
    }
}

/// The metrics of one issuer's status lists.
#[derive(Debug, Clone)]
pub(crate) struct StatusListMetrics {
    issuer: String,
    fetches: IntCounterVec,
    ages: Ages,
}

// === impl StatusListMetrics ===

impl StatusListMetrics {
    pub(crate) fn fetched(&self, result: &'static str) {
        self.fetches
            .with_label_values(&[self.issuer.as_str(), result])
            .inc();
    }

    /// From now on the age of this list is shown.
    pub(crate) fn watch(&self, state: &Arc<ArcSwap<SourceState>>, clock: &Arc<dyn Clock>) {
        self.ages.watch(&self.issuer, state, clock);
    }
}

/// The metrics of one remote key set.
#[derive(Debug, Clone)]
pub(crate) struct SourceMetrics {
    issuer: String,
    fetches: IntCounterVec,
    seconds: prometheus::Histogram,
    keys: IntGauge,
    ages: Ages,
    suppressed: IntCounter,
}

// === impl SourceMetrics ===

impl SourceMetrics {
    /// `took` is `None` for a request that was held: how long says nothing about the server.
    pub(crate) fn fetched(&self, result: &'static str, took: Option<Duration>) {
        self.fetches
            .with_label_values(&[self.issuer.as_str(), result])
            .inc();
        if let Some(took) = took {
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// From now on the age of this source is shown.
    pub(crate) fn watch(&self, state: &Arc<ArcSwap<SourceState>>, clock: &Arc<dyn Clock>) {
        self.ages.watch(&self.issuer, state, clock);
    }

    pub(crate) fn keys(&self, count: usize) {
        self.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn suppressed(&self) {
        self.suppressed.inc();
    }
}
