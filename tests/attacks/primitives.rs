//! Attacks on the signatures and the keys themselves (16 to 36). The bulk of them is tests/wycheproof.rs.

use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Claims, VerifyingKey};

use crate::ground::{ED, EcKey, RSA, decode, header, payload, verdict, verifier};
use crate::mint::{self, base64url};

const MESSAGE: &[u8] = b"message";

/// The order of the Ed25519 base point, little-endian: 2^252 + 27742317777372353535851937790883648493.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn ed25519(x: impl AsRef<[u8]>) -> Result<VerifyingKey, keywheel::jose::JwkError> {
    let x = base64url(x);
    VerifyingKey::from_jwk(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#))
}

/// a + b, little-endian; what is carried out of the top is dropped.
fn add(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let sum = a.iter().zip(b).map(|(&a, &b)| {
        let sum = u16::from(a) + u16::from(b) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    sum.collect()
}

/// a − b, big-endian, for a ≥ b.
fn subtract(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut difference: Vec<u8> = (a.iter().zip(b).rev())
        .map(|(&a, &b)| {
            let difference = 256 + i16::from(a) - i16::from(b) - borrow;
            borrow = i16::from(difference < 256);
            difference.to_le_bytes()[0]
        })
        .collect();
    difference.reverse();
    difference
}

#[test]
fn an_s_beyond_the_order_is_refused() {
    let key = ED.verifying_key();
    let good = ED.sign(MESSAGE).unwrap();
    assert!(key.verify(Algorithm::EdDSA, MESSAGE, &good));
    let (r, s) = good.split_at(32);
    let mut beyond = s.to_vec();
    for times in 1..=7 {
        beyond = add(&beyond, &L);
        let malleated = [r, &beyond].concat();
        assert!(
            !key.verify(Algorithm::EdDSA, MESSAGE, &malleated),
            "s + {times} L"
        );
    }
}

#[test]
fn a_key_of_small_order_is_refused() {
    let hex = |text: &str| -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    };
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ] {
        assert!(ed25519(hex(point)).is_err(), "{point}");
    }
}

#[test]
fn an_ed25519_key_has_one_spelling() {
    // y = p + k for each k there is room for: the point with y = k, not reduced.
    for k in 0..19u8 {
        for sign in [0x7f, 0xff] {
            let mut x = [0xff; 32];
            x[0] = 0xed + k;
            x[31] = sign;
            assert!(ed25519(x).is_err(), "y = p + {k}");
        }
    }
}

#[test]
fn ed25519_keys_and_signatures_have_exactly_their_length() {
    let x = ED.verifying_key().to_jwk();
    let x: serde_json::Value = serde_json::from_str(&x).unwrap();
    let x = x["x"].as_str().unwrap();
    for length in [0, 1, 31, 33, 57, 64] {
        assert!(ed25519(vec![9; length]).is_err(), "{length} bytes");
    }
    let one_more = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}AA"}}"#);
    assert!(VerifyingKey::from_jwk(&one_more).is_err());
    let good = ED.sign(MESSAGE).unwrap();
    for length in (0..64).chain(65..130) {
        let signature: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        assert!(
            !ED.verifying_key()
                .verify(Algorithm::EdDSA, MESSAGE, &signature),
            "{length}"
        );
    }
}

#[test]
fn a_signing_key_derives_its_public_half_itself() {
    // PKCS#8 version 2 (RFC 5958) brings a public key along: here that of another private key.
    let seed = [0x42; 32];
    let v1: Vec<u8> = [
        &[
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ],
        &seed[..],
    ]
    .concat();
    let honest = SigningKey::from_pkcs8(Algorithm::EdDSA, &v1, None).unwrap();
    let mut foreign = v1;
    foreign[1] += 35;
    foreign[4] = 1;
    foreign.extend([0x81, 0x21, 0]);
    foreign.extend([0x58; 32]);
    // Refused, or taken without it: never signed with.
    if let Ok(key) = SigningKey::from_pkcs8(Algorithm::EdDSA, &foreign, None) {
        assert_eq!(key.kid(), honest.kid());
        assert_eq!(key.sign(MESSAGE).unwrap(), honest.sign(MESSAGE).unwrap());
    }
}

