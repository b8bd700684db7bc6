//! The published lists of ended sessions: Token Status Lists (draft-ietf-oauth-status-list), one bit a session.
//!
//! A list is built from the store and signed again whenever one of its bits changes, whenever the signing key does, and well
//! before it expires. Each algorithm has lists of its own, so that whoever can verify a token can verify its list.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::issuer::Issuer;
use super::mint::MintError;
use crate::jose::{Algorithm, NumericDate, base64url};
use crate::store::{STATUS_LIST_SIZE, SessionStore, StatusPlace, StoreError};

/// `typ` of a list (draft-ietf-oauth-status-list §5.1).
const TYP: &str = "statuslist+jwt";
/// How often the store is asked for what other processes have changed: a small part of the second within which a sign-out
/// reaches verifiers.
const POLL: Duration = Duration::from_millis(100);
/// `ttl`: how long a verifier that does not watch may go without asking again.
const TTL: Duration = Duration::from_secs(30);
/// How long a list is good for: after this, a verifier that is kept from newer ones trusts it no more.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// A list is signed again in each span of this length, so that two may fail before it expires. Its `iat` is the span's start:
/// then every server on one store publishes the same bytes under the same entity tag, and whoever asks them in turn is not
/// told by each that the other's list is old.
const SPAN: Duration = Duration::from_secs(4 * 60);
/// How often places are freed.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// What verifiers' clocks and leeways may add to the life of a token.
const LEEWAY: Duration = Duration::from_secs(60 * 60);
/// Most requests that are held at once.
const MAX_HELD: usize = 50_000;
/// Lists are numbered from here.
const FIRST_LIST: u32 = 1;

/// The lists. Clones share them.
#[derive(Clone)]
pub struct StatusLists {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn SessionStore>,
    issuer: Issuer,
    /// How long after its session's end a bit stays set: until the last token that carried it has expired everywhere.
    keep: Duration,
    published: watch::Sender<Lists>,
    changed: Notify,
    held: tokio::sync::Semaphore,
}

/// What is published. Replaced as a whole.
#[derive(Clone, Default)]
struct Lists {
    lists: Arc<BTreeMap<(u32, Algorithm), StatusList>>,
    /// The error that keeps this from being up to date.
    problem: Option<Arc<str>>,
    /// No more will come.
    closed: bool,
}

/// One signed list.
#[derive(Debug, Clone)]
pub struct StatusList {
    /// The compact JWS.
    pub body: Bytes,
    /// Its strong entity tag, quotes included.
    pub etag: String,
    revision: u64,
    span: NumericDate,
    kid: String,
}

/// The payload (§5.1).
#[derive(Serialize)]
struct ListClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    ttl: u64,
    status_list: EncodedList,
}

#[derive(Serialize)]
struct EncodedList {
    bits: u8,
    lst: String,
}

/// What a token says of its place: the claim `status_list` (§6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusReference {
    /// Which bit.
    pub idx: u32,
    /// Of which list.
    pub uri: String,
}

/// Why the lists are not up to date.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusListError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signature.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The compression.
    #[error("a status list could not be compressed: {0}")]
    Compress(std::io::Error),
}

// === impl StatusLists ===

impl StatusLists {
    /// The lists of `store`, all published when this returns. Run [`run`](Self::run) to keep them so.
    ///
    /// # Errors
    /// [`StatusListError`].
    pub async fn open(
        store: Arc<dyn SessionStore>,
        issuer: Issuer,
    ) -> Result<Self, StatusListError> {
        let longest = store
            .longest_token_ttl(issuer.policy().max_token_ttl)
            .await?;
        let lists = StatusLists {
            inner: Arc::new(Inner {
                store,
                issuer,
                keep: longest + LEEWAY,
                published: watch::Sender::default(),
                changed: Notify::new(),
                held: tokio::sync::Semaphore::new(MAX_HELD),
            }),
        };
        match lists.refresh().await {
            // No key that signs, as when a wrapping key is lost, is no reason to keep the keys that verify from everybody: the
            // probe tells, and the lists follow once there is one.
            Err(error @ StatusListError::Mint(_)) => lists.note(Some(error)),
            refreshed => refreshed?,
        }
        Ok(lists)
    }

    /// Where tokens signed by `algorithm` point for a session with this place.
    pub fn reference(&self, place: StatusPlace, algorithm: Algorithm) -> StatusReference {
        StatusReference {
            idx: place.index,
            uri: self.uri(place.list, algorithm),
        }
    }

