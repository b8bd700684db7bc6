//! The steps at the auth service.

use serde_json::json;
use zeroize::Zeroizing;

use super::probe::{Answer, set_cookie};
use super::{Broken, Finding, Walk, broken};
use crate::jose::{Algorithm, JwkSet, base64url};
use crate::verify::{Claims, StatusCheck, Verifier};

// === impl Walk ===

impl Walk {
    async fn get_auth(&self, path: &str) -> Result<Answer, Broken> {
        let url = format!("{}{path}", self.auth);
        self.ask(self.client.get(&url)).await.map_err(|why| Broken {
            found: format!("{url}: {why}"),
            mend: "start the auth service, or name its address with --auth".into(),
        })
    }

    pub(super) async fn auth_answers(&self) -> Finding {
        let answer = self.get_auth("/.well-known/jwks.json").await?;
        match answer.status {
            200 => Ok(self.auth.clone()),
            status => broken(
                format!("{}/.well-known/jwks.json answers {status}", self.auth),
                "name the auth service itself with --auth: scheme, host and port, as in its `issuer`",
            ),
        }
    }

    pub(super) async fn issuer_matches(&self) -> Finding {
        let answer = self.get_auth("/.well-known/openid-configuration").await?;
        let issuer = answer.json()["issuer"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        match issuer == self.auth {
            true => Ok(issuer),
            false => broken(
                format!("it calls itself `{issuer}`"),
                format!(
                    "set `issuer = \"{}\"` where it is configured, and the same in every API: `iss` is compared letter by letter",
                    self.auth
                ),
            ),
        }
    }

    pub(super) async fn publishes_keys(&self) -> Finding {
        let answer = self.get_auth("/.well-known/jwks.json").await?;
        match JwkSet::parse(answer.body.as_bytes()) {
            Ok(set) if !set.keys.is_empty() => Ok(format!("{} keys", set.keys.len())),
            Ok(_) => broken(
                "the set is empty",
                "see `keywheel keys list` on the auth service",
            ),
            Err(error) => broken(
                format!("the set cannot be read: {error}"),
                "something in between answers in its place: look at the address in a browser",
            ),
        }
    }

    pub(super) async fn auth_cors(&self) -> Finding {
        let sign_in = format!("{}/api/auth/sign-in/email", self.auth);
        self.preflight(&sign_in, "POST", "content-type", true).await
    }

    pub(super) async fn signs_in(
        &self,
        email: &str,
        password: &Zeroizing<String>,
        cookie: &mut Option<String>,
    ) -> Finding {
        let url = format!("{}/api/auth/sign-in/email", self.auth);
        let body = json!({ "email": email, "password": &**password }).to_string();
        let mut request = self
            .client
            .post(&url)
            .header("content-type", "application/json");
        if let Some(origin) = self.origin() {
            request = request.header("origin", origin);
        }
        let answer = match self.ask(request.body(body)).await {
            Ok(answer) => answer,
            Err(why) => return broken(why, format!("make sure that {url} can be reached")),
        };
        let code = answer.json()["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if answer.status != 200 {
            let mend = match code.as_str() {
                "INVALID_EMAIL_OR_PASSWORD" => "check the address and the password",
                "INVALID_ORIGIN" => "add the origin to trusted_origins of the auth service",
                "BANNED_USER" => "the account is disabled: `keywheel users enable EMAIL`",
                "TOO_MANY_REQUESTS" => "wait for as long as Retry-After says",
                _ => "look into the log of the auth service",
            };
            return broken(answer.shown(), mend);
        }
        let Some(set) = set_cookie(&answer.headers, "session_token") else {
            return broken(
                "200, but without a session cookie",
                "something in between takes Set-Cookie away: let the proxy pass it on",
            );
        };
        let attributes = set.to_ascii_lowercase();
        if !attributes.contains("httponly") {
            return broken(
                "the cookie is not HttpOnly",
                "let no script read the session cookie",
            );
        }
        if self.auth.starts_with("https:") && !attributes.contains("secure") {
            return broken(
                "the cookie is not Secure although the service is on https",
                "set `issuer` to the https address: it decides what the cookie says",
            );
        }
        *cookie = set.split(';').next().map(str::to_owned);
        let name = set.split('=').next().unwrap_or_default();
        Ok(format!("{name}, HttpOnly"))
    }

    pub(super) async fn session_is_found(&self, cookie: &str) -> Finding {
        let url = format!("{}/api/auth/get-session", self.auth);
        let request = self.client.get(&url).header("cookie", cookie);
        match self.ask(request).await {
            Ok(answer) if answer.json()["session"].is_object() => Ok("get-session knows it".into()),
            Ok(answer) => broken(
                format!("get-session answers {}", answer.shown()),
                "all servers behind this address must share one database and one cookie secret",
            ),
            Err(why) => broken(why, format!("make sure that {url} can be reached")),
        }
    }

    pub(super) async fn gives_token(&self, cookie: &str, token: &mut Option<String>) -> Finding {
        let audience = self.audience.as_deref().map_or(String::new(), |audience| {
            let pairs = [("audience", audience)];
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish();
            format!("?{query}")
        });
        let mut last = String::new();
        for path in ["token", "jwt"] {
            let url = format!("{}/api/auth/{path}{audience}", self.auth);
            match self
                .ask(self.client.get(&url).header("cookie", cookie))
                .await
            {
                Ok(answer) if answer.status == 200 => {
                    *token = answer.json()["token"].as_str().map(str::to_owned);
                    if token.is_some() {
                        return Ok(format!("GET /api/auth/{path}"));
                    }
                    last = format!("/api/auth/{path} answers {}", answer.shown());
                }
                Ok(answer) => last = format!("/api/auth/{path} answers {}", answer.shown()),
                Err(why) => last = why,
            }
        }
        let mend = match last.contains("UNKNOWN_AUDIENCE") {
            true => "name an audience that the auth service's configuration has, with --audience",
            false => {
                "the front end must ask with the cookie (credentials: \"include\"), and the auth service must offer tokens"
            }
        };
        broken(last, mend)
    }

    pub(super) async fn token_is_good(&self, token: &str) -> Finding {
        let audience = match &self.audience {
            Some(audience) => audience.clone(),
            None => claim(token, "aud").unwrap_or_default(),
        };
        let verifier = Verifier::builder()
            .issuer(&self.auth)
            .jwks_url(format!("{}/.well-known/jwks.json", self.auth))
            .audience(audience.as_str())
            .algorithms(Algorithm::ALL.iter().copied())
            .status_check(StatusCheck::Ignore)
            .build();
        let verifier = match verifier {
            Ok(verifier) => verifier,
            Err(error) => return broken(error.to_string(), "use https, or a loopback address"),
        };
        match verifier.verify::<Claims>(token).await {
            Ok(_) => Ok(format!("for the audience `{audience}`")),
            Err(reject) => broken(
                format!("refused as {}: {reject}", reject.code()),
                "`keywheel explain --issuer URL TOKEN` shows every check",
            ),
        }
    }

    /// The session was only for this; whether it ends now or in a week changes nothing about the finding.
    pub(super) async fn sign_out(&self, cookie: &str) {
        let url = format!("{}/api/auth/sign-out", self.auth);
        let request = self.client.post(&url).header("cookie", cookie);
        let _ = self.ask(request.header("origin", &self.auth)).await;
    }
}

/// A claim of text, of a token that is not verified.
pub(super) fn claim(token: &str, name: &str) -> Option<String> {
    let mut payload = Vec::new();
    base64url::decode_onto(token.split('.').nth(1)?.as_bytes(), &mut payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    Some(claims[name].as_str()?.to_owned())
}
