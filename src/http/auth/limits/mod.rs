//! How often an address and an account may try.
//!
//! An attempt to sign in from where the account is not known is counted four times: on its network, on the networks around it, as its
//! network's share of the account, and among all strangers to the account. From a device on which the account has signed in before, it
//! is counted for that device alone: nobody else's attempts can keep it out.

mod sketch;
mod windows;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::error::ApiError;
use crate::Clock;
use crate::config::RateLimit;

use windows::{Account, AttemptWindows, By, Key, Limit, MemoryWindows, Network, Origin, Taken};

/// All attempts of one origin, for each that may fail: successes are given back, but each costs a hash.
const ALL_ATTEMPTS: u32 = 20;
/// Networks of IPv6 within networks, and how many times a /64's attempts they have: whoever has a /48 has 65,536 of /64.
const AROUND: [(u8, u32); 2] = [(56, 4), (48, 16)];
/// Attempts of all strangers to an account together, for each that one network has: one network cannot use them up.
const ALL_STRANGERS: u32 = 4;
/// The share of an account is counted by these networks: what one customer of a hoster easily has.
const SHARE_BITS: (u8, u8) = (24, 48);
/// A network that uses up its share of an account again and again waits twice as long each time, up to this.
const LONGEST_SHARE_WINDOW: Duration = Duration::from_secs(3600);
/// Devices a day on which an account comes to be known: more of them would be more windows for whoever had the password once.
const NEW_DEVICES: u32 = 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An account as attempts name it, and a device on which it has signed in before, if the attempt comes from one.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its address in lower case, whether there is such an account or not.
    pub(super) account: &'a str,
    pub(super) device: Option<[u8; 16]>,
}

pub(super) struct Limits {
    addresses: RateLimit,
    accounts: RateLimit,
    windows: Arc<dyn AttemptWindows>,
    clock: Arc<dyn Clock>,
}

/// An attempt that was admitted.
pub(super) struct Admitted(Vec<(Key, Taken)>);

/// An attempt that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany {
    /// Until every window that refuses it is over.
    pub(super) wait: Duration,
}

