//! `keywheel keys list`

use clap::Args;
use serde_json::json;

use super::{Looking, existing_store, warn_of_problems};
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::issue::{KeyRecord, KeyRing, RotationPolicy, Stage};
use crate::jose::NumericDate;
use crate::store::{KeyStore, StoredKeys};

/// Which keys there are, what each is doing, and what comes next
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys list
  keywheel keys list --all --json")]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    common: Looking,
    /// Also keys that are gone or revoked
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: ListArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let policy = config.rotation_policy();
    let stored = existing_store(&config)?.load()?;
    let now = SystemClock.now();
    let is_shown = |key: &&KeyRecord| args.all || key.stage.is_published();
    let shown: Vec<&KeyRecord> = stored.ring.keys.iter().filter(is_shown).collect();
    if args.common.json {
        return output::json(&to_json(&stored, &shown, &policy, now));
    }
    let rows: Vec<[String; 8]> = shown
        .iter()
        .map(|key| row(&stored.ring, key, &policy, now))
        .collect();
    output::table(
        [
            "STAGE",
            "ALG",
            "KID",
            "AGE",
            "FIRST PUBLISHED",
            "SIGNS SINCE",
            "LAST TOKEN EXPIRES",
            "NEXT",
        ],
        &rows,
    )?;
    for migration in &stored.ring.migrations {
        let audience = migration.audience.as_deref().unwrap_or("every audience");
        let drained = match migration.drained_at {
            Some(at) if at > now => format!(
                "; the last {} token expires {}",
                migration.from,
                output::relative(at, now)
            ),
            _ => String::new(),
        };
        output::line(&format!(
            "{audience}: {} since {}, {} before{drained}",
            migration.to,
            migration.at.to_rfc3339(),
            migration.from,
        ))?;
    }
    warn_of_problems(&stored.problems);
    if let Err(clock) = stored.ring.check_clock(&policy, now) {
        output::note(&format!("keywheel: {clock}"));
    }
    Ok(())
}

fn row(ring: &KeyRing, key: &KeyRecord, policy: &RotationPolicy, now: NumericDate) -> [String; 8] {
    let relative = |at: Option<NumericDate>| match at {
        Some(at) => output::relative(at, now),
        None => "-".into(),
    };
    let age = output::relative(key.created_at, now);
    let step = next_step(key);
    let next = match (step, policy.next_step_at(ring, key, now)) {
        (None, _) => match key.stage_since() {
            Some(at) => format!("{} {}", key.stage, output::relative(at, now)),
            None => "-".into(),
        },
        _ if !key.usable => "cannot be used".into(),
        (Some(step), Some(at)) if at <= now => format!("{step} now"),
        (Some(step), Some(at)) => format!("{step} {}", output::relative(at, now)),
        (_, None) => "waits to be published".into(),
    };
    // A key that signs on has no last token yet.
    let last_token = match key.stage {
        Stage::Announced | Stage::Signing => None,
        _ => key.tokens_until,
    };
    [
        key.stage.to_string(),
        key.alg.to_string(),
        key.kid.clone(),
        age.strip_suffix(" ago").unwrap_or(&age).to_owned(),
        relative(key.first_published),
        relative(key.signing_since),
        relative(last_token),
        next,
    ]
}

fn next_step(key: &KeyRecord) -> Option<&'static str> {
    match key.stage {
        Stage::Announced => Some("signs"),
        Stage::Signing => Some("retires"),
        Stage::Retired => Some("goes"),
        Stage::Gone | Stage::Revoked => None,
    }
}

fn to_json(
    stored: &StoredKeys,
    shown: &[&KeyRecord],
    policy: &RotationPolicy,
    now: NumericDate,
) -> serde_json::Value {
    let ring = &stored.ring;
    let keys: Vec<_> = shown
        .iter()
        .map(|key| {
            json!({
                "kid": key.kid,
                "alg": key.alg,
                "stage": key.stage,
                "usable": key.usable,
                "created_at": key.created_at,
                "age_seconds": now.since(key.created_at).as_secs(),
                "first_published": key.first_published,
                "may_sign_at": policy.may_sign_at(key).map(|at| ring.settled_at(at, now)),
                "signing_since": key.signing_since,
                "tokens_until": key.tokens_until,
                "retired_at": key.retired_at,
                "gone_at": key.gone_at,
                "revoked_at": key.revoked_at,
                "causes": key.causes,
                "reason": key.reason,
                "next_step": next_step(key),
                "next_step_at": policy.next_step_at(ring, key, now),
            })
        })
        .collect();
    let problems: Vec<String> = stored.problems.iter().map(|p| p.to_string()).collect();
    json!({ "keys": keys, "migrations": ring.migrations, "problems": problems })
}
