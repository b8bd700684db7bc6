//! `keywheel keys`: what keys there are, and rotating them. Works on the store itself, whether a server runs or not.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::{CliError, ConfigArgs, output, telemetry};
use crate::audit::AuditLog;
use crate::clock::{Clock, SystemClock};
use crate::config::Log;
use crate::issue::{
    Done, ImportRefused, KeyRecord, RotationPolicy, Transition, apply_rotation, import_key,
};
use crate::jose::{Algorithm, NumericDate, read_private_key};
use crate::store::{FileKeyStore, KeyStore, StoredKeys};

/// Look at the keys and rotate them, while the server runs or while it is down
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    List(ListArgs),
    Rotate(RotateArgs),
    Import(ImportArgs),
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

/// Take a private key from elsewhere into the ring, as the announced one of its algorithm
///
/// Reads Ed25519 and RSA keys: PKCS#8 and PKCS#1, PEM or DER, and private JWKs. The key that was announced, which has never
/// signed, leaves the set; the next rotation lets the imported one sign, by the same rules as any.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys import old-issuer.pem
  keywheel keys import --alg RS256 --kid 2024-05 rsa.pem
  keywheel keys import --dry-run key.jwk")]
pub(super) struct ImportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it signs by; what its JWK says, else EdDSA or RS256 by its type
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// What it is called; what its JWK says, else its RFC 7638 thumbprint
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
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
        KeysCommand::Import(args) => import(args),
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
    show(&done, args.json, "done")
}

fn import(args: ImportArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    telemetry::start(&Log::for_commands())?;
    let named = |error: &dyn std::fmt::Display| {
        CliError::Usage(format!("{}: {error}", args.file.display()))
    };
    let file = Zeroizing::new(std::fs::read(&args.file).map_err(|error| named(&error))?);
    let imported =
        read_private_key(&file, args.alg, args.kid.as_deref()).map_err(|error| named(&error))?;
    let store = FileKeyStore::existing(&config.keys.store)?;
    let policy = config.rotation_policy();
    let done = import_key(&store, &policy, &imported, SystemClock.now(), args.dry_run).map_err(
        |error| match error {
            ImportRefused::Store(error) => error.into(),
            error => named(&error),
        },
    )?;
    if args.dry_run {
        return show(&done, args.json, "would");
    }
    let audit = AuditLog::new(std::sync::Arc::new(SystemClock), config.log.audit_rate);
    for done in &done {
        done.audit(&audit, "keywheel keys import");
    }
    show(&done, args.json, "done")
}

/// What was done to which key, or would be.
fn show(done: &[Done], as_json: bool, name: &str) -> Result<(), CliError> {
    if as_json {
        let done: Vec<_> = done
            .iter()
            .map(|done| {
                json!({ "event": done.event.name(), "kid": done.kid, "alg": done.alg, "cause": done.cause.name() })
            })
            .collect();
        return output::json(&json!({ name: done }));
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
