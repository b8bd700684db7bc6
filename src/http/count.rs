//! Counts requests by route pattern, method and status: labels from closed lists, whatever is asked for.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{FromFnLayer, Next, from_fn_with_state};
use axum::response::Response;
use http::Method;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::metrics::Metrics;

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
        let response = next.run(request).await;
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        metrics
            .issuer
            .http_request(route, method, response.status());
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
