//! Where the claims of a token stand in its text: what a verified token keeps of itself, beside a text that lies elsewhere.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;

use super::claims::{RegisteredClaims, StatusReference, Strings};
use super::compact::Compact;
use super::numeric_date::NumericDate;

/// The places of `kid` and the registered claims, and those claims that are numbers. [`ClaimPlaces::within`] puts them and the
/// text together.
///
/// In this order in memory: what each look at a remembered token needs comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ClaimPlaces {
    scope: Option<StringsPlace>,
    roles: Option<StringsPlace>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    sub: Option<Place>,
    iss: Option<Place>,
    payload: Option<Place>,
    kid: Option<Place>,
    jti: Option<Place>,
    sid: Option<Place>,
    client_id: Option<Place>,
    aud: Option<StringsPlace>,
    status: Option<(u64, Place)>,
    iat: Option<NumericDate>,
    present: u64,
}

/// A part of the text, in bytes. Never at its very beginning, where a header stands or a token.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    end: NonZeroU32,
}

#[derive(Debug, Clone, Copy)]
enum StringsPlace {
    One(Place),
    /// The text of a JSON array that holds strings only.
    Many(Place),
}

// === impl Place ===

impl Place {
    /// `None` beyond 4 GiB: what a token says there is as if it did not, and grants nothing.
    fn new(place: Range<usize>) -> Option<Self> {
        Some(Place {
            start: u32::try_from(place.start).ok()?,
            end: NonZeroU32::new(u32::try_from(place.end).ok()?)?,
        })
    }

    /// It was taken from this very text, so there is always something there, which was read as UTF-8 then.
    fn of(self, text: &[u8]) -> &str {
        let place = self.start as usize..self.end.get() as usize;
        text.get(place)
            .and_then(|part| std::str::from_utf8(part).ok())
            .unwrap_or_default()
    }
}

/// Places in a buffer that is still borrowed; [`Placing::settle`] makes the buffer the text.
pub(crate) struct Placing {
    places: ClaimPlaces,
    unescaped: Unescaped,
}

/// What the JSON had with escapes, and so stands nowhere: to be put at the end of the text, which is `at`.
struct Unescaped {
    at: usize,
    text: String,
}

// === impl Unescaped ===

impl Unescaped {
    fn place(&mut self, text: &str) -> Option<Place> {
        let start = self.at + self.text.len();
        self.text.push_str(text);
        Place::new(start..start + text.len())
    }
}

// === impl Placing ===

impl Placing {
    /// Of a token that was decoded into a buffer, what was read of it, and the name that its key has where it names none itself.
    pub(crate) fn new(
        jws: &Compact<'_>,
        claims: &RegisteredClaims<'_>,
        key_name: Option<&str>,
    ) -> Self {
        let start = jws.payload.as_ptr() as usize - jws.payload_range.start;
        let standing = |text: &str| {
            let start = text.as_ptr() as usize - start;
            Place::new(start..start + text.len())
        };
        let mut unescaped = Unescaped {
            at: jws.payload_range.end,
            text: String::new(),
        };
        let place = |text: &Option<Cow<'_, str>>, unescaped: &mut Unescaped| match text.as_ref()? {
            Cow::Borrowed(text) => standing(text),
            Cow::Owned(text) => unescaped.place(text),
        };
        let strings =
            |strings: &Option<Strings<'_>>, unescaped: &mut Unescaped| match strings.as_ref()? {
                Strings::One(Cow::Borrowed(text)) => standing(text).map(StringsPlace::One),
                Strings::One(Cow::Owned(text)) => unescaped.place(text).map(StringsPlace::One),
                Strings::Many(raw) => standing(raw).map(StringsPlace::Many),
            };
        let uri = claims.status.as_ref().and_then(|status| {
            let uri = match &status.uri {
                Cow::Borrowed(uri) => standing(uri),
                Cow::Owned(uri) => unescaped.place(uri),
            };
            Some((status.idx, uri?))
        });
        let named = place(&jws.header.kid, &mut unescaped);
        let places = ClaimPlaces {
            payload: Place::new(jws.payload_range.clone()),
            kid: named.or_else(|| unescaped.place(key_name?)),
            iss: place(&claims.iss, &mut unescaped),
            sub: place(&claims.sub, &mut unescaped),
            jti: place(&claims.jti, &mut unescaped),
            sid: place(&claims.sid, &mut unescaped),
            client_id: place(&claims.client_id, &mut unescaped),
            aud: strings(&claims.aud, &mut unescaped),
            scope: strings(&claims.scope, &mut unescaped),
            roles: strings(&claims.roles, &mut unescaped),
            status: uri,
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            present: claims.present,
        };
        Placing { places, unescaped }
    }

    /// Cuts off what comes after the payload in the buffer that was decoded into, and adds what stands nowhere else.
    pub(crate) fn settle(self, text: &mut Vec<u8>) -> ClaimPlaces {
        text.truncate(self.unescaped.at);
        text.extend_from_slice(self.unescaped.text.as_bytes());
        self.places
    }
}

// === impl ClaimPlaces ===

