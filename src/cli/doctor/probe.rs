//! What the steps have in common: asking, reading the answer, comparing clocks and sites.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{RequestBuilder, Url};

use super::{Broken, Finding, Walk, broken};
use crate::clock::{Clock, SystemClock};
use crate::jose::NumericDate;

/// A server that needs longer is as good as none.
const WITHIN: Duration = Duration::from_secs(10);
/// What verifiers commonly forgive, at most.
const MAX_SKEW: Duration = Duration::from_secs(60);
/// As much of a body as is of use here.
const SHOWN_CHARACTERS: usize = 120;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

// === impl Answer ===

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Status and body, for people.
    pub(super) fn shown(&self) -> String {
        let body: String = self
            .body
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SHOWN_CHARACTERS)
            .collect();
        format!("{} {body}", self.status).trim_end().to_owned()
    }
}

// === impl Walk ===

impl Walk {
    pub(super) async fn ask(&self, request: RequestBuilder) -> Result<Answer, String> {
        let asked = async {
            let response = request.send().await?;
            Ok(Answer {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.text().await?,
            })
        };
        tokio::select! {
            answer = asked => answer.map_err(|error: reqwest::Error| root(&error)),
            () = SystemClock.sleep(WITHIN) => Err("no answer within 10 seconds".into()),
        }
    }

    pub(super) fn origin(&self) -> Option<String> {
        Some(self.origin.as_ref()?.origin().ascii_serialization())
    }

    /// The `Date` of an answer against this machine's clock.
    pub(super) async fn clock_agrees(&self, url: &str) -> Finding {
        let answer = match self.ask(self.client.get(url)).await {
            Ok(answer) => answer,
            Err(why) => return broken(why, format!("make sure that {url} can be reached")),
        };
        let Ok(date) = httpdate::parse_http_date(answer.header("date")) else {
            return Ok("it does not say what time it is".into());
        };
        let since_epoch = date
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let theirs = NumericDate::from_duration(since_epoch);
        let ours = SystemClock.now();
        let apart = theirs.since(ours).max(ours.since(theirs));
        match apart > MAX_SKEW {
            true => broken(
                format!("{} s apart", apart.as_secs()),
                "set both clocks by NTP: a token looks expired, or not yet valid, to a clock that is off",
            ),
            false => Ok(format!("{} s apart", apart.as_secs())),
        }
    }

    /// Whether a page of the origin may send this request, as a browser would ask first.
    pub(super) async fn preflight(
        &self,
        url: &str,
        method: &str,
        header: &str,
        credentials: bool,
    ) -> Finding {
        let Some(origin) = self.origin() else {
            return Ok("no origin".into());
        };
        let request = self
            .client
            .request(http::Method::OPTIONS, url)
            .header("origin", &origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", header);
        let answer = self.ask(request).await.map_err(|why| Broken {
            found: why,
            mend: format!("make sure that {url} can be reached"),
        })?;
        let allowed = answer.header("access-control-allow-origin");
        if !(200..300).contains(&answer.status) || allowed.is_empty() {
            return broken(
                format!(
                    "the preflight for {method} {url} gets {} without Access-Control-Allow-Origin",
                    answer.status
                ),
                format!(
                    "allow the origin {origin} there (for Keywheel: trusted_origins = [\"{origin}\"])"
                ),
            );
        }
        if allowed != origin && (credentials || allowed != "*") {
            return broken(
                format!("Access-Control-Allow-Origin is `{allowed}`"),
                format!(
                    "it must be exactly {origin}: browsers take no wildcard together with cookies"
                ),
            );
        }
        if credentials && answer.header("access-control-allow-credentials") != "true" {
            return broken(
                "there is no Access-Control-Allow-Credentials: true",
                "allow credentials for that origin: without it no browser keeps or sends the cookie",
            );
        }
        let headers = answer
            .header("access-control-allow-headers")
            .to_ascii_lowercase();
        if !headers.contains(header) && headers != "*" {
            return broken(
                format!("Access-Control-Allow-Headers is `{headers}`"),
                format!("allow the header `{header}`"),
            );
        }
        Ok(format!("{method} with `{header}` from {origin}"))
    }

    /// Whether a cookie with SameSite=Lax goes along with what a page of the origin asks.
    pub(super) fn same_site(&self) -> Finding {
        let (Some(origin), Ok(auth)) = (&self.origin, Url::parse(&self.auth)) else {
            return Ok("no origin".into());
        };
        let (page, auth) = (site(origin), site(&auth));
        match page == auth {
            true => Ok(format!("both belong to the site {auth}")),
            false => broken(
                format!("the page is on the site {page}, the auth service on {auth}"),
                "serve both under one domain (app.example.com and auth.example.com), or set `sessions.bearer = true` and let \
                 the front end keep the session token of `set-auth-token` and send it as a bearer: browsers do not send a SameSite=Lax cookie to another site",
            ),
        }
    }
}

/// Scheme and the last two labels of the host. A public suffix of two labels makes this too generous, never too strict.
fn site(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let is_name = url.domain().is_some();
    let labels: Vec<&str> = host.rsplit('.').take(if is_name { 2 } else { 4 }).collect();
    let labels: Vec<&str> = labels.into_iter().rev().collect();
    format!("{}://{}", url.scheme(), labels.join("."))
}

/// What is at the bottom of an error: "connection refused", not "error sending request".
fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The values of `Set-Cookie` whose name ends like this.
pub(super) fn set_cookie(headers: &HeaderMap, ending: &str) -> Option<String> {
    let name = HeaderName::from_static("set-cookie");
    let values = headers.get_all(name).iter();
    let mut cookies = values.filter_map(|value| value.to_str().ok());
    let found = cookies.find(|cookie| {
        let name = cookie.split('=').next().unwrap_or_default();
        name.ends_with(ending)
    })?;
    Some(found.to_owned())
}
