//! Where keys, accounts and sessions live. [`KeyStore`] is what the issuer asks of a store, [`FileKeyStore`] keeps a folder;
//! [`AccountStore`] and [`SessionStore`] are what signing in asks of one, [`Database`] is both.
//!
//! To add a store, implement the two traits: `lock` must keep every other writer out, on this machine or any other, and
//! `save_ring` must be all or nothing and durable when it returns. Nothing is published before it returned.

mod accounts;
mod files;
mod rewrap;
mod seal;
mod sessions;
mod sql;

use std::path::PathBuf;
use std::sync::Arc;

pub use accounts::{AccountStore, Answer, PasswordHash, Profile, User};
pub use files::FileKeyStore;
pub use seal::WrappingKeys;
pub(crate) use sessions::DRAWS;
pub use sessions::{NewSession, STATUS_LIST_SIZE, Session, SessionStore, StatusPlace, Which};
pub use sql::{Database, DatabaseKeyStore};
pub(crate) use sql::{check_url as check_database_url, database_file, database_name};

use zeroize::Zeroizing;

use crate::issue::{KeyRecord, KeyRing, RingError};
use crate::jose::{Algorithm, SigningError, SigningKey};

/// What a store holds.
#[derive(Debug, Default)]
pub struct StoredKeys {
    /// The keys and their stages; `usable` tells whether the private half was had.
    pub ring: KeyRing,
    /// The private halves of announced and signing keys.
    pub signers: Vec<Arc<SigningKey>>,
    /// What is wrong, by name; the rest works.
    pub problems: Vec<KeyProblem>,
    /// Changes whenever the store's content does.
    pub revision: Revision,
}

/// A key that cannot be used, and why; the others can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct KeyProblem {
    /// The file, or what stands for it.
    pub path: PathBuf,
    /// Whose private half it is, where that is known.
    pub kid: Option<String>,
    /// What is wrong and what to do about it.
    pub why: String,
}

/// What became of one private key when it was sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// The key.
    pub kid: String,
    /// Why it could not be, if it could not.
    pub problem: Option<String>,
}

/// Something that differs whenever a store's content may have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revision(pub(crate) u128);

impl From<u128> for Revision {
    /// For stores outside this crate: any number that changes with the content.
    fn from(number: u128) -> Self {
        Revision(number)
    }
}

/// Why a store cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ring file is no JSON of its layout.
    #[error("{}: {source}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// The ring file makes no sense.
    #[error("{}: {source}", .path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RingError,
    },
    /// The ring's seal does not fit it: somebody without the wrapping key has edited it, or the file is damaged.
    #[error("{}: its seal does not fit: it was changed by somebody who lacks the wrapping key, or is damaged; restore it from a backup", .path.display())]
    Seal {
        /// The file.
        path: PathBuf,
    },
    /// The ring is sealed and there is no wrapping key: what would be written would be open to all who can read the store.
    #[error("{}: is sealed, and no wrapping key is configured: set KEYWHEEL_WRAPPING_KEYS or keys.wrapping_keys_file", .path.display())]
    NoWrappingKey {
        /// The file.
        path: PathBuf,
    },
    /// A key could not be sealed.
    #[error("{0}")]
    Sealing(String),
    /// Another process is writing.
    #[error("{}: another keywheel process is changing the keys; try again when it is done", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The database's URL is none.
    #[error("database.url: {why}")]
    DatabaseUrl {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The database refused, or is out of reach.
    #[error("the database {name}: cannot {action}: {source}")]
    Database {
        /// Its file or address, without a password.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        source: Box<sqlx::Error>,
    },
    /// The database has the schema of another version.
    #[error("the database {name} has schema step {found} where this version knows {known}: {}", if .found < .known { "`keywheel serve` brings it up to date" } else { "use a newer keywheel" })]
    Schema {
        /// Its file or address, without a password.
        name: String,
        /// The last step that it has had.
        found: i64,
        /// The last step that there is.
        known: i64,
    },
    /// A key could not be made.
    #[error("a new {algorithm} key: {source}")]
    Generate {
        /// For this algorithm.
        algorithm: Algorithm,
        /// Why not.
        source: SigningError,
    },
}

/// A place for keys, shared with other processes.
pub trait KeyStore: Send + Sync + 'static {
    /// Everything in the store.
    ///
    /// # Errors
    /// [`StoreError`] if the store as a whole cannot be read; a single bad key is a [`KeyProblem`].
    fn load(&self) -> Result<StoredKeys, StoreError>;

    /// The private half of one key, PKCS#8, for export.
    ///
    /// # Errors
    /// [`KeyProblem`] says what is wrong with it.
    fn private_key(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem>;

    /// Cheap: whether to load again.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Seals every private key, and the ring, by the first wrapping key. `vouch` for a ring that carries no seal of a configured
    /// one: only somebody who has looked at it can. A key that cannot be opened is named in the list and left as it is.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Sealing`] from a store that does not seal.
    fn rewrap(&self, vouch: bool, dry_run: bool) -> Result<Vec<Rewrapped>, StoreError> {
        let _ = (vouch, dry_run);
        Err(StoreError::Sealing("this store does not seal keys".into()))
    }

    /// Lets go of what it holds open, in order. Nothing is asked of it afterwards.
    fn close(&self) {}

    /// Keeps every other writer out until the guard is dropped.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another is at it and does not end soon.
    fn lock(&self) -> Result<Box<dyn KeyWriter + '_>, StoreError>;
}

impl KeyStore for Box<dyn KeyStore> {
    fn load(&self) -> Result<StoredKeys, StoreError> {
        (**self).load()
    }

    fn private_key(&self, record: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        (**self).private_key(record)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        (**self).revision()
    }

    fn rewrap(&self, vouch: bool, dry_run: bool) -> Result<Vec<Rewrapped>, StoreError> {
        (**self).rewrap(vouch, dry_run)
    }

    fn close(&self) {
        (**self).close();
    }

    fn lock(&self) -> Result<Box<dyn KeyWriter + '_>, StoreError> {
        (**self).lock()
    }
}

/// The only one who may write.
pub trait KeyWriter {
    /// As [`KeyStore::load`], with nobody else writing meanwhile.
    ///
    /// # Errors
    /// As [`KeyStore::load`].
    fn load(&self) -> Result<StoredKeys, StoreError>;

    /// Saves a new key's private half, durably. It counts only once a ring names it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; nothing is then changed.
    fn save_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<(), StoreError>;

    /// Replaces the ring, all or nothing, durably.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old ring is then still there.
    fn save_ring(&self, ring: &KeyRing) -> Result<(), StoreError>;

    /// Destroys the private halves that the ring has no more use for.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn prune(&self, ring: &KeyRing) -> Result<(), StoreError>;
}
