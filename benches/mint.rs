//! Minting a token, against the raw signature that is in it.
//!
//! `cargo bench --bench mint`
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::time::Duration;

use keywheel::issue::{Grant, Issuer, RotationPolicy, TokenSettings};
use keywheel::store::FileKeyStore;
use keywheel::{Algorithm, Metrics, SystemClock};
use support::{Contender, ratio, take_turns, tokens};

fn main() {
    for algorithm in [Algorithm::EdDSA, Algorithm::RS256] {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = RotationPolicy {
            algorithms: vec![algorithm],
            ..RotationPolicy::default()
        };
        let store = FileKeyStore::open(folder.path().join("keys")).expect("a store");
        let settings = TokenSettings::new(tokens::ISSUER);
        let metrics = Metrics::new().expect("metrics");
        let issuer =
            Issuer::open(store, policy, settings, SystemClock, &metrics).expect("an issuer");
        let grant = Grant::new("user-1", tokens::AUDIENCE)
            .scope("orders:read")
            .scope("orders:write");
        let minted = issuer.mint(&grant).expect("a token").token;
        let (input, _) = minted.rsplit_once('.').expect("a token");
        let key = tokens::key_for(algorithm, "raw");
        let contenders: Vec<Contender<'_>> = vec![
            (
                "mint",
                Box::new(|| drop(black_box(issuer.mint(&grant).expect("a token")))),
            ),
            (
                "raw signature",
                Box::new(|| drop(black_box(key.sign(input.as_bytes()).expect("a signature")))),
            ),
        ];
        println!("{algorithm}, token of {} bytes", minted.len());
        let measured = take_turns(21, Duration::from_millis(20), contenders);
        support::print(&measured);
        let ratio = ratio(&measured[0], &measured[1]);
        let met = if ratio <= 1.3 { "met" } else { "NOT MET" };
        println!("| mint, {algorithm} / raw signature | ≤ 1.3 × | {ratio:.2} × | {met} |");
    }
}
