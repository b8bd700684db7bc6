//! An issuer whose URL has a path, behind a proxy that takes the path away or leaves it: both are served.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::routing::future::RouteFuture;
use http::Uri;
use tower_service::Service;

/// The documents whose well-known part may stand between host and path (RFC 8414 §3.1, and §5 for the name of OpenID Connect).
const INSERTED: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];
/// What the service answers begins with one of these. Only before them is the issuer's path taken away: `/api` may be that path, and
/// a proxy that takes it away sends `/api/auth/token`.
const ROOTS: [&str; 4] = ["/api/auth/", "/.well-known/", "/status/", "/page."];

/// The routes as they are, and also under the path of the issuer's URL.
pub(super) fn under_path(router: Router, issuer: &str) -> Router {
    match path_of(issuer) {
        "" => router,
        path => Router::new().fallback_service(UnderPath {
            path: path.into(),
            router,
        }),
    }
}

/// The path of an issuer's URL, empty or with a slash at its beginning.
pub(super) fn path_of(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

#[derive(Clone)]
struct UnderPath {
    path: Arc<str>,
    router: Router,
}

// === impl UnderPath ===

impl UnderPath {
    /// The path without the issuer's, if it has that.
    fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        for inserted in INSERTED {
            if path.strip_prefix(inserted) == Some(&self.path) {
                return Some(&path[..inserted.len()]);
            }
        }
        let rest = path.strip_prefix(&*self.path)?;
        match rest {
            "" | "/" => Some("/"),
            rest => ROOTS
                .iter()
                .any(|root| rest.starts_with(root))
                .then_some(rest),
        }
    }
}

impl Service<Request> for UnderPath {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(path) = self.strip(request.uri().path()) {
            let stripped = match request.uri().query() {
                Some(query) => format!("{path}?{query}").parse::<Uri>(),
                None => path.parse(),
            };
            // Part of what was parsed before.
            if let Ok(stripped) = stripped {
                *request.uri_mut() = stripped;
            }
        }
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuers_path_is_taken_away_where_it_was_left() {
        for (base, path, expected) in [
            ("/auth", "/auth/api/auth/token", Some("/api/auth/token")),
            ("/auth", "/auth/status/1", Some("/status/1")),
            (
                "/auth",
                "/auth/.well-known/jwks.json",
                Some("/.well-known/jwks.json"),
            ),
            ("/auth", "/auth", Some("/")),
            ("/auth", "/auth/", Some("/")),
            ("/auth", "/auth/page.js", Some("/page.js")),
            ("/auth", "/api/auth/token", None),
            ("/auth", "/status/1", None),
            ("/auth", "/authority/status/1", None),
            ("/auth", "/auth/nothing", None),
            (
                "/auth",
                "/.well-known/oauth-authorization-server/auth",
                Some("/.well-known/oauth-authorization-server"),
            ),
            (
                "/a/b",
                "/.well-known/openid-configuration/a/b",
                Some("/.well-known/openid-configuration"),
            ),
            ("/auth", "/.well-known/openid-configuration/other", None),
            ("/auth", "/.well-known/openid-configuration", None),
            // A path of the service's own words, with a proxy that takes it away and with one that does not.
            ("/api", "/api/auth/token", None),
            ("/api", "/api/api/auth/token", Some("/api/auth/token")),
            ("/status", "/status/1", None),
            ("/status", "/status/status/1", Some("/status/1")),
        ] {
            let service = UnderPath {
                path: base.into(),
                router: Router::new(),
            };
            assert_eq!(service.strip(path), expected, "{base}: {path}");
        }
    }

    #[test]
    fn an_issuers_path_is_all_after_its_host() {
        for (issuer, path) in [
            ("https://a.example", ""),
            ("https://a.example:1/auth", "/auth"),
            ("http://a.example/x/y", "/x/y"),
        ] {
            assert_eq!(path_of(issuer), path);
        }
    }
}
