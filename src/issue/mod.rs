//! The issuing side: keys with their stages, tokens minted with the one that signs, the accounts and sessions they are for,
//! and the lists that tell of sessions that have ended.

mod accounts;
mod clock_jump;
mod commands;
mod forecast;
mod grant;
mod issuer;
mod key_record;
mod lease;
mod migration;
mod mint;
mod operator;
mod passwords;
mod published;
mod ring;
mod rotation;
mod rotator;
mod sessions;
mod settings;
mod status_list;
mod transition;
mod watchers;

pub(crate) use accounts::normal_email;
pub use accounts::{
    AccountError, AccountSettings, Accounts, FieldType, ProfileField, SignUp, USER_FIELDS,
};
pub use clock_jump::{ClockJump, ImplausibleClock};
pub use commands::{
    How, ImportRefused, Outcome, RotationError, apply, apply_revocation, apply_rotation, import_key,
};
pub use forecast::{Forecast, Moment};
pub use grant::{Grant, RESERVED_CLAIMS};
pub use issuer::{Issuer, IssuerError};
pub use key_record::{KeyRecord, Stage};
pub use migration::{Migration, algorithm_for};
pub use mint::{MintError, Minted};
pub use operator::{Breaks, Intent, Refused, migrate, revoke, rotate};
pub(crate) use passwords::HashQueue;
pub use passwords::{Argon2Settings, HashError, Passwords};
pub use published::Published;
pub use ring::{KeyRing, MaxAgePromise, RingError};
pub use rotation::{RotationPolicy, step};
pub use rotator::run as run_rotator;
pub use sessions::{
    AuthStore, CLAIM_FIELDS, Client, SessionSettings, SessionToken, Sessions, SignedIn, TokenError,
};
pub use settings::{Audience, TokenSettings};
pub use status_list::{StatusList, StatusListError, StatusLists, StatusReference};
pub use transition::{Cause, Done, Transition};
pub use watchers::{WatcherStatus, Watchers};
