//! The verdict on a signature alone: framing, header, key, signature, whatever the payload is.

use keywheel::jose::Compact;
use keywheel::verify::KeySet;
use keywheel::{Algorithm, JwkSet, Reject};

/// Beyond any token in the sets: their sizes are not what is asked about here.
const NO_LIMIT: usize = 1 << 24;

/// The payload of a good token, or the reason for refusing it.
pub(crate) fn verify(token: &str, jwks: &str) -> Result<Vec<u8>, &'static str> {
    let mut decoded = Vec::new();
    let jws = Compact::parse(token, NO_LIMIT, &mut decoded).map_err(|e| Reject::from(e).code())?;
    let algorithm = Algorithm::from_name(&jws.header.alg).ok_or(Reject::AlgNotAllowed.code())?;
    let set = JwkSet::parse(jwks.as_bytes()).map_err(|_| "keys_unavailable")?;
    let keys = KeySet::new(set, None);
    let key = keys
        .select(jws.header.kid.as_deref(), algorithm)
        .map_err(|reject| reject.code())?;
    match key.verify(algorithm, jws.signing_input, jws.signature) {
        true => Ok(jws.payload.to_vec()),
        false => Err(Reject::BadSignature.code()),
    }
}

/// `accept`, or the reason.
pub(crate) fn verdict(token: &str, jwks: &str) -> &'static str {
    match verify(token, jwks) {
        Ok(_) => "accept",
        Err(reason) => reason,
    }
}
