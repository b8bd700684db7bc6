//! Passwords: Argon2id on a bounded number of threads, so that a burst of sign-ins neither starves what else the service does
//! nor eats its memory.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::PasswordHash;

const SALT_BYTES: usize = 16;

/// What a password costs. The default is the first of OWASP's recommendations (Password Storage Cheat Sheet, 2023 on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Argon2Settings {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes; they are filled one after the other.
    pub lanes: u32,
}

impl Default for Argon2Settings {
    fn default() -> Self {
        Argon2Settings {
            memory_kib: 19_456,
            iterations: 2,
            lanes: 1,
        }
    }
}

// === impl Argon2Settings ===

impl Argon2Settings {
    /// As the library takes them.
    ///
    /// # Errors
    /// Values that Argon2 does not have (RFC 9106 §3.1).
    pub(crate) fn params(self) -> Result<Params, String> {
        Params::new(self.memory_kib, self.iterations, self.lanes, None)
            .map_err(|error| error.to_string())
    }
}

/// Why there is no verdict on a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// As many are waiting as may.
    #[error("too many passwords are being checked")]
    Busy,
    /// The system gave no random bytes or no memory, or the runtime is going away.
    #[error("the system failed to hash a password")]
    System,
}

/// What came of checking a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wrong,
    Right {
        /// The same password by the settings of today, if the hash was made by others.
        renewed: Option<PasswordHash>,
    },
}

/// Hashes and checks passwords. Clones share the bounds.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Whose check takes as long as a user's and never succeeds: for addresses without an account.
    decoy: Arc<PasswordHash>,
    queue: HashQueue,
    clock: Arc<dyn Clock>,
    seconds: prometheus::Histogram,
}

/// The places of those who are at it and of those who wait. Clones are the same queue.
#[derive(Debug, Clone)]
pub(crate) struct HashQueue {
    /// Of both.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    at_once: usize,
    waiting: usize,
}

// === impl HashQueue ===

impl HashQueue {
    fn new(at_once: usize, waiting: usize) -> Self {
        HashQueue {
            admitted: Arc::new(Semaphore::new(at_once + waiting)),
            running: Arc::new(Semaphore::new(at_once)),
            at_once,
            waiting,
        }
    }

    /// How many passwords are being hashed, and how many wait for it.
    pub(crate) fn lengths(&self) -> (usize, usize) {
        let places = self.at_once + self.waiting;
        let admitted = places.saturating_sub(self.admitted.available_permits());
        let running = self.at_once - self.running.available_permits().min(self.at_once);
        (running, admitted.saturating_sub(running))
    }
}

// === impl Passwords ===

