//! Integers mod p = 2^255 − 19, by `fiat-crypto`'s generated and formally verified code.
//!
//! Its proofs hold for inputs within bounds, and its types carry the bounds: the results of multiplications are *tight*, sums and
//! differences of tight elements are *loose*, and only loose elements are multiplied. So [`Element`] is tight, [`Sum`] is loose,
//! and what the compiler accepts here is within what was proved.

use super::inverse;
use fiat_crypto::curve25519_64::{
    fiat_25519_add, fiat_25519_carry, fiat_25519_carry_mul, fiat_25519_carry_square,
    fiat_25519_from_bytes, fiat_25519_loose_field_element, fiat_25519_opp, fiat_25519_relax,
    fiat_25519_sub, fiat_25519_tight_field_element, fiat_25519_to_bytes,
};

/// An element of the field, ready to be added.
#[derive(Clone, Copy)]
pub(super) struct Element(fiat_25519_tight_field_element);

/// A sum or difference of two elements, ready to be multiplied.
#[derive(Clone, Copy)]
pub(super) struct Sum(fiat_25519_loose_field_element);

const LOOSE: fiat_25519_loose_field_element = fiat_25519_loose_field_element([0; 5]);
const TIGHT: fiat_25519_tight_field_element = fiat_25519_tight_field_element([0; 5]);

// === impl Element ===

impl Element {
    pub(super) const ZERO: Element = Element(TIGHT);
    pub(super) const ONE: Element = Element::from_small(1);

    /// A number below 2^51.
    pub(super) const fn from_small(number: u64) -> Self {
        Element(fiat_25519_tight_field_element([number, 0, 0, 0, 0]))
    }

    /// 32 bytes in little-endian order; the topmost bit is not looked at.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut bytes = *bytes;
        bytes[31] &= 0x7f;
        let mut out = TIGHT;
        fiat_25519_from_bytes(&mut out, &bytes);
        Element(out)
    }

    /// The one canonical encoding: little-endian, below p.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        fiat_25519_to_bytes(&mut out, &self.0);
        out
    }

    #[inline(always)]
    pub(super) fn plus(&self, other: &Element) -> Sum {
        let mut out = LOOSE;
        fiat_25519_add(&mut out, &self.0, &other.0);
        Sum(out)
    }

    #[inline(always)]
    pub(super) fn minus(&self, other: &Element) -> Sum {
        let mut out = LOOSE;
        fiat_25519_sub(&mut out, &self.0, &other.0);
        Sum(out)
    }

    pub(super) fn negated(&self) -> Element {
        let mut out = LOOSE;
        fiat_25519_opp(&mut out, &self.0);
        Sum(out).carried()
    }

    #[inline(always)]
    pub(super) fn relaxed(&self) -> Sum {
        let mut out = LOOSE;
        fiat_25519_relax(&mut out, &self.0);
        Sum(out)
    }

    #[inline(always)]
    pub(super) fn times(&self, other: &Element) -> Element {
        self.relaxed().times(&other.relaxed())
    }

    #[inline(always)]
    pub(super) fn square(&self) -> Element {
        let mut out = TIGHT;
        fiat_25519_carry_square(&mut out, &self.relaxed().0);
        Element(out)
    }

    /// Squared `count` times.
    fn squared(&self, count: usize) -> Element {
        (0..count).fold(*self, |power, _| power.square())
    }

    /// x^(2^250 − 1), and x^11: where both exponents below begin.
    fn power_250_and_11(&self) -> (Element, Element) {
        let x2 = self.square();
        let x9 = x2.squared(2).times(self);
        let x11 = x9.times(&x2);
        let to_5 = x11.square().times(&x9);
        let to_10 = to_5.squared(5).times(&to_5);
        let to_20 = to_10.squared(10).times(&to_10);
        let to_40 = to_20.squared(20).times(&to_20);
        let to_50 = to_40.squared(10).times(&to_10);
        let to_100 = to_50.squared(50).times(&to_50);
        let to_200 = to_100.squared(100).times(&to_100);
        (to_200.squared(50).times(&to_50), x11)
    }

    /// 1/x, and 0 for 0.
    pub(super) fn inverse(&self) -> Element {
        let inverse = Element::from_bytes(&inverse::inverse(&self.to_bytes()));
        if self.times(&inverse) == Element::ONE {
            return inverse;
        }
        self.inverse_by_fermat()
    }

    /// 1/x = x^(p − 2), and 0 for 0.
    fn inverse_by_fermat(&self) -> Element {
        let (to_250, x11) = self.power_250_and_11();
        to_250.squared(5).times(&x11)
    }

    /// x^((p − 5)/8) = x^(2^252 − 3): the heart of a square root (RFC 8032 §5.1.3).
    pub(super) fn power_p58(&self) -> Element {
        let (to_250, _) = self.power_250_and_11();
        to_250.squared(2).times(self)
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Element) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

// === impl Sum ===

impl Sum {
    #[inline(always)]
    pub(super) fn times(&self, other: &Sum) -> Element {
        let mut out = TIGHT;
        fiat_25519_carry_mul(&mut out, &self.0, &other.0);
        Element(out)
    }

    pub(super) fn carried(&self) -> Element {
        let mut out = TIGHT;
        fiat_25519_carry(&mut out, &self.0);
        Element(out)
    }
}
