//! Keys in memory: a store without a disk, for tests that live through years.

#![allow(
    clippy::disallowed_types,
    reason = "a test's own store, by one thread at a time"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keywheel::issue::{KeyRecord, KeyRing};
use keywheel::jose::SigningKey;
use keywheel::store::{KeyProblem, KeyStore, KeyWriter, Revision, StoreError, StoredKeys};
use zeroize::Zeroizing;

#[derive(Clone, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
}

#[derive(Default)]
struct Content {
    ring: Option<String>,
    keys: BTreeMap<String, Arc<SigningKey>>,
    revision: u128,
}

impl MemoryStore {
    /// The ring as it is saved.
    pub fn saved(&self) -> Option<String> {
        self.content().ring.clone()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(content: &Content) -> StoredKeys {
    let ring: KeyRing = match &content.ring {
        Some(text) => serde_json::from_str(text).expect("a ring"),
        None => KeyRing::new(),
    };
    let needed = ring
        .keys
        .iter()
        .filter(|key| key.stage.needs_private_half());
    let signers = needed.map(|key| content.keys.get(&key.kid).expect("no key is lost").clone());
    StoredKeys {
        signers: signers.collect(),
        problems: Vec::new(),
        revision: Revision::from(content.revision),
        ring,
    }
}

impl KeyStore for MemoryStore {
    fn load(&self) -> Result<StoredKeys, StoreError> {
        Ok(load(&self.content()))
    }

    fn private_key(&self, _: &KeyRecord) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
        unreachable!("nothing is exported here")
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(Revision::from(self.content().revision))
    }

    fn lock(&self) -> Result<Box<dyn KeyWriter + '_>, StoreError> {
        Ok(Box::new(Writer(self)))
    }
}

struct Writer<'a>(&'a MemoryStore);

impl KeyWriter for Writer<'_> {
    fn load(&self) -> Result<StoredKeys, StoreError> {
        self.0.load()
    }

    fn save_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<(), StoreError> {
        let kept = SigningKey::from_pkcs8(key.algorithm(), pkcs8, Some(key.kid()));
        let kept = Arc::new(kept.expect("a key"));
        self.0.content().keys.insert(key.kid().to_owned(), kept);
        Ok(())
    }

    fn save_ring(&self, ring: &KeyRing) -> Result<(), StoreError> {
        ring.check().expect("a ring that makes sense");
        let mut content = self.0.content();
        content.ring = Some(serde_json::to_string(ring).expect("JSON"));
        content.revision += 1;
        Ok(())
    }

    fn prune(&self, ring: &KeyRing) -> Result<(), StoreError> {
        let needed = |kid: &String| {
            ring.get(kid)
                .is_some_and(|key| key.stage.needs_private_half())
        };
        self.0.content().keys.retain(|kid, _| needed(kid));
        Ok(())
    }
}
