//! Sessions: begun, found by their token, renewed, ended; and the tokens they are good for.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::grant::Grant;
use super::issuer::Issuer;
use super::mint::{MintError, Minted};
use super::status_list::{StatusListError, StatusLists};
use crate::jose::{NumericDate, base64url};
use crate::store::{
    AccountStore, DRAWS, NewSession, Session, SessionStore, StoreError, User, Which,
};

/// 256 bits: no guess meets one.
const TOKEN_BYTES: usize = 32;
/// A longer User-Agent is cut.
const MAX_USER_AGENT_BYTES: usize = 256;

/// The fields of every user that may be claims, under their names in OpenID Connect Core §5.1.
pub const CLAIM_FIELDS: &[&str] = &["email", "email_verified", "name", "picture"];

/// Where accounts and sessions are.
pub trait AuthStore: AccountStore + SessionStore {}

impl<T: AccountStore + SessionStore> AuthStore for T {}

/// How long sessions last, and what their tokens say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSettings {
    /// From the last renewal.
    pub ttl: Duration,
    /// A session in use is renewed once it is this old.
    pub renew_after: Duration,
    /// One that ends with the browser lasts no longer than this, and is not renewed.
    pub browser_ttl: Duration,
    /// The audience of a token that is asked for without one.
    pub default_audience: String,
    /// The only fields of a user that enter a token.
    pub user_claims: Vec<String>,
}

/// Who asks, as far as a service can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// The address, in text.
    pub ip_address: String,
    /// What it calls itself.
    pub user_agent: String,
}

/// What proves a session: 43 characters, known to the client alone. Shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(Zeroizing<String>);

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

// === impl SessionToken ===

impl SessionToken {
    /// What a client sent; a forged one is found to be nobody's.
    pub fn from_client(text: &str) -> Self {
        SessionToken(Zeroizing::new(text.to_owned()))
    }

    fn random() -> Result<Self, MintError> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| MintError::System("give random bytes"))?;
        Ok(SessionToken(Zeroizing::new(base64url::encode(&*bytes))))
    }

    /// 256 random bits for another use: the first value of a store's secret.
    pub(crate) fn random_secret() -> Result<String, MintError> {
        Ok(Self::random()?.0.to_string())
    }

    /// For the client alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored. Without salt: 256 random bits are their own.
    fn hash(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.as_bytes());
        base64url::encode(digest.as_ref())
    }
}

/// A session that has just begun.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// For the client, and nowhere else.
    pub token: SessionToken,
    /// The session.
    pub session: Session,
    /// Whose it is.
    pub user: User,
}

/// Why a session gives no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The configuration names no such audience.
    #[error("the audience is not configured")]
    UnknownAudience,
    /// No key signs, or the system failed.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The status list could not be published.
    #[error(transparent)]
    Status(#[from] StatusListError),
}

/// Sessions of a store. Clones share it.
#[derive(Clone)]
pub struct Sessions {
    pub(super) store: Arc<dyn AuthStore>,
    issuer: Issuer,
    lists: StatusLists,
    settings: Arc<SessionSettings>,
}

// === impl Sessions ===

impl Sessions {
    /// Sessions of `store`, whose tokens `issuer` signs and whose ends `lists` publish.
    pub fn new(
        store: Arc<dyn AuthStore>,
        issuer: Issuer,
        lists: StatusLists,
        settings: SessionSettings,
    ) -> Self {
        Sessions {
            store,
            issuer,
            lists,
            settings: Arc::new(settings),
        }
    }

    /// The moment, by the issuer's clock.
    pub fn now(&self) -> NumericDate {
        self.issuer.clock().now()
    }

    /// How long sessions last, and what their tokens say.
    pub fn settings(&self) -> &SessionSettings {
        &self.settings
    }

    /// The status lists that tell of ended sessions.
    pub fn status_lists(&self) -> &StatusLists {
        &self.lists
    }

