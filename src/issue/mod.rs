//! The issuing side: keys with their stages, and tokens minted with the one that signs.

mod issuer;
mod ring;
mod rotation;
mod rotator;
mod watchers;

pub use issuer::{
    Audience, Grant, Issuer, IssuerError, MintError, Minted, Published, TokenSettings,
};
pub use ring::{KeyRecord, KeyRing, RingError, Stage};
pub use rotation::{Cause, Refused, RotationPolicy, Transition, rotate, step};
pub use rotator::{
    Done, ImportRefused, RotationError, apply_rotation, import_key, run as run_rotator,
};
pub use watchers::{WatcherStatus, Watchers};
