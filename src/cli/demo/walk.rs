//! The walk: a numbered step, what was asked, what came back, and whether that is what should have come.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{AUDIENCE, AUDIENCE_RS256};
use crate::cli::serve::AuthService;
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::issue::{How, Issuer, Refused, RotationError, apply_rotation};
use crate::jose::{Algorithm, SigningKey, base64url};
use crate::store::FileKeyStore;
use crate::verify::Verifier;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";
const OTHER_USER: &str = "somebody-else";
/// How long an API may take to refuse a token whose session has ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// How long a server may take to follow a rotation on disk.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Walk {
    config: Config,
    issuer: Issuer,
    verifier: Verifier,
    auth: String,
    admin: SocketAddr,
    api: String,
    client: reqwest::Client,
    step: u32,
    failures: u32,
    /// Who has signed up.
    user: String,
    /// The session cookie that a browser would keep.
    cookie: String,
}

struct Answer {
    status: u16,
    challenge: Option<String>,
    /// Name and value of the cookie that it sets.
    cookie: Option<String>,
    body: String,
}

// === impl Walk ===

impl Walk {
    pub(super) fn new(
        config: &Config,
        auth: &AuthService,
        verifier: Verifier,
        api: SocketAddr,
        client: reqwest::Client,
    ) -> Self {
        Walk {
            config: config.clone(),
            issuer: auth.issuer.clone(),
            verifier,
            auth: format!("http://{}", auth.public),
            admin: auth.admin,
            api: format!("http://{api}"),
            client,
            step: 0,
            failures: 0,
            user: String::new(),
            cookie: String::new(),
        }
    }

    /// Every step; gives the number of those that misbehaved.
    pub(super) async fn run(mut self) -> Result<u32, CliError> {
        self.say(&format!(
            "Keywheel: auth service on {}, sample API on {}. They share no secret.",
            self.auth, self.api
        ))?;
        self.show_jwks().await?;
        self.sign_up().await?;
        let token = self.token(AUDIENCE, "EdDSA").await?;
        let rs256 = self.token(AUDIENCE_RS256, "RS256").await?;
        self.call_with_both(&token, &rs256).await?;
        self.call_badly(&token).await?;
        self.call_for_another_user(&token).await?;
        self.rotate().await?;
        let new_token = self
            .token(AUDIENCE, "EdDSA, by the key that signs now")
            .await?;
        self.check(
            "another key signed it",
            header_of(&new_token) != header_of(&token),
        )?;
        self.call_after_rotation(&token, &new_token).await?;
        self.show_counters().await?;
        self.sign_out(&new_token).await?;
        let token = self.sign_in().await?;
        self.show_how_to_go_on(&token)?;
        Ok(self.failures)
    }

    async fn show_jwks(&mut self) -> Result<(), CliError> {
        self.title("What the auth service publishes")?;
        let url = format!("{}/.well-known/jwks.json", self.auth);
        let answer = self
            .ask("GET /.well-known/jwks.json", self.client.get(url))
            .await?;
        let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let keys = document["keys"].as_array().cloned().unwrap_or_default();
        for key in &keys {
            let kid = key["kid"].as_str().unwrap_or_default();
            let published = self.issuer.published();
            let stage = published.ring.get(kid).map(|key| key.stage.name());
            self.say(&format!(
                "   {:<6} {kid}  {}",
                key["alg"].as_str().unwrap_or("?"),
                stage.unwrap_or("?")
            ))?;
        }
        self.check(
            "two keys per algorithm: one signs, one is announced ahead",
            keys.len() == 4,
        )
    }