impl Passwords {
    /// Hashes `at_once` passwords while up to `waiting` more wait.
    ///
    /// # Errors
    /// [`HashError::System`] if the settings or the system allow no hash at all.
    pub fn new(
        settings: Argon2Settings,
        at_once: usize,
        waiting: usize,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, HashError> {
        let params = settings.params().map_err(|_| HashError::System)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut unknown = [0; 32];
        aws_lc_rs::rand::fill(&mut unknown).map_err(|_| HashError::System)?;
        let decoy = Arc::new(hash(&argon2, &unknown)?);
        let queue = HashQueue::new(at_once.max(1), waiting);
        metrics.issuer.watch_passwords(queue.clone());
        Ok(Passwords {
            argon2,
            decoy,
            queue,
            clock,
            seconds: metrics.issuer.password_hash_seconds(),
        })
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<PasswordHash, HashError> {
        self.run(move |this| hash(&this.argon2, password.as_bytes()))
            .await?
    }

    /// Checks `password` against `stored`; without one, takes the same time to say [`Verdict::Wrong`].
    pub(super) async fn check(
        &self,
        password: Zeroizing<String>,
        stored: Option<PasswordHash>,
    ) -> Result<Verdict, HashError> {
        self.run(move |this| {
            let known = stored.is_some();
            let stored = stored.as_ref().unwrap_or(&this.decoy);
            let checked = this
                .argon2
                .verify_password(password.as_bytes(), stored.0.as_str());
            if checked.is_err() || !known {
                return Ok(Verdict::Wrong);
            }
            let renewed = match this.is_current(stored) {
                true => None,
                false => Some(hash(&this.argon2, password.as_bytes())?),
            };
            Ok(Verdict::Right { renewed })
        })
        .await?
    }

    fn is_current(&self, stored: &PasswordHash) -> bool {
        let Ok(parsed) = phc::PasswordHash::new(&stored.0) else {
            return false;
        };
        let params = self.argon2.params();
        let same = |stored: Params| {
            (stored.m_cost(), stored.t_cost(), stored.p_cost())
                == (params.m_cost(), params.t_cost(), params.p_cost())
        };
        parsed.algorithm == Algorithm::Argon2id.ident() && Params::try_from(&parsed).is_ok_and(same)
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let admitted = self.queue.admitted.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| HashError::Busy)?;
        let running = self.queue.running.clone().acquire_owned().await;
        let running = running.map_err(|_| HashError::System)?;
        let this = self.clone();
        // Its places go with the job, not with the request: a client that goes away frees nothing that is still in use.
        let job = tokio::task::spawn_blocking(move || {
            let started = this.clock.monotonic();
            let done = job(&this);
            let took = this.clock.monotonic().saturating_sub(started);
            this.seconds.observe(took.as_secs_f64());
            drop((admitted, running));
            done
        });
        job.await.map_err(|_| HashError::System)
    }
}

fn hash(argon2: &Argon2<'static>, password: &[u8]) -> Result<PasswordHash, HashError> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| HashError::System)?;
    let hash: phc::PasswordHash = argon2
        .hash_password_with_salt(password, &salt)
        .map_err(|_| HashError::System)?;
    Ok(PasswordHash(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Argon2Settings = Argon2Settings {
        memory_kib: 8,
        iterations: 1,
        lanes: 1,
    };

    fn passwords(settings: Argon2Settings) -> Passwords {
        let metrics = Metrics::new().unwrap();
        Passwords::new(settings, 1, 1, Arc::new(crate::SystemClock), &metrics).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_an_unknown_user_is_wrong() {
        let passwords = passwords(CHEAP);
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        let right = passwords.check(secret("correct horse"), Some(hash.clone()));
        assert_eq!(right.await.unwrap(), Verdict::Right { renewed: None });
        for (password, stored) in [("wrong", Some(hash.clone())), ("correct horse", None)] {
            let wrong = passwords.check(secret(password), stored).await;
            assert_eq!(wrong.unwrap(), Verdict::Wrong);
        }
        assert_ne!(passwords.hash(secret("correct horse")).await.unwrap(), hash);
    }

    #[tokio::test]
    async fn a_hash_by_other_settings_is_renewed_when_its_password_is_at_hand() {
        let old = passwords(CHEAP);
        let hash = old.hash(secret("p")).await.unwrap();
        let new = Argon2Settings {
            iterations: 2,
            ..CHEAP
        };
        let new = passwords(new);
        let Verdict::Right {
            renewed: Some(renewed),
        } = new.check(secret("p"), Some(hash.clone())).await.unwrap()
        else {
            panic!("not renewed");
        };
        assert!(renewed.0.contains("t=2"));
        let again = new.check(secret("p"), Some(renewed)).await.unwrap();
        assert_eq!(again, Verdict::Right { renewed: None });
        let wrong = new.check(secret("q"), Some(hash)).await.unwrap();
        assert_eq!(wrong, Verdict::Wrong);
    }

    #[tokio::test]
    async fn beyond_the_bound_nobody_waits() {
        let passwords = passwords(CHEAP);
        let _running = passwords
            .queue
            .running
            .clone()
            .acquire_owned()
            .await
            .unwrap();
        let waiting = [(); 2].map(|()| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.hash(secret("p")).await })
        });
        while passwords.queue.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.queue.lengths(), (1, 1));
        assert_eq!(passwords.hash(secret("p")).await, Err(HashError::Busy));
        drop(_running);
        for hash in waiting {
            hash.await.unwrap().unwrap();
        }
        passwords.hash(secret("p")).await.unwrap();
    }
}
