//! 1/z mod p by greatest common divisors instead of Fermat's 254 squarings: three times as fast.
//!
//! The "divsteps" of Bernstein and Yang, <https://eprint.iacr.org/2019/266>, 62 at a time on the lowest words, in variable time.
//! Nothing of it need be trusted: the caller multiplies z by the result, and takes Fermat's way should that not be 1.

const LIMBS: usize = 5;
const BITS: u32 = 62;
const MASK: i64 = (1 << BITS) - 1;
/// Enough for every 255-bit input twice over (735 divsteps at the most, Theorem 11.2); a bound on the loop, not a promise.
const MAX_ROUNDS: usize = 24;
/// −19 + 2^255, in limbs of 62 bits.
const P: [i64; LIMBS] = [-19, 0, 0, 0, 1 << 7];
/// 1/p mod 2^62, that is −1/19.
const INVERSE_OF_P: i64 = {
    let minus_19 = -19i64;
    // Each step doubles the number of right bits, from three.
    let mut inverse = minus_19;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2i64.wrapping_sub(minus_19.wrapping_mul(inverse)));
        step += 1;
    }
    inverse & MASK
};

/// An integer Σ limbᵢ·2^(62·i): all limbs but the last are within 0 and 2^62, the last has the sign.
type Signed = [i64; LIMBS];

/// What 62 divsteps do to (f, g), times 2^62.
struct Transition {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

/// 1/`number` mod p, both in little-endian bytes, for any number below p but 0; anything at all for others.
pub(super) fn inverse(number: &[u8; 32]) -> [u8; 32] {
    let (mut f, mut g) = (P, from_bytes(number));
    // Always d·number ≡ f and e·number ≡ g.
    let (mut d, mut e) = ([0; LIMBS], [1, 0, 0, 0, 0]);
    let mut delta = -1;
    for _ in 0..MAX_ROUNDS {
        let transition = divsteps(&mut delta, f[0], g[0]);
        transition.apply_mod_p(&mut d, &mut e);
        transition.apply(&mut f, &mut g);
        if g == [0; LIMBS] {
            break;
        }
    }
    // f is 1 or −1 now.
    to_bytes(d, f[LIMBS - 1] < 0)
}

/// 62 divsteps on the lowest words of f, which is odd, and g. `eta` is −δ of the paper.
#[inline(always)]
fn divsteps(eta: &mut i64, mut f: i64, mut g: i64) -> Transition {
    let (mut u, mut v, mut q, mut r) = (1i64, 0i64, 0i64, 1i64);
    let mut left = BITS;
    loop {
        let zeros = g.trailing_zeros().min(left);
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        *eta -= i64::from(zeros);
        left -= zeros;
        if left == 0 {
            return Transition { u, v, q, r };
        }
        if *eta < 0 {
            *eta = -*eta;
            (f, g) = (g, f.wrapping_neg());
            (u, q) = (q, -u);
            (v, r) = (r, -v);
        }
        // While δ stays as it is, so many of g's bits can be cancelled at once; f·(2 − f²) is 1/f mod 2^6.
        let bits = left.min(6).min(u32::try_from(*eta + 1).unwrap_or(6));
        let inverse = f.wrapping_mul(2i64.wrapping_sub(f.wrapping_mul(f)));
        let w = g.wrapping_neg().wrapping_mul(inverse) & ((1 << bits) - 1);
        g = g.wrapping_add(f.wrapping_mul(w));
        q += u * w;
        r += v * w;
    }
}

// === impl Transition ===

impl Transition {
    /// (u·a + v·b, q·a + r·b) of one limb each.
    #[inline(always)]
    fn rows(&self, a: i64, b: i64) -> (i128, i128) {
        let product = |x: i64, y: i64| i128::from(x) * i128::from(y);
        (
            product(self.u, a) + product(self.v, b),
            product(self.q, a) + product(self.r, b),
        )
    }