impl ClaimPlaces {
    /// `exp` and `nbf`.
    pub(crate) fn validity(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.exp, self.nbf)
    }

    /// The claims, in the text that they were placed in.
    pub(crate) fn within<'t>(&'t self, text: &'t [u8]) -> PlacedClaims<'t> {
        PlacedClaims { places: self, text }
    }
}

/// Claims and their text; nothing is parsed again.
#[derive(Clone, Copy)]
pub(crate) struct PlacedClaims<'t> {
    places: &'t ClaimPlaces,
    text: &'t [u8],
}

// === impl PlacedClaims ===

impl<'t> PlacedClaims<'t> {
    pub(crate) fn payload(self) -> &'t str {
        self.part(self.places.payload).unwrap_or_default()
    }

    pub(crate) fn kid(self) -> Option<&'t str> {
        self.part(self.places.kid)
    }

    pub(crate) fn iss(self) -> Option<&'t str> {
        self.part(self.places.iss)
    }

    pub(crate) fn sub(self) -> Option<&'t str> {
        self.part(self.places.sub)
    }

    pub(crate) fn has_scope(self, scope: &str) -> bool {
        self.scope().has_scope(scope)
    }

    pub(crate) fn has_role(self, role: &str) -> bool {
        self.roles().has_role(role)
    }

    /// `scope` alone.
    pub(crate) fn scope(self) -> RegisteredClaims<'t> {
        RegisteredClaims {
            scope: self.strings(self.places.scope),
            ..RegisteredClaims::default()
        }
    }

    /// `roles` alone.
    pub(crate) fn roles(self) -> RegisteredClaims<'t> {
        RegisteredClaims {
            roles: self.strings(self.places.roles),
            ..RegisteredClaims::default()
        }
    }

    /// All of them, borrowed.
    pub(crate) fn registered(self) -> RegisteredClaims<'t> {
        let places = self.places;
        let text = |place| self.part(place).map(Cow::Borrowed);
        RegisteredClaims {
            iss: text(places.iss),
            sub: text(places.sub),
            jti: text(places.jti),
            sid: text(places.sid),
            client_id: text(places.client_id),
            aud: self.strings(places.aud),
            scope: self.strings(places.scope),
            roles: self.strings(places.roles),
            status: places.status.map(|(idx, uri)| StatusReference {
                idx,
                uri: Cow::Borrowed(uri.of(self.text)),
            }),
            exp: places.exp,
            nbf: places.nbf,
            iat: places.iat,
            present: places.present,
        }
    }

    fn part(self, place: Option<Place>) -> Option<&'t str> {
        place.map(|place| place.of(self.text))
    }

    fn strings(self, place: Option<StringsPlace>) -> Option<Strings<'t>> {
        place.map(|place| match place {
            StringsPlace::One(place) => Strings::One(Cow::Borrowed(place.of(self.text))),
            StringsPlace::Many(place) => Strings::Many(place.of(self.text)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Policy;
    use crate::jose::base64url;

    /// Whatever comes before the token in the buffer, and however its JSON is written, what is read of it is found again.
    #[test]
    fn what_was_read_is_found_again_in_the_text() {
        let payload = r#"{"iss":"https://a","sub":"\u00fc\n","aud":["api","b"],"scope":"r \u0077","roles":["x","\u0079"],
            "exp":9,"nbf":1,"iat":2,"jti":"","sid":"s","client_id":"\"c\"","status":{"status_list":{"idx":7,"uri":"\u0068ttps://l"}}}"#;
        for (header, key_name, kid) in [
            (r#"{"alg":"EdDSA","kid":"own"}"#, Some("key's"), Some("own")),
            (r#"{"alg":"EdDSA","kid":"\u006fwn"}"#, None, Some("own")),
            (r#"{"alg":"EdDSA"}"#, Some("key's"), Some("key's")),
            (r#"{"alg":"EdDSA"}"#, None, None),
        ] {
            let [header, encoded] =
                [header, payload].map(|json| base64url::encode(json.as_bytes()));
            let token = format!("{header}.{encoded}.AAAA");
            for before in ["", token.as_str()] {
                let mut text = Vec::new();
                let parsed = Compact::parse_behind(
                    before.as_bytes(),
                    token.as_bytes(),
                    usize::MAX,
                    &mut text,
                );
                let jws = parsed.unwrap();
                let claims = RegisteredClaims::parse(jws.payload, &Policy::new(["api"])).unwrap();
                let placing = Placing::new(&jws, &claims, key_name);
                let expected = format!("{claims:?}");
                let places = placing.settle(&mut text);
                // The text may be moved and lie anywhere.
                let text = text.into_boxed_slice();
                let found = places.within(&text);
                assert_eq!(format!("{:?}", found.registered()), expected);
                assert_eq!(found.kid(), kid);
                assert_eq!(found.payload(), payload);
                assert_eq!(found.sub(), Some("ü\n"));
                assert_eq!(found.iss(), Some("https://a"));
                assert!(found.has_scope("w") && !found.has_scope("x"));
                assert!(found.has_role("y") && !found.has_role("w"));
                assert!(text.starts_with(before.as_bytes()));
                assert!(!text.ends_with(&[0, 0, 0]), "the signature is not kept");
            }
        }
    }
}
