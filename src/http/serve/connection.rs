//! What is known of one connection: for whom it waits, since when, and whether it is to close.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// For whom a connection waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// For the service: the request is here, its answer is not. Long polls are here while they are held.
    Working,
    /// For the client's next request, of which nothing has come.
    Idle,
    /// For the rest of a request.
    Receiving,
    /// For the client to take its answer.
    Sending,
}

/// A stage, and since when, in milliseconds: both in one number, so that both change at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) stage: Stage,
    pub(super) since: Duration,
}

/// One connection. Its own task alone moves it from stage to stage; the listener reads, and closes.
pub(super) struct Connection {
    wait: AtomicU64,
    is_closing: AtomicBool,
    close: Notify,
    /// Its network's connections in the stages [`Stage::Receiving`] and [`Stage::Sending`]; none for a trusted proxy's.
    unfinished: Option<Arc<AtomicUsize>>,
}

// === impl Stage ===

impl Stage {
    /// Whether a request has begun and the client has it in hand when it ends.
    pub(super) const fn is_unfinished(self) -> bool {
        matches!(self, Stage::Receiving | Stage::Sending)
    }
}

// === impl Wait ===

impl Wait {
    fn pack(self) -> u64 {
        let millis = u64::try_from(self.since.as_millis()).unwrap_or(u64::MAX);
        (millis << 2)
            | match self.stage {
                Stage::Working => 0,
                Stage::Idle => 1,
                Stage::Receiving => 2,
                Stage::Sending => 3,
            }
    }

    fn unpack(packed: u64) -> Self {
        Wait {
            stage: match packed & 3 {
                0 => Stage::Working,
                1 => Stage::Idle,
                2 => Stage::Receiving,
                _ => Stage::Sending,
            },
            since: Duration::from_millis(packed >> 2),
        }
    }
}

// === impl Connection ===

impl Connection {
    /// One that was just accepted: its first request is waited for.
    pub(super) fn new(now: Duration, unfinished: Option<Arc<AtomicUsize>>) -> Self {
        let wait = Wait {
            stage: Stage::Receiving,
            since: now,
        };
        if let Some(unfinished) = &unfinished {
            unfinished.fetch_add(1, Ordering::Relaxed);
        }
        Connection {
            wait: AtomicU64::new(wait.pack()),
            is_closing: AtomicBool::new(false),
            close: Notify::new(),
            unfinished,
        }
    }

    pub(super) fn wait(&self) -> Wait {
        Wait::unpack(self.wait.load(Ordering::Relaxed))
    }

    /// Moves to another stage; gives the one before.
    pub(super) fn enter(&self, stage: Stage, now: Duration) -> Wait {
        self.restore(Wait { stage, since: now })
    }

    /// As [`enter`](Self::enter), with a time of its own.
    pub(super) fn restore(&self, wait: Wait) -> Wait {
        let before = Wait::unpack(self.wait.swap(wait.pack(), Ordering::Relaxed));
        if let Some(unfinished) = &self.unfinished {
            match (before.stage.is_unfinished(), wait.stage.is_unfinished()) {
                (false, true) => drop(unfinished.fetch_add(1, Ordering::Relaxed)),
                (true, false) => drop(unfinished.fetch_sub(1, Ordering::Relaxed)),
                _ => {}
            }
        }
        before
    }

    /// Tells it to close; whether it had not been told before.
    pub(super) fn close(&self) -> bool {
        let was_closing = self.is_closing.swap(true, Ordering::Relaxed);
        self.close.notify_one();
        !was_closing
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Ends when it is to close.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Whether it is one of those that `unfinished` counts.
    pub(super) fn is_counted_by(&self, unfinished: &Arc<AtomicUsize>) -> bool {
        let of = self.unfinished.as_ref();
        of.is_some_and(|of| Arc::ptr_eq(of, unfinished))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished
            && self.wait().stage.is_unfinished()
        {
            unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