    /// (f, g) ← (u·f + v·g, q·f + r·g)/2^62, which is whole.
    #[inline(always)]
    fn apply(&self, f: &mut Signed, g: &mut Signed) {
        let (mut carry_f, mut carry_g) = self.rows(f[0], g[0]);
        carry_f >>= BITS;
        carry_g >>= BITS;
        for limb in 1..LIMBS {
            let (row_f, row_g) = self.rows(f[limb], g[limb]);
            carry_f += row_f;
            carry_g += row_g;
            f[limb - 1] = low(carry_f);
            g[limb - 1] = low(carry_g);
            carry_f >>= BITS;
            carry_g >>= BITS;
        }
        f[LIMBS - 1] = whole(carry_f);
        g[LIMBS - 1] = whole(carry_g);
    }

    /// (d, e) ← (u·d + v·e, q·d + r·e)/2^62 mod p: so many times p is added that the lowest 62 bits vanish. Both stay between
    /// −2p and p.
    #[inline(always)]
    fn apply_mod_p(&self, d: &mut Signed, e: &mut Signed) {
        let (sign_d, sign_e) = (d[LIMBS - 1] >> 63, e[LIMBS - 1] >> 63);
        let (mut carry_d, mut carry_e) = self.rows(d[0], e[0]);
        let times_p = |start: i64, carry: i128| {
            let off = INVERSE_OF_P.wrapping_mul(low(carry)).wrapping_add(start);
            start.wrapping_sub(off & MASK)
        };
        let times_d = times_p((self.u & sign_d) + (self.v & sign_e), carry_d);
        let times_e = times_p((self.q & sign_d) + (self.r & sign_e), carry_e);
        carry_d = (carry_d + i128::from(times_d) * i128::from(P[0])) >> BITS;
        carry_e = (carry_e + i128::from(times_e) * i128::from(P[0])) >> BITS;
        for limb in 1..LIMBS {
            let (row_d, row_e) = self.rows(d[limb], e[limb]);
            carry_d += row_d;
            carry_e += row_e;
            if limb == LIMBS - 1 {
                carry_d += i128::from(times_d) << 7;
                carry_e += i128::from(times_e) << 7;
            }
            d[limb - 1] = low(carry_d);
            e[limb - 1] = low(carry_e);
            carry_d >>= BITS;
            carry_e >>= BITS;
        }
        d[LIMBS - 1] = whole(carry_d);
        e[LIMBS - 1] = whole(carry_e);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest 62 bits are what is wanted"
)]
#[inline(always)]
fn low(wide: i128) -> i64 {
    wide as i64 & MASK
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left of an integer of 256 bits"
)]
#[inline(always)]
fn whole(wide: i128) -> i64 {
    wide as i64
}

fn from_bytes(bytes: &[u8; 32]) -> Signed {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let words = [word(0), word(8), word(16), word(24)];
    let limbs = [
        words[0],
        words[0] >> 62 | words[1] << 2,
        words[1] >> 60 | words[2] << 4,
        words[2] >> 58 | words[3] << 6,
        words[3] >> 56,
    ];
    limbs.map(|limb| i64::from_ne_bytes(limb.to_ne_bytes()) & MASK)
}

/// `number`, which is between −2p and p, or its negative, mod p.
fn to_bytes(number: Signed, negate: bool) -> [u8; 32] {
    let plus_p =
        |number: Signed, times: i64| carried(std::array::from_fn(|i| number[i] + times * P[i]));
    let within = |number: Signed| plus_p(number, number[LIMBS - 1] >> 63 & 1);
    let mut number = within(carried(number));
    if negate {
        number = carried(number.map(|limb| -limb));
    }
    let number = within(number).map(|limb| u64::from_ne_bytes(limb.to_ne_bytes()));
    let words = [
        number[0] | number[1] << 62,
        number[1] >> 2 | number[2] << 60,
        number[2] >> 4 | number[3] << 58,
        number[3] >> 6 | number[4] << 56,
    ];
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn carried(mut number: Signed) -> Signed {
    for limb in 1..LIMBS {
        number[limb] += number[limb - 1] >> BITS;
        number[limb - 1] &= MASK;
    }
    number
}
