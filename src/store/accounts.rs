//! Accounts as a store keeps them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use super::StoreError;
use super::sessions::{NewSession, Session};
use crate::jose::NumericDate;

/// What a store gives in time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Profile fields by name: what sign-up took and the configuration knows.
pub type Profile = BTreeMap<String, serde_json::Value>;

/// Somebody who can sign in.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// `sub` of their tokens; never reused.
    pub id: String,
    /// In lower case, unique.
    pub email: String,
    /// As they wrote it.
    pub name: String,
    /// A URL, unchecked.
    pub image: Option<String>,
    /// Whether somebody has shown that the address is theirs.
    pub email_verified: bool,
    /// `roles` of their tokens.
    pub roles: Vec<String>,
    /// The scopes they may have; `None` for whatever the audience gives to everyone.
    pub scopes: Option<Vec<String>>,
    /// What else the configuration has asked for.
    pub profile: Profile,
    /// Since when they may not sign in.
    pub disabled_at: Option<NumericDate>,
    /// When they signed up.
    pub created_at: NumericDate,
    /// When any of this last changed.
    pub updated_at: NumericDate,
}

/// A password hash in PHC string format. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Where accounts are kept. Every change is durable when it returns, whole or not at all.
pub trait AccountStore: Send + Sync + 'static {
    /// Adds `user` and their first session, both or neither; `None` if the address has an account.
    fn sign_up<'a>(
        &'a self,
        user: &'a User,
        password: &'a PasswordHash,
        session: &'a NewSession,
    ) -> Answer<'a, Option<Session>>;

    /// The account of an address in lower case, with what its password is checked against.
    fn user_by_email<'a>(&'a self, email: &'a str) -> Answer<'a, Option<(User, PasswordHash)>>;

    /// The account of an identifier.
    fn user_by_id<'a>(&'a self, id: &'a str) -> Answer<'a, Option<(User, PasswordHash)>>;

    /// Every account, by address.
    fn users(&self) -> Answer<'_, Vec<User>>;

    /// Replaces the hash if it is still `old`: two changes at once must not both succeed. Whether it was.
    fn replace_password<'a>(
        &'a self,
        user: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
        now: NumericDate,
    ) -> Answer<'a, bool>;

    /// As [`replace_password`](Self::replace_password), and ends every session of the user but adds `session`, in one.
    fn change_password<'a>(
        &'a self,
        user: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
        session: &'a NewSession,
        now: NumericDate,
    ) -> Answer<'a, Option<Session>>;

    /// Sets `roles`. Whether there is such a user.
    fn set_roles<'a>(
        &'a self,
        user: &'a str,
        roles: &'a [String],
        now: NumericDate,
    ) -> Answer<'a, bool>;

    /// Sets `scopes`. Whether there is such a user.
    fn set_scopes<'a>(
        &'a self,
        user: &'a str,
        scopes: Option<&'a [String]>,
        now: NumericDate,
    ) -> Answer<'a, bool>;

    /// Forbids the user to sign in and ends their sessions, in one. How many there were; `None` without such a user.
    fn disable<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, Option<u64>>;

    /// Lets the user sign in again. Whether there is such a user.
    fn enable<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, bool>;
}
