//! Claims that own their payload: what a verified token keeps, without a copy of any text.

use std::borrow::Cow;
use std::ops::Range;

use super::claims::{RegisteredClaims, Strings};
use super::numeric_date::NumericDate;

/// A payload with what was read of it: [`RegisteredClaims`] that own their text.
#[derive(Debug)]
pub(crate) struct OwnedClaims {
    payload: String,
    iss: Option<Span>,
    sub: Option<Span>,
    jti: Option<Span>,
    sid: Option<Span>,
    client_id: Option<Span>,
    aud: Option<StringsSpan>,
    scope: Option<StringsSpan>,
    roles: Option<StringsSpan>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    present: u64,
}

/// A text of the payload: a place in it, or its own text where the JSON had escapes.
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
    /// Notes where the claims stand, so that the payload can be moved; [`Located::into_owned`] puts the two together.
    pub(crate) fn locate(claims: &RegisteredClaims<'_>, payload: &[u8]) -> Located {
        let place = |text: &str| {
            let start = text.as_ptr() as usize - payload.as_ptr() as usize;
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
            payload: String::new(),
            iss: claims.iss.as_ref().map(span),
            sub: claims.sub.as_ref().map(span),
            jti: claims.jti.as_ref().map(span),
            sid: claims.sid.as_ref().map(span),
            client_id: claims.client_id.as_ref().map(span),
            aud: claims.aud.as_ref().map(strings),
            scope: claims.scope.as_ref().map(strings),
            roles: claims.roles.as_ref().map(strings),
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            present: claims.present,
        })
    }

    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    /// `exp` and `nbf`.
    pub(crate) fn validity(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.exp, self.nbf)
    }

    pub(crate) fn sub(&self) -> Option<&str> {
        self.sub.as_ref().map(|span| span.text(&self.payload))
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
            exp: self.exp,
            nbf: self.nbf,
            iat: self.iat,
            present: self.present,
        }
    }

    fn text<'s>(&'s self, span: &'s Option<Span>) -> Option<Cow<'s, str>> {
        span.as_ref()
            .map(|span| Cow::Borrowed(span.text(&self.payload)))
    }

    fn strings<'s>(&'s self, span: &'s Option<StringsSpan>) -> Option<Strings<'s>> {
        span.as_ref().map(|span| match span {
            StringsSpan::One(span) => Strings::One(Cow::Borrowed(span.text(&self.payload))),
            StringsSpan::Many(place) => Strings::Many(&self.payload[place.clone()]),
        })
    }
}

// === impl Span ===

impl Span {
    fn text<'s>(&'s self, payload: &'s str) -> &'s str {
        match self {
            Span::Place(place) => &payload[place.clone()],
            Span::Text(text) => text,
        }
    }
}

/// Claims that know where they stand in a payload they have yet to be given.
pub(crate) struct Located(OwnedClaims);

// === impl Located ===

impl Located {
    /// `payload` is the one that the claims were located in, byte for byte.
    pub(crate) fn into_owned(mut self, payload: String) -> OwnedClaims {
        self.0.payload = payload;
        self.0
    }
}