    async fn sign_up(&mut self) -> Result<(), CliError> {
        self.title("Somebody signs up: an account, a session, a cookie that no script can read")?;
        let body = format!(r#"{{"name":"Ada","email":"{EMAIL}","password":"{PASSWORD}"}}"#);
        let answer = self.enter("sign-up/email", body).await?;
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        self.user = said["user"]["id"].as_str().unwrap_or_default().to_owned();
        let ok = answer.status == 200 && !self.user.is_empty() && !self.cookie.is_empty();
        self.check("200, and a session cookie", ok)
    }

    async fn sign_in(&mut self) -> Result<String, CliError> {
        self.title("Signing in again begins another session")?;
        let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
        let answer = self.enter("sign-in/email", body).await?;
        self.check("200", answer.status == 200)?;
        self.token(AUDIENCE, "to try by hand").await
    }

    /// Keeps the session cookie, as a browser would.
    async fn enter(&mut self, path: &str, body: String) -> Result<Answer, CliError> {
        let request = self
            .client
            .post(format!("{}/api/auth/{path}", self.auth))
            .header("content-type", "application/json")
            .body(body);
        let answer = self.ask(&format!("POST /api/auth/{path}"), request).await?;
        if let Some(cookie) = &answer.cookie {
            self.say("     Set-Cookie: … HttpOnly; SameSite=Lax")?;
            self.cookie = cookie.clone();
        }
        Ok(answer)
    }

    /// What a front end does before it calls an API: the cookie for a token of a few minutes.
    async fn token(&mut self, audience: &str, by: &str) -> Result<String, CliError> {
        self.title(&format!("The session gives a token for {audience}, {by}"))?;
        let path = format!("/api/auth/token?audience={audience}");
        let url = format!("{}{path}", self.auth);
        let request = self.client.get(url).header("cookie", &self.cookie);
        let answer = self.ask_quietly(request).await?;
        self.say(&format!("   → GET {path} with the cookie"))?;
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let token = said["token"].as_str().unwrap_or_default().to_owned();
        let mut segments = token.split('.').map(decode);
        let (header, claims) = (segments.next(), segments.next());
        self.say(&format!(
            "   ← {} header {}",
            answer.status,
            header.unwrap_or_default()
        ))?;
        self.say(&format!("     claims {}", claims.unwrap_or_default()))?;
        self.check(
            "200, and a token",
            answer.status == 200 && !token.is_empty(),
        )?;
        Ok(token)
    }

    /// The session ends, and with it, everywhere, the token that has not expired.
    async fn sign_out(&mut self, token: &str) -> Result<(), CliError> {
        self.title("Signing out reaches the API, though the token lives for minutes yet")?;
        let request = self
            .client
            .post(format!("{}/api/auth/sign-out", self.auth))
            .header("cookie", &self.cookie)
            .header("origin", &self.auth);
        let answer = self.ask("POST /api/auth/sign-out", request).await?;
        let started = SystemClock.monotonic();
        self.check("200", answer.status == 200)?;
        let before = self.refusals("revoked");
        let refused = loop {
            let answer = self
                .ask_quietly(self.personalize().bearer_auth(token))
                .await?;
            let took = SystemClock.monotonic() - started;
            if answer.status != 200 || took > 2 * REFUSED_WITHIN {
                break (answer, took);
            }
            SystemClock.sleep(Duration::from_millis(5)).await;
        };
        let (answer, took) = refused;
        self.say(&format!(
            "   → the same token again, {} ms after the sign-out",
            took.as_millis()
        ))?;
        self.say(&format!("   ← {} {}", answer.status, answer.body))?;
        let in_time = answer.status == 401 && took <= REFUSED_WITHIN;
        self.check("401 within a second, from an API that nobody told", in_time)?;
        let counted = self.refusals("revoked") == before + 1;
        self.check("counted and logged as revoked", counted)
    }

    async fn call_with_both(&mut self, token: &str, rs256: &str) -> Result<(), CliError> {
        self.title("The API accepts both")?;
        for (token, name) in [(token, "EdDSA"), (rs256, "RS256")] {
            let request = self.personalize().bearer_auth(token);
            let ask = format!("POST /api/personalize with the {name} token");
            let answer = self.ask(&ask, request).await?;
            let named = answer.body.contains(&self.user);
            self.check("200, and it knows who asks", answer.status == 200 && named)?;
        }
        let request = self.tasks_of(&self.user).bearer_auth(token);
        let answer = self.ask("GET /api/{user_id}/tasks", request).await?;
        self.check("200, one's own tasks", answer.status == 200)
    }

    async fn call_badly(&mut self, token: &str) -> Result<(), CliError> {
        self.title("It refuses the rest; the reason is in its log, on stderr")?;
        let answer = self.ask("without a token", self.personalize()).await?;
        self.expect_refusal(&answer, 401, "missing")?;
        let (forger, _) = SigningKey::generate(Algorithm::EdDSA).map_err(CliError::failed)?;
        for (what, forged, reason) in [
            (
                "with one that somebody else signed",
                resigned(token, &forger)?,
                "bad_signature",
            ),
            ("with `alg: none`", unsigned(token), "alg_not_allowed"),
        ] {
            let before = self.refusals(reason);
            let answer = self
                .ask(what, self.personalize().bearer_auth(forged))
                .await?;
            self.expect_refusal(&answer, 401, "invalid")?;
            let counted = self.refusals(reason) == before + 1;
            self.check(&format!("counted and logged as {reason}"), counted)?;
        }
        Ok(())
    }

    async fn call_for_another_user(&mut self, token: &str) -> Result<(), CliError> {
        self.title("A good token opens nobody else's door")?;
        let request = self.tasks_of(OTHER_USER).bearer_auth(token);
        let answer = self
            .ask(&format!("GET /api/{OTHER_USER}/tasks"), request)
            .await?;
        self.expect_refusal(&answer, 403, "does not allow")
    }

    async fn rotate(&mut self) -> Result<(), CliError> {
        self.title("The key rotates, under the running services")?;
        let before = self.issuer.published().etag.clone();
        loop {
            match self.try_rotate().await? {
                Ok(lines) => {
                    for line in lines {
                        self.say(&format!("   {line}"))?;
                    }
                    break;
                }
                Err(Refused::TooEarly { wait, .. }) => {
                    self.say("   not yet: a verifier may still hold a key set without the announced key; waiting")?;
                    SystemClock.sleep(wait).await;
                }
                Err(refused) => return Err(CliError::failed(refused)),
            }
        }
        let started = SystemClock.monotonic();
        while self.issuer.published().etag == before
            && SystemClock.monotonic() - started < FOLLOWED_WITHIN
        {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        let took = SystemClock.monotonic() - started;
        self.check(
            &format!("the auth service follows, {} ms later", took.as_millis()),
            self.issuer.published().etag != before,
        )
    }

    /// What `keywheel keys rotate` does, on the same folder.
    async fn try_rotate(&self) -> Result<Result<Vec<String>, Refused>, CliError> {
        let config = self.config.clone();
        let rotated = tokio::task::spawn_blocking(move || {
            let store = FileKeyStore::existing(&config.keys.store)?;
            let policy = config.rotation_policy();
            let algorithms = policy.algorithms.clone();
            apply_rotation(
                &store,
                &policy,
                &algorithms,
                SystemClock.now(),
                How::default(),
            )
        });
        match rotated.await.map_err(CliError::failed)? {
            Ok(outcome) => Ok(Ok(outcome
                .done
                .iter()
                .map(|done| format!("{:<13} {:<5} {}", done.event.name(), done.alg, done.kid))
                .collect())),
            Err(RotationError::Refused(refused)) => Ok(Err(refused)),
            Err(error) => Err(error.into()),
        }
    }

    async fn call_after_rotation(&mut self, old: &str, new: &str) -> Result<(), CliError> {
        self.title("The API, which nobody told, accepts the old token and the new")?;
        for (token, name) in [(old, "old"), (new, "new")] {
            let request = self.personalize().bearer_auth(token);
            let ask = format!("POST /api/personalize with the {name} token");
            let answer = self.ask(&ask, request).await?;
            self.check("200", answer.status == 200)?;
        }
        Ok(())
    }

    async fn show_counters(&mut self) -> Result<(), CliError> {
        self.title("What the API counted")?;
        let url = format!("{}/metrics", self.api);
        let answer = self.ask("GET /metrics", self.client.get(url)).await?;
        for line in answer.body.lines() {
            let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
            if series.starts_with("keywheel_verifications_total") && value != "0" {
                self.say(&format!("   {line}"))?;
            }
        }
        self.check("five tokens accepted", self.refusals("accepted") == 5)
    }

    fn show_how_to_go_on(&mut self, token: &str) -> Result<(), CliError> {
        self.title("Try it by hand")?;
        let (auth, api, admin) = (&self.auth, &self.api, &self.admin);
        let store = self.config.keys.store.display();
        let database = &self.config.database.url.0;
        let lines = [
            format!("   curl {auth}/.well-known/jwks.json"),
            format!("   curl {auth}/.well-known/openid-configuration"),
            format!("   open {auth}/ in a browser: the whole way by hand"),
            format!("   curl http://{admin}/readyz"),
            format!("   curl {api}/readyz"),
            format!(
                "   curl {api}/api/{}/tasks -H 'Authorization: Bearer {token}'",
                self.user
            ),
            format!("   KEYWHEEL_KEYS__STORE={store} keywheel keys list"),
            format!("   KEYWHEEL_DATABASE__URL={database} keywheel users sign-out {EMAIL}"),
            String::new(),
        ];
        for line in lines {
            self.say(&line)?;
        }
        Ok(())
    }

    fn personalize(&self) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}/api/personalize", self.api))
            .header("content-type", "application/json")
            .body(r#"{"topic":"key rotation"}"#)
    }

    fn tasks_of(&self, user: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/api/{user}/tasks", self.api))
    }

    async fn ask(&self, what: &str, request: reqwest::RequestBuilder) -> Result<Answer, CliError> {
        let answer = self.ask_quietly(request).await?;
        self.say(&format!("   → {what}"))?;
        let shown = match answer.body.len() {
            0..=200 => answer.body.as_str(),
            _ => "(…)",
        };
        self.say(&format!("   ← {} {shown}", answer.status))?;
        if let Some(challenge) = &answer.challenge {
            self.say(&format!("     WWW-Authenticate: {challenge}"))?;
        }
        Ok(answer)
    }

    async fn ask_quietly(&self, request: reqwest::RequestBuilder) -> Result<Answer, CliError> {
        let response = request.send().await.map_err(CliError::failed)?;
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Answer {
            status: response.status().as_u16(),
            challenge: text("www-authenticate"),
            cookie: text("set-cookie").and_then(|set| Some(set.split(';').next()?.to_owned())),
            body: response.text().await.map_err(CliError::failed)?,
        })
    }

