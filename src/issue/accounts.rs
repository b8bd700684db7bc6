//! Accounts: sign-up, sign-in, change of password.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::mint::MintError;
use super::passwords::{HashError, Passwords, Verdict};
use super::sessions::{Client, Sessions, SignedIn, random_hex};
use crate::store::{PasswordHash, Profile, Session, StoreError, User};

/// The fields that every user has, as clients see them; a profile field is called otherwise.
pub const USER_FIELDS: &[&str] = &[
    "id",
    "name",
    "email",
    "emailVerified",
    "image",
    "createdAt",
    "updatedAt",
    "role",
    "roles",
    "scopes",
    "disabled",
];

const MAX_NAME_BYTES: usize = 256;
const MAX_IMAGE_BYTES: usize = 2048;
const MAX_FIELD_BYTES: usize = 1024;
/// RFC 5321 §4.5.3.1, as errata 1690 counts it.
const MAX_EMAIL_BYTES: usize = 254;

/// Who may have an account, and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// Whether anybody may make one.
    pub sign_up: bool,
    /// How long a password may be, in characters as JavaScript counts them.
    pub password_length: RangeInclusive<usize>,
    /// More fields of a user, by name.
    pub fields: BTreeMap<String, ProfileField>,
}

/// One more field of a user.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileField {
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Whether sign-up must bring it.
    #[serde(default)]
    pub required: bool,
    /// What it is if sign-up does not.
    #[serde(default)]
    pub default: Option<Value>,
}

/// What a profile field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text.
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

// === impl FieldType ===

impl FieldType {
    /// Whether `value` is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match self {
            FieldType::String => value.is_string(),
            FieldType::Number => value.is_number(),
            FieldType::Boolean => value.is_boolean(),
        }
    }

    /// As messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Number => "number",
            FieldType::Boolean => "boolean",
        }
    }
}

/// What somebody signs up with.
pub struct SignUp {
    /// As they write it.
    pub name: String,
    /// In any case.
    pub email: String,
    /// Never stored.
    pub password: Zeroizing<String>,
    /// A URL.
    pub image: Option<String>,
    /// Everything else they sent.
    pub profile: serde_json::Map<String, Value>,
    /// Whether the session outlives the browser.
    pub remembered: bool,
}

/// Why somebody is not signed up, not signed in, or keeps their password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The configuration says so.
    #[error("sign-up is not open")]
    SignUpClosed,
    /// No address.
    #[error("no e-mail address")]
    InvalidEmail,
    /// Too short.
    #[error("the password is too short")]
    PasswordTooShort,
    /// Too long.
    #[error("the password is too long")]
    PasswordTooLong,
    /// The address has an account.
    #[error("the address has an account")]
    UserExists,
    /// Required, and not there.
    #[error("{0} is required")]
    MissingField(String),
    /// Too long, or of another type.
    #[error("[body.{field}] {why}")]
    InvalidField {
        /// Which.
        field: String,
        /// In words.
        why: String,
    },
    /// No such user, or another password.
    #[error("the address or the password is wrong")]
    InvalidCredentials,
    /// The current password is another one.
    #[error("the password is wrong")]
    InvalidPassword,
    /// The account has been disabled.
    #[error("the account is disabled")]
    Disabled,
    /// No verdict on a password.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error(transparent)]
    System(#[from] MintError),
}

// === impl AccountError ===

impl AccountError {
    /// Whether this answers an attempt to guess a password, and not only says that nothing came of it.
    pub(crate) const fn is_verdict(&self) -> bool {
        !matches!(
            self,
            AccountError::Hash(_) | AccountError::Store(_) | AccountError::System(_)
        )
    }
}

/// The accounts of a store.
#[derive(Clone)]
pub struct Accounts {
    sessions: Sessions,
    passwords: Passwords,
    settings: Arc<AccountSettings>,
}

// === impl Accounts ===

impl Accounts {
    /// The accounts of the store that `sessions` has.
    pub fn new(sessions: Sessions, passwords: Passwords, settings: AccountSettings) -> Self {
        Accounts {
            sessions,
            passwords,
            settings: Arc::new(settings),
        }
    }

