//! `keywheel serve` from outside: what it publishes, how it follows the keys, and what it says when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use support::process::{Home, Outcome, get, keywheel, request, until};

const JWKS: &str = "/.well-known/jwks.json";

fn published(keys: &Value) -> Vec<String> {
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// The private key file of the signing EdDSA key: found by its thumbprint, which is its kid.
fn signing_key_file(home: &Home) -> PathBuf {
    let kid = home.kids("EdDSA", "signing").remove(0);
    home.keys().join(format!("{kid}.pem"))
}

/// Rotates, trying again until the announced key has been out for long enough.
fn rotate_politely(home: &Home) -> Outcome {
    until("a polite rotation is allowed", || {
        let outcome = home.run(&["keys", "rotate"]);
        assert!(matches!(outcome.code, 0 | 2), "{outcome:?}");
        (outcome.code == 0).then_some(outcome)
    })
}

#[test]
fn the_first_start_makes_a_signing_and_an_announced_key_per_algorithm() {
    let home = Home::new();
    let service = home.serve();
    for alg in ["EdDSA", "RS256"] {
        assert_eq!(home.kids(alg, "signing").len(), 1);
        assert_eq!(home.kids(alg, "announced").len(), 1);
    }
    let keys = get(service.public, JWKS).json();
    assert_eq!(published(&keys).len(), 4);
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(key["use"], "sig");
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
    for entry in fs::read_dir(home.keys()).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let mode = fs::metadata(home.keys()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    assert!(service.started.contains("\"event\":\"key_signing\""));
    let ready = get(service.admin, "/readyz");
    assert_eq!(
        (ready.status, ready.json()["ready"].clone()),
        (200, Value::Bool(true))
    );
    assert_eq!(get(service.admin, "/healthz").status, 200);
}

#[test]
fn the_key_set_has_the_headers_that_caches_and_browsers_need() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let first = get(service.public, JWKS);
    let etag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.status, 200);
    assert_eq!(
        first.header("content-type"),
        Some("application/jwk-set+json")
    );
    assert_eq!(first.header("cache-control"), Some("public, max-age=600"));
    assert_eq!(first.header("access-control-allow-origin"), Some("*"));
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "strong: {etag}"
    );
    let other_route = get(service.public, "/api/auth/jwks");
    assert_eq!(other_route.body, first.body);
    assert_eq!(other_route.header("etag"), Some(&*etag));
    let unchanged = request(service.public, "GET", JWKS, &[("If-None-Match", &etag)]);
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    assert_eq!(unchanged.header("etag"), Some(&*etag));
    assert!(unchanged.header("cache-control").is_some());
    let head = request(service.public, "HEAD", JWKS, &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let preflight = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "if-none-match"),
    ];
    let preflight = request(service.public, "OPTIONS", JWKS, &preflight);
    assert_eq!(preflight.status, 200);
    assert!(preflight.header("access-control-allow-headers").is_some());
    assert_eq!(
        request(service.public, "POST", JWKS, &[("Content-Length", "0")]).status,
        405
    );
    assert_eq!(get(service.public, "/metrics").status, 404);
}

#[test]
fn metadata_names_the_issuer_and_its_key_set() {
    let home = Home::new();
    let service = home.serve();
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        let metadata = get(service.public, path).json();
        assert_eq!(metadata["issuer"], "http://issuer.test");
        assert_eq!(
            metadata["jwks_uri"],
            "http://issuer.test/.well-known/jwks.json"
        );
    }
}

