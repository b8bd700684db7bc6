//! Attacks on the issuing side (112 to 118). Rotation over time, 111, is rotation.rs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use keywheel::issue::{Grant, Issuer, MintError, RotationPolicy, TokenSettings};
use keywheel::jose::SigningKey;
use keywheel::store::{FileKeyStore, KeyStore as _};
use keywheel::{
    Algorithm, Claims, JwkSet, ManualClock, Metrics, TrustedIssuer, Verified, Verifier,
    VerifyingKey,
};
use serde_json::Value;
use tower_service::Service as _;

use crate::folder::Folder;
use crate::ground::{AUDIENCE, ISSUER, NOW, clock, decode};
use crate::mint;

fn policy(algorithms: &[Algorithm]) -> RotationPolicy {
    RotationPolicy {
        algorithms: algorithms.to_vec(),
        ..RotationPolicy::default()
    }
}

fn open(folder: &Folder, clock: ManualClock, algorithms: &[Algorithm]) -> Issuer {
    let store = FileKeyStore::open(folder.path()).unwrap();
    let settings = TokenSettings::new(ISSUER);
    let metrics = Metrics::new().unwrap();
    Issuer::open(store, policy(algorithms), settings, clock, &metrics).unwrap()
}

/// Both, as by default.
const ALGORITHMS: &[Algorithm] = &[Algorithm::EdDSA, Algorithm::RS256];
/// Quick to make keys for.
const EDDSA: &[Algorithm] = &[Algorithm::EdDSA];

fn published(issuer: &Issuer) -> Value {
    serde_json::from_slice(&issuer.published().jwks).unwrap()
}

fn verify(issuer: &Issuer, token: &str) -> Verified<Claims> {
    let trusted = TrustedIssuer::new(ISSUER)
        .audience(AUDIENCE)
        .static_keys(JwkSet::parse(&issuer.published().jwks).unwrap());
    let verifier = Verifier::builder()
        .trust(trusted)
        .typ("at+jwt")
        .clock(clock())
        .build()
        .unwrap();
    verifier.try_verify(token).unwrap()
}

fn segment(token: &str, at: usize) -> Value {
    let segment = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&decode(segment)).unwrap()
}

