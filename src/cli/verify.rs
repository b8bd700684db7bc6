//! `keywheel verify`: the verdict on a token, by the same code that backends run.

use std::io::{self, BufRead as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{CliError, output, runtime, telemetry};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config::Log;
use crate::jose::{
    Algorithm, Compact, JwkSet, MAX_TOKEN_BYTES, NumericDate, Policy, RegisteredClaims,
};
use crate::verify::{
    BuildError, Claims, Reject, TrustedIssuer, Verified, Verifier, VerifierBuilder,
};

/// Algorithms accepted unless told otherwise: all that there are, since the keys are named on the command line.
const ALGORITHMS: &[Algorithm] = Algorithm::ALL;

/// Say whether a token is good, and if not, why
#[derive(Args)]
#[command(
    override_usage = "keywheel verify [OPTIONS] --audience <AUD> <TOKEN>\n       keywheel verify --cases <FILE>",
    after_help = "Examples:
  keywheel verify --issuer https://auth.example.com --audience orders-api eyJhbGciOi…
  keywheel token --sub u --aud api |
      keywheel verify --jwks http://localhost:3001/.well-known/jwks.json --audience api -
  keywheel verify --cases cases.jsonl

Each line of a cases file is {id, token, jwks, config: {issuer, audience, algorithms, now, leeway, require, typ?}}; each line
of the answer is {id, ok, reason, claims}."
)]
pub(super) struct VerifyArgs {
    /// The token, or - to read it from standard input
    #[arg(value_name = "TOKEN", required_unless_present = "cases")]
    token: Option<String>,
    #[command(flatten)]
    target: Target,
    /// The audience the token must be meant for; required, but for --cases
    #[arg(long, value_name = "AUD", required_unless_present = "cases")]
    audience: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Verify every line of a file instead, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "issuer", "jwks", "audience", "algorithms", "typ", "now"])]
    cases: Option<PathBuf>,
}

/// What a token is held against.
#[derive(Args)]
pub(super) struct Target {
    /// The expected issuer; its keys are found by discovery unless --jwks is given
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The key set: a file or a URL. Without --issuer, any issuer will do
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
    /// Accepted algorithms, separated by commas; all supported ones by default
    #[arg(long, value_name = "ALGS", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// The one accepted typ; by default none, JWT or at+jwt
    #[arg(long, value_name = "TYP")]
    typ: Option<String>,
    /// Verify as of this time, in seconds since the epoch
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    now: Option<i64>,
    /// Tolerance for clocks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    leeway: u64,
}

// === impl Target ===

impl Target {
    /// Neither an issuer nor a key set was named.
    pub(super) fn has_no_keys(&self) -> bool {
        self.issuer.is_none() && self.jwks.is_none()
    }
}

pub(super) fn run(args: VerifyArgs) -> Result<(), CliError> {
    telemetry::start(&Log::quiet())?;
    match &args.cases {
        Some(path) => run_cases(path),
        None => run_one(&args),
    }
}

fn run_one(args: &VerifyArgs) -> Result<(), CliError> {
    let token = read_token(args.token.as_deref().unwrap_or("-"))?;
    if args.target.has_no_keys() {
        return Err(CliError::Usage(
            "name the issuer with --issuer URL, or the key set with --jwks FILE|URL".into(),
        ));
    }
    let runtime = runtime()?;
    runtime.block_on(async {
        let verifier = build(&args.target, args.audience.as_deref(), &token)?;
        let outcome = verifier.verify::<Claims>(&token).await;
        if let Err(Reject::KeysUnavailable { .. }) = &outcome {
            let status = verifier.status();
            let why = status
                .first()
                .and_then(|status| status.last_error.clone())
                .unwrap_or_else(|| "no answer yet".into());
            return Err(CliError::Failed(format!("no keys: {why}")));
        }
        report(args, outcome)
    })
}

