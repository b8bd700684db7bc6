//! Rotation under random schedules: whatever operators, restarts, policies and clocks do, a verifier that honours
//! `Cache-Control` accepts every token that has neither expired nor been revoked.
//!
//! `cargo nextest run --test rotation --no-capture` prints how many schedules were lived through, and how often keys changed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel::issue::{
    Grant, How, Issuer, MintError, RotationPolicy, Stage, TokenSettings, apply, apply_revocation,
    apply_rotation, migrate,
};
use keywheel::store::KeyStore as _;
use keywheel::{Algorithm, Clock as _, ManualClock, Metrics, NumericDate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::memory_store::MemoryStore;

const NOW: i64 = 1_790_000_000;
/// Two algorithms of one key type: as good as EdDSA and RS256 here, and a thousand times faster to make keys for.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::Ed25519];
const AUDIENCES: [&str; 2] = ["a", "b"];

/// What happens next.
#[derive(Debug, Clone)]
enum Happens {
    /// Time passes, and the server looks at its plan.
    Time(u64),
    /// As much as until the next planned change, and a little.
    UntilNextStep(u64),
    /// A token is minted: for which audience, how long it is to live, in thousandths of what may be.
    Mint(usize, u64),
    /// A verifier fetches the set.
    Fetch,
    /// The server stops and starts again later, by a policy that may be another.
    Restart(u64, Policy),
    /// The wall clock is set, in seconds, back or forward.
    SetClock(i64),
    /// An operator rotates one algorithm, without force.
    Rotate(usize),
    /// And one insists.
    Force(usize),
    /// A key is stolen: the one at this place.
    Revoke(usize),
    /// An audience is moved to the other algorithm.
    Migrate(usize, usize),
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    rotate_every: u64,
    max_age: u64,
    max_ttl: u64,
    algorithms: usize,
}

fn policies() -> impl Strategy<Value = Policy> {
    (600_u64..7200, 1_u64..900, 30_u64..7200, 1_usize..=2).prop_map(
        |(rotate_every, max_age, max_ttl, algorithms)| Policy {
            rotate_every: rotate_every.max(max_age + 60),
            max_age,
            max_ttl,
            algorithms,
        },
    )
}

fn events(with_force: bool, with_clock: bool) -> impl Strategy<Value = Happens> {
    let calm = prop_oneof![
        6 => (1_u64..600).prop_map(Happens::Time),
        3 => (0_u64..5).prop_map(Happens::UntilNextStep),
        8 => (0_usize..2, 1_u64..=1000).prop_map(|(audience, life)| Happens::Mint(audience, life)),
        8 => Just(Happens::Fetch),
        2 => (1_u64..3000, policies()).prop_map(|(down, policy)| Happens::Restart(down, policy)),
        3 => (0_usize..2).prop_map(Happens::Rotate),
        1 => (0_usize..2, 0_usize..2).prop_map(|(audience, to)| Happens::Migrate(audience, to)),
    ];
    let force = prop_oneof![
        1 => (0_usize..2).prop_map(Happens::Force),
        2 => (0_usize..9).prop_map(Happens::Revoke),
    ];
    let clock = prop_oneof![-90_000_i64..90_000, -100_i64..100].prop_map(Happens::SetClock);
    prop_oneof![
        30 => calm,
        u32::from(with_force) * 3 + 1 => force,
        u32::from(with_clock) * 3 + 1 => clock,
    ]
    .prop_filter("asked for", move |happens| match happens {
        Happens::Force(_) | Happens::Revoke(_) => with_force,
        Happens::SetClock(_) => with_clock,
        _ => true,
    })
}

fn schedules(with_force: bool, with_clock: bool) -> impl Strategy<Value = (Policy, Vec<Happens>)> {
    let events = prop::collection::vec(events(with_force, with_clock), 8..32);
    (policies(), events)
}

/// A set as a verifier fetched it. Times here are real ones, by a clock that nobody sets.
struct Fetched {
    at: i64,
    /// Until then the verifier may use it: what `Cache-Control` said.
    until: i64,
    kids: BTreeSet<String>,
}

/// Its life is what its verifiers' clocks make of it, and those agree with the issuer's when it is minted. An issuer whose clock
/// is ahead gives tokens that live longer by everybody else's; no rule of rotation mends that.
struct Token {
    minted: i64,
    expires: i64,
    kid: String,
}

#[derive(Default)]
struct Tally {
    schedules: u32,
    tokens: usize,
    sets: usize,
    rotations: usize,
    refused: usize,
    pairs: usize,
}

struct World {
    store: MemoryStore,
    clock: ManualClock,
    policy: RotationPolicy,
    issuer: Issuer,
    sets: Vec<Fetched>,
    tokens: Vec<Token>,
    /// Keys that somebody meant to break, or was told that it would.
    excused: BTreeSet<String>,
    tally: Tally,
}

// === impl World ===

fn rotation_policy(policy: Policy) -> RotationPolicy {
    RotationPolicy {
        algorithms: ALGORITHMS[..policy.algorithms].to_vec(),
        rotate_every: Duration::from_secs(policy.rotate_every),
        jwks_max_age: Duration::from_secs(policy.max_age),
        clock_skew: Duration::from_secs(10),
        max_token_ttl: Duration::from_secs(policy.max_ttl),
    }
}

fn start(store: &MemoryStore, clock: &ManualClock, policy: &RotationPolicy) -> Issuer {
    let settings = TokenSettings::new("https://issuer.example");
    let metrics = Metrics::new().unwrap();
    Issuer::open(
        store.clone(),
        policy.clone(),
        settings,
        clock.clone(),
        &metrics,
    )
    .unwrap()
}

impl World {
    fn new(policy: Policy) -> Self {
        let (store, policy) = (MemoryStore::default(), rotation_policy(policy));
        let clock = ManualClock::new(NumericDate::from_seconds(NOW));
        World {
            issuer: start(&store, &clock, &policy),
            store,
            clock,
            policy,
            sets: Vec::new(),
            tokens: Vec::new(),
            excused: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    fn real(&self) -> i64 {
        NOW + i64::try_from(self.clock.monotonic().as_secs()).unwrap()
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.tick();
    }

    fn tick(&mut self) {
        let done = self.issuer.tick().unwrap();
        self.tally.rotations += done
            .iter()
            .filter(|done| done.stage == Stage::Signing)
            .count();
        self.check_ring();
    }

    fn happens(&mut self, happens: &Happens) {
        match happens {
            Happens::Time(seconds) => self.pass(*seconds),
            Happens::UntilNextStep(more) => {
                let max_age = self.issuer.jwks_max_age().as_secs();
                self.pass(max_age + more);
            }
            Happens::Mint(audience, life) => self.mint(AUDIENCES[*audience], *life),
            Happens::Fetch => self.fetch(),
            Happens::Restart(down, policy) => {
                self.clock.advance(Duration::from_secs(*down));
                self.policy = rotation_policy(*policy);
                self.issuer = start(&self.store, &self.clock, &self.policy);
                self.tick();
            }
            Happens::SetClock(by) => {
                let now = self.clock.now().seconds();
                self.clock.set_wall(NumericDate::from_seconds(now + by));
                self.tick();
            }
            Happens::Rotate(which) => self.rotate(*which, false),
            Happens::Force(which) => self.rotate(*which, true),
            Happens::Revoke(which) => self.revoke(*which),
            Happens::Migrate(audience, to) => self.migrate(AUDIENCES[*audience], *to),
        }
    }

    fn mint(&mut self, audience: &str, life: u64) {
        let max = self.policy.max_token_ttl.as_secs();
        let ttl = Duration::from_secs((max * life / 1000).max(1));
        match self.issuer.mint(&Grant::new("u", audience).ttl(ttl)) {
            Ok(minted) => self.tokens.push(Token {
                minted: self.real(),
                expires: self.real() + i64::try_from(ttl.as_secs()).unwrap(),
                kid: minted.kid,
            }),
            // By the ring, the clock is off by more than a day.
            Err(MintError::Clock(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn fetch(&mut self) {
        let set: serde_json::Value = serde_json::from_slice(&self.issuer.published().jwks).unwrap();
        let keys = set["keys"].as_array().unwrap().iter();
        let kids = keys.map(|key| key["kid"].as_str().unwrap().to_owned());
        let max_age = self.issuer.jwks_max_age();
        assert!(max_age <= self.policy.jwks_max_age);
        self.promise_ends_before_the_next_change(max_age);
        self.sets.push(Fetched {
            at: self.real(),
            until: self.real() + i64::try_from(max_age.as_secs()).unwrap(),
            kids: kids.collect(),
        });
    }

    fn promise_ends_before_the_next_change(&self, max_age: Duration) {
        let (now, published) = (self.clock.now(), self.issuer.published());
        let keys = published.ring.keys.iter();
        let next = keys
            .filter_map(|key| self.policy.next_step_at(&published.ring, key, now))
            .filter(|&at| at > now)
            .min();
        if let Some(next) = next {
            assert!(
                now.plus(max_age) <= next,
                "max-age {max_age:?} outlives a change at {next}"
            );
        }
    }

    fn rotate(&mut self, which: usize, force: bool) {
        let alg = ALGORITHMS[which % self.policy.algorithms.len()];
        let how = How {
            force,
            ..How::default()
        };
        let now = self.clock.now();
        match apply_rotation(&self.store, &self.policy, &[alg], now, how) {
            Ok(outcome) => {
                // What it breaks, it says.
                let broken = outcome
                    .intent
                    .breaks
                    .iter()
                    .map(|breaks| breaks.kid.clone());
                self.excused.extend(broken);
                self.tally.rotations += 1;
                assert!(force || outcome.intent.breaks.is_empty());
            }
            Err(_) => self.tally.refused += 1,
        }
        self.tick();
    }

    fn revoke(&mut self, which: usize) {
        let ring = self.store.load().unwrap().ring;
        let kid = ring.keys[which % ring.keys.len()].kid.clone();
        let was_published = ring.get(&kid).unwrap().stage.is_published();
        let now = self.clock.now();
        match apply_revocation(&self.store, &self.policy, &kid, now, How::default()) {
            Ok(outcome) => {
                assert!(was_published);
                let broken = outcome
                    .intent
                    .breaks
                    .iter()
                    .map(|breaks| breaks.kid.clone());
                self.excused.extend(broken);
                self.excused.insert(kid.clone());
                let ring = self.store.load().unwrap().ring;
                if outcome
                    .intent
                    .breaks
                    .iter()
                    .any(|breaks| breaks.kid == "to be made")
                {
                    let alg = ring.get(&kid).unwrap().alg;
                    self.excused
                        .extend(ring.signing(alg).map(|key| key.kid.clone()));
                }
                self.tick();
                let set = String::from_utf8(self.issuer.published().jwks.to_vec()).unwrap();
                assert!(!set.contains(&kid), "a revoked key is published");
            }
            Err(_) => {
                assert!(!was_published);
                self.tally.refused += 1;
            }
        }
    }

    fn migrate(&mut self, audience: &str, to: usize) {
        let to = ALGORITHMS[to % self.policy.algorithms.len()];
        let from = self.issuer.algorithm_for(audience);
        let now = self.clock.now();
        let audiences = [(Some(audience.to_owned()), from)];
        let migrated = apply(&self.store, &self.policy, now, How::default(), |ring| {
            migrate(ring, &self.policy, &audiences, to, now, false)
        });
        self.tally.refused += usize::from(migrated.is_err());
        self.tick();
        if migrated.is_ok() {
            assert_eq!(self.issuer.algorithm_for(audience), to);
        }
    }

    /// Exactly one signer per algorithm, and one that is announced.
    fn check_ring(&self) {
        let published = self.issuer.published();
        assert_eq!(
            self.store.saved(),
            Some(serde_json::to_string(&published.ring).unwrap()),
            "saved before it is seen"
        );
        for alg in &self.policy.algorithms {
            let count = |stage| {
                let mut keys = published.ring.keys.iter();
                keys.by_ref()
                    .filter(|key| key.alg == *alg && key.stage == stage)
                    .count()
            };
            // An algorithm that is new has nobody to sign before its first key is known.
            assert!(count(Stage::Signing) <= 1);
            let clock_is_right = published
                .ring
                .check_clock(&self.policy, self.clock.now())
                .is_ok();
            assert!(count(Stage::Announced) == 1 || !clock_is_right);
        }
    }

    /// Every set that a verifier may have in use, held against every token that it may then meet.
    fn check_verifiers(&mut self) {
        for set in &self.sets {
            for token in &self.tokens {
                let meets = token.minted <= set.until && token.expires > set.at;
                if !meets || self.excused.contains(&token.kid) {
                    continue;
                }
                self.tally.pairs += 1;
                assert!(
                    set.kids.contains(&token.kid),
                    "a set fetched at {} and kept until {} lacks {}, which signed at {} a token that lives until {}",
                    set.at - NOW,
                    set.until - NOW,
                    token.kid,
                    token.minted - NOW,
                    token.expires - NOW,
                );
            }
        }
        self.tally.tokens = self.tokens.len();
        self.tally.sets = self.sets.len();
    }
}

fn live_through(name: &str, cases: u32, with_force: bool, with_clock: bool) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let total = std::cell::RefCell::new(Tally::default());
    let outcome = runner.run(&schedules(with_force, with_clock), |(policy, schedule)| {
        let mut world = World::new(policy);
        for happens in &schedule {
            world.happens(happens);
        }
        world.check_verifiers();
        let mut total = total.borrow_mut();
        total.schedules += 1;
        total.tokens += world.tally.tokens;
        total.sets += world.tally.sets;
        total.rotations += world.tally.rotations;
        total.refused += world.tally.refused;
        total.pairs += world.tally.pairs;
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let total = total.into_inner();
    println!(
        "{name}: {} schedules, {} tokens, {} fetched sets, {} pairs held against each other, {} keys began to sign, {} commands refused",
        total.schedules, total.tokens, total.sets, total.pairs, total.rotations, total.refused
    );
    assert!(
        total.rotations > total.schedules as usize / 2,
        "schedules without rotations show little"
    );
    assert!(total.pairs > total.schedules as usize);
}

#[test]
fn calm_schedules_break_no_verifier() {
    live_through("calm", 2_600, false, false);
}

#[test]
fn forced_and_refused_commands_break_only_what_they_say() {
    live_through("forced", 2_600, true, false);
}

#[test]
fn clocks_that_are_set_break_no_verifier() {
    live_through("clocks", 2_600, false, true);
}

#[test]
fn everything_at_once_breaks_only_what_it_says() {
    live_through("everything", 2_600, true, true);
}
