//! Which Ed25519 keys get a table of precomputed multiples: busy ones, off the hot path, up to a bound.
//!
//! Only accepted signatures make a key busy, so that no flood of forged tokens builds anything. Where all places are taken, or no
//! thread can be had, a key is verified with as it was before: slower, and with the same verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::jose::VerifyingKey;

/// Tables unless set otherwise; 480 KiB each.
pub(super) const DEFAULT_TABLES: usize = 8;

/// The places for tables of one verifier.
pub(super) struct Tables {
    limit: usize,
    free: Arc<AtomicUsize>,
}

/// A place that is taken until this is dropped.
struct Place {
    free: Arc<AtomicUsize>,
}

// === impl Tables ===

impl Tables {
    pub(super) fn new(limit: usize) -> Self {
        Tables {
            limit,
            free: Arc::new(AtomicUsize::new(limit)),
        }
    }

    /// Notes that a signature by `key` was accepted; this may start a thread, a few times in a key's life.
    pub(super) fn accepted(&self, key: &Arc<VerifyingKey>) {
        if self.limit > 0 && key.is_busy() {
            self.build(key);
        }
    }

    #[cold]
    fn build(&self, key: &Arc<VerifyingKey>) {
        let Some(place) = Place::take(&self.free) else {
            return;
        };
        let busy = Arc::downgrade(key);
        let build = move || {
            // A key that has left the set meanwhile needs none.
            if let Some(key) = busy.upgrade() {
                key.precompute_in(place);
            }
        };
        let thread = std::thread::Builder::new().name("ed25519-table".into());
        if let Err(error) = thread.spawn(build) {
            tracing::warn!(%error, "no thread to build a table of an Ed25519 key; it is verified with more slowly");
        }
    }
}

// === impl Place ===

impl Place {
    fn take(free: &Arc<AtomicUsize>) -> Option<Self> {
        // Relaxed: only the number matters, it orders nothing.
        free.try_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            free.checked_sub(1)
        })
        .ok()?;
        Some(Place { free: free.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}
