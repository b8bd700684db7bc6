//! The parts of an auth service, put together: accounts and sessions over a database, the lists of ended sessions, the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::CliError;
use crate::audit::AuditLog;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::http::{AuthApi, StoreProbe};
use crate::issue::{Accounts, AuthStore, Issuer, Passwords, Sessions, StatusLists};
use crate::metrics::Metrics;
use crate::metrics::issuer::Store;
use crate::store::Database;

/// How often living sessions are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// What signing in needs.
pub(super) struct SigningIn {
    pub(super) api: AuthApi,
    pub(super) lists: StatusLists,
    pub(super) database: Database,
    store: Arc<dyn AuthStore>,
}

// === impl SigningIn ===

impl SigningIn {
    pub(super) async fn open(
        config: &Config,
        issuer: &Issuer,
        audit: Arc<AuditLog>,
        metrics: &Metrics,
    ) -> Result<Self, CliError> {
        let database = Database::open(&config.database.url.0).await?;
        let store: Arc<dyn AuthStore> = Arc::new(database.clone());
        let lists = StatusLists::open(store.clone(), issuer.clone()).await;
        let lists = lists.map_err(CliError::failed)?;
        let sessions = Sessions::new(
            store.clone(),
            issuer.clone(),
            lists.clone(),
            config.session_settings(),
        );
        let settings = &config.accounts;
        let at_once = match settings.hashes_at_once {
            // One processor is left to those who already have a token.
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1)),
            n => n,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let passwords = Passwords::new(
            settings.argon2,
            at_once,
            settings.hashes_waiting,
            clock.clone(),
            metrics,
        );
        let passwords = passwords.map_err(CliError::failed)?;
        let accounts = Accounts::new(sessions, passwords, config.account_settings());
        let api = AuthApi::open(accounts, config, &*store, audit, clock, metrics).await?;
        Ok(SigningIn {
            api,
            lists,
            database,
            store,
        })
    }

    pub(super) fn probe(&self) -> StoreProbe {
        StoreProbe {
            store: self.store.clone(),
            lists: self.lists.clone(),
        }
    }

    /// Keeps the count of living sessions until `stop` says so.
    pub(super) fn count(
        &self,
        metrics: &Metrics,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (store, metrics) = (self.store.clone(), metrics.clone());
        async move {
            loop {
                // What keeps it from being counted, the probe says.
                let counted = store.count_sessions(SystemClock.now()).await;
                metrics.issuer.store_up(Store::Accounts, counted.is_ok());
                if let Ok(count) = counted {
                    metrics.issuer.sessions_active(count);
                }
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = SystemClock.sleep(COUNT_EVERY) => {}
                }
            }
        }
    }
}
