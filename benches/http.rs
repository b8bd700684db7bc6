//! An axum handler behind our layer, the same handler bare, and `keywheel gate`, in turn under the same load: requests a second
//! over keep-alive connections, 10,000 cached tokens. And the handler behind a layer that does nothing, which says what of the
//! difference is axum's own; and the same with 100 of the tokens, which says what of it is waiting for memory.
//!
//! `cargo bench --bench http`. One thread serves, another makes the load.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, ServiceExt as _};
use keywheel::http::gate::{Access, Gate, GateRules, Rule, Rules, Unavailable};
use keywheel::{Algorithm, Metrics};
use support::{different_tokens, keys, median, tokens, verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::layer::{Layer as _, layer_fn};
use tower_service::Service;

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(400);
const CONNECTIONS: usize = 16;
/// So few tokens stay in the processor's caches.
const FEW: usize = 100;
const BODY: &str = "forty-two orders";

#[allow(
    clippy::disallowed_methods,
    reason = "a bench reads the machine's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Serves on a thread of its own for as long as the program runs.
fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let (told, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address"))
                .expect("heard");
            axum::serve(listener, service.into_make_service())
                .await
                .expect("served");
        });
    });
    hear.recv().expect("told")
}

/// One contender: where it is, and how its answers end.
#[derive(Clone, Copy)]
struct Target {
    address: SocketAddr,
    last: &'static [u8],
}

/// Requests over one connection until `end`, one after the other; gives their number.
async fn ask(target: Target, requests: &[Vec<u8>], first: usize, end: Instant) -> usize {
    let mut stream = TcpStream::connect(target.address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (mut buffer, mut count) = (vec![0; 4096], 0);
    while now() < end {
        let request = &requests[(first + count) % requests.len()];
        stream.write_all(request).await.expect("sent");
        let mut filled = 0;
        while !buffer[..filled].ends_with(target.last) {
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
async fn rate(target: Target, requests: &Arc<[Vec<u8>]>) -> f64 {
    let start = now();
    let mut connections = JoinSet::new();
    for n in 0..CONNECTIONS {
        let requests = Arc::clone(requests);
        let first = n * requests.len() / CONNECTIONS;
        connections.spawn(async move { ask(target, &requests, first, start + SLICE).await });
    }
    let count: usize = connections.join_all().await.into_iter().sum();
    count as f64 / (now() - start).as_secs_f64()
}

/// Hands every request on: what any layer costs.
#[derive(Clone)]
struct Idle<S>(S);

impl<S: Service<Request>> Service<Request> for Idle<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.0.call(request)
    }
}

fn main() {
    let (key, set) = keys(Algorithm::EdDSA);
    let verifier = verifier(set, 32_768);
    let handler = || Router::new().route("/orders", get(|| async { BODY }));
    let answering = |router| Target {
        address: serve(router),
        last: BODY.as_bytes(),
    };
    let bare = answering(handler());
    let idle = answering(handler().layer(layer_fn(Idle)));
    let layer = verifier.layer().require_scope("orders:read");
    let guarded = answering(handler().layer(layer.clone()));
    let around = Target {
        address: serve(layer.layer(handler())),
        last: BODY.as_bytes(),
    };
    let rule = Rule::new(
        "/orders",
        &[],
        Access::Token,
        vec!["orders:read".into()],
        vec![],
        None,
    );
    let gate = Gate::new(GateRules {
        verifier,
        rules: Rules::new(vec![rule.expect("a rule")]),
        realm: "api".into(),
        cookie: None,
        unavailable: Unavailable::Refuse,
    });
    let gate = Target {
        address: serve(gate.service(&Metrics::new().expect("metrics"))),
        // It has no body.
        last: b"\r\n\r\n",
    };
    let request = |path: &'static str| {
        move |token: &String| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: {}\r\nx-forwarded-uri: /orders\r\nx-forwarded-method: GET\r\n\
                 authorization: Bearer {token}\r\n\r\n",
                tokens::AUDIENCE
            )
            .into_bytes()
        }
    };
    let different = different_tokens(&key, 10_000);
    let orders: Arc<[Vec<u8>]> = different.iter().map(request("/orders")).collect();
    let verify: Arc<[Vec<u8>]> = different.iter().map(request("/verify")).collect();
    let [few_orders, few_verify] =
        [&orders, &verify].map(|requests| Arc::<[Vec<u8>]>::from(&requests[..FEW]));
    let contenders = [
        (bare, &orders),
        (guarded, &orders),
        (gate, &verify),
        (idle, &orders),
        (around, &orders),
        (bare, &few_orders),
        (guarded, &few_orders),
        (gate, &few_verify),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for (target, requests) in contenders {
            for _ in 0..3 {
                rate(target, requests).await;
            }
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut round = [0.0; 8];
            for (rated, (target, requests)) in round.iter_mut().zip(contenders) {
                *rated = rate(target, requests).await;
            }
            rounds.push(round);
        }
        let of = |n: usize| median(rounds.iter().map(|round| round[n]).collect());
        println!(
            "bare {:.0} requests/s, behind the layer {:.0}, the gate {:.0}, behind a layer that does nothing {:.0}",
            of(0),
            of(1),
            of(2),
            of(3)
        );
        let ratio = |n: usize, to: usize| {
            median(rounds.iter().map(|round| round[n] / round[to]).collect())
        };
        println!("behind a layer that does nothing / bare: {:.3} ×; behind ours / behind that: {:.3} ×", ratio(3, 0), ratio(1, 3));
        println!("our layer around the router instead of within it / bare: {:.3} ×", ratio(4, 0));
        println!("with {FEW} tokens: behind ours / bare: {:.3} ×; the gate / bare: {:.3} ×", ratio(6, 5), ratio(7, 5));
        for (name, n, wanted) in [("behind the layer", 1, 0.93), ("the gate", 2, 0.85)] {
            let ratio = ratio(n, 0);
            let met = if ratio >= wanted { "met" } else { "NOT MET" };
            println!("| over HTTP, keep-alive, cached tokens: {name} / bare | ≥ {wanted} × | {ratio:.3} × | {met} |");
        }
    });
}
