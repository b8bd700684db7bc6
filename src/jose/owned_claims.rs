//! Claims that own their text: what a verified token keeps, without a copy of anything that was decoded.

use std::borrow::Cow;
use std::ops::Range;

use super::claims::{RegisteredClaims, StatusReference, Strings};
use super::compact::Compact;
use super::numeric_date::NumericDate;

/// A decoded token with what was read of it: [`RegisteredClaims`] and `kid` that own their text.
///
/// In this order in memory: what each look at a remembered token needs comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct OwnedClaims {
    /// The header and the payload.
    text: String,
    payload: Range<usize>,
    scope: Option<StringsSpan>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    kid: Option<Span>,
    iss: Option<Span>,
    sub: Option<Span>,
    jti: Option<Span>,
    sid: Option<Span>,
    client_id: Option<Span>,
    aud: Option<StringsSpan>,
    roles: Option<StringsSpan>,
    status: Option<(u64, Span)>,
    iat: Option<NumericDate>,
    present: u64,
}

/// A text of the header or the payload: its place, or its own text where the JSON had escapes.
#[derive(Debug)]
enum Span {
    Place(Range<usize>),
    Text(Box<str>),
}

#[derive(Debug)]
enum StringsSpan {
    One(Span),
    Many(Range<usize>),
}

// === impl OwnedClaims ===

impl OwnedClaims {
    /// Notes where `kid` and the claims stand in the buffer that was decoded into, so that the buffer can be moved;
    /// [`Located::into_owned`] puts the two together.
    pub(crate) fn locate(jws: &Compact<'_>, claims: &RegisteredClaims<'_>) -> Located {
        // The header is at the beginning of the buffer, and the payload comes right after it.
        let start = jws.payload.as_ptr() as usize - jws.payload_range.start;
        let place = |text: &str| {
            let start = text.as_ptr() as usize - start;
            start..start + text.len()
        };
        let span = |text: &Cow<'_, str>| match text {
            Cow::Borrowed(text) => Span::Place(place(text)),
            Cow::Owned(text) => Span::Text(text.as_str().into()),
        };
        let strings = |strings: &Strings<'_>| match strings {
            Strings::One(text) => StringsSpan::One(span(text)),
            Strings::Many(raw) => StringsSpan::Many(place(raw)),
        };
        Located(OwnedClaims {
            text: String::new(),
            payload: jws.payload_range.clone(),
            kid: jws.header.kid.as_ref().map(span),
            iss: claims.iss.as_ref().map(span),
            sub: claims.sub.as_ref().map(span),
            jti: claims.jti.as_ref().map(span),
            sid: claims.sid.as_ref().map(span),
            client_id: claims.client_id.as_ref().map(span),
            aud: claims.aud.as_ref().map(strings),
            scope: claims.scope.as_ref().map(strings),
            roles: claims.roles.as_ref().map(strings),
            status: claims
                .status
                .as_ref()
                .map(|status| (status.idx, span(&status.uri))),
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            present: claims.present,
        })
    }

    pub(crate) fn payload(&self) -> &str {
        part(&self.text, &self.payload)
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_ref().map(|span| span.text(&self.text))
    }

    pub(crate) fn set_kid(&mut self, kid: &str) {
        self.kid = Some(Span::Text(kid.into()));
    }

    pub(crate) fn iss(&self) -> Option<&str> {
        self.iss.as_ref().map(|span| span.text(&self.text))
    }

    /// `exp` and `nbf`.
    pub(crate) fn validity(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.exp, self.nbf)
    }

    pub(crate) fn sub(&self) -> Option<&str> {
        self.sub.as_ref().map(|span| span.text(&self.text))
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        let scopes = RegisteredClaims {
            scope: self.strings(&self.scope),
            ..RegisteredClaims::default()
        };
        scopes.has_scope(scope)
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        let roles = RegisteredClaims {
            roles: self.strings(&self.roles),
            ..RegisteredClaims::default()
        };
        roles.has_role(role)
    }

    /// The claims, borrowed; nothing is parsed again.
    pub(crate) fn borrow(&self) -> RegisteredClaims<'_> {
        RegisteredClaims {
            iss: self.text(&self.iss),
            sub: self.text(&self.sub),
            jti: self.text(&self.jti),
            sid: self.text(&self.sid),
            client_id: self.text(&self.client_id),
            aud: self.strings(&self.aud),
            scope: self.strings(&self.scope),
            roles: self.strings(&self.roles),
            status: self.status.as_ref().map(|(idx, uri)| StatusReference {
                idx: *idx,
                uri: Cow::Borrowed(uri.text(&self.text)),
            }),
            exp: self.exp,
            nbf: self.nbf,
            iat: self.iat,
            present: self.present,
        }
    }

    fn text<'s>(&'s self, span: &'s Option<Span>) -> Option<Cow<'s, str>> {
        span.as_ref()
            .map(|span| Cow::Borrowed(span.text(&self.text)))
    }

    fn strings<'s>(&'s self, span: &'s Option<StringsSpan>) -> Option<Strings<'s>> {
        span.as_ref().map(|span| match span {
            StringsSpan::One(span) => Strings::One(Cow::Borrowed(span.text(&self.text))),
            StringsSpan::Many(place) => Strings::Many(part(&self.text, place)),
        })
    }
}

// === impl Span ===

impl Span {
    fn text<'s>(&'s self, all: &'s str) -> &'s str {
        match self {
            Span::Place(place) => part(all, place),
            Span::Text(text) => text,
        }
    }
}

/// The places were taken from this very text, so there is always something there.
fn part<'s>(text: &'s str, place: &Range<usize>) -> &'s str {
    text.get(place.clone()).unwrap_or_default()
}

/// Claims that know where they stand in a buffer they have yet to be given.
pub(crate) struct Located(OwnedClaims);

// === impl Located ===

impl Located {
    /// `decoded` is the buffer that they were located in.
    pub(crate) fn into_owned(mut self, mut decoded: Vec<u8>) -> OwnedClaims {
        decoded.truncate(self.0.payload.end);
        // Cannot fail: header and payload were read as UTF-8.
        self.0.text = String::from_utf8(decoded).unwrap_or_default();
        self.0
    }
}
