//! The log of a running service: what it never holds, what becomes of it on a full disk, how requests are found in it, and that
//! nobody who reads slowly keeps a service from ending.
#![cfg(test)]
#![cfg(feature = "server")]

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::ports::free;
use support::process::{
    Answer, Home, PASSWORD, Service, get, keywheel, request_with, secret_in, until,
};

/// Longer than a service gives those who are under way, much shorter than a client may take.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn post(address: SocketAddr, path: &str, body: &Value, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(more);
    request_with(address, "POST", path, &headers, &body.to_string())
}

fn sign_up(address: SocketAddr) -> Answer {
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada" });
    post(address, "/api/auth/sign-up/email", &body, &[])
}

fn gate(issuer: &Service, level: &str) -> Service {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("gate.toml");
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[log]\nlevel = \"{level}\"\n\
         [[issuer]]\nname = \"http://issuer.test\"\naudience = [\"api\"]\n\
         jwks_urls = [\"http://{}/.well-known/jwks.json\"]\nstatus = \"ignore\"\n",
        issuer.public
    );
    std::fs::write(&file, config).unwrap();
    let gate = Service::start(keywheel(&["gate", "--config", file.to_str().unwrap()]));
    until("the gate has keys", || {
        (get(gate.admin, "/readyz").status == 200).then_some(())
    });
    gate
}