    fn uri(&self, list: u32, algorithm: Algorithm) -> String {
        let issuer = &self.inner.issuer.settings().issuer;
        match algorithm == self.default_algorithm() {
            true => format!("{issuer}/status/{list}"),
            false => format!("{issuer}/status/{list}/{algorithm}"),
        }
    }

    /// The algorithm of lists that are asked for without one.
    pub fn default_algorithm(&self) -> Algorithm {
        let algorithms = &self.inner.issuer.policy().algorithms;
        algorithms.first().copied().unwrap_or(Algorithm::EdDSA)
    }

    /// Something has changed: look now.
    pub fn changed(&self) {
        self.inner.changed.notify_one();
    }

    /// The error that keeps the lists from being up to date.
    pub fn problem(&self) -> Option<String> {
        let published = self.inner.published.borrow();
        published
            .problem
            .as_ref()
            .map(|problem| problem.to_string())
    }

    /// A list as it is published. One that was opened a moment ago, by any server, is looked for.
    ///
    /// # Errors
    /// [`StatusListError`] if that cannot be done.
    pub async fn get(
        &self,
        list: u32,
        algorithm: Algorithm,
    ) -> Result<Option<StatusList>, StatusListError> {
        let (found, next) = {
            let published = self.inner.published.borrow();
            let next = published
                .lists
                .keys()
                .next_back()
                .map_or(FIRST_LIST, |key| key.0 + 1);
            (published.lists.get(&(list, algorithm)).cloned(), next)
        };
        if found.is_some() || list != next {
            return Ok(found);
        }
        self.refresh().await?;
        let published = self.inner.published.borrow();
        Ok(published.lists.get(&(list, algorithm)).cloned())
    }

    /// Holds no more requests than this, so that others find a connection. Once, before any is held.
    pub fn hold_at_most(&self, requests: usize) {
        let fewer = MAX_HELD.saturating_sub(requests);
        self.inner.held.forget_permits(fewer);
    }

    /// Waits until a list is none of those with these entity tags, for `limit` at most.
    pub async fn wait(&self, list: u32, algorithm: Algorithm, etags: &[&str], limit: Duration) {
        let Ok(_held) = self.inner.held.try_acquire() else {
            // As many are held as may be: answered at once, as without the preference.
            return;
        };
        let mut published = self.inner.published.subscribe();
        let is_new = |lists: &Lists| {
            let current = lists.lists.get(&(list, algorithm));
            lists.closed || current.is_none_or(|list| !etags.contains(&list.etag.as_str()))
        };
        tokio::select! {
            // An error is a sender that is gone: nothing more will come.
            _ = published.wait_for(is_new) => {}
            () = self.inner.issuer.clock().sleep(limit) => {}
        }
    }

    /// Lets every waiting request go.
    pub fn close(&self) {
        self.inner
            .published
            .send_modify(|lists| lists.closed = true);
    }

