//! `keywheel serve`: the auth service.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::service::SigningIn;
use super::{CliError, ConfigArgs, check, key_store, output, runtime, telemetry};
use crate::audit::{AuditLog, Recent};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::http::{self, Descriptors, Listening, PageSettings};
use crate::issue::{Issuer, run_rotator};
use crate::metrics::Metrics;
use crate::store::Database;

/// How long requests under way may take to end once the service is to stop: less than supervisors wait before they kill.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How long the stores may take to close after that.
const CLOSE_WITHIN: Duration = Duration::from_millis(1500);

/// Run the auth service: sign people up and in, give out tokens, publish the key set and who has signed out
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel serve
  keywheel serve --config /etc/keywheel.toml --check
  KEYWHEEL_KEYS__STORE=/var/lib/keywheel/keys keywheel serve")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only check the configuration and say what it comes to
    #[arg(long)]
    check: bool,
    /// Print what --check finds as JSON
    #[arg(long, requires = "check")]
    json: bool,
}

pub(super) fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = args.config.load()?;
    let sealed = !config.wrapping_keys()?.is_empty();
    let mut warnings = config.warnings();
    warnings.extend(config.sealing_warning(sealed));
    let mut notes = vec![config.places()];
    notes.extend(check::passed_over(&config.sources.passed_over));
    if args.check {
        return check::report(&warnings, &notes, args.json);
    }
    let losses = telemetry::start(&config.log)?;
    check::say(&warnings, &notes);
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        let (stop, stopped) = watch::channel(false);
        // Both addresses first: a port in use must not leave a key folder behind.
        let public = http::bind(config.listen).await?;
        let admin = http::bind(config.admin_listen).await?;
        let page = PageSettings::default();
        let service = AuthService::start(&config, public, admin, page, stopped).await?;
        losses.counted(&service.metrics);
        output::note(&format!(
            "keywheel serves {} on http://{}, the key page, metrics and health on http://{}",
            config.issuer, service.public, service.admin
        ));
        interrupt.wait().await;
        tracing::info!("stopping");
        // Fails only if everything that would hear it has stopped already.
        let _ = stop.send(true);
        let stores = service.stores();
        let ended = within_stop(service.join()).await;
        stores.close().await;
        ended
    })
}

/// The stores of a service, to be closed once nothing uses them any more.
pub(super) struct OpenStores {
    database: Database,
    issuer: Issuer,
}

// === impl OpenStores ===

impl OpenStores {
    /// Closes them in order: SQLite's file is then whole by itself. What cannot be closed in time is not lost, only not tidy.
    pub(super) async fn close(self) {
        let keys = tokio::task::spawn_blocking(move || self.issuer.close_store());
        let closing = async {
            if let Err(error) = self.database.close().await {
                tracing::warn!(%error, "the database could not be closed in order");
            }
            // An error is a panic, which has been told.
            let _ = keys.await;
        };
        tokio::select! {
            () = closing => {}
            () = SystemClock.sleep(CLOSE_WITHIN) => {
                tracing::warn!("the database is still in use: what is in its log stays there until the next start");
            }
        }
    }
}

/// Lets what is under way end, for a while: a client that never ends its request keeps nothing up.
pub(super) async fn within_stop(
    ending: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    tokio::select! {
        ended = ending => ended,
        () = SystemClock.sleep(STOP_WITHIN) => {
            tracing::warn!("requests were still under way");
            Ok(())
        }
    }
}

/// A running auth service.
pub(super) struct AuthService {
    pub(super) public: std::net::SocketAddr,
    pub(super) admin: std::net::SocketAddr,
    pub(super) issuer: Issuer,
    pub(super) metrics: Metrics,
    database: Database,
    tasks: tokio::task::JoinSet<std::io::Result<()>>,
}

// === impl AuthService ===

