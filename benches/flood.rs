//! What a flood of failures costs: how many a second are refused, how much is written of them, and how much memory it takes.
//!
//! `cargo bench --bench flood`
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keywheel::audit::Recent;
use keywheel::{Claims, JwkSet, Metrics, Verifier};
use support::tokens;

/// Counts what would go to the disk.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn main() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .init();
    let key = tokens::key("a");
    let metrics = Metrics::new().expect("metrics");
    let recent = Arc::new(Recent::default());
    let verifier = Verifier::builder()
        .issuer(tokens::ISSUER)
        .audience(tokens::AUDIENCE)
        .static_keys(JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).expect("keys"))
        .metrics(&metrics)
        .remember(&recent)
        .build()
        .expect("a verifier");
    let good = tokens::lasting_token(&key);
    let forged = tokens::forged(&good);
    let (_, rest) = good.split_once('.').expect("a token");
    let invented = |n| tokens::encode(&format!(r#"{{"alg":"EdDSA","kid":"{n}","typ":"at+jwt"}}"#));
    let unknown: Vec<String> = (0..1_000)
        .map(|n| format!("{}.{rest}", invented(n)))
        .collect();

    for (what, seconds) in [("warm-up", 1), ("flood", 5)] {
        let (lines, bytes, memory) = (
            log.lines.load(Ordering::Relaxed),
            log.bytes.load(Ordering::Relaxed),
            resident(),
        );
        let mut refused = 0u64;
        let mut took = Duration::ZERO;
        while took < Duration::from_secs(seconds) {
            took += support::timed(|| {
                for token in unknown.iter().chain([&forged]) {
                    assert!(verifier.try_verify::<Claims>(token).is_err());
                    refused += 1;
                }
            });
        }
        let per_second = |count: u64| count as f64 / took.as_secs_f64();
        println!(
            "{what}: {:.0} failures/s refused, {:.0} lines/s and {:.1} KiB/s written, {} KiB of memory more, {} series",
            per_second(refused),
            per_second(log.lines.load(Ordering::Relaxed) - lines),
            per_second(log.bytes.load(Ordering::Relaxed) - bytes) / 1024.0,
            resident().saturating_sub(memory),
            metrics
                .render()
                .lines()
                .filter(|line| !line.starts_with('#'))
                .count(),
        );
    }
}