/// The order of each curve's group, big-endian.
fn order(algorithm: Algorithm) -> Vec<u8> {
    let hex = match algorithm {
        Algorithm::ES256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        Algorithm::ES384 => {
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"
        }
        _ => {
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409"
        }
    };
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn ecdsa_signatures_of_zeros_and_beyond_the_order_are_refused() {
    for key in EcKey::all() {
        let public = key.public();
        let order = order(key.algorithm);
        let zero = vec![0; order.len()];
        let mut one = zero.clone();
        *one.last_mut().unwrap() = 1;
        let most = vec![0xff; order.len()];
        let good = key.sign(MESSAGE);
        assert_eq!(good.len(), 2 * order.len());
        let (r, s) = good.split_at(order.len());
        let suspicious: [&[u8]; 4] = [&zero, &one, &order, &most];
        for a in suspicious {
            for (r, s) in [(a, s), (r, a)]
                .into_iter()
                .chain(suspicious.map(|b| (a, b)))
            {
                let signature = [r, s].concat();
                let accepted = public.verify(key.algorithm, MESSAGE, &signature);
                assert!(!accepted, "{} {signature:02x?}", key.algorithm);
            }
        }
        assert!(public.verify(key.algorithm, MESSAGE, &good));
    }
}

#[test]
fn an_ecdsa_signature_is_exactly_two_numbers_of_the_curves_size() {
    for key in EcKey::all() {
        let (public, good) = (key.public(), key.sign(MESSAGE));
        let (r, s) = good.split_at(good.len() / 2);
        let integer = |number: &[u8]| {
            let number: Vec<u8> = [0].into_iter().chain(number.iter().copied()).collect();
            [&[2, u8::try_from(number.len()).unwrap()], &number[..]].concat()
        };
        let (der_r, der_s) = (integer(r), integer(s));
        let length = u8::try_from(der_r.len() + der_s.len()).unwrap();
        for (form, signature) in [
            ("DER", [&[0x30, length], &der_r[..], &der_s].concat()),
            (
                "DER, long length",
                [&[0x30, 0x81, length], &der_r[..], &der_s].concat(),
            ),
            ("short", good[..good.len() - 1].to_vec()),
            ("r alone", r.to_vec()),
            ("long", [&good[..], &[0]].concat()),
            ("zeros before", [&[0], r, &[0], s].concat()),
            ("s before r", [s, r].concat()),
            ("nothing", Vec::new()),
        ] {
            assert!(
                !public.verify(key.algorithm, MESSAGE, &signature),
                "{} {form}",
                key.algorithm
            );
        }
    }
}

#[test]
fn a_high_s_passes_since_jws_has_no_rule_against_it() {
    for key in EcKey::all() {
        let good = key.sign(MESSAGE);
        let (r, s) = good.split_at(good.len() / 2);
        let other = [r, &subtract(&order(key.algorithm), s)].concat();
        assert_ne!(good, other);
        assert!(
            key.public().verify(key.algorithm, MESSAGE, &other),
            "{}",
            key.algorithm
        );
    }
}

#[test]
fn a_point_off_its_curve_is_no_key() {
    for key in EcKey::all() {
        let (x, y) = key.point();
        let zero = vec![0; x.len()];
        let mut bent = y.to_vec();
        *bent.last_mut().unwrap() ^= 1;
        let longer = [&[0], x].concat();
        for (x, y) in [
            (&zero[..], &zero[..]),
            (x, &bent),
            (y, x),
            (x, x),
            (x, &zero),
            (&longer, y),
            (&x[1..], y),
            (x, &y[..y.len() - 1]),
            (&[], &[]),
            (&vec![0xff; x.len()], y),
        ] {
            assert!(
                VerifyingKey::from_jwk(&key.jwk(x, y)).is_err(),
                "{x:02x?} {y:02x?}"
            );
        }
        assert!(VerifyingKey::from_jwk(&key.jwk(x, y)).is_ok());
    }
}

#[test]
fn a_p521_coordinate_without_its_leading_zero_is_refused() {
    // Every other key has one: 521 bits are 65 bytes and one bit.
    let key = std::iter::repeat_with(|| EcKey::new(Algorithm::ES512))
        .find(|key| key.point().0[0] == 0)
        .unwrap();
    let (x, y) = key.point();
    assert!(VerifyingKey::from_jwk(&key.jwk(x, y)).is_ok());
    assert!(VerifyingKey::from_jwk(&key.jwk(&x[1..], y)).is_err());
}

#[test]
fn an_rsa_signature_is_as_long_as_the_modulus_and_below_it() {
    let public: serde_json::Value = serde_json::from_str(&RSA.verifying_key().to_jwk()).unwrap();
    let n = decode(public["n"].as_str().unwrap());
    let good = RSA.sign(MESSAGE).unwrap();
    let number = |value: u8| {
        let mut bytes = vec![0; n.len()];
        *bytes.last_mut().unwrap() = value;
        bytes
    };
    let accepted = |signature: &[u8]| {
        RSA.verifying_key()
            .verify(Algorithm::RS256, MESSAGE, signature)
    };
    assert!(accepted(&good));
    for (form, signature) in [
        ("shorter", good[..good.len() - 1].to_vec()),
        ("without its first byte", good[1..].to_vec()),
        ("longer", [&good[..], &[0]].concat()),
        ("a zero before", [&[0], &good[..]].concat()),
        ("0", number(0)),
        ("1", number(1)),
        ("n", n.clone()),
        ("n - 1", subtract(&n, &number(1))),
        ("n - signature", subtract(&n, &good)),
        ("all ones", vec![0xff; n.len()]),
        ("nothing", Vec::new()),
    ] {
        assert!(!accepted(&signature), "{form}");
    }
}

/// An odd number of so many bits, which nobody has the factors of.
fn number(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] >>= (8 - bits % 8) % 8;
    bytes
}

