//! Where a request has its token.

use http::header::COOKIE;
use http::{HeaderMap, Method};

use crate::verify::{Reject, bearer};

/// The token of the request: its bearer credentials, or a cookie where that is meant for navigations.
///
/// `original` is the method that the client asked with, where that is known.
pub(super) fn credentials<'h>(
    cookie_name: Option<&str>,
    original: Option<&Method>,
    headers: &'h HeaderMap,
) -> Result<&'h [u8], Reject> {
    match (bearer(headers), cookie_name) {
        (Ok(token), _) => Ok(token),
        (Err(Reject::MissingToken), Some(name)) => {
            // A cookie is sent by any page's form or image: good for looking, not for changing anything.
            let is_safe = matches!(original, Some(&(Method::GET | Method::HEAD)));
            cookie(headers, name)
                .filter(|_| is_safe && !is_embedded_elsewhere(headers))
                .map(str::as_bytes)
                .ok_or(Reject::MissingToken)
        }
        (Err(reject), _) => Err(reject),
    }
}

/// Fetched by a page of another site, not navigated to (Fetch Metadata).
fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate")
}

fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let mut pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let is_wanted = |(name, _): &(&str, &str)| *name == wanted;
    let (_, value) = pairs.find(is_wanted)?;
    // Two of one name come from two places, and one of them may not be ours (RFC 6265 §4.2.2).
    let only = pairs.all(|pair| !is_wanted(&pair));
    only.then(|| value.trim_matches('"'))
}
