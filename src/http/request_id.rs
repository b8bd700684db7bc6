//! A name for each request: in its log lines, in its audit line and in its answer, so that one can be found by another.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use tracing::Instrument as _;

use crate::verify::{REQUEST_ID, request_id};

/// Takes the name that a client or a proxy gave, if it is one, else makes one; whoever comes after finds it in the header.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = match request_id(request.headers()) {
        // Checked to be of few characters, so it is a header's value again.
        Some(given) => HeaderValue::from_str(given).ok(),
        None => None,
    };
    let id = id.unwrap_or_else(make);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let route = request.extensions().get::<MatchedPath>();
    let span = tracing::info_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        method = request.method().as_str(),
        route = route.map_or("none", MatchedPath::as_str),
    );
    let answered = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = answered.instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Different from every other of this process, and from those of others as far as chance goes.
fn make() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let made = format!("{:08x}-{number:x}", process());
    // Hexadecimal digits and a dash.
    HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("none"))
}

/// A number of this process' own.
fn process() -> u32 {
    use std::sync::LazyLock;
    static PROCESS: LazyLock<u32> = LazyLock::new(|| {
        let mut bytes = [0; 4];
        // Without random bytes nothing is signed either; a name may then be given twice.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        u32::from_le_bytes(bytes)
    });
    *PROCESS
}
