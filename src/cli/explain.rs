//! `keywheel explain`: every check of a verification, and what to do about the one that failed.

use clap::Args;

use super::verify::{Target, build, read_token};
use super::{CliError, output, runtime, telemetry};
use crate::config::Log;
use crate::verify::{CheckName, Outcome};

/// Show every check of a token, and what to do about the one that failed
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel explain --issuer https://auth.example.com --audience orders-api eyJhbGciOi…
  keywheel explain --jwks jwks.json - < token.txt
  keywheel explain eyJhbGciOi…            # what can be said without keys")]
pub(super) struct ExplainArgs {
    /// The token, or - to read it from standard input
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    target: Target,
    /// The audience the token must be meant for; without it, that check is left out
    #[arg(long, value_name = "AUD")]
    audience: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: ExplainArgs) -> Result<(), CliError> {
    telemetry::start(&Log::quiet())?;
    let token = read_token(&args.token)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let verifier = build(&args.target, args.audience.as_deref(), &token)?;
        let mut explanation = verifier.explain(&token).await;
        if args.audience.is_none() {
            explanation
                .checks
                .retain(|check| check.name != CheckName::Audience);
        }
        if args.target.has_no_keys() {
            for check in &mut explanation.checks {
                if check.name == CheckName::Key && check.outcome == Outcome::Failed {
                    let advice =
                        "name the issuer with --issuer URL, or its key set with --jwks FILE|URL";
                    check.advice = Some(advice.into());
                }
            }
        }
        if args.json {
            output::json(&explanation)?;
        } else {
            output::block(&explanation.to_string())?;
        }
        match explanation.ok {
            true => Ok(()),
            false => Err(CliError::No(String::new())),
        }
    })
}
