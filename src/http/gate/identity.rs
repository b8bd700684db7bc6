//! Whom a request is from, as headers.

use std::sync::LazyLock;

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
const NOTHING: HeaderValue = HeaderValue::from_static("");

/// The headers of any answer that names somebody, whose own are yet to be put in. Copied for each, which asks for no name's hash.
struct Template {
    headers: HeaderMap,
    /// In the order of the headers, which of [`IDENTITY`] each is.
    places: Vec<Option<usize>>,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let mut headers = HeaderMap::new();
    add_nobody(&mut headers);
    // Or the server adds it, to each answer.
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let place = |name: &HeaderName| IDENTITY.iter().position(|its| its == name);
    Template {
        places: headers.keys().map(place).collect(),
        headers,
    }
});

/// The answer that names whom a token is from; `None` if no header can say so. Made anew each time: all that it is made of lies
/// beside the token, which was just compared, and what were kept for each of thousands would have to be waited for.
pub(super) fn answer(token: &Token) -> Option<Response> {
    let mut values = values(token)?;
    let template = &*TEMPLATE;
    let mut headers = template.headers.clone();
    for (header, place) in headers.values_mut().zip(&template.places) {
        if let Some(value) = place.and_then(|place| values.get_mut(place)) {
            std::mem::swap(header, value);
        }
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    Some(response)
}

/// The headers of an answer that names nobody.
pub(super) fn add_nobody(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, NO_STORE);
    for name in IDENTITY {
        headers.insert(name, NOTHING);
    }
}

/// The values of the headers of [`IDENTITY`], in one piece of memory, which they share.
fn values(token: &Token) -> Option<[HeaderValue; 5]> {
    let segment = token.payload_segment();
    // Enough for usual tokens: what comes before the claims is in the claims too.
    let mut all = String::with_capacity(2 * segment.unwrap_or(token.payload()).len());
    let mut ends = [0; 5];
    text(&mut all, token.subject(), None)?;
    ends[0] = all.len();
    text(&mut all, token.issuer(), None)?;
    ends[1] = all.len();
    list(&mut all, b' ', |visit| token.each_scope(visit))?;
    ends[2] = all.len();
    list(&mut all, b',', |visit| token.each_role(visit))?;
    ends[3] = all.len();
    match segment {
        // A token has but one spelling, so this is what encoding it again would give.
        Some(segment) => all.push_str(segment),
        None => URL_SAFE_NO_PAD.encode_string(token.payload(), &mut all),
    }
    ends[4] = all.len();
    let all = Bytes::from(all);
    let mut start = 0;
    let shared = ends.map(|end| {
        let value = HeaderValue::from_maybe_shared(all.slice(start..end));
        start = end;
        value.ok()
    });
    let [a, b, c, d, e] = shared;
    Some([a?, b?, c?, d?, e?])
}

/// Appends a text, if a header can carry it as it is, and it has no `separator`.
fn text(all: &mut String, value: &str, separator: Option<u8>) -> Option<()> {
    let fits = value.bytes().fold(true, |fit, byte| {
        fit & matches!(byte, 0x21..=0x7e) & (Some(byte) != separator)
    });
    fits.then(|| all.push_str(value))
}

/// Appends what `each` visits, if they can be told apart again.
fn list(all: &mut String, separator: u8, each: impl FnOnce(&mut dyn FnMut(&str))) -> Option<()> {
    let mut fit = Some(());
    let mut is_first = true;
    each(&mut |value| {
        if !std::mem::take(&mut is_first) {
            all.push(char::from(separator));
        }
        fit = fit.and_then(|()| text(all, value, Some(separator)));
    });
    fit
}