impl AuthService {
    /// Opens the store, makes the first keys where there are none, and serves; ends when `stop` says so.
    pub(super) async fn start(
        config: &Config,
        public: TcpListener,
        admin: TcpListener,
        page: PageSettings,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, CliError> {
        let metrics = Metrics::new().map_err(CliError::failed)?;
        let descriptors = Descriptors::raise();
        let recent = Arc::new(Recent::default());
        let audit = AuditLog::new(Arc::new(SystemClock), config.log.audit_rate).counted(&metrics);
        let audit = Arc::new(audit.remembering(recent.clone()));
        let issuer = open(config.clone(), metrics.clone(), &audit).await?;
        for problem in issuer.problems() {
            tracing::warn!(%problem, "not everything can be used; the rest serves");
        }

        let (public_address, admin_address) = (
            public.local_addr().map_err(CliError::failed)?,
            admin.local_addr().map_err(CliError::failed)?,
        );
        let signing_in = SigningIn::open(config, &issuer, audit.clone(), &metrics).await?;
        issuer.watchers().hold_at_most(descriptors.held());
        signing_in.lists.hold_at_most(descriptors.held());
        let mut tasks = tokio::task::JoinSet::new();
        let lists = signing_in.lists.clone();
        let public_router = http::service_router(
            issuer.clone(),
            lists,
            signing_in.api.clone(),
            page,
            &metrics,
        );
        let listening = Listening::new("public", descriptors.public, &metrics);
        let listening = listening.behind(&config.trusted_proxies);
        tasks.spawn(http::run(public, public_router, listening, stop.clone()));
        let counting = signing_in.count(&metrics, stop.clone());
        let publishing = signing_in.lists.clone().run(stop.clone());
        tasks.spawn(async move {
            tokio::join!(counting, publishing);
            Ok(())
        });
        let probe = Some(signing_in.probe());
        let admin_router = http::admin_router(issuer.clone(), probe, recent, &metrics);
        let listening = Listening::new("admin", descriptors.admin, &metrics);
        tasks.spawn(http::run(admin, admin_router, listening, stop.clone()));
        let (watched, mut stopping) = (issuer.clone(), stop.clone());
        tasks.spawn(async move {
            // An error is a sender that is gone, which means stop as well.
            let _ = stopping.wait_for(|stop| *stop).await;
            watched.watchers().close();
            Ok(())
        });
        let rotating = issuer.clone();
        tasks.spawn(async move {
            run_rotator(rotating, audit, stop).await;
            Ok(())
        });
        Ok(AuthService {
            public: public_address,
            admin: admin_address,
            issuer,
            metrics,
            database: signing_in.database,
            tasks,
        })
    }

    /// What is to be closed after [`join`](Self::join).
    pub(super) fn stores(&self) -> OpenStores {
        OpenStores {
            database: self.database.clone(),
            issuer: self.issuer.clone(),
        }
    }

    /// Waits until everything has stopped.
    pub(super) async fn join(mut self) -> Result<(), CliError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(CliError::failed)?.map_err(CliError::failed)?;
        }
        Ok(())
    }
}

async fn open(config: Config, metrics: Metrics, audit: &AuditLog) -> Result<Issuer, CliError> {
    // RSA keys take a while to find: not on a thread that serves.
    let opened = tokio::task::spawn_blocking(move || -> Result<_, CliError> {
        if config.wrapping_keys()?.is_empty() {
            tracing::warn!(
                "private keys are kept unsealed; set KEYWHEEL_WRAPPING_KEYS or keys.wrapping_keys_file to seal them"
            );
        }
        let store = key_store(&config, true)?;
        let issuer = Issuer::open_existing(
            store,
            config.rotation_policy(),
            config.token_settings(),
            SystemClock,
            &metrics,
        )?;
        let done = issuer.tick()?;
        Ok((issuer, done))
    });
    let (issuer, done) = opened.await.map_err(CliError::failed)??;
    for done in done {
        done.audit(audit, "keywheel serve", None);
    }
    tracing::debug!(now = %issuer.clock().now(), "the key ring is open");
    Ok(issuer)
}

/// Ctrl-C and SIGTERM, heard from when this is made: a service that is told to stop while it starts stops in order, too.
pub(super) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

// === impl Interrupt ===

impl Interrupt {
    pub(super) fn listen() -> Result<Self, CliError> {
        let heard = |kind| signal(kind).map_err(CliError::failed);
        Ok(Interrupt {
            interrupt: heard(SignalKind::interrupt())?,
            terminate: heard(SignalKind::terminate())?,
        })
    }

    /// Ends when either comes.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
