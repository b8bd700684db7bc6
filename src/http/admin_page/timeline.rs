//! The keys of one algorithm as lanes: which stage from when until when, in the past by the ring and after that by the forecast.

use std::time::Duration;

use crate::issue::{Forecast, KeyRecord, KeyRing, RotationPolicy, Stage};
use crate::jose::{Algorithm, NumericDate};

/// Lanes drawn for an algorithm; what does not fit is in the table.
pub(super) const MOST_LANES: usize = 12;
/// No picture spans less on either side of now.
const LEAST: Duration = Duration::from_secs(10);

/// The stretch of time that is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: NumericDate,
    pub(super) now: NumericDate,
    pub(super) until: NumericDate,
}

/// What is drawn: everything on one stretch of time.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) window: Window,
    pub(super) rows: Vec<Row>,
}

/// The lanes of one algorithm, the oldest key first.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) alg: Algorithm,
    pub(super) lanes: Vec<Lane>,
    /// Keys of the ring that are not drawn.
    pub(super) hidden: usize,
}

/// One key.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) kid: String,
    /// What it is doing now, and since when; `None` for a key that is not made yet.
    pub(super) stage: Option<(Stage, NumericDate)>,
    pub(super) spans: Vec<Span>,
    pub(super) revoked_at: Option<NumericDate>,
}

/// A key in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stage: Stage,
    pub(super) from: NumericDate,
    /// `None` if it lasts beyond what is foreseen.
    pub(super) until: Option<NumericDate>,
}

/// How far ahead the page looks: the next change of every key, and no more of them than can be told apart.
pub(super) fn foresight(
    forecast: &Forecast,
    policy: &RotationPolicy,
    now: NumericDate,
) -> NumericDate {
    let horizon = forecast.horizon(now);
    horizon.min(now.plus(policy.rotate_every.saturating_mul(2).max(LEAST)))
}

// === impl Timeline ===

impl Timeline {
    /// Of a ring, and of the same ring run ahead to `foreseen`.
    pub(super) fn new(
        ring: &KeyRing,
        ahead: &KeyRing,
        policy: &RotationPolicy,
        now: NumericDate,
        foreseen: NumericDate,
    ) -> Self {
        let earliest = now.minus(policy.rotate_every.saturating_mul(3).max(LEAST));
        let mut algorithms = policy.algorithms.clone();
        for key in &ring.keys {
            if !algorithms.contains(&key.alg) {
                algorithms.push(key.alg);
            }
        }
        let rows: Vec<Row> = algorithms
            .into_iter()
            .map(|alg| Row::new(ring, ahead, alg, earliest))
            .collect();
        let window = Window::around(&rows, earliest, now, foreseen);
        Timeline { window, rows }
    }
}

// === impl Window ===

impl Window {
    /// As much as the lanes need, and a margin; never less than can be seen.
    fn around(
        rows: &[Row],
        earliest: NumericDate,
        now: NumericDate,
        foreseen: NumericDate,
    ) -> Self {
        let spans = || {
            rows.iter()
                .flat_map(|row| &row.lanes)
                .flat_map(|lane| &lane.spans)
        };
        let first = spans().map(|span| span.from).min().unwrap_or(now);
        let past = now.since(first.max(earliest)).max(LEAST);
        let changes = spans()
            .flat_map(|span| [Some(span.from), span.until])
            .flatten();
        let last = changes.filter(|&at| at > now && at <= foreseen).max();
        let future = last.unwrap_or(foreseen).since(now).max(LEAST);
        Window {
            from: now.minus(past + past / 25),
            now,
            until: now.plus(future + future / 12),
        }
    }
}

// === impl Row ===

