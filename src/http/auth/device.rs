//! The cookie of a device on which somebody has signed in (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"): attempts
//! from there are counted apart, so that nobody can keep an account's own people out by guessing.
//!
//! It holds a random name and, for each account, a tag over both. It opens nothing: whoever steals one may guess as often as from a
//! device of their own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::{HeaderMap, HeaderValue};
use ring::hmac;

use crate::http::cookie_header;

/// Keeps these signatures apart from those of session cookies, which the same secret signs.
const CONTEXT: &[u8] = b"keywheel known device 1";
/// The longest that browsers keep a cookie (RFC 6265bis §5.5).
const MAX_AGE_SECONDS: u64 = 400 * 24 * 3600;
/// Accounts that one device is known for; the latest stay.
const MAX_ACCOUNTS: usize = 8;
/// Cookies of this name that are looked at: a neighbour on another path or domain may have planted some.
const MAX_COOKIES: usize = 4;
const NAME_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Writes and reads the cookies by which devices are known.
pub(super) struct KnownDevices {
    name: String,
    attributes: String,
    key: hmac::Key,
}

/// What a request presents, unchecked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Devices(Vec<DeviceCookie>);

#[derive(Debug, Clone, PartialEq)]
struct DeviceCookie {
    name: [u8; NAME_BYTES],
    tags: Vec<[u8; TAG_BYTES]>,
}

// === impl DeviceCookie ===

impl DeviceCookie {
    fn parse(value: &str) -> Option<Self> {
        fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
            BASE64URL.decode(text).ok()?.try_into().ok()
        }
        let mut parts = value.split('.');
        let name = bytes(parts.next()?)?;
        let tags = parts.take(MAX_ACCOUNTS).map(bytes);
        let tags = tags.collect::<Option<Vec<_>>>()?;
        Some(DeviceCookie { name, tags })
    }

    fn text(&self) -> String {
        let tags = self.tags.iter().map(|tag| BASE64URL.encode(tag));
        let parts: Vec<String> = std::iter::once(BASE64URL.encode(self.name))
            .chain(tags)
            .collect();
        parts.join(".")
    }
}

// === impl KnownDevices ===

impl KnownDevices {
    /// Writes and reads the cookie of this name.
    pub(super) fn new(name: String, https: bool, secret: &str) -> Self {
        let secure = if https { "; Secure" } else { "" };
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&secret, CONTEXT);
        KnownDevices {
            name,
            attributes: format!(
                "; Max-Age={MAX_AGE_SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}"
            ),
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    /// What a request presents as its device.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Devices {
        let cookies = cookie_header::values(headers, &self.name)
            .take(MAX_COOKIES)
            .filter_map(|value| DeviceCookie::parse(std::str::from_utf8(value).ok()?));
        Devices(cookies.collect())
    }

    /// The device, if the account has signed in on it. The account is named by its address in lower case.
    pub(super) fn known(&self, presented: &Devices, account: &str) -> Option<[u8; NAME_BYTES]> {
        let Devices(cookies) = presented;
        let of = cookies.iter().find(|cookie| {
            let expected = self.tag(&cookie.name, account);
            // Compared in constant time.
            cookie.tags.iter().any(|tag| {
                aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected).is_ok()
            })
        });
        of.map(|cookie| cookie.name)
    }

    /// The header by which this device will be known for `account` as well; `None` without random bytes.
    pub(super) fn set(&self, presented: &Devices, account: &str) -> Option<HeaderValue> {
        let Devices(cookies) = presented;
        let mut cookie = match cookies.first() {
            Some(cookie) => cookie.clone(),
            None => DeviceCookie {
                name: random()?,
                tags: Vec::new(),
            },
        };
        let tag = self.tag(&cookie.name, account);
        cookie.tags.retain(|other| *other != tag);
        cookie.tags.insert(0, tag);
        cookie.tags.truncate(MAX_ACCOUNTS);
        let text = format!("{}={}{}", self.name, cookie.text(), self.attributes);
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn tag(&self, name: &[u8; NAME_BYTES], account: &str) -> [u8; TAG_BYTES] {
        // The name has a fixed length, so the two cannot be read in another way.
        let mut context = hmac::Context::with_key(&self.key);
        context.update(name);
        context.update(account.as_bytes());
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}

fn random() -> Option<[u8; NAME_BYTES]> {
    let mut name = [0; NAME_BYTES];
    aws_lc_rs::rand::fill(&mut name).ok()?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const NAME: &str = "better-auth.known_device";
    const ADA: &str = "ada@example.com";

    fn devices(secret: &str) -> KnownDevices {
        KnownDevices::new(NAME.into(), true, secret)
    }

    fn sent(devices: &KnownDevices, cookie: &str) -> Devices {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        devices.presented(&headers)
    }

    fn pair(set: &HeaderValue) -> String {
        let set = set.to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_device_is_known_for_the_accounts_that_signed_in_on_it_and_no_other() {
        let devices = devices("a secret of at least 32 characters");
        let none = Devices(Vec::new());
        let first = pair(&devices.set(&none, ADA).unwrap());
        let presented = sent(&devices, &first);
        let name = devices.known(&presented, ADA).unwrap();
        assert_eq!(devices.known(&presented, "bob@example.com"), None);
        assert_eq!(devices.known(&none, ADA), None);
        // Bob signs in there as well.
        let second = pair(&devices.set(&presented, "bob@example.com").unwrap());
        let presented = sent(&devices, &second);
        assert_eq!(devices.known(&presented, ADA), Some(name));
        assert_eq!(devices.known(&presented, "bob@example.com"), Some(name));
        // Another one planted before it takes nothing away.
        let planted = format!("better-auth.known_device=AAAA; {second}; other=1");
        assert_eq!(devices.known(&sent(&devices, &planted), ADA), Some(name));
        let foreign = KnownDevices::new(NAME.into(), true, "another secret of 32 characters");
        assert_eq!(foreign.known(&sent(&foreign, &second), ADA), None);
        for end in 0..first.len() {
            assert_eq!(
                devices.known(&sent(&devices, &first[..end]), ADA),
                None,
                "{end}"
            );
        }
    }

    #[test]
    fn a_cookie_does_not_grow_with_the_people_who_use_a_device() {
        let devices = devices("a secret of at least 32 characters");
        let mut presented = Devices(Vec::new());
        for n in 0..20 {
            let account = format!("user{n}@example.com");
            let set = devices.set(&presented, &account).unwrap();
            assert!(set.len() < 350 && set.is_sensitive());
            assert!(
                set.to_str()
                    .unwrap()
                    .ends_with("; HttpOnly; SameSite=Lax; Secure")
            );
            presented = sent(&devices, &pair(&set));
        }
        let known = |n| devices.known(&presented, &format!("user{n}@example.com"));
        assert!(known(19).is_some() && known(12).is_some() && known(11).is_none());
    }
}
