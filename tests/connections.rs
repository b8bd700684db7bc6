//! Connections that are held open, for good reasons and for bad ones: nobody uses up what others need.
#![cfg(test)]
#![cfg(all(feature = "server", target_os = "linux"))]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::process::{Home, Service, get, request_with, until};

/// Descriptors that the service may have.
const FILES: usize = 256;
/// Longer than any answer takes, and shorter than any of the service's own time-outs.
const SOON: Duration = Duration::from_secs(8);

/// A service that may have few descriptors.
fn service(home: &Home) -> Service {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")])
        .args([env!("CARGO_BIN_EXE_keywheel"), "serve", "--config"])
        .arg(home.config())
        .env_clear()
        .stdin(Stdio::null());
    Service::start(command)
}

/// Opens the first status list.
fn sign_up(service: &Service) {
    let headers = [("Content-Type", "application/json")];
    let body = r#"{"name":"Ada","email":"ada@example.com","password":"correct horse"}"#;
    let path = "/api/auth/sign-up/email";
    let answer = request_with(service.public, "POST", path, &headers, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// So many connections on which this was sent, and no more.
fn hold(address: SocketAddr, connections: usize, sent: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        // Fails where the service has closed it already, which it may.
        let _ = stream.write_all(sent.as_bytes());
        stream
    };
    (0..connections).map(open).collect()
}

/// The status of an answer that comes soon.
fn status(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1).map(str::to_owned)
}

fn serves_others(service: &Service, what: &str) {
    let path = "/.well-known/jwks.json";
    for _ in 0..10 {
        let answered = status(service.public, path);
        assert_eq!(answered.as_deref(), Some("200"), "{what}");
    }
    let answered = status(service.admin, "/readyz");
    assert_eq!(answered.as_deref(), Some("200"), "{what}");
}

/// What keeps each of `FILES` connections open, in ways that a client may and may not.
#[test]
fn no_number_of_connections_keeps_others_out() {
    let home = Home::new();
    let service = service(&home);
    sign_up(&service);
    let etag = get(service.public, "/.well-known/jwks.json");
    let etag = etag.header("etag").expect("a tag").to_owned();
    let list = get(service.public, "/status/1");
    let list = list.header("etag").expect("a tag").to_owned();
    let held = |path: &str, etag: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nPrefer: wait=60\r\nIf-None-Match: {etag}\r\n\r\n"
        )
    };
    let post =
        "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let mut all = Vec::new();
    for (what, sent) in [
        ("nothing", String::new()),
        ("half a head", "GET / HTTP/1.1\r\nHost: a\r\n".into()),
        (
            "half a body",
            format!("{post}Content-Length: 100\r\n\r\n{{"),
        ),
        (
            "half a chunked body",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"),
        ),
        ("a watched key set", held("/.well-known/jwks.json", &etag)),
        ("a watched status list", held("/status/1", &list)),
        (
            "an answered request",
            "GET /api/auth/ok HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        ),
    ] {
        // On top of what is held already.
        all.push(hold(service.public, FILES + 44, &sent));
        serves_others(&service, what);
    }
    let metrics = get(service.admin, "/metrics").body;
    let count = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().expect("a number")
    };
    let open = count("keywheel_connections{listener=\"public\"}");
    assert!(open < u64::try_from(FILES).unwrap(), "{open}");
    let ended = "keywheel_connections_ended_total{listener=\"public\",reason=\"no_room\"}";
    assert!(count(ended) > 100);
    let log = service.into_log();
    // One line a minute, however many they are.
    assert_eq!(
        log.matches("as many connections are open as may be")
            .count(),
        1,
        "{log}"
    );
    assert!(log.contains("ulimit -n"));
}

#[test]
fn the_admin_listener_has_its_own_room_and_takes_none_from_the_public_one() {
    let home = Home::new();
    let service = service(&home);
    let _all = hold(service.admin, FILES, "GET / HTTP/1.1\r\nHost: a\r\n");
    serves_others(&service, "half a head at the admin listener");
}

/// Bytes that the process has in memory.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.expect("VmRSS").trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().expect("a number") * 1024
}

/// Whether the service has read all that was sent to it.
fn has_read_all(public: SocketAddr) -> Option<()> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("sockets");
    let port = format!(":{:04X}", public.port());
    let unread = table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && !fields[4].ends_with(":00000000")
    });
    (!unread).then_some(())
}

/// What a request costs while it is held whose head has 31 KiB: some 19 KiB, as much as one with a small head. It was 59, and 500 where
/// the head was a list of entity tags.
#[test]
fn a_held_request_keeps_nothing_of_its_headers() {
    const HELD: usize = 400;
    const EACH: usize = 32 * 1024;
    let home = Home::new();
    for path in ["/status/1", "/status/1/RS256", "/.well-known/jwks.json"] {
        for extra in [
            format!("X-Pad: {}", "a".repeat(31 * 1024)),
            format!("If-None-Match: {}", vec!["\"a\""; 7900].join(",")),
            format!("X-Request-Id: abc\r\nCookie: {}", "a=b; ".repeat(6000)),
        ] {
            let service = home.serve();
            if get(service.public, path).status == 404 {
                sign_up(&service);
            }
            let answer = get(service.public, path);
            let etag = answer.header("etag").expect("a tag");
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nPrefer: wait=60\r\nIf-None-Match: {etag}\r\n{extra}\r\n\r\n"
            );
            let before = resident(service.pid());
            let held = hold(service.public, HELD, &head);
            until("all are read", || has_read_all(service.public));
            // A request after them is answered after them.
            get(service.admin, "/metrics");
            get(service.public, path);
            let each = resident(service.pid()).saturating_sub(before) / HELD;
            let pad = &extra[..20];
            assert!(each <= EACH, "{path} {pad}: {each} bytes each");
            for stream in &held {
                stream.set_nonblocking(true).expect("a socket");
                let unanswered = stream.peek(&mut [0; 1]);
                assert!(unanswered.is_err(), "{path} {pad}: not held");
            }
        }
    }
}