    /// The sessions of these accounts.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Makes an account and begins its first session, both or neither.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn sign_up(&self, with: SignUp, client: &Client) -> Result<SignedIn, AccountError> {
        if !self.settings.sign_up {
            return Err(AccountError::SignUpClosed);
        }
        let email = normal_email(&with.email)?;
        self.check_length(&with.password)?;
        at_most("name", &with.name, MAX_NAME_BYTES)?;
        if let Some(image) = &with.image {
            at_most("image", image, MAX_IMAGE_BYTES)?;
        }
        let profile = self.profile(with.profile)?;
        // Before the costly hash; the store decides when two come at once.
        if self.sessions.store.user_by_email(&email).await?.is_some() {
            return Err(AccountError::UserExists);
        }
        let password = self.passwords.hash(with.password).await?;
        let now = self.sessions.now();
        let user = User {
            id: random_hex()?,
            email,
            name: with.name,
            image: with.image,
            email_verified: false,
            roles: Vec::new(),
            scopes: None,
            profile,
            disabled_at: None,
            created_at: now,
            updated_at: now,
        };
        let (token, new) = self.sessions.prepare(&user.id, with.remembered, client)?;
        let session = self.sessions.store.sign_up(&user, &password, &new).await?;
        let session = session.ok_or(AccountError::UserExists)?;
        Ok(SignedIn {
            token,
            session,
            user,
        })
    }

    /// Begins a session of whoever has this address and this password.
    ///
    /// # Errors
    /// [`AccountError::InvalidCredentials`] for a wrong password and an unknown address alike, and after the same time.
    pub async fn sign_in(
        &self,
        email: &str,
        password: Zeroizing<String>,
        remembered: bool,
        client: &Client,
    ) -> Result<SignedIn, AccountError> {
        let email = normal_email(email)?;
        if password.encode_utf16().count() > *self.settings.password_length.end() {
            // Nobody's; a hash of it would cost as much as the client likes.
            return Err(AccountError::InvalidCredentials);
        }
        let (user, stored) = self.sessions.store.user_by_email(&email).await?.unzip();
        let verdict = self.passwords.check(password, stored.clone()).await?;
        let (Some(user), Some(stored), Verdict::Right { renewed }) = (user, stored, verdict) else {
            return Err(AccountError::InvalidCredentials);
        };
        if user.disabled_at.is_some() {
            return Err(AccountError::Disabled);
        }
        if let Some(renewed) = renewed {
            self.renew_hash(&user, &stored, &renewed).await;
        }
        let (token, new) = self.sessions.prepare(&user.id, remembered, client)?;
        let session = self.sessions.store.begin(&new).await?;
        Ok(SignedIn {
            token,
            session: session.ok_or(AccountError::Disabled)?,
            user,
        })
    }

    /// Whether the account of this address has a living session that began in the network of `ip`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn is_signed_in_from(
        &self,
        email: &str,
        ip: IpAddr,
    ) -> Result<bool, StoreError> {
        let store = &self.sessions.store;
        let Some((user, _)) = store.user_by_email(email).await? else {
            return Ok(false);
        };
        let sessions = store.sessions_of(&user.id, self.sessions.now()).await?;
        let mut began = sessions
            .iter()
            .filter_map(|session| session.ip_address.parse().ok());
        Ok(began.any(|began| is_same_network(began, ip)))
    }

    async fn renew_hash(&self, user: &User, stored: &PasswordHash, renewed: &PasswordHash) {
        let now = self.sessions.now();
        let store = &self.sessions.store;
        if let Err(error) = store.replace_password(&user.id, stored, renewed, now).await {
            // The old one is as good as it was: no reason to keep anybody out.
            tracing::warn!(%error, "a password could not be hashed by the new settings");
        }
    }

    /// Changes a password, ends every session of the user, and begins another: whoever knew the old password is out.
    ///
    /// # Errors
    /// [`AccountError`]; nothing has then changed.
    pub async fn change_password(
        &self,
        (session, user): (&Session, &User),
        current: Zeroizing<String>,
        new: Zeroizing<String>,
        client: &Client,
    ) -> Result<SignedIn, AccountError> {
        self.check_length(&new)?;
        if current.encode_utf16().count() > *self.settings.password_length.end() {
            return Err(AccountError::InvalidPassword);
        }
        let found = self.sessions.store.user_by_id(&user.id).await?;
        let (user, stored) = found.ok_or(AccountError::InvalidPassword)?;
        match self.passwords.check(current, Some(stored.clone())).await? {
            Verdict::Right { .. } => {}
            Verdict::Wrong => return Err(AccountError::InvalidPassword),
        }
        let hash = self.passwords.hash(new).await?;
        let (token, new) = self
            .sessions
            .prepare(&user.id, session.remembered, client)?;
        let now = self.sessions.now();
        let changed = self
            .sessions
            .store
            .change_password(&user.id, &stored, &hash, &new, now)
            .await?;
        self.sessions.status_lists().changed();
        Ok(SignedIn {
            token,
            // Somebody else has changed it, or disabled the account, meanwhile.
            session: changed.ok_or(AccountError::InvalidPassword)?,
            user,
        })
    }

    fn check_length(&self, password: &str) -> Result<(), AccountError> {
        let length = password.encode_utf16().count();
        match length {
            _ if length < *self.settings.password_length.start() => {
                Err(AccountError::PasswordTooShort)
            }
            _ if length > *self.settings.password_length.end() => {
                Err(AccountError::PasswordTooLong)
            }
            _ => Ok(()),
        }
    }

    /// The configured fields among what was sent; the rest is dropped, as a client may not make fields.
    fn profile(&self, mut sent: serde_json::Map<String, Value>) -> Result<Profile, AccountError> {
        let mut profile = Profile::new();
        for (name, field) in &self.settings.fields {
            let value = match sent.remove(name).filter(|value| !value.is_null()) {
                Some(value) => value,
                None if field.required => return Err(AccountError::MissingField(name.clone())),
                None => match &field.default {
                    Some(default) => default.clone(),
                    None => continue,
                },
            };
            if !field.kind.admits(&value) {
                return Err(AccountError::InvalidField {
                    field: name.clone(),
                    why: format!("Invalid input: expected {}", field.kind.name()),
                });
            }
            if let Value::String(text) = &value {
                at_most(name, text, MAX_FIELD_BYTES)?;
            }
            profile.insert(name.clone(), value);
        }
        Ok(profile)
    }
}

