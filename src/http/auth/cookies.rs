//! The session cookie: `<token>.<base64 HMAC-SHA-256>`, percent-encoded, as Better Auth writes it; and beside it when it ends, so that
//! the service can tell whether the browser knows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use ring::hmac;

use super::clearing::Places;
use crate::config::{Config, HOST_PREFIX, SECURE_PREFIX};
use crate::http::cookie_header;
use crate::issue::SessionToken;
use crate::jose::NumericDate;
use crate::store::Session;

/// Most well-signed cookies that are looked for in the store. A browser of this service has one; with more than this, somebody
/// planted some, and none of them is believed.
const MAX_TRIED: usize = 4;

const SESSION: &str = "session_token";
const EXPIRES: &str = "session_expires";
/// All that is taken away at the end; the second and third are Better Auth's own.
const ALL: [&str; 4] = [SESSION, "session_data", "dont_remember", EXPIRES];

/// Writes and reads the cookies of one service.
pub(super) struct Cookies {
    prefix: String,
    /// What the prefix was before, still read.
    old_prefix: Option<String>,
    secure: &'static str,
    places: Places,
    key: hmac::Key,
}

/// The session cookies of one request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Presented {
    /// Those that are well signed, each once.
    pub(super) tokens: Vec<SessionToken>,
    /// More of them than are tried.
    pub(super) has_too_many: bool,
    /// Values that differ: one of them may have been set by somebody else, or long ago.
    pub(super) is_mixed: bool,
    /// None of them has the name that is set today.
    is_renamed: bool,
    /// When the browser was told that the session ends, in seconds.
    expires: Vec<i64>,
}

// === impl Presented ===

impl Presented {
    /// Whether the browser should be given the cookie again: it may drop it too early, or send others along.
    pub(super) fn is_outdated(&self, session: &Session) -> bool {
        let is_known = self.expires.contains(&session.expires_at.seconds());
        self.is_mixed || self.is_renamed || (session.remembered && !is_known)
    }
}

// === impl Cookies ===

impl Cookies {
    pub(super) fn new(config: &Config, secret: &str) -> Self {
        let https = config.is_https();
        let named = |prefix: &String| match https && !has_browser_prefix(prefix) {
            // The prefix keeps a neighbour on plain http from planting one (RFC 6265bis §4.1.3.1).
            true => format!("{SECURE_PREFIX}{prefix}"),
            false => prefix.clone(),
        };
        Cookies {
            prefix: named(&config.sessions.cookie_prefix),
            old_prefix: config.sessions.old_cookie_prefix.as_ref().map(named),
            secure: if https { "; Secure" } else { "" },
            places: Places::new(&config.issuer),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        }
    }

    /// What the session cookie is called.
    pub(super) fn session_name(&self) -> String {
        self.name(SESSION)
    }

    /// What another cookie of the service is called.
    pub(super) fn name(&self, of: &str) -> String {
        format!("{}.{of}", self.prefix)
    }

    /// What it was called before, where that is still read.
    pub(super) fn old_session_name(&self) -> Option<String> {
        let prefix = self.old_prefix.as_ref()?;
        Some(format!("{prefix}.{SESSION}"))
    }

    /// The token as clients hold it.
    pub(super) fn signed(&self, token: &SessionToken) -> String {
        let tag = hmac::sign(&self.key, token.reveal().as_bytes());
        format!("{}.{}", token.reveal(), STANDARD.encode(tag))
    }

    /// The headers that set it. Only a remembered session outlives the browser.
    pub(super) fn set(
        &self,
        token: &SessionToken,
        session: &Session,
        now: NumericDate,
    ) -> Vec<HeaderValue> {
        let line = |name, value: &str, life: &str| {
            let (prefix, secure) = (&self.prefix, self.secure);
            secret_header(&format!(
                "{prefix}.{name}={value}{life}; Path=/; HttpOnly; SameSite=Lax{secure}"
            ))
        };
        let value = percent_encode(&self.signed(token));
        if !session.remembered {
            return vec![line(SESSION, &value, "")];
        }
        let left = session.expires_at.since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let life = format!("; Max-Age={seconds}");
        let expires = session.expires_at.seconds().to_string();
        vec![line(SESSION, &value, &life), line(EXPIRES, &expires, &life)]
    }

    /// The headers that take away all that was ever set.
    pub(super) fn clear(&self) -> Vec<HeaderValue> {
        let mut lines = Vec::new();
        for prefix in std::iter::once(&self.prefix).chain(&self.old_prefix) {
            lines.extend(ALL.map(|name| {
                let secure = self.secure;
                secret_header(&format!(
                    "{prefix}.{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax{secure}"
                ))
            }));
        }
        lines
    }

