//! How long the tokens of a key live, known before they are signed.
//!
//! A key's `tokens_until` is written ahead of its tokens: no token is given that would live longer, so a crash never leaves a token
//! that outlives what is written, and a write is needed once an hour at most. It is a lease, too: a server that cannot reach its
//! store signs until the lease is used up, and no longer, so it never signs with a key that has left the set meanwhile.

use std::sync::atomic::{AtomicI64, Ordering};

use super::issuer::{Issuer, IssuerError};
use super::key_record::Stage;
use super::mint::MintError;
use super::rotator::save;
use crate::jose::{Algorithm, NumericDate};

/// What one signer may sign, and has.
#[derive(Debug)]
pub(super) struct Lease {
    /// No token may expire later, in seconds since the epoch.
    until: i64,
    /// The latest `exp` of a token signed by this process.
    last: AtomicI64,
}

// === impl Lease ===

impl Lease {
    pub(super) fn new(until: Option<NumericDate>, before: Option<&Lease>) -> Self {
        let last = before.map_or(i64::MIN, |before| before.last.load(Ordering::Relaxed));
        Lease {
            until: until.map_or(i64::MIN, NumericDate::seconds),
            last: AtomicI64::new(last),
        }
    }

    /// Whether a token that expires then may be signed.
    pub(super) fn covers(&self, exp: i64) -> bool {
        exp <= self.until
    }

    pub(super) fn signed(&self, exp: i64) {
        self.last.fetch_max(exp, Ordering::Relaxed);
    }

    /// The latest `exp`, if less than half of `lease` is left beyond it.
    fn is_nearly_used_up(&self, lease: i64) -> Option<i64> {
        let last = self.last.load(Ordering::Relaxed);
        let is_near = last > self.until.saturating_sub(lease / 2);
        (last != i64::MIN && is_near).then_some(last)
    }
}

impl Issuer {
    /// Writes down that tokens of the key that signs by `alg` may live until `exp`, and some way beyond.
    pub(super) fn extend_lease(&self, alg: Algorithm, exp: i64) -> Result<(), MintError> {
        self.try_extend_lease(alg, exp)
            .map_err(|error| MintError::Store(error.to_string()))
    }

    fn try_extend_lease(&self, alg: Algorithm, exp: i64) -> Result<(), IssuerError> {
        self.change(|writer, ring, now| {
            let exp = NumericDate::from_seconds(exp);
            if ring.check_clock(self.policy(), now).is_err() {
                // A token by a clock that is years ahead would bind its key for years.
                return Ok(false);
            }
            let Some(kid) = ring.signing(alg).map(|key| key.kid.clone()) else {
                return Ok(false);
            };
            let Some(key) = ring.get_mut(&kid) else {
                return Ok(false);
            };
            if key.stage != Stage::Signing || key.tokens_until.is_some_and(|until| until >= exp) {
                // Another was faster.
                return Ok(false);
            }
            key.note_tokens_until(exp.plus(self.policy().token_lease()));
            save(writer, ring)?;
            Ok(true)
        })
    }

    /// Extends what is nearly used up, so that no caller waits for a write.
    pub(super) fn renew_token_leases(&self) -> Result<(), IssuerError> {
        let lease = i64::try_from(self.policy().token_lease().as_secs()).unwrap_or(i64::MAX);
        let due: Vec<_> = {
            let published = self.published();
            let signers = published.leases();
            signers
                .filter_map(|(alg, held)| Some((alg, held.is_nearly_used_up(lease)?)))
                .collect()
        };
        for (alg, last) in due {
            self.try_extend_lease(alg, last.saturating_add(lease / 2))?;
        }
        Ok(())
    }
}
