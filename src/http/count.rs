//! Counts and times requests by route pattern, method and status: labels from closed lists, whatever is asked for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{HeaderName, Method};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{Clock as _, SystemClock};
use crate::metrics::Metrics;

/// What a watcher asks with (RFC 7240): its request may be held, and how long that took says nothing of the service.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A layer of its own and not a function for axum's `from_fn`: that boxes a future and a service for each request, twice.
#[derive(Clone)]
pub(super) struct CountLayer {
    /// Shared: it is cloned for every request, and a `Metrics` is many counts to clone.
    metrics: Arc<Metrics>,
}

/// The layer that counts into `metrics`.
pub(super) fn layer(metrics: &Metrics) -> CountLayer {
    CountLayer {
        metrics: Arc::new(metrics.clone()),
    }
}

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// A service whose answers are counted.
#[derive(Clone)]
pub(super) struct Count<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Count<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Counted<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Counted<S::Future> {
        let is_timed = !request.headers().contains_key(PREFER);
        Counted {
            route: request.extensions().get::<MatchedPath>().cloned(),
            method: method_label(request.method()),
            started: is_timed.then(|| SystemClock.monotonic()),
            metrics: self.metrics.clone(),
            answer: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The answer of a [`Count`].
    pub(super) struct Counted<F> {
        #[pin]
        answer: F,
        route: Option<MatchedPath>,
        method: &'static str,
        started: Option<Duration>,
        metrics: Arc<Metrics>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Counted<F> {
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let Ok(response) = &answer {
            let took = this
                .started
                .map(|started| SystemClock.monotonic().saturating_sub(started));
            let route = this.route.as_ref().map_or("none", MatchedPath::as_str);
            this.metrics
                .http
                .answered(route, this.method, response.status(), took);
        }
        Poll::Ready(answer)
    }
}

/// A method of the standard, or `other`: a client may send any word.
pub(super) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
