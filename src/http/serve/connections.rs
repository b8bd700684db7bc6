//! All connections of one listener: how many there may be, and which gives way when there is no room for another.
//!
//! One that waits for its client gives way, the longest-waiting first; one whose client waits for the service, as in a long poll, never
//! does. The listener's own task keeps the list, so nothing is locked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Listening;
use super::connection::{Connection, Stage, Wait};
use crate::metrics::ConnectionEnd;

/// An unfinished request that is younger gives way only where all room is used up: after a restart, a thousand verifiers behind one
/// address send their requests in the same second.
const YOUNG: Duration = Duration::from_secs(1);
/// Between two looks at all connections.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of those that one look finds, how many are remembered.
const MAX_CANDIDATES: usize = 256;
/// Between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The connections of one listener.
pub(super) struct Connections {
    listening: Listening,
    all: Vec<Weak<Connection>>,
    /// Unfinished requests by network.
    unfinished: HashMap<IpAddr, Weak<AtomicUsize>>,
    shared: Arc<Shared>,
    /// Those that may give way, the next one last.
    candidates: Vec<(Weak<Connection>, Wait)>,
    looked: Option<Duration>,
    looked_at_network: Option<Duration>,
    warned: [Option<Duration>; 3],
}

struct Shared {
    /// Connections that are open and have not been told to close.
    open: AtomicUsize,
    ended: Notify,
    listening: Listening,
}

/// A place among the open connections; free when this is dropped.
pub(super) struct Place {
    pub(super) connection: Arc<Connection>,
    shared: Arc<Shared>,
}

/// What the log is told, at most once a minute each.
#[derive(Debug, Clone, Copy)]
enum Warning {
    Full,
    Network,
    Accept,
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        // Counted until it was told to close, or until now.
        if self.connection.close() {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.listening.metrics.closed();
        self.shared.ended.notify_one();
    }
}

// === impl Connections ===

impl Connections {
    pub(super) fn new(listening: Listening) -> Self {
        Connections {
            all: Vec::new(),
            unfinished: HashMap::new(),
            shared: Arc::new(Shared {
                open: AtomicUsize::new(0),
                ended: Notify::new(),
                listening: listening.clone(),
            }),
            listening,
            candidates: Vec::new(),
            looked: None,
            looked_at_network: None,
            warned: [None; 3],
        }
    }

    fn now(&self) -> Duration {
        self.listening.clock.monotonic()
    }

