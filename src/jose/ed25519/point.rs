//! Points of edwards25519 (RFC 8032 §5.1): −x² + y² = 1 + d·x²·y².
//!
//! The addition law used here is complete: it has no exceptional cases, whatever the order of the points (Hisil, Wong, Carter,
//! Dawson 2008, §3.1; a = −1 is a square mod p and d is not). So tables of keys of mixed order are right too.

use super::field::{Element, Sum};

/// d = −121665/121666.
const D: [u8; 32] = [
    0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00,
    0x98, 0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
];
/// (p + 1)/2 = 2^254 − 9: one half.
const HALF: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xf7;
    bytes[31] = 0x3f;
    bytes
};

/// A point as (X : Y : Z : T) with x = X/Z, y = Y/Z, xy = T/Z.
#[derive(Clone, Copy)]
pub(super) struct Point {
    x: Element,
    y: Element,
    z: Element,
    t: Element,
}

/// A point in affine coordinates.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    x: Element,
    y: Element,
}

/// An affine point prepared for being added: (y + x)/2, (y − x)/2, d·x·y.
///
/// Half of what is usual (Niels 2008), so that no coordinate need be doubled in an addition.
#[derive(Clone, Copy)]
pub(super) struct Niels {
    y_plus_x: Element,
    y_minus_x: Element,
    dxy: Element,
}

// === impl Point ===

impl Point {
    pub(super) const IDENTITY: Point = Point {
        x: Element::ZERO,
        y: Element::ONE,
        z: Element::ONE,
        t: Element::ZERO,
    };

    /// This point plus `other`: seven multiplications.
    #[inline(always)]
    pub(super) fn plus(&self, other: &Niels) -> Point {
        let a = self.y.minus(&self.x).times(&other.y_minus_x.relaxed());
        let b = self.y.plus(&self.x).times(&other.y_plus_x.relaxed());
        let c = self.t.times(&other.dxy);
        Point::from_halves(b.minus(&a), self.z.minus(&c), self.z.plus(&c), b.plus(&a))
    }

    /// This point minus `other`: −(x, y) = (−x, y) swaps the first two and negates the third.
    #[inline(always)]
    pub(super) fn minus(&self, other: &Niels) -> Point {
        let a = self.y.minus(&self.x).times(&other.y_plus_x.relaxed());
        let b = self.y.plus(&self.x).times(&other.y_minus_x.relaxed());
        let c = self.t.times(&other.dxy);
        Point::from_halves(b.minus(&a), self.z.plus(&c), self.z.minus(&c), b.plus(&a))
    }

    #[inline(always)]
    fn from_halves(e: Sum, f: Sum, g: Sum, h: Sum) -> Point {
        Point {
            x: e.times(&f),
            y: g.times(&h),
            z: f.times(&g),
            t: e.times(&h),
        }
    }

    /// Whether y is the one in this encoding; its x, or only the sign of it, is left to be compared.
    pub(super) fn may_encode_to(&self, encoding: &[u8; 32]) -> bool {
        Element::from_bytes(encoding).times(&self.z) == self.y
    }

    /// RFC 8032 §5.1.2.
    pub(super) fn encode(&self) -> [u8; 32] {
        let inverse = self.z.inverse();
        self.affine(&inverse).encode()
    }

    fn affine(&self, inverse_of_z: &Element) -> Affine {
        Affine {
            x: self.x.times(inverse_of_z),
            y: self.y.times(inverse_of_z),
        }
    }

    /// All of them in affine coordinates, with one inversion (Montgomery's trick). No Z of a point is zero.
    pub(super) fn all_affine(points: &[Point]) -> Vec<Affine> {
        let mut products = Vec::with_capacity(points.len());
        let mut product = Element::ONE;
        for point in points {
            products.push(product);
            product = product.times(&point.z);
        }
        let mut inverse = product.inverse();
        let mut affine: Vec<Affine> = points
            .iter()
            .zip(&products)
            .rev()
            .map(|(point, before)| {
                let inverse_of_z = inverse.times(before);
                inverse = inverse.times(&point.z);
                point.affine(&inverse_of_z)
            })
            .collect();
        affine.reverse();
        affine
    }
}

// === impl Affine ===

impl Affine {
    /// RFC 8032 §5.1.3, for an encoding that is known to be canonical: `None` if there is no such point.
    pub(super) fn decode(bytes: &[u8; 32]) -> Option<Affine> {
        let y = Element::from_bytes(bytes);
        let yy = y.square();
        let u = yy.minus(&Element::ONE).carried();
        let v = yy
            .times(&Element::from_bytes(&D))
            .plus(&Element::ONE)
            .carried();
        // x = u·v³·(u·v⁷)^((p − 5)/8), or that times √−1.
        let v3 = v.square().times(&v);
        let power = u.times(&v3.square().times(&v)).power_p58();
        let mut x = u.times(&v3).times(&power);
        let vxx = v.times(&x.square());
        if vxx != u {
            if vxx != u.negated() {
                return None;
            }
            x = x.times(&sqrt_of_minus_one());
        }
        if is_odd(&x) != (bytes[31] >> 7 == 1) {
            x = x.negated();
        }
        Some(Affine { x, y })
    }

    pub(super) fn encode(&self) -> [u8; 32] {
        let mut bytes = self.y.to_bytes();
        bytes[31] |= u8::from(is_odd(&self.x)) << 7;
        bytes
    }

    pub(super) fn negated(&self) -> Affine {
        Affine {
            x: self.x.negated(),
            y: self.y,
        }
    }

    pub(super) fn niels(&self) -> Niels {
        let half = Element::from_bytes(&HALF);
        let xy = self.x.times(&self.y);
        Niels {
            y_plus_x: self.y.plus(&self.x).times(&half.relaxed()),
            y_minus_x: self.y.minus(&self.x).times(&half.relaxed()),
            dxy: xy.times(&Element::from_bytes(&D)),
        }
    }
}

/// "Negative" in RFC 8032's words.
fn is_odd(element: &Element) -> bool {
    element.to_bytes()[0] & 1 == 1
}

/// 2^((p − 1)/4) = (2^((p − 5)/8))² · 2.
fn sqrt_of_minus_one() -> Element {
    let two = Element::from_small(2);
    two.power_p58().square().times(&two)
}

/// The y of the eight points whose order divides 8, encoded: 1, −1, 0, and those of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [one, minus_one, [0; 32], ORDER_8, MINUS_ORDER_8]
};
const ORDER_8: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
    0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];
const MINUS_ORDER_8: [u8; 32] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
    0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

/// Whether this canonical encoding is that of a point whose order divides 8. Both points of such a y are.
pub(super) fn is_small_order(encoding: &[u8; 32]) -> bool {
    let mut y = *encoding;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}
