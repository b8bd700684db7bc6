//! One handler a route: what is asked, who asks, what comes of it, what is written down.

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{PRAGMA, SET_COOKIE};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::body::Body;
use super::error::ApiError;
use super::limits::Limited;
use super::{AuthApi, Caller, view};
use crate::audit::{Event, Fields};
use crate::issue::{AccountError, SignUp, SignedIn};
use crate::metrics::issuer::SignIn as Outcome;
use crate::store::{Session, User, Which};

const SET_AUTH_TOKEN: HeaderName = HeaderName::from_static("set-auth-token");
const SET_AUTH_JWT: HeaderName = HeaderName::from_static("set-auth-jwt");

type Answer = Result<Response, ApiError>;

pub(super) async fn ok() -> Json<Value> {
    Json(json!({ "ok": true }))
}

pub(super) async fn sign_up(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    api.limit(&caller, "sign-up", Limited::Address)?;
    let mut body = Body::read(request, api.clock()).await?;
    let email = body.text("email");
    let password = body.text("password");
    let name = body.text("name");
    let image = body.optional_text("image");
    let remembered = body.optional_bool("rememberMe").unwrap_or(true);
    let profile = body.finish()?;
    let with = SignUp {
        name,
        email,
        password: Zeroizing::new(password),
        image,
        profile,
        remembered,
    };
    let outcome = api.inner.accounts.sign_up(with, &caller.client).await;
    let signed_in = outcome.inspect_err(|error| api.sign_in_failed(&caller, "sign-up", error))?;
    api.write(
        Event::SignedUp,
        &caller,
        &signed_in.user,
        Some(&signed_in.session),
    );
    let user = view::user(&signed_in.user);
    let body = json!({ "token": signed_in.token.reveal(), "user": user });
    Ok(api.with_session(&signed_in, body))
}

pub(super) async fn sign_in(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    api.limit(&caller, "sign-in", Limited::Address)?;
    let mut body = Body::read(request, api.clock()).await?;
    let email = body.text("email");
    let password = Zeroizing::new(body.text("password"));
    let remembered = body.optional_bool("rememberMe").unwrap_or(true);
    body.finish()?;
    api.limit(
        &caller,
        "sign-in",
        Limited::Account(&email.to_ascii_lowercase()),
    )?;
    let outcome = api
        .inner
        .accounts
        .sign_in(&email, password, remembered, &caller.client)
        .await;
    let signed_in = outcome.inspect_err(|error| api.sign_in_failed(&caller, "sign-in", error))?;
    api.inner.metrics.issuer.sign_in(Outcome::SignedIn);
    api.write(
        Event::SignedIn,
        &caller,
        &signed_in.user,
        Some(&signed_in.session),
    );
    let body = json!({
        "redirect": false,
        "token": signed_in.token.reveal(),
        "user": view::user(&signed_in.user),
    });
    Ok(api.with_session(&signed_in, body))
}

pub(super) async fn sign_out(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    if let Some((_, session, user)) = api.session(&caller).await? {
        let ended = api.sessions().end(&user, Which::Id(&session.id)).await?;
        if !ended.is_empty() {
            api.write(Event::SignedOut, &caller, &user, Some(&session));
        }
    }
    let mut response = Json(json!({ "success": true })).into_response();
    api.clear_cookies(&mut response);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetSession {
    #[serde(default)]
    disable_refresh: Option<String>,
}

pub(super) async fn get_session(
    State(api): State<AuthApi>,
    Query(query): Query<GetSession>,
    request: Request,
) -> Answer {
    let caller = api.caller(&request);
    let Some((token, mut session, user)) = api.session(&caller).await? else {
        let mut response = Json(Value::Null).into_response();
        if caller.has_cookie {
            api.clear_cookies(&mut response);
        }
        return Ok(response);
    };
    let may_renew = query.disable_refresh.as_deref() != Some("true");
    let renewed = may_renew && api.sessions().renew(&mut session).await?;
    let body = json!({
        "session": view::session(&session, token.reveal()),
        "user": view::user(&user),
    });
    let mut response = Json(body).into_response();
    if renewed && caller.has_cookie {
        let cookie = api.inner.cookies.set(&token, max_age(&session));
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    match api.sessions().token(&session, &user, None).await {
        Ok(minted) => {
            if let Ok(value) = HeaderValue::from_str(&minted.token) {
                response.headers_mut().insert(SET_AUTH_JWT, value);
            }
        }
        // The session is good even while no key signs; the probe tells of that.
        Err(error) => tracing::error!(%error, "get-session could give no token"),
    }
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[derive(Deserialize)]
pub(super) struct ForAudience {
    #[serde(default)]
    audience: Option<String>,
}

pub(super) async fn token(
    State(api): State<AuthApi>,
    Query(query): Query<ForAudience>,
    request: Request,
) -> Answer {
    let caller = api.caller(&request);
    let (_, session, user) = api.demand_session(&caller).await?;
    let audience = query.audience.as_deref();
    let minted = api.sessions().token(&session, &user, audience).await?;
    Ok(Json(json!({ "token": minted.token })).into_response())
}

pub(super) async fn list_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let (token, current, user) = api.demand_session(&caller).await?;
    let sessions = api.sessions().list(&user).await?;
    let shown = sessions.iter().map(|session| {
        // Only hashes of tokens are stored, so another session goes by its identifier, which `revoke-session` takes as well
        // and nothing else does.
        let name = match session.id == current.id {
            true => token.reveal(),
            false => &session.id,
        };
        view::session(session, name)
    });
    Ok(Json(Value::Array(shown.collect())).into_response())
}

pub(super) async fn revoke_session(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let mut body = Body::read(request, api.clock()).await?;
    let name = body.text("token");
    body.finish()?;
    let (_, _, user) = api.demand_session(&caller).await?;
    let ended = api.sessions().end_named(&user, &name).await?;
    api.revoked(&caller, &user, &ended);
    Ok(status_true())
}

pub(super) async fn revoke_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let (_, _, user) = api.demand_session(&caller).await?;
    let ended = api.sessions().end(&user, Which::All).await?;
    api.revoked(&caller, &user, &ended);
    let mut response = status_true();
    api.clear_cookies(&mut response);
    Ok(response)
}

pub(super) async fn revoke_other_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let (_, session, user) = api.demand_session(&caller).await?;
    let ended = api
        .sessions()
        .end(&user, Which::AllBut(&session.id))
        .await?;
    api.revoked(&caller, &user, &ended);
    Ok(status_true())
}

