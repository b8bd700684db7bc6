//! `keywheel keys rotate`

use clap::Args;
use serde_json::json;

use super::{Common, audit_log, by, existing_store, show};
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::issue::{How, KeyRing, RotationPolicy, algorithm_for, apply, apply_rotation, migrate};
use crate::jose::Algorithm;

/// Let the announced key sign now, retire the one that did, and announce another
///
/// Refused while a verifier may hold a key set without the announced key: until it has been published for
/// jwks_max_age + clock_skew. With --to, tokens are signed by another algorithm from now on; tokens of the former verify until
/// they expire.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys rotate
  keywheel keys rotate --alg RS256 --dry-run
  keywheel keys rotate --to EdDSA --audience orders-api
  keywheel keys rotate --force --reason 'the old key was on a lost laptop'")]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    common: Common,
    /// Only this algorithm; all configured ones by default
    #[arg(long, value_name = "ALG", conflicts_with = "to")]
    alg: Option<Algorithm>,
    /// Sign tokens by this algorithm from now on
    #[arg(long, value_name = "ALG")]
    to: Option<Algorithm>,
    /// Of this audience alone; may be given several times. All by default
    #[arg(long, value_name = "NAME", requires = "to")]
    audience: Vec<String>,
    /// Override the rule that protects verifiers; audited, with --reason
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
}

pub(super) fn run(args: RotateArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let audit = audit_log(&config)?;
    let policy = config.rotation_policy();
    for (flag, alg) in [("--alg", args.alg), ("--to", args.to)] {
        if let Some(alg) = alg {
            is_configured(flag, alg, &policy)?;
        }
    }
    let store = existing_store(&config)?;
    let now = SystemClock.now();
    let how = How {
        force: args.force,
        dry_run: args.common.dry_run,
        reason: args.reason.as_deref(),
    };
    let outcome = match args.to {
        Some(to) => apply(&store, &policy, now, how, |ring| {
            let audiences = audiences(ring, &config, &args.audience, to);
            migrate(ring, &policy, &audiences, to, now, how.force)
        })?,
        None => {
            let algorithms = match args.alg {
                Some(alg) => vec![alg],
                None => policy.algorithms.clone(),
            };
            apply_rotation(&store, &policy, &algorithms, now, how)?
        }
    };
    for done in &outcome.done {
        done.audit(&audit, &by("rotate"), how.reason);
    }
    show(&outcome, &args.common, json!({}))?;
    if let Some(to) = args.to
        && !args.common.json
    {
        output::line(&format!(
            "verifiers must have {to} among their algorithms; what the configuration says of these audiences no longer counts"
        ))?;
    }
    Ok(())
}

fn is_configured(flag: &str, alg: Algorithm, policy: &RotationPolicy) -> Result<(), CliError> {
    if policy.algorithms.contains(&alg) {
        return Ok(());
    }
    let configured: Vec<_> = policy.algorithms.iter().map(|a| a.name()).collect();
    Err(CliError::Usage(format!(
        "{flag} {alg}: keys.algorithms has {}",
        configured.join(", ")
    )))
}

/// Whom a migration concerns, and what signs for each now.
fn audiences(
    ring: &KeyRing,
    config: &Config,
    named: &[String],
    to: Algorithm,
) -> Vec<(Option<String>, Algorithm)> {
    let (policy, settings) = (config.rotation_policy(), config.token_settings());
    let now_by = |audience: &str| algorithm_for(ring, &policy, &settings, audience);
    if !named.is_empty() {
        let with_algorithm = |name: &String| (Some(name.clone()), now_by(name));
        return named.iter().map(with_algorithm).collect();
    }
    // One entry for all; what signs for any of them by another algorithm is what there is to leave.
    let names = settings.audiences.keys().map(String::as_str);
    let others = names.chain([""]).map(now_by);
    let from = others.into_iter().find(|&alg| alg != to).unwrap_or(to);
    vec![(None, from)]
}
