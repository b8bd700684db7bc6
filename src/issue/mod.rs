//! The issuing side: keys with their stages, tokens minted with the one that signs, the accounts and sessions they are for,
//! and the lists that tell of sessions that have ended.

mod accounts;
mod clock_jump;
mod commands;
mod forecast;
mod issuer;
mod key_record;
mod lease;
mod migration;
mod operator;
mod passwords;
mod ring;
mod rotation;
mod rotator;
mod sessions;
mod status_list;
mod transition;
mod watchers;

pub use accounts::{
    AccountError, AccountSettings, Accounts, FieldType, ProfileField, SignUp, USER_FIELDS,
};
pub use clock_jump::{ClockJump, ImplausibleClock};
pub use commands::{
    How, ImportRefused, Outcome, RotationError, apply, apply_revocation, apply_rotation, import_key,
};
pub use forecast::{Forecast, Moment};
pub use issuer::{
    Audience, Grant, Issuer, IssuerError, MintError, Minted, Published, RESERVED_CLAIMS,
    TokenSettings,
};
pub use key_record::{KeyRecord, Stage};
pub use migration::{Migration, algorithm_for};
pub use operator::{Breaks, Intent, Refused, migrate, revoke, rotate};
pub(crate) use passwords::HashQueue;
pub use passwords::{Argon2Settings, HashError, Passwords};
pub use ring::{KeyRing, MaxAgePromise, RingError};
pub use rotation::{RotationPolicy, step};
pub use rotator::run as run_rotator;
pub use sessions::{
    AuthStore, CLAIM_FIELDS, Client, SessionSettings, SessionToken, Sessions, SignedIn, TokenError,
};
pub use status_list::{StatusList, StatusListError, StatusLists, StatusReference};
pub use transition::{Cause, Done, Transition};
pub use watchers::{WatcherStatus, Watchers};
