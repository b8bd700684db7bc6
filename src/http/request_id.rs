//! A name for each request: in its log lines, in its audit line and in its answer, so that one can be found by another.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use tracing::Instrument as _;

use crate::verify::{REQUEST_ID, request_id};

/// Takes the name that a client or a proxy gave, if it is one, else makes one; whoever comes after finds it in the header.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let given = request_id(request.headers());
    // Checked to be of few characters, so it is a header's value again.
    let given = given.and_then(|given| HeaderValue::from_str(given).ok());
    let id = given.unwrap_or_else(make);
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

/// At random: a number that counts would tell strangers how busy the service is.
fn make() -> HeaderValue {
    let mut bytes = [0; 8];
    // Without random bytes nothing is signed either; the name then says nothing.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let made = format!("{:016x}", u64::from_le_bytes(bytes));
    // Hexadecimal digits.
    HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("none"))
}
