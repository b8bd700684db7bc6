//! What an operator asks for, as pure as the plan: transitions, or why not, and what they would break until when.

use std::fmt;
use std::time::Duration;

use super::clock_jump::ImplausibleClock;
use super::key_record::{KeyRecord, Stage};
use super::ring::KeyRing;
use super::rotation::{RotationPolicy, keep_one_announced};
use super::transition::{Cause, Transition};
use crate::jose::{Algorithm, NumericDate};

/// Why an operator's command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// No key of this algorithm is announced.
    NothingAnnounced {
        /// The algorithm.
        alg: Algorithm,
    },
    /// No server has published the key yet.
    NotPublished {
        /// The announced key.
        kid: String,
    },
    /// A verifier may still hold a set without it.
    TooEarly {
        /// The announced key.
        kid: String,
        /// When it was first published.
        first_published: NumericDate,
        /// From when on it may sign.
        allowed_at: NumericDate,
        /// How long that is from now.
        wait: Duration,
    },
    /// The private half of the key cannot be used.
    Unusable {
        /// The announced key.
        kid: String,
    },
    /// The ring has no such key.
    UnknownKid {
        /// As asked for.
        kid: String,
    },
    /// The key is no longer published.
    NotPublishedAnyMore {
        /// The key.
        kid: String,
        /// Gone or revoked.
        stage: Stage,
        /// Since when.
        since: Option<NumericDate>,
    },
    /// No key signs by this algorithm.
    NoSigner {
        /// The algorithm.
        alg: Algorithm,
    },
    /// Tokens of the audience are signed so already.
    NothingToMigrate {
        /// The algorithm.
        alg: Algorithm,
    },
    /// By the ring, the clock is wrong.
    Clock(ImplausibleClock),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NothingAnnounced { alg } => write!(
                f,
                "no key is announced for {alg}; is it among the configured algorithms, and has `keywheel serve` run?"
            ),
            Refused::NotPublished { kid } => write!(
                f,
                "key {kid} has not been published yet: start `keywheel serve`, so that verifiers can fetch it before it signs"
            ),
            Refused::TooEarly {
                kid,
                allowed_at,
                wait,
                ..
            } => write!(
                f,
                "key {kid} was first published so recently that a verifier may still hold a set without it; allowed in {}, at {} (--force overrides, and such verifiers then refuse its tokens until they fetch again)",
                humantime::format_duration(whole(*wait)),
                allowed_at.to_rfc3339()
            ),
            Refused::Unusable { kid } => write!(
                f,
                "the private half of key {kid} cannot be used; see `keywheel keys list`"
            ),
            Refused::UnknownKid { kid } => write!(
                f,
                "the ring has no key `{kid}`; `keywheel keys list` shows those it has"
            ),
            Refused::NotPublishedAnyMore { kid, stage, since } => {
                write!(f, "key {kid} is {stage}")?;
                if let Some(since) = since {
                    write!(f, " since {}", since.to_rfc3339())?;
                }
                write!(f, ": no verifier that has the present set trusts it")
            }
            Refused::NoSigner { alg } => write!(
                f,
                "no usable key signs by {alg}; is it among keys.algorithms, and has `keywheel serve` run since?"
            ),
            Refused::NothingToMigrate { alg } => {
                write!(
                    f,
                    "tokens of every such audience are signed by {alg} already"
                )
            }
            Refused::Clock(clock) => clock.fmt(f),
        }
    }
}

/// Up to the next second: who waits for so long finds it allowed.
fn whole(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + 1)
}

/// Something that verifiers will notice, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaks {
    /// The key whose tokens are refused.
    pub kid: String,
    /// By whom and why, in words.
    pub what: &'static str,
    /// From then on nobody; none if that cannot be told.
    pub until: Option<NumericDate>,
}

impl fmt::Display for Breaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens of key {} are refused {}", self.kid, self.what)?;
        match self.until {
            Some(until) => write!(f, ", until {} at the latest", until.to_rfc3339()),
            None => Ok(()),
        }
    }
}

/// What a command comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intent {
    /// In order.
    pub transitions: Vec<Transition>,
    /// What they break.
    pub breaks: Vec<Breaks>,
}

/// Whether a key may begin to sign: for what cause, and what that breaks.
fn begin_to_sign(
    ring: &KeyRing,
    policy: &RotationPolicy,
    key: &KeyRecord,
    now: NumericDate,
    force: bool,
) -> Result<(Cause, Option<Breaks>), Refused> {
    let kid = || key.kid.clone();
    if !key.usable {
        return Err(Refused::Unusable { kid: kid() });
    }
    if policy.is_known(ring, key, now) {
        return Ok((Cause::Operator, None));
    }
    if force {
        return Ok((Cause::Forced, unknown_for_now(ring, policy, key, now)));
    }
    match (key.first_published, policy.may_sign_at(key)) {
        (Some(first_published), Some(may_sign_at)) => {
            let allowed_at = ring.settled_at(may_sign_at, now);
            Err(Refused::TooEarly {
                kid: kid(),
                first_published,
                allowed_at,
                wait: allowed_at.since(now),
            })
        }
        _ => Err(Refused::NotPublished { kid: kid() }),
    }
}

