//! Private keys as other programs write them: PKCS#8 and PKCS#1, PEM or DER, and private JWKs; Ed25519 and RSA.
//!
//! What comes out is PKCS#8 v1, the one form the stores keep. An error never shows a byte of a key.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents};
use aws_lc_rs::signature::{Ed25519KeyPair, RsaPublicKeyComponents};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::base64url;
use super::json::{self, JsonError, Value};
use super::signing::{SigningError, SigningKey};
use crate::printable;

/// Longest kid of a key that is taken in, in bytes. Those we make ourselves have 43.
const MAX_KID_BYTES: usize = 256;

/// Why a file holds no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The public half, or a certificate.
    #[error("{0} has no private half: give the private key")]
    Public(&'static str),
    /// A form that another program must turn into PKCS#8 first.
    #[error("{form} is not read: {advice}")]
    Form {
        /// What it is.
        form: String,
        /// What to do.
        advice: &'static str,
    },
    /// Neither PEM, DER nor JWK of a kind that signs here.
    #[error("not an Ed25519 or RSA private key in PKCS#8, PKCS#1 or JWK form, or a damaged one")]
    NotAKey,
    /// A JWK member that is missing, of the wrong type, or not base64url.
    #[error("JWK member `{0}` is missing or not base64url")]
    Member(&'static str),
    /// A name that could not be told from another one, or has no end. Shows nothing of it.
    #[error(
        "its kid {0}; name it with --kid, 1 to {MAX_KID_BYTES} bytes without control or invisible characters"
    )]
    Kid(&'static str),
    /// The parts of the key contradict each other, or it is too weak.
    #[error(transparent)]
    Key(#[from] SigningError),
}

/// A private key as read: what it is, and the PKCS#8 form to keep.
#[derive(Debug)]
pub struct ImportedKey {
    /// The key, ready to sign.
    pub key: SigningKey,
    /// PKCS#8 v1, DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

/// Reads a key file. `algorithm` is what it is to sign by: by default what its JWK says, else EdDSA or RS256 by its type.
/// `kid` is what it is to be called: by default what its JWK says, else its thumbprint.
///
/// # Errors
/// [`ImportError`] says what the file is instead, and what to do.
pub fn read_private_key(
    file: &[u8],
    algorithm: Option<Algorithm>,
    kid: Option<&str>,
) -> Result<ImportedKey, ImportError> {
    let trimmed = file.trim_ascii();
    let found = if trimmed.starts_with(b"{") {
        from_jwk(trimmed)?
    } else if trimmed.starts_with(b"-----BEGIN") {
        from_pem(trimmed)?
    } else {
        refuse_other_text(trimmed)?;
        from_der(file)?
    };
    let algorithm = algorithm.or(found.algorithm).unwrap_or(if found.is_rsa {
        Algorithm::RS256
    } else {
        Algorithm::EdDSA
    });
    let kid = kid.or(found.kid.as_deref());
    kid.map_or(Ok(()), check_kid)?;
    Ok(ImportedKey {
        key: SigningKey::from_pkcs8(algorithm, &found.pkcs8, kid)?,
        pkcs8: found.pkcs8,
    })
}

/// A kid is shown in terminals, logs and pages, and goes out in the header of every token.
fn check_kid(kid: &str) -> Result<(), ImportError> {
    if kid.is_empty() {
        return Err(ImportError::Kid("is empty"));
    }
    if kid.len() > MAX_KID_BYTES {
        return Err(ImportError::Kid("is too long"));
    }
    if kid.chars().any(printable::is_hazard) {
        return Err(ImportError::Kid("has control or invisible characters"));
    }
    Ok(())
}

struct Found {
    pkcs8: Zeroizing<Vec<u8>>,
    is_rsa: bool,
    algorithm: Option<Algorithm>,
    kid: Option<String>,
}

// === impl Found ===

impl Found {
    fn ed25519(pair: &Ed25519KeyPair) -> Result<Self, ImportError> {
        let document = pair.to_pkcs8v1().map_err(|_| ImportError::NotAKey)?;
        Ok(Found {
            pkcs8: Zeroizing::new(document.as_ref().to_vec()),
            is_rsa: false,
            algorithm: None,
            kid: None,
        })
    }

    fn rsa(pair: &RsaKeyPair) -> Result<Self, ImportError> {
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| ImportError::NotAKey)?;
        Ok(Found {
            pkcs8: Zeroizing::new(der.as_ref().to_vec()),
            is_rsa: true,
            algorithm: None,
            kid: None,
        })
    }
}

fn from_pem(text: &[u8]) -> Result<Found, ImportError> {
    let pem = pem::parse(text).map_err(|_| ImportError::NotAKey)?;
    let tag = pem.tag().to_owned();
    let der = Zeroizing::new(pem.into_contents());
    let form = |advice| {
        Err(ImportError::Form {
            form: tag.clone(),
            advice,
        })
    };
    match tag.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => from_der(&der),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Err(ImportError::Public("a public key")),
        "CERTIFICATE" | "CERTIFICATE REQUEST" => Err(ImportError::Public("a certificate")),
        "ENCRYPTED PRIVATE KEY" => form("decrypt it first, as with `openssl pkey`"),
        "OPENSSH PRIVATE KEY" => form("convert it, as with `ssh-keygen -p -m PKCS8`"),
        "EC PRIVATE KEY" => form("Keywheel signs with Ed25519 and RSA keys"),
        _ => form("PKCS#8 (`PRIVATE KEY`) and PKCS#1 (`RSA PRIVATE KEY`) are"),
    }
}

