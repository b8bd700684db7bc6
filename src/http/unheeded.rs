//! A warning where a proxy says whom it speaks for and is not listened to: then everybody behind it is one address to the limits.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::config::Network;

/// What proxies say it in. Of these, only the first is ever read.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
];
/// Between two warnings about one network: anybody can send the header, and must not fill the log with it.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);
/// So many networks of each kind have a turn of their own; also the most warnings of each kind in a day.
const TURNS: usize = 64;

/// When it was last warned of, by network: a stranger's request must not use up the proxy's warning. Where two networks meet is not for
/// strangers to choose, and those of public addresses never meet a private one, where proxies commonly are.
pub(super) struct Unheeded {
    private: [AtomicU64; TURNS],
    public: [AtomicU64; TURNS],
    hashing: RandomState,
}

impl Default for Unheeded {
    fn default() -> Self {
        Unheeded {
            private: [const { AtomicU64::new(0) }; TURNS],
            public: [const { AtomicU64::new(0) }; TURNS],
            hashing: RandomState::new(),
        }
    }
}

// === impl Unheeded ===

impl Unheeded {
    /// Warns if `peer`, whom nobody trusts, says whom it speaks for. What it says is not written down.
    pub(super) fn note(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        proxies: &[Network],
        now: Duration,
    ) {
        let Some(header) = HEADERS.into_iter().find(|name| headers.contains_key(name)) else {
            return;
        };
        let peer = peer.to_canonical();
        if proxies.iter().any(|network| network.contains(peer)) || !self.is_due(peer, now) {
            return;
        }
        tracing::warn!(
            %peer,
            header = header.as_str(),
            "a request says whom it was forwarded for, and its sender is no trusted proxy: everybody behind it is one address to \
             rate limits and audit. If it is your proxy, write: trusted_proxies = [\"{peer}\"]"
        );
    }

    fn is_due(&self, peer: IpAddr, now: Duration) -> bool {
        let turns = match is_private(peer) {
            true => &self.private,
            false => &self.public,
        };
        let Some(last) = turns.get(self.turn(peer)) else {
            return false;
        };
        // From one: nought is "never".
        let now = 1 + u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1);
        let every = u64::try_from(WARN_EVERY.as_millis()).unwrap_or(u64::MAX);
        let order = Ordering::Relaxed;
        let is_due = |last: u64| (last == 0 || now.saturating_sub(last) >= every).then_some(now);
        // Of several at once, one.
        last.fetch_update(order, order, is_due).is_ok()
    }

    /// Which turn an address' network has: the /24, or the /48 of IPv6, of which one stranger may have all.
    fn turn(&self, peer: IpAddr) -> usize {
        let network = match peer {
            IpAddr::V4(ip) => u128::from(ip.to_bits() >> 8),
            IpAddr::V6(ip) => ip.to_bits() >> 80 << 80,
        };
        // Fits, as a remainder of a small number.
        usize::try_from(self.hashing.hash_one(network) % TURNS as u64).unwrap_or(0)
    }
}

/// Where proxies commonly are.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = WARN_EVERY;

    #[test]
    fn it_is_said_once_a_day_and_a_stranger_does_not_use_up_the_proxys_turn() {
        let unheeded = Unheeded::default();
        let due = |ip: &str, now| unheeded.is_due(ip.parse().unwrap(), now);
        assert!(due("203.0.113.5", Duration::ZERO));
        assert!(!due("203.0.113.6", Duration::ZERO));
        for private in ["10.0.0.5", "127.0.0.1", "::1", "fd00::1", "169.254.1.1"] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        assert!(due("10.0.0.5", Duration::ZERO));
        assert!(!due("10.0.0.5", DAY - Duration::from_secs(1)));
        assert!(due("10.0.0.5", DAY));
    }

    #[test]
    fn a_stranger_with_a_network_does_not_use_up_the_turn_of_a_proxy_in_another() {
        let has_turn = |stranger: &dyn Fn(u8) -> String, proxy: &str| {
            let unheeded = Unheeded::default();
            let due = |ip: &str| unheeded.is_due(ip.parse().unwrap(), Duration::ZERO);
            let warned = (0..=255).filter(|&host| due(&stranger(host))).count();
            assert_eq!(warned, 1, "a network has one turn");
            due(proxy)
        };
        let v4 = |host: u8| format!("203.0.113.{host}");
        let v6 = |host: u8| format!("2001:db8:1:{host:x}::{host:x}");
        let pod = |host: u8| format!("10.0.7.{host}");
        let tries = 200;
        for (stranger, proxy) in [
            (&v4 as &dyn Fn(u8) -> String, "198.51.100.1"),
            (&v6, "2001:db8:2::1"),
            (&pod, "10.0.8.5"),
        ] {
            // They meet by chance, once in so many times as there are turns.
            let heard = (0..tries).filter(|_| has_turn(stranger, proxy)).count();
            assert!(heard > tries * 8 / 10, "{proxy}: {heard} of {tries}");
        }
    }

    #[test]
    fn however_many_networks_there_are_the_log_is_not_filled() {
        let unheeded = Unheeded::default();
        let address = |n: u16| {
            let [high, low] = n.to_be_bytes();
            IpAddr::from([198, high, low, 1])
        };
        let addresses = (0..=u16::MAX).map(address);
        let warned = addresses
            .filter(|&ip| unheeded.is_due(ip, Duration::ZERO))
            .count();
        assert!(warned <= TURNS, "{warned}");
    }
}
