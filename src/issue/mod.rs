//! The issuing side: keys with their stages, and tokens minted with the one that signs.

mod clock_jump;
mod commands;
mod forecast;
mod issuer;
mod key_record;
mod lease;
mod migration;
mod operator;
mod ring;
mod rotation;
mod rotator;
mod transition;
mod watchers;

pub use clock_jump::{ClockJump, ImplausibleClock};
pub use commands::{
    How, ImportRefused, Outcome, RotationError, apply, apply_revocation, apply_rotation, import_key,
};
pub use forecast::{Forecast, Moment};
pub use issuer::{
    Audience, Grant, Issuer, IssuerError, MintError, Minted, Published, TokenSettings,
};
pub use key_record::{KeyRecord, Stage};
pub use migration::{Migration, algorithm_for};
pub use operator::{Breaks, Intent, Refused, migrate, revoke, rotate};
pub use ring::{KeyRing, MaxAgePromise, RingError};
pub use rotation::{RotationPolicy, step};
pub use rotator::run as run_rotator;
pub use transition::{Cause, Done, Transition};
pub use watchers::{WatcherStatus, Watchers};
