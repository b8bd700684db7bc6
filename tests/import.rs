//! `keywheel keys import`: keys as other programs wrote them, and what happens to them in the ring.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::documents::Document;
use support::process::{Home, Outcome, get, until};

/// Key files of two other projects, where the folder with them exists: (file, what `import` says).
const OTHERS: &[(&str, &str)] = &[
    ("pyjwt/tests/keys/jwk_okp_key_Ed25519.json", "EdDSA"),
    ("pyjwt/tests/keys/jwk_rsa_key.json", "RS256"),
    ("pyjwt/tests/keys/testkey_ed25519", "EdDSA"),
    ("pyjwt/tests/keys/testkey_ed25519.pem", "EdDSA"),
    ("pyjwt/tests/keys/testkey_rsa.priv", "RS256"),
    (
        "pyjwt/tests/keys/jwk_ec_key_P-256.json",
        "signs with Ed25519 and RSA",
    ),
    (
        "pyjwt/tests/keys/jwk_ec_key_P-384.json",
        "signs with Ed25519 and RSA",
    ),
    (
        "pyjwt/tests/keys/jwk_ec_key_P-521.json",
        "signs with Ed25519 and RSA",
    ),
    (
        "pyjwt/tests/keys/jwk_ec_key_secp256k1.json",
        "signs with Ed25519 and RSA",
    ),
    (
        "pyjwt/tests/keys/jwk_ec_pub_P-256.json",
        "signs with Ed25519 and RSA",
    ),
    ("pyjwt/tests/keys/jwk_empty.json", "or a damaged one"),
    ("pyjwt/tests/keys/jwk_hmac.json", "kty oct"),
    (
        "pyjwt/tests/keys/jwk_keyset_with_unknown_alg.json",
        "JWK member `kty`",
    ),
    ("pyjwt/tests/keys/jwk_okp_key_Ed448.json", "kty OKP Ed448"),
    (
        "pyjwt/tests/keys/jwk_okp_pub_Ed25519.json",
        "no private half",
    ),
    ("pyjwt/tests/keys/jwk_rsa_pub.json", "no private half"),
    ("pyjwt/tests/keys/testkey2_rsa.pub.pem", "no private half"),
    ("pyjwt/tests/keys/testkey_ec.priv", "or a damaged one"),
    ("pyjwt/tests/keys/testkey_ec.pub", "no private half"),
    (
        "pyjwt/tests/keys/testkey_ec_secp192r1.priv",
        "or a damaged one",
    ),
    ("pyjwt/tests/keys/testkey_ec_ssh.pub", "an SSH public key"),
    ("pyjwt/tests/keys/testkey_ed25519.pub", "an SSH public key"),
    (
        "pyjwt/tests/keys/testkey_ed25519.pub.pem",
        "no private half",
    ),
    ("pyjwt/tests/keys/testkey_pkcs1.pub.pem", "no private half"),
    ("pyjwt/tests/keys/testkey_rsa.cer", "a certificate"),
    ("pyjwt/tests/keys/testkey_rsa.pub", "an SSH public key"),
    (
        "jsonwebtoken/tests/eddsa/private_ed25519_der_key.bin",
        "EdDSA",
    ),
    ("jsonwebtoken/tests/eddsa/private_ed25519_key.pem", "EdDSA"),
    ("jsonwebtoken/tests/eddsa/private_ed25519_key.pk8", "EdDSA"),
    (
        "jsonwebtoken/tests/eddsa/private_ed448_key.pem",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/eddsa/public_ed25519_key.pem",
        "no private half",
    ),
    (
        "jsonwebtoken/tests/eddsa/public_ed25519_key.pk8",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/ecdsa/private_ecdsa_key.pem",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/ecdsa/private_ecdsa_key.pk8",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/ecdsa/private_jwtio.pem",
        "signs with Ed25519 and RSA",
    ),
    (
        "jsonwebtoken/tests/ecdsa/private_jwtio_pkcs8.pem",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/ecdsa/public_ecdsa_key.pem",
        "no private half",
    ),
    ("jsonwebtoken/tests/header/cert_chain.pem", "a certificate"),
    (
        "jsonwebtoken/tests/header/cert_chain.json",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/rsa/certificate_jwtio.crt",
        "a certificate",
    ),
    (
        "jsonwebtoken/tests/rsa/certificate_jwtio.csr",
        "a certificate",
    ),
    ("jsonwebtoken/tests/rsa/private_jwtio.pem", "RS256"),
    ("jsonwebtoken/tests/rsa/private_rsa_key.der", "RS256"),
    ("jsonwebtoken/tests/rsa/private_rsa_key_pkcs1.pem", "RS256"),
    ("jsonwebtoken/tests/rsa/private_rsa_key_pkcs8.pem", "RS256"),
    ("jsonwebtoken/tests/rsa/public_jwtio.pem", "no private half"),
    (
        "jsonwebtoken/tests/rsa/public_rsa_key.der",
        "or a damaged one",
    ),
    (
        "jsonwebtoken/tests/rsa/public_rsa_key_pkcs1.pem",
        "no private half",
    ),
    (
        "jsonwebtoken/tests/rsa/public_rsa_key_pkcs8.pem",
        "no private half",
    ),
];

