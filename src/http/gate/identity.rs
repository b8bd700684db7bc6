//! Whom a request is from, as headers.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::verify::Token;

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const ISSUER: HeaderName = HeaderName::from_static("x-auth-issuer");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const CLAIMS: HeaderName = HeaderName::from_static("x-auth-claims");
/// Every header of an identity. All are always answered, if only with nothing, so that a proxy that copies them puts something
/// in the place of what a client may have sent.
const IDENTITY: [HeaderName; 5] = [SUBJECT, ISSUER, SCOPE, ROLES, CLAIMS];

/// An answer is for one request alone.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// All headers of an answer that names somebody; `None` if one cannot be put into a header as it is.
struct Identity(Option<HeaderMap>);

/// The answer that names whom a token is from; `None` if no header can say so. Its headers are made once for as long as the verifier
/// remembers the token, which bounds them too: all of them together are a little longer than the token, and the map has some 800 bytes.
pub(super) fn answer(token: &Token) -> Option<Response> {
    let identity = token.attached(|token| Identity(values(token).map(headers)))?;
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = identity.0.clone()?;
    Some(response)
}

fn headers(values: [HeaderValue; 5]) -> HeaderMap {
    let mut headers: HeaderMap = IDENTITY.into_iter().zip(values).collect();
    headers.insert(CACHE_CONTROL, NO_STORE);
    // Or the server adds it, to each answer.
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
}

/// The headers of an answer that names nobody.
pub(super) fn add_nobody(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, NO_STORE);
    for name in IDENTITY {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

fn values(token: &Token) -> Option<[HeaderValue; 5]> {
    let is_plain = |value: &str| value.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    let text = |value: &str| is_plain(value).then(|| value.to_owned());
    let list = |values: Vec<String>, separator: &str| {
        let apart = values
            .iter()
            .all(|value| !value.contains(separator) && is_plain(value));
        apart.then(|| values.join(separator))
    };
    let values = [
        text(token.subject())?,
        text(token.issuer())?,
        list(token.scopes(), " ")?,
        list(token.roles(), ",")?,
        URL_SAFE_NO_PAD.encode(token.payload()),
    ];
    // In one piece of memory, which an answer shares.
    let all = Bytes::from(values.concat());
    let mut start = 0;
    let shared = values.map(|value| {
        let end = start + value.len();
        let value = HeaderValue::from_maybe_shared(all.slice(start..end));
        start = end;
        value.ok()
    });
    let [a, b, c, d, e] = shared;
    Some([a?, b?, c?, d?, e?])
}