/// PKCS#8 or PKCS#1: DER says which.
fn from_der(der: &[u8]) -> Result<Found, ImportError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Found::ed25519(&pair);
    }
    match RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
        Ok(pair) => Found::rsa(&pair),
        Err(_) => Err(ImportError::NotAKey),
    }
}

fn refuse_other_text(text: &[u8]) -> Result<(), ImportError> {
    for name in ["ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-"] {
        if text.starts_with(name.as_bytes()) {
            return Err(ImportError::Public("an SSH public key"));
        }
    }
    Ok(())
}

/// The members of a private JWK (RFC 7518 §6.3.2, RFC 8037 §2).
const MEMBERS: [&str; 13] = [
    "kty", "crv", "x", "d", "n", "e", "p", "q", "dp", "dq", "qi", "kid", "alg",
];

fn from_jwk(text: &[u8]) -> Result<Found, ImportError> {
    let mut found: [Option<String>; MEMBERS.len()] = Default::default();
    json::utf8(text)
        .and_then(|text| {
            json::object(text, |name, value| {
                if let Some(slot) = MEMBERS.iter().position(|member| *member == name)
                    && let Value::String(text) = value
                {
                    found[slot] = Some(text.into_owned());
                }
                Ok::<(), JsonError>(())
            })
        })
        .map_err(|_| ImportError::NotAKey)?;
    let member = |name: &'static str| {
        let slot = MEMBERS.iter().position(|member| *member == name)?;
        found[slot].as_deref()
    };
    let bytes = |name: &'static str| -> Result<Zeroizing<Vec<u8>>, ImportError> {
        let text = member(name).ok_or(ImportError::Member(name))?;
        let bytes = base64url::decode_jwk_value(text).map_err(|_| ImportError::Member(name))?;
        Ok(Zeroizing::new(bytes))
    };
    let mut key = match (member("kty"), member("crv")) {
        (Some("OKP" | "RSA"), _) if member("d").is_none() => {
            return Err(ImportError::Public("a public JWK"));
        }
        (Some("OKP"), Some("Ed25519")) => {
            // The library derives x from d and compares: a wrong public half would betray the private one.
            let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?);
            Found::ed25519(&pair.map_err(|_| ImportError::NotAKey)?)?
        }
        (Some("RSA"), _) => {
            let pair = RsaKeyPair::from_components(&KeyPairComponents {
                public_key: RsaPublicKeyComponents {
                    n: bytes("n")?,
                    e: bytes("e")?,
                },
                d: bytes("d")?,
                p: bytes("p")?,
                q: bytes("q")?,
                dP: bytes("dp")?,
                dQ: bytes("dq")?,
                qInv: bytes("qi")?,
            });
            Found::rsa(&pair.map_err(|_| ImportError::NotAKey)?)?
        }
        (Some(kty), crv) => {
            return Err(ImportError::Form {
                form: format!("a JWK of kty {kty} {}", crv.unwrap_or_default()),
                advice: "Keywheel signs with Ed25519 and RSA keys",
            });
        }
        (None, _) => return Err(ImportError::Member("kty")),
    };
    key.algorithm = match member("alg") {
        Some(name) => Some(name.parse().map_err(|_| ImportError::Form {
            form: format!("a JWK with alg {name}"),
            advice: "name another with --alg, if the key may be used otherwise",
        })?),
        None => None,
    };
    key.kid = member("kid").map(Into::into);
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Result<String, ImportError> {
        read_private_key(file, None, None).map(|imported| {
            let again = SigningKey::from_pkcs8(
                imported.key.algorithm(),
                &imported.pkcs8,
                Some(imported.key.kid()),
            );
            assert_eq!(again.unwrap().kid(), imported.key.kid());
            format!("{} {}", imported.key.algorithm(), imported.key.kid())
        })
    }

    /// RFC 8037 appendix A.1.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn keys_of_every_form_are_read() {
        let thumbprint = "EdDSA kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(read(ED25519.as_bytes()), Ok(thumbprint.into()));
        let named = ED25519.replace("\"kty\"", "\"kid\":\"mine\",\"alg\":\"Ed25519\",\"kty\"");
        assert_eq!(read(named.as_bytes()), Ok("Ed25519 mine".into()));
        for algorithm in [Algorithm::EdDSA, Algorithm::RS256] {
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            let expected = format!("{algorithm} {}", key.kid());
            let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.to_vec()));
            assert_eq!(read(&pkcs8), Ok(expected.clone()));
            assert_eq!(read(pem.as_bytes()), Ok(expected.clone()));
            assert_eq!(read(format!("\n{pem}\n").as_bytes()), Ok(expected));
            assert_eq!(read(&pkcs8[..pkcs8.len() - 2]), Err(ImportError::NotAKey));
        }
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        let tagged = |tag: &str| pem::encode(&pem::Pem::new(tag, vec![1, 2, 3]));
        for (file, words) in [
            (
                ED25519.replace("\"d\"", "\"dd\""),
                "a public JWK has no private half",
            ),
            (ED25519.replace("nWGx", "oWGx"), "or a damaged one"),
            (ED25519.replace("\"x\"", "\"xx\""), "JWK member `x`"),
            (
                r#"{"kty":"EC","crv":"P-256","d":"AA"}"#.into(),
                "kty EC P-256 is not read",
            ),
            (r#"{"kty":"oct","k":"AA"}"#.into(), "kty oct"),
            (r#"{"kty":"OKP","kty":"OKP"}"#.into(), "or a damaged one"),
            ("{}".into(), "JWK member `kty`"),
            (tagged("PUBLIC KEY"), "a public key has no private half"),
            (tagged("CERTIFICATE"), "a certificate has no private half"),
            (tagged("ENCRYPTED PRIVATE KEY"), "decrypt it first"),
            (tagged("OPENSSH PRIVATE KEY"), "ssh-keygen"),
            (tagged("EC PRIVATE KEY"), "signs with Ed25519 and RSA"),
            (tagged("PRIVATE KEY"), "or a damaged one"),
            ("ssh-ed25519 AAAA me".into(), "an SSH public key"),
            (String::new(), "or a damaged one"),
        ] {
            let error = read(file.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
