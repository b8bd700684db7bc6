//! Private halves as a store opens them, and all of them sealed anew by another wrapping key.

use std::path::PathBuf;

use super::{KeyProblem, KeyStore, Rewrapped, StoreError, WrappingKeys};
use crate::issue::KeyRecord;
use crate::jose::SigningKey;

/// The signer of a record, from its private half; in words why there is none.
pub(super) fn signer(record: &KeyRecord, pkcs8: &[u8]) -> Result<SigningKey, String> {
    let key = SigningKey::from_pkcs8(record.alg, pkcs8, Some(&record.kid))
        .map_err(|error| error.to_string())?;
    let published = record.verifying_key().map_err(|error| error.to_string())?;
    match key.verifying_key().thumbprint() == published.thumbprint() {
        true => Ok(key),
        false => Err(format!(
            "this is another key's private half (thumbprint {}); restore the right one from a backup",
            key.verifying_key().thumbprint()
        )),
    }
}

/// Seals every private key of `store`, and its ring, by the first wrapping key; see [`KeyStore::rewrap`].
pub(super) fn rewrap(
    store: &dyn KeyStore,
    wrapping: &WrappingKeys,
    is_newest: &dyn Fn(&KeyRecord) -> bool,
    path: PathBuf,
    vouch: bool,
    dry_run: bool,
) -> Result<Vec<Rewrapped>, StoreError> {
    if wrapping.is_empty() {
        return Err(StoreError::Sealing(
            "no wrapping key is configured: set KEYWHEEL_WRAPPING_KEYS or keys.wrapping_keys_file"
                .into(),
        ));
    }
    let writer = store.lock()?;
    let mut ring = writer.load()?.ring;
    if ring.unvouched && !vouch {
        return Err(StoreError::Sealing(format!(
            "{}: carries no seal of a configured wrapping key: compare `keywheel keys list` with what you expect, then say --force --reason",
            path.display()
        )));
    }
    let mut rewrapped = Vec::new();
    for record in ring
        .keys
        .iter()
        .filter(|key| key.stage.needs_private_half())
    {
        if is_newest(record) {
            continue;
        }
        let opened = store.private_key(record).and_then(|pkcs8| {
            let problem = |why| KeyProblem {
                path: path.clone(),
                kid: Some(record.kid.clone()),
                why,
            };
            Ok((signer(record, &pkcs8).map_err(problem)?, pkcs8))
        });
        let problem = match opened {
            Ok((key, pkcs8)) if !dry_run => {
                writer.save_key(&key, &pkcs8)?;
                None
            }
            Ok(_) => None,
            Err(problem) => Some(problem.to_string()),
        };
        rewrapped.push(Rewrapped {
            kid: record.kid.clone(),
            problem,
        });
    }
    if !dry_run {
        ring.unvouched = false;
        ring.serial += 1;
        writer.save_ring(&ring)?;
    }
    Ok(rewrapped)
}