#[test]
fn a_kid_is_the_thumbprint_of_its_key_and_stays_so() {
    let folder = Folder::new("kid");
    let issuer = open(&folder, clock(), ALGORITHMS);
    let again = open(&folder, clock(), ALGORITHMS);
    assert_eq!(issuer.published().etag, again.published().etag);
    let keys = published(&issuer)["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 4);
    for jwk in &keys {
        let key = VerifyingKey::from_jwk(&jwk.to_string()).unwrap();
        assert_eq!(jwk["kid"], key.thumbprint().to_string().as_str());
    }
    let minted = issuer.mint(&Grant::new("alice", AUDIENCE)).unwrap();
    assert_eq!(segment(&minted.token, 0)["kid"], minted.kid.as_str());
    assert!(keys.iter().any(|jwk| jwk["kid"] == minted.kid.as_str()));
}

#[test]
fn a_crash_before_the_ring_names_a_key_leaves_a_store_that_starts() {
    let folder = Folder::new("crash");
    let time = clock();
    let before = open(&folder, time.clone(), EDDSA);
    let etag = before.published().etag.clone();
    // The key is written, and the process is gone before the ring is.
    let store = FileKeyStore::open(folder.path()).unwrap();
    let (orphan, pkcs8) = SigningKey::generate(Algorithm::EdDSA).unwrap();
    store.lock().unwrap().save_key(&orphan, &pkcs8).unwrap();
    // Another one was gone in the middle of a file.
    fs::write(folder.path().join(".new-ring.json"), "{\"version\":1,\"ke").unwrap();
    let orphans_file = folder.path().join(format!("{}.pem", orphan.kid()));
    assert!(orphans_file.exists());

    let after = open(&folder, time.clone(), EDDSA);
    assert_eq!(
        after.published().etag,
        etag,
        "nobody has seen the key, so nobody ever does"
    );
    verify(
        &after,
        &after.mint(&Grant::new("alice", AUDIENCE)).unwrap().token,
    );
    time.advance(policy(EDDSA).rotate_every);
    assert!(!after.tick().unwrap().is_empty());
    assert!(!orphans_file.exists(), "the next writer tidies up");
    assert!(!folder.path().join(".new-ring.json").exists());
}

#[test]
fn replicas_on_one_store_publish_one_set_and_sign_with_one_key() {
    let folder = Folder::new("replicas");
    let time = clock();
    FileKeyStore::open(folder.path()).unwrap();
    // All at once, on an empty store.
    let replicas: Vec<Issuer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| open(&folder, time.clone(), EDDSA)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for _ in 0..3 {
        for replica in &replicas {
            replica.tick().unwrap();
        }
        let states = replicas.iter().map(|replica| {
            let minted = replica.mint(&Grant::new("alice", AUDIENCE)).unwrap();
            (replica.published().etag.clone(), minted.kid)
        });
        assert_eq!(states.collect::<HashSet<_>>().len(), 1);
        time.advance(policy(EDDSA).rotate_every);
        // One of them rotates; the others follow.
        assert!(!replicas[0].tick().unwrap().is_empty());
    }
}

#[test]
fn private_keys_are_the_owners_alone_and_never_shown() {
    let folder = Folder::new("private");
    let issuer = open(&folder, clock(), EDDSA);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(folder.path()), 0o700);
    let files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }

    let (key, pkcs8) = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let minted = issuer.mint(&Grant::new("alice", AUDIENCE)).unwrap();
    let shown = format!("{key:?} {minted:?} {:?}", *issuer.published());
    let (_, signature) = minted.token.rsplit_once('.').unwrap();
    assert!(!shown.contains(signature), "{shown}");
    let secret = mint::base64url(&pkcs8[pkcs8.len() - 32..]);
    assert!(!shown.contains(&secret[..20]), "{shown}");

    // A key that others may read is not signed with any more, and the others are.
    let pem = files
        .iter()
        .find(|file| file.extension().is_some_and(|ext| ext == "pem"))
        .unwrap();
    let content = fs::read_to_string(pem).unwrap();
    fs::set_permissions(pem, fs::Permissions::from_mode(0o644)).unwrap();
    let stored = FileKeyStore::open(folder.path()).unwrap().load().unwrap();
    let [problem] = stored.problems.as_slice() else {
        panic!("{:?}", stored.problems);
    };
    let said = problem.to_string();
    assert!(
        said.contains("0644") && said.contains("chmod 600"),
        "{said}"
    );
    let secret_line = content.lines().nth(1).unwrap();
    assert!(!said.contains(secret_line), "{said}");
}

#[test]
fn every_token_has_its_times_its_id_and_its_type() {
    let folder = Folder::new("always");
    let issuer = open(&folder, clock(), EDDSA);
    let mut ids = HashSet::new();
    for ttl in [None, Some(1), Some(900), Some(24 * 3600)] {
        for _ in 0..50 {
            let mut grant = Grant::new("alice", AUDIENCE);
            if let Some(seconds) = ttl {
                grant = grant.ttl(Duration::from_secs(seconds));
            }
            let minted = issuer.mint(&grant).unwrap();
            let (header, claims) = (segment(&minted.token, 0), segment(&minted.token, 1));
            assert_eq!(
                (header["alg"].as_str(), header["typ"].as_str()),
                (Some("EdDSA"), Some("at+jwt"))
            );
            assert_eq!(header.as_object().unwrap().len(), 3, "{header}");
            assert_eq!(claims["iat"], NOW.seconds());
            let expected = NOW.seconds() + i64::try_from(ttl.unwrap_or(900)).unwrap();
            assert_eq!(claims["exp"], expected);
            assert_eq!(minted.expires_at.seconds(), expected);
            assert_eq!(claims["jti"], minted.jti.as_str());
            assert!(minted.jti.len() >= 22, "128 bits: {}", minted.jti);
            ids.insert(minted.jti.clone());
        }
        let minted = issuer.mint(&Grant::new("alice", AUDIENCE)).unwrap();
        assert_eq!(verify(&issuer, &minted.token).subject(), "alice");
    }
    assert_eq!(ids.len(), 200);
    for ttl in [
        Duration::ZERO,
        Duration::from_millis(999),
        Duration::from_secs(24 * 3600 + 1),
        Duration::MAX,
    ] {
        let refused = issuer.mint(&Grant::new("alice", AUDIENCE).ttl(ttl)).err();
        assert!(matches!(refused, Some(MintError::Ttl { .. })), "{ttl:?}");
    }
    for grant in [Grant::new("", AUDIENCE), Grant::new("alice", "")] {
        assert!(matches!(
            issuer.mint(&grant).err(),
            Some(MintError::Empty(_))
        ));
    }
}