pub(super) async fn change_password(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    api.limit(&caller, "change-password", Limited::Address)?;
    let mut body = Body::read(request, api.clock()).await?;
    let current = Zeroizing::new(body.text("currentPassword"));
    let new = Zeroizing::new(body.text("newPassword"));
    // Whatever is asked for, every session ends: whoever knew the old password is out.
    body.optional_bool("revokeOtherSessions");
    body.finish()?;
    let (_, session, user) = api.demand_session(&caller).await?;
    api.limit(&caller, "change-password", Limited::Account(&user.email))?;
    let changed = api
        .inner
        .accounts
        .change_password((&session, &user), current, new, &caller.client)
        .await;
    let changed =
        changed.inspect_err(|error| api.sign_in_failed(&caller, "change-password", error))?;
    api.write(Event::PasswordChanged, &caller, &user, Some(&session));
    let body = json!({ "token": changed.token.reveal(), "user": view::user(&changed.user) });
    Ok(api.with_session(&changed, body))
}

fn status_true() -> Response {
    Json(json!({ "status": true })).into_response()
}

/// How long a browser keeps the cookie; `None` for as long as it runs.
fn max_age(session: &Session) -> Option<u64> {
    let life = session.expires_at.since(session.updated_at);
    session.remembered.then_some(life.as_secs())
}

// === impl AuthApi ===

impl AuthApi {
    pub(super) fn clock(&self) -> &dyn crate::Clock {
        self.inner.limits.clock()
    }

    fn limit(&self, caller: &Caller, what: &'static str, by: Limited<'_>) -> Result<(), ApiError> {
        let admitted = self.inner.limits.admit(what, caller.ip, by);
        admitted.inspect_err(|_| {
            self.turned_away(caller, what, Outcome::RateLimited);
        })
    }

    fn with_session(&self, signed_in: &SignedIn, body: Value) -> Response {
        let cookies = &self.inner.cookies;
        let mut response = Json(body).into_response();
        let headers = response.headers_mut();
        let cookie = cookies.set(&signed_in.token, max_age(&signed_in.session));
        headers.append(SET_COOKIE, cookie);
        headers.insert(SET_AUTH_TOKEN, cookies.signed_header(&signed_in.token));
        response
    }

    fn clear_cookies(&self, response: &mut Response) {
        for cookie in self.inner.cookies.clear() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }

    fn write(&self, event: Event, caller: &Caller, user: &User, session: Option<&Session>) {
        let fields = Fields {
            sub: Some(&user.id),
            sid: session.map(|session| session.id.as_str()),
            ip: caller.ip,
            request_id: caller.request_id.as_deref(),
            ..Fields::default()
        };
        self.inner.audit.write(event, &fields);
    }

    fn revoked(&self, caller: &Caller, user: &User, ended: &[String]) {
        for sid in ended {
            let fields = Fields {
                sub: Some(&user.id),
                sid: Some(sid),
                ip: caller.ip,
                request_id: caller.request_id.as_deref(),
                ..Fields::default()
            };
            self.inner.audit.write(Event::SessionRevoked, &fields);
        }
    }

    fn sign_in_failed(&self, caller: &Caller, route: &'static str, error: &AccountError) {
        let outcome = match error {
            AccountError::InvalidCredentials | AccountError::InvalidPassword => {
                Outcome::InvalidCredentials
            }
            AccountError::Disabled => Outcome::Disabled,
            AccountError::Hash(_) => Outcome::Busy,
            AccountError::Store(_) | AccountError::System(_) => Outcome::Unavailable,
            // Typing errors of people who sign up.
            _ => return,
        };
        self.turned_away(caller, route, outcome);
    }

    fn turned_away(&self, caller: &Caller, route: &'static str, outcome: Outcome) {
        self.inner.metrics.issuer.sign_in(outcome);
        let fields = Fields {
            reason: Some(outcome.name()),
            ip: caller.ip,
            route: Some(route),
            request_id: caller.request_id.as_deref(),
            ..Fields::default()
        };
        self.inner.audit.write_limited(Event::SignInFailed, &fields);
    }
}
