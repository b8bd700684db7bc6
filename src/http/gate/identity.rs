//! Whom a request is from, as headers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::verify::Token;

const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const ISSUER: HeaderName = HeaderName::from_static("x-auth-issuer");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const CLAIMS: HeaderName = HeaderName::from_static("x-auth-claims");
/// Every header of an identity. All are always answered, if only with nothing, so that a proxy that copies them puts something
/// in the place of what a client may have sent.
pub(super) const IDENTITY: [HeaderName; 5] = [SUBJECT, ISSUER, SCOPE, ROLES, CLAIMS];

/// The values of [`IDENTITY`]; `None` if one cannot be put into a header as it is.
struct Identity(Option<[HeaderValue; 5]>);

/// Adds the headers of an identity. They are made once for as long as the verifier remembers the token, which bounds them too: all
/// of them together are a little longer than the token.
pub(super) fn add_to(headers: &mut HeaderMap, token: &Token) -> Option<()> {
    let identity = token.attached(|token| Identity(values(token)))?;
    for (name, value) in IDENTITY.iter().zip(identity.0.as_ref()?) {
        headers.insert(name, value.clone());
    }
    Some(())
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
