//! Powers modulo a number that is known long before: Montgomery's arithmetic (1985), in vectors.
//!
//! With R = 2^(108·V) for a length of V vectors, x is worked with as x·R mod n. Dividing a product by R is exact once m·n is added,
//! with m = −product/n mod R; it is found 108 bits at a time. R is more than four times n, so that what begins below 2·n ends
//! below 2·n, with no subtraction between ((2n·2n + R·n)/R < 2n).

use fearless_simd::Simd as _;
use fearless_simd::x86::Avx2;

use super::rows::{Aligned, BITS, Limbs, MASK, Rows, Shifted, carry_once};

/// An odd modulus of at most 108·V − 2 bits and at least 108·V − 63, and what depends on it alone. W is V + 1 and T 2·V + 1: the lengths of
/// what is multiplied and of a product.
pub(super) struct Modulus<const V: usize, const W: usize, const T: usize> {
    avx2: Avx2,
    n: [Limbs; V],
    /// −1/n mod 2^128, of which 108 bits are needed.
    negative_inverse: u128,
    /// R² mod n.
    r_squared: [Limbs; V],
}

// === impl Modulus ===

impl<const V: usize, const W: usize, const T: usize> Modulus<V, W, T> {
    /// Bits of R.
    const R_BITS: usize = 4 * BITS * V;

    /// `n` is big-endian, odd, without a leading zero bit, and of a length that fits V.
    pub(super) fn new(avx2: Avx2, bytes: &[u8]) -> Self {
        const { assert!(W == V + 1 && T == 2 * V + 1) };
        let n = limbs(bytes);
        let low = bytes
            .last_chunk()
            .map_or(1, |low| u128::from_be_bytes(*low));
        // Newton's iteration: each step doubles the bits that are right, of which an odd number has three at first.
        let inverse = (0..6).fold(low, |inverse, _| {
            inverse.wrapping_mul(2u128.wrapping_sub(low.wrapping_mul(inverse)))
        });
        let mut modulus = Modulus {
            avx2,
            n,
            negative_inverse: inverse.wrapping_neg(),
            r_squared: [[0; 4]; V],
        };
        modulus.r_squared = modulus.r_squared(8 * bytes.len());
        modulus
    }

    /// R² mod n is R·2^(bits of R), hence a power of two in Montgomery's form.
    fn r_squared(&self, bits: usize) -> [Limbs; V] {
        // R mod n, for a modulus of exactly so many bits: 2^bits − n, doubled until R.
        let mut one = [[0; 4]; V];
        one.as_flattened_mut()[bits / BITS] = 1 << (bits % BITS);
        let one = self.below_n(one);
        let one = (bits..Self::R_BITS).fold(one, |one, _| self.doubled(&one));
        let bit_length = usize::BITS - Self::R_BITS.leading_zeros();
        (0..bit_length).rev().fold(one, |power, bit| {
            let square = self.below_n(self.square_once(&power));
            match Self::R_BITS >> bit & 1 {
                1 => self.doubled(&square),
                _ => square,
            }
        })
    }

    /// The base to the power of 65537 mod n, below n. The base is below n.
    pub(super) fn power_65537(&self, base: &[Limbs; V]) -> [Limbs; V] {
        let power = self.avx2.vectorize(
            #[inline(always)]
            || {
                let n = Shifted::of(&self.n);
                let mut power = self.product(&n, base, &self.r_squared);
                for _ in 0..16 {
                    power = self.square(&n, &power);
                }
                // One factor in Montgomery's form and one not: the product is not.
                self.product(&n, &power, base)
            },
        );
        self.below_n(power)
    }

    /// Whether a number whose limbs have all their carries passed on is below n.
    pub(super) fn exceeds(&self, number: &[Limbs; V]) -> bool {
        let n = self.n.as_flattened().iter().rev();
        n.gt(number.as_flattened().iter().rev())
    }

    /// All carries passed on, and n subtracted if need be: for a number below 2·n.
    fn below_n(&self, mut number: [Limbs; V]) -> [Limbs; V] {
        pass_carries(&mut number);
        if self.exceeds(&number) {
            return number;
        }
        let mut borrow = 0;
        for (limb, n) in number
            .as_flattened_mut()
            .iter_mut()
            .zip(self.n.as_flattened())
        {
            let difference = limb.wrapping_sub(n + borrow);
            *limb = difference & MASK;
            borrow = difference >> 63;
        }
        number
    }

    fn doubled(&self, number: &[Limbs; V]) -> [Limbs; V] {
        self.below_n(number.map(|limbs| limbs.map(|limb| 2 * limb)))
    }

    fn square_once(&self, number: &[Limbs; V]) -> [Limbs; V] {
        self.avx2.vectorize(
            #[inline(always)]
            || self.square(&Shifted::of(&self.n), number),
        )
    }

