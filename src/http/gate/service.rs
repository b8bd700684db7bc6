//! The gate as a service of its own: every request of a backend waits for its answer, so it goes through no router, and is answered
//! at once where that can be done; in a boxed future only where a fetch must be waited for.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Request, StatusCode};
use tower_service::Service;

use super::GateRules;
use super::question::{ENVOY_PREFIX, Head, Manner, Question, unreadable};
use crate::clock::{Clock as _, SystemClock};
use crate::http::count::method_label;
use crate::metrics::{Metrics, RouteMetrics};

/// What answers the proxies' questions, at `/verify` and `/envoy/…`.
#[derive(Clone)]
pub struct GateService {
    current: Arc<ArcSwap<GateRules>>,
    routes: Arc<Routes>,
}

/// What is counted, by the pattern of what was asked for.
struct Routes {
    verify: Route,
    envoy: Route,
    below_envoy: Route,
    none: Route,
}

struct Route {
    pattern: &'static str,
    metrics: RouteMetrics,
}

/// The answer of a [`GateService`].
pub struct GateFuture(State);

enum State {
    Answered(Option<Response>),
    /// Keys or a status list are asked for first.
    Waiting(Pin<Box<dyn Future<Output = Response> + Send>>),
}

// === impl GateService ===

impl GateService {
    pub(super) fn new(current: Arc<ArcSwap<GateRules>>, metrics: &Metrics) -> Self {
        let route = |pattern| Route {
            pattern,
            metrics: metrics.http.route(pattern),
        };
        GateService {
            current,
            routes: Arc::new(Routes {
                verify: route("/verify"),
                envoy: route(ENVOY_PREFIX),
                below_envoy: route("/envoy/{*path}"),
                none: route("none"),
            }),
        }
    }
}

impl<B> Service<Request<B>> for GateService {
    type Response = Response;
    type Error = Infallible;
    type Future = GateFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> GateFuture {
        let started = SystemClock.monotonic();
        let (route, manner) = self.routes.find(request.uri().path());
        let method = method_label(request.method());
        let answer = match manner {
            // Guarded, not cloned: a count of references would be passed between cores.
            Some(manner) => answer_at_once(&self.current.load(), manner, route, &request),
            None => Some(StatusCode::NOT_FOUND.into_response()),
        };
        GateFuture(match (answer, manner) {
            (None, Some(manner)) => {
                let rules = self.current.load_full();
                let routes = self.routes.clone();
                let (parts, _) = request.into_parts();
                State::Waiting(Box::pin(async move {
                    let (route, _) = routes.find(parts.uri.path());
                    let response = answer_in_time(&rules, manner, route.pattern, &parts).await;
                    route.count(method, response.status(), started);
                    response
                }))
            }
            (answer, _) => {
                if let Some(response) = &answer {
                    route.count(method, response.status(), started);
                }
                State::Answered(answer)
            }
        })
    }
}

fn answer_at_once<B>(
    rules: &GateRules,
    manner: Manner,
    route: &Route,
    request: &Request<B>,
) -> Option<Response> {
    let head = Head {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
        extensions: request.extensions(),
    };
    match Question::read(rules, manner, route.pattern, head) {
        Ok(question) => question.answer_at_once(),
        Err(error) => Some(unreadable(&error)),
    }
}

async fn answer_in_time(
    rules: &GateRules,
    manner: Manner,
    route: &'static str,
    parts: &Parts,
) -> Response {
    let head = Head {
        method: &parts.method,
        uri: &parts.uri,
        headers: &parts.headers,
        extensions: &parts.extensions,
    };
    match Question::read(rules, manner, route, head) {
        Ok(question) => question.answer().await,
        Err(error) => unreadable(&error),
    }
}

// === impl Routes ===

impl Routes {
    /// Which route a path is, and how it asks; nothing is asked at any other.
    fn find(&self, path: &str) -> (&Route, Option<Manner>) {
        if path == self.verify.pattern {
            return (&self.verify, Some(Manner::Headers));
        }
        match path.strip_prefix(ENVOY_PREFIX) {
            Some("") => (&self.envoy, Some(Manner::Itself)),
            Some(below) if below.starts_with('/') => (&self.below_envoy, Some(Manner::Itself)),
            _ => (&self.none, None),
        }
    }
}

// === impl Route ===

impl Route {
    fn count(&self, method: &'static str, status: StatusCode, started: Duration) {
        let took = SystemClock.monotonic().saturating_sub(started);
        self.metrics.answered(method, status, Some(took));
    }
}

// === impl GateFuture ===

impl Future for GateFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Answered(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after its end, which no future need answer.
                None => Poll::Pending,
            },
            State::Waiting(answer) => answer.as_mut().poll(context).map(Ok),
        }
    }
}
