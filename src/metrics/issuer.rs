//! What an issuer counts: its keys and their stages, tokens, sign-ins, passwords, stores.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::catalogue::Registrar;
use super::pulled::PulledGauges;
use crate::issue::{HashQueue, KeyRecord, KeyRing, RotationPolicy, Stage, Watchers};
use crate::jose::{Algorithm, NumericDate};

/// The `audience` label of tokens for an audience that the configuration does not name.
const OTHER_AUDIENCE: &str = "other";

/// Upper bounds in seconds: EdDSA takes tens of microseconds, RS256 a millisecond.
const SIGNING_BOUNDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1,
];

/// Upper bounds in seconds: the promise is one second.
const PROPAGATION_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 30.0, 60.0, 600.0,
];

/// Upper bounds in seconds: some 20 ms by the default settings.
const HASH_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// How long a revoked key is shown: somebody looks at the picture in the morning.
const REVOKED_SHOWN: Duration = Duration::from_secs(24 * 3600);

/// What came of an attempt to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignIn {
    SignedIn,
    InvalidCredentials,
    Disabled,
    RateLimited,
    Busy,
    Unavailable,
}

// === impl SignIn ===

impl SignIn {
    pub(crate) const ALL: [SignIn; 6] = [
        SignIn::SignedIn,
        SignIn::InvalidCredentials,
        SignIn::Disabled,
        SignIn::RateLimited,
        SignIn::Busy,
        SignIn::Unavailable,
    ];

    /// The metric's label and the audit trail's reason.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            SignIn::SignedIn => "signed_in",
            SignIn::InvalidCredentials => "invalid_credentials",
            SignIn::Disabled => "disabled",
            SignIn::RateLimited => "rate_limited",
            SignIn::Busy => "busy",
            SignIn::Unavailable => "unavailable",
        }
    }
}

/// What is kept, and may not be reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Keys,
    Accounts,
}

// === impl Store ===

impl Store {
    const fn name(self) -> &'static str {
        match self {
            Store::Keys => "keys",
            Store::Accounts => "accounts",
        }
    }
}

/// The metrics of an issuer.
#[derive(Debug, Clone)]
pub(crate) struct IssuerMetrics {
    keys: IntGaugeVec,
    key_stage: IntGaugeVec,
    next_transition: IntGaugeVec,
    transitions: IntCounterVec,
    tokens_issued: IntCounterVec,
    sign_ins: IntCounterVec,
    sessions_active: IntGauge,
    watchers: PulledGauges,
    revocation_propagation: Histogram,
    signing_key_age: IntGaugeVec,
    rotation_period: IntGaugeVec,
    signing_seconds: HistogramVec,
    password_hashes: PulledGauges,
    password_hash_seconds: Histogram,
    store_up: IntGaugeVec,
}

// === impl IssuerMetrics ===

impl IssuerMetrics {
    pub(super) fn register(to: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(IssuerMetrics {
            keys: to.gauges(
                "keys",
                &["alg", "stage"],
                "Keys in the ring, by algorithm and stage; anything but one signing key per algorithm is an alarm.",
            )?,
            key_stage: to.gauges(
                "key_stage",
                &["alg", "kid"],
                "The stage of each key that is published, or was revoked within the last day: 1 announced, 2 signing, 3 retired, 4 revoked.",
            )?,
            signing_key_age: to.gauges(
                "signing_key_age_seconds",
                &["alg"],
                "Seconds since the key that signs began to; past rotation_period_seconds a rotation is overdue.",
            )?,
            rotation_period: to.gauges(
                "rotation_period_seconds",
                &["alg"],
                "Age in seconds at which a signing key is rotated away: keys.rotate_every of the configuration.",
            )?,
            next_transition: to.gauges(
                "next_transition_timestamp_seconds",
                &["alg"],
                "Time of the next planned change of the ring, in seconds since the epoch, 0 if none is planned; in the past it is overdue.",
            )?,
            transitions: to.counters(
                "transitions_total",
                &["alg", "to", "cause"],
                "Changes of the ring as this process saw them, its own and those of the command line, by new stage and cause.",
            )?,
            watchers: to.pulled_gauges(
                "jwks_watchers",
                &["set"],
                "Verifiers that watch the key set: `current` hold the one in force, `behind` were told of a change and have not come back.",
            )?,
            revocation_propagation: to.histogram(
                "revocation_propagation_seconds",
                PROPAGATION_BOUNDS,
                "Seconds from the publication of a revocation to each watching verifier's coming back with it; a rise means slow verifiers or a slow network.",
            )?,
            tokens_issued: to.counters(
                "tokens_issued_total",
                &["alg", "audience"],
                "Tokens minted, by algorithm and configured audience.",
            )?,
            signing_seconds: to.histograms(
                "signing_seconds",
                &["alg"],
                SIGNING_BOUNDS,
                "Seconds that one signature of a token took; a rise means a machine that is too busy.",
            )?,
            sign_ins: to.counters(
                "sign_ins_total",
                &["outcome"],
                "Attempts to sign in, by outcome: `signed_in`, or why not; a rise of `invalid_credentials` is somebody trying passwords.",
            )?,
            sessions_active: to.gauge(
                "sessions_active",
                "Sessions that have neither ended nor expired, as last counted.",
            )?,
            password_hashes: to.pulled_gauges(
                "password_hashes",
                &["state"],
                "Passwords being hashed, `running` and `waiting`; when as many wait as may, sign-ins are turned away as `busy`.",
            )?,
            password_hash_seconds: to.histogram(
                "password_hash_seconds",
                HASH_BOUNDS,
                "Seconds that one password took to hash or check, waiting not included; a rise means a machine that is too busy.",
            )?,
            store_up: to.gauges(
                "store_up",
                &["store"],
                "1 while the store answers, 0 while it does not: `keys`, and `accounts` for accounts and sessions.",
            )?,
        })
    }

