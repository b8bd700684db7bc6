//! Which verifiers have a change: asked of the servers, at their admin listeners.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::cli::{CliError, runtime};
use crate::clock::{Clock, SystemClock};
use crate::issue::WatcherStatus;
use crate::verify::dial::{self, UrlRule};

/// Between two questions to a server.
const PAUSE: Duration = Duration::from_millis(10);

/// What one server knows.
#[derive(Debug, Serialize)]
pub(super) struct Acknowledged {
    /// Its admin listener.
    server: SocketAddr,
    /// What came of asking it.
    outcome: Answered,
    /// Watching verifiers that were told.
    verifiers: u64,
    /// Of those, how many have come back with the new set.
    have_it: u64,
    /// Milliseconds from the command to the last of them.
    within_ms: Option<u64>,
    /// Clients that fetched without push while the set could be held: verifiers that poll, at most so many.
    poll: u64,
    /// How far back those are counted.
    #[serde(skip)]
    counted_for: Duration,
    /// Milliseconds until none of them can hold the old set.
    poll_have_it_in_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    /// It has the new set in force.
    InForce,
    /// It has not taken the change up.
    NotFollowed,
    /// Nobody answers there.
    NoAnswer,
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server;
        match self.outcome {
            Answered::NoAnswer => {
                return write!(
                    f,
                    "no server answers on http://{server}: the key is revoked in the store, and every server on it follows; --admin names others to ask"
                );
            }
            Answered::NotFollowed => {
                return write!(
                    f,
                    "the server on http://{server} has not taken it up: see http://{server}/readyz"
                );
            }
            Answered::InForce => {}
        }
        match (self.verifiers, self.within_ms) {
            (0, _) => write!(f, "no verifier watches")?,
            (all, within) => {
                let have = grouped(self.have_it);
                write!(f, "{have} of {} verifiers have the new set", grouped(all))?;
                if let Some(within) = within {
                    write!(f, ", {} ms", grouped(within))?;
                }
            }
        }
        let last = humantime::format_duration(self.counted_for);
        match self.poll {
            0 => write!(f, "; nobody polled in the last {last}"),
            poll => {
                let clients = if poll == 1 { "client" } else { "clients" };
                let seconds = self.poll_have_it_in_ms.div_ceil(1000);
                write!(
                    f,
                    "; {} {clients} polled in the last {last}: at the latest in {seconds} s",
                    grouped(poll)
                )
            }
        }
    }
}

/// `1,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Asks every server until all that it told of the set `etag` have come back with it, for `wait` at most.
pub(super) fn ask(
    servers: &[SocketAddr],
    etag: &str,
    changed_at: Duration,
    wait: Duration,
    max_age: Duration,
) -> Result<Vec<Acknowledged>, CliError> {
    let client = dial::default_client(UrlRule::default()).map_err(CliError::failed)?;
    runtime()?.block_on(async {
        let mut all = Vec::new();
        for &server in servers {
            let answer = ask_one(&client, server, etag, changed_at, wait).await;
            all.push(Acknowledged {
                counted_for: max_age,
                ..answer
            });
        }
        Ok(all)
    })
}

async fn ask_one(
    client: &reqwest::Client,
    server: SocketAddr,
    etag: &str,
    changed_at: Duration,
    wait: Duration,
) -> Acknowledged {
    let mut latest = Acknowledged {
        server,
        outcome: Answered::NoAnswer,
        verifiers: 0,
        have_it: 0,
        within_ms: None,
        poll: 0,
        counted_for: Duration::ZERO,
        poll_have_it_in_ms: 0,
    };
    loop {
        if let Some(status) = status(client, server).await {
            let since_change = SystemClock.monotonic().saturating_sub(changed_at);
            if status.etag == etag {
                latest = in_force(server, &status, since_change);
                if status.told <= status.back {
                    return latest;
                }
            } else if latest.outcome == Answered::NoAnswer {
                latest.outcome = Answered::NotFollowed;
            }
        } else if latest.outcome == Answered::NoAnswer {
            // Nobody is there; a server that starts later takes the change up as it starts.
            return latest;
        }
        if SystemClock.monotonic().saturating_sub(changed_at) >= wait {
            return latest;
        }
        SystemClock.sleep(PAUSE).await;
    }
}

fn in_force(server: SocketAddr, status: &WatcherStatus, since_change: Duration) -> Acknowledged {
    let since_change = u64::try_from(since_change.as_millis()).unwrap_or(u64::MAX);
    let within =
        |last: u64| since_change.saturating_sub(status.published_ms_ago.saturating_sub(last));
    Acknowledged {
        server,
        outcome: Answered::InForce,
        verifiers: status.told,
        have_it: status.back,
        within_ms: status.last_back_ms.map(within),
        poll: status.polls,
        counted_for: Duration::ZERO,
        poll_have_it_in_ms: status.polls_current_in_ms,
    }
}

async fn status(client: &reqwest::Client, server: SocketAddr) -> Option<WatcherStatus> {
    let answer = client.get(format!("http://{server}/watchers")).send().await;
    let body = answer.ok()?.error_for_status().ok()?.bytes().await.ok()?;
    serde_json::from_slice(&body).ok()
}