    /// Keeps the lists as the store has them until `stop` holds `true` or its sender is gone.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let clock = self.inner.issuer.clock();
        let mut swept = None::<Duration>;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.inner.changed.notified() => {}
                () = clock.sleep(POLL) => {}
            }
            let now = clock.monotonic();
            if swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP_EVERY) {
                swept = Some(now);
                self.sweep().await;
            }
            let outcome = self.refresh().await;
            self.note(outcome.err());
        }
        self.close();
    }

    /// Says once what is wrong, and once that it is over.
    fn note(&self, error: Option<StatusListError>) {
        let problem: Option<Arc<str>> = error.map(|error| error.to_string().into());
        let before = self.inner.published.borrow().problem.clone();
        if before == problem {
            return;
        }
        match &problem {
            Some(problem) => {
                tracing::error!(%problem, "the status lists cannot be kept up to date");
            }
            None => tracing::info!("the status lists are up to date again"),
        }
        // Nobody who waits for a list is to wake for this.
        self.inner.published.send_if_modified(|lists| {
            lists.problem = problem;
            false
        });
    }

    /// Frees the places of sessions whose last token has expired long ago.
    ///
    /// The bit was cleared [`LEEWAY`] earlier, so no verifier still has a list in which it is set when a new session gets it.
    async fn sweep(&self) {
        let inner = &self.inner;
        let before = inner.issuer.clock().now().minus(inner.keep + LEEWAY);
        if let Err(error) = inner.store.forget_sessions(before).await {
            tracing::warn!(%error, "old sessions could not be removed");
        }
    }

    /// Publishes what has changed.
    ///
    /// # Errors
    /// [`StatusListError`]; what was published stays.
    pub async fn refresh(&self) -> Result<(), StatusListError> {
        let inner = &self.inner;
        let mut revisions = inner.store.status_lists().await?;
        if revisions.is_empty() {
            // The first list is there before its first session, so that its reachability can be tested: the store opens it with
            // this revision.
            revisions.push((FIRST_LIST, 0));
        }
        let before = inner.published.borrow().lists.clone();
        let now = span_of(inner.issuer.clock().now());
        let mut renewed = Vec::new();
        let mut unsigned = None;
        for (list, revision) in revisions {
            let algorithms = inner.issuer.policy().algorithms.iter();
            let due: Vec<Algorithm> = algorithms
                .copied()
                .filter(|&algorithm| match before.get(&(list, algorithm)) {
                    Some(current) => self.is_due(current, revision, algorithm, now),
                    None => true,
                })
                .collect();
            if due.is_empty() {
                continue;
            }
            let places = inner
                .store
                .ended_places(list, now.minus(inner.keep))
                .await?;
            let lst = encode(&places).map_err(StatusListError::Compress)?;
            for algorithm in due {
                match self.sign(list, algorithm, revision, &lst, now) {
                    Ok(signed) => renewed.push(((list, algorithm), signed)),
                    // The lists by other algorithms are renewed all the same.
                    Err(error) => unsigned = Some(error.into()),
                }
            }
        }
        if !renewed.is_empty() {
            inner.published.send_modify(|published| {
                let mut lists = BTreeMap::clone(&published.lists);
                for (key, signed) in renewed {
                    // Of two refreshes at once, the one that has seen more stays.
                    match lists.get(&key) {
                        Some(other) if other.revision > signed.revision => {}
                        _ => {
                            lists.insert(key, signed);
                        }
                    }
                }
                published.lists = Arc::new(lists);
            });
        }
        unsigned.map_or(Ok(()), Err)
    }

    fn is_due(
        &self,
        current: &StatusList,
        revision: u64,
        algorithm: Algorithm,
        span: NumericDate,
    ) -> bool {
        let signer = self.inner.issuer.signing_kid(algorithm);
        current.revision != revision
            || signer.is_some_and(|kid| kid != current.kid)
            // Later, or earlier if the clock was set back: a list from the future would be refused.
            || current.span != span
    }

    fn sign(
        &self,
        list: u32,
        algorithm: Algorithm,
        revision: u64,
        lst: &str,
        now: NumericDate,
    ) -> Result<StatusList, MintError> {
        let issuer = &self.inner.issuer;
        let claims = ListClaims {
            iss: &issuer.settings().issuer,
            sub: &self.uri(list, algorithm),
            iat: now.seconds(),
            exp: now.plus(LIFETIME).seconds(),
            ttl: TTL.as_secs(),
            status_list: EncodedList {
                bits: 1,
                lst: lst.to_owned(),
            },
        };
        let (token, kid) = issuer.sign(algorithm, TYP, claims.exp, &claims)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        Ok(StatusList {
            etag: format!("\"{}\"", base64url::encode(&digest.as_ref()[..18])),
            body: token.into(),
            revision,
            span: now,
            kid,
        })
    }
}

fn span_of(now: NumericDate) -> NumericDate {
    let seconds = i64::try_from(SPAN.as_secs()).unwrap_or(1);
    NumericDate::from_seconds(now.seconds() - now.seconds().rem_euclid(seconds))
}

/// The bitmap (§4.1: the first bit of each byte is its lowest), as zlib, as base64url.
fn encode(places: &[u32]) -> std::io::Result<String> {
    let mut bitmap = vec![0u8; STATUS_LIST_SIZE as usize / 8];
    for &place in places {
        if let Some(byte) = bitmap.get_mut(place as usize / 8) {
            *byte |= 1 << (place % 8);
        }
    }
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(&bitmap)?;
    Ok(base64url::encode(&compressed.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn the_bits_are_where_the_draft_puts_them() {
        // §4.1's example: bits 0, 3, 4, 5, 7, 8, 9, 13, 15 make the bytes b9 a3.
        let encoded = encode(&[0, 3, 4, 5, 7, 8, 9, 13, 15, STATUS_LIST_SIZE]).unwrap();
        let mut compressed = Vec::new();
        base64url::decode_onto(encoded.as_bytes(), &mut compressed).unwrap();
        let mut bitmap = Vec::new();
        let mut decoder = flate2::read::ZlibDecoder::new(&compressed[..]);
        decoder.read_to_end(&mut bitmap).unwrap();
        assert_eq!(bitmap.len(), 16 * 1024);
        assert_eq!(&bitmap[..3], [0xb9, 0xa3, 0]);
        assert!(bitmap[3..].iter().all(|&byte| byte == 0));
        assert!(encoded.len() < 100, "{}", encoded.len());
    }
}
