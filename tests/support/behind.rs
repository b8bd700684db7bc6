//! A clock whose cheap reading is as far behind as it may be.

use std::time::Duration;

use keywheel::clock::{Clock, Sleep};
use keywheel::{ManualClock, NumericDate};

/// `clock`, but [`Clock::recent`] lags by `lag`, a second at most, and has no fraction.
#[derive(Debug, Clone)]
pub struct Behind {
    pub clock: ManualClock,
    pub lag: Duration,
}

impl Clock for Behind {
    fn now(&self) -> NumericDate {
        self.clock.now()
    }

    fn recent(&self) -> NumericDate {
        NumericDate::from_seconds(self.clock.now().minus(self.lag).seconds())
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }
}
