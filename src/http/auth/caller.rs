//! Who sends a request: what it presents, and the living session that this comes to.

use std::net::IpAddr;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN, SET_COOKIE, USER_AGENT};

use super::AuthApi;
use super::cookies::{Cookies, Presented};
use super::device::Devices;
use super::error::ApiError;
use crate::http::client_ip::{client_ip, peer};
use crate::issue::{Client, SessionToken};
use crate::store::{Session, User};
use crate::verify::request_id;

/// What every browser sends with a request of a page, as far as the page's address is trustworthy (Fetch Metadata §2).
const FETCH_METADATA: &str = "sec-fetch-";

/// A request with what was found out about who sends it.
pub(super) struct Caller {
    pub(super) ip: Option<IpAddr>,
    pub(super) client: Client,
    pub(super) credentials: Credentials,
    /// The device that it says it comes from.
    pub(super) device: Devices,
    /// A script of a page reads the answer, and with it every script that somebody slipped into that page.
    pub(super) is_page: bool,
    /// Where the request was sent to, for the paths that cookies may have.
    pub(super) path: String,
    /// What the request is called.
    pub(super) request_id: Option<String>,
}

/// What a request presents.
pub(super) enum Credentials {
    Nothing,
    /// The session token that `set-auth-token` gave.
    Bearer(SessionToken),
    /// A bearer that is no session token of this service, or two. The cookies do not stand in for it.
    Unusable,
    Cookies(Presented),
}

/// The session that credentials come to.
pub(super) enum Found {
    Nobody,
    Current(Box<Current>),
    /// Sessions of several users live: one of them was planted.
    Several,
}

/// A living session.
pub(super) struct Current {
    pub(super) token: SessionToken,
    pub(super) session: Session,
    pub(super) user: User,
}

// === impl Credentials ===

impl Credentials {
    fn read(headers: &HeaderMap, cookies: &Cookies) -> Self {
        let mut bearers = headers
            .get_all(AUTHORIZATION)
            .iter()
            .filter_map(|value| bearer(value.as_bytes()));
        match (bearers.next(), headers.get_all(AUTHORIZATION).iter().nth(1)) {
            (Some(token), None) => cookies
                .unsigned(token)
                .map_or(Credentials::Unusable, Credentials::Bearer),
            (Some(_), Some(_)) => Credentials::Unusable,
            // Another scheme is a proxy's business.
            (None, _) => cookies
                .presented(headers)
                .map_or(Credentials::Nothing, Credentials::Cookies),
        }
    }
}

/// The credentials of `Bearer` (RFC 6750 §2.1; RFC 9110 §11.1: the scheme's case does not matter); none where it has none.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credentials) = value.split_at_checked("bearer".len())?;
    let is_whole = credentials.first().is_some_and(u8::is_ascii_whitespace);
    let credentials = credentials.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && is_whole && !credentials.is_empty();
    is_bearer.then_some(credentials)
}

/// Whether a browser says that a page sends this. Pages cannot take these headers away; `Origin` is on everything but `GET` and
/// `HEAD` (Fetch §3.2), so at least one of them is on every request that signs in.
fn is_page(headers: &HeaderMap) -> bool {
    let mut names = headers.keys();
    headers.contains_key(ORIGIN) || names.any(|name| name.as_str().starts_with(FETCH_METADATA))
}

// === impl AuthApi ===

