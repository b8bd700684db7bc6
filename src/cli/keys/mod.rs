//! `keywheel keys`: what keys there are, and everything an operator does with them. Works on the store itself, whether a server
//! runs or not.

mod acknowledge;
mod export;
mod import;
mod list;
mod plan;
mod revoke;
mod rewrap;
mod rotate;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, ConfigArgs, key_store, output, telemetry};
use crate::audit::AuditLog;
use crate::clock::SystemClock;
use crate::config::{self, Config, Log};
use crate::issue::{Breaks, Done, KeyRing, Outcome, Transition};
use crate::store::KeyStore;

/// Look at the keys, rotate, revoke, import and export them, while the server runs or while it is down
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    List(list::ListArgs),
    Plan(plan::PlanArgs),
    Rotate(rotate::RotateArgs),
    Revoke(revoke::RevokeArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Rewrap(rewrap::RewrapArgs),
}

pub(super) fn run(command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::List(args) => list::run(args),
        KeysCommand::Plan(args) => plan::run(args),
        KeysCommand::Rotate(args) => rotate::run(args),
        KeysCommand::Revoke(args) => revoke::run(args),
        KeysCommand::Import(args) => import::run(args),
        KeysCommand::Export(args) => export::run(args),
        KeysCommand::Rewrap(args) => rewrap::run(args),
    }
}

/// What a command takes that looks at keys.
#[derive(Args)]
struct Looking {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a command takes that changes keys, or gives them out.
#[derive(Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArgs,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn existing_store(config: &Config) -> Result<Box<dyn KeyStore>, CliError> {
    key_store(config, false)
}

/// Starts the audit trail of a command; the lines go to stderr.
fn audit_log(config: &Config) -> Result<AuditLog, CliError> {
    telemetry::start(&Log::for_commands())?;
    let clock = std::sync::Arc::new(SystemClock);
    Ok(AuditLog::new(clock, config.log.audit_rate))
}

/// Who does this, for the audit trail.
fn by(command: &str) -> String {
    format!("{} (keywheel keys {command})", config::operator())
}

/// Says what was done, or in a dry run what would be; what it breaks goes to stderr, where no script mistakes it for a result.
fn show(outcome: &Outcome, common: &Common, more: serde_json::Value) -> Result<(), CliError> {
    let would: Vec<String> = outcome.intent.transitions.iter().map(describe).collect();
    if common.json {
        let breaks: Vec<_> = outcome.intent.breaks.iter().map(breaks_json).collect();
        let mut document = json!({ "dry_run": common.dry_run, "breaks": breaks });
        match common.dry_run {
            true => document["would"] = json!(would),
            false => document["done"] = done_json(&outcome.done),
        }
        if let serde_json::Value::Object(more) = more {
            for (name, value) in more {
                document[name] = value;
            }
        }
        return output::json(&document);
    }
    if common.dry_run {
        for line in &would {
            output::line(&format!("would {line}"))?;
        }
    } else {
        show_done(&outcome.done)?;
    }
    for breaks in &outcome.intent.breaks {
        output::note(&format!("keywheel: {breaks}"));
    }
    Ok(())
}

fn show_done(done: &[Done]) -> Result<(), CliError> {
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

fn done_json(done: &[Done]) -> serde_json::Value {
    let done: Vec<_> = done
        .iter()
        .map(|done| {
            json!({ "event": done.event.name(), "kid": done.kid, "alg": done.alg, "cause": done.cause.name() })
        })
        .collect();
    json!(done)
}

fn breaks_json(breaks: &Breaks) -> serde_json::Value {
    json!({ "kid": breaks.kid, "what": breaks.what, "until": breaks.until })
}

fn describe(transition: &Transition) -> String {
    match transition {
        Transition::Announce { alg, .. } => format!("announce a new {alg} key"),
        Transition::Activate { alg, cause } => format!(
            "let the announced {alg} key sign and retire the signing one ({})",
            cause.name()
        ),
        Transition::Retire { kid, .. } => format!("retire key {kid}"),
        Transition::Remove { kid, .. } => format!("remove key {kid}"),
        Transition::Revoke { kid } => format!("revoke key {kid}"),
        Transition::Migrate {
            audience, from, to, ..
        } => match audience {
            Some(audience) => format!("sign tokens for {audience} by {to}, no longer by {from}"),
            None => format!("sign tokens for every audience by {to}, no longer by {from}"),
        },
    }
}

/// Names the ring's keys that cannot be used.
fn warn_of_problems(problems: &[crate::store::KeyProblem]) {
    for problem in problems {
        output::note(&format!("keywheel: {problem}"));
    }
}

/// The key of this name, or a refusal that names it.
fn named<'r>(ring: &'r KeyRing, kid: &str) -> Result<&'r crate::issue::KeyRecord, CliError> {
    ring.get(kid).ok_or_else(|| {
        CliError::Usage(format!(
            "the ring has no key `{kid}`; `keywheel keys list` shows those it has"
        ))
    })
}