    /// Waits until another connection may be accepted: at once, unless all that there may be wait for the service.
    pub(super) async fn room(&mut self) {
        while self.shared.open.load(Ordering::Relaxed) > self.listening.max {
            if self.close_one(self.now()) {
                continue;
            }
            self.warn(Warning::Full, None);
            tokio::select! {
                () = self.shared.ended.notified() => {}
                () = self.listening.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Takes up a connection from `ip`; another may have to close for it.
    pub(super) fn open(&mut self, ip: IpAddr) -> Place {
        let now = self.now();
        let unfinished = self.unfinished_of(ip);
        if let Some(unfinished) = &unfinished
            && unfinished.load(Ordering::Relaxed) >= self.listening.unfinished_per_network
        {
            self.close_of_network(unfinished, ip, now);
        }
        let connection = Arc::new(Connection::new(now, unfinished));
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        self.listening.metrics.opened();
        // One more than there may be is let in, so that a full house need not keep a place free.
        if self.shared.open.load(Ordering::Relaxed) > self.listening.max && self.close_one(now) {
            self.warn(Warning::Full, None);
        }
        self.remember(&connection);
        Place {
            connection,
            shared: self.shared.clone(),
        }
    }

    fn remember(&mut self, connection: &Arc<Connection>) {
        let open = self.shared.open.load(Ordering::Relaxed);
        if self.all.len() > 2 * open + 64 {
            self.all.retain(|one| one.strong_count() > 0);
            self.unfinished.retain(|_, one| one.strong_count() > 0);
        }
        self.all.push(Arc::downgrade(connection));
    }

    /// The counter of unfinished requests of an address's network; none for a trusted proxy, behind which everybody is.
    fn unfinished_of(&mut self, ip: IpAddr) -> Option<Arc<AtomicUsize>> {
        if self
            .listening
            .proxies
            .iter()
            .any(|proxy| proxy.contains(ip))
        {
            return None;
        }
        let network = match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
            ip => ip,
        };
        let known = self.unfinished.get(&network).and_then(Weak::upgrade);
        Some(known.unwrap_or_else(|| {
            let new = Arc::new(AtomicUsize::new(0));
            self.unfinished.insert(network, Arc::downgrade(&new));
            new
        }))
    }

    /// Closes the connection that has waited longest for its client; whether there was one.
    fn close_one(&mut self, now: Duration) -> bool {
        let is_due = |looked: Option<Duration>| {
            looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_EVERY)
        };
        loop {
            let Some((candidate, wait)) = self.candidates.pop() else {
                if !is_due(self.looked) {
                    return false;
                }
                self.looked = Some(now);
                self.look();
                if self.candidates.is_empty() {
                    return false;
                }
                continue;
            };
            // It may have gone on since.
            if let Some(connection) = candidate.upgrade()
                && connection.wait() == wait
                && self.close(&connection, ConnectionEnd::NoRoom)
            {
                return true;
            }
        }
    }

    fn close(&self, connection: &Connection, end: ConnectionEnd) -> bool {
        let closes = connection.close();
        if closes {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
            self.listening.metrics.ended(end);
        }
        closes
    }

    /// Finds those that wait longest for their clients: unfinished requests before connections that are merely kept.
    fn look(&mut self) {
        let living = self.all.iter().filter_map(|weak| {
            let connection = weak.upgrade()?;
            let wait = connection.wait();
            let may_close = wait.stage != Stage::Working && !connection.is_closing();
            may_close.then(|| (weak.clone(), wait))
        });
        let mut found: Vec<_> = living.collect();
        found.sort_unstable_by_key(|(_, wait)| (wait.stage == Stage::Idle, wait.since));
        found.truncate(MAX_CANDIDATES);
        found.reverse();
        self.candidates = found;
    }

    /// Closes a network's oldest unfinished requests beyond its share.
    fn close_of_network(&mut self, unfinished: &Arc<AtomicUsize>, ip: IpAddr, now: Duration) {
        let looked = self.looked_at_network;
        if looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_EVERY) {
            return;
        }
        self.looked_at_network = Some(now);
        let too_many = unfinished.load(Ordering::Relaxed) + 1;
        let too_many = too_many.saturating_sub(self.listening.unfinished_per_network);
        let mut found: Vec<_> = self
            .all
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|connection| connection.is_counted_by(unfinished) && !connection.is_closing())
            .map(|connection| (connection.wait(), connection))
            .filter(|(wait, _)| wait.stage.is_unfinished())
            .filter(|(wait, _)| now.saturating_sub(wait.since) >= YOUNG)
            .collect();
        found.sort_unstable_by_key(|(wait, _)| wait.since);
        for (_, connection) in found.iter().take(too_many) {
            self.close(connection, ConnectionEnd::Network);
        }
        if !found.is_empty() {
            self.warn(Warning::Network, Some(ip));
        }
    }

    /// The system gave no descriptor, although there should be one: one that waits for its client gives way.
    pub(super) fn none_left(&mut self, error: &std::io::Error) {
        self.listening.metrics.ended(ConnectionEnd::NotAccepted);
        let now = self.now();
        if self.is_to_warn(Warning::Accept, now) {
            tracing::warn!(
                listener = self.listening.name,
                %error,
                "connections cannot be accepted; raise the limit of open files (`ulimit -n`, systemd's LimitNOFILE)"
            );
        }
        self.close_one(now);
    }

    fn is_to_warn(&mut self, warning: Warning, now: Duration) -> bool {
        let warned = &mut self.warned[warning as usize];
        let is_due = warned.is_none_or(|warned| now.saturating_sub(warned) >= WARN_EVERY);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }

    fn warn(&mut self, warning: Warning, ip: Option<IpAddr>) {
        if !self.is_to_warn(warning, self.now()) {
            return;
        }
        let listener = self.listening.name;
        match ip {
            Some(ip) => tracing::warn!(
                listener,
                %ip,
                "an address has more unfinished requests than its share; its oldest are closed"
            ),
            None => tracing::warn!(
                listener,
                connections = self.listening.max,
                "as many connections are open as may be; those that wait longest for their clients are closed. If they are real, \
                 raise the limit of open files (`ulimit -n`, systemd's LimitNOFILE)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock as _, ManualClock, Metrics, NumericDate};

    const SECOND: Duration = Duration::from_secs(1);

    fn connections(max: usize, per_network: usize) -> (Connections, ManualClock) {
        let clock = ManualClock::new(NumericDate::EPOCH);
        let metrics = Metrics::new().unwrap();
        let mut listening = Listening::new("public", max, &metrics);
        listening.clock = Arc::new(clock.clone());
        listening.unfinished_per_network = per_network;
        (Connections::new(listening), clock)
    }

    fn ip(n: usize) -> IpAddr {
        format!("192.0.2.{n}").parse().unwrap()
    }

    fn closing(places: &[Place]) -> Vec<usize> {
        let closing = |place: &Place| place.connection.is_closing();
        (0..places.len()).filter(|&n| closing(&places[n])).collect()
    }

    #[tokio::test]
    async fn the_longest_unfinished_request_gives_way_then_the_longest_idle_and_never_a_held_one() {
        let (mut connections, clock) = connections(4, 100);
        let mut places = Vec::new();
        for n in 0..4 {
            places.push(connections.open(ip(n)));
            clock.advance(SECOND);
        }
        let now = clock.monotonic();
        places[0].connection.enter(Stage::Working, now);
        places[1].connection.enter(Stage::Idle, now);
        for expected in [vec![2], vec![2, 3]] {
            places.push(connections.open(ip(9)));
            assert_eq!(closing(&places), expected);
            let newest = &places.last().unwrap().connection;
            newest.enter(Stage::Working, clock.monotonic());
            clock.advance(SECOND);
        }
        places.push(connections.open(ip(9)));
        assert_eq!(closing(&places), [1, 2, 3]);
        let newest = &places.last().unwrap().connection;
        newest.enter(Stage::Working, clock.monotonic());
        clock.advance(SECOND);
        // All wait for the service: nobody is closed, and one too many waits for the next to end.
        places.push(connections.open(ip(9)));
        let newest = &places.last().unwrap().connection;
        newest.enter(Stage::Working, clock.monotonic());
        assert_eq!(closing(&places), [1, 2, 3]);
        clock.advance(SECOND);
        let waits = tokio::select! {
            biased;
            () = connections.room() => false,
            () = std::future::ready(()) => true,
        };
        assert!(waits);
        places.remove(0);
        connections.room().await;
    }

    #[test]
    fn an_address_has_a_share_of_unfinished_requests_and_any_number_of_held_ones() {
        let (mut connections, clock) = connections(10_000, 8);
        let held: Vec<_> = (0..1000)
            .map(|_| {
                let place = connections.open(ip(1));
                place.connection.enter(Stage::Working, clock.monotonic());
                place
            })
            .collect();
        // A thousand that come in one second after a restart.
        let mut young: Vec<_> = (0..1000).map(|_| connections.open(ip(1))).collect();
        assert_eq!(closing(&young), [0usize; 0]);
        young.truncate(20);
        clock.advance(SECOND);
        let newest = connections.open(ip(1));
        // The thirteen oldest, so that with the new one there are eight.
        assert_eq!(closing(&young).len(), 13);
        assert!(closing(&held).is_empty() && !newest.connection.is_closing());
        drop(young);
        let other = connections.open(ip(2));
        assert!(!other.connection.is_closing());
    }

    #[test]
    fn a_trusted_proxy_has_no_share_for_everybody_is_behind_it() {
        let (mut connections, clock) = connections(10_000, 8);
        connections.listening.proxies = vec![serde_json::from_value("192.0.2.1".into()).unwrap()];
        let places: Vec<_> = (0..100)
            .map(|_| {
                clock.advance(SECOND);
                connections.open(ip(1))
            })
            .collect();
        assert!(closing(&places).is_empty());
    }
}
