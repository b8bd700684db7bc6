//! What several test files need. Each file uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::panic)]

pub mod auth;
pub mod behind;
pub mod corpus;
pub mod jwks_server;
pub mod memory_store;
pub mod process;
pub mod tokens;

/// Ends when `condition` holds. Gives way to other tasks meanwhile, and fails instead of hanging: no time is waited for,
/// only work that is under way.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..5_000_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never came true: {what}");
}
