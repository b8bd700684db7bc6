//! Sessions as a store keeps them, each with its place in a status list.

use std::time::Duration;

use super::accounts::{Answer, User};
use crate::jose::NumericDate;

/// Places in one status list: 16 KiB as a bitmap, a few bytes compressed while nobody has signed out.
pub const STATUS_LIST_SIZE: u32 = 1 << 17;

/// How many times a place is drawn before another list is opened: with half of all places taken, one draw in 65,000 fails.
pub(crate) const DRAWS: usize = 16;

/// A session that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// `sid` of its tokens. Not the token.
    pub id: String,
    /// SHA-256 of the token, base64url.
    pub token_hash: String,
    /// Whose.
    pub user_id: String,
    /// Whether it outlives the browser.
    pub remembered: bool,
    /// The client's address, as far as it is known.
    pub ip_address: String,
    /// What the client calls itself, cut.
    pub user_agent: String,
    /// Now.
    pub created_at: NumericDate,
    /// Its end, unless renewed.
    pub expires_at: NumericDate,
    /// Places to try, in order, drawn at random; the store keeps the first that is free.
    pub draws: [u32; DRAWS],
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `sid` of its tokens.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Whether it outlives the browser.
    pub remembered: bool,
    /// The client's address when it began.
    pub ip_address: String,
    /// What the client called itself.
    pub user_agent: String,
    /// When it began.
    pub created_at: NumericDate,
    /// When it was last renewed.
    pub updated_at: NumericDate,
    /// Its end, unless renewed.
    pub expires_at: NumericDate,
    /// Where its bit is.
    pub status: StatusPlace,
}

/// One bit of one status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusPlace {
    /// Which list.
    pub list: u32,
    /// Which bit.
    pub index: u32,
}

/// Which of a user's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// The one with this identifier.
    Id(&'a str),
    /// The one whose token has this hash.
    TokenHash(&'a str),
    /// All but the one with this identifier.
    AllBut(&'a str),
}

/// Where sessions are kept. Every change is durable when it returns, whole or not at all.
pub trait SessionStore: Send + Sync + 'static {
    /// Begins a session of a user who exists and is not disabled; `None` if not.
    fn begin<'a>(&'a self, session: &'a NewSession) -> Answer<'a, Option<Session>>;

    /// The session of a token, if it has neither ended nor expired, with its user.
    fn session<'a>(
        &'a self,
        token_hash: &'a str,
        now: NumericDate,
    ) -> Answer<'a, Option<(Session, User)>>;

    /// A user's sessions that have neither ended nor expired, the newest first.
    fn sessions_of<'a>(&'a self, user: &'a str, now: NumericDate) -> Answer<'a, Vec<Session>>;

    /// Moves the end of a session that has not ended. Whether there was one.
    fn renew<'a>(
        &'a self,
        session: &'a str,
        expires_at: NumericDate,
        now: NumericDate,
    ) -> Answer<'a, bool>;

    /// Ends sessions of `user` and sets their bits, in one. Those that had neither ended nor expired.
    fn end<'a>(
        &'a self,
        user: &'a str,
        which: Which<'a>,
        now: NumericDate,
    ) -> Answer<'a, Vec<String>>;

    /// Each status list and its revision, which grows whenever one of its bits is set.
    fn status_lists(&self) -> Answer<'_, Vec<(u32, u64)>>;

    /// The places in `list` whose sessions ended at or after `since`.
    fn ended_places(&self, list: u32, since: NumericDate) -> Answer<'_, Vec<u32>>;

    /// Frees the places of sessions that ended or expired before `before`. How many.
    fn forget_sessions(&self, before: NumericDate) -> Answer<'_, u64>;

    /// How many sessions have neither ended nor expired.
    fn count_sessions(&self, now: NumericDate) -> Answer<'_, u64>;

    /// The value of `name` that all servers on this store share: `first` unless one of them was earlier.
    fn shared_value<'a>(&'a self, name: &'a str, first: &'a str) -> Answer<'a, String>;

    /// The longest `ttl` that any token of this store may ever have had: `ttl`, or what an earlier call said, if that was longer.
    fn longest_token_ttl(&self, ttl: Duration) -> Answer<'_, Duration>;

    /// Whether the store answers.
    fn ping(&self) -> Answer<'_, ()>;
}