    /// a·b/R mod n.
    #[inline(always)]
    fn product(&self, n: &Shifted<W>, a: &[Limbs; V], b: &[Limbs; V]) -> [Limbs; V] {
        let b = Shifted::<W>::of(b);
        let mut columns = Aligned([[0; 4]; T]);
        for (i, limbs) in a.iter().enumerate() {
            let rows = Rows::of(self.avx2, *limbs);
            rows.add_to(&mut columns.0[i..i + W], &b, 0);
        }
        self.reduced(n, &mut columns)
    }

    /// a²/R mod n: what is off the diagonal is there twice, and computed once.
    #[inline(always)]
    fn square(&self, n: &Shifted<W>, a: &[Limbs; V]) -> [Limbs; V] {
        let double = Shifted::<W>::of(&a.map(|limbs| limbs.map(|limb| limb << 1)));
        let mut columns = Aligned([[0; 4]; T]);
        for (i, &limbs) in a.iter().enumerate() {
            let rows = Rows::of(self.avx2, limbs);
            rows.add_above(&mut columns.0[2 * i + 1..i + W], &double, i + 1);
            add_square(columns.0[2 * i..2 * i + 2].as_flattened_mut(), limbs);
        }
        self.reduced(n, &mut columns)
    }

    /// The number in `columns` divided by R mod n, below 2·n if it was below 4·n².
    #[inline(always)]
    fn reduced(&self, n: &Shifted<W>, columns: &mut Aligned<[Limbs; T]>) -> [Limbs; V] {
        for i in 0..V {
            let columns = &mut columns.0[i..i + W];
            let rows = Rows::of(self.avx2, self.quotient(&columns[0]));
            rows.add_to(columns, n, 0);
            columns[1][0] += carry_of_zeros(&columns[0]);
        }
        let mut quotient = [[0; 4]; V];
        quotient.copy_from_slice(&columns.0[V..2 * V]);
        // Twice, and a limb is at most 2^27 + 2^9: not all carries are passed on, but enough of them.
        carry_once(&carry_once(&quotient))
    }

    /// −(the number in these columns)/n mod 2^108: so many n added clear the columns.
    #[inline(always)]
    fn quotient(&self, columns: &Limbs) -> Limbs {
        let [a, b, c, d] = columns.map(u128::from);
        let number = a
            .wrapping_add(b << BITS)
            .wrapping_add(c << (2 * BITS))
            .wrapping_add(d << (3 * BITS));
        let quotient = number.wrapping_mul(self.negative_inverse);
        let limb = |at: usize| low_64(quotient >> (at * BITS)) & MASK;
        [limb(0), limb(1), limb(2), limb(3)]
    }
}

/// Adds the square of four limbs.
#[inline(always)]
fn add_square(columns: &mut [u64], [a, b, c, d]: Limbs) {
    let square = [
        a * a,
        2 * (a * b),
        2 * (a * c) + b * b,
        2 * (a * d + b * c),
        2 * (b * d) + c * c,
        2 * (c * d),
        d * d,
        0,
    ];
    for (column, square) in columns.iter_mut().zip(square) {
        *column += square;
    }
}

/// What four columns whose sum is a multiple of 2^108 carry into the next.
#[inline(always)]
fn carry_of_zeros(columns: &Limbs) -> u64 {
    columns
        .iter()
        .fold(0, |carry, column| (column + carry) >> BITS)
}

fn pass_carries<const V: usize>(number: &mut [Limbs; V]) {
    let mut carry = 0;
    for limb in number.as_flattened_mut() {
        let sum = *limb + carry;
        *limb = sum & MASK;
        carry = sum >> BITS;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
#[inline(always)]
fn low_64(number: u128) -> u64 {
    number as u64
}

/// A big-endian number, of as many bits as fit, in limbs.
pub(super) fn limbs<const V: usize>(bytes: &[u8]) -> [Limbs; V] {
    let mut limbs = [[0; 4]; V];
    let (mut pending, mut bits) = (0, 0);
    let mut bytes = bytes.iter().rev();
    for limb in limbs.as_flattened_mut() {
        while bits < BITS {
            pending |= u64::from(bytes.next().copied().unwrap_or_default()) << bits;
            bits += 8;
        }
        *limb = pending & MASK;
        pending >>= BITS;
        bits -= BITS;
    }
    limbs
}

/// A number whose limbs have all their carries passed on, big-endian; as many bytes as there are.
pub(super) fn to_bytes<const V: usize>(number: &[Limbs; V], bytes: &mut [u8]) {
    let (mut pending, mut bits) = (0, 0);
    let mut limbs = number.as_flattened().iter();
    for byte in bytes.iter_mut().rev() {
        if bits < 8 {
            pending |= limbs.next().copied().unwrap_or_default() << bits;
            bits += BITS;
        }
        *byte = pending.to_le_bytes()[0];
        pending >>= 8;
        bits -= 8;
    }
}
