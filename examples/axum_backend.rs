//! A backend behind Keywheel's layer: the README's quick start, to the letter.
#![allow(missing_docs)]

use std::net::SocketAddr;

use axum::{Router, routing::get};
use keywheel::{Algorithm, Claims, Verified, Verifier};

async fn orders(token: Verified<Claims>) -> String {
    format!("orders of {}", token.subject())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let verifier = Verifier::builder()
        .issuer("http://localhost:3001") // discovery; or .jwks_url(…), or .static_keys(…)
        .audience("api") // not optional
        .algorithms([Algorithm::EdDSA, Algorithm::RS256])
        .build()?; // starts with the issuer down, and recovers by itself

    let app: Router = Router::new()
        .route("/orders", get(orders))
        .layer(verifier.layer().require_scope("orders:read"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    // With each connection's address, for the audit lines of what is refused.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
