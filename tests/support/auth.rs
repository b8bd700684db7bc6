//! A whole auth service without sockets, whose clock stands still: requests go straight to its routes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, StatusCode};
use keywheel::config::Config;
use keywheel::http::{AuthApi, PageSettings, service_router};
use keywheel::issue::{Accounts, Issuer, Passwords, Sessions, StatusLists};
use keywheel::store::{Database, FileKeyStore, KeyStore};
use keywheel::{ManualClock, Metrics, NumericDate};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::util::ServiceExt as _;

pub const ISSUER: &str = "http://issuer.test";
pub const APP: &str = "http://app.test";
pub const START: NumericDate = NumericDate::from_seconds(1_790_000_000);
pub const PASSWORD: &str = "correct horse";

/// Cheap passwords, and limits that no test meets by accident.
const SETTINGS: &str = r#"
issuer = "http://issuer.test"
trusted_origins = ["http://app.test"]
[tokens]
user_claims = ["email", "softwareBackground"]
[accounts]
argon2 = { memory_kib = 8, iterations = 1, lanes = 1 }
rate_limit = { window = "10s", attempts = 1000 }
account_rate_limit = { window = "60s", attempts = 1000 }
[accounts.fields.softwareBackground]
type = "string"
default = "none"
[accounts.fields.years]
type = "number"
[[audience]]
name = "orders"
scopes = ["orders:read", "orders:write"]
default_scopes = ["orders:read"]
ttl = "5m"
[[audience]]
name = "legacy"
algorithm = "RS256"
"#;

pub struct Auth {
    pub clock: ManualClock,
    pub store: Database,
    pub issuer: Issuer,
    pub lists: StatusLists,
    pub metrics: Metrics,
    pub config: Config,
    pub router: Router,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Somebody {
    /// The session cookie alone.
    pub cookie: String,
    /// What `revoke-session` takes, and nothing else.
    pub token: String,
    pub id: String,
}

// === impl Auth ===

impl Auth {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut config = Config::parse(SETTINGS, "test", []).expect("settings");
        config.keys.store = folder.path().join("keys");
        config.database.url.0 = format!("sqlite://{}", folder.path().join("kw.db").display());
        change(&mut config);
        let keys = FileKeyStore::open(&config.keys.store).expect("keys");
        Self::open(config, Box::new(keys), ManualClock::new(START), folder).await
    }

    /// On the keys and the database that are there. The folder lives as long as the service.
    pub async fn open(
        config: Config,
        keys: Box<dyn KeyStore>,
        clock: ManualClock,
        folder: TempDir,
    ) -> Self {
        let metrics = Metrics::new().expect("metrics");
        let issuer = Issuer::open(
            keys,
            config.rotation_policy(),
            config.token_settings(),
            clock.clone(),
            &metrics,
        )
        .expect("an issuer");
        let store = Database::open(&config.database.url.0)
            .await
            .expect("a database");
        let shared: Arc<dyn keywheel::issue::AuthStore> = Arc::new(store.clone());
        let lists = StatusLists::open(shared.clone(), issuer.clone())
            .await
            .expect("lists");
        let sessions = Sessions::new(
            shared.clone(),
            issuer.clone(),
            lists.clone(),
            config.session_settings(),
        );
        let passwords = Passwords::new(
            config.accounts.argon2,
            2,
            64,
            Arc::new(clock.clone()),
            &metrics,
        )
        .expect("passwords");
        let accounts = Accounts::new(sessions, passwords, config.account_settings());
        let audit = keywheel::audit::AuditLog::new(Arc::new(clock.clone()), 100).counted(&metrics);
        let api = AuthApi::open(
            accounts,
            &config,
            &*shared,
            Arc::new(audit),
            Arc::new(clock.clone()),
            &metrics,
        )
        .await
        .expect("an API");
        let router = service_router(
            issuer.clone(),
            lists.clone(),
            api,
            PageSettings::default(),
            &metrics,
        );
        Auth {
            clock,
            store,
            issuer,
            lists,
            metrics,
            config,
            router,
            _folder: folder,
        }
    }

