//! The issuing side: keys with their stages, tokens minted with the one that signs, the accounts and sessions they are for,
//! and the lists that tell of sessions that have ended.

mod accounts;
mod issuer;
mod passwords;
mod ring;
mod rotation;
mod rotator;
mod sessions;
mod status_list;
mod watchers;

pub use accounts::{
    AccountError, AccountSettings, Accounts, FieldType, ProfileField, SignUp, USER_FIELDS,
};
pub use issuer::{
    Audience, Grant, Issuer, IssuerError, MintError, Minted, Published, RESERVED_CLAIMS,
    TokenSettings,
};
pub use passwords::{Argon2Settings, HashError, Passwords};
pub use ring::{KeyRecord, KeyRing, RingError, Stage};
pub use rotation::{Cause, Refused, RotationPolicy, Transition, rotate, step};
pub use rotator::{
    Done, ImportRefused, RotationError, apply_rotation, import_key, run as run_rotator,
};
pub use sessions::{
    AuthStore, CLAIM_FIELDS, Client, SessionSettings, SessionToken, Sessions, SignedIn, TokenError,
};
pub use status_list::{StatusList, StatusListError, StatusLists, StatusReference};
pub use watchers::{WatcherStatus, Watchers};
