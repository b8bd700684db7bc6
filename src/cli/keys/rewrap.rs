//! `keywheel keys rewrap`

use clap::Args;
use serde_json::json;

use super::{Common, audit_log, by, existing_store};
use crate::audit::{Event, Fields};
use crate::cli::{CliError, output};
use crate::store::KeyStore as _;

/// Seal every private key, and the ring, by the first wrapping key
///
/// To change the wrapping key: put the new one first, run this, then drop the old one. A ring that carries no seal of a
/// configured wrapping key, because it never had one or because that key is lost, is only sealed with --force: compare `keywheel
/// keys list` with what you expect before you vouch for it.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys rewrap --dry-run
  keywheel keys rewrap
  keywheel keys rewrap --force --reason 'sealed for the first time'")]
pub(in crate::cli) struct RewrapArgs {
    #[command(flatten)]
    common: Common,
    /// Vouch for a ring that nobody vouches for; audited, with --reason
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
}

pub(super) fn run(args: RewrapArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let audit = audit_log(&config)?;
    let store = existing_store(&config)?;
    let rewrapped = store
        .rewrap(args.force, args.common.dry_run)
        .map_err(CliError::from)?;
    if !args.common.dry_run {
        let detail = match &args.reason {
            Some(reason) => format!("by {}: {reason}", by("rewrap")),
            None => format!("by {}", by("rewrap")),
        };
        let fields = Fields {
            detail: Some(&detail),
            ..Fields::default()
        };
        audit.write(Event::KeysRewrapped, &fields);
        if args.force {
            audit.write(Event::Forced, &fields);
        }
    }
    if args.common.json {
        let keys: Vec<_> = rewrapped
            .iter()
            .map(|key| json!({ "kid": key.kid, "problem": key.problem }))
            .collect();
        return output::json(&json!({ "dry_run": args.common.dry_run, "keys": keys }));
    }
    let verb = if args.common.dry_run {
        "would seal"
    } else {
        "sealed"
    };
    for key in &rewrapped {
        match &key.problem {
            None => output::line(&format!("{verb} {}", key.kid))?,
            Some(problem) => {
                output::note(&format!("keywheel: {}: left as it is: {problem}", key.kid));
            }
        }
    }
    output::line(&format!("{verb} the ring"))
}