/// Whether two addresses are the same, or share the 64 bits that one customer of a provider has.
fn is_same_network(one: IpAddr, other: IpAddr) -> bool {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() >> 64 == other.to_bits() >> 64,
        (one, other) => one == other,
    }
}

fn at_most(field: &str, text: &str, max: usize) -> Result<(), AccountError> {
    if text.len() <= max {
        return Ok(());
    }
    Err(AccountError::InvalidField {
        field: field.to_owned(),
        why: format!("Too big: expected at most {max} bytes"),
    })
}

/// An address in lower case: letters, digits and a few signs, one `@`, a domain of at least two labels.
///
/// Stricter than RFC 5322, as the forms on the web are: no quotes, no comments, no bare hosts.
pub(crate) fn normal_email(email: &str) -> Result<String, AccountError> {
    let email = email.to_ascii_lowercase();
    let is_address = email.split_once('@').is_some_and(|(local, domain)| {
        let signs = |byte: u8| byte.is_ascii_alphanumeric() || b"_'+-.".contains(&byte);
        let local_ok = !local.is_empty()
            && local.len() <= 64
            && local.bytes().all(signs)
            && !local.starts_with('.')
            && !local.ends_with(['.', '\''])
            && !local.contains("..");
        let label_ok = |label: &str| {
            label.starts_with(|c: char| c.is_ascii_alphanumeric())
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let (labels, last) = domain.rsplit_once('.').unwrap_or(("", domain));
        let last_ok = last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
        local_ok && last_ok && labels.split('.').all(label_ok)
    });
    match is_address && email.len() <= MAX_EMAIL_BYTES {
        true => Ok(email),
        false => Err(AccountError::InvalidEmail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_address() {
        for email in ["ada@example.com", "Ada.L+x_1'y-z@sub.ex-ample.co"] {
            assert_eq!(normal_email(email).unwrap(), email.to_lowercase());
        }
        for email in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.com",
            "ada@localhost",
            "ada@example.c",
            "ada@example.c0m",
            "a@b@example.com",
            ".ada@example.com",
            "ada.@example.com",
            "a..b@example.com",
            "a b@example.com",
            "ada@exa mple.com",
            "ada@-example.com",
            "ada@.com",
            "<b>@example.com",
            "a\"b@example.com",
            "ada@example.com\n",
            "ädä@example.com",
            "' or 1=1 --@example.com",
        ] {
            assert!(normal_email(email).is_err(), "{email}");
        }
        assert!(normal_email(&format!("{}@example.com", "a".repeat(65))).is_err());
        assert!(normal_email(&format!("a@{}com", "a.".repeat(130))).is_err());
    }
}