#[test]
fn no_caller_can_set_a_claim_that_is_the_issuers() {
    let folder = Folder::new("injection");
    let issuer = open(&folder, clock(), EDDSA);
    for hostile in [
        r#"x","exp":99999999999,"y":""#,
        r#"x","iss":"https://evil.test"#,
        "\",\"aud\":[\"everything\"],\"a\":\"",
        "\\",
        "\\u0022,\\u0022exp\\u0022:1",
        "a\0b",
        "line\nbreak\r\u{2028}",
        "\u{202e}\u{feff}é😀",
    ] {
        let grant = Grant::new(hostile, AUDIENCE)
            .role(hostile)
            .email(hostile)
            .client_id(hostile)
            .session(hostile)
            .scope(hostile);
        let minted = issuer.mint(&grant).unwrap();
        // Strict JSON: a member twice would be refused.
        let verified = verify(&issuer, &minted.token);
        assert_eq!(verified.subject(), hostile);
        assert_eq!(verified.roles(), [hostile]);
        let registered = verified.registered();
        assert_eq!(registered.client_id.as_deref(), Some(hostile));
        assert_eq!(registered.sid.as_deref(), Some(hostile));
        let claims = segment(&minted.token, 1);
        assert_eq!(claims["email"], hostile);
        assert_eq!(
            (claims["iss"].as_str(), claims["aud"].as_str()),
            (Some(ISSUER), Some(AUDIENCE))
        );
        assert_eq!(claims["exp"], NOW.seconds() + 900);
        let names: BTreeSet<_> = claims
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let named = [
            "aud",
            "client_id",
            "email",
            "exp",
            "iat",
            "iss",
            "jti",
            "roles",
            "scope",
            "sid",
            "sub",
        ];
        assert_eq!(names, BTreeSet::from(named), "{hostile}");
    }
}

/// Status, headers and body of one request to the public listener.
async fn request(
    issuer: &Issuer,
    request: Request<Body>,
) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let metrics = Metrics::new().unwrap();
    let mut router = keywheel::http::public_router(issuer.clone(), &metrics);
    let response = router.call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, parts.headers, body.to_vec())
}

#[tokio::test]
async fn the_key_set_is_public_halves_only_and_read_only() {
    let folder = Folder::new("endpoint");
    let issuer = open(&folder, clock(), ALGORITHMS);
    let etag = issuer.published().etag.clone();
    for path in ["/.well-known/jwks.json", "/api/auth/jwks"] {
        let builder = |method: Method| Request::builder().method(method).uri(path);
        let plain = |method| builder(method).body(Body::empty()).unwrap();
        let (status, headers, body) = request(&issuer, plain(Method::GET)).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-type"], "application/jwk-set+json");
        assert_eq!(headers["etag"], etag.as_str());
        assert_eq!(headers["cache-control"], "public, max-age=600");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(body, issuer.published().jwks);
        let set: Value = serde_json::from_slice(&body).unwrap();
        for jwk in set["keys"].as_array().unwrap() {
            let names: Vec<_> = jwk
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            let public = match jwk["kty"].as_str() {
                Some("OKP") => ["alg", "crv", "kid", "kty", "use", "x"],
                Some("RSA") => ["alg", "e", "kid", "kty", "n", "use"],
                other => panic!("{other:?}"),
            };
            assert_eq!(names, public);
        }

        let (status, headers, body) = request(&issuer, plain(Method::HEAD)).await;
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        assert_eq!(headers["etag"], etag.as_str());
        let conditional = builder(Method::GET).header("if-none-match", &etag);
        let (status, _, body) = request(&issuer, conditional.body(Body::empty()).unwrap()).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        for method in [
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::TRACE,
        ] {
            let (status, ..) = request(&issuer, plain(method.clone())).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
    }
}
