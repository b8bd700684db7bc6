//! `keywheel keys export`

use clap::Args;

use super::{Common, audit_log, by, existing_store, named};
use crate::audit::{Event, Fields};
use crate::cli::{CliError, output};
use crate::store::KeyStore;

/// Print the public key set, or with --private one private key
///
/// The key set is what the server publishes. A private key can be had while it is announced or signs; it is printed as PKCS#8
/// PEM, and whoever holds it can sign as this issuer.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys export > jwks.json
  keywheel keys export --private kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k > key.pem")]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    common: Common,
    /// The private half of this key
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    private: Option<String>,
}

pub(super) fn run(args: ExportArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let audit = audit_log(&config)?;
    let store = existing_store(&config)?;
    let ring = store.load()?.ring;
    let Some(kid) = &args.private else {
        let jwks = ring.to_jwks().map_err(CliError::failed)?;
        if args.common.dry_run {
            let keys = ring.published().count();
            return output::line(&format!("would print the public key set of {keys} keys"));
        }
        let who = by("export");
        let fields = Fields {
            reason: Some("public"),
            detail: Some(&who),
            ..Fields::default()
        };
        audit.write(Event::KeysExported, &fields);
        return output::document(&jwks);
    };
    let record = named(&ring, kid)?;
    if !record.stage.needs_private_half() {
        return Err(CliError::Usage(format!(
            "key {kid} is {}: its private half has been destroyed",
            record.stage
        )));
    }
    let pkcs8 = store.private_key(record).map_err(CliError::failed)?;
    if args.common.dry_run {
        return output::line(&format!("would print the private half of {kid}"));
    }
    let who = by("export --private");
    let fields = Fields {
        reason: Some("private"),
        detail: Some(&who),
        kid: Some(kid),
        ..Fields::default()
    };
    audit.write(Event::KeysExported, &fields);
    let pem = zeroize::Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.to_vec())));
    if args.common.json {
        return output::json(&serde_json::json!({ "kid": kid, "alg": record.alg, "pkcs8": *pem }));
    }
    output::block(pem.trim_end())
}
