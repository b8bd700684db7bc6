//! Held requests: the server answers when the document has changed. When such a request is opened, what its answer means, and when a
//! server that answers too soon is polled instead.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::fetch::{Answer, Exchange, FetchError};
use super::source::{Document, SourceState};
use super::source_task::{MIN_BACK_OFF, SourceTask};

/// A held request that ends sooner was not held: a cache that repeats what it once heard, or a server in a hurry.
const HELD_AT_LEAST: Duration = Duration::from_secs(1);
/// Changes that may follow each other at once; those beyond are paced, so that no server can keep us spinning.
const QUICK_CHANGES: u32 = 8;

/// A request that the server is to hold until the document changes.
pub(super) struct Held {
    pub(super) url: Url,
    pub(super) opened: Duration,
    pub(super) answer: Pin<Box<dyn Future<Output = Result<Answer, FetchError>> + Send>>,
}

// === impl SourceTask ===

impl<D: Document> SourceTask<D> {
    /// Opens a request that the server is to hold until it has something new; `pause` first.
    pub(super) fn hold(&mut self, now: Duration, pause: Duration) {
        let state = self.state.load_full();
        let (Some(url), Some(etag)) = (state.url.clone(), state.etag.clone()) else {
            return;
        };
        let (fetcher, clock) = (self.fetcher.clone(), self.clock.clone());
        let wait = self.policy.push_wait;
        let held_url = url.clone();
        let answer = async move {
            if !pause.is_zero() {
                clock.sleep(pause).await;
            }
            let exchange = Exchange {
                url: &url,
                accept: D::ACCEPT,
                max_bytes: D::MAX_BYTES,
                etag: Some(&etag),
                wait: Some(wait),
            };
            fetcher.get(exchange).await
        };
        self.held = Some(Held {
            url: held_url,
            opened: now + pause,
            answer: Box::pin(answer),
        });
        self.show_pushed(true);
    }

    pub(super) fn hang_up(&mut self) {
        self.held = None;
        self.show_pushed(false);
    }

    fn show_pushed(&self, pushed: bool) {
        let previous = self.state.load_full();
        if previous.pushed != pushed {
            self.state.store(Arc::new(SourceState {
                pushed,
                ..(*previous).clone()
            }));
        }
    }

    /// The held request has been answered, or has been cut off.
    pub(super) fn pushed(
        &mut self,
        answer: Result<Answer, FetchError>,
        url: &Url,
        opened: Duration,
        now: Duration,
    ) {
        self.hang_up();
        let before = self.state.load_full();
        let held_for = now.saturating_sub(opened);
        let applied = answer.and_then(|answer| {
            let waits = answer.waits;
            let result = self.apply(answer, self.current, url, now)?;
            Ok((result, waits))
        });
        let (result, waits) = match applied {
            Ok(applied) => applied,
            Err(error) => return self.push_failed(error, now),
        };
        let changed = result == "modified";
        self.document
            .fetched(if changed { "pushed" } else { result }, None);
        if self.current != 0 {
            // The first place is tried again in its time, however well another one does.
            let after = self.state.load_full();
            self.state.store(Arc::new(SourceState {
                next_attempt: before.next_attempt,
                ..(*after).clone()
            }));
        }
        // An answer that brings nothing new, at once, was not held, whatever it says: poll in time.
        let was_held = changed || held_for >= HELD_AT_LEAST;
        self.quick = match held_for >= HELD_AT_LEAST {
            true => 0,
            false => self.quick.saturating_add(1),
        };
        if waits && was_held {
            self.hold(now, self.pause_before_holding());
        }
    }

    /// Cut off, or answered with something unusable: polling takes over, soon, and finds out whether requests are held again.
    fn push_failed(&mut self, error: FetchError, now: Duration) {
        tracing::warn!(%error, "a held request failed");
        self.document.fetched(error.label(), None);
        let previous = self.state.load_full();
        let soon = now + self.back_off();
        self.state.store(Arc::new(SourceState {
            last_error: Some(Arc::new(error)),
            next_attempt: Some(previous.next_attempt.map_or(soon, |next| next.min(soon))),
            ..(*previous).clone()
        }));
    }

    fn pause_before_holding(&self) -> Duration {
        match self.quick.checked_sub(QUICK_CHANGES) {
            None => Duration::ZERO,
            Some(beyond) => self.jittered(MIN_BACK_OFF.saturating_mul(1 << beyond.min(5))),
        }
    }
}
