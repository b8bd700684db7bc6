//! `keywheel gate`: says to a proxy whether a request may pass, and who it is from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::serve::{Interrupt, within_stop};
use super::{CliError, check, output, runtime, telemetry};
use crate::audit::Recent;
use crate::clock::{Clock as _, SystemClock};
use crate::config::gate::{GateConfig, IssuerConfig};
use crate::http::gate::{Gate, GateRules};
use crate::http::{self, Descriptors, Listening};
use crate::jose::Algorithm;
use crate::metrics::Metrics;
use crate::verify::{Verifier, health_routes};

/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long new issuers may take to give their keys before the old ones no longer decide.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Forward authentication for nginx, Caddy, Traefik and Envoy: verifies the token of every request they ask about
#[derive(Args)]
#[command(after_help = "Examples:
  keywheel gate --issuer https://auth.example.com --audience orders-api
  keywheel gate --config gate.toml
  keywheel gate --config gate.toml --check

The file is read again when it changes, and on SIGHUP; one that is wrong is named and changes nothing.")]
pub(super) struct GateArgs {
    /// Configuration file: issuers, and rules by path and method
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whom to believe, exactly as in iss
    #[arg(
        long,
        value_name = "URL",
        requires = "audience",
        required_unless_present = "config"
    )]
    issuer: Option<String>,
    /// Whom the tokens must be meant for; several with commas
    #[arg(long, value_name = "AUD", value_delimiter = ',', requires = "issuer")]
    audience: Vec<String>,
    /// Where the key set is; by discovery unless set
    #[arg(long, value_name = "URL", requires = "issuer")]
    jwks_url: Option<String>,
    /// The algorithms to allow
    #[arg(long, value_name = "ALGS", value_delimiter = ',', requires = "issuer")]
    algorithms: Vec<Algorithm>,
    /// Where the proxy asks
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<std::net::SocketAddr>,
    /// Listener for metrics and health
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<std::net::SocketAddr>,
    /// Only check the configuration and say what it comes to
    #[arg(long)]
    check: bool,
    /// Print what --check finds as JSON
    #[arg(long, requires = "check")]
    json: bool,
}

// === impl GateArgs ===

impl GateArgs {
    /// The file, and what the command line adds to it.
    fn load(&self) -> Result<GateConfig, CliError> {
        let mut config = match &self.config {
            Some(path) => GateConfig::load(path)?,
            None => GateConfig::default(),
        };
        if let Some(name) = &self.issuer {
            config.issuer.push(IssuerConfig {
                name: name.clone(),
                audience: self.audience.clone(),
                jwks_urls: self.jwks_url.iter().cloned().collect(),
                algorithms: (!self.algorithms.is_empty()).then(|| self.algorithms.clone()),
                leeway: None,
                status: Default::default(),
            });
        }
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin_listen = self.admin_listen.unwrap_or(config.admin_listen);
        Ok(config)
    }

    /// What tells one version of the file from another.
    fn modified(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.config.as_deref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    fn name(&self) -> String {
        let path = self.config.as_deref();
        path.map_or("the command line".into(), |path| path.display().to_string())
    }
}

pub(super) fn run(args: GateArgs) -> Result<(), CliError> {
    // Before it is read: what is written in between is then read again, and not overlooked.
    let seen = args.modified();
    let config = args.load()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let metrics = Metrics::new().map_err(CliError::failed)?;
        let recent = Arc::new(Recent::default());
        if args.check {
            return check(&args, &config, &metrics, &recent);
        }
        telemetry::start(&config.log)?.counted(&metrics);
        let notes: Vec<String> = check::ignored_by_gate().into_iter().collect();
        check::say(&config.warnings(), &notes);
        let mut interrupt = Interrupt::listen()?;
        let verifier = build(&config, &metrics, &recent)?;
        let gate = Gate::new(decide_by(&config, verifier, &args.name())?);
        let public = http::bind(config.listen).await?;
        let admin = http::bind(config.admin_listen).await?;
        let address =
            |listener: &tokio::net::TcpListener| listener.local_addr().map_err(CliError::failed);
        output::note(&format!(
            "keywheel gate serves proxies on http://{}, a page, metrics and health on http://{}",
            address(&public)?,
            address(&admin)?
        ));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        let descriptors = Descriptors::raise();
        let listening = Listening::new("public", descriptors.public, &metrics);
        let service = gate.service(&metrics);
        tasks.spawn(http::run(public, service, listening, stopped.clone()));
        let health = Health {
            gate: gate.clone(),
            recent: recent.clone(),
        };
        let listening = Listening::new("admin", descriptors.admin, &metrics);
        tasks.spawn(http::run(admin, health.router(), listening, stopped));
        let reloading = Reload {
            args,
            seen,
            running: config,
            gate,
            metrics,
            recent,
        };
        tokio::select! {
            () = interrupt.wait() => {}
            ended = reloading.run() => return ended,
        }
        // Fails only if everything that would hear it has stopped already.
        let _ = stop.send(true);
        let all_ended = async {
            while let Some(ended) = tasks.join_next().await {
                ended.map_err(CliError::failed)?.map_err(CliError::failed)?;
            }
            Ok(())
        };
        within_stop(all_ended).await
    })
}

