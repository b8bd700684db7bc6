//! JOSE, pure: no clock, no I/O, no async, no logging, no metrics.
//!
//! What is here depends on nothing else in the crate. A [`Compact`], a
//! [`VerifyingKey`] or a set of [`RegisteredClaims`] exists only if its checks have passed.

pub(crate) mod algorithm;
pub(crate) mod base64url;
pub(crate) mod claim_places;
pub(crate) mod claims;
pub(crate) mod compact;
pub(crate) mod ecdsa;
pub(crate) mod ed25519;
pub(crate) mod json;
pub(crate) mod jwk;
mod jwk_set;
pub(crate) mod key;
mod names;
pub(crate) mod numeric_date;
pub(crate) mod policy;
#[cfg(feature = "server")]
pub(crate) mod private_key;
pub(crate) mod rsa;
#[cfg(feature = "server")]
pub(crate) mod signing;
mod thumbprint;

pub use algorithm::{Algorithm, KeyType, UnknownAlgorithm};
pub use claims::{RegisteredClaims, StatusReference};
pub use compact::{Compact, CompactError, Header, MAX_TOKEN_BYTES};
pub use json::JsonError;
pub use jwk::JwkError;
pub use jwk_set::{JwkSet, SetError, SkippedKey};
pub use key::VerifyingKey;
pub use numeric_date::NumericDate;
pub use policy::{ClaimError, Policy, TypRule};
#[cfg(feature = "server")]
pub use private_key::{ImportError, ImportedKey, read_private_key};
#[cfg(feature = "server")]
pub use signing::{SigningError, SigningKey};
pub use thumbprint::Thumbprint;
