//! `keywheel demo`: the auth service, a sample API and a browser page in one process over a temporary folder, and a walk through
//! all of it.

mod api;
mod walk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::serve::{AuthService, Interrupt};
use super::{CliError, output, runtime, telemetry};
use crate::clock::{Clock, SystemClock};
use crate::config::{AudienceConfig, Config, DatabaseUrl, Log, LogFormat, Span};
use crate::http::{self, Listening, PageSettings};
use crate::jose::Algorithm;
use crate::verify::Verifier;
use crate::verify::dial::{self, UrlRule};

/// Most connections to the sample API, which one browser asks.
const API_CONNECTIONS: usize = 256;
/// The audience of the sample API's tokens, signed by EdDSA.
const AUDIENCE: &str = "demo-api";
/// The same API for a client whose tokens are to be RS256.
const AUDIENCE_RS256: &str = "demo-api-rs256";

/// See it work: an auth service and a sample API that share no secret, while the key rotates under them
///
/// Walks through sign-up → token → API call → refusals → rotation → sign-out, printing each step, then stays up until Ctrl-C,
/// with a page that does the same by hand.
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel demo
  keywheel demo --once
  keywheel demo --listen 127.0.0.1:0 --api-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --once")]
pub(super) struct DemoArgs {
    /// End after the walk; 1 if any step misbehaved
    #[arg(long)]
    once: bool,
    /// Where the auth service listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
    /// Where the sample API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    api_listen: SocketAddr,
    /// Where the auth service's metrics and health are
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9301")]
    admin_listen: SocketAddr,
}

pub(super) fn run(args: DemoArgs) -> Result<(), CliError> {
    telemetry::start(&Log {
        level: "warn".into(),
        format: LogFormat::Pretty,
        ..Log::default()
    })?;
    let folder = TemporaryFolder::create()?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(demonstrate(&args, &folder.path));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn demonstrate(args: &DemoArgs, folder: &Path) -> Result<(), CliError> {
    let mut interrupt = Interrupt::listen()?;
    let (stop, stopped) = watch::channel(false);
    let api_listener = http::bind(args.api_listen).await?;
    let api_address = api_listener.local_addr().map_err(CliError::failed)?;
    let public = http::bind(args.listen).await?;
    let admin = http::bind(args.admin_listen).await?;
    let config = configure(
        public.local_addr().map_err(CliError::failed)?,
        args.admin_listen,
        folder,
    );
    let page = PageSettings {
        api: Some(format!("http://{api_address}")),
        audience: Some(AUDIENCE.into()),
    };
    let auth = AuthService::start(&config, public, admin, page, stopped.clone()).await?;
    let client = dial::default_client(UrlRule::default()).map_err(CliError::failed)?;
    let verifier = Verifier::builder()
        .issuer(&config.issuer)
        .audience(AUDIENCE)
        .audience(AUDIENCE_RS256)
        .algorithms([Algorithm::EdDSA, Algorithm::RS256])
        .leeway(Duration::from_secs(5))
        .http_client(client.clone())
        .build()
        .map_err(CliError::failed)?;
    let api = tokio::spawn(http::run(
        api_listener,
        api::router(&verifier, &config.issuer),
        Listening::new("api", API_CONNECTIONS, &auth.metrics),
        stopped,
    ));

    let walk = walk::Walk::new(&config, &auth, verifier, api_address, client);
    let failures = walk.run().await?;
    let outcome = match failures {
        0 => Ok(()),
        1 => Err(CliError::No("one step misbehaved".into())),
        n => Err(CliError::No(format!("{n} steps misbehaved"))),
    };
    if !args.once {
        output::line("Everything stays up until Ctrl-C.")?;
        interrupt.wait().await;
    }
    // Fails only if everything that would hear it has stopped already.
    let _ = stop.send(true);
    let stores = auth.stores();
    let ended = async {
        auth.join().await?;
        api.await
            .map_err(CliError::failed)?
            .map_err(CliError::failed)
    };
    tokio::select! {
        ended = ended => ended?,
        // A client that keeps its connection open does not keep the demo up.
        () = SystemClock.sleep(Duration::from_secs(2)) => {}
    }
    stores.close().await;
    outcome
}

fn configure(listen: SocketAddr, admin_listen: SocketAddr, folder: &Path) -> Config {
    let mut config = Config {
        issuer: format!("http://{listen}"),
        listen,
        admin_listen,
        ..Config::default()
    };
    config.keys.store = folder.join("keys");
    config.database.url = DatabaseUrl(format!("sqlite://{}", folder.join("keywheel.db").display()));
    // So short that the walk need not wait for minutes; a real service keeps the defaults.
    config.keys.jwks_max_age = Span(Duration::from_secs(1));
    config.keys.clock_skew = Span(Duration::from_secs(1));
    let audience = |name: &str, algorithm| AudienceConfig {
        name: name.into(),
        algorithm: Some(algorithm),
        scopes: vec!["tasks:read".into(), "tasks:write".into()],
        default_scopes: None,
        ttl: None,
    };
    config.audience = vec![
        audience(AUDIENCE, Algorithm::EdDSA),
        audience(AUDIENCE_RS256, Algorithm::RS256),
    ];
    config
}

/// A folder that goes with its owner.
struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    fn create() -> Result<Self, CliError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("keywheel-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Must not be there: in a folder that others may write to, it could be somebody's trap.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
        Ok(TemporaryFolder { path })
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            output::note(&format!("keywheel: {}: {error}", self.path.display()));
        }
    }
}
