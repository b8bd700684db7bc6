//! `keywheel keys revoke`: a stolen key dies.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, acknowledge, audit_log, by, existing_store, show};
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::issue::{How, apply_revocation};
use crate::store::KeyStore;

/// Take a stolen key out of the key set at once; the announced key signs at once
///
/// Tokens that it has signed are refused by every verifier that has the new set: watching verifiers within a second, others when
/// the set they hold runs out. Says how many watching verifiers have it.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys revoke kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k \\
      --reason 'found in a public bucket'
  keywheel keys revoke old-issuer --reason drill --dry-run")]
pub(in crate::cli) struct RevokeArgs {
    #[command(flatten)]
    common: Common,
    /// The key
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    kid: String,
    /// Why, for the audit trail and the ring
    #[arg(long, value_name = "WORDS")]
    reason: String,
    /// Admin listener of a server to ask who has the new set; may be given several times. The configured one by default
    #[arg(long, value_name = "ADDRESS")]
    admin: Vec<SocketAddr>,
    /// How long to wait for the verifiers
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

pub(super) fn run(args: RevokeArgs) -> Result<(), CliError> {
    if args.reason.trim().is_empty() {
        return Err(CliError::Usage(
            "--reason: say why; it is what the trail is for".into(),
        ));
    }
    let config = args.common.config.load()?;
    let audit = audit_log(&config)?;
    let policy = config.rotation_policy();
    let store = existing_store(&config)?;
    let how = How {
        dry_run: args.common.dry_run,
        reason: Some(&args.reason),
        ..How::default()
    };
    let asked_at = SystemClock.monotonic();
    let outcome = apply_revocation(&store, &policy, &args.kid, SystemClock.now(), how)?;
    for done in &outcome.done {
        done.audit(&audit, &by("revoke"), how.reason);
    }
    if args.common.dry_run {
        return show(&outcome, &args.common, json!({}));
    }
    if !args.common.json {
        show(&outcome, &args.common, json!({}))?;
    }
    let etag = store.load()?.ring.etag().map_err(CliError::failed)?;
    let servers = match args.admin.is_empty() {
        true => vec![config.admin_listen],
        false => args.admin.clone(),
    };
    let acknowledged = acknowledge::ask(&servers, &etag, asked_at, args.wait, policy.jwks_max_age)?;
    if args.common.json {
        return show(&outcome, &args.common, json!({ "servers": acknowledged }));
    }
    for server in &acknowledged {
        output::line(&server.to_string())?;
    }
    Ok(())
}
