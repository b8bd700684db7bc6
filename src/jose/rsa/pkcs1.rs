//! What a PKCS #1 v1.5 signature must be the power of: the whole block, down to the last byte (RFC 8017 §9.2).

use ring::digest::{self, SHA256, SHA384, SHA512};

use super::super::algorithm::Algorithm;

/// DigestInfo up to the hash, DER, with the NULL of the parameters: RFC 8017 §9.2, note 1.
const SHA256_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const SHA384_INFO: &[u8] = &[
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0x04, 0x30,
];
const SHA512_INFO: &[u8] = &[
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
    0x00, 0x04, 0x40,
];
/// RFC 8017 §9.2: at least eight bytes of FF, between 00 01 and 00.
const LEAST_PADDING: usize = 8;

/// The hash of an algorithm, and how it is announced; `None` if it is not of this padding.
pub(super) fn hash(algorithm: Algorithm) -> Option<(&'static digest::Algorithm, &'static [u8])> {
    Some(match algorithm {
        Algorithm::RS256 => (&SHA256, SHA256_INFO),
        Algorithm::RS384 => (&SHA384, SHA384_INFO),
        Algorithm::RS512 => (&SHA512, SHA512_INFO),
        _ => return None,
    })
}

/// Whether `block` is 00 01 FF … FF 00 DigestInfo of the message's hash, and nothing else. It is compared with the one block
/// there is, not taken apart: what a parser overlooks, a forger finds (Bleichenbacher 2006, CVE-2006-4339).
pub(super) fn is_block_of(
    (hash, info): (&'static digest::Algorithm, &'static [u8]),
    message: &[u8],
    block: &[u8],
) -> bool {
    let (padded, end) = match block.len().checked_sub(info.len() + hash.output_len()) {
        Some(at) if at >= 3 + LEAST_PADDING => block.split_at(at),
        _ => return false,
    };
    let (announced, hashed) = end.split_at(info.len());
    matches!(padded, [0, 1, padding @ .., 0] if padding.iter().all(|&byte| byte == 0xff))
        && announced == info
        && hashed == digest::digest(hash, message).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(length: usize) -> Vec<u8> {
        let (hash, info) = hash(Algorithm::RS256).unwrap();
        let end = [info, digest::digest(hash, b"message").as_ref()].concat();
        let padding = length - 3 - end.len();
        [&[0, 1][..], &vec![0xff; padding], &[0], &end].concat()
    }

    fn is_good(block: &[u8]) -> bool {
        is_block_of(hash(Algorithm::RS256).unwrap(), b"message", block)
    }

    #[test]
    fn each_bit_of_the_block_counts() {
        let good = block(256);
        assert!(is_good(&good));
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_good(&bad), "bit {bit}");
        }
    }

    #[test]
    fn padding_has_eight_bytes_at_least() {
        let end = 19 + 32;
        for (length, ok) in [(end + 11, true), (end + 10, false), (end + 3, false)] {
            assert_eq!(is_good(&block(length)), ok, "{length}");
        }
        for length in 0..end + 3 {
            assert!(!is_good(&vec![0xff; length]), "{length}");
        }
    }
}