impl Row {
    fn new(ring: &KeyRing, ahead: &KeyRing, alg: Algorithm, earliest: NumericDate) -> Self {
        let of_ring = ring.keys.iter().filter(|key| key.alg == alg);
        // Run ahead, a ring forgets keys that are long gone: those are as they were.
        let known = of_ring
            .clone()
            .map(|key| ahead.get(&key.kid).unwrap_or(key));
        let planned = ahead
            .keys
            .iter()
            .filter(|key| key.alg == alg && ring.get(&key.kid).is_none());
        let mut lanes: Vec<Lane> = known
            .chain(planned)
            .map(|key| Lane::new(key, ring.get(&key.kid)))
            .filter(|lane| lane.ends().is_none_or(|end| end >= earliest))
            .collect();
        // What works now goes before what has gone, and the newer before the older.
        let mut surplus = lanes.len().saturating_sub(MOST_LANES);
        for only_ended in [true, false] {
            lanes.retain(|lane| {
                let drop = surplus > 0 && (!only_ended || !lane.is_published());
                surplus -= usize::from(drop);
                !drop
            });
        }
        let drawn = lanes.iter().filter(|lane| lane.stage.is_some()).count();
        Row {
            alg,
            hidden: of_ring.count() - drawn,
            lanes,
        }
    }
}

// === impl Lane ===

impl Lane {
    /// `key` as it will have been at the end; `today` as it is, if it is made.
    fn new(key: &KeyRecord, today: Option<&KeyRecord>) -> Self {
        let ends = [key.gone_at, key.revoked_at];
        let first =
            |times: &[Option<NumericDate>]| times.iter().chain(&ends).flatten().min().copied();
        let starts = [
            (
                Stage::Announced,
                Some(key.created_at),
                first(&[key.signing_since, key.retired_at]),
            ),
            (Stage::Signing, key.signing_since, first(&[key.retired_at])),
            (Stage::Retired, key.retired_at, first(&[])),
        ];
        let spans = starts.into_iter().filter_map(|(stage, from, until)| {
            let from = from?;
            // A clock that was set back must not make a bar that runs backwards.
            let until = until.map(|until| until.max(from));
            Some(Span { stage, from, until })
        });
        Lane {
            kid: key.kid.clone(),
            stage: today.map(|key| (key.stage, key.stage_since().unwrap_or(key.created_at))),
            spans: spans.collect(),
            revoked_at: key.revoked_at,
        }
    }

    /// When it left the set, or will have.
    fn ends(&self) -> Option<NumericDate> {
        self.spans.last().and_then(|span| span.until)
    }

