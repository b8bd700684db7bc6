//! One handler a route: what is asked, who asks, what comes of it, what is written down.

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::PRAGMA;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::body::Body;
use super::caller::{Caller, Current, Found};
use super::cookies::secret_header;
use super::error::ApiError;
use super::{AuthApi, view};
use crate::audit::{Event, Fields};
use crate::issue::{AccountError, SessionToken, SignUp, SignedIn, normal_email};
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
    // A success counts as well: else one address could make accounts without end.
    api.admit(&caller, "sign-up").await?;
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
    let body = json!({ "user": view::user(&signed_in.user) });
    Ok(api.with_session(&caller, &signed_in, body).await)
}

pub(super) async fn sign_in(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let read = Body::read(request, api.clock()).await;
    let fields = read.and_then(|mut body| {
        let email = body.text("email");
        let password = Zeroizing::new(body.text("password"));
        let remembered = body.optional_bool("rememberMe").unwrap_or(true);
        body.finish()?;
        // Before an account is counted: invented addresses must not fill its windows.
        normal_email(&email)?;
        Ok((email, password, remembered))
    });
    let (email, password, remembered) = match fields {
        Ok(fields) => fields,
        Err(error) => {
            // What names no account counts for its address alone.
            api.admit(&caller, "sign-in").await?;
            return Err(error);
        }
    };
    let admitted = api.admit_to(&caller, &email.to_ascii_lowercase()).await?;
    let outcome = api
        .inner
        .accounts
        .sign_in(&email, password, remembered, &caller.client)
        .await;
    if !outcome.as_ref().is_err_and(AccountError::is_verdict) {
        api.give_back(admitted).await;
    }
    let signed_in = outcome.inspect_err(|error| api.sign_in_failed(&caller, "sign-in", error))?;
    api.inner.metrics.issuer.sign_in(Outcome::SignedIn);
    api.write(
        Event::SignedIn,
        &caller,
        &signed_in.user,
        Some(&signed_in.session),
    );
    let body = json!({ "redirect": false, "user": view::user(&signed_in.user) });
    Ok(api.with_session(&caller, &signed_in, body).await)
}

pub(super) async fn sign_out(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    // Each of them, whoever planted one: what the browser sends is to be good for nothing afterwards.
    let living = api.living(&caller).await?;
    for current in &living {
        let which = Which::Id(&current.session.id);
        let ended = api.sessions().end(&current.user, which).await?;
        if !ended.is_empty() {
            api.write(
                Event::SignedOut,
                &caller,
                &current.user,
                Some(&current.session),
            );
        }
    }
    let mut response = Json(json!({ "success": true })).into_response();
    match living.len() {
        1 => api.clear_cookies(&mut response),
        _ => api.clear_everything(&caller, &mut response),
    }
    Ok(response)
}

/// Better Auth's `disableRefresh`: the caller cannot pass a cookie on to the browser, so none is to change.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refresh {
    #[serde(default)]
    disable_refresh: Option<String>,
}

pub(super) async fn get_session(
    State(api): State<AuthApi>,
    Query(refresh): Query<Refresh>,
    request: Request,
) -> Answer {
    let caller = api.caller(&request);
    let Found::Current(mut current) = api.session(&caller).await? else {
        let mut response = Json(Value::Null).into_response();
        api.clear_useless(&caller, &mut response);
        return Ok(response);
    };
    refresh.renew(&api, &mut current).await?;
    let body = json!({
        "session": view::session(&current.session),
        "user": view::user(&current.user),
    });
    let mut response = Json(body).into_response();
    refresh.keep_cookie(&api, &caller, &current, &mut response);
    let (session, user) = (&current.session, &current.user);
    match api.sessions().token(session, user, None).await {
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
    Query(refresh): Query<Refresh>,
    request: Request,
) -> Answer {
    let caller = api.caller(&request);
    let mut current = api.demand_session(&caller).await?;
    // A page that asks for nothing else uses its session as well.
    refresh.renew(&api, &mut current).await?;
    let audience = query.audience.as_deref();
    let (session, user) = (&current.session, &current.user);
    let minted = api.sessions().token(session, user, audience).await?;
    let mut response = Json(json!({ "token": minted.token })).into_response();
    refresh.keep_cookie(&api, &caller, &current, &mut response);
    Ok(response)
}

pub(super) async fn list_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let current = api.demand_session(&caller).await?;
    let sessions = api.sessions().list(&current.user).await?;
    let shown = sessions.iter().map(view::session).collect();
    let mut response = Json(Value::Array(shown)).into_response();
    api.keep_cookie(&caller, &current, &mut response);
    Ok(response)
}