    /// Shows every outcome before it has happened once: a rate needs a series to rise from.
    pub(crate) fn expect_sign_ins(&self) {
        for outcome in SignIn::ALL {
            self.sign_ins.with_label_values(&[outcome.name()]);
        }
    }

    /// From now on these watchers are shown.
    pub(crate) fn watch(&self, watchers: &Watchers) {
        let watchers = watchers.clone();
        self.watchers.read_by(move |gauges| {
            let status = watchers.status();
            for (set, count) in [("current", status.current), ("behind", status.behind)] {
                gauges.with_label_values(&[set]).set(signed(count));
            }
        });
    }

    /// From now on this queue of passwords is shown.
    pub(crate) fn watch_passwords(&self, queue: HashQueue) {
        self.password_hashes.read_by(move |gauges| {
            let (running, waiting) = queue.lengths();
            for (state, count) in [("running", running), ("waiting", waiting)] {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                gauges.with_label_values(&[state]).set(count);
            }
        });
    }

    pub(crate) fn revocation_propagation(&self) -> Histogram {
        self.revocation_propagation.clone()
    }

    pub(crate) fn password_hash_seconds(&self) -> Histogram {
        self.password_hash_seconds.clone()
    }

    pub(crate) fn show(&self, ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) {
        for &alg in &policy.algorithms {
            let period = self.rotation_period.with_label_values(&[alg.name()]);
            period.set(signed(policy.rotate_every.as_secs()));
            let of_alg = || ring.keys.iter().filter(move |key| key.alg == alg);
            for stage in Stage::ALL {
                // A signing key whose private half is lost signs nothing.
                let counts = |key: &&KeyRecord| {
                    key.stage == stage && (key.usable || stage != Stage::Signing)
                };
                let count = of_alg().filter(counts).count();
                self.keys
                    .with_label_values(&[alg.name(), stage.name()])
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let next = of_alg().filter_map(|key| policy.next_step_at(ring, key, now));
            let next_transition = self.next_transition.with_label_values(&[alg.name()]);
            next_transition.set(next.min().map_or(0, NumericDate::seconds));
        }
        for key in &ring.keys {
            self.show_stage(key, now);
        }
    }

    /// A key that no longer matters leaves, so that there are as many series as keys, and not as many as there ever were.
    fn show_stage(&self, key: &KeyRecord, now: NumericDate) {
        let labels = [key.alg.name(), key.kid.as_str()];
        let shown = match key.stage {
            Stage::Announced => Some(1),
            Stage::Signing => Some(2),
            Stage::Retired => Some(3),
            Stage::Revoked => {
                let since = key.revoked_at.map(|at| now.since(at));
                since.is_none_or(|since| since < REVOKED_SHOWN).then_some(4)
            }
            Stage::Gone => None,
        };
        match shown {
            Some(stage) => self.key_stage.with_label_values(&labels).set(stage),
            // An error is a key that was not shown.
            None => drop(self.key_stage.remove_label_values(&labels)),
        }
    }

    /// What changes with time alone.
    pub(crate) fn show_ages(&self, ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) {
        for &alg in &policy.algorithms {
            let since = ring.signing(alg).and_then(|key| key.signing_since);
            let age = since.map_or(Duration::ZERO, |since| now.since(since));
            self.signing_key_age
                .with_label_values(&[alg.name()])
                .set(signed(age.as_secs()));
        }
        let revoked = ring.keys.iter().filter(|key| key.stage == Stage::Revoked);
        revoked.for_each(|key| self.show_stage(key, now));
    }

    pub(crate) fn transition(&self, alg: Algorithm, to: &'static str, cause: &'static str) {
        self.transitions
            .with_label_values(&[alg.name(), to, cause])
            .inc();
    }

    pub(crate) fn signed(&self, alg: Algorithm, took: Duration) {
        self.signing_seconds
            .with_label_values(&[alg.name()])
            .observe(took.as_secs_f64());
    }

    /// `audience` only if the configuration names it: a caller's own would make time series.
    pub(crate) fn minted(&self, alg: Algorithm, audience: Option<&str>) {
        self.tokens_issued
            .with_label_values(&[alg.name(), audience.unwrap_or(OTHER_AUDIENCE)])
            .inc();
    }

    pub(crate) fn sign_in(&self, outcome: SignIn) {
        self.sign_ins.with_label_values(&[outcome.name()]).inc();
    }

    pub(crate) fn sessions_active(&self, count: u64) {
        self.sessions_active.set(signed(count));
    }

    pub(crate) fn store_up(&self, store: Store, is_up: bool) {
        let up = self.store_up.with_label_values(&[store.name()]);
        up.set(i64::from(is_up));
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