/// What it breaks that a key signs now; nothing once every verifier has it.
fn unknown_for_now(
    ring: &KeyRing,
    policy: &RotationPolicy,
    key: &KeyRecord,
    now: NumericDate,
) -> Option<Breaks> {
    if policy.is_known(ring, key, now) {
        return None;
    }
    let published = key.first_published.unwrap_or(now);
    let latest = key.unknown_until.unwrap_or(published);
    let latest = latest.max(published.plus(policy.jwks_max_age));
    Some(Breaks {
        kid: key.kid.clone(),
        what: "by verifiers that hold an older set and neither watch nor fetch for an unknown kid",
        until: Some(ring.settled_at(latest.plus(policy.clock_skew), now)),
    })
}

/// "Rotate now".
///
/// # Errors
/// [`Refused`], when a verifier that honours `Cache-Control` could meet a token whose key it lacks. `force` overrides that,
/// but neither a missing nor an unusable key.
pub fn rotate(
    ring: &KeyRing,
    policy: &RotationPolicy,
    alg: Algorithm,
    now: NumericDate,
    force: bool,
) -> Result<Intent, Refused> {
    check_clock(ring, policy, now, force)?;
    let next = ring
        .announced(alg)
        .ok_or(Refused::NothingAnnounced { alg })?;
    let (cause, breaks) = begin_to_sign(ring, policy, next, now, force)?;
    Ok(Intent {
        transitions: vec![Transition::Activate { alg, cause }, keep_one_announced(alg)],
        breaks: breaks.into_iter().collect(),
    })
}

fn check_clock(
    ring: &KeyRing,
    policy: &RotationPolicy,
    now: NumericDate,
    force: bool,
) -> Result<(), Refused> {
    match ring.check_clock(policy, now) {
        Err(clock) if !force => Err(Refused::Clock(clock)),
        _ => Ok(()),
    }
}

/// "This key is stolen": it leaves the set, and if it signed, the announced one signs at once; where none is announced, one is
/// made first.
///
/// # Errors
/// [`Refused`] if there is no such key, or it is published no more.
pub fn revoke(
    ring: &KeyRing,
    policy: &RotationPolicy,
    kid: &str,
    now: NumericDate,
) -> Result<Intent, Refused> {
    let key = ring.get(kid).ok_or_else(|| Refused::UnknownKid {
        kid: kid.to_owned(),
    })?;
    if !key.stage.is_published() {
        return Err(Refused::NotPublishedAnyMore {
            kid: key.kid.clone(),
            stage: key.stage,
            since: key.stage_since(),
        });
    }
    let (alg, kid) = (key.alg, key.kid.clone());
    let mut intent = Intent::default();
    if key.tokens_until.is_some_and(|until| until > now) {
        intent.breaks.push(Breaks {
            kid: kid.clone(),
            what: "by everyone who has the new set: that is what revoking is for",
            until: key.tokens_until.map(|until| until.plus(policy.clock_skew)),
        });
    }
    let transitions = &mut intent.transitions;
    let is_configured = policy.algorithms.contains(&alg);
    let must_be_replaced = key.stage == Stage::Signing && is_configured;
    let needs_another_announced = key.stage != Stage::Retired && is_configured;
    let successor = ring.announced(alg).filter(|next| next.kid != kid);
    if must_be_replaced {
        match successor {
            Some(next) if next.usable => {
                let breaks = unknown_for_now(ring, policy, next, now);
                intent.breaks.extend(breaks);
            }
            unusable => {
                if let Some(next) = unusable {
                    let (kid, cause) = (next.kid.clone(), Cause::Unusable);
                    transitions.push(Transition::Remove { kid, cause });
                }
                let cause = Cause::Revocation;
                transitions.push(Transition::Announce { alg, cause });
                intent.breaks.push(Breaks {
                    kid: "to be made".into(),
                    what: "by verifiers that neither watch nor fetch for an unknown kid",
                    until: Some(now.plus(policy.jwks_max_age).plus(policy.clock_skew)),
                });
            }
        }
    }
    transitions.push(Transition::Revoke { kid });
    if must_be_replaced {
        let cause = Cause::Revocation;
        transitions.push(Transition::Activate { alg, cause });
    }
    if needs_another_announced {
        transitions.push(keep_one_announced(alg));
    }
    Ok(intent)
}

/// "Sign the tokens of this audience by another algorithm from now on". `audiences` are those asked for with what signs for each
/// now; `None` stands for all.
///
/// # Errors
/// [`Refused`], when a verifier that honours `Cache-Control` could meet a token whose key it lacks; `force` overrides that.
pub fn migrate(
    ring: &KeyRing,
    policy: &RotationPolicy,
    audiences: &[(Option<String>, Algorithm)],
    to: Algorithm,
    now: NumericDate,
    force: bool,
) -> Result<Intent, Refused> {
    check_clock(ring, policy, now, force)?;
    let signer = ring.signing(to).ok_or(Refused::NoSigner { alg: to })?;
    let (cause, breaks) = begin_to_sign(ring, policy, signer, now, force)?;
    let transitions: Vec<Transition> = audiences
        .iter()
        .filter(|(_, from)| *from != to)
        .map(|(audience, from)| Transition::Migrate {
            audience: audience.clone(),
            from: *from,
            to,
            cause,
        })
        .collect();
    if transitions.is_empty() {
        return Err(Refused::NothingToMigrate { alg: to });
    }
    Ok(Intent {
        transitions,
        breaks: breaks.into_iter().collect(),
    })
}
