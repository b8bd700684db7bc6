//! What an HTTP server counts: requests and how long they took, by route. Found without a lock, for the gate's every answer
//! passes here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::catalogue::Registrar;
use super::histogram::{ShardedHistogram, ShardedHistogramVec};
use super::sharded::{ShardedCounter, ShardedCounterVec};

/// Upper bounds in nanoseconds: the gate answers in tens of microseconds, a password takes some 20 ms, a full queue of them
/// seconds.
const REQUEST_BOUNDS: &[u64] = &[
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// The metrics of servers.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: ShardedCounterVec,
    seconds: ShardedHistogramVec,
    routes: Arc<ArcSwap<Routes>>,
    connections: IntGaugeVec,
    connection_ends: IntCounterVec,
}

/// Why a connection ended that neither side had done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionEnd {
    /// It gave way to another, for as many were open as may be.
    NoRoom,
    /// Its address had too many unfinished requests.
    Network,
    /// A request did not come in time.
    SlowRequest,
    /// An answer was not taken in time.
    SlowReader,
    /// The client broke it off, or sent what is no request.
    Broken,
    /// It was never accepted: no descriptor was left.
    NotAccepted,
}

/// What is counted of one listener's connections.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMetrics {
    open: IntGauge,
    ends: [IntCounter; ConnectionEnd::ALL.len()],
}

// === impl ConnectionEnd ===

impl ConnectionEnd {
    const ALL: [ConnectionEnd; 6] = [
        ConnectionEnd::NoRoom,
        ConnectionEnd::Network,
        ConnectionEnd::SlowRequest,
        ConnectionEnd::SlowReader,
        ConnectionEnd::Broken,
        ConnectionEnd::NotAccepted,
    ];

    const fn name(self) -> &'static str {
        match self {
            ConnectionEnd::NoRoom => "no_room",
            ConnectionEnd::Network => "network",
            ConnectionEnd::SlowRequest => "slow_request",
            ConnectionEnd::SlowReader => "slow_reader",
            ConnectionEnd::Broken => "broken",
            ConnectionEnd::NotAccepted => "not_accepted",
        }
    }
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    pub(crate) fn opened(&self) {
        self.open.inc();
    }

    pub(crate) fn closed(&self) {
        self.open.dec();
    }

    pub(crate) fn ended(&self, end: ConnectionEnd) {
        self.ends[end as usize].inc();
    }
}

type Routes = HashMap<Box<str>, Arc<Route>>;

/// What is counted for one route.
#[derive(Debug)]
struct Route {
    pattern: Box<str>,
    /// By method and status, as they come up: a handful.
    answers: ArcSwap<Vec<Answers>>,
    seconds: Arc<ShardedHistogram>,
}

#[derive(Debug, Clone)]
struct Answers {
    method: &'static str,
    status: StatusCode,
    counter: ShardedCounter,
}

// === impl HttpMetrics ===

impl HttpMetrics {
    pub(super) fn register(to: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(HttpMetrics {
            requests: to.sharded_counters(
                "http_requests_total",
                &["route", "method", "status"],
                "HTTP requests answered, by route, method and status; a rise of 5xx is the service's own trouble.",
            )?,
            seconds: to.sharded_histograms(
                "http_request_seconds",
                "route",
                REQUEST_BOUNDS,
                "Seconds from a request's head to its answer's, by route; those of watchers, which may be held, are left out.",
            )?,
            routes: Arc::default(),
            connections: to.gauges(
                "connections",
                &["listener"],
                "Open connections, by listener: `public`, `admin`.",
            )?,
            connection_ends: to.counters(
                "connections_ended_total",
                &["listener", "reason"],
                "Connections that ended before either side had done with them, by listener and reason; a rise of `no_room` or `network` is somebody using them up.",
            )?,
        })
    }

    /// What is counted of the connections of the listener `name`, shown before there is one.
    pub(crate) fn connections(&self, name: &'static str) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.connections.with_label_values(&[name]),
            ends: ConnectionEnd::ALL
                .map(|end| self.connection_ends.with_label_values(&[name, end.name()])),
        }
    }

    /// One more answer. `route` is a pattern of the route table, `method` one of the standard's or `other`; `took` is `None`
    /// for a request that may have been held.
    pub(crate) fn answered(
        &self,
        route: &str,
        method: &'static str,
        status: StatusCode,
        took: Option<Duration>,
    ) {
        // Borrowed, not cloned: a count of references would be passed between cores.
        match self.routes.load().get(route) {
            Some(route) => route.answered(&self.requests, method, status, took),
            None => self.route(route).answered(method, status, took),
        }
    }

    /// What is counted for one route, found once and kept.
    pub(crate) fn route(&self, pattern: &str) -> RouteMetrics {
        RouteMetrics {
            requests: self.requests.clone(),
            route: self.add(pattern),
        }
    }

    fn add(&self, pattern: &str) -> Arc<Route> {
        let new = Arc::new(Route {
            pattern: pattern.into(),
            answers: ArcSwap::default(),
            seconds: self.seconds.histogram(pattern),
        });
        let before = self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.entry(pattern.into()).or_insert_with(|| new.clone());
            routes
        });
        before.get(pattern).cloned().unwrap_or(new)
    }
}

/// The metrics of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    requests: ShardedCounterVec,
    route: Arc<Route>,
}

// === impl RouteMetrics ===

impl RouteMetrics {
    /// As [`HttpMetrics::answered`].
    pub(crate) fn answered(
        &self,
        method: &'static str,
        status: StatusCode,
        took: Option<Duration>,
    ) {
        self.route.answered(&self.requests, method, status, took);
    }
}

// === impl Route ===

impl Route {
    fn answered(
        &self,
        requests: &ShardedCounterVec,
        method: &'static str,
        status: StatusCode,
        took: Option<Duration>,
    ) {
        self.count(requests, method, status);
        if let Some(took) = took {
            self.seconds.observe(took, 1);
        }
    }

    fn count(&self, requests: &ShardedCounterVec, method: &'static str, status: StatusCode) {
        let is_this = |answers: &&Answers| answers.status == status && answers.method == method;
        if let Some(known) = self.answers.load().iter().find(is_this) {
            return known.counter.inc();
        }
        let counter = requests.counter(&[&self.pattern, method, status.as_str()]);
        counter.inc();
        let new = Answers {
            method,
            status,
            counter,
        };
        self.answers.rcu(|answers| {
            let mut answers = Vec::clone(answers);
            // Two threads may have found it missing: it is the same counter, and stands here once.
            if !answers.iter().any(|answers| is_this(&answers)) {
                answers.push(new.clone());
            }
            answers
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn answers_are_counted_by_route_method_and_status_from_any_thread() {
        let metrics = Metrics::new().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
                        let took = Some(Duration::from_micros(30));
                        metrics.http.answered("/a/{b}", "GET", status, took);
                        metrics.http.answered("/a/{b}", "POST", status, None);
                    }
                });
            }
        });
        let text = metrics.render();
        for line in [
            r#"keywheel_http_requests_total{method="GET",route="/a/{b}",status="200"} 4"#,
            r#"keywheel_http_requests_total{method="POST",route="/a/{b}",status="401"} 4"#,
            r#"keywheel_http_request_seconds_bucket{route="/a/{b}",le="0.000025"} 0"#,
            r#"keywheel_http_request_seconds_bucket{route="/a/{b}",le="0.00005"} 8"#,
            r#"keywheel_http_request_seconds_count{route="/a/{b}"} 8"#,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