#[test]
fn the_check_for_secrets_finds_them() {
    let token = format!(
        "{}.{}.{}",
        "eyJhbGciOiJFZERTQSJ9",
        "e".repeat(60),
        "s".repeat(86)
    );
    for (log, found) in [
        (format!("a {token} b"), true),
        (format!("password: {PASSWORD}"), true),
        ("cookie: better-auth.session_token=abc".into(), true),
        (r#"{"kty":"OKP","d":"abc"}"#.into(), true),
        ("kid eyJhbGciOiJFZERTQSJ9 and nothing more".into(), false),
        (String::new(), false),
    ] {
        assert_eq!(secret_in(&log).is_some(), found, "{log}");
    }
}

#[test]
fn no_token_cookie_password_or_key_is_in_the_log_however_much_is_logged() {
    let home = Home::new();
    let mut config = std::fs::read_to_string(home.config()).unwrap();
    config.push_str("[log]\nlevel = \"debug,keywheel=trace\"\n");
    std::fs::write(home.config(), config).unwrap();
    let service = home.serve();
    let signed_up = sign_up(service.public);
    assert_eq!(signed_up.status, 200, "{}", signed_up.body);
    // A client that is no page keeps the signed token; what a body shows is no credential.
    let session = signed_up.header("set-auth-token").unwrap().to_owned();
    let bearer = format!("Bearer {session}");
    let wrong = json!({ "email": "ada@example.com", "password": "not the password at all" });
    post(service.public, "/api/auth/sign-in/email", &wrong, &[]);
    let token = support::process::request(
        service.public,
        "GET",
        "/api/auth/token",
        &[("Authorization", &bearer)],
    );
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let gate = gate(&service, "debug,keywheel=trace");
    let broken = format!("{}AAAA", &token[..token.len() - 4]);
    for (token, status) in [(token.clone(), 200), (broken, 401)] {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let answer = support::process::request(gate.public, "GET", "/verify", &headers);
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let signed_out = post(
        service.public,
        "/api/auth/sign-out",
        &json!({}),
        &[("Authorization", &bearer)],
    );
    assert_eq!(signed_out.status, 200, "{}", signed_out.body);
    let logs = service.into_log() + &gate.into_log();
    for expected in [
        "signed_up",
        "sign_in_failed",
        "verification_failed",
        "signed_out",
    ] {
        assert!(logs.contains(expected), "{expected}: {logs}");
    }
    // Lines of the program's own carry the name of the request that they are about.
    let answered: Vec<Value> = logs
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["message"] == "answered")
        .collect();
    assert!(!answered.is_empty(), "{logs}");
    for line in answered {
        let name = line["span"]["request_id"].as_str();
        assert!(name.is_some_and(|name| name.len() == 16), "{line}");
    }
    assert_eq!(secret_in(&logs), None);
    for secret in [session.as_str(), token.as_str(), "not the password at all"] {
        assert!(!logs.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_full_disk_under_the_log_stops_nothing_and_is_counted() {
    let home = Home::new();
    let (public, admin) = (free(), free());
    let config = std::fs::read_to_string(home.config()).unwrap();
    let config = config
        .replacen("127.0.0.1:0", &public.to_string(), 1)
        .replacen("127.0.0.1:0", &admin.to_string(), 1);
    std::fs::write(home.config(), config).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["serve"]);
    let mut child = command.stderr(Stdio::from(full)).spawn().unwrap();
    until("it is up", || TcpStream::connect(public).ok().map(drop));
    until("it is ready", || {
        (get(admin, "/readyz").status == 200).then_some(())
    });
    assert_eq!(sign_up(public).status, 200);
    let wrong = json!({ "email": "ada@example.com", "password": "wrong" });
    assert_eq!(
        post(public, "/api/auth/sign-in/email", &wrong, &[]).status,
        401
    );
    let metrics = get(admin, "/metrics").body;
    let lost = metrics.lines().find_map(|line| {
        let count = line.strip_prefix("keywheel_audit_lines_total{result=\"lost\"} ")?;
        count.parse::<u64>().ok()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    // The first keys, the account, the wrong password: all of them.
    assert!(lost >= Some(3), "{metrics}");
}

#[test]
fn a_request_is_found_by_its_name() {
    let service = Home::new().serve();
    let wrong = json!({ "email": "ada@example.com", "password": "wrong" });
    let ask = |name: &str| {
        let headers = [("X-Request-Id", name)];
        let answer = post(service.public, "/api/auth/sign-in/email", &wrong, &headers);
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(ask("4f2a.b-c_1:9"), "4f2a.b-c_1:9");
    // Not taken over: what could be taken for something else in a log, or has no end.
    let made = ask("a\",\"event\":\"signed_in");
    let longest = "x".repeat(65);
    assert_ne!(ask(&longest), longest);
    let log = service.into_log();
    for name in ["4f2a.b-c_1:9", made.as_str()] {
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let failed: Vec<Value> = lines
            .filter(|line: &Value| line["request_id"] == name)
            .collect();
        assert_eq!(failed.len(), 1, "{name}: {log}");
        assert_eq!(failed[0]["event"], "sign_in_failed");
    }
    assert!(!log.contains(&longest), "{log}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real process takes real time")]
fn whoever_reads_slowly_or_never_ends_a_request_keeps_no_service_from_ending() {
    let service = Home::new().serve();
    let gate = gate(&service, "info");
    for (address, admin) in [(gate.public, gate.admin), (service.public, service.admin)] {
        // A scraper that reads one byte and no more, and a client in the middle of its head.
        let mut slow = TcpStream::connect(admin).unwrap();
        write!(slow, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        slow.read_exact(&mut [0]).unwrap();
        let mut endless = TcpStream::connect(address).unwrap();
        write!(endless, "GET / HTTP/1.1\r\nHost: a\r\nX-").unwrap();
        std::mem::forget((slow, endless));
    }
    for process in [gate, service] {
        let started = Instant::now();
        assert_eq!(process.terminate(), Some(0));
        assert!(started.elapsed() < ENDS_WITHIN, "{:?}", started.elapsed());
    }
}

/// A service by this `[log]`, after a wrong password.
fn log_after_a_wrong_password(log: &str) -> (String, String) {
    let home = Home::new();
    let mut config = std::fs::read_to_string(home.config()).unwrap();
    config.push_str(&format!("[log]\n{log}\n"));
    std::fs::write(home.config(), config).unwrap();
    let service = home.serve();
    let wrong = json!({ "email": "ada@example.com", "password": "wrong" });
    let answer = post(service.public, "/api/auth/sign-in/email", &wrong, &[]);
    assert_eq!(answer.status, 401, "{}", answer.body);
    let started = service.started.clone();
    (started, service.into_log())
}

fn events(log: &str, event: &str) -> usize {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).count()
}

#[test]
fn no_level_of_the_log_silences_the_audit_trail() {
    for log in [
        "level = \"off\"",
        "level = \"error\"\nformat = \"pretty\"",
        "level = \"keywheel=off\"",
        "level = \"warn,keywheel::audit=info\"",
        "level = \"trace,[answer]=off\"",
    ] {
        let (started, written) = log_after_a_wrong_password(log);
        assert_eq!(events(&written, "sign_in_failed"), 1, "{log}: {written}");
        assert!(!started.contains("log.audit"), "{log}: {started}");
    }
    let issuer = Home::new().serve();
    let gate = gate(&issuer, "off");
    assert_eq!(get(gate.public, "/verify").status, 401);
    assert_eq!(events(&gate.into_log(), "verification_failed"), 1);
}

#[test]
fn the_audit_trail_has_a_switch_of_its_own_and_start_says_that_it_is_off() {
    let (started, written) = log_after_a_wrong_password("audit = false");
    assert_eq!(events(&written, "sign_in_failed"), 0, "{written}");
    assert!(started.contains("warning: log.audit: "), "{started}");
    assert!(started.contains("write audit = true"), "{started}");
    let (started, written) = log_after_a_wrong_password("audit = true");
    assert_eq!(events(&written, "sign_in_failed"), 1, "{written}");
    assert!(!started.contains("log.audit"), "{started}");
}
