//! Keywheel signs with rotating keys and lets any backend verify without sharing a secret.
//!
//! # Bird's eye
//!
//! ```text
//! token   bytes → Compact → VerifyingKey by kid → signature → claims → status bit → Verified<C>
//! keys    remote: fetch → parse → KeySet ┐
//!         local:  rotator → KeyRing ─────┴→ Publisher ⇒ ArcSwap<KeySet> ⇒ Reader
//! miss    unknown kid → refresh (at most one fetch, bounded in rate) → publish → one more try
//! stage   announced (≥ JWKS max-age + skew) → signing → retired (≥ last token + skew) → gone;  revoked at any time
//! ```
//!
//! # A backend
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use keywheel::{Algorithm, Claims, Verified, Verifier};
//!
//! let verifier = Verifier::builder()
//!     .issuer("https://auth.example.com")
//!     .audience("orders-api")
//!     .algorithms([Algorithm::EdDSA, Algorithm::RS256])
//!     .build()?;
//!
//! # let bearer = "";
//! match verifier.verify::<Claims>(bearer).await {
//!     Ok(token) => println!("hello, {}", token.subject()),
//!     Err(reject) => eprintln!("refused: {}", reject.code()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Code map
//!
//! Layers: `jose → verify → issue and store → http → cli`. Without the feature `server` only the first two exist, so the compiler
//! holds that the verifier needs nothing of the rest. Above it, it does not: `issue` and `store` know each other (a store keeps
//! the types of `issue`, which work on its traits), and `config` and `http` do (a rule of the gate is a setting).
//!
//! | module | what it does | what it never does |
//! | --- | --- | --- |
//! | [`jose`] | parses and checks tokens, keys, claims | reads a clock, a file, a socket |
//! | [`verify`] | the verdict; keys and status lists from anywhere | know that an issuer exists |
//! | [`clock`] | the time | — |
//! | [`metrics`], [`audit`] | what is counted, what is written down | hold a token |
//! | `issue` | keys in stages, rotation, minting; accounts, sessions, lists of those that ended | read a request |
//! | `store` | where keys, accounts and sessions are kept | decide what they do |
//! | `http` | the routes of `keywheel serve` and `keywheel gate`, the auth API's words, the pages | change a key |
//! | `config` | the file and the environment, as typed values | act on them |
//! | `cli` | one file per command | — |
//!
//! # Invariants
//!
//! 1. The key owns the algorithm; the header may only agree with it.
//! 2. A `Compact`, a `VerifyingKey`, a `Verified<C>` exists only if its checks have passed.
//! 3. Nothing in a token or a fetched document chooses a URL, a file or a query: `jku`, `x5u`, `jwk`, `kid` are never followed.
//!    One exception, for tokens whose signature was good: the status list they name, at the issuer's own origin alone.
//! 4. A cache changes speed, never a verdict.
//! 5. Proven removal beats every cache: a key that a good response lacks is gone at once.
//! 6. A key signs only after it has been published for at least the JWKS max-age plus skew; it stays published until the last
//!    token it signed has expired. Breaking either needs `--force`, and is audited.
//! 7. One signing key per algorithm, held by a file lock or a database constraint, not by hope.
//! 8. Every state change is saved before it is seen; a crash at any point leaves a ring that starts.
//! 9. Attackers get a `Reject`, operators get an `Error` that names the file or field, nobody gets a panic.
//! 10. One reason, one string: the log field, the metric label, the test name.
//! 11. Label values come from closed lists: no input can create a time series.
//! 12. Secrets neither clone, serialise nor print; logs show `kid`, `jti` and `sid`, never a token or a cookie.
//! 13. Time is an argument; only `clock.rs` reads it, and no test sleeps to let time pass.

#![forbid(unsafe_code)]

pub mod audit;
#[cfg(feature = "server")]
pub mod cli;
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod issue;
pub mod jose;
pub mod metrics;
mod printable;
#[cfg(feature = "server")]
pub mod store;
pub mod verify;

pub use clock::{Clock, ManualClock, SystemClock};
pub use jose::{Algorithm, JwkSet, NumericDate, VerifyingKey};
pub use metrics::Metrics;
pub use verify::{Claims, Reject, TrustedIssuer, Verified, Verifier};

/// The Rust blocks of the documents, compiled by `cargo test --doc`. The README's is `examples/axum_backend.rs`.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../docs/migrate.md")]
    struct Migrate;
    #[doc = include_str!("../docs/remote-keys.md")]
    struct RemoteKeys;
}
