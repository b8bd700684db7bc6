//! How often an address and an account may try: so many in a window that begins with the first.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::error::ApiError;
use crate::Clock;
use crate::config::RateLimit;

/// Most windows that are remembered, so that inventing addresses costs no memory; the least used go first.
const MAX_WINDOWS: u64 = 100_000;

/// By what an attempt is counted.
#[derive(Clone, Copy)]
pub(super) enum Limited<'a> {
    Address,
    /// By its address in lower case, whether there is such an account or not.
    Account(&'a str),
}

pub(super) struct Limits {
    addresses: Windows<(&'static str, IpAddr)>,
    accounts: Windows<(&'static str, [u8; 32])>,
    clock: Arc<dyn Clock>,
}

struct Windows<K> {
    limit: RateLimit,
    open: Cache<K, Window>,
}

#[derive(Clone, Copy)]
struct Window {
    since: Duration,
    attempts: u32,
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(addresses: RateLimit, accounts: RateLimit, clock: Arc<dyn Clock>) -> Self {
        Limits {
            addresses: Windows::new(addresses),
            accounts: Windows::new(accounts),
            clock,
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Counts an attempt at `what`; refused, it says in how many seconds another may be made.
    pub(super) fn admit(
        &self,
        what: &'static str,
        ip: Option<IpAddr>,
        by: Limited<'_>,
    ) -> Result<(), ApiError> {
        let now = self.clock.monotonic();
        let admitted = match by {
            Limited::Address => {
                // A request without an address comes from a test or a Unix socket: all of them are one.
                let network = ip.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
                self.addresses.admit((what, network), now)
            }
            Limited::Account(email) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, email.as_bytes());
                let mut key = [0; 32];
                key.copy_from_slice(digest.as_ref());
                self.accounts.admit((what, key), now)
            }
        };
        admitted.map_err(|wait| {
            let rest = u64::from(wait.subsec_nanos() > 0);
            ApiError::TooManyRequests((wait.as_secs() + rest).max(1))
        })
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

// === impl Windows ===

impl<K: std::hash::Hash + Eq + Send + Sync + Copy + 'static> Windows<K> {
    fn new(limit: RateLimit) -> Self {
        Windows {
            limit,
            open: Cache::builder().max_capacity(MAX_WINDOWS).build(),
        }
    }

    fn admit(&self, key: K, now: Duration) -> Result<(), Duration> {
        let RateLimit { window, attempts } = self.limit;
        if attempts == 0 {
            return Ok(());
        }
        let mut refused = None;
        self.open.entry(key).and_compute_with(|entry| {
            let open = entry.map(moka::Entry::into_value);
            let open = open.filter(|open| now.saturating_sub(open.since) < window.0);
            let mut open = open.unwrap_or(Window {
                since: now,
                attempts: 0,
            });
            if open.attempts >= attempts {
                refused = Some((open.since + window.0).saturating_sub(now));
                return Op::Nop;
            }
            open.attempts += 1;
            Op::Put(open)
        });
        refused.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;
    use crate::{ManualClock, NumericDate};

    #[test]
    fn a_window_admits_so_many_and_says_when_the_next_opens() {
        let clock = ManualClock::new(NumericDate::EPOCH);
        let limit = |seconds, attempts| RateLimit {
            window: Span(Duration::from_secs(seconds)),
            attempts,
        };
        let limits = Limits::new(limit(10, 3), limit(60, 5), Arc::new(clock.clone()));
        let attempt =
            |ip: &str| limits.admit("sign-in", Some(ip.parse().unwrap()), Limited::Address);
        for _ in 0..3 {
            attempt("192.0.2.1").unwrap();
        }
        clock.advance(Duration::from_millis(2500));
        assert!(matches!(
            attempt("192.0.2.1"),
            Err(ApiError::TooManyRequests(8))
        ));
        // The same address in IPv6 form, but not another, and not for another purpose.
        assert!(attempt("::ffff:192.0.2.1").is_err());
        attempt("192.0.2.2").unwrap();
        limits
            .admit(
                "sign-up",
                Some("192.0.2.1".parse().unwrap()),
                Limited::Address,
            )
            .unwrap();
        clock.advance(Duration::from_millis(7500));
        attempt("192.0.2.1").unwrap();
        // One network of IPv6 is one address.
        for host in 1..=3 {
            attempt(&format!("2001:db8::{host}")).unwrap();
        }
        assert!(attempt("2001:db8::ffff:1").is_err());
        attempt("2001:db8:0:1::1").unwrap();
        let account = |email| limits.admit("sign-in", None, Limited::Account(email));
        for _ in 0..5 {
            account("ada@example.com").unwrap();
        }
        assert!(account("ada@example.com").is_err());
        account("bob@example.com").unwrap();
    }
}
