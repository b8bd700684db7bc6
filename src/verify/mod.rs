//! `Verifier`: the steps of one verification, in order. `look.rs` has them, readable top to bottom; `conclusion.rs` counts what came of
//! them and writes refusals down.
//!
//! ```text
//! bytes → (token cache hit?) → Compact → issuer by iss → VerifyingKey by kid → signature → claims → status bit → Verified<C>
//! ```
//!
//! The hot path takes no lock: it loads a snapshot, reads, and adds to counters. Nothing here knows that an issuer exists.

#[cfg(feature = "server")]
mod any;
mod builder;
mod conclusion;
pub(crate) mod dial;
mod discovery;
mod explain;
mod explanation;
mod fetch;
mod freshness;
#[cfg(feature = "axum")]
mod health;
mod held;
mod issuer_status;
mod keyset;
#[cfg(feature = "axum")]
mod layer;
mod look;
mod refresh;
mod reject;
pub(crate) mod source;
mod source_task;
mod status;
mod status_list;
mod tables;
mod token_cache;
mod trusted_issuer;
mod unknown_kids;
mod verified;
mod verifier;

pub use builder::{BuildError, VerifierBuilder};
pub use conclusion::RequestContext;
pub use dial::ClientError;
pub use explanation::{Check, CheckName, Explanation, Outcome};
pub use fetch::FetchError;
#[cfg(feature = "axum")]
pub use health::health_routes;
pub use issuer_status::{IssuerStatus, StatusListStatus, Updates};
pub use keyset::{KeySet, Publisher, Reader, channel};
#[cfg(feature = "axum")]
pub use layer::{Denied, VerifierFuture, VerifierLayer, VerifierService};
#[cfg(feature = "server")]
pub(crate) use layer::{REQUEST_ID, bearer, request_id};
pub use refresh::RefreshPolicy;
pub use reject::{Malformation, Reason, Reject};
pub use status::StatusCheck;
// For the fuzz targets: a list comes by a fetch alone, and no fuzzer waits for one.
#[doc(hidden)]
pub use status_list::{Expected, StatusBits};
pub use trusted_issuer::TrustedIssuer;
pub use verified::{ClaimSet, Claims, Token, Verified};
pub use verifier::Verifier;