/// RFC 8037 appendix A.1.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"old-issuer","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn home() -> (Home, PathBuf) {
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"0s\"");
    home.serve().terminate();
    let file = home.path().join("key.jwk");
    fs::write(&file, ED25519).unwrap();
    (home, file)
}

#[test]
fn keys_of_other_projects_are_read_or_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora");
    if !folder.is_dir() {
        println!("corpora keys: the folder is not here, nothing was read");
        return;
    }
    let (home, _) = home();
    let mut read = 0;
    for (name, expected) in OTHERS {
        let file = folder.join(name);
        let outcome = home.run(&["keys", "import", "--dry-run", file.to_str().unwrap()]);
        let signs = ["EdDSA", "RS256"].contains(expected);
        assert_eq!(
            outcome.code,
            if signs { 0 } else { 2 },
            "{name}: {outcome:?}"
        );
        let said = if signs {
            &outcome.stdout
        } else {
            &outcome.stderr
        };
        assert!(said.contains(expected), "{name}: {outcome:?}");
        read += u32::from(signs);
    }
    println!(
        "corpora keys: {} files, {read} read, {} named and refused, 0 wrong",
        OTHERS.len(),
        OTHERS.len() - read as usize
    );
}

#[test]
fn an_imported_key_is_announced_and_signs_after_the_next_rotation() {
    let (home, file) = home();
    let before = home.kids("EdDSA", "announced");
    let outcome = home.run(&["keys", "import", file.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("\"event\":\"key_announced\""),
        "{}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("nWGxne"),
        "a private key in the log"
    );
    assert_eq!(home.kids("EdDSA", "announced"), ["old-issuer"]);
    assert!(!home.keys().join(format!("{}.pem", before[0])).exists());

    let unpublished = home.run(&["keys", "rotate", "--alg", "EdDSA"]);
    assert_eq!(unpublished.code, 2);
    assert!(
        unpublished.stderr.contains("has not been published yet"),
        "{}",
        unpublished.stderr
    );
    let service = home.serve();
    until("a polite rotation is allowed", || {
        (home.run(&["keys", "rotate", "--alg", "EdDSA"]).code == 0).then_some(())
    });
    assert_eq!(home.kids("EdDSA", "signing"), ["old-issuer"]);
    let minted = home.run(&["token", "--sub", "u", "--aud", "a", "--json"]);
    let minted: Value = serde_json::from_str(&minted.stdout).unwrap();
    assert_eq!(minted["kid"], "old-issuer");
    assert!(
        get(service.public, "/.well-known/jwks.json")
            .body
            .contains("\"old-issuer\"")
    );
}

/// A row of Better Auth's table: the key, without a `kid`, which is the row's id.
const BETTER_AUTH: &str = r#"{"crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kty":"OKP"}"#;

/// The guide's own lines, in its order: the service has been started once, then the key, then the plan.
#[test]
fn a_key_of_better_auth_is_imported_under_its_rows_id_by_the_lines_of_the_guide() {
    let guide = Document::read("docs/migrate.md");
    let shown = guide
        .blocks()
        .into_iter()
        .find(|block| block.language == "sh");
    let shown = shown.unwrap().text;
    let lines: Vec<&str> = shown
        .lines()
        .filter_map(|line| Some(line.split(" # ").next()?.trim()))
        .collect();
    assert_eq!(lines[0], "keywheel serve", "{lines:?}");
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"0s\"");
    fs::write(home.path().join("better-auth.jwk"), BETTER_AUTH).unwrap();
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let mut command = home.command(&words);
        Outcome::from(command.current_dir(home.path()).output().unwrap())
    };

    let too_early = run(lines[1]);
    assert_eq!(too_early.code, 3, "{too_early:?}");
    assert!(too_early.stderr.contains("keywheel serve"), "{too_early:?}");
    assert!(!home.keys().exists());

    home.serve().terminate();
    for line in &lines[1..] {
        let outcome = run(line);
        assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
    }
    assert_eq!(home.kids("EdDSA", "announced"), ["ROW_ID"]);
    let service = home.serve();
    let published = get(service.public, "/.well-known/jwks.json").body;
    assert!(published.contains("\"kid\":\"ROW_ID\""), "{published}");
}

