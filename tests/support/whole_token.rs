//! Whole tokens held against a key set and a configuration: one line of a cases file, by the library and by the command line.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywheel::{
    Algorithm, Claims, JwkSet, ManualClock, NumericDate, TrustedIssuer, Verified, Verifier,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) token: String,
    /// Raw, so that what is wrong with it reaches the parser that is to refuse it.
    jwks: Box<RawValue>,
    pub(crate) config: Config,
    pub(crate) expect: String,
    /// The exact reason, where the set names one.
    pub(crate) reason: Option<String>,
    /// Claims that an accepted token must show.
    claims: Option<serde_json::Map<String, serde_json::Value>>,
    /// Why one may see it otherwise.
    pub(crate) policy: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Config {
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    now: i64,
    leeway: u64,
    require: Vec<String>,
    typ: Option<String>,
}

/// A key set given as the literal body of an answer.
#[derive(Deserialize)]
struct LiteralBody {
    #[serde(rename = "__raw__")]
    raw: String,
}

// === impl Case ===

impl Case {
    /// `accept`, or the reason, by the library.
    pub(crate) fn by_library(&self) -> String {
        match self.verify() {
            Ok(token) => self.judge(token.payload()),
            Err(reason) => reason.to_owned(),
        }
    }

    fn verify(&self) -> Result<Verified<Claims>, &'static str> {
        let body = match serde_json::from_str::<LiteralBody>(self.jwks.get()) {
            Ok(LiteralBody { raw }) => raw,
            Err(_) => self.jwks.get().to_owned(),
        };
        // A document that is no set leaves a verifier without keys; what a server then answers is tests/remote.rs's.
        let set = JwkSet::parse(body.as_bytes()).map_err(|_| "keys_unavailable")?;
        let Config {
            issuer,
            audience,
            algorithms,
            now,
            leeway,
            require,
            typ,
        } = &self.config;
        let algorithms = algorithms
            .iter()
            .filter_map(|name| Algorithm::from_name(name));
        let trusted = TrustedIssuer::new(issuer)
            .audience(audience.as_str())
            .algorithms(algorithms)
            .static_keys(set);
        let mut builder = Verifier::builder()
            .trust(trusted)
            .leeway(Duration::from_secs(*leeway))
            .require(require.iter().map(String::as_str))
            .clock(ManualClock::new(NumericDate::from_seconds(*now)));
        if let Some(typ) = typ {
            builder = builder.typ(typ.as_str());
        }
        let verifier = builder.build().unwrap();
        verifier
            .try_verify(&self.token)
            .map_err(|reject| reject.code())
    }

    /// An accepted token is right only if its claims came through as they were signed.
    fn judge(&self, payload: &str) -> String {
        // Read piece by piece: a number that no type holds is no reason against the other claims.
        let payload: HashMap<String, &RawValue> = serde_json::from_str(payload).unwrap();
        let read = |name: &str| serde_json::from_str(payload.get(name)?.get()).ok();
        let mut wanted = self.claims.iter().flatten();
        let changed = wanted.find(|(name, value)| read(name).as_ref() != Some(*value));
        match changed {
            Some((name, _)) => format!("accept, with another {name}"),
            None => "accept".to_owned(),
        }
    }

    /// `accept`, or the reason, as the command line has answered it.
    pub(crate) fn by_command_line(&self, answers: &HashMap<String, Answer>) -> String {
        match &answers[&self.id] {
            Answer {
                ok: true,
                claims: Some(claims),
                ..
            } => self.judge(claims.get()),
            Answer {
                ok: false,
                reason: Some(reason),
                claims: None,
                ..
            } => reason.clone(),
            answer => format!("{answer:?}"),
        }
    }
}

/// One line of `keywheel verify --cases`.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    id: String,
    ok: bool,
    reason: Option<String>,
    claims: Option<Box<RawValue>>,
}

/// What `keywheel verify --cases` answers to a file, by case; one line for each line of it, in its order.
pub(crate) fn ask_command_line(file: &Path, cases: &[Case]) -> HashMap<String, Answer> {
    let output = Command::new(env!("CARGO_BIN_EXE_keywheel"))
        .args(["verify", "--cases"])
        .arg(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let answers: Vec<Answer> = crate::corpus::lines(std::str::from_utf8(&output.stdout).unwrap());
    let answered: Vec<_> = answers.iter().map(|answer| &answer.id).collect();
    let asked: Vec<_> = cases.iter().map(|case| &case.id).collect();
    assert_eq!(answered, asked);
    let by_id = answers
        .into_iter()
        .map(|answer| (answer.id.clone(), answer));
    by_id.collect()
}