fn check(
    args: &GateArgs,
    config: &GateConfig,
    metrics: &Metrics,
    recent: &Arc<Recent>,
) -> Result<(), CliError> {
    let verifier = build(config, metrics, recent)?;
    let rules = decide_by(config, verifier, &args.name())?;
    let mut warnings = config.warnings();
    let ambiguities = rules.rules.ambiguities();
    warnings.extend(ambiguities.into_iter().map(check::ambiguity));
    let notes: Vec<String> = check::ignored_by_gate().into_iter().collect();
    check::report(&warnings, &notes, args.json)
}

/// What went before stays in sight when the verifier is another: it counts and remembers where the old one did.
fn build(
    config: &GateConfig,
    metrics: &Metrics,
    recent: &Arc<Recent>,
) -> Result<Verifier, CliError> {
    let builder = Verifier::builder().metrics(metrics).remember(recent);
    config
        .verifier(builder)
        .map_err(|error| CliError::Usage(error.to_string()))
}

fn decide_by(config: &GateConfig, verifier: Verifier, name: &str) -> Result<GateRules, CliError> {
    Ok(GateRules {
        verifier,
        rules: config.rules(name)?,
        realm: config.realm.clone(),
        cookie: config.cookie.clone(),
        unavailable: config.when_unavailable,
    })
}

/// The page, `/readyz` and the like, of whichever verifier decides at the moment.
struct Health {
    gate: Gate,
    recent: Arc<Recent>,
}

// === impl Health ===

impl Health {
    fn router(self) -> axum::Router {
        let Health { gate, recent } = self;
        let page = http::gate_page(gate.clone(), recent, Arc::new(SystemClock));
        page.fallback(move |request: axum::extract::Request| {
            let routes = health_routes(&gate.current().verifier);
            async move {
                let Ok(answer) = tower_service::Service::call(&mut { routes }, request).await;
                answer
            }
        })
    }
}

/// Follows the file.
struct Reload {
    args: GateArgs,
    seen: Option<(SystemTime, u64)>,
    running: GateConfig,
    gate: Gate,
    metrics: Metrics,
    recent: Arc<Recent>,
}

// === impl Reload ===

impl Reload {
    /// Ends only if signals cannot be heard.
    async fn run(mut self) -> Result<(), CliError> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(CliError::failed)?;
        loop {
            let told = tokio::select! {
                told = hang_up.recv() => told.is_some(),
                () = SystemClock.sleep(LOOK_EVERY) => false,
            };
            let now = self.args.modified();
            if !told && now == self.seen {
                continue;
            }
            self.seen = now;
            match self.reload().await {
                Ok(()) => {}
                Err(CliError::Usage(why) | CliError::Failed(why) | CliError::No(why)) => {
                    tracing::error!(%why, "the configuration is wrong: the old one stays in force");
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<(), CliError> {
        let config = self.args.load()?;
        if config == self.running {
            return Ok(());
        }
        let current = self.gate.current();
        // Who is believed has not changed: their keys and the tokens seen stay.
        let same = config.issuer == self.running.issuer && config.log == self.running.log;
        let verifier = match same {
            true => current.verifier.clone(),
            false => build(&config, &self.metrics, &self.recent)?,
        };
        let rules = decide_by(&config, verifier.clone(), &self.args.name())?;
        if !same {
            tokio::select! {
                () = verifier.ready() => {}
                () = SystemClock.sleep(READY_WITHIN) => {
                    tracing::warn!("the new issuers' keys are not there yet");
                }
            }
        }
        if (config.listen, config.admin_listen) != (self.running.listen, self.running.admin_listen)
        {
            tracing::warn!("listeners do not move while the gate runs; start it anew for that");
        }
        let log = |config: &GateConfig| {
            let log = &config.log;
            (log.level.clone(), log.format, log.audit)
        };
        if log(&config) != log(&self.running) {
            tracing::warn!(
                "level, format and audit of [log] do not change while the gate runs; start it anew for that"
            );
        }
        for warning in config.warnings() {
            tracing::warn!(setting = %warning.setting, hint = %warning.hint, "{}", warning.why);
        }
        for line in rules.rules.ambiguities() {
            tracing::warn!("{line}");
        }
        self.gate.replace(rules);
        self.running = config;
        tracing::info!("the new configuration is in force");
        Ok(())
    }
}
