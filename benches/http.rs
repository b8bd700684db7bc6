//! An axum handler behind our layer, and the same handler bare, in turn under the same load: requests a second over keep-alive
//! connections, 10,000 cached tokens.
//!
//! `cargo bench --bench http`. One thread serves, another makes the load.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use keywheel::Algorithm;
use support::{different_tokens, keys, median, tokens, verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(400);
const CONNECTIONS: usize = 16;
const BODY: &str = "forty-two orders";

#[allow(
    clippy::disallowed_methods,
    reason = "a bench reads the machine's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Serves on a thread of its own for as long as the program runs.
fn serve(router: Router) -> SocketAddr {
    let (told, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address"))
                .expect("heard");
            axum::serve(listener, router).await.expect("served");
        });
    });
    hear.recv().expect("told")
}

/// Requests over one connection until `end`, one after the other; gives their number.
async fn ask(address: SocketAddr, requests: &[Vec<u8>], first: usize, end: Instant) -> usize {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (mut buffer, mut count) = (vec![0; 4096], 0);
    while now() < end {
        let request = &requests[(first + count) % requests.len()];
        stream.write_all(request).await.expect("sent");
        let mut filled = 0;
        // The body is the last of the answer, and in it alone.
        while !buffer[..filled].ends_with(BODY.as_bytes()) {
            let read = stream.read(&mut buffer[filled..]).await.expect("an answer");
            assert!(
                read > 0,
                "refused: {}",
                String::from_utf8_lossy(&buffer[..filled])
            );
            filled += read;
            assert!(
                buffer.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&buffer)
            );
        }
        count += 1;
    }
    count
}

/// Requests a second over all connections.
async fn rate(address: SocketAddr, requests: &Arc<[Vec<u8>]>) -> f64 {
    let start = now();
    let mut connections = JoinSet::new();
    for n in 0..CONNECTIONS {
        let requests = Arc::clone(requests);
        let first = n * requests.len() / CONNECTIONS;
        connections.spawn(async move { ask(address, &requests, first, start + SLICE).await });
    }
    let count: usize = connections.join_all().await.into_iter().sum();
    count as f64 / (now() - start).as_secs_f64()
}

fn main() {
    let (key, set) = keys(Algorithm::EdDSA);
    let verifier = verifier(set, 32_768);
    let handler = || Router::new().route("/orders", get(|| async { BODY }));
    let bare = serve(handler());
    let guarded = serve(handler().layer(verifier.layer().require_scope("orders:read")));
    let request = |token: &String| {
        format!(
            "GET /orders HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            tokens::AUDIENCE
        )
        .into_bytes()
    };
    let requests: Arc<[Vec<u8>]> = different_tokens(&key, 10_000).iter().map(request).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for address in [bare, guarded] {
            for _ in 0..3 {
                rate(address, &requests).await;
            }
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push([rate(bare, &requests).await, rate(guarded, &requests).await]);
        }
        let [bare, guarded] = [0, 1].map(|n| median(rounds.iter().map(|round| round[n]).collect()));
        let ratio = median(rounds.iter().map(|[bare, guarded]| guarded / bare).collect());
        let met = if ratio >= 0.93 { "met" } else { "NOT MET" };
        println!("bare {bare:.0} requests/s, behind the layer {guarded:.0}");
        println!("| over HTTP, keep-alive, cached tokens: behind the layer / bare | ≥ 0.93 × | {ratio:.3} × | {met} |");
    });
}
