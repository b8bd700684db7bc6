//! The command line: one file per command. Results go to stdout, everything else to stderr.
//!
//! Exit codes: 0 done; 1 the answer is no; 2 wrong usage or configuration; 3 could not do it.

mod check;
mod demo;
mod doctor;
#[cfg(test)]
mod documented;
mod explain;
mod gate;
mod help;
mod keys;
mod log_writer;
mod output;
mod serve;
mod service;
mod telemetry;
mod token;
mod users;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::http::ListenError;
use crate::issue::{IssuerError, RotationError};
use crate::store::{DatabaseKeyStore, FileKeyStore, KeyStore, StoreError};

/// Signs with rotating keys, publishes them as JWKS, and verifies anywhere without a shared secret.
#[derive(Parser)]
#[command(name = "keywheel", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 the answer is no (a refused token, an unhealthy check); \
2 wrong usage or configuration; 3 could not do it.\n\nTry it: keywheel demo"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Gate(gate::GateArgs),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Users(users::UsersCommand),
    Token(token::TokenArgs),
    Verify(verify::VerifyArgs),
    Explain(explain::ExplainArgs),
    Doctor(doctor::DoctorArgs),
}

/// Which configuration a command works by.
#[derive(Args)]
struct ConfigArgs {
    /// Configuration file; keywheel.toml by default, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

// === impl ConfigArgs ===

impl ConfigArgs {
    fn load(&self) -> Result<Config, CliError> {
        Ok(Config::from_process(self.config.as_deref())?)
    }
}

/// How a command ended, other than well.
enum CliError {
    /// The answer is no: said already, or in these words.
    No(String),
    /// The command line or the configuration is wrong.
    Usage(String),
    /// It could not be done.
    Failed(String),
}

// === impl CliError ===

impl CliError {
    fn failed(error: impl std::fmt::Display) -> Self {
        CliError::Failed(error.to_string())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        CliError::Usage(error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        CliError::failed(error)
    }
}

impl From<IssuerError> for CliError {
    fn from(error: IssuerError) -> Self {
        CliError::failed(error)
    }
}

impl From<ListenError> for CliError {
    fn from(error: ListenError) -> Self {
        CliError::failed(error)
    }
}

impl From<RotationError> for CliError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Refused(_) => CliError::Usage(error.to_string()),
            RotationError::Store(error) => error.into(),
        }
    }
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = match help::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return help::show(&error),
    };
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Gate(args) => gate::run(args),
        Command::Keys(command) => keys::run(command),
        Command::Users(command) => users::run(command),
        Command::Token(args) => token::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    let (code, message) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CliError::No(message)) => (1, message),
        Err(CliError::Usage(message)) => (2, message),
        Err(CliError::Failed(message)) => (3, message),
    };
    if !message.is_empty() {
        output::note(&format!("keywheel: {message}"));
    }
    ExitCode::from(code)
}

/// Where the keys are by the configuration: a folder, or the database. With `make`, it is made where it is not there.
fn key_store(config: &Config, make: bool) -> Result<Box<dyn KeyStore>, CliError> {
    let wrapping = config.wrapping_keys()?;
    if config.keys.is_database() {
        let url = &config.database.url.0;
        return Ok(Box::new(DatabaseKeyStore::open(url, wrapping, make)?));
    }
    let folder = &config.keys.store;
    let store = match make {
        true => FileKeyStore::open(folder)?,
        false => FileKeyStore::existing(folder).map_err(|error| {
            CliError::Failed(format!(
                "{error}; `keywheel serve` makes it at its first start, and --config names the file that says where it is"
            ))
        })?,
    };
    Ok(Box::new(store.sealed_by(wrapping)))
}

/// A runtime for the commands that need one.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let threads = crate::config::worker_threads()?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(threads).enable_all().build();
    built.map_err(CliError::failed)
}
