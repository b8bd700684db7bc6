//! `keywheel keys plan`: a timeline for people.

use clap::Args;
use serde_json::json;

use super::{Looking, done_json, existing_store, warn_of_problems};
use crate::audit::Event;
use crate::cli::{CliError, output};
use crate::clock::{Clock, SystemClock};
use crate::issue::{Done, Forecast, Stage};
use crate::jose::NumericDate;
use crate::store::KeyStore;

/// What will happen to which key, and when
///
/// Runs the plan ahead on a copy. Keys that are not made yet are shown in brackets. A server is taken to run all the time, and
/// every key to sign a token of the longest life in its last moment.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel keys plan
  keywheel keys plan --at 2027-01-01T00:00:00Z
  keywheel keys plan --at 45d
  keywheel keys plan --if-rotated-now")]
pub(in crate::cli) struct PlanArgs {
    #[command(flatten)]
    common: Looking,
    /// Which key will do what at this moment: RFC 3339, or a time from now like 45d
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Moment>,
    /// As if the keys were rotated now
    #[arg(long)]
    if_rotated_now: bool,
}

#[derive(Clone, Copy)]
enum Moment {
    At(NumericDate),
    FromNow(std::time::Duration),
}

fn parse_time(text: &str) -> Result<Moment, String> {
    if let Ok(duration) = humantime::parse_duration(text) {
        return Ok(Moment::FromNow(duration));
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write a time like 2027-01-01T00:00:00Z, or a time from now like 45d")?;
    let since_epoch = time.duration_since(std::time::SystemTime::UNIX_EPOCH);
    let since_epoch = since_epoch.map_err(|_| "a time before 1970")?;
    Ok(Moment::At(NumericDate::from_duration(since_epoch)))
}

pub(super) fn run(args: PlanArgs) -> Result<(), CliError> {
    let config = args.common.config.load()?;
    let policy = config.rotation_policy();
    let stored = existing_store(&config)?.load()?;
    let now = SystemClock.now();
    if let Err(clock) = stored.ring.check_clock(&policy, now) {
        return Err(CliError::failed(clock));
    }
    let at = args.at.map(|at| match at {
        Moment::At(at) => at,
        Moment::FromNow(span) => now.plus(span),
    });
    if at.is_some_and(|at| at < now) {
        return Err(CliError::Usage("--at: that moment is past".into()));
    }
    let mut forecast = Forecast::new(&stored.ring, &policy);
    let mut refusals = Vec::new();
    if args.if_rotated_now {
        refusals = forecast.rotate(now);
    }
    let until = at.unwrap_or_else(|| forecast.horizon(now));
    forecast.run(now, until);
    if args.common.json {
        return output::json(&as_json(&forecast, &refusals, until));
    }
    for refused in &refusals {
        output::line(&format!("refused now, without --force: {refused}"))?;
    }
    for moment in &forecast.moments {
        let when = output::relative(moment.at, now);
        let time = moment.at.to_rfc3339();
        for (index, done) in moment.done.iter().enumerate() {
            let (time, when) = match index {
                0 => (time.as_str(), when.as_str()),
                _ => ("", ""),
            };
            output::line(&format!("{time:<20}  {when:<16}  {}", words(done)))?;
        }
    }
    let when = output::relative(until, now);
    output::line(&format!("{:<20}  {when:<16}  then:", until.to_rfc3339()))?;
    for key in forecast.ring.published() {
        let (stage, alg) = (key.stage, key.alg);
        let next = policy.next_step_at(&forecast.ring, key, until);
        let next = next.map_or(String::new(), |at| format!(", until {}", at.to_rfc3339()));
        let stage = stage.name();
        output::line(&format!("{:<40}{alg:<6} {} is {stage}{next}", "", key.kid))?;
    }
    warn_of_problems(&stored.problems);
    Ok(())
}

fn words(done: &Done) -> String {
    let (alg, kid, cause) = (done.alg.name(), &done.kid, done.cause.name());
    let does = match done.event {
        Event::KeyAnnounced => "is made and published, and signs nothing yet",
        Event::KeySigning => "signs",
        Event::KeyRetired => "signs no more; its tokens live on",
        Event::KeyRemoved => "leaves the set: its last token has expired",
        _ => done.event.name(),
    };
    format!("{alg:<6} {kid} {does} ({cause})")
}

fn as_json(
    forecast: &Forecast,
    refusals: &[crate::issue::Refused],
    until: NumericDate,
) -> serde_json::Value {
    let moments: Vec<_> = forecast
        .moments
        .iter()
        .map(|moment| {
            json!({ "at": moment.at, "time": moment.at.to_rfc3339(), "done": done_json(&moment.done) })
        })
        .collect();
    let keys: Vec<_> = forecast
        .ring
        .keys
        .iter()
        .filter(|key| key.stage != Stage::Gone)
        .map(|key| json!({ "kid": key.kid, "alg": key.alg, "stage": key.stage }))
        .collect();
    let refused: Vec<String> = refusals.iter().map(|refused| refused.to_string()).collect();
    json!({ "moments": moments, "at": until, "keys": keys, "refused_now": refused })
}
