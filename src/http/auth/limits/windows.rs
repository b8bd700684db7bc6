//! Where attempts are counted. Behind a trait, so that several servers may count together one day.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use super::sketch::Sketch;

/// So many attempts in a window that begins with the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) attempts: u32,
    pub(super) window: Duration,
    /// A window that follows a full one is twice as long as that, up to this. As `window` where windows do not grow.
    pub(super) longest: Duration,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The route that is limited.
    pub(super) what: &'static str,
    pub(super) by: By,
}

/// SHA-256 of an account's address in lower case, whether there is such an account or not.
pub(super) type Account = [u8; 32];

/// Whose attempts are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum By {
    /// A network's attempts that did not succeed.
    Network(Network),
    /// All attempts of a network or a known device, successes included: each costs a hash.
    All(Origin),
    /// One origin's attempts on one account.
    Share(Account, Origin),
    /// Attempts of all strangers on one account.
    Strangers(Account),
    /// Devices that an account has come to be known on.
    NewDevices(Account),
}

/// Where attempts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A network that nothing is known of.
    Stranger(Network),
    /// A network from which the account has a session.
    KnownNetwork(Network),
    /// A device on which the account has signed in.
    KnownDevice([u8; 16]),
    /// A session, by the SHA-256 of its identifier.
    Session([u8; 32]),
}

/// The first bits of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

/// An attempt that was counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) places: [usize; 4],
    /// Which of the places were changed.
    pub(super) rows: u8,
    /// The time at which it was counted.
    pub(super) at: Duration,
}

/// What comes of asking; boxed, so that servers which count together can wait for one another.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Counts attempts by key.
pub(super) trait AttemptWindows: Send + Sync + 'static {
    /// Counts an attempt, or says how long to wait.
    fn admit(&self, key: Key, limit: Limit, now: Duration) -> Answer<'_, Result<Taken, Duration>>;

    /// How long until an attempt would be admitted; nothing is counted.
    fn wait(&self, key: Key, limit: Limit, now: Duration) -> Answer<'_, Option<Duration>>;

    /// Uncounts an attempt.
    fn give_back(&self, key: Key, taken: Taken) -> Answer<'_, ()>;
}

/// Windows in this process' memory, of which no flood of keys takes more.
pub(super) struct MemoryWindows {
    /// Windows of different lengths do not share cells: each cell is judged by one.
    networks: Sketch,
    shares: Sketch,
    accounts: Sketch,
    devices: Sketch,
}

// === impl Network ===

impl Network {
    /// An address in IPv6 form is the IPv4 address that it holds.
    pub(super) fn new(address: IpAddr, bits_v4: u8, bits_v6: u8) -> Self {
        let mask = |bits: u8, of: u32| {
            let cut = of - u32::from(bits).min(of);
            u128::MAX.checked_shl(cut).unwrap_or(0)
        };
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let low = u32::try_from(mask(bits_v4, 32) & u128::from(u32::MAX)).unwrap_or(0);
                Network {
                    address: IpAddr::V4((ip.to_bits() & low).into()),
                    bits: bits_v4,
                }
            }
            IpAddr::V6(ip) => Network {
                address: IpAddr::V6((ip.to_bits() & mask(bits_v6, 128)).into()),
                bits: bits_v6,
            },
        }
    }
}

// === impl MemoryWindows ===

impl MemoryWindows {
    pub(super) fn new() -> Self {
        MemoryWindows {
            networks: Sketch::new(),
            shares: Sketch::new(),
            accounts: Sketch::new(),
            devices: Sketch::new(),
        }
    }

    fn sketch(&self, key: &Key) -> &Sketch {
        match key.by {
            By::Network(_) | By::All(_) => &self.networks,
            By::Share(..) => &self.shares,
            By::Strangers(_) => &self.accounts,
            By::NewDevices(_) => &self.devices,
        }
    }
}

impl AttemptWindows for MemoryWindows {
    fn admit(&self, key: Key, limit: Limit, now: Duration) -> Answer<'_, Result<Taken, Duration>> {
        Box::pin(std::future::ready(self.sketch(&key).take(key, &limit, now)))
    }

    fn wait(&self, key: Key, limit: Limit, now: Duration) -> Answer<'_, Option<Duration>> {
        Box::pin(std::future::ready(self.sketch(&key).wait(key, &limit, now)))
    }

    fn give_back(&self, key: Key, taken: Taken) -> Answer<'_, ()> {
        self.sketch(&key).give_back(&taken);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_first_bits_of_its_addresses() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8:1:2::1", "2001:db8:1:ffff::2", true),
            ("2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ("192.0.2.1", "2001:db8::1", false),
        ] {
            let network = |text: &str| Network::new(text.parse().unwrap(), 24, 48);
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        }
        let all = Network::new("192.0.2.1".parse().unwrap(), 0, 0);
        assert_eq!(all, Network::new("198.51.100.1".parse().unwrap(), 0, 0));
    }
}
