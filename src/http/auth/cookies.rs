//! The session cookie: `<token>.<base64 HMAC-SHA-256>`, percent-encoded, as Better Auth writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use ring::hmac;

use crate::issue::SessionToken;

/// Cookies are read, but nobody needs more of them than a browser may send.
const MAX_COOKIES: usize = 180;

/// Writes and reads the cookies of one service.
pub(super) struct Cookies {
    prefix: String,
    attributes: String,
    key: hmac::Key,
}

// === impl Cookies ===

impl Cookies {
    pub(super) fn new(prefix: &str, https: bool, secret: &str) -> Self {
        let (security, secure) = match https {
            // The prefix keeps a neighbour on plain http from planting one (RFC 6265bis §4.1.3.1).
            true => ("__Secure-", "; Secure"),
            false => ("", ""),
        };
        Cookies {
            prefix: format!("{security}{prefix}"),
            attributes: format!("; Path=/; HttpOnly; SameSite=Lax{secure}"),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        }
    }

    fn session_name(&self) -> String {
        format!("{}.session_token", self.prefix)
    }

    fn signed(&self, token: &SessionToken) -> String {
        let tag = hmac::sign(&self.key, token.reveal().as_bytes());
        format!("{}.{}", token.reveal(), STANDARD.encode(tag))
    }

    /// The header that sets it; without `max_age` it goes with the browser.
    pub(super) fn set(&self, token: &SessionToken, max_age: Option<u64>) -> HeaderValue {
        let max_age = match max_age {
            Some(seconds) => format!("; Max-Age={seconds}"),
            None => String::new(),
        };
        let value = percent_encode(&self.signed(token));
        secret_header(&format!(
            "{}={value}{max_age}{}",
            self.session_name(),
            self.attributes
        ))
    }

    /// The headers that take away all that was ever set.
    pub(super) fn clear(&self) -> [HeaderValue; 3] {
        ["session_token", "session_data", "dont_remember"].map(|name| {
            secret_header(&format!(
                "{}.{name}=; Max-Age=0{}",
                self.prefix, self.attributes
            ))
        })
    }

    /// The value of `set-auth-token`: what a client without cookies keeps.
    pub(super) fn signed_header(&self, token: &SessionToken) -> HeaderValue {
        secret_header(&self.signed(token))
    }

    /// The session cookie: `None` if there is none, `Some(None)` if its signature is wrong.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Option<SessionToken>> {
        let name = self.session_name();
        let value = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .take(MAX_COOKIES)
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(found, value)| (found == name).then_some(value))?;
        Some(percent_decode(value).and_then(|value| self.check(&value)))
    }

    /// A session token sent as a bearer: as `set-auth-token` gave it, or without its signature.
    pub(super) fn bearer(&self, credentials: &str) -> Option<SessionToken> {
        match credentials.contains(['.', '%']) {
            true => percent_decode(credentials).and_then(|value| self.check(&value)),
            false => Some(SessionToken::from_client(credentials)),
        }
    }

    fn check(&self, value: &str) -> Option<SessionToken> {
        let (token, tag) = value.rsplit_once('.')?;
        let tag = STANDARD.decode(tag).ok()?;
        hmac::verify(&self.key, token.as_bytes(), &tag).ok()?;
        Some(SessionToken::from_client(token))
    }
}

/// Kept out of logs of headers, and of HPACK's tables.
fn secret_header(text: &str) -> HeaderValue {
    // Of base64, hexadecimal and checked names: nothing that a header could not hold.
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// As `encodeURIComponent` does, of what a signed token is made of.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(https: bool) -> Cookies {
        Cookies::new("better-auth", https, "a secret of at least 32 characters")
    }

    fn sent(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }

    #[test]
    fn a_cookie_is_read_back_and_a_forged_or_truncated_one_is_not() {
        let cookies = cookies(false);
        let token = SessionToken::from_client("abc_DEF-123");
        let set = cookies.set(&token, Some(7)).to_str().unwrap().to_owned();
        let (pair, attributes) = set.split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=7; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(cookies.session(&sent(pair)), Some(Some(token.clone())));
        assert_eq!(
            cookies.session(&sent(&format!("a=b; {pair}; c=d"))),
            Some(Some(token.clone()))
        );
        let other = Cookies::new(
            "better-auth",
            false,
            "another secret of 32 characters or more",
        );
        assert_eq!(other.session(&sent(pair)), Some(None));
        for end in 0..pair.len() {
            let read = cookies.session(&sent(&pair[..end]));
            assert!(matches!(read, None | Some(None)), "{end}");
        }
        for bad in [
            "better-auth.session_token=abc",
            "better-auth.session_token=%",
            "better-auth.session_token=%zz.a",
            "better-auth.session_token=.",
            "better-auth.session_token=%ff.%ff",
        ] {
            assert_eq!(cookies.session(&sent(bad)), Some(None), "{bad}");
        }
        assert_eq!(cookies.session(&sent("other=1")), None);
        let signed = cookies.signed_header(&token);
        let signed = signed.to_str().unwrap();
        assert_eq!(cookies.bearer(signed), Some(token.clone()));
        assert_eq!(cookies.bearer("abc_DEF-123"), Some(token));
        assert_eq!(cookies.bearer("abc.AAAA"), None);
    }

    #[test]
    fn on_https_the_cookie_is_secure_and_says_so_in_its_name() {
        let set = cookies(true).set(&SessionToken::from_client("t"), None);
        let set = set.to_str().unwrap();
        assert!(
            set.starts_with("__Secure-better-auth.session_token=t.") && set.ends_with("; Secure"),
            "{set}"
        );
        assert!(!set.contains("Max-Age"));
        assert_eq!(
            cookies(true).session(&sent("better-auth.session_token=x")),
            None
        );
    }
}
