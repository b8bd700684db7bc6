//! A backend that can be watched: its metrics and probes are on a listener of their own, out of reach of the public.
//!
//! `ISSUER=http://localhost:3001 LISTEN=127.0.0.1:8000 ADMIN_LISTEN=127.0.0.1:9303 cargo run --example observed_backend`
#![allow(missing_docs)]
#![expect(clippy::disallowed_methods, reason = "an example's settings")]

use std::time::Duration;

use axum::{Router, routing::get};
use keywheel::verify::{RefreshPolicy, health_routes};
use keywheel::{Algorithm, Claims, Verified, Verifier};

async fn orders(token: Verified<Claims>) -> String {
    format!("orders of {}", token.subject())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

/// The default, unless `MAX_STALE` seconds say otherwise: then keys are asked for and confirmed all the more often.
fn refresh_policy() -> Result<RefreshPolicy, std::num::ParseIntError> {
    let mut policy = RefreshPolicy::default();
    if let Ok(seconds) = std::env::var("MAX_STALE") {
        policy.max_stale = Duration::from_secs(seconds.parse()?);
        policy.min_interval = Duration::from_secs(1);
        policy.max_interval = policy.max_stale / 8 + policy.min_interval;
        policy.default_interval = policy.max_interval;
        policy.push_wait = policy.max_interval;
    }
    Ok(policy)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::builder()
        .issuer(setting("ISSUER", "http://localhost:3001"))
        .audience("api")
        .algorithms([Algorithm::EdDSA, Algorithm::RS256])
        .refresh(refresh_policy()?)
        .build()?;

    let admin = tokio::net::TcpListener::bind(setting("ADMIN_LISTEN", "127.0.0.1:9303")).await?;
    let health = health_routes(&verifier); // /metrics, /readyz, /healthz
    tokio::spawn(async move { axum::serve(admin, health).await });

    let app: Router = Router::new()
        .route("/orders", get(orders))
        .layer(verifier.layer().require_scope("orders:read"));
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:8000")).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
