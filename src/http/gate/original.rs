//! The request that a proxy asks about: which headers say what it was, and when they are not to be believed.

use http::{HeaderMap, HeaderName, Method, Uri};

use super::path::{PathError, PlainPath};

/// How a proxy says what it asks about: nginx's `auth_request` as configured in our example, Traefik and Caddy.
const FAMILIES: [(HeaderName, HeaderName); 2] = [
    (
        HeaderName::from_static("x-original-uri"),
        HeaderName::from_static("x-original-method"),
    ),
    (
        HeaderName::from_static("x-forwarded-uri"),
        HeaderName::from_static("x-forwarded-method"),
    ),
];

/// What the client asked of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Original<'r> {
    pub(crate) path: PlainPath<'r>,
    pub(crate) method: Method,
}

/// Why it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginalError {
    #[error(
        "the proxy sends neither X-Original-URI and X-Original-Method nor X-Forwarded-Uri and X-Forwarded-Method"
    )]
    Absent,
    #[error("`{0}` is there more than once, or is no text")]
    Header(HeaderName),
    #[error(
        "X-Original-… and X-Forwarded-… say different things: the proxy passes on what a client sent"
    )]
    Contradiction,
    #[error("the method is none")]
    Method,
    #[error("the path cannot be read in one way only: {0}")]
    Path(#[from] PathError),
}

// === impl Original ===

impl<'r> Original<'r> {
    /// By the headers. Where both pairs are there they must say the same: a proxy sets the one and may pass on the other.
    pub(crate) fn from_headers(headers: &'r HeaderMap) -> Result<Self, OriginalError> {
        let mut found: Option<Original<'_>> = None;
        for (uri, method) in &FAMILIES {
            let (uri, method) = match (single(headers, uri)?, single(headers, method)?) {
                (Some(uri), Some(method)) => (uri, method),
                // A client can send one half of a pair; a proxy that is set up sends both.
                (None, None) => continue,
                _ => return Err(OriginalError::Absent),
            };
            let this = Original {
                path: PlainPath::parse(uri)?,
                method: Method::from_bytes(method.as_bytes()).map_err(|_| OriginalError::Method)?,
            };
            match &found {
                Some(other) if *other != this => return Err(OriginalError::Contradiction),
                _ => found = Some(this),
            }
        }
        found.ok_or(OriginalError::Absent)
    }

    /// By the request itself, as Envoy's ext_authz sends it: the method, and the path below a prefix.
    pub(crate) fn from_request(
        prefix: &str,
        uri: &'r Uri,
        method: &Method,
    ) -> Result<Self, OriginalError> {
        let path = uri.path().strip_prefix(prefix).unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        Ok(Original {
            path: PlainPath::parse(path)?,
            method: method.clone(),
        })
    }
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, OriginalError> {
    let mut values = headers.get_all(name).iter();
    let bad = || OriginalError::Header(name.clone());
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad()),
        (Some(_), Some(_)) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_a_client_slips_in_is_not_believed() {
        let nginx = [("x-original-uri", "/a"), ("x-original-method", "GET")];
        let caddy = [("x-forwarded-uri", "/a"), ("x-forwarded-method", "GET")];
        let other = [
            ("x-forwarded-uri", "/public"),
            ("x-forwarded-method", "GET"),
        ];
        for (headers, expected) in [
            (nginx.to_vec(), Ok("/a")),
            (caddy.to_vec(), Ok("/a")),
            ([nginx, caddy].concat(), Ok("/a")),
            (vec![], Err("neither")),
            ([nginx, other].concat(), Err("different")),
            ([nginx, nginx].concat(), Err("more than once")),
            (nginx[..1].to_vec(), Err("neither")),
            ([&nginx[..], &other[..1]].concat(), Err("neither")),
            (vec![("x-original-uri", "/a/../b"), nginx[1]], Err("`..`")),
            (vec![nginx[0], ("x-original-method", "G T")], Err("method")),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            match (Original::from_headers(&map), expected) {
                (Ok(original), Ok(path)) => {
                    assert_eq!(original.path, PlainPath::parse(path).unwrap());
                    assert_eq!(original.method, Method::GET);
                }
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{headers:?}: {error}");
                }
                (read, _) => panic!("{headers:?}: {read:?}"),
            }
        }
    }
}