    fn expect_refusal(
        &mut self,
        answer: &Answer,
        status: u16,
        words: &str,
    ) -> Result<(), CliError> {
        let challenged = answer
            .challenge
            .as_ref()
            .is_some_and(|challenge| challenge.starts_with("Bearer "));
        let ok = answer.status == status && challenged && answer.body.contains(words);
        self.check(&format!("{status}"), ok)
    }

    /// What the API's verifier has counted for this outcome.
    fn refusals(&self, outcome: &str) -> u64 {
        let rendered = self.verifier.metrics().render();
        let label = format!("outcome=\"{outcome}\"");
        rendered
            .lines()
            .filter(|line| line.starts_with("keywheel_verifications_total"))
            .filter(|line| line.contains(&label))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    fn title(&mut self, title: &str) -> Result<(), CliError> {
        self.step += 1;
        self.say(&format!("\n{}. {title}", self.step))
    }

    fn check(&mut self, promise: &str, kept: bool) -> Result<(), CliError> {
        self.failures += u32::from(!kept);
        let mark = if kept { "✓" } else { "✗ MISBEHAVED:" };
        self.say(&format!("   {mark} {promise}"))
    }

    fn say(&self, line: &str) -> Result<(), CliError> {
        output::block(line)
    }
}

fn header_of(token: &str) -> Option<&str> {
    token.split('.').next()
}

fn decode(segment: &str) -> String {
    let mut bytes = Vec::new();
    // A token just minted is base64url; anything else would show as nothing.
    let _ = base64url::decode_onto(segment.as_bytes(), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same header and claims under another's signature.
fn resigned(token: &str, forger: &SigningKey) -> Result<String, CliError> {
    let (signed, _) = token.rsplit_once('.').unwrap_or((token, ""));
    let signature = forger.sign(signed.as_bytes()).map_err(CliError::failed)?;
    Ok(format!("{signed}.{}", base64url::encode(&signature)))
}

fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap_or_default();
    format!("{}.{claims}.", base64url::encode(br#"{"alg":"none"}"#))
}