pub(super) async fn revoke_session(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let mut body = Body::read(request, api.clock()).await?;
    let name = body.text("token");
    body.finish()?;
    let current = api.demand_session(&caller).await?;
    // By its identifier, or by its token: a client without cookies may know no other name.
    let token = api.inner.cookies.unsigned(name.as_bytes());
    let name = token.as_ref().map_or(name.as_str(), SessionToken::reveal);
    let ended = api.sessions().end_named(&current.user, name).await?;
    api.revoked(&caller, &current.user, &ended);
    let mut response = status_true();
    match ended.contains(&current.session.id) {
        true => api.clear_cookies(&mut response),
        false => api.keep_cookie(&caller, &current, &mut response),
    }
    Ok(response)
}

pub(super) async fn revoke_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let Current { user, .. } = api.demand_session(&caller).await?;
    let ended = api.sessions().end(&user, Which::All).await?;
    api.revoked(&caller, &user, &ended);
    let mut response = status_true();
    api.clear_cookies(&mut response);
    Ok(response)
}

pub(super) async fn revoke_other_sessions(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let current = api.demand_session(&caller).await?;
    let which = Which::AllBut(&current.session.id);
    let ended = api.sessions().end(&current.user, which).await?;
    api.revoked(&caller, &current.user, &ended);
    let mut response = status_true();
    api.keep_cookie(&caller, &current, &mut response);
    Ok(response)
}

pub(super) async fn change_password(State(api): State<AuthApi>, request: Request) -> Answer {
    let caller = api.caller(&request);
    let mut body = Body::read(request, api.clock()).await?;
    let current = Zeroizing::new(body.text("currentPassword"));
    let new = Zeroizing::new(body.text("newPassword"));
    // Whatever is asked for, every session ends: whoever knew the old password is out.
    body.optional_bool("revokeOtherSessions");
    body.finish()?;
    let Current { session, user, .. } = api.demand_session(&caller).await?;
    // By session: whoever has stolen another one must not keep the account's owner from changing the password.
    let admitted = api.admit_change(&caller, &session).await?;
    let changed = api
        .inner
        .accounts
        .change_password((&session, &user), current, new, &caller.client)
        .await;
    if !changed.as_ref().is_err_and(AccountError::is_verdict) {
        api.give_back(admitted).await;
    }
    let changed =
        changed.inspect_err(|error| api.sign_in_failed(&caller, "change-password", error))?;
    api.write(Event::PasswordChanged, &caller, &user, Some(&session));
    let body = json!({ "user": view::user(&changed.user) });
    Ok(api.with_session(&caller, &changed, body).await)
}

fn status_true() -> Response {
    Json(json!({ "status": true })).into_response()
}

// === impl Refresh ===

impl Refresh {
    fn is_disabled(&self) -> bool {
        self.disable_refresh.as_deref() == Some("true")
    }

    async fn renew(&self, api: &AuthApi, current: &mut Current) -> Result<(), ApiError> {
        if !self.is_disabled() {
            api.sessions().renew(&mut current.session).await?;
        }
        Ok(())
    }

    fn keep_cookie(&self, api: &AuthApi, caller: &Caller, current: &Current, to: &mut Response) {
        if !self.is_disabled() {
            api.keep_cookie(caller, current, to);
        }
    }
}

// === impl AuthApi ===

impl AuthApi {
    pub(super) fn clock(&self) -> &dyn crate::Clock {
        self.inner.limits.clock()
    }

    /// The answer to who has just signed in: the cookie, and in `body` what the session is called. The session token itself goes
    /// only to clients that have nowhere else to keep it: what a page can read, a script that was slipped into it can send away.
    async fn with_session(
        &self,
        caller: &Caller,
        signed_in: &SignedIn,
        mut body: Value,
    ) -> Response {
        let signed = self.inner.cookies.signed(&signed_in.token);
        body["token"] = match self.inner.bearer {
            true => signed.as_str().into(),
            false => signed_in.session.id.as_str().into(),
        };
        let mut response = Json(body).into_response();
        self.replace_cookie(caller, &signed_in.token, &signed_in.session, &mut response);
        self.know_device(caller, &signed_in.user, &mut response)
            .await;
        if self.inner.bearer || !caller.is_page {
            let headers = response.headers_mut();
            headers.insert(SET_AUTH_TOKEN, secret_header(&signed));
        }
        response
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

    pub(super) fn turned_away(&self, caller: &Caller, route: &'static str, outcome: Outcome) {
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
