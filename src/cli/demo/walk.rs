//! The walk: a numbered step, what was asked, what came back, and whether that is what should have come.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{AUDIENCE, AUDIENCE_RS256};
use crate::cli::serve::AuthService;
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::issue::{Grant, How, Issuer, Minted, Refused, RotationError, apply_rotation};
use crate::jose::{Algorithm, SigningKey, base64url};
use crate::store::FileKeyStore;
use crate::verify::Verifier;

const USER: &str = "user-1";
const OTHER_USER: &str = "user-2";
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
}

struct Answer {
    status: u16,
    challenge: Option<String>,
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
        }
    }

    /// Every step; gives the number of those that misbehaved.
    pub(super) async fn run(mut self) -> Result<u32, CliError> {
        self.say(&format!(
            "Keywheel: auth service on {}, sample API on {}. They share no secret.",
            self.auth, self.api
        ))?;
        self.show_jwks().await?;
        let token = self.mint(AUDIENCE, "EdDSA")?;
        let rs256 = self.mint(AUDIENCE_RS256, "RS256")?;
        self.call_with_both(&token, &rs256).await?;
        self.call_badly(&token).await?;
        self.call_for_another_user(&token).await?;
        self.rotate().await?;
        let new_token = self.mint(AUDIENCE, "EdDSA, by the key that signs now")?;
        self.check("another key signed it", new_token.kid != token.kid)?;
        self.call_after_rotation(&token, &new_token).await?;
        self.show_counters().await?;
        self.show_how_to_go_on(&new_token)?;
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

    fn mint(&mut self, audience: &str, by: &str) -> Result<Minted, CliError> {
        self.title(&format!("A token for {USER} at {audience}, {by}"))?;
        let grant = Grant::new(USER, audience).scope("tasks:read");
        let minted = self.issuer.mint(&grant).map_err(CliError::failed)?;
        let mut segments = minted.token.split('.').map(decode);
        let (header, claims) = (segments.next(), segments.next());
        self.say(&format!("   header {}", header.unwrap_or_default()))?;
        self.say(&format!("   claims {}", claims.unwrap_or_default()))?;
        Ok(minted)
    }

    async fn call_with_both(&mut self, token: &Minted, rs256: &Minted) -> Result<(), CliError> {
        self.title("The API accepts both")?;
        for (minted, name) in [(token, "EdDSA"), (rs256, "RS256")] {
            let request = self.personalize().bearer_auth(&minted.token);
            let ask = format!("POST /api/personalize with the {name} token");
            let answer = self.ask(&ask, request).await?;
            let named = answer.body.contains(USER);
            self.check("200, and it knows who asks", answer.status == 200 && named)?;
        }
        let request = self.tasks_of(USER).bearer_auth(&token.token);
        let answer = self.ask(&format!("GET /api/{USER}/tasks"), request).await?;
        self.check("200, one's own tasks", answer.status == 200)
    }

    async fn call_badly(&mut self, token: &Minted) -> Result<(), CliError> {
        self.title("It refuses the rest; the reason is in its log, on stderr")?;
        let answer = self.ask("without a token", self.personalize()).await?;
        self.expect_refusal(&answer, 401, "missing")?;
        let (forger, _) = SigningKey::generate(Algorithm::EdDSA).map_err(CliError::failed)?;
        for (what, forged, reason) in [
            (
                "with one that somebody else signed",
                resigned(&token.token, &forger)?,
                "bad_signature",
            ),
            (
                "with `alg: none`",
                unsigned(&token.token),
                "alg_not_allowed",
            ),
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

    async fn call_for_another_user(&mut self, token: &Minted) -> Result<(), CliError> {
        self.title("A good token opens nobody else's door")?;
        let request = self.tasks_of(OTHER_USER).bearer_auth(&token.token);
        let answer = self
            .ask(&format!("GET /api/{OTHER_USER}/tasks as {USER}"), request)
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

    async fn call_after_rotation(&mut self, old: &Minted, new: &Minted) -> Result<(), CliError> {
        self.title("The API, which nobody told, accepts the old token and the new")?;
        for (minted, name) in [(old, "old"), (new, "new")] {
            let request = self.personalize().bearer_auth(&minted.token);
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

    fn show_how_to_go_on(&mut self, token: &Minted) -> Result<(), CliError> {
        self.title("Try it by hand")?;
        let (auth, api, admin) = (&self.auth, &self.api, &self.admin);
        let store = self.config.keys.store.display();
        let lines = [
            format!("   curl {auth}/.well-known/jwks.json"),
            format!("   curl {auth}/.well-known/openid-configuration"),
            format!("   curl http://{admin}/readyz"),
            format!("   curl {api}/readyz"),
            format!(
                "   curl {api}/api/{USER}/tasks -H 'Authorization: Bearer {}'",
                token.token
            ),
            format!("   KEYWHEEL_KEYS__STORE={store} keywheel keys list"),
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
        let response = request.send().await.map_err(CliError::failed)?;
        let status = response.status().as_u16();
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let body = response.text().await.map_err(CliError::failed)?;
        self.say(&format!("   → {what}"))?;
        let shown = match body.len() {
            0..=200 => body.as_str(),
            _ => "(below)",
        };
        self.say(&format!("   ← {status} {shown}"))?;
        if let Some(challenge) = &challenge {
            self.say(&format!("     WWW-Authenticate: {challenge}"))?;
        }
        Ok(Answer {
            status,
            challenge,
            body,
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
        output::line(line)
    }
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
