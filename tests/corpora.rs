//! Every set of cases there is, with one line of counts for each: see `-- --no-capture`.
//!
//! The sets stand beside the repository, in `../shared/corpora`; where they are absent, the project's own vectors in
//! `tests/vectors` are still run. A verdict that a set sees otherwise, or leaves open, is a `Stand` in its table; a stand
//! that nobody disagrees with fails like a wrong verdict.
// Helpers may panic as tests do; clippy takes them for tests by this.
#![cfg(test)]
#![cfg(feature = "server")]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/mint.rs"]
mod mint;
#[path = "support/signature_layer.rs"]
mod signature_layer;
#[path = "support/tally.rs"]
mod tally;
#[path = "support/whole_token.rs"]
mod whole_token;

#[path = "corpora/claims.rs"]
mod claims;
#[path = "corpora/counting.rs"]
mod counting;
#[path = "corpora/documents.rs"]
mod documents;
#[path = "corpora/identity_model.rs"]
mod identity_model;
#[path = "corpora/jws.rs"]
mod jws;
#[path = "corpora/keys.rs"]
mod keys;
#[path = "corpora/own.rs"]
mod own;
#[path = "corpora/rfc.rs"]
mod rfc;
