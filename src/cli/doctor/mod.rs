//! `keywheel doctor`: walks "signed in, yet the API says 401" from outside, and names the first broken step with its mend.

mod api_steps;
mod auth_steps;
mod probe;

use clap::Args;
use reqwest::Url;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{CliError, output, runtime, telemetry};
use crate::config::Log;
use crate::verify::dial::{UrlRule, default_client};

/// Find out why a signed-in user gets 401 from an API: every step of the way, the first broken one, and its mend
///
/// Without --email only what needs no session is looked at.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel doctor --auth http://localhost:3001 --api http://localhost:8000/api/personalize
  keywheel doctor --auth https://auth.example.com --api https://api.example.com/orders \\
      --origin https://app.example.com --email ada@example.com --password-file - < password.txt")]
pub(super) struct DoctorArgs {
    /// Where the auth service is: its issuer
    #[arg(long, value_name = "URL", value_parser = http_url)]
    auth: Url,
    /// An address of the API that needs a token
    #[arg(long, value_name = "URL", value_parser = http_url)]
    api: Url,
    /// Where the front end is; its cross-origin requests are tried, too
    #[arg(long, value_name = "URL", value_parser = http_url)]
    origin: Option<Url>,
    /// An account to sign in with; its session ends afterwards
    #[arg(long, value_name = "EMAIL", requires = "password_file")]
    email: Option<String>,
    /// A file with its password in the first line, or - for standard input
    #[arg(long, value_name = "FILE", requires = "email")]
    password_file: Option<String>,
    /// The audience to ask a token for; the auth service's default one otherwise
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// The method that the API wants at this address
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: http::Method,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One step of the way.
#[derive(Debug, Serialize)]
struct Step {
    /// What should be.
    name: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// What a broken step says.
struct Broken {
    found: String,
    mend: String,
}

/// What a step that is whole found, or how it is broken.
type Finding = Result<String, Broken>;

fn broken<T>(found: impl Into<String>, mend: impl Into<String>) -> Result<T, Broken> {
    Err(Broken {
        found: found.into(),
        mend: mend.into(),
    })
}

/// Who goes the way, with what was picked up on it.
struct Walk {
    client: reqwest::Client,
    /// Without a slash at its end.
    auth: String,
    api: Url,
    method: http::Method,
    origin: Option<Url>,
    audience: Option<String>,
    json: bool,
    steps: Vec<Step>,
}

pub(super) fn run(args: DoctorArgs) -> Result<(), CliError> {
    telemetry::start(&Log::quiet())?;
    let credentials = match (&args.email, &args.password_file) {
        (Some(email), Some(file)) => Some((email.clone(), read_password(file)?)),
        _ => None,
    };
    let mut walk = Walk {
        client: default_client(UrlRule::default()).map_err(CliError::failed)?,
        auth: args.auth.as_str().trim_end_matches('/').to_owned(),
        api: args.api,
        method: args.method,
        origin: args.origin,
        audience: args.audience,
        json: args.json,
        steps: Vec::new(),
    };
    let whole = runtime()?.block_on(walk.go(credentials))?;
    if walk.json {
        output::json(&serde_json::json!({ "ok": whole, "steps": walk.steps }))?;
    }
    match whole {
        true => Ok(()),
        false => Err(CliError::No(String::new())),
    }
}

// === impl Walk ===

impl Walk {
    /// Step by step to the first that is broken. Whether all are whole.
    async fn go(
        &mut self,
        credentials: Option<(String, Zeroizing<String>)>,
    ) -> Result<bool, CliError> {
        macro_rules! step {
            ($name:expr, $finding:expr) => {{
                let finding = $finding;
                if !self.report($name, finding)? {
                    return Ok(false);
                }
            }};
        }
        step!("the auth service answers", self.auth_answers().await);
        step!(
            "it is the issuer that it says it is",
            self.issuer_matches().await
        );
        step!("it publishes keys", self.publishes_keys().await);
        step!(
            "its clock agrees with this one",
            self.clock_agrees(&self.auth.clone()).await
        );
        if self.origin.is_some() {
            step!(
                "pages of the origin may sign in there",
                self.auth_cors().await
            );
            step!(
                "the browser will send the cookie from there",
                self.same_site()
            );
        }
        step!("the API answers", self.api_answers().await);
        step!(
            "the API refuses a request without a token",
            self.refuses_nobody().await
        );
        step!(
            "the API refuses a token that is none",
            self.refuses_nonsense().await
        );
        if self.origin.is_some() {
            step!(
                "pages of the origin may call the API with a token",
                self.api_cors().await
            );
        }
        step!(
            "the API's clock agrees with this one",
            self.clock_agrees(self.api.clone().as_str()).await
        );
        let Some((email, password)) = credentials else {
            self.say("– the rest needs a session: give --email and --password-file")?;
            return Ok(true);
        };
        let mut cookie = None;
        step!(
            "signing in sets a cookie",
            self.signs_in(&email, &password, &mut cookie).await
        );
        let cookie = cookie.unwrap_or_default();
        let went = self.go_with_session(&cookie).await;
        self.sign_out(&cookie).await;
        went
    }

    async fn go_with_session(&mut self, cookie: &str) -> Result<bool, CliError> {
        let mut token = None;
        let session = self.session_is_found(cookie).await;
        if !self.report("the cookie is a session", session)? {
            return Ok(false);
        }
        let got = self.gives_token(cookie, &mut token).await;
        if !self.report("the session gives a token", got)? {
            return Ok(false);
        }
        let token = token.unwrap_or_default();
        let good = self.token_is_good(&token).await;
        if !self.report("the token is good: key, signature, issuer, times", good)? {
            return Ok(false);
        }
        let accepted = self.api_accepts(&token).await;
        self.report("the API accepts it", accepted)
    }

    fn report(&mut self, name: &'static str, finding: Finding) -> Result<bool, CliError> {
        let step = match finding {
            Ok(found) => Step {
                name,
                ok: true,
                found,
                mend: None,
            },
            Err(Broken { found, mend }) => Step {
                name,
                ok: false,
                found,
                mend: Some(mend),
            },
        };
        let ok = step.ok;
        let mark = if ok { '✓' } else { '✗' };
        self.say(&format!("{mark} {name}: {}", step.found))?;
        if let Some(mend) = &step.mend {
            self.say(&format!("  → {mend}"))?;
        }
        self.steps.push(step);
        Ok(ok)
    }

    fn say(&self, line: &str) -> Result<(), CliError> {
        match self.json {
            true => Ok(()),
            false => output::line(line),
        }
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("must be an http or https URL".into()),
    }
}

fn read_password(file: &str) -> Result<Zeroizing<String>, CliError> {
    let read = match file {
        "-" => std::io::read_to_string(std::io::stdin()),
        file => std::fs::read_to_string(file),
    };
    let text = read.map_err(|error| CliError::Usage(format!("--password-file {file}: {error}")))?;
    let text = Zeroizing::new(text);
    let password = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(password.to_owned()))
}
