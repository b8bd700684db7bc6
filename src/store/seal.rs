//! Private keys sealed at rest: AES-256-GCM under a wrapping key that is kept elsewhere, and a ring that nobody can have edited.
//!
//! A private key's file is bound to its kid and algorithm, which never change. Its stage does, and stands in the ring together with
//! every other key's, so that one rename changes them all; therefore the ring as a whole carries a tag under the wrapping key.
//! Whoever can write the folder but lacks the wrapping key can then neither bring a stage back, nor swap keys, nor have a key of
//! their own published. They can put back an older folder as a whole; a running server does not follow an older ring.
//!
//! Of several wrapping keys the first seals and all open: to change it, put the new one first and run `keywheel keys rewrap`.

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::KeyProblem;
use crate::issue::KeyRing;
use crate::jose::{Algorithm, base64url};

/// The label of a sealed key's PEM.
const SEALED: &str = "KEYWHEEL SEALED KEY";
/// How the document of a ring begins, without and with a seal, and what follows the seal.
const OPENING: &str = "{\n";
const SEALED_OPENING: &str = "{\n  \"seal\": ";
const SEAL_END: &str = ",\n";
/// First bytes of what is sealed: layout 1.
const LAYOUT: &[u8] = b"KW1";
const ID_BYTES: usize = 8;

/// The keys that seal: the first seals, all open. Shown by their names only.
#[derive(Default)]
pub struct WrappingKeys(Vec<WrappingKey>);

struct WrappingKey {
    id: String,
    sealing: Zeroizing<[u8; 32]>,
    tagging: hmac::Key,
}

/// The tag of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingSeal {
    /// The wrapping key's name.
    key: String,
    /// HMAC-SHA-256 of the ring without this.
    tag: String,
}

/// What a ring's seal says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Vouched {
    /// It is as a holder of the wrapping key wrote it.
    Yes,
    /// Nobody can tell: it has no seal, or one of a wrapping key that is not configured.
    Unknown,
    /// It is not.
    Broken,
}

// === impl WrappingKeys ===

