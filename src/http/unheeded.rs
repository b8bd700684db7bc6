//! A warning where a proxy says whom it speaks for and is not listened to: then everybody behind it is one address to the limits.

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
/// Between two warnings about one kind of address: anybody can send the header, and must not fill the log with it.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// When it was last warned of, apart for addresses of private networks: a stranger's request must not use up the proxy's warning.
#[derive(Default)]
pub(super) struct Unheeded {
    private: AtomicU64,
    public: AtomicU64,
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
        let last = match is_private(peer) {
            true => &self.private,
            false => &self.public,
        };
        // From one: nought is "never".
        let now = 1 + u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1);
        let every = u64::try_from(WARN_EVERY.as_millis()).unwrap_or(u64::MAX);
        let order = Ordering::Relaxed;
        let is_due = |last: u64| (last == 0 || now.saturating_sub(last) >= every).then_some(now);
        // Of several at once, one.
        last.fetch_update(order, order, is_due).is_ok()
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
}