    fn is_published(&self) -> bool {
        self.stage.is_none_or(|(stage, _)| stage.is_published())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::{Cause, step};

    const HOUR: Duration = Duration::from_secs(3600);

    /// What a ring is after a server has run for `hours`, rotating as the policy says, and what is foreseen then.
    fn run(policy: &RotationPolicy, hours: u32) -> (KeyRing, NumericDate) {
        let (mut ring, mut now) = (KeyRing::new(), NumericDate::from_seconds(1_790_000_000));
        let mut made = 0;
        for _ in 0..hours * 4 {
            for transition in step(&ring, policy, now) {
                let mut make = |alg, cause| {
                    made += 1;
                    Ok::<_, std::convert::Infallible>(key(made, alg, now, cause))
                };
                ring.apply(&transition, policy, now, None, &mut make)
                    .unwrap();
            }
            for key in &mut ring.keys {
                key.first_published.get_or_insert(now);
                if key.retired_at == Some(now) {
                    key.tokens_until = Some(now.plus(policy.max_token_ttl));
                }
            }
            now = now.plus(HOUR / 4);
        }
        (ring, now)
    }

    fn key(number: u32, alg: Algorithm, now: NumericDate, cause: Cause) -> KeyRecord {
        let record = serde_json::json!({
            "kid": format!("key-{number}"), "alg": alg, "stage": "announced", "public": {}, "created_at": now,
            "causes": { "announced": cause },
        });
        serde_json::from_value(record).unwrap()
    }

    fn timeline(ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) -> Timeline {
        let mut forecast = Forecast::new(ring, policy);
        let foreseen = foresight(&forecast, policy, now);
        forecast.run(now, foreseen);
        Timeline::new(ring, &forecast.ring, policy, now, foreseen)
    }

    fn policy(rotate_every: Duration) -> RotationPolicy {
        RotationPolicy {
            algorithms: vec![Algorithm::EdDSA],
            rotate_every,
            max_token_ttl: HOUR / 2,
            ..RotationPolicy::default()
        }
    }

    #[test]
    fn fifty_gone_keys_make_no_endless_picture_and_those_at_work_are_in_it() {
        let policy = policy(HOUR);
        let (ring, now) = run(&policy, 100);
        let gone = ring
            .keys
            .iter()
            .filter(|key| key.stage == Stage::Gone)
            .count();
        assert_eq!(gone, 50);
        let timeline = timeline(&ring, &policy, now);
        let row = &timeline.rows[0];
        assert!(row.lanes.len() <= MOST_LANES, "{row:?}");
        let made = row.lanes.iter().filter(|lane| lane.stage.is_some()).count();
        assert_eq!(row.hidden + made, ring.keys.len());
        for key in ring.published() {
            assert!(
                row.lanes.iter().any(|lane| lane.kid == key.kid),
                "{}",
                key.kid
            );
        }
        let Window { from, until, .. } = timeline.window;
        assert!(
            now.since(from) < HOUR * 4 && until.since(now) < HOUR * 3,
            "{:?}",
            timeline.window
        );
    }

    #[test]
    fn more_keys_at_work_than_there_are_lanes_show_the_newest() {
        // Tokens outlive many keys: all of those stay published.
        let policy = RotationPolicy {
            max_token_ttl: HOUR * 1000,
            ..policy(HOUR)
        };
        let (ring, now) = run(&policy, 60);
        let timeline = timeline(&ring, &policy, now);
        let row = &timeline.rows[0];
        assert_eq!(row.lanes.len(), MOST_LANES);
        let signing = ring.signing(Algorithm::EdDSA).unwrap();
        assert!(row.lanes.iter().any(|lane| lane.kid == signing.kid));
    }

    #[test]
    fn a_lane_tells_each_stage_in_turn_and_the_future_by_the_plan() {
        let policy = policy(HOUR * 24);
        let (ring, now) = run(&policy, 60);
        let timeline = timeline(&ring, &policy, now);
        for lane in &timeline.rows[0].lanes {
            for pair in lane.spans.windows(2) {
                assert_eq!(pair[0].until, Some(pair[1].from), "{lane:?}");
                assert!(pair[0].stage < pair[1].stage, "{lane:?}");
            }
        }
        let lanes = &timeline.rows[0].lanes;
        let signing = ring.signing(Algorithm::EdDSA).unwrap();
        let drawn = lanes.iter().find(|lane| lane.kid == signing.kid).unwrap();
        let planned = policy.next_step_at(&ring, signing, now);
        assert_eq!(drawn.spans[1].until, planned);
        assert!(
            lanes.iter().any(|lane| lane.stage.is_none()),
            "the key that will be made"
        );
    }

    #[test]
    fn a_ring_without_keys_or_from_the_future_is_drawn_all_the_same() {
        let policy = policy(HOUR * 24);
        let now = NumericDate::from_seconds(1_790_000_000);
        let empty = Timeline::new(
            &KeyRing::new(),
            &KeyRing::new(),
            &policy,
            now,
            now.plus(HOUR),
        );
        assert!(empty.rows[0].lanes.is_empty());
        let (ring, later) = run(&policy, 60);
        let early = now.minus(HOUR);
        for at in [early, later.plus(HOUR * 100_000)] {
            let Window { from, now, until } = timeline(&ring, &policy, at).window;
            assert!(from < now && now < until && now == at);
        }
    }
}