#[test]
fn what_cannot_be_imported_changes_nothing() {
    let (home, file) = home();
    let ring = home.keys().join("ring.json");
    let before = fs::read_to_string(&ring).unwrap();
    let file = file.to_str().unwrap();
    for (args, words) in [
        (&["--alg", "PS256"][..], "not a usable PS256 private key"),
        (
            &["--alg", "ES256"],
            "not an algorithm that Keywheel signs with",
        ),
        (
            &["--alg", "Ed25519"],
            "keys.algorithms does not have Ed25519",
        ),
    ] {
        let outcome = home.run(&[&["keys", "import", file], args].concat());
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(
            outcome.stderr.contains(words),
            "{words}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("key.jwk"));
    }
    let missing = home.run(&["keys", "import", "/nowhere.pem"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("/nowhere.pem"));
    assert_eq!(fs::read_to_string(&ring).unwrap(), before);

    assert_eq!(home.run(&["keys", "import", file]).code, 0);
    for args in [
        &["keys", "import", file][..],
        &["keys", "import", "--kid", "other", file],
    ] {
        let again = home.run(args);
        assert_eq!(again.code, 2);
        assert!(
            again
                .stderr
                .contains("the ring already has key `old-issuer`"),
            "{}",
            again.stderr
        );
    }
}

#[test]
fn a_kid_that_could_forge_a_line_or_has_no_end_is_refused() {
    let (home, file) = home();
    let import = |kid: &str, more: &[&str]| {
        let jwk: Value = serde_json::from_str(ED25519).unwrap();
        let mut jwk = jwk;
        jwk["kid"] = kid.into();
        fs::write(&file, jwk.to_string()).unwrap();
        let args = [
            &["keys", "import", "--dry-run", file.to_str().unwrap()],
            more,
        ]
        .concat();
        home.run(&args)
    };
    let long = "k".repeat(257);
    for (kid, words) in [
        ("", "its kid is empty"),
        (&*long, "its kid is too long"),
        ("a\nkey_revoked", "its kid has control"),
        ("a\u{1b}[2J", "its kid has control"),
        ("a\u{7}", "its kid has control"),
        ("a\u{9b}31m", "its kid has control"),
        ("a\u{202e}b", "its kid has control"),
        ("a\u{200b}b", "its kid has control"),
    ] {
        let in_jwk = import(kid, &[]);
        let by_name = import("good", &["--kid", kid]);
        for outcome in [in_jwk, by_name] {
            assert_eq!(outcome.code, 2, "{kid:?}: {outcome:?}");
            assert!(outcome.stderr.contains(words), "{kid:?}: {outcome:?}");
            assert!(outcome.stderr.contains("--kid"), "{kid:?}: {outcome:?}");
            let shown = outcome.stderr.trim_end();
            assert!(!shown.chars().any(char::is_control), "{kid:?}: {shown}");
        }
        // The key itself is good, under another name.
        assert_eq!(import(kid, &["--kid", "good"]).code, 0, "{kid:?}");
    }
    for kid in ["old issuer 2024", "schlüssel/1", &long[1..]] {
        let outcome = import(kid, &[]);
        assert_eq!(outcome.code, 0, "{kid}: {outcome:?}");
        assert!(outcome.stdout.contains(kid), "{outcome:?}");
    }
}
