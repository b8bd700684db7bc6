//! The steps at the API.

use super::auth_steps::claim;
use super::probe::Answer;
use super::{Broken, Finding, Walk, broken};

// === impl Walk ===

impl Walk {
    async fn ask_api(&self, authorization: Option<&str>) -> Result<Answer, Broken> {
        let mut request = self.client.request(self.method.clone(), self.api.clone());
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if self.method != http::Method::GET {
            request = request
                .header("content-type", "application/json")
                .body("{}");
        }
        self.ask(request).await.map_err(|why| Broken {
            found: format!("{}: {why}", self.api),
            mend: "start the API, or name its address with --api".into(),
        })
    }

    pub(super) async fn api_answers(&self) -> Finding {
        let answer = self.ask_api(None).await?;
        match answer.status {
            404 => broken(
                format!("{} {} is not there", self.method, self.api),
                "name an address of the API that needs a token, with --api and --method",
            ),
            405 => broken(
                format!("{} takes no {}", self.api, self.method),
                match answer.header("allow") {
                    "" => "name the method that it takes with --method".into(),
                    allowed => format!(
                        "it takes {allowed}: name that with --method {}",
                        preferred(allowed)
                    ),
                },
            ),
            status if status >= 500 => broken(
                format!("it fails: {}", answer.shown()),
                "look into the log of the API: it may have no key set yet (is the JWKS URL reachable from there?)",
            ),
            _ => Ok(self.api.to_string()),
        }
    }

    pub(super) async fn refuses_nobody(&self) -> Finding {
        let answer = self.ask_api(None).await?;
        match answer.status {
            401 if answer.header("www-authenticate").is_empty() => {
                Ok("401, though without WWW-Authenticate (RFC 6750 §3)".into())
            }
            401 => Ok(format!("401 {}", answer.header("www-authenticate"))),
            403 => Ok("403; RFC 6750 §3 asks for 401 where there is no token".into()),
            _ => broken(
                format!("without a token it answers {}", answer.shown()),
                "this address is not protected: put the verifier before it, or name one that needs a token",
            ),
        }
    }

    pub(super) async fn refuses_nonsense(&self) -> Finding {
        let answer = self.ask_api(Some("Bearer not.a.token")).await?;
        match answer.status {
            401 | 403 => Ok(answer.status.to_string()),
            status if status >= 500 => broken(
                format!("a malformed token makes it fail: {}", answer.shown()),
                "answer 401 to whatever cannot be verified: an exception of the JWT library is uncaught",
            ),
            _ => broken(
                format!("it accepts `Bearer not.a.token`: {}", answer.shown()),
                "it does not verify the token: decoding is not verifying",
            ),
        }
    }

    pub(super) async fn api_cors(&self) -> Finding {
        self.preflight(
            self.api.as_str(),
            self.method.as_str(),
            "authorization",
            false,
        )
        .await
    }

    pub(super) async fn api_accepts(&self, token: &str) -> Finding {
        let answer = self.ask_api(Some(&format!("Bearer {token}"))).await?;
        match answer.status {
            401 => self.why_refused(token, &answer).await,
            403 => broken(
                format!("403 {}", answer.header("www-authenticate")),
                "the token is good, and not allowed this: give the user the scope or role that the API asks for \
                 (`keywheel users scopes`, `keywheel users roles`), or call an address of their own",
            ),
            status if status >= 500 => broken(
                answer.shown(),
                "look into the log of the API: can it reach the key set and the status list of the auth service?",
            ),
            status => Ok(format!("{status}, by {} {}", self.method, self.api)),
        }
    }

    /// What the API may have against a good token, most common first.
    async fn why_refused(&self, token: &str, answer: &Answer) -> Finding {
        let said = format!("{} {}", answer.shown(), answer.header("www-authenticate"));
        let bare = self.ask_api(Some(token)).await?;
        if bare.status != 401 {
            return broken(
                format!(
                    "it accepts the token without `Bearer ` before it ({})",
                    bare.status
                ),
                "let the API take what follows `Bearer ` in Authorization (RFC 6750 §2.1)",
            );
        }
        let text = said.to_ascii_lowercase();
        let mend = if text.contains("expired") {
            "its clock is ahead, or the front end keeps a token for longer than it lives: fetch a fresh one before each call".into()
        } else if text.contains("missing") || text.contains("not authenticated") {
            "the header does not reach it: a proxy in between takes Authorization away, or it looks elsewhere".into()
        } else {
            let aud = claim(token, "aud").unwrap_or_default();
            let alg = token_header(token);
            format!(
                "the token is good, so its own settings differ: it must expect iss `{}`, aud `{aud}`, the key set at \
                 {}/.well-known/jwks.json and {alg} (for an API without EdDSA: an [[audience]] with algorithm = \"RS256\"); \
                 its log says which check failed",
                self.auth, self.auth
            )
        };
        broken(format!("it refuses a good token: {said}"), mend)
    }
}

/// Of the methods in `Allow`, the one that most likely needs a token.
fn preferred(allowed: &str) -> &str {
    let mut methods = allowed.split(',').map(str::trim);
    let is_plain = |method: &&str| !matches!(*method, "HEAD" | "OPTIONS" | "TRACE");
    methods.find(is_plain).unwrap_or(allowed)
}

fn token_header(token: &str) -> String {
    let mut header = Vec::new();
    let segment = token.split('.').next().unwrap_or_default();
    // A token that was verified has a header; anything else is shown as nothing.
    let _ = crate::jose::base64url::decode_onto(segment.as_bytes(), &mut header);
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    format!("alg {}", header["alg"].as_str().unwrap_or_default())
}
