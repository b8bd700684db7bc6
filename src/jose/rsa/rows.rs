//! Long multiplication with four limbs of one factor at a time, in vectors of four 64-bit lanes.
//!
//! A limb has 27 bits, so that a column of a product, with hundreds of products of two limbs in it, still fits into 64 bits, and
//! no carry need be passed on while columns are summed up.

use std::arch::x86_64::_mm256_mul_epu32;
use std::hint::black_box;

use fearless_simd::x86::Avx2;
use fearless_simd::{SimdBase as _, SimdFrom as _, SimdInto as _, u64x4};

/// Bits of a limb.
pub(super) const BITS: usize = 27;
/// What a limb may hold once all carries are passed on.
pub(super) const MASK: u64 = (1 << BITS) - 1;

/// Four limbs, the lowest first; of a sum of products, four columns.
pub(super) type Limbs = [u64; 4];
type Vector = u64x4<Avx2>;

/// As the processor wants what it loads 32 bytes at a time.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// A number, and it moved up by one, two and three limbs: so that no load straddles two cache lines. W is one more than the
/// number's length.
pub(super) struct Shifted<const W: usize>([Aligned<[Limbs; W]>; 4]);

/// Four limbs of the other factor, each in all lanes.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    avx2: Avx2,
    vectors: [Vector; 4],
}

// Each lane's low half times the other's, all 64 bits of it.
fearless_simd::kernel!(
    #[inline(always)]
    fn times(avx2: Avx2, a: u64x4<Avx2>, b: u64x4<Avx2>) -> u64x4<Avx2> {
        _mm256_mul_epu32(a.into(), b.into()).simd_into(avx2)
    }
);

// === impl Shifted ===

impl<const W: usize> Shifted<W> {
    #[inline(always)]
    pub(super) fn of(number: &[Limbs]) -> Self {
        let mut copies = [Aligned([[0; 4]; W]); 4];
        for (by, copy) in copies.iter_mut().enumerate() {
            let limbs = number.as_flattened();
            copy.0.as_flattened_mut()[by..by + limbs.len()].copy_from_slice(limbs);
        }
        Shifted(copies)
    }

    /// The copies from a vector on.
    #[inline(always)]
    fn from(&self, first: usize) -> [&[Limbs]; 4] {
        self.0.each_ref().map(|copy| &copy.0[first..])
    }
}

// === impl Rows ===

impl Rows {
    #[inline(always)]
    pub(super) fn of(avx2: Avx2, limbs: Limbs) -> Self {
        // Without `black_box` the compiler forgets, where it turns these four into a vector and that into others, that the upper
        // halves are zero, and makes three multiplications of each.
        let vectors = limbs.map(|limb| u64x4::splat(avx2, u64::from(black_box(low_half(limb)))));
        Rows { avx2, vectors }
    }

    /// Adds these four limbs times `number`, from its vector `first` on, to the columns.
    #[inline(always)]
    pub(super) fn add_to<const W: usize>(
        &self,
        columns: &mut [Limbs],
        number: &Shifted<W>,
        first: usize,
    ) {
        let length = columns.len();
        let copies = number.from(first);
        let [(a, a1), (b, b1), (c, c1), (d, d1)] =
            copies.map(|copy| copy[..length].as_chunks::<2>());
        let (pairs, last) = columns.as_chunks_mut::<2>();
        // Two at a time: a tenth less to do.
        for ((((pair, a), b), c), d) in pairs.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            for which in 0..2 {
                let number = [&a[which], &b[which], &c[which], &d[which]];
                self.add_vector(&mut pair[which], number);
            }
        }
        for ((((column, a), b), c), d) in last.iter_mut().zip(a1).zip(b1).zip(c1).zip(d1) {
            self.add_vector(column, [a, b, c, d]);
        }
    }

    /// As [`add_to`](Self::add_to), without the limbs below the vector `first`, which were only moved up into it.
    #[inline(always)]
    pub(super) fn add_above<const W: usize>(
        &self,
        columns: &mut [Limbs],
        number: &Shifted<W>,
        first: usize,
    ) {
        let Some((column, columns)) = columns.split_first_mut() else {
            return;
        };
        let [a, b, c, d] = number.from(first).map(|copy| copy[0]);
        let above = [
            a,
            [0, b[1], b[2], b[3]],
            [0, 0, c[2], c[3]],
            [0, 0, 0, d[3]],
        ];
        self.add_vector(column, above.each_ref());
        if !columns.is_empty() {
            self.add_to(columns, number, first + 1);
        }
    }

    #[inline(always)]
    fn add_vector(&self, column: &mut Limbs, number: [&Limbs; 4]) {
        let vector = |limbs: &Limbs| u64x4::simd_from(self.avx2, *limbs);
        let product = |row: usize| times(self.avx2, self.vectors[row], vector(number[row]));
        let sum = ((vector(column) + product(0)) + product(1)) + (product(2) + product(3));
        *column = sum.into();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a limb has 28 bits at most"
)]
#[inline(always)]
fn low_half(limb: u64) -> u32 {
    limb as u32
}

/// Passes each column's carry on to the next, once: from 64 bits that leaves 38 at most, and then 28. The last one's is lost.
#[inline(always)]
pub(super) fn carry_once<const V: usize>(columns: &[Limbs; V]) -> [Limbs; V] {
    let carries = columns.map(|limbs| limbs.map(|limb| limb >> BITS));
    let mut passed = columns.map(|limbs| limbs.map(|limb| limb & MASK));
    let above = &mut passed.as_flattened_mut()[1..];
    for (limb, carry) in above.iter_mut().zip(carries.as_flattened()) {
        *limb += carry;
    }
    passed
}