    /// As [`clear`](Self::clear), also what others may have set that a request to `path` brings along.
    pub(super) fn clear_everywhere(&self, path: &str, now: NumericDate) -> Vec<HeaderValue> {
        let mut lines = self.clear();
        lines.extend(self.clear_others(path, now));
        lines
    }

    /// The headers that take away session cookies that the service did not set. They cannot hit the one that it does set, unless a
    /// client takes a host for its domain: set that one after them.
    pub(super) fn clear_others(&self, path: &str, now: NumericDate) -> Vec<HeaderValue> {
        let line = |name: &str, place: &str| {
            let secure = self.secure;
            secret_header(&format!("{name}=; Max-Age=0{place}{secure}"))
        };
        let mut lines = Vec::new();
        let name = self.session_name();
        // A browser takes none of such a name for another path or domain, so there is none.
        if !name.starts_with(HOST_PREFIX) {
            let places = self.places.others(path, now.seconds());
            lines.extend(places.iter().map(|place| line(&name, place)));
        }
        if let Some(name) = self.old_session_name() {
            lines.push(line(&name, "; Path=/"));
            if !name.starts_with(HOST_PREFIX) {
                lines.extend(self.places.domains().map(|place| line(&name, &place)));
            }
        }
        lines
    }

    /// The session cookies of a request; `None` if there is none, good or bad.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Option<Presented> {
        let name = self.session_name();
        let old_name = self.old_session_name();
        let current = cookie_header::values(headers, &name).map(|value| (value, true));
        let old = old_name
            .iter()
            .flat_map(|name| cookie_header::values(headers, name));
        let mut first = None;
        let mut presented = Presented {
            is_renamed: true,
            ..Presented::default()
        };
        // However many are not well signed, none of them costs a look into the store.
        for (value, is_current) in current.chain(old.map(|value| (value, false))) {
            presented.is_renamed &= !is_current;
            presented.is_mixed |= *first.get_or_insert(value) != value;
            let Some(token) = percent_decode(value).and_then(|value| self.check(&value)) else {
                continue;
            };
            match presented.tokens.contains(&token) {
                true => {}
                false if presented.tokens.len() == MAX_TRIED => presented.has_too_many = true,
                false => presented.tokens.push(token),
            }
        }
        first?;
        let name = format!("{}.{EXPIRES}", self.prefix);
        let expires = cookie_header::values(headers, &name).take(MAX_TRIED);
        presented.expires = expires
            .filter_map(|value| std::str::from_utf8(value).ok()?.parse().ok())
            .collect();
        Some(presented)
    }

    /// The session token of a value as [`signed`](Self::signed) made it, percent-encoded or not. One without its signature is
    /// nobody's: `get-session` and logs may show what looks like it.
    pub(super) fn unsigned(&self, credentials: &[u8]) -> Option<SessionToken> {
        percent_decode(credentials).and_then(|value| self.check(&value))
    }

    fn check(&self, value: &str) -> Option<SessionToken> {
        let (token, tag) = value.rsplit_once('.')?;
        let tag = STANDARD.decode(tag).ok()?;
        hmac::verify(&self.key, token.as_bytes(), &tag).ok()?;
        Some(SessionToken::from_client(token))
    }
}

/// Whether browsers enforce something about cookies of this name.
fn has_browser_prefix(name: &str) -> bool {
    name.starts_with(HOST_PREFIX) || name.starts_with(SECURE_PREFIX)
}

