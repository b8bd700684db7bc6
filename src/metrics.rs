//! Every metric: its name, its help, its labels. Label values come from closed lists: no input can create a time series.

mod ages;
mod sharded;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::clock::Clock;
use crate::verify::Reason;
use crate::verify::source::SourceState;
use ages::Ages;
use sharded::{ShardedCounter, ShardedCounterVec};

/// The `issuer` label of a verification that ended before a configured issuer was found.
pub(crate) const NO_ISSUER: &str = "none";

/// Upper bounds in seconds of the key set fetch histogram.
const FETCH_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A Prometheus registry with Keywheel's metrics. Cheap to clone; clones count into the same registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    verifications: ShardedCounterVec,
    token_cache: ShardedCounterVec,
    jwks_fetches: IntCounterVec,
    jwks_fetch_seconds: HistogramVec,
    jwks_keys: IntGaugeVec,
    jwks_ages: Ages,
    jwks_refreshes_suppressed: IntCounterVec,
    status_list_fetches: IntCounterVec,
    status_list_ages: Ages,
    #[cfg(feature = "server")]
    pub(crate) issuer: issuer::IssuerMetrics,
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
        let metrics = Metrics {
            registry: registry.clone(),
            verifications: ShardedCounterVec::new(counters(
                "verifications_total",
                "Tokens verified, by issuer and outcome: `accepted` or the reason for refusal.",
                &["issuer", "outcome"],
            )?),
            token_cache: ShardedCounterVec::new(counters(
                "token_cache_total",
                "Accepted tokens looked up in the token cache, by result; many misses mean more tokens in use than places.",
                &["result"],
            )?),
            jwks_fetches: counters(
                "jwks_fetches_total",
                "Fetches of an issuer's key set, by result: `modified`, `not_modified`, `pushed` for a change that a held request brought, or the kind of failure.",
                &["issuer", "result"],
            )?,
            jwks_fetch_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "keywheel_jwks_fetch_seconds",
                    "Seconds from the start of a key set fetch to its end, discovery included.",
                )
                .buckets(FETCH_BUCKETS.to_vec()),
                &["issuer"],
            )?,
            jwks_keys: gauges(
                "jwks_keys",
                "Usable keys of the issuer in force; 0 means that every token of it is refused.",
                &["issuer"],
            )?,
            jwks_ages: Ages::new(
                "jwks_age_seconds",
                "Seconds since the issuer's key set was last had or confirmed; at the staleness limit all its tokens are refused.",
            )?,
            status_list_fetches: counters(
                "status_list_fetches_total",
                "Fetches of an issuer's status lists, by result: `modified`, `not_modified`, `pushed` for a change that a held request brought, or the kind of failure.",
                &["issuer", "result"],
            )?,
            status_list_ages: Ages::new(
                "status_list_age_seconds",
                "Seconds since the issuer's status list was last had or confirmed, the oldest of several; when it runs out, tokens that refer to it are refused.",
            )?,
            jwks_refreshes_suppressed: counters(
                "jwks_refreshes_suppressed_total",
                "Fetches that an unknown kid asked for and did not get; a rise with unknown_key is a flood of invented kids.",
                &["issuer"],
            )?,
            #[cfg(feature = "server")]
            issuer: issuer::IssuerMetrics::register(registry)?,
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(metrics.verifications.clone()),
            Box::new(metrics.token_cache.clone()),
            Box::new(metrics.jwks_fetches.clone()),
            Box::new(metrics.jwks_fetch_seconds.clone()),
            Box::new(metrics.jwks_keys.clone()),
            Box::new(metrics.jwks_ages.clone()),
            Box::new(metrics.jwks_refreshes_suppressed.clone()),
            Box::new(metrics.status_list_fetches.clone()),
            Box::new(metrics.status_list_ages.clone()),
        ];
        for collector in collectors {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// The registry, for one's own metrics or exposition.
    pub fn registry(&self) -> &Registry {
        &self.registry
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
        let counter = |outcome| self.verifications.counter(&[issuer, outcome]);
        Outcomes {
            accepted: counter("accepted"),
            rejected: Reason::ALL.map(|reason| counter(reason.code())),
        }
    }

    pub(crate) fn token_cache(&self) -> CacheResults {
        CacheResults {
            hit: self.token_cache.counter(&["hit"]),
            miss: self.token_cache.counter(&["miss"]),
        }
    }

    pub(crate) fn status_lists(&self, issuer: &str) -> StatusListMetrics {
        StatusListMetrics {
            issuer: issuer.into(),
            fetches: self.status_list_fetches.clone(),
            ages: self.status_list_ages.clone(),
        }
    }

    pub(crate) fn source(&self, issuer: &str) -> SourceMetrics {
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

/// The counters of one issuer's verifications, found once and then only added to.
#[derive(Debug)]
pub(crate) struct Outcomes {
    accepted: Arc<ShardedCounter>,
    rejected: [Arc<ShardedCounter>; Reason::ALL.len()],
}

// === impl Outcomes ===

impl Outcomes {
    pub(crate) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        self.rejected[reason as usize].inc();
    }
}

/// What came of looking accepted tokens up.
#[derive(Debug)]
pub(crate) struct CacheResults {
    hit: Arc<ShardedCounter>,
    miss: Arc<ShardedCounter>,
}

// === impl CacheResults ===

impl CacheResults {
    pub(crate) fn hit(&self) {
        self.hit.inc();
    }

    pub(crate) fn missed(&self) {
        self.miss.inc();
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

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(format!("keywheel_{name}"), help), labels)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(Opts::new(format!("keywheel_{name}"), help), labels)
}

/// The metrics of an issuer.
#[cfg(feature = "server")]
pub(crate) mod issuer {
    use std::sync::Arc;
    use std::time::Duration;

    use arc_swap::ArcSwapOption;
    use http::StatusCode;
    use prometheus::core::Collector;
    use prometheus::{
        Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    };

    use super::{counters, gauges};
    use crate::issue::{KeyRing, RotationPolicy, Stage, Watchers};
    use crate::jose::{Algorithm, NumericDate};

    /// The `audience` label of tokens for an audience that the configuration does not name.
    const OTHER_AUDIENCE: &str = "other";

    /// Upper bounds in seconds: EdDSA takes tens of microseconds, RS256 a millisecond.
    const SIGNING_BUCKETS: &[f64] = &[
        0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1,
    ];

    /// Upper bounds in seconds: the promise is one second.
    const PROPAGATION_BUCKETS: &[f64] = &[
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 30.0, 60.0, 600.0,
    ];

    #[derive(Debug, Clone)]
    pub(crate) struct IssuerMetrics {
        keys: IntGaugeVec,
        next_transition: IntGaugeVec,
        transitions: IntCounterVec,
        tokens_issued: IntCounterVec,
        http_requests: IntCounterVec,
        sign_ins: IntCounterVec,
        sessions_active: IntGauge,
        watchers: WatcherGauges,
        revocation_propagation: Histogram,
        signing_key_age: IntGaugeVec,
        signing_seconds: HistogramVec,
    }

    /// `jwks_watchers`, counted when it is asked for.
    #[derive(Clone)]
    struct WatcherGauges {
        gauges: IntGaugeVec,
        watchers: Arc<ArcSwapOption<Watchers>>,
    }

    // === impl WatcherGauges ===

    impl Collector for WatcherGauges {
        fn desc(&self) -> Vec<&prometheus::core::Desc> {
            self.gauges.desc()
        }

        fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
            if let Some(watchers) = &*self.watchers.load() {
                let status = watchers.status();
                for (set, count) in [("current", status.current), ("behind", status.behind)] {
                    let gauge = self.gauges.with_label_values(&[set]);
                    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            self.gauges.collect()
        }
    }

    impl std::fmt::Debug for WatcherGauges {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("WatcherGauges")
        }
    }

    // === impl IssuerMetrics ===

    impl IssuerMetrics {
        pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
            let metrics = IssuerMetrics {
                keys: gauges(
                    "keys",
                    "Keys in the ring, by algorithm and stage; anything but one signing key per algorithm is an alarm.",
                    &["alg", "stage"],
                )?,
                next_transition: gauges(
                    "next_transition_timestamp_seconds",
                    "Time of the next planned change of the ring, in seconds since the epoch; in the past it is overdue.",
                    &["alg"],
                )?,
                transitions: counters(
                    "transitions_total",
                    "Changes of the ring carried out by this process, by new stage and cause.",
                    &["alg", "to", "cause"],
                )?,
                tokens_issued: counters(
                    "tokens_issued_total",
                    "Tokens minted, by algorithm and configured audience.",
                    &["alg", "audience"],
                )?,
                http_requests: counters(
                    "http_requests_total",
                    "HTTP requests answered, by route, method and status.",
                    &["route", "method", "status"],
                )?,
                sign_ins: counters(
                    "sign_ins_total",
                    "Attempts to sign in, by outcome: `signed_in`, or why not.",
                    &["outcome"],
                )?,
                sessions_active: IntGauge::new(
                    "keywheel_sessions_active",
                    "Sessions that have neither ended nor expired, as last counted.",
                )?,
                watchers: WatcherGauges {
                    gauges: gauges(
                        "jwks_watchers",
                        "Verifiers that watch the key set: `current` hold the one in force, `behind` were told of a change and have not come back.",
                        &["set"],
                    )?,
                    watchers: Arc::default(),
                },
                signing_key_age: gauges(
                    "signing_key_age_seconds",
                    "Seconds since the key that signs began to; past keys.rotate_every a rotation is overdue.",
                    &["alg"],
                )?,
                signing_seconds: HistogramVec::new(
                    HistogramOpts::new(
                        "keywheel_signing_seconds",
                        "Seconds that one signature of a token took.",
                    )
                    .buckets(SIGNING_BUCKETS.to_vec()),
                    &["alg"],
                )?,
                revocation_propagation: Histogram::with_opts(
                    HistogramOpts::new(
                        "keywheel_revocation_propagation_seconds",
                        "Seconds from the publication of a revocation to each watching verifier's coming back with it.",
                    )
                    .buckets(PROPAGATION_BUCKETS.to_vec()),
                )?,
            };
            registry.register(Box::new(metrics.keys.clone()))?;
            registry.register(Box::new(metrics.sign_ins.clone()))?;
            registry.register(Box::new(metrics.sessions_active.clone()))?;
            registry.register(Box::new(metrics.next_transition.clone()))?;
            registry.register(Box::new(metrics.transitions.clone()))?;
            registry.register(Box::new(metrics.tokens_issued.clone()))?;
            registry.register(Box::new(metrics.http_requests.clone()))?;
            registry.register(Box::new(metrics.watchers.clone()))?;
            registry.register(Box::new(metrics.revocation_propagation.clone()))?;
            registry.register(Box::new(metrics.signing_key_age.clone()))?;
            registry.register(Box::new(metrics.signing_seconds.clone()))?;
            Ok(metrics)
        }

        /// From now on these watchers are shown.
        pub(crate) fn watch(&self, watchers: &Watchers) {
            self.watchers
                .watchers
                .store(Some(Arc::new(watchers.clone())));
        }

        pub(crate) fn revocation_propagation(&self) -> Histogram {
            self.revocation_propagation.clone()
        }

        pub(crate) fn show(&self, ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) {
            for &alg in &policy.algorithms {
                for stage in Stage::ALL {
                    let count = ring
                        .keys
                        .iter()
                        .filter(|key| key.alg == alg && key.stage == stage)
                        .count();
                    self.keys
                        .with_label_values(&[alg.name(), stage.name()])
                        .set(i64::try_from(count).unwrap_or(i64::MAX));
                }
                let next = ring
                    .keys
                    .iter()
                    .filter(|key| key.alg == alg)
                    .filter_map(|key| policy.next_step_at(ring, key, now))
                    .min();
                let next_transition = self.next_transition.with_label_values(&[alg.name()]);
                next_transition.set(next.map_or(0, NumericDate::seconds));
            }
        }

        pub(crate) fn show_ages(&self, ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) {
            for &alg in &policy.algorithms {
                let since = ring.signing(alg).and_then(|key| key.signing_since);
                let age = since.map_or(Duration::ZERO, |since| now.since(since));
                self.signing_key_age
                    .with_label_values(&[alg.name()])
                    .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            }
        }

        pub(crate) fn transition(&self, alg: Algorithm, to: &'static str, cause: &'static str) {
            self.transitions
                .with_label_values(&[alg.name(), to, cause])
                .inc();
        }

        /// `audience` only if the configuration names it: a caller's own would make time series.
        pub(crate) fn signed(&self, alg: Algorithm, took: Duration) {
            self.signing_seconds
                .with_label_values(&[alg.name()])
                .observe(took.as_secs_f64());
        }

        pub(crate) fn minted(&self, alg: Algorithm, audience: Option<&str>) {
            self.tokens_issued
                .with_label_values(&[alg.name(), audience.unwrap_or(OTHER_AUDIENCE)])
                .inc();
        }

        /// `outcome` is one of the program's own words.
        pub(crate) fn sign_in(&self, outcome: &'static str) {
            self.sign_ins.with_label_values(&[outcome]).inc();
        }

        pub(crate) fn sessions_active(&self, count: u64) {
            self.sessions_active
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }

        pub(crate) fn http_request(&self, route: &str, method: &str, status: StatusCode) {
            self.http_requests
                .with_label_values(&[route, method, status.as_str()])
                .inc();
        }
    }
}