fn report(args: &VerifyArgs, outcome: Result<Verified<Claims>, Reject>) -> Result<(), CliError> {
    match outcome {
        Ok(token) => {
            if args.json {
                return output::json(&Answer::accepted(None, &token)?);
            }
            output::document(token.payload())
        }
        Err(reject) => {
            if args.json {
                output::json(&Answer::refused(None, &reject))?;
                return Err(CliError::No(String::new()));
            }
            Err(CliError::No(format!(
                "refused: {}: {reject}",
                reject.code()
            )))
        }
    }
}

/// The argument, or standard input for `-`.
pub(super) fn read_token(argument: &str) -> Result<String, CliError> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let mut limited = io::stdin().lock().take(64 * MAX_TOKEN_BYTES as u64);
    limited
        .read_to_string(&mut text)
        .map_err(|error| CliError::Usage(format!("standard input: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A verifier for this target. What was not named is what the token says itself, so that the other checks can be made.
pub(super) fn build(
    target: &Target,
    audience: Option<&str>,
    token: &str,
) -> Result<Verifier, CliError> {
    let (claimed_issuer, claimed_audience) = claimed(token);
    let issuer = target.issuer.clone().unwrap_or(claimed_issuer);
    let audience = audience.map_or(claimed_audience, Into::into);
    let algorithms = match target.algorithms.is_empty() {
        true => ALGORITHMS,
        false => &target.algorithms,
    };
    let mut trusted = TrustedIssuer::new(issuer)
        .audience(audience)
        .algorithms(algorithms.iter().copied());
    trusted = match target.jwks.as_deref() {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            trusted.jwks_url(url)
        }
        Some(path) => trusted.static_keys(read_set(path)?),
        None if target.issuer.is_none() => trusted.static_keys(JwkSet::default()),
        None => trusted,
    };
    let mut builder = Verifier::builder()
        .trust(trusted)
        .leeway(Duration::from_secs(target.leeway));
    if let Some(typ) = &target.typ {
        builder = builder.typ(typ.as_str());
    }
    builder = match target.now {
        Some(now) => builder.clock(AsOf(NumericDate::from_seconds(now))),
        None => builder.clock(SystemClock),
    };
    finish(builder)
}

fn read_set(path: &str) -> Result<JwkSet, CliError> {
    let document =
        std::fs::read(path).map_err(|error| CliError::Usage(format!("--jwks {path}: {error}")))?;
    let set = JwkSet::parse(&document)
        .map_err(|error| CliError::Usage(format!("--jwks {path}: {error}")))?;
    for key in &set.skipped {
        output::note(&format!(
            "keywheel: {path}: key {} is of no use: {}",
            key.index, key.error
        ));
    }
    Ok(set)
}

fn finish(builder: VerifierBuilder) -> Result<Verifier, CliError> {
    builder.build().map_err(|error| match error {
        BuildError::Client(_) | BuildError::Metrics(_) => CliError::failed(error),
        error => CliError::Usage(error.to_string()),
    })
}

/// The `iss` and the first `aud` that the token claims; placeholders that no token can match where it claims none.
fn claimed(token: &str) -> (String, String) {
    const NONE: &str = "(none)";
    let mut decoded = Vec::new();
    let policy = Policy::new([""; 0]);
    let jws = Compact::parse(token, MAX_TOKEN_BYTES, &mut decoded).ok();
    let claims = jws.and_then(|jws| RegisteredClaims::parse(jws.payload, &policy).ok());
    let or_none = |text: Option<String>| {
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| NONE.into())
    };
    let issuer = claims
        .as_ref()
        .and_then(|claims| claims.iss.as_deref().map(Into::into));
    let audience = claims.and_then(|claims| claims.audiences().into_iter().next());
    (or_none(issuer), or_none(audience))
}

/// The claims are held against a given moment; fetching goes on in real time.
struct AsOf(NumericDate);

impl Clock for AsOf {
    fn now(&self) -> NumericDate {
        self.0
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> crate::clock::Sleep {
        SystemClock.sleep(duration)
    }
}

/// One line of a cases file.
#[derive(Deserialize)]
struct Case {
    id: String,
    token: String,
    /// Raw, so that a duplicate member is seen by the parser that is to refuse it.
    jwks: Box<RawValue>,
    config: CaseConfig,
}

/// A key set given as the literal body of an answer.
#[derive(Deserialize)]
struct LiteralBody {
    #[serde(rename = "__raw__")]
    raw: String,
}

/// The verdict on one token.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    ok: bool,
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// As signed: numbers that no other type could hold stay as they are.
    claims: Option<&'a RawValue>,
}

// === impl Answer ===

impl<'a> Answer<'a> {
    fn accepted(id: Option<&'a str>, token: &'a Verified<Claims>) -> Result<Self, CliError> {
        Ok(Answer {
            id,
            ok: true,
            reason: None,
            detail: None,
            claims: Some(serde_json::from_str(token.payload()).map_err(CliError::failed)?),
        })
    }

    fn refused(id: Option<&'a str>, reject: &Reject) -> Self {
        Answer {
            id,
            ok: false,
            reason: Some(reject.code()),
            detail: id.is_none().then(|| reject.to_string()),
            claims: None,
        }
    }
}

#[derive(Deserialize)]
struct CaseConfig {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    now: i64,
    #[serde(default)]
    leeway: u64,
    #[serde(default)]
    require: Vec<String>,
    typ: Option<String>,
}

fn run_cases(path: &std::path::Path) -> Result<(), CliError> {
    let name = path.display().to_string();
    let reader: Box<dyn io::BufRead> = if name == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = std::fs::File::open(path)
            .map_err(|error| CliError::Usage(format!("--cases {name}: {error}")))?;
        Box::new(io::BufReader::new(file))
    };
    for (index, line) in reader.lines().enumerate() {
        let at = |error: &dyn std::fmt::Display| {
            CliError::Usage(format!("--cases {name}:{}: {error}", index + 1))
        };
        let line = line.map_err(|error| at(&error))?;
        if line.trim().is_empty() {
            continue;
        }
        let case: Case = serde_json::from_str(&line).map_err(|error| at(&error))?;
        let outcome = verify_case(&case).map_err(|error| at(&error))?;
        let answer = match &outcome {
            Ok(token) => Answer::accepted(Some(&case.id), token)?,
            Err(reject) => Answer::refused(Some(&case.id), reject),
        };
        let answer = serde_json::to_string(&answer).map_err(CliError::failed)?;
        output::document(&answer)?;
    }
    Ok(())
}