/// Kept out of logs of headers, and of HPACK's tables.
pub(super) fn secret_header(text: &str) -> HeaderValue {
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

/// `None` for what is not ASCII: nothing that the service signed is anything else.
fn percent_decode(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter().copied();
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
    String::from_utf8(bytes).ok().filter(|text| text.is_ascii())
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const SECRET: &str = "a secret of at least 32 characters";

    fn cookies(issuer: &str, change: impl FnOnce(&mut Config)) -> Cookies {
        let mut config = Config {
            issuer: issuer.into(),
            ..Config::default()
        };
        change(&mut config);
        Cookies::new(&config, SECRET)
    }

    fn sent(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }

    fn tokens(cookies: &Cookies, cookie: &str) -> Option<Vec<String>> {
        let presented = cookies.presented(&sent(cookie))?;
        let tokens = presented.tokens.iter();
        Some(tokens.map(|token| token.reveal().to_owned()).collect())
    }

    fn session(remembered: bool) -> Session {
        Session {
            id: "id".into(),
            user_id: "user".into(),
            remembered,
            ip_address: String::new(),
            user_agent: String::new(),
            created_at: NumericDate::EPOCH,
            updated_at: NumericDate::EPOCH,
            expires_at: NumericDate::from_seconds(7),
            status: crate::store::StatusPlace { list: 1, index: 1 },
        }
    }

    fn set(cookies: &Cookies, token: &str, remembered: bool) -> Vec<String> {
        let token = SessionToken::from_client(token);
        let lines = cookies.set(&token, &session(remembered), NumericDate::EPOCH);
        lines
            .iter()
            .map(|line| line.to_str().unwrap().to_owned())
            .collect()
    }

    fn pair(cookies: &Cookies, token: &str) -> String {
        let set = set(cookies, token, true);
        set[0].split_once("; ").unwrap().0.to_owned()
    }

    #[test]
    fn a_cookie_is_read_back_and_a_forged_or_truncated_one_is_not() {
        let here = cookies("http://a.test", |_| {});
        let lines = set(&here, "abc_DEF-123", true);
        let (pair, attributes) = lines[0].split_once("; ").unwrap();
        assert_eq!(attributes, "Max-Age=7; Path=/; HttpOnly; SameSite=Lax");
        let expires = "better-auth.session_expires=7; Max-Age=7; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(lines[1], expires);
        let found = Some(vec!["abc_DEF-123".to_owned()]);
        assert_eq!(tokens(&here, pair), found);
        assert_eq!(tokens(&here, &format!("a=b; {pair}; c=d")), found);
        let other = Cookies::new(
            &Config::default(),
            "another secret of 32 characters or more",
        );
        assert_eq!(tokens(&other, pair), Some(vec![]));
        for end in 0..pair.len() {
            let read = tokens(&here, &pair[..end]).unwrap_or_default();
            assert!(read.is_empty(), "{end}");
        }
        for bad in ["abc", "%", "%zz.a", ".", "%ff.%ff", ""] {
            let bad = format!("better-auth.session_token={bad}");
            assert_eq!(tokens(&here, &bad), Some(vec![]), "{bad}");
        }
        assert_eq!(tokens(&here, "other=1"), None);
        let signed = here.signed(&SessionToken::from_client("abc_DEF-123"));
        let unsigned = |text: &str| here.unsigned(text.as_bytes());
        assert_eq!(unsigned(&signed).unwrap().reveal(), "abc_DEF-123");
        assert_eq!(unsigned("abc_DEF-123"), None);
        assert_eq!(unsigned("abc.AAAA"), None);
    }

    #[test]
    fn every_cookie_of_the_name_is_tried_up_to_a_bound() {
        let here = cookies("http://a.test", |_| {});
        let signed = |n: usize| pair(&here, &format!("t{n}"));
        let garbage = "better-auth.session_token=x; ".repeat(200);
        assert_eq!(
            tokens(&here, &format!("{garbage}{}", signed(0))),
            Some(vec!["t0".into()])
        );
        let four: Vec<_> = (0..4).map(signed).collect();
        let presented = here.presented(&sent(&four.join("; "))).unwrap();
        assert!(presented.is_mixed && !presented.has_too_many);
        assert_eq!(presented.tokens.len(), 4);
        let twice = here
            .presented(&sent(&format!("{0}; {0}", four[0])))
            .unwrap();
        assert!(!twice.is_mixed && twice.tokens.len() == 1);
        let five = format!("{}; {}", four.join("; "), signed(4));
        assert!(here.presented(&sent(&five)).unwrap().has_too_many);
    }

    #[test]
    fn on_https_the_cookie_is_secure_and_says_so_in_its_name() {
        let here = cookies("https://a.test", |_| {});
        let set = set(&here, "t", false);
        assert_eq!(
            set.len(),
            1,
            "a session that goes with the browser has no end"
        );
        assert!(set[0].starts_with("__Secure-better-auth.session_token=t."));
        assert!(set[0].ends_with("; Secure") && !set[0].contains("Max-Age"));
        assert_eq!(tokens(&here, "better-auth.session_token=x"), None);
    }

    #[test]
    fn a_host_prefix_is_written_as_it_is_and_cleared_for_this_host_alone() {
        let here = cookies("https://auth.example.com", |config| {
            config.sessions.cookie_prefix = "__Host-kw".into();
            config.sessions.old_cookie_prefix = Some("better-auth".into());
        });
        assert!(pair(&here, "t").starts_with("__Host-kw.session_token=t."));
        for line in here.clear_everywhere("/api/auth/token", NumericDate::EPOCH) {
            let line = line.to_str().unwrap();
            assert!(line.ends_with("; Secure"), "{line}");
            if line.starts_with(HOST_PREFIX) {
                assert!(
                    line.contains("; Path=/;") && !line.contains("Domain"),
                    "{line}"
                );
            }
        }
        // What was called otherwise is read until its time is over.
        let old = pair(&here, "t").replace("__Host-kw", "__Secure-better-auth");
        let presented = here.presented(&sent(&old)).unwrap();
        assert_eq!(presented.tokens.len(), 1);
        assert!(presented.is_outdated(&session(false)));
        assert!(
            !here
                .presented(&sent(&pair(&here, "t")))
                .unwrap()
                .is_outdated(&session(false))
        );
    }
}
