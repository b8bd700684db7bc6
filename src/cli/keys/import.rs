//! `keywheel keys import`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Common, audit_log, by, done_json, existing_store, show_done};
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::issue::{ImportRefused, import_key};
use crate::jose::{Algorithm, read_private_key};

/// Take a private key from elsewhere into the ring, as the announced one of its algorithm
///
/// Reads Ed25519 and RSA keys: PKCS#8 and PKCS#1, PEM or DER, and private JWKs. The key that was announced, which has never
/// signed, leaves the set; the next rotation lets the imported one sign, by the same rules as any.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys import old-issuer.pem
  keywheel keys import --alg RS256 --kid 2024-05 rsa.pem
  keywheel keys import --dry-run key.jwk")]
pub(in crate::cli) struct ImportArgs {
    #[command(flatten)]
    common: Common,
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it signs by; what its JWK says, else EdDSA or RS256 by its type
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// What it is called; what its JWK says, else its RFC 7638 thumbprint
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
}

pub(super) fn run(args: ImportArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let audit = audit_log(&config)?;
    let named = |error: &dyn std::fmt::Display| {
        CliError::Usage(format!("{}: {error}", args.file.display()))
    };
    let file = Zeroizing::new(std::fs::read(&args.file).map_err(|error| named(&error))?);
    let imported =
        read_private_key(&file, args.alg, args.kid.as_deref()).map_err(|error| named(&error))?;
    let store = existing_store(&config)?;
    let (policy, dry_run) = (config.rotation_policy(), args.common.dry_run);
    let done =
        import_key(&store, &policy, &imported, SystemClock.now(), dry_run).map_err(|error| {
            match error {
                ImportRefused::Store(error) => error.into(),
                error => named(&error),
            }
        })?;
    if !dry_run {
        for done in &done {
            done.audit(&audit, &by("import"), None);
        }
    }
    if args.common.json {
        let name = if dry_run { "would" } else { "done" };
        return output::json(&json!({ "dry_run": dry_run, name: done_json(&done) }));
    }
    show_done(&done)
}
