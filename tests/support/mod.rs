//! What several test files need. Each file uses a part of it.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

pub mod auth;
pub mod behind;
pub mod browser;
pub mod corpus;
pub mod documents;
pub mod jwks_server;
pub mod memory_store;
pub mod named_tests;
pub mod ports;
pub mod process;
pub mod real_time;
pub mod tokens;
pub mod waiting;

pub use waiting::{eventually, meanwhile};