impl AuthApi {
    pub(super) fn caller(&self, request: &Request) -> Caller {
        let headers = request.headers();
        let proxies = &self.inner.proxies;
        let ip = client_ip(request, proxies);
        if let Some(peer) = peer(request) {
            let now = self.inner.limits.clock().monotonic();
            self.inner.unheeded.note(peer, headers, proxies, now);
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Caller {
            client: Client {
                ip_address: ip.map(|ip| ip.to_string()).unwrap_or_default(),
                user_agent: text(USER_AGENT).unwrap_or_default().to_owned(),
            },
            ip,
            credentials: Credentials::read(headers, &self.inner.cookies),
            device: self.inner.devices.presented(headers),
            is_page: is_page(headers),
            path: request.uri().path().to_owned(),
            request_id: request_id(headers).map(String::from),
        }
    }

    /// The caller's living sessions: more than one only where cookies of several places came along.
    pub(super) async fn living(&self, caller: &Caller) -> Result<Vec<Current>, ApiError> {
        let tokens = match &caller.credentials {
            Credentials::Bearer(token) => std::slice::from_ref(token),
            Credentials::Cookies(presented) => &presented.tokens,
            Credentials::Nothing | Credentials::Unusable => &[],
        };
        let mut living = Vec::new();
        for token in tokens {
            if let Some((session, user)) = self.sessions().find(token).await? {
                let token = token.clone();
                living.push(Current {
                    token,
                    session,
                    user,
                });
            }
        }
        Ok(living)
    }

    /// The caller's session: the newest, where several of one user live.
    pub(super) async fn session(&self, caller: &Caller) -> Result<Found, ApiError> {
        if matches!(&caller.credentials, Credentials::Cookies(presented) if presented.has_too_many)
        {
            return Ok(Found::Several);
        }
        let mut newest: Option<Current> = None;
        for current in self.living(caller).await? {
            match &newest {
                Some(other) if other.user.id != current.user.id => return Ok(Found::Several),
                Some(other) if other.session.created_at >= current.session.created_at => {}
                _ => newest = Some(current),
            }
        }
        Ok(newest.map_or(Found::Nobody, |current| Found::Current(Box::new(current))))
    }

    pub(super) async fn demand_session(&self, caller: &Caller) -> Result<Current, ApiError> {
        match self.session(caller).await? {
            Found::Current(current) => Ok(*current),
            Found::Nobody => Err(ApiError::Unauthorized),
            Found::Several => {
                let cleared = self
                    .inner
                    .cookies
                    .clear_everywhere(&caller.path, self.sessions().now());
                Err(ApiError::SeveralSessions(cleared))
            }
        }
    }

    /// Gives the browser the cookie again if what it sent shows that it needs to: it was not told of the session's end, because the
    /// answer that renewed it was lost or went to another host's cookies, or it sends others of that name along.
    pub(super) fn keep_cookie(&self, caller: &Caller, current: &Current, response: &mut Response) {
        if let Credentials::Cookies(presented) = &caller.credentials
            && presented.is_outdated(&current.session)
        {
            if presented.is_mixed {
                append(
                    response,
                    self.inner
                        .cookies
                        .clear_others(&caller.path, self.sessions().now()),
                );
            }
            self.set_cookie(&current.token, &current.session, response);
        }
    }

    /// Gives the browser a new cookie, in place of all that it sent.
    pub(super) fn replace_cookie(
        &self,
        caller: &Caller,
        token: &SessionToken,
        session: &Session,
        response: &mut Response,
    ) {
        if matches!(caller.credentials, Credentials::Cookies(_)) {
            append(
                response,
                self.inner
                    .cookies
                    .clear_others(&caller.path, self.sessions().now()),
            );
        }
        self.set_cookie(token, session, response);
    }

    fn set_cookie(&self, token: &SessionToken, session: &Session, response: &mut Response) {
        let lines = self
            .inner
            .cookies
            .set(token, session, self.sessions().now());
        append(response, lines);
    }

    /// As [`clear_cookies`](Self::clear_cookies), also what others may have set.
    pub(super) fn clear_everything(&self, caller: &Caller, response: &mut Response) {
        match &caller.credentials {
            Credentials::Cookies(_) => self.clear_useless(caller, response),
            _ => self.clear_cookies(response),
        }
    }

    /// Takes the service's own cookies away.
    pub(super) fn clear_cookies(&self, response: &mut Response) {
        append(response, self.inner.cookies.clear());
    }

    /// Takes away whatever came along, of which nothing is any use.
    pub(super) fn clear_useless(&self, caller: &Caller, response: &mut Response) {
        if matches!(caller.credentials, Credentials::Cookies(_)) {
            append(
                response,
                self.inner
                    .cookies
                    .clear_everywhere(&caller.path, self.sessions().now()),
            );
        }
    }
}

fn append(response: &mut Response, cookies: Vec<http::HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_one_header_in_any_case_of_its_scheme() {
        for (value, expected) in [
            ("Bearer a.b", Some("a.b")),
            ("bearer a.b", Some("a.b")),
            ("BEARER   a.b ", Some("a.b")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer\ta.b", Some("a.b")),
            ("Bearers a.b", None),
            ("Basic a.b", None),
            ("a.b", None),
            ("", None),
        ] {
            let found = bearer(value.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{value:?}");
        }
    }
}
