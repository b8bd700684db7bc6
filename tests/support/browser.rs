//! A browser's cookies, as RFC 6265 keeps them: by name, domain and path, each as long as it was told.

use axum::body::Body;
use keywheel::Clock as _;
use serde_json::Value;

use super::auth::{Auth, Reply};

pub struct Browser<'a> {
    pub auth: &'a Auth,
    host: String,
    origin: String,
    pub cookies: Vec<Cookie>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cookie {
    pub name: String,
    /// `None` for the host alone.
    pub domain: Option<String>,
    pub path: String,
    pub value: String,
    /// In seconds since 1970; `None` until the browser is closed.
    until: Option<i64>,
}

// === impl Browser ===

impl<'a> Browser<'a> {
    pub fn new(auth: &'a Auth) -> Self {
        let url = url::Url::parse(&auth.config.issuer).expect("a URL");
        Browser {
            auth,
            host: url.host_str().expect("a host").to_owned(),
            origin: url.origin().ascii_serialization(),
            cookies: Vec::new(),
        }
    }

    /// The same browser, whose service has been started anew.
    pub fn moved_to<'b>(self, auth: &'b Auth) -> Browser<'b> {
        Browser {
            auth,
            host: self.host,
            origin: self.origin,
            cookies: self.cookies,
        }
    }

    /// A cookie that another host of the domain, or a script, has set.
    pub fn plant(&mut self, pair: &str, domain: Option<&str>, path: &str) {
        let (name, value) = pair.split_once('=').expect("a pair");
        self.keep(Cookie {
            name: name.to_owned(),
            domain: domain.map(String::from),
            path: path.to_owned(),
            value: value.to_owned(),
            until: None,
        });
    }

    fn keep(&mut self, new: Cookie) {
        let key = |cookie: &Cookie| {
            (
                cookie.name.clone(),
                cookie.domain.clone(),
                cookie.path.clone(),
            )
        };
        self.cookies.retain(|cookie| key(cookie) != key(&new));
        self.cookies.push(new);
    }

    /// What it sends to a path: longer paths first.
    pub fn header(&self, path: &str) -> String {
        let now = self.auth.clock.now().seconds();
        let matches = |cookie: &&Cookie| {
            let rest = path.strip_prefix(&cookie.path);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || cookie.path.ends_with('/')
            })
        };
        let mut sent: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| cookie.until.is_none_or(|until| until > now))
            .filter(matches)
            .collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = sent
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        pairs.join("; ")
    }

    /// Does with an answer's cookies what a browser does.
    pub fn take(&mut self, reply: &Reply) {
        let now = self.auth.clock.now().seconds();
        for line in reply.cookies() {
            let (pair, attributes) = line.split_once("; ").expect("attributes");
            let attribute = |name: &str| {
                let mut all = attributes.split("; ");
                all.find_map(|one| one.strip_prefix(name)?.strip_prefix('=').map(String::from))
            };
            let domain = attribute("Domain");
            if let Some(domain) = &domain {
                let is_parent = self.host.strip_suffix(domain.as_str());
                let is_parent =
                    is_parent.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                assert!(is_parent && domain.contains('.'), "{line}");
                assert!(!pair.starts_with("__Host-"), "{line}");
            }
            let (name, value) = pair.split_once('=').expect("a pair");
            let max_age: Option<i64> =
                attribute("Max-Age").map(|age| age.parse().expect("seconds"));
            let new = Cookie {
                name: name.to_owned(),
                domain,
                path: attribute("Path").expect("a path"),
                value: value.to_owned(),
                until: max_age.map(|age| now + age),
            };
            self.keep(new);
        }
        self.cookies
            .retain(|cookie| cookie.until.is_none_or(|until| until > now));
    }

    /// Asks as a page of the service's own origin does, without taking the answer's cookies.
    pub async fn ask(&self, path: &str, body: Option<Value>) -> Reply {
        let whole = format!("/api/auth{path}");
        let cookie = self.header(whole.split('?').next().expect("a path"));
        let mut headers = vec![("sec-fetch-site", "same-origin")];
        if !cookie.is_empty() {
            headers.push(("cookie", &cookie));
        }
        match body {
            None => self.auth.send("GET", &whole, &headers, Body::empty()).await,
            Some(body) => {
                headers.push(("origin", &self.origin));
                headers.push(("content-type", "application/json"));
                self.auth
                    .send("POST", &whole, &headers, body.to_string())
                    .await
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let reply = self.ask(path, None).await;
        self.take(&reply);
        reply
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Reply {
        let reply = self.ask(path, Some(body)).await;
        self.take(&reply);
        reply
    }

    /// Whose session it has.
    pub async fn whoami(&mut self) -> Option<String> {
        let session = self.get("/get-session").await.json();
        session["user"]["email"].as_str().map(String::from)
    }

    /// What it keeps under a name.
    pub fn named(&self, name: &str) -> Vec<&Cookie> {
        let cookies = self.cookies.iter();
        cookies
            .filter(|cookie| cookie.name.ends_with(name))
            .collect()
    }
}