fn verify_case(case: &Case) -> Result<Result<Verified<Claims>, Reject>, BuildError> {
    let document = match serde_json::from_str::<LiteralBody>(case.jwks.get()) {
        Ok(LiteralBody { raw }) => raw,
        Err(_) => case.jwks.get().to_owned(),
    };
    // Names that are no public-key signature cannot be allowed at all.
    let algorithms = case
        .config
        .algorithms
        .iter()
        .filter_map(|name| Algorithm::from_name(name));
    let mut trusted = TrustedIssuer::new(&case.config.issuer)
        .audience(case.config.audience.as_str())
        .algorithms(algorithms);
    let Ok(set) = JwkSet::parse(document.as_bytes()) else {
        // As with a verifier that never got a good document.
        let retry_after = Duration::from_secs(1);
        return Ok(Err(Reject::KeysUnavailable { retry_after }));
    };
    trusted = trusted.static_keys(set);
    let mut builder = Verifier::builder()
        .trust(trusted)
        .leeway(Duration::from_secs(case.config.leeway))
        .require(case.config.require.iter().map(String::as_str))
        .clock(ManualClock::new(NumericDate::from_seconds(case.config.now)));
    if let Some(typ) = &case.config.typ {
        builder = builder.typ(typ.as_str());
    }
    Ok(builder.build()?.try_verify(&case.token))
}
