//! Where an issuer says that its keys are: OpenID Connect Discovery 1.0 §4, and RFC 8414 §3.

use reqwest::Url;

use super::fetch::{Exchange, FetchError, Fetcher};
use crate::jose::JsonError;
use crate::jose::json::{self, Value};

/// The `jwks_uri` of `issuer`, from the first of the two documents that is served.
///
/// # Errors
/// [`FetchError`], also for metadata that names another issuer or a URL that may not be fetched.
pub(crate) async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<Url, FetchError> {
    let mut first_error = None;
    for url in metadata_urls(issuer) {
        let url = fetcher
            .rule()
            .parse(&url)
            .map_err(|why| FetchError::Metadata {
                url: issuer.into(),
                why,
            })?;
        match fetcher.get(Exchange::plain(&url, "application/json")).await {
            Ok(answer) => {
                return jwks_uri(fetcher, issuer, &url, &answer.body.unwrap_or_default());
            }
            Err(error @ FetchError::Status { status: 404, .. }) => {
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or_else(|| FetchError::Metadata {
        url: issuer.into(),
        why: "the issuer is not a URL".into(),
    }))
}

fn jwks_uri(fetcher: &Fetcher, issuer: &str, url: &Url, body: &[u8]) -> Result<Url, FetchError> {
    let bad = |why: String| FetchError::Metadata {
        url: url.to_string(),
        why,
    };
    let (mut named, mut jwks_uri) = (None, None);
    json::utf8(body)
        .and_then(|text| {
            json::object(text, |name, value| {
                match (name, value) {
                    ("issuer", Value::String(text)) => named = Some(text.into_owned()),
                    ("jwks_uri", Value::String(text)) => jwks_uri = Some(text.into_owned()),
                    _ => {}
                }
                Ok::<(), JsonError>(())
            })
        })
        .map_err(|error| bad(format!("the metadata is not strict JSON: {error}")))?;
    // RFC 8414 §3.3: "MUST be identical".
    if named.as_deref() != Some(issuer) {
        return Err(bad(format!(
            "the metadata names issuer {named:?}, not `{issuer}`"
        )));
    }
    let jwks_uri = jwks_uri.ok_or_else(|| bad("the metadata has no jwks_uri".into()))?;
    fetcher.rule().parse(&jwks_uri).map_err(bad)
}

fn metadata_urls(issuer: &str) -> Vec<String> {
    let trimmed = issuer.strip_suffix('/').unwrap_or(issuer);
    let mut urls = vec![format!("{trimmed}/.well-known/openid-configuration")];
    // RFC 8414 §3.1 puts the well-known part between host and path.
    if let Ok(mut url) = Url::parse(issuer) {
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        urls.push(url.into());
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_the_two_standards_put_it() {
        assert_eq!(
            metadata_urls("https://a.example/tenant"),
            [
                "https://a.example/tenant/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/tenant"
            ]
        );
        assert_eq!(
            metadata_urls("https://a.example/"),
            [
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server"
            ]
        );
    }
}