impl WrappingKeys {
    /// Keys of 32 bytes in base64 or hexadecimal, separated by commas or white space; `#` begins a comment.
    ///
    /// # Errors
    /// Which one is wrong, without a character of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split([',', ' ', '\t', '\r']));
        let mut keys: Vec<WrappingKey> = Vec::new();
        for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
            let key = decode(word).ok_or_else(|| {
                format!(
                    "wrapping key {} is not 32 bytes in base64 or hexadecimal; make one with `openssl rand -base64 32`",
                    index + 1
                )
            })?;
            let key = WrappingKey::new(&key);
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(format!("wrapping key {} is there twice", index + 1));
            }
            keys.push(key);
        }
        Ok(WrappingKeys(keys))
    }

    /// Whether there are none: keys are then kept as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The PEM that a store keeps: sealed, or plain without a wrapping key.
    ///
    /// # Errors
    /// If the system gave no random bytes.
    pub(super) fn seal_pem(
        &self,
        kid: &str,
        alg: Algorithm,
        pkcs8: &[u8],
    ) -> Result<Zeroizing<String>, String> {
        let pem = match self.0.first() {
            Some(key) => pem::Pem::new(SEALED, key.seal(kid, alg, pkcs8)?),
            None => pem::Pem::new("PRIVATE KEY", pkcs8),
        };
        Ok(Zeroizing::new(pem::encode(&pem)))
    }

    /// The private key that a store kept, PKCS#8.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub(super) fn open_pem(
        &self,
        kid: &str,
        alg: Algorithm,
        text: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        let pem = pem::parse(text).map_err(|error| {
            format!("not a PEM file, or a truncated one ({error}); restore it from a backup")
        })?;
        let is_sealed = pem.tag() == SEALED;
        let content = Zeroizing::new(pem.into_contents());
        match is_sealed {
            true => self.open(kid, alg, &content),
            false => Ok(content),
        }
    }

    /// Whether it was the first that sealed this PEM.
    pub(super) fn is_newest_pem(&self, text: &[u8]) -> bool {
        let pem = pem::parse(text);
        pem.is_ok_and(|pem| pem.tag() == SEALED && self.is_newest(pem.contents()))
    }

    /// A ring from its document; `None` if its seal does not fit.
    pub(super) fn read_ring(&self, text: &str) -> Result<Option<KeyRing>, serde_json::Error> {
        let (seal, sealed) = match split_seal(text) {
            Some((seal, sealed)) => (Some(serde_json::from_str::<RingSeal>(seal)?), sealed),
            None => (None, text.to_owned()),
        };
        let vouched = self.check_ring(sealed.as_bytes(), seal.as_ref());
        if vouched == Vouched::Broken {
            return Ok(None);
        }
        let mut ring: KeyRing = serde_json::from_str(&sealed)?;
        if vouched == Vouched::Unknown {
            ring.unvouched = true;
        }
        Ok(Some(ring))
    }

    /// The document of a ring; with a wrapping key, its seal is the first member, alone on the second line, and covers every byte
    /// of the rest.
    pub(super) fn write_ring(&self, ring: &KeyRing) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(ring)?;
        text.push('\n');
        let Some(seal) = self.seal_ring(text.as_bytes()) else {
            return Ok(text);
        };
        let seal = serde_json::to_string(&seal)?;
        let rest = text.strip_prefix(OPENING).unwrap_or(&text);
        Ok(format!("{SEALED_OPENING}{seal}{SEAL_END}{rest}"))
    }

    /// What to say of a ring at `path` that nobody vouches for.
    pub(super) fn unvouched(&self, path: PathBuf) -> KeyProblem {
        let why = match self.is_empty() {
            true => {
                "is sealed, and no wrapping key is configured: set KEYWHEEL_WRAPPING_KEYS or keys.wrapping_keys_file"
            }
            false => {
                "carries no seal of a configured wrapping key, so nobody vouches for it: compare `keywheel keys list` with what you expect, then `keywheel keys rewrap --force --reason …`"
            }
        };
        KeyProblem {
            path,
            kid: None,
            why: why.into(),
        }
    }

    /// Opens what was sealed for this key.
    ///
    /// # Errors
    /// What is wrong and what to do.
    fn open(&self, kid: &str, alg: Algorithm, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let id = sealed_by(sealed).ok_or("sealed in a layout that this keywheel does not know")?;
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| {
            format!("sealed by wrapping key {id}, which is not among the configured ones; add it to them, or let the key be replaced")
        })?;
        key.open(kid, alg, sealed).ok_or_else(|| {
            format!("what wrapping key {id} sealed is damaged, or was sealed for another key; restore it from a backup")
        })
    }

    /// Whether it was the first that sealed this.
    fn is_newest(&self, sealed: &[u8]) -> bool {
        let first = self.0.first().map(|key| key.id.as_str());
        first.is_some() && sealed_by(sealed).as_deref() == first
    }

    /// The seal of a ring; `None` without a wrapping key.
    fn seal_ring(&self, ring: &[u8]) -> Option<RingSeal> {
        let key = self.0.first()?;
        Some(RingSeal {
            key: key.id.clone(),
            tag: base64url::encode(hmac::sign(&key.tagging, ring).as_ref()),
        })
    }

    /// Holds a ring against its seal.
    fn check_ring(&self, ring: &[u8], seal: Option<&RingSeal>) -> Vouched {
        let Some(seal) = seal else {
            return match self.is_empty() {
                true => Vouched::Yes,
                false => Vouched::Unknown,
            };
        };
        let Some(key) = self.0.iter().find(|key| key.id == seal.key) else {
            return Vouched::Unknown;
        };
        let tag = BASE64_URL_SAFE_NO_PAD.decode(&seal.tag);
        match tag.is_ok_and(|tag| hmac::verify(&key.tagging, ring, &tag).is_ok()) {
            true => Vouched::Yes,
            false => Vouched::Broken,
        }
    }
}

impl std::fmt::Debug for WrappingKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

/// A document's seal, and what it covers: all but itself.
fn split_seal(text: &str) -> Option<(&str, String)> {
    let (seal, rest) = text.strip_prefix(SEALED_OPENING)?.split_once(SEAL_END)?;
    Some((seal, format!("{OPENING}{rest}")))
}

/// The name of the wrapping key that sealed this.
fn sealed_by(sealed: &[u8]) -> Option<String> {
    let rest = sealed.strip_prefix(LAYOUT)?;
    Some(base64url::encode(rest.get(..ID_BYTES)?))
}

fn decode(word: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pair = |index: usize| u8::from_str_radix(word.get(index..index + 2)?, 16).ok();
        (0..64).step_by(2).map(pair).collect::<Option<Vec<u8>>>()?
    } else {
        let bytes = BASE64_STANDARD.decode(word);
        bytes
            .or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(word))
            .ok()?
    };
    let bytes = Zeroizing::new(bytes);
    let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

// === impl WrappingKey ===

