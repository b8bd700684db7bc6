//! Where a request has its token.

use http::{HeaderMap, Method};

use crate::http::cookie_header;
use crate::verify::{Reject, bearer};

/// Most tokens that one request may bring in cookies of the name. A browser sends every cookie whose domain and path match, so
/// others of the domain can put theirs before the good one; each that is tried costs a signature.
const MAX_TRIED: usize = 16;

/// The token of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Credentials<'h> {
    One(&'h [u8]),
    /// Cookies of one name, of which no more than one needs to be good.
    AnyOf(Vec<&'h [u8]>),
}

/// The token of the request: its bearer credentials, or a cookie where that is meant for navigations.
///
/// `original` is the method that the client asked with, where that is known.
pub(super) fn credentials<'h>(
    cookie_name: Option<&str>,
    original: Option<&Method>,
    headers: &'h HeaderMap,
) -> Result<Credentials<'h>, Reject> {
    match (bearer(headers), cookie_name) {
        (Ok(token), _) => Ok(Credentials::One(token)),
        (Err(Reject::MissingToken), Some(name)) => {
            // A cookie is sent by any page's form or image: good for looking, not for changing anything.
            let is_safe = matches!(original, Some(&(Method::GET | Method::HEAD)));
            match is_safe && !is_embedded_elsewhere(headers) {
                true => cookies(headers, name).ok_or(Reject::MissingToken),
                false => Err(Reject::MissingToken),
            }
        }
        (Err(reject), _) => Err(reject),
    }
}

/// Fetched by a page of another site, not navigated to (Fetch Metadata).
fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate")
}

/// The tokens in cookies of this name, each once. Where several are there, what is no token at all is passed over: it could only be
/// refused.
fn cookies<'h>(headers: &'h HeaderMap, name: &str) -> Option<Credentials<'h>> {
    let mut found = cookie_header::values(headers, name).filter(|value| !value.is_empty());
    let first = found.next()?;
    let mut tokens = Vec::new();
    for other in found {
        if tokens.is_empty() && is_token(first) {
            tokens.push(first);
        }
        if is_token(other) && !tokens.contains(&other) && tokens.len() < MAX_TRIED {
            tokens.push(other);
        }
    }
    Some(match tokens.as_slice() {
        [] => Credentials::One(first),
        [only] => Credentials::One(only),
        _ => Credentials::AnyOf(tokens),
    })
}

/// Whether it has the form of a compact JWS (RFC 7515 §3.1).
fn is_token(value: &[u8]) -> bool {
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    value.iter().filter(|&&byte| byte == b'.').count() == 2 && value.iter().all(is_base64url)
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn found(line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, http::HeaderValue::from_str(line).unwrap());
        let text = |token: &[u8]| String::from_utf8_lossy(token).into_owned();
        Some(match cookies(&headers, "t")? {
            Credentials::One(token) => text(token),
            Credentials::AnyOf(tokens) => {
                let tokens: Vec<String> = tokens.into_iter().map(text).collect();
                tokens.join(" ")
            }
        })
    }

    #[test]
    fn every_cookie_of_the_name_that_could_be_a_token_is_tried() {
        let many: String = (0..99).map(|n| format!("t=a.b.c{n}; ")).collect();
        for (line, expected) in [
            ("t=a.b.c", Some("a.b.c")),
            ("t=x", Some("x")),
            ("t=x; t=a.b.c", Some("a.b.c")),
            ("t=a.b.c; t=x", Some("a.b.c")),
            ("t=a.b.c; t=a.b.c", Some("a.b.c")),
            ("t=; t=a.b.c", Some("a.b.c")),
            ("t=a.b.c; t=d.e.f; t=g.h.i", Some("a.b.c d.e.f g.h.i")),
            ("t=x; t=y", Some("x")),
            ("t=", None),
            ("u=a.b.c", None),
        ] {
            assert_eq!(found(line).as_deref(), expected, "{line}");
        }
        assert_eq!(found(&many).unwrap().split(' ').count(), MAX_TRIED);
    }
}
