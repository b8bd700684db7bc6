//! Multiples of one point, computed once, so that multiplying it by a scalar takes additions alone.

use super::point::{Affine, Niels, Point};

/// Bits of a digit. With 7 the tables take 278 KiB and a verification a tenth longer; with 9 870 KiB, for no more than a
/// twentieth less.
const WINDOW: usize = 8;
/// Digits of a scalar.
const DIGITS: usize = 32;
/// Multiples for each digit, which is signed: its magnitude is half of 2^WINDOW at most.
const MULTIPLES: usize = 1 << (WINDOW - 1);

/// j·2^(WINDOW·i)·P for each digit i and each j from 1 to [`MULTIPLES`].
pub(super) struct Table {
    rows: Box<[[Niels; MULTIPLES]]>,
}

// === impl Table ===

impl Table {
    pub(super) fn of(point: &Affine) -> Table {
        let mut first = point.niels();
        let rows = (0..DIGITS).map(|_| {
            let mut multiples = vec![Point::IDENTITY.plus(&first)];
            for j in 1..MULTIPLES {
                multiples.push(multiples[j - 1].plus(&first));
            }
            let last = multiples[MULTIPLES - 1];
            let affine = Point::all_affine(&multiples);
            let row = std::array::from_fn(|j| affine[j].niels());
            // The last one twice is where the next digit begins; the addition law doubles as well.
            first = Point::all_affine(&[last.plus(&row[MULTIPLES - 1])])[0].niels();
            row
        });
        Table {
            rows: rows.collect(),
        }
    }

    /// `sum` plus `scalar`·P, for a scalar below 2^255 in little-endian order.
    #[inline(always)]
    pub(super) fn add_to(&self, mut sum: Point, scalar: &[u8; 32]) -> Point {
        for (row, digit) in self.rows.iter().zip(digits(scalar)) {
            let multiple = usize::from(digit.unsigned_abs());
            if digit > 0 {
                sum = sum.plus(&row[multiple - 1]);
            } else if digit < 0 {
                sum = sum.minus(&row[multiple - 1]);
            }
        }
        sum
    }
}

/// Signed digits, the lowest first: Σ digitᵢ·2^(WINDOW·i) is the scalar, as an integer and not only mod L, which matters for a
/// key of mixed order. A scalar below 2^255 leaves no carry.
fn digits(scalar: &[u8; 32]) -> [i16; DIGITS] {
    let mut carry = 0;
    scalar.map(|byte| {
        let digit = i16::from(byte) + carry;
        carry = i16::from(digit > 1 << (WINDOW - 1));
        digit - (carry << WINDOW)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_what_the_documentation_says() {
        assert_eq!(DIGITS * size_of::<[Niels; MULTIPLES]>(), 480 * 1024);
    }

    #[test]
    fn digits_add_up_to_the_scalar() {
        for seed in 0..=255u8 {
            let mut next = 0u8;
            let mut scalar = [(); 32].map(|()| {
                next = next.wrapping_add(seed);
                next
            });
            scalar[31] &= 0x7f;
            let mut carry = 0;
            let sum = digits(&scalar).map(|digit| {
                assert!((-127..=128).contains(&digit), "{digit}");
                carry += digit;
                let byte = carry.rem_euclid(256);
                carry = carry.div_euclid(256);
                byte
            });
            assert_eq!((sum, carry), (scalar.map(i16::from), 0));
        }
    }
}
