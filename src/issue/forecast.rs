//! What will happen to a ring, and when: the plan run ahead on a copy, with keys that are not made yet.

use std::convert::Infallible;
use std::time::Duration;

use super::key_record::{KeyRecord, Stage};
use super::operator::{self, Intent, Refused};
use super::ring::KeyRing;
use super::rotation::{self, RotationPolicy};
use super::transition::{Cause, Done, Transition};
use crate::jose::{Algorithm, NumericDate};

/// More moments than this and the plan is one that never rests.
const MOST_MOMENTS: usize = 1000;

/// A moment at which something is planned.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When.
    pub at: NumericDate,
    /// What happens.
    pub done: Vec<Done>,
}

/// A ring run ahead of its time.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// What happens, in order.
    pub moments: Vec<Moment>,
    /// The ring as it will be at the end.
    pub ring: KeyRing,
    policy: RotationPolicy,
    made: u32,
}

// === impl Forecast ===

impl Forecast {
    /// Starts at what is; a server is taken to run, and every key to sign tokens to its last moment.
    pub fn new(ring: &KeyRing, policy: &RotationPolicy) -> Self {
        Forecast {
            moments: Vec::new(),
            ring: ring.clone(),
            policy: policy.clone(),
            made: 0,
        }
    }

    /// As if the operator rotated at `now`, by force if need be; gives why it would be refused without.
    pub fn rotate(&mut self, now: NumericDate) -> Vec<Refused> {
        let mut refusals = Vec::new();
        for alg in self.policy.algorithms.clone() {
            let rotate = |force| operator::rotate(&self.ring, &self.policy, alg, now, force);
            let intent = rotate(false).or_else(|refused| {
                refusals.push(refused);
                rotate(true)
            });
            if let Ok(Intent { transitions, .. }) = intent {
                self.apply(&transitions, now);
            }
        }
        refusals
    }

    /// Runs on from `from` to `until`.
    pub fn run(&mut self, from: NumericDate, until: NumericDate) {
        let mut now = from;
        while now <= until && self.moments.len() < MOST_MOMENTS {
            self.publish(now);
            let transitions = rotation::step(&self.ring, &self.policy, now);
            if transitions.is_empty() {
                let Some(next) = self.next_after(now) else {
                    return;
                };
                now = next;
            } else {
                self.apply(&transitions, now);
            }
        }
    }

    fn next_after(&self, now: NumericDate) -> Option<NumericDate> {
        let keys = self.ring.keys.iter();
        keys.filter_map(|key| self.policy.next_step_at(&self.ring, key, now))
            .filter(|&at| at > now)
            .min()
    }

    fn publish(&mut self, now: NumericDate) {
        let max_age = self.policy.jwks_max_age;
        for key in &mut self.ring.keys {
            if key.stage.is_published() && key.first_published.is_none() {
                key.first_published = Some(now);
                key.unknown_until = Some(now.plus(max_age));
            }
        }
    }

    fn apply(&mut self, transitions: &[Transition], now: NumericDate) {
        let mut done = Vec::new();
        for transition in transitions {
            let made = &mut self.made;
            let mut make = |alg: Algorithm, cause: Cause| {
                *made += 1;
                let kid = format!("(new {alg} key {made})");
                let public = serde_json::Value::Null;
                Ok::<_, Infallible>(KeyRecord::new(&kid, alg, public, now, cause))
            };
            let applied = self
                .ring
                .apply(transition, &self.policy, now, None, &mut make);
            done.extend(applied.unwrap_or_else(|never| match never {}));
        }
        let longest = self.policy.max_token_ttl;
        for key in &mut self.ring.keys {
            if key.stage == Stage::Retired && key.retired_at == Some(now) {
                // At the latest: the last token may be given the longest life there is.
                key.note_tokens_until(now.plus(longest));
            }
        }
        match self.moments.last_mut() {
            Some(last) if last.at == now => last.done.extend(done),
            _ => self.moments.push(Moment { at: now, done }),
        }
    }

    /// A horizon that shows the next change of every key and what follows from it.
    pub fn horizon(&self, now: NumericDate) -> NumericDate {
        let latest = self.policy.rotate_every + self.policy.max_token_ttl;
        now.plus(latest + Duration::from_secs(2 * 3600))
    }
}
