//! `keywheel keys`: what keys there are, and rotating them. Works on the store itself, whether a server runs or not.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, ConfigArgs, output, telemetry};
use crate::audit::AuditLog;
use crate::clock::{Clock, SystemClock};
use crate::config::Log;
use crate::issue::{KeyRecord, RotationPolicy, Transition, apply_rotation};
use crate::jose::{Algorithm, NumericDate};
use crate::store::{FileKeyStore, KeyStore, StoredKeys};

/// Look at the keys and rotate them, while the server runs or while it is down
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    List(ListArgs),
    Rotate(RotateArgs),
}

/// Which keys there are, what each is doing, and what comes next
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys list
  keywheel keys list --json")]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Let the announced key sign now, retire the one that did, and announce another
///
/// Refused while a verifier may hold a key set without the announced key: until it has been published for
/// jwks_max_age + clock_skew.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys rotate
  keywheel keys rotate --alg RS256 --dry-run
  keywheel keys rotate --force")]
pub(super) struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this algorithm; all configured ones by default
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// Override the rule that protects verifiers; audited
    #[arg(long)]
    force: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::List(args) => list(args),
        KeysCommand::Rotate(args) => rotate(args),
    }
}

fn list(args: ListArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    let policy = config.rotation_policy();
    let stored = FileKeyStore::existing(&config.keys.store)?.load()?;
    let now = SystemClock.now();
    if args.json {
        return output::json(&to_json(&stored, &policy));
    }
    let rows: Vec<[String; 7]> = stored
        .ring
        .keys
        .iter()
        .map(|key| row(&stored, key, &policy, now))
        .collect();
    output::table(
        ["STAGE", "ALG", "KID", "MADE", "PUBLISHED", "SINCE", "NEXT"],
        &rows,
    )?;
    for problem in &stored.problems {
        eprintln!("keywheel: {problem}");
    }
    Ok(())
}

fn row(
    stored: &StoredKeys,
    key: &KeyRecord,
    policy: &RotationPolicy,
    now: NumericDate,
) -> [String; 7] {
    let relative = |at: Option<NumericDate>| match at {
        Some(at) => output::relative(at, now),
        None => "-".into(),
    };
    let next = match (next_step(key), policy.next_step_at(&stored.ring, key)) {
        _ if !key.usable => "cannot be used".into(),
        (step, Some(at)) if at <= now => format!("{step} now"),
        (step, Some(at)) => format!("{step} {}", output::relative(at, now)),
        (_, None) => "waits to be published".into(),
    };
    [
        key.stage.to_string(),
        key.alg.to_string(),
        key.kid.clone(),
        relative(Some(key.created_at)),
        relative(key.first_published),
        relative(key.retired_at.or(key.signing_since)),
        next,
    ]
}

fn next_step(key: &KeyRecord) -> &'static str {
    use crate::issue::Stage;
    match key.stage {
        Stage::Announced => "signs",
        Stage::Signing => "retires",
        Stage::Retired => "goes",
    }
}

fn to_json(stored: &StoredKeys, policy: &RotationPolicy) -> serde_json::Value {
    let keys: Vec<_> = stored
        .ring
        .keys
        .iter()
        .map(|key| {
            json!({
                "kid": key.kid,
                "alg": key.alg,
                "stage": key.stage,
                "usable": key.usable,
                "created_at": key.created_at,
                "first_published": key.first_published,
                "may_sign_at": policy.may_sign_at(key),
                "signing_since": key.signing_since,
                "retired_at": key.retired_at,
                "next_step": next_step(key),
                "next_step_at": policy.next_step_at(&stored.ring, key),
            })
        })
        .collect();
    let problems: Vec<String> = stored.problems.iter().map(|p| p.to_string()).collect();
    json!({ "keys": keys, "problems": problems })
}

fn rotate(args: RotateArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    telemetry::start(&Log::for_commands())?;
    let policy = config.rotation_policy();
    let algorithms = match args.alg {
        Some(alg) if !policy.algorithms.contains(&alg) => {
            let configured: Vec<_> = policy.algorithms.iter().map(|a| a.name()).collect();
            return Err(CliError::Usage(format!(
                "--alg {alg}: keys.algorithms has {}",
                configured.join(", ")
            )));
        }
        Some(alg) => vec![alg],
        None => policy.algorithms.clone(),
    };
    let store = FileKeyStore::existing(&config.keys.store)?;
    let now = SystemClock.now();
    let (planned, done) =
        apply_rotation(&store, &policy, &algorithms, now, args.force, args.dry_run)?;
    let audit = AuditLog::new(std::sync::Arc::new(SystemClock), config.log.audit_rate);
    for done in &done {
        done.audit(&audit, "keywheel keys rotate");
    }
    if args.dry_run {
        let planned: Vec<String> = planned.iter().map(describe).collect();
        if args.json {
            return output::json(&json!({ "dry_run": true, "would": planned }));
        }
        for line in planned {
            output::line(&format!("would {line}"))?;
        }
        return Ok(());
    }
    if args.json {
        let done: Vec<_> = done
            .iter()
            .map(|done| {
                json!({ "event": done.event.name(), "kid": done.kid, "alg": done.alg, "cause": done.cause.name() })
            })
            .collect();
        return output::json(&json!({ "done": done }));
    }
    for done in done {
        output::line(&format!(
            "{:<14} {:<6} {}",
            done.event.name(),
            done.alg.name(),
            done.kid
        ))?;
    }
    Ok(())
}

fn describe(transition: &Transition) -> String {
    match transition {
        Transition::Announce { alg, .. } => format!("announce a new {alg} key"),
        Transition::Activate { alg, cause } => format!(
            "let the announced {alg} key sign and retire the signing one ({})",
            cause.name()
        ),
        Transition::Remove { kid, .. } => format!("remove key {kid}"),
    }
}
