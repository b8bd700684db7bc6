//! The only place that reads the time. Everything else takes a moment as an argument, or a [`Clock`].

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::jose::NumericDate;

/// A future that ends when a clock has moved on far enough.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How far [`Clock::recent`] may be behind.
pub const RECENT: Duration = Duration::from_secs(2);

/// A source of time.
///
/// Claims are held against [`now`](Clock::now), caches and cool-downs against [`monotonic`](Clock::monotonic): a wall clock
/// that jumps must neither flood an issuer with fetches nor keep a stale key set alive.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock's time.
    fn now(&self) -> NumericDate;
    /// The wall clock's time as it was up to [`RECENT`] ago: for questions that so much does not decide, where it is cheaper.
    fn recent(&self) -> NumericDate {
        self.now()
    }
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Ends once [`monotonic`](Clock::monotonic) has advanced by `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

// === impl SystemClock ===

#[expect(
    clippy::disallowed_methods,
    reason = "the clock is where the time is read"
)]
impl Clock for SystemClock {
    fn now(&self) -> NumericDate {
        // A machine whose clock stands before 1970 is taken to be at 1970: then nothing with an `nbf` passes.
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        NumericDate::from_duration(since_epoch)
    }

    /// As of the kernel's last tick, some milliseconds ago, and without the fraction: a fifth of what [`now`](Clock::now) takes.
    #[cfg(target_os = "linux")]
    fn recent(&self) -> NumericDate {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        NumericDate::from_seconds(time.tv_sec.max(0))
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to move: for tests, and for asking "what if it were noon?".
#[derive(Debug, Clone)]
pub struct ManualClock {
    time: tokio::sync::watch::Sender<Moment>,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: NumericDate,
    monotonic: Duration,
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: NumericDate) -> Self {
        let monotonic = Duration::ZERO;
        ManualClock {
            time: tokio::sync::watch::Sender::new(Moment {
                wall: now,
                monotonic,
            }),
        }
    }

    /// Lets `by` pass: both times move, and sleepers whose time has come wake.
    pub fn advance(&self, by: Duration) {
        self.time.send_modify(|moment| {
            moment.wall = moment.wall.plus(by);
            moment.monotonic += by;
        });
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, now: NumericDate) {
        self.time.send_modify(|moment| moment.wall = now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> NumericDate {
        self.time.borrow().wall
    }

    fn monotonic(&self) -> Duration {
        self.time.borrow().monotonic
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut time = self.time.subscribe();
        let deadline = time.borrow().monotonic.saturating_add(duration);
        Box::pin(async move {
            // An error means that the clock is gone, and with it every test that could wait.
            let _ = time.wait_for(|moment| moment.monotonic >= deadline).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = ManualClock::new(NumericDate::from_seconds(100));
        let sleep = clock.sleep(Duration::from_secs(5));
        clock.set_wall(NumericDate::from_seconds(1_000));
        clock.advance(Duration::from_secs(4));
        let early = clock.sleep(Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        sleep.await;
        early.await;
        assert_eq!(clock.now(), NumericDate::from_seconds(1_005));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }
}
