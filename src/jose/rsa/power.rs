//! The public operation of RSA for the keys that are in use: 2048, 3072 or 4096 bits, and an exponent of 65537.

use fearless_simd::Level;

use super::modulus::{Modulus, limbs, to_bytes};

/// The largest modulus here, in bytes.
pub(super) const MAX_BYTES: usize = 512;
/// 65537.
const EXPONENT: &[u8] = &[1, 0, 1];

/// s^65537 mod n, for one n. On a processor with AVX2.
pub(super) enum Power {
    Bits2048(Box<Modulus<19, 20, 39>>),
    Bits3072(Box<Modulus<29, 30, 59>>),
    Bits4096(Box<Modulus<38, 39, 77>>),
}

// === impl Power ===

impl Power {
    /// `n` is odd; both are big-endian without a leading zero. `None` where somebody else must do it.
    pub(super) fn new(n: &[u8], e: &[u8]) -> Option<Self> {
        // Without optimization this takes a thousand times as long, and ring no longer than ever: the tests of everything else
        // need not wait for it. Those of this run optimized: `./test rsa`.
        match cfg!(any(not(debug_assertions), fuzzing)) {
            true => Self::here(n, e),
            false => None,
        }
    }

    fn here(n: &[u8], e: &[u8]) -> Option<Self> {
        let avx2 = Level::new().as_avx2()?;
        let is_whole = n.first().is_some_and(|first| first >> 7 == 1);
        match n.len() {
            256 if is_whole && e == EXPONENT => Some(Power::Bits2048(Modulus::new(avx2, n).into())),
            384 if is_whole && e == EXPONENT => Some(Power::Bits3072(Modulus::new(avx2, n).into())),
            512 if is_whole && e == EXPONENT => Some(Power::Bits4096(Modulus::new(avx2, n).into())),
            _ => None,
        }
    }

    /// RFC 8017 §5.2.2, RSAVP1, with the checks before it: `None` unless the signature is exactly as long as the modulus, and
    /// less. Of the array, as many bytes at the beginning count as the modulus has.
    pub(super) fn of(&self, signature: &[u8]) -> Option<[u8; MAX_BYTES]> {
        match self {
            Power::Bits2048(modulus) => raise::<256, _, _, _>(modulus, signature),
            Power::Bits3072(modulus) => raise::<384, _, _, _>(modulus, signature),
            Power::Bits4096(modulus) => raise::<512, _, _, _>(modulus, signature),
        }
    }
}

fn raise<const BYTES: usize, const V: usize, const W: usize, const T: usize>(
    modulus: &Modulus<V, W, T>,
    signature: &[u8],
) -> Option<[u8; MAX_BYTES]> {
    let base = limbs(<&[u8; BYTES]>::try_from(signature).ok()?);
    if !modulus.exceeds(&base) {
        return None;
    }
    let mut bytes = [0; MAX_BYTES];
    to_bytes(&modulus.power_65537(&base), &mut bytes[..BYTES]);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use ring::rand::{SecureRandom as _, SystemRandom};

    const LENGTHS: [usize; 3] = [256, 384, 512];

    fn random(bytes: usize) -> BigUint {
        let mut random = vec![0; bytes];
        SystemRandom::new().fill(&mut random).unwrap();
        BigUint::from_bytes_be(&random)
    }

    /// As many bytes, zeros first.
    fn fixed(number: &BigUint, bytes: usize) -> Vec<u8> {
        let mut fixed = number.to_bytes_be();
        while fixed.len() < bytes {
            fixed.insert(0, 0);
        }
        fixed
    }

    /// Moduli that make carries run far or not at all, and some that are just numbers. Montgomery's arithmetic asks for odd ones only.
    fn moduli(bytes: usize) -> Vec<BigUint> {
        let bits = 8 * bytes;
        let power = |bits: usize| BigUint::from(1u8) << bits;
        let top = power(bits - 1);
        let mut moduli = Vec::new();
        for small in [1u32, 3, 0x7ff_ffff, 0x800_0001, 0xffff_ffff] {
            // Almost all limbs zero, and almost all of them full.
            moduli.push(&top + small);
            moduli.push(power(bits) - small);
        }
        // Full and empty limbs in turn, and full and empty vectors.
        for (stripe, period) in [(27, 54), (108, 216), (54, 81)] {
            let stripes = (0..bits).step_by(period);
            let stripes: BigUint = stripes.map(|at| (power(stripe) - 1u8) << at).sum();
            moduli.push((stripes % power(bits - 1)) + &top);
        }
        for _ in 0..2 {
            let mut modulus = random(bytes) % &top + &top;
            modulus.set_bit(0, true);
            moduli.push(modulus);
        }
        moduli
    }

    /// Numbers at the edges and anywhere: all of the length, most below the modulus.
    fn bases(n: &BigUint, bytes: usize) -> Vec<BigUint> {
        let end = BigUint::from(1u8) << (8 * bytes);
        let mut bases: Vec<BigUint> = [0u8, 1, 2].map(BigUint::from).into();
        bases.extend([
            n - 2u8,
            n - 1u8,
            n.clone(),
            n + 1u8,
            &end - 1u8,
            &end >> 1,
            (&end >> 1) - 1u8,
        ]);
        bases.extend((0..2).map(|_| random(bytes)));
        bases.retain(|base| *base < end);
        bases
    }

    #[test]
    fn powers_are_those_of_big_integers() {
        if Level::new().as_avx2().is_none() {
            eprintln!("no AVX2 here: ring does it all");
            return;
        }
        let mut count = 0;
        for bytes in LENGTHS {
            for n in moduli(bytes) {
                let power = Power::here(&n.to_bytes_be(), EXPONENT).unwrap();
                for base in bases(&n, bytes) {
                    let ours = power.of(&fixed(&base, bytes));
                    let expected = (base < n).then(|| base.modpow(&BigUint::from(65537u32), &n));
                    let ours = ours.map(|ours| BigUint::from_bytes_be(&ours[..bytes]));
                    assert_eq!(ours, expected, "n = {n:x}, base = {base:x}");
                    count += 1;
                }
            }
        }
        assert!(count > 300, "{count}");
    }

    #[test]
    fn a_signature_has_the_length_of_the_modulus() {
        let n = [0xff; 256];
        let Some(power) = Power::here(&n, EXPONENT) else {
            return;
        };
        for (length, ok) in [
            (0, false),
            (255, false),
            (256, true),
            (257, false),
            (512, false),
        ] {
            assert_eq!(power.of(&vec![0; length]).is_some(), ok, "{length}");
        }
    }

    #[test]
    fn other_keys_are_left_to_others() {
        let whole = |bytes: usize| vec![0xff; bytes];
        let mut short = whole(256);
        short[0] = 0x7f;
        for (n, e) in [
            (whole(256), &[3][..]),
            (whole(256), &[1, 0, 0, 0, 1]),
            (whole(255), EXPONENT),
            (whole(257), EXPONENT),
            (whole(1024), EXPONENT),
            (short, EXPONENT),
        ] {
            assert!(Power::here(&n, e).is_none());
        }
    }
}