fn rsa_key(n: &[u8], e: &[u8]) -> Result<VerifyingKey, keywheel::jose::JwkError> {
    let (n, e) = (base64url(n), base64url(e));
    VerifyingKey::from_jwk(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#))
}

#[test]
fn rsa_moduli_under_2048_bits_are_no_keys() {
    for (bits, usable) in [
        (8, false),
        (512, false),
        (1024, false),
        (2047, false),
        (2048, true),
    ] {
        assert_eq!(
            rsa_key(&number(bits), &[1, 0, 1]).is_ok(),
            usable,
            "{bits} bits"
        );
    }
}

#[test]
fn rsa_exponents_of_one_and_even_numbers_are_no_keys() {
    let mut even = number(2048);
    *even.last_mut().unwrap() -= 1;
    assert!(rsa_key(&even, &[1, 0, 1]).is_err());
    for (e, usable) in [
        (&[][..], false),
        (&[0], false),
        (&[1], false),
        (&[0, 0, 1], false),
        (&[2], false),
        (&[1, 0, 0], false),
        (&[3], true),
        (&[1, 0, 1], true),
    ] {
        assert_eq!(rsa_key(&number(2048), e).is_ok(), usable, "{e:?}");
    }
}

#[test]
fn giant_rsa_numbers_are_no_keys() {
    for bits in [8193, 16_384, 1 << 20] {
        assert!(
            rsa_key(&number(bits), &[1, 0, 1]).is_err(),
            "n of {bits} bits"
        );
    }
    for bits in [34, 64, 256, 2048, 1 << 20] {
        assert!(
            rsa_key(&number(2048), &number(bits)).is_err(),
            "e of {bits} bits"
        );
    }
}

#[test]
fn a_refusal_never_says_what_would_have_been_right() {
    let good = mint::token(&ED, &header(&ED), payload(""));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", base64url([0; 64]));
    let reject = verifier().try_verify::<Claims>(&forged).unwrap_err();
    assert_eq!(reject.code(), "bad_signature");
    let said = format!("{reject} {reject:?} {}", reject.description());
    assert!(said.len() < 200, "{said}");
    assert!(
        !said.contains(signature) && !said.contains(signed),
        "{said}"
    );
}

#[test]
fn the_build_has_no_rsa_implementation_that_leaks_through_timing() {
    let lock = include_str!("../../Cargo.lock");
    for name in ["rsa", "openssl", "native-tls"] {
        assert!(!lock.contains(&format!("\nname = \"{name}\"\n")), "{name}");
        assert!(
            include_str!("../../deny.toml").contains(&format!("crate = \"{name}\"")),
            "{name}"
        );
    }
    // The issuer can sign at all: by aws-lc, whose private-key operations are constant-time.
    let token = mint::token(&RSA, &header(&RSA), payload(""));
    assert_eq!(verdict(&verifier(), &token), "accept");
}
