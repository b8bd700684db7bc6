//! Rotation held against every verifier that honours `Cache-Control`, over many days and at odd moments (111).

use std::time::Duration;

use keywheel::issue::{Grant, How, Issuer, RotationPolicy, TokenSettings, apply_rotation};
use keywheel::store::FileKeyStore;
use keywheel::{Algorithm, ManualClock, Metrics, NumericDate};

use crate::folder::Folder;
use crate::ground::{AUDIENCE, ISSUER, NOW};

/// A set as somebody fetched it: in use from `at` until `until`, and by clocks that may be wrong.
struct Fetched {
    at: NumericDate,
    until: NumericDate,
    kids: Vec<String>,
}

struct Token {
    minted_at: NumericDate,
    expires_at: NumericDate,
    kid: String,
}

/// Odd numbers that are the same in every run (Numerical Recipes).
struct Odd(u32);

impl Odd {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u64::from(self.0 >> 8) % limit
    }
}

#[test]
fn whoever_holds_a_fresh_set_can_verify_every_living_token() {
    let planned = live_through(Odd(1), false);
    assert!(planned >= 3, "{planned} rotations show little");
    let driven = live_through(Odd(2), true);
    assert!(
        driven > 3 * planned,
        "{driven} rotations, for all that the operator asked"
    );
}

/// Some hours under a quick plan, looked at every few seconds; how often another key began to sign. An eager operator asks
/// for a rotation each time, and does not insist.
fn live_through(mut odd: Odd, eager_operator: bool) -> usize {
    let policy = RotationPolicy {
        algorithms: vec![Algorithm::EdDSA],
        rotate_every: Duration::from_secs(3600),
        max_token_ttl: Duration::from_secs(1800),
        ..RotationPolicy::default()
    };
    let folder = Folder::new("rotation");
    let clock = ManualClock::new(NOW);
    let store = FileKeyStore::open(folder.path()).unwrap();
    let settings = TokenSettings::new(ISSUER);
    let metrics = Metrics::new().unwrap();
    let issuer = Issuer::open(
        store.clone(),
        policy.clone(),
        settings,
        clock.clone(),
        &metrics,
    )
    .unwrap();

    let (mut sets, mut tokens) = (Vec::new(), Vec::<Token>::new());
    let mut now = NOW;
    while now < NOW.plus(Duration::from_secs(5 * 3600)) {
        if eager_operator {
            // Refused most of the time: a verifier would be hurt.
            let _ = apply_rotation(&store, &policy, &[Algorithm::EdDSA], now, How::default());
        }
        issuer.tick().unwrap();
        sets.push(Fetched {
            at: now,
            until: now.plus(issuer.jwks_max_age()).plus(policy.clock_skew),
            kids: kids(&issuer),
        });
        // Every other token lives as long as a token may.
        let ttl = match odd.below(2) {
            0 => policy.max_token_ttl,
            _ => Duration::from_secs(1 + odd.below(policy.max_token_ttl.as_secs())),
        };
        let minted = issuer
            .mint(&Grant::new("alice", AUDIENCE).ttl(ttl))
            .unwrap();
        tokens.push(Token {
            minted_at: now,
            expires_at: minted.expires_at.plus(policy.clock_skew),
            kid: minted.kid,
        });
        let pause = Duration::from_secs(1 + odd.below(45));
        clock.advance(pause);
        now = now.plus(pause);
    }

    for set in &sets {
        let meets = |token: &&Token| token.minted_at < set.until && token.expires_at > set.at;
        for token in tokens.iter().filter(meets) {
            assert!(
                set.kids.contains(&token.kid),
                "a set fetched at {} and kept until {} lacks {}, which signed at {} a token that lives until {}",
                set.at,
                set.until,
                token.kid,
                token.minted_at,
                token.expires_at
            );
        }
    }
    let most = sets.iter().map(|set| set.kids.len()).max();
    assert!(most <= Some(12), "retired keys pile up: {most:?}");
    tokens
        .windows(2)
        .filter(|pair| pair[0].kid != pair[1].kid)
        .count()
}

fn kids(issuer: &Issuer) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_slice(&issuer.published().jwks).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}