    /// A session that has not begun: a token for the client, and what the store is to keep.
    pub(super) fn prepare(
        &self,
        user: &str,
        remembered: bool,
        client: &Client,
    ) -> Result<(SessionToken, NewSession), MintError> {
        let token = SessionToken::random()?;
        let now = self.now();
        let ttl = match remembered {
            true => self.settings.ttl,
            false => self.settings.browser_ttl,
        };
        let mut draws = [[0; 4]; DRAWS];
        aws_lc_rs::rand::fill(draws.as_flattened_mut())
            .map_err(|_| MintError::System("give random bytes"))?;
        let new = NewSession {
            id: random_hex()?,
            token_hash: token.hash(),
            user_id: user.to_owned(),
            remembered,
            ip_address: client.ip_address.clone(),
            user_agent: cut(&client.user_agent, MAX_USER_AGENT_BYTES).to_owned(),
            created_at: now,
            expires_at: now.plus(ttl),
            draws: draws.map(u32::from_le_bytes),
        };
        Ok((token, new))
    }

    /// The session of a token and its user; `None` if it has ended, has expired or never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, token: &SessionToken) -> Result<Option<(Session, User)>, StoreError> {
        let found = self.store.session(&token.hash(), self.now()).await?;
        Ok(found.filter(|(_, user)| user.disabled_at.is_none()))
    }

    /// Moves the end of a session that is due for it. Whether it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew(&self, session: &mut Session) -> Result<bool, StoreError> {
        let now = self.now();
        if !session.remembered || now.since(session.updated_at) < self.settings.renew_after {
            return Ok(false);
        }
        let expires_at = now.plus(self.settings.ttl);
        let renewed = self.store.renew(&session.id, expires_at, now).await?;
        if renewed {
            session.expires_at = expires_at;
            session.updated_at = now;
        }
        Ok(renewed)
    }

    /// A user's living sessions, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, user: &User) -> Result<Vec<Session>, StoreError> {
        self.store.sessions_of(&user.id, self.now()).await
    }

    /// Ends sessions of a user; verifiers hear of it at once. The identifiers of those that ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end(&self, user: &User, which: Which<'_>) -> Result<Vec<String>, StoreError> {
        let ended = self.store.end(&user.id, which, self.now()).await?;
        self.lists.changed();
        Ok(ended)
    }

    /// Ends the one of a user's sessions that has this identifier or this token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_named(&self, user: &User, name: &str) -> Result<Vec<String>, StoreError> {
        let hash = SessionToken::from_client(name).hash();
        let ended = self.end(user, Which::TokenHash(&hash)).await?;
        match ended.is_empty() {
            true => self.end(user, Which::Id(name)).await,
            false => Ok(ended),
        }
    }

    /// A token for `audience`, or the default one.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn token(
        &self,
        session: &Session,
        user: &User,
        audience: Option<&str>,
    ) -> Result<Minted, TokenError> {
        let default = &self.settings.default_audience;
        let name = audience.unwrap_or(default);
        let configured = self.issuer.settings().audiences.get(name);
        if configured.is_none() && name != default {
            return Err(TokenError::UnknownAudience);
        }
        let algorithm = self.issuer.algorithm_for(name);
        // A list that was opened for this very session must be there before its first token is.
        self.lists.get(session.status.list, algorithm).await?;
        let mut grant = Grant::new(&user.id, name)
            .session(&session.id)
            .status(self.lists.reference(session.status, algorithm));
        if let Some(audience) = configured {
            let everyones = audience.default_scopes.as_ref().unwrap_or(&audience.scopes);
            let scopes = user.scopes.as_ref().unwrap_or(everyones);
            for scope in scopes
                .iter()
                .filter(|scope| audience.scopes.contains(scope))
            {
                grant = grant.scope(scope);
            }
        }
        for role in &user.roles {
            grant = grant.role(role);
        }
        for claim in &self.settings.user_claims {
            grant = match claim.as_str() {
                "email" => grant.email(&user.email),
                "email_verified" => grant.user_claim(claim, user.email_verified.into()),
                "name" => grant.user_claim(claim, user.name.as_str().into()),
                "picture" => match &user.image {
                    Some(image) => grant.user_claim(claim, image.as_str().into()),
                    None => grant,
                },
                field => match user.profile.get(field) {
                    Some(value) => grant.user_claim(field, value.clone()),
                    None => grant,
                },
            };
        }
        Ok(self.issuer.mint(&grant)?)
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_hex() -> Result<String, MintError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MintError::System("give random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// At most `max` bytes, cut between characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}
