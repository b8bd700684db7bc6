//! `keywheel token`: mints one, for scripts and tests, by whoever may read the key files.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{CliError, ConfigArgs, key_store, output, telemetry};
use crate::audit::{AuditLog, Event, Fields};
use crate::clock::SystemClock;
use crate::config::Log;
use crate::issue::{Grant, Issuer, MintError};
use crate::metrics::Metrics;

/// Mint a token with the signing key of the store, for scripts and tests
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel token --sub user-1 --aud orders-api
  keywheel token --sub user-1 --aud orders-api --scope 'orders:read orders:write' --ttl 5m
  curl -H \"Authorization: Bearer $(keywheel token --sub user-1 --aud orders-api)\" http://127.0.0.1:8000/")]
pub(super) struct TokenArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Subject
    #[arg(long, value_name = "SUB")]
    sub: String,
    /// Audience; its algorithm is the configured one
    #[arg(long, value_name = "AUD")]
    aud: String,
    /// Scopes, separated by spaces
    #[arg(long, value_name = "SCOPES", default_value = "")]
    scope: String,
    /// Role; may be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// How long it lives, like 90s or 5m; the configured ttl by default
    #[arg(long, value_name = "TTL", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Print JSON with kid, jti and exp
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: TokenArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    telemetry::start(&Log::for_commands())?;
    let metrics = Metrics::new().map_err(CliError::failed)?;
    let issuer = Issuer::open_existing(
        key_store(&config, false)?,
        config.rotation_policy(),
        config.token_settings(),
        SystemClock,
        &metrics,
    )?;
    let mut grant = Grant::new(&args.sub, &args.aud).scope(&args.scope);
    for role in args.role {
        grant = grant.role(role);
    }
    if let Some(ttl) = args.ttl {
        grant = grant.ttl(ttl);
    }
    let minted = issuer.mint(&grant).map_err(|error| match error {
        MintError::Ttl { .. } => CliError::Usage(format!("--ttl: {error}")),
        MintError::Empty(_) => CliError::Usage(error.to_string()),
        error => CliError::failed(error),
    })?;
    let audit = AuditLog::new(std::sync::Arc::new(SystemClock), config.log.audit_rate);
    audit.write(
        Event::TokenMinted,
        &Fields {
            issuer: Some(&config.issuer),
            kid: Some(&minted.kid),
            sub: Some(&args.sub),
            jti: Some(&minted.jti),
            ..Fields::default()
        },
    );
    if args.json {
        return output::json(&json!({
            "token": minted.token,
            "kid": minted.kid,
            "jti": minted.jti,
            "exp": minted.expires_at,
        }));
    }
    output::line(&minted.token)
}
