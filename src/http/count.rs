//! Counts and times requests by route pattern, method and status: labels from closed lists, whatever is asked for.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{FromFnLayer, Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderName, Method};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::{Clock as _, SystemClock};
use crate::metrics::Metrics;

/// What a watcher asks with (RFC 7240): its request may be held, and how long that took says nothing of the service.
const PREFER: HeaderName = HeaderName::from_static("prefer");

type Counted = Pin<Box<dyn Future<Output = Response> + Send>>;
type Count = fn(State<Arc<Metrics>>, Request, Next) -> Counted;

/// The layer that counts into `metrics`.
pub(super) fn layer(
    metrics: &Metrics,
) -> FromFnLayer<Count, Arc<Metrics>, (State<Arc<Metrics>>, Request)> {
    // Shared: axum clones the state for every request, and a `Metrics` is many counts to clone.
    from_fn_with_state(Arc::new(metrics.clone()), count as Count)
}

fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Counted {
    Box::pin(async move {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = method_label(request.method());
        let started = (!request.headers().contains_key(PREFER)).then(|| SystemClock.monotonic());
        let response = next.run(request).await;
        let took = started.map(|started| SystemClock.monotonic().saturating_sub(started));
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        metrics
            .http
            .answered(route, method, response.status(), took);
        response
    })
}

/// A method of the standard, or `other`: a client may send any word.
fn method_label(method: &Method) -> &'static str {
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