impl From<TooMany> for ApiError {
    fn from(TooMany { wait }: TooMany) -> Self {
        let rest = u64::from(wait.subsec_nanos() > 0);
        ApiError::TooManyRequests((wait.as_secs() + rest).max(1))
    }
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(addresses: RateLimit, accounts: RateLimit, clock: Arc<dyn Clock>) -> Self {
        Limits {
            addresses,
            accounts,
            windows: Arc::new(MemoryWindows::new()),
            clock,
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Counts an attempt at `what` by an address alone.
    pub(super) async fn admit(
        &self,
        what: &'static str,
        ip: Option<IpAddr>,
    ) -> Result<Admitted, TooMany> {
        self.take(what, &self.by_network(address(ip))).await
    }

    /// Counts an attempt at an account.
    pub(super) async fn admit_to(
        &self,
        what: &'static str,
        ip: Option<IpAddr>,
        target: Target<'_>,
    ) -> Result<Admitted, TooMany> {
        let account = digest(target.account);
        if let Some(device) = target.device {
            let origin = Origin::KnownDevice(device);
            let taken = [self.all(origin), self.share(account, origin)];
            return self.take(what, &taken).await;
        }
        let ip = address(ip);
        let around = Network::new(ip, SHARE_BITS.0, SHARE_BITS.1);
        let mut taken = self.by_network(ip);
        taken.push(self.share(account, Origin::Stranger(around)));
        // Last: an attempt that another window refuses takes nothing from strangers who are not refused.
        let strangers = plain(self.accounts, ALL_STRANGERS);
        taken.push((By::Strangers(account), strangers));
        self.take(what, &taken).await
    }

    /// Counts an attempt at an account from a network where it is signed in: for one that strangers' attempts keep out.
    pub(super) async fn admit_known(
        &self,
        what: &'static str,
        ip: IpAddr,
        account: &str,
    ) -> Result<Admitted, TooMany> {
        let origin = Origin::KnownNetwork(Network::new(ip, 32, 64));
        let mut taken = self.by_network(ip);
        taken.push(self.share(digest(account), origin));
        self.take(what, &taken).await
    }

    /// Counts an attempt by whoever has a session.
    pub(super) async fn admit_by_session(
        &self,
        what: &'static str,
        session: &str,
    ) -> Result<Admitted, TooMany> {
        let session = digest(session);
        let origin = Origin::Session(session);
        let taken = [self.all(origin), self.share(session, origin)];
        self.take(what, &taken).await
    }

    /// Whether one more device may come to be known for an account.
    pub(super) async fn admit_device(&self, account: &str) -> bool {
        let limit = Limit {
            attempts: NEW_DEVICES,
            window: DAY,
            longest: DAY,
        };
        let by = By::NewDevices(digest(account));
        self.take("new-device", &[(by, limit)]).await.is_ok()
    }

    /// Uncounts an attempt that succeeded, or that nothing came of; it stays one of all that were made.
    pub(super) async fn give_back(&self, admitted: Admitted) {
        for (key, taken) in admitted.0 {
            if !matches!(key.by, By::All(_)) {
                self.windows.give_back(key, taken).await;
            }
        }
    }

    fn by_network(&self, ip: IpAddr) -> Vec<(By, Limit)> {
        let network = Network::new(ip, 32, 64);
        let mut taken = vec![
            (By::Network(network), plain(self.addresses, 1)),
            self.all(Origin::Stranger(network)),
        ];
        if ip.to_canonical().is_ipv6() {
            let around = AROUND.map(|(bits, times)| {
                let network = Network::new(ip, 32, bits);
                (By::Network(network), plain(self.addresses, times))
            });
            taken.extend(around);
        }
        taken
    }

    fn all(&self, origin: Origin) -> (By, Limit) {
        (By::All(origin), plain(self.addresses, ALL_ATTEMPTS))
    }

    fn share(&self, account: Account, origin: Origin) -> (By, Limit) {
        let limit = plain(self.accounts, 1);
        let longest = limit.window.max(LONGEST_SHARE_WINDOW);
        (By::Share(account, origin), Limit { longest, ..limit })
    }

    /// Counts an attempt in all of these windows, or in none: refused, it says when none of them will refuse.
    async fn take(&self, what: &'static str, by: &[(By, Limit)]) -> Result<Admitted, TooMany> {
        let now = self.clock.monotonic();
        let mut admitted = Admitted(Vec::with_capacity(by.len()));
        let mut refused = None::<Duration>;
        for &(by, limit) in by.iter().filter(|(_, limit)| limit.attempts > 0) {
            let key = Key { what, by };
            let wait = match refused {
                // Not counted once it is refused.
                Some(_) => self.windows.wait(key, limit, now).await,
                None => match self.windows.admit(key, limit, now).await {
                    Ok(taken) => {
                        admitted.0.push((key, taken));
                        None
                    }
                    Err(wait) => Some(wait),
                },
            };
            refused = refused.max(wait);
        }
        let Some(wait) = refused else {
            return Ok(admitted);
        };
        for (key, taken) in admitted.0 {
            self.windows.give_back(key, taken).await;
        }
        Err(TooMany { wait })
    }
}

/// A request without an address comes from a test or a Unix socket: all of them are one.
fn address(ip: Option<IpAddr>) -> IpAddr {
    ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

/// Windows that do not grow, with so many times the attempts.
fn plain(limit: RateLimit, times: u32) -> Limit {
    Limit {
        attempts: limit.attempts.saturating_mul(times),
        window: limit.window.0,
        longest: limit.window.0,
    }
}

fn digest(account: &str) -> Account {
    let digest = ring::digest::digest(&ring::digest::SHA256, account.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(digest.as_ref());
    key
}

// === impl Limit ===

impl Limit {
    /// How long a window is that follows `level` full ones.
    fn length(&self, level: u32) -> Duration {
        let doubled = self.window.saturating_mul(1 << level.min(30));
        doubled.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;
    use crate::{ManualClock, NumericDate};

    const SIGN_IN: &str = "sign-in";

    fn limits(addresses: (u64, u32), accounts: (u64, u32)) -> (Limits, ManualClock) {
        let clock = ManualClock::new(NumericDate::EPOCH);
        let limit = |(seconds, attempts)| RateLimit {
            window: Span(Duration::from_secs(seconds)),
            attempts,
        };
        let clocked = Arc::new(clock.clone());
        (
            Limits::new(limit(addresses), limit(accounts), clocked),
            clock,
        )
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn ada(device: Option<[u8; 16]>) -> Target<'static> {
        Target {
            account: "ada@example.com",
            device,
        }
    }

    async fn passed(limits: &Limits, from: impl Iterator<Item = String>) -> usize {
        let mut passed = 0;
        for from in from {
            passed += usize::from(limits.admit(SIGN_IN, ip(&from)).await.is_ok());
        }
        passed
    }

    #[tokio::test]
    async fn a_window_admits_so_many_and_says_when_the_next_opens() {
        let (limits, clock) = limits((10, 3), (60, 5));
        let attempt = async |from: &str| limits.admit(SIGN_IN, ip(from)).await;
        for _ in 0..3 {
            attempt("192.0.2.1").await.ok().unwrap();
        }
        clock.advance(Duration::from_millis(2500));
        let refused = attempt("192.0.2.1").await.err().unwrap();
        assert!(matches!(refused.into(), ApiError::TooManyRequests(8)));
        // The same address in IPv6 form, but not another, and not for another purpose.
        assert!(attempt("::ffff:192.0.2.1").await.is_err());
        assert!(attempt("192.0.2.2").await.is_ok());
        assert!(limits.admit("sign-up", ip("192.0.2.1")).await.is_ok());
        clock.advance(Duration::from_millis(7500));
        assert!(attempt("192.0.2.1").await.is_ok());
    }

    #[tokio::test]
    async fn networks_of_ipv6_have_windows_of_their_own_and_so_do_those_around_them() {
        let (limits, clock) = limits((10, 3), (60, 5));
        let minute = Duration::from_secs(60);
        for (what, from, admitted) in [
            (
                "one /64",
                Box::new(|n| format!("2001:db8::{n:x}")) as Box<dyn Fn(u32) -> String>,
                3,
            ),
            ("one /56", Box::new(|n| format!("2001:db8:0:{n:x}::1")), 12),
            (
                "one /48",
                Box::new(|n| format!("2001:db8:0:{:x}::1", n << 8)),
                48,
            ),
        ] {
            let from = (0..200).map(|n| from(n % 256));
            assert_eq!(passed(&limits, from).await, admitted, "{what}");
            clock.advance(minute);
        }
        // Another /48 has its own, and IPv4 networks are as large as one address: many people share each.
        let from = (0..200).map(|n| format!("2001:db8:{:x}::1", n % 8 + 1));
        assert_eq!(passed(&limits, from).await, 24);
        let from = (0..200).map(|n| format!("192.0.2.{n}"));
        assert_eq!(passed(&limits, from).await, 200);
    }

    #[tokio::test]
    async fn what_succeeds_uses_nothing_up_but_of_all_attempts() {
        let (limits, clock) = limits((10, 3), (60, 5));
        let attempt = async || limits.admit_to(SIGN_IN, ip("192.0.2.1"), ada(None)).await;
        for _ in 0..59 {
            let admitted = attempt().await.ok().unwrap();
            limits.give_back(admitted).await;
        }
        assert!(attempt().await.is_ok());
        assert!(attempt().await.is_err());
        clock.advance(Duration::from_secs(10));
        for _ in 0..3 {
            assert!(attempt().await.is_ok());
        }
        assert!(attempt().await.is_err());
    }

    #[tokio::test]
    async fn strangers_to_an_account_keep_neither_other_strangers_nor_known_devices_out() {
        let (limits, clock) = limits((10, 1000), (60, 10));
        let attempt = async |from: &str, device| {
            let target = ada(device);
            limits.admit_to(SIGN_IN, ip(from), target).await
        };
        // An hour of one attacker, who has all of a /24.
        let mut guessed = 0;
        for minute in 0..60 {
            for n in 0..100 {
                let from = format!("203.0.113.{n}");
                guessed += usize::from(attempt(&from, None).await.is_ok());
            }
            let victim = attempt("198.51.100.7", None).await;
            limits.give_back(victim.ok().unwrap()).await;
            assert!(minute > 0 || guessed == 10);
            clock.advance(Duration::from_secs(60));
        }
        // 1, 2, 4, 8 … minutes apart.
        assert_eq!(guessed, 60);
        // A thousand networks do keep strangers out, but no device that is known.
        for network in 0..1000 {
            let from = format!("10.{}.{}.1", network / 256, network % 256);
            let _ = attempt(&from, None).await;
        }
        let refused = attempt("198.51.100.7", None).await.err().unwrap();
        assert_eq!(refused.wait, Duration::from_secs(60));
        let known = Some([7; 16]);
        for _ in 0..10 {
            assert!(attempt("198.51.100.7", known).await.is_ok());
        }
        // And it has no more attempts than others.
        assert!(attempt("198.51.100.7", known).await.is_err());
        assert!(attempt("198.51.100.7", Some([8; 16])).await.is_ok());
        let known = limits.admit_known(SIGN_IN, "198.51.100.7".parse().unwrap(), "ada@example.com");
        assert!(known.await.is_ok());
    }

    #[tokio::test]
    async fn a_refusal_names_the_longest_wait_and_takes_nothing_from_other_windows() {
        let (limits, clock) = limits((10, 3), (60, 2));
        let attempt = async |account| {
            let target = Target {
                account,
                device: None,
            };
            limits.admit_to(SIGN_IN, ip("192.0.2.1"), target).await
        };
        for _ in 0..2 {
            assert!(attempt("ada@example.com").await.is_ok());
        }
        // Refused by the account alone: its network may still try another.
        assert_eq!(
            attempt("ada@example.com")
                .await
                .err()
                .unwrap()
                .wait
                .as_secs(),
            60
        );
        assert!(attempt("bob@example.com").await.is_ok());
        assert_eq!(
            attempt("bob@example.com")
                .await
                .err()
                .unwrap()
                .wait
                .as_secs(),
            10
        );
        // By both.
        assert_eq!(
            attempt("ada@example.com")
                .await
                .err()
                .unwrap()
                .wait
                .as_secs(),
            60
        );
        clock.advance(Duration::from_secs(60));
        assert!(attempt("ada@example.com").await.is_ok());
    }

    #[tokio::test]
    async fn no_attempts_is_no_limit() {
        let (limits, _clock) = limits((10, 0), (60, 0));
        for _ in 0..1000 {
            assert!(limits.admit_to(SIGN_IN, None, ada(None)).await.is_ok());
        }
    }
}