    /// As it comes, from the address 192.0.2.1.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            // Bytes: a browser sends others than ASCII, too.
            request = request.header(*name, value.as_bytes());
        }
        let mut request = request.body(body.into()).expect("a request");
        let peer: SocketAddr = "192.0.2.1:40000".parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    /// A JSON body to a path under the API, as a page of the issuer's own origin sends it.
    pub async fn post(&self, path: &str, cookie: Option<&str>, body: Value) -> Reply {
        let path = format!("/api/auth{path}");
        let mut headers = vec![("content-type", "application/json"), ("origin", ISSUER)];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        self.send("POST", &path, &headers, body.to_string()).await
    }

    pub async fn get(&self, path: &str, cookie: Option<&str>) -> Reply {
        let path = format!("/api/auth{path}");
        let headers: Vec<_> = cookie
            .map(|cookie| ("cookie", cookie))
            .into_iter()
            .collect();
        self.send("GET", &path, &headers, Body::empty()).await
    }

    pub async fn sign_up(&self, email: &str) -> Somebody {
        let body = json!({ "name": "Ada", "email": email, "password": PASSWORD });
        self.post("/sign-up/email", None, body).await.somebody()
    }

    pub async fn sign_in(&self, email: &str) -> Somebody {
        let body = json!({ "email": email, "password": PASSWORD });
        self.post("/sign-in/email", None, body).await.somebody()
    }

    /// The status bit that the token carries a reference to, by the list as it is published.
    pub async fn bit(&self, token: &str) -> bool {
        self.lists.refresh().await.expect("lists");
        let reference = claims(token)["status"]["status_list"].clone();
        let path = reference["uri"]
            .as_str()
            .expect("a URI")
            .strip_prefix(ISSUER)
            .expect("ours")
            .to_owned();
        let reply = self.send("GET", &path, &[], Body::empty()).await;
        assert_eq!(reply.status, 200);
        let list = claims(&reply.text);
        assert_eq!(list["sub"], reference["uri"]);
        let bitmap = bitmap(list["status_list"]["lst"].as_str().expect("a list"));
        let index = usize::try_from(reference["idx"].as_u64().expect("an index")).expect("small");
        bitmap[index / 8] >> (index % 8) & 1 == 1
    }
}

// === impl Reply ===

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn cookies(&self) -> Vec<String> {
        let cookies = self.headers.get_all("set-cookie").iter();
        cookies
            .map(|value| value.to_str().expect("text").to_owned())
            .collect()
    }

    /// The session cookie that a browser would send from now on.
    pub fn cookie(&self) -> String {
        let cookies = self.cookies();
        let mut pairs = cookies.iter().filter_map(|set| set.split(';').next());
        let pair = pairs.rfind(|pair| pair.contains(".session_token=") && !pair.ends_with('='));
        pair.expect("a session cookie").to_owned()
    }

    /// All cookies that a browser would send from now on.
    pub fn jar(&self) -> String {
        let cookies = self.cookies();
        let pairs = cookies.iter().filter_map(|set| set.split(';').next());
        let kept: Vec<&str> = pairs.filter(|pair| !pair.ends_with('=')).collect();
        kept.join("; ")
    }

    pub fn somebody(&self) -> Somebody {
        assert_eq!(self.status, StatusCode::OK.as_u16(), "{}", self.text);
        let body = self.json();
        Somebody {
            cookie: self.cookie(),
            token: body["token"].as_str().expect("a token").to_owned(),
            id: body["user"]["id"].as_str().expect("an id").to_owned(),
        }
    }
}

/// The payload of a compact JWS, unchecked.
pub fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn bitmap(lst: &str) -> Vec<u8> {
    use base64::Engine as _;
    use std::io::Read as _;
    let compressed = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(lst)
        .expect("base64url");
    let mut bitmap = Vec::new();
    flate2::read::ZlibDecoder::new(&compressed[..])
        .read_to_end(&mut bitmap)
        .expect("zlib");
    bitmap
}