impl WrappingKey {
    /// One key for each use, so that none is used for two.
    fn new(key: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derive = |label: &[u8]| hmac::sign(&root, label);
        let mut sealing = Zeroizing::new([0; 32]);
        sealing.copy_from_slice(derive(b"keywheel: seal a private key, 1").as_ref());
        let tagging = derive(b"keywheel: tag a ring, 1");
        let id = derive(b"keywheel: name a wrapping key, 1");
        WrappingKey {
            id: base64url::encode(&id.as_ref()[..ID_BYTES]),
            sealing,
            tagging: hmac::Key::new(hmac::HMAC_SHA256, tagging.as_ref()),
        }
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &*self.sealing).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn seal(&self, kid: &str, alg: Algorithm, pkcs8: &[u8]) -> Result<Vec<u8>, String> {
        let failed = || "the system failed to seal a key".to_owned();
        // Random: keys are sealed a few times in a wrapping key's life, and a nonce must only never come twice.
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| failed())?;
        let cipher = self.cipher().ok_or_else(failed)?;
        let mut content = pkcs8.to_vec();
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(kid, alg)),
                &mut content,
            )
            .map_err(|_| failed())?;
        let id = BASE64_URL_SAFE_NO_PAD.decode(&self.id).unwrap_or_default();
        Ok([LAYOUT, &id, &nonce, &content].concat())
    }

    fn open(&self, kid: &str, alg: Algorithm, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rest = sealed.get(LAYOUT.len() + ID_BYTES..)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut content = Zeroizing::new(content.to_vec());
        let aad = Aad::from(bound_to(kid, alg));
        let opened = self.cipher()?.open_in_place(nonce, aad, &mut content);
        let length = opened.ok()?.len();
        content.truncate(length);
        Some(content)
    }
}

/// What a sealed key is bound to. The algorithm has no zero byte, so no two of these are the same.
fn bound_to(kid: &str, alg: Algorithm) -> Vec<u8> {
    [
        b"keywheel key 1\0",
        alg.name().as_bytes(),
        b"\0",
        kid.as_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TWO: &str = "f0e0d0c0b0a090807060504030201000f0e0d0c0b0a090807060504030201000";

    #[test]
    fn the_first_seals_and_all_open() {
        let old = WrappingKeys::parse(ONE).unwrap();
        let both = WrappingKeys::parse(&format!("{TWO} # the new one\n{ONE}\n")).unwrap();
        let new = WrappingKeys::parse(TWO).unwrap();
        let (kid, alg) = ("kid", Algorithm::EdDSA);
        let sealed = |keys: &WrappingKeys| keys.0[0].seal(kid, alg, b"secret").unwrap();
        let (by_old, by_both) = (sealed(&old), sealed(&both));
        assert_eq!(&**both.open(kid, alg, &by_old).unwrap(), b"secret");
        assert_eq!(&**new.open(kid, alg, &by_both).unwrap(), b"secret");
        assert!(both.is_newest(&by_both) && !both.is_newest(&by_old));
        assert!(
            old.open(kid, alg, &by_both)
                .unwrap_err()
                .contains("not among")
        );
        assert!(!by_old.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn a_sealed_key_opens_as_itself_or_not_at_all() {
        let keys = WrappingKeys::parse(ONE).unwrap();
        let alg = Algorithm::EdDSA;
        let sealed = keys.0[0].seal("kid", alg, b"secret").unwrap();
        assert!(keys.open("another", alg, &sealed).is_err());
        assert!(keys.open("kid", Algorithm::Ed25519, &sealed).is_err());
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(keys.open("kid", alg, &damaged).is_err(), "byte {index}");
            assert!(keys.open("kid", alg, &sealed[..index]).is_err());
        }
    }

    #[test]
    fn a_ring_is_vouched_for_or_not() {
        let (one, two) = (
            WrappingKeys::parse(ONE).unwrap(),
            WrappingKeys::parse(TWO).unwrap(),
        );
        let seal = one.seal_ring(b"ring").unwrap();
        assert_eq!(one.check_ring(b"ring", Some(&seal)), Vouched::Yes);
        assert_eq!(one.check_ring(b"rang", Some(&seal)), Vouched::Broken);
        assert!(matches!(
            two.check_ring(b"ring", Some(&seal)),
            Vouched::Unknown
        ));
        assert!(matches!(one.check_ring(b"ring", None), Vouched::Unknown));
        let none = WrappingKeys::default();
        assert_eq!(none.check_ring(b"ring", None), Vouched::Yes);
        assert!(matches!(
            none.check_ring(b"ring", Some(&seal)),
            Vouched::Unknown
        ));
    }

    #[test]
    fn a_wrong_wrapping_key_is_named_by_its_place_and_never_shown() {
        for (text, words) in [
            ("short", "wrapping key 1 is not 32 bytes"),
            (
                &format!("{ONE},{}", &TWO[1..]),
                "wrapping key 2 is not 32 bytes",
            ),
            (&format!("{ONE} {ONE}"), "wrapping key 2 is there twice"),
        ] {
            let error = WrappingKeys::parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains(text) && !error.contains(&ONE[..8]));
        }
        assert!(WrappingKeys::parse(" # nothing\n").unwrap().is_empty());
        let shown = format!("{:?}", WrappingKeys::parse(ONE).unwrap());
        assert!(!shown.contains(&ONE[..8]), "{shown}");
    }
}