#[test]
fn a_rotation_is_refused_while_a_verifier_may_lack_the_announced_key() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let before = {
        let service = home.serve();
        get(service.public, JWKS).body
    };
    for flag in [&[][..], &["--dry-run"], &["--alg", "RS256"]] {
        let refused = home.run(&[&["keys", "rotate"], flag].concat());
        assert_eq!(refused.code, 2);
        assert!(
            refused.stderr.contains("allowed in 1"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(get(home.serve().public, JWKS).body, before);
    let unconfigured = home.run(&["keys", "rotate", "--alg", "PS256"]);
    assert_eq!(unconfigured.code, 2);
    assert!(
        unconfigured
            .stderr
            .contains("keys.algorithms has EdDSA, RS256")
    );
}

#[test]
fn a_polite_rotation_is_followed_without_a_restart() {
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"0s\"");
    let service = home.serve();
    let before = get(service.public, JWKS);
    let announced = home.kids("EdDSA", "announced");
    let old_token = home.run(&["token", "--sub", "u", "--aud", "api"]);
    let rotated = rotate_politely(&home);
    assert!(
        rotated.stderr.contains("\"event\":\"key_retired\""),
        "{}",
        rotated.stderr
    );
    assert_eq!(home.kids("EdDSA", "signing"), announced);
    let etag = before.header("etag").unwrap();
    let after = until("the service follows", || {
        let answer = get(service.public, JWKS);
        (answer.header("etag") != Some(etag)).then_some(answer)
    });
    let kids = published(&after.json());
    assert_eq!(kids.len(), 6, "the retired keys are still published");
    assert!(
        published(&before.json())
            .iter()
            .all(|kid| kids.contains(kid))
    );

    let new_token = home.run(&["token", "--sub", "u", "--aud", "api"]);
    let url = format!("http://{}{JWKS}", service.public);
    for token in [old_token, new_token] {
        let verify = [
            "verify",
            "--jwks",
            &url,
            "--audience",
            "api",
            token.stdout.trim(),
        ];
        let outcome = Outcome::from(keywheel(&verify).output().unwrap());
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
}

#[test]
fn a_forced_rotation_is_audited_as_forced() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let _service = home.serve();
    let dry = home.run(&[
        "keys",
        "rotate",
        "--force",
        "--reason",
        "drill",
        "--dry-run",
    ]);
    assert_eq!(dry.code, 0);
    assert!(
        dry.stdout
            .contains("would let the announced EdDSA key sign"),
        "{}",
        dry.stdout
    );
    let before = home.list();
    assert_eq!(before.len(), 4, "a dry run changes nothing");
    let forced = home.run(&[
        "keys", "rotate", "--alg", "EdDSA", "--force", "--reason", "drill", "--json",
    ]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert!(
        forced.stderr.contains("\"event\":\"forced\""),
        "{}",
        forced.stderr
    );
    let done: Value = serde_json::from_str(&forced.stdout).unwrap();
    assert_eq!(done["done"].as_array().unwrap().len(), 3);
    assert_eq!(home.kids("RS256", "retired").len(), 0);
}

#[test]
fn a_retired_private_key_is_destroyed() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let _service = home.serve();
    let file = signing_key_file(&home);
    assert!(file.exists());
    assert_eq!(
        home.run(&["keys", "rotate", "--force", "--reason", "drill"])
            .code,
        0
    );
    assert!(!file.exists());
    assert!(signing_key_file(&home).exists());
}

#[test]
fn a_key_file_that_cannot_be_used_is_named_and_the_rest_serves() {
    type Damage = fn(&Home, &PathBuf);
    let truncate: Damage = |_, file| {
        let pem = fs::read(file).unwrap();
        fs::write(file, &pem[..pem.len() / 2]).unwrap();
    };
    let open_up: Damage = |_, file| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let swap: Damage = |home, file| {
        let other = home.kids("EdDSA", "announced").remove(0);
        fs::copy(home.keys().join(format!("{other}.pem")), file).unwrap();
    };
    let remove: Damage = |_, file| fs::remove_file(file).unwrap();
    for (damage, words) in [
        (truncate, "truncated"),
        (open_up, "chmod 600"),
        (swap, "another key's private half"),
        (remove, "missing"),
    ] {
        let home = Home::with("jwks_max_age = \"10m\"");
        home.serve().terminate();
        let file = signing_key_file(&home);
        damage(&home, &file);

        let service = home.serve();
        let ready = get(service.admin, "/readyz");
        assert_eq!(ready.status, 503);
        let problems = ready.json()["problems"].to_string();
        assert!(problems.contains(words), "{words}: {problems}");
        assert!(problems.contains(file.file_name().unwrap().to_str().unwrap()));
        assert!(
            problems.contains("no usable key signs by EdDSA"),
            "{problems}"
        );
        assert_eq!(published(&get(service.public, JWKS).json()).len(), 4);
        let eddsa = home.run(&["token", "--sub", "u", "--aud", "api"]);
        assert_eq!(eddsa.code, 3, "{}", eddsa.stderr);
        let rs256 = home.run(&["token", "--sub", "u", "--aud", "legacy"]);
        assert_eq!(rs256.code, 0, "{}", rs256.stderr);
    }
}

#[test]
fn a_mended_key_file_is_taken_up_without_a_restart() {
    let home = Home::with("jwks_max_age = \"10m\"");
    home.serve().terminate();
    let file = signing_key_file(&home);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let service = home.serve();
    assert_eq!(get(service.admin, "/readyz").status, 503);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    until("ready again", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
}

#[test]
fn a_signing_key_that_cannot_be_used_is_replaced_by_the_announced_one() {
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"0s\"");
    home.serve().terminate();
    let announced = home.kids("EdDSA", "announced");
    fs::remove_file(signing_key_file(&home)).unwrap();
    let service = home.serve();
    until("ready again", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
    assert_eq!(home.kids("EdDSA", "signing"), announced);
    assert_eq!(home.kids("EdDSA", "announced").len(), 1);
}

#[test]
fn a_ring_file_of_nonsense_is_refused_and_left_as_it_is() {
    let home = Home::new();
    home.serve().terminate();
    let ring = home.keys().join("ring.json");
    let good = fs::read_to_string(&ring).unwrap();
    for (bad, words) in [
        (good[..good.len() / 2].to_owned(), "line"),
        (
            good.replace("\"signing\"", "\"singing\""),
            "unknown variant `singing`",
        ),
        (
            good.replacen("\"stage\": \"announced\"", "\"stage\": \"signing\"", 1),
            "two signing keys",
        ),
        (
            good.replace("\"version\": 1", "\"version\": 9"),
            "layout version 9",
        ),
        (
            good.replace("\"signing_since\"", "\"retired_at\""),
            "no `signing_since`",
        ),
    ] {
        assert_ne!(bad, good, "{words}");
        fs::write(&ring, &bad).unwrap();
        for command in [
            &["serve"][..],
            &["keys", "list"],
            &["keys", "rotate", "--force", "--reason", "drill"],
        ] {
            let outcome = home.run(command);
            assert_eq!(outcome.code, 3, "{outcome:?}");
            assert!(outcome.stderr.contains("ring.json"), "{outcome:?}");
            assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
        }
        assert_eq!(fs::read_to_string(&ring).unwrap(), bad);
    }
}

#[test]
fn a_running_service_outlives_a_ring_file_of_nonsense() {
    let home = Home::new();
    let service = home.serve();
    let before = get(service.public, JWKS).body;
    let ring = home.keys().join("ring.json");
    let good = fs::read_to_string(&ring).unwrap();
    fs::write(&ring, "{").unwrap();
    until("the probe tells", || {
        let ready = get(service.admin, "/readyz");
        (ready.status == 503 && ready.body.contains("ring.json")).then_some(())
    });
    assert_eq!(get(service.public, JWKS).body, before);
    fs::write(&ring, good).unwrap();
    until("ready again", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_written() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let home = Home::new();
    for setting in ["KEYWHEEL_LISTEN", "KEYWHEEL_ADMIN_LISTEN"] {
        let mut command = home.command(&["serve"]);
        let outcome = command.env(setting, address.to_string()).output().unwrap();
        let outcome = Outcome::from(outcome);
        assert_eq!(outcome.code, 3);
        let words = format!("port {} is taken", address.port());
        // After what is said at every start, one line.
        let last = outcome.stderr.trim_end().lines().last().unwrap();
        assert!(last.contains(&words), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("cannot listen").count(), 1);
        assert!(!home.keys().exists());
    }
}

#[test]
fn a_wrong_configuration_is_one_line_and_writes_nothing() {
    let home = Home::with("jwks_max_age = \"0s\"");
    for command in [&["serve"][..], &["serve", "--check"], &["keys", "list"]] {
        let outcome = home.run(command);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(
            outcome
                .stderr
                .contains("keywheel.toml:6: keys.jwks_max_age must be between 1s and 1d"),
            "{outcome:?}"
        );
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1);
    }
    assert!(!home.keys().exists());
    let missing = keywheel(&["serve", "--config", "/nowhere.toml"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(Home::new().run(&["serve", "--check"]).code, 0);
}

#[test]
fn two_services_share_one_ring() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let (one, two) = (home.serve(), home.serve());
    let first = get(one.public, JWKS);
    assert_eq!(first.body, get(two.public, JWKS).body);
    assert_eq!(
        home.run(&["keys", "rotate", "--force", "--reason", "drill"])
            .code,
        0
    );
    for service in [&one, &two] {
        until("both follow", || {
            (get(service.public, JWKS).body != first.body).then_some(())
        });
    }
    assert_eq!(get(one.public, JWKS).body, get(two.public, JWKS).body);
    assert_eq!(home.kids("EdDSA", "signing").len(), 1);
}

#[test]
fn a_supervisor_can_end_it() {
    let home = Home::new();
    assert_eq!(home.serve().terminate(), Some(0));
    // And the keys are the same at the next start, but for what the clock alone changes.
    let kept = || {
        let mut keys = home.list();
        for key in &mut keys {
            let members = key.as_object_mut().expect("an object");
            members.retain(|name, _| matches!(name.as_str(), "kid" | "alg" | "stage"));
        }
        keys
    };
    let before = kept();
    let _service = home.serve();
    assert_eq!(kept(), before);
}

#[test]
fn metrics_are_served_and_have_no_series_that_a_client_chose() {
    let home = Home::new();
    let service = home.serve();
    for path in ["/.well-known/jwks.json", "/a", "/b"] {
        get(service.public, path);
        request(service.public, "BREW", path, &[]);
    }
    let metrics = get(service.admin, "/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    for series in [
        "keywheel_keys{alg=\"EdDSA\",stage=\"signing\"} 1",
        "keywheel_keys{alg=\"RS256\",stage=\"announced\"} 1",
        "keywheel_http_requests_total{method=\"GET\",route=\"/.well-known/jwks.json\",status=\"200\"} 1",
        "keywheel_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 2",
        "keywheel_http_requests_total{method=\"other\",route=\"none\",status=\"404\"} 2",
    ] {
        assert!(metrics.body.contains(series), "{series}\n{}", metrics.body);
    }
}

#[test]
fn a_proxy_in_the_environment_is_not_asked_for_keys() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let minted = home.run(&["token", "--sub", "u", "--aud", "api"]);
    let url = format!("http://{}{JWKS}", service.public);
    let verify = [
        "verify",
        "--jwks",
        &url,
        "--audience",
        "api",
        minted.stdout.trim(),
    ];
    let mut command = keywheel(&verify);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        // Nobody listens there: whoever asks it gets no keys.
        command.env(name, "http://127.0.0.1:1");
    }
    let outcome = Outcome::from(command.output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
}
