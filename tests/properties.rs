//! What must hold of every token: what is signed is accepted, what is changed is refused, and how its JSON is laid out changes
//! nothing.

#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made ends the test"
)]

#[path = "support/fixture.rs"]
mod tokens;

use std::sync::LazyLock;
use std::time::Duration;

use keywheel::issue::{Audience, Grant, Issuer, RotationPolicy, TokenSettings};
use keywheel::jose::MAX_TOKEN_BYTES;
use keywheel::store::FileKeyStore;
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, Metrics, NumericDate, Verifier};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tokens::{AUDIENCE, CLAIMS, HEADER, ISSUER, NOW, json_value, sign, verifier, verify};

fn header(algorithm: Algorithm) -> String {
    json!({"alg": algorithm.name(), "kid": algorithm.name()}).to_string()
}

/// The verdict and what was read, as one comparable value.
fn outcome(token: &str) -> Result<Value, &'static str> {
    verify(token).map(|token| {
        let claims = token.registered();
        json!({
            "iss": token.issuer(), "sub": claims.sub, "aud": token.audiences(), "exp": claims.exp,
            "nbf": claims.nbf, "iat": claims.iat, "jti": claims.jti, "sid": claims.sid,
            "client_id": claims.client_id, "scope": token.scopes(), "roles": token.roles(),
            "kid": token.kid(),
        })
    })
}

// === strategies ===

fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(Algorithm::ALL)
}

type Members = Vec<(String, Value)>;

/// Members that no verdict may depend on: a prefix keeps their names apart from every name that means something.
fn unknown_members() -> impl Strategy<Value = Members> {
    let members = btree_map(any::<String>(), json_value(), 0..5);
    members.prop_map(|members| {
        let named = members.into_iter();
        named
            .map(|(name, value)| (format!("x{name}"), value))
            .collect()
    })
}

/// Claims that a verdict depends on, most often good ones.
fn deciding_claims() -> impl Strategy<Value = Members> {
    let times = [-900, -1, 0, 1, 900].map(|offset| json!(NOW + offset));
    let times = times
        .into_iter()
        .chain([json!(1_790_000_000.5), json!("soon"), json!(null)]);
    let time = || select(times.clone().collect::<Vec<_>>());
    let issuer = || {
        select(vec![
            json!(ISSUER),
            json!([ISSUER]),
            json!("https://issuer.example/"),
        ])
    };
    let audiences = [
        json!([AUDIENCE, "b"]),
        json!("b"),
        json!([]),
        json!([AUDIENCE, 5]),
    ];
    let others = ["sub", "jti", "sid", "client_id", "scope", "roles"];
    let texts = [
        json!("a"),
        json!("a b"),
        json!(["a", "b"]),
        json!({}),
        json!("\u{0}\u{10ffff}"),
    ];
    let other = (select(others.to_vec()), select(texts.to_vec()));
    (
        prop_oneof![8 => Just(Some(json!(ISSUER))), 1 => issuer().prop_map(Some), 1 => Just(None)],
        prop_oneof![
            8 => Just(Some(json!(AUDIENCE))),
            3 => select(audiences.to_vec()).prop_map(Some),
            1 => Just(None),
        ],
        prop_oneof![8 => Just(Some(json!(NOW + 900))), 3 => time().prop_map(Some), 1 => Just(None)],
        prop_oneof![8 => Just(None), 2 => time().prop_map(Some)],
        vec(other, 0..4),
    )
        .prop_map(|(iss, aud, exp, nbf, others)| {
            let mut members: Members = [("iss", iss), ("aud", aud), ("exp", exp), ("nbf", nbf)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect();
            for (name, value) in others {
                if members.iter().all(|(there, _)| there != name) {
                    members.push((name.to_owned(), value));
                }
            }
            members
        })
}

/// Header parameters that a verdict depends on.
fn deciding_parameters() -> impl Strategy<Value = Members> {
    let kid = select(vec![json!("EdDSA"), json!("RS256"), json!("?"), json!(7)]);
    let typ = select(vec![
        json!("JWT"),
        json!("AT+jwt"),
        json!("logout+jwt"),
        json!(null),
    ]);
    let critical = select(vec![("crit", json!(["exp"])), ("b64", json!(false))]);
    (
        prop_oneof![8 => Just("EdDSA"), 1 => Just("none"), 1 => Just("HS256")],
        prop_oneof![8 => Just(json!("EdDSA")), 1 => kid],
        prop_oneof![4 => Just(None), 1 => typ.prop_map(Some)],
        prop_oneof![9 => Just(None), 1 => critical.prop_map(Some)],
    )
        .prop_map(|(alg, kid, typ, critical)| {
            let mut members = vec![("alg".to_owned(), json!(alg)), ("kid".to_owned(), kid)];
            members.extend(typ.map(|typ| ("typ".to_owned(), typ)));
            members.extend(critical.map(|(name, value)| (name.to_owned(), value)));
            members
        })
}

/// Writes JSON another way: white space from `choices` wherever it may be, and now and then a character as an escape.
struct Writer<'a> {
    out: String,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    fn object(members: &[(String, Value)], choices: &'a [u8]) -> String {
        let mut writer = Writer {
            out: String::new(),
            choices: choices.iter().cycle(),
        };
        writer.gap();
        writer.members(members.iter().map(|(name, value)| (&**name, value)));
        writer.gap();
        writer.out
    }

    fn choice(&mut self) -> u8 {
        self.choices.next().copied().unwrap_or_default()
    }

    fn gap(&mut self) {
        let gaps = ["", "", "", " ", "\n", "\t", "\r\n", "  \n  "];
        let gap = gaps[usize::from(self.choice()) % gaps.len()];
        self.out.push_str(gap);
    }

    fn members<'v>(&mut self, members: impl Iterator<Item = (&'v str, &'v Value)>) {
        self.out.push('{');
        self.gap();
        for (index, (name, value)) in members.enumerate() {
            if index > 0 {
                self.out.push(',');
                self.gap();
            }
            self.string(name);
            self.gap();
            self.out.push(':');
            self.gap();
            self.value(value);
            self.gap();
        }
        self.out.push('}');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(elements) => {
                self.out.push('[');
                self.gap();
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                        self.gap();
                    }
                    self.value(element);
                    self.gap();
                }
                self.out.push(']');
            }
            Value::Object(members) => {
                self.members(members.iter().map(|(name, value)| (&**name, value)));
            }
            scalar => self.out.push_str(&scalar.to_string()),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            if self.choice().is_multiple_of(16) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    self.out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                let quoted = Value::from(character.to_string()).to_string();
                self.out.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
        self.out.push('"');
    }
}

fn plain(members: &[(String, Value)]) -> String {
    Writer::object(members, &[1])
}

// === what is signed is accepted ===

/// Tokens for the audience named like an algorithm are signed by it.
static ISSUING: LazyLock<(tempfile::TempDir, Issuer, Verifier)> = LazyLock::new(|| {
    let algorithms = [
        Algorithm::EdDSA,
        Algorithm::Ed25519,
        Algorithm::RS256,
        Algorithm::PS256,
    ];
    let audience = |algorithm: Algorithm| {
        let audience = Audience {
            algorithm: Some(algorithm),
            ..Audience::default()
        };
        (algorithm.name().to_owned(), audience)
    };
    let policy = RotationPolicy {
        algorithms: algorithms.to_vec(),
        ..RotationPolicy::default()
    };
    let mut settings = TokenSettings::new(ISSUER);
    settings.audiences = algorithms.into_iter().map(audience).collect();
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::open(
        FileKeyStore::open(folder.path()).unwrap(),
        policy,
        settings,
        ManualClock::new(NumericDate::from_seconds(NOW)),
        &Metrics::new().unwrap(),
    )
    .unwrap();
    let keys = JwkSet::parse(&issuer.published().jwks).unwrap();
    let names = algorithms.map(Algorithm::name);
    let verifier = verifier(keys, names, MAX_TOKEN_BYTES);
    (folder, issuer, verifier)
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_minted_is_accepted(
        audience in select(vec!["EdDSA", "Ed25519", "RS256", "PS256"]),
        subject in "\\PC{1,40}|.{1,20}",
        scope in ".{0,20}",
        roles in vec(any::<String>(), 0..3),
        email in any::<Option<String>>(),
        session in any::<Option<String>>(),
        ttl in 1_u64..=86_400,
    ) {
        let (_, issuer, verifier) = &*ISSUING;
        let mut grant = Grant::new(&subject, audience).scope(&scope).ttl(Duration::from_secs(ttl));
        grant = roles.iter().fold(grant, Grant::role);
        grant = email.iter().fold(grant, Grant::email);
        grant = session.iter().fold(grant, Grant::session);
        let minted = issuer.mint(&grant).unwrap();
        let token = verifier.try_verify::<Claims>(&minted.token).unwrap();
        prop_assert_eq!(token.subject(), &subject);
        prop_assert_eq!(token.audiences(), [audience]);
        prop_assert_eq!(token.kid(), Some(&*minted.kid));
        prop_assert_eq!(token.expires_at(), Some(minted.expires_at));
        let scopes: Vec<_> = scope.split_ascii_whitespace().collect();
        prop_assert_eq!(token.scopes(), scopes);
        prop_assert_eq!(token.roles(), roles);
        prop_assert_eq!(token.registered().sid.map(String::from), session);
        prop_assert_eq!(token.claim::<String>("email").unwrap(), email);
    }

    #[test]
    fn what_is_signed_is_accepted(
        algorithm in algorithm(),
        sub in any::<String>(),
        extra in unknown_members(),
    ) {
        let mut claims: Value = serde_json::from_str(CLAIMS).unwrap();
        claims["sub"] = json!(sub);
        for (name, value) in extra {
            claims[name] = value;
        }
        let token = sign(algorithm, &header(algorithm), &claims.to_string());
        let token = verify(&token).unwrap();
        prop_assert_eq!(token.subject(), sub);
        prop_assert_eq!(token.kid(), Some(algorithm.name()));
        prop_assert_eq!(token.payload(), claims.to_string());
    }
}

// === what is changed is refused ===

/// The token with one bit of its text turned; `None` where that leaves no text at all.
fn with_bit_turned(token: &str, bit: usize) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    String::from_utf8(bytes).ok()
}

#[test]
fn each_single_bit_of_a_token_counts() {
    let token = sign(Algorithm::EdDSA, HEADER, CLAIMS);
    assert!(verify(&token).is_ok());
    for bit in 0..token.len() * 8 {
        if let Some(changed) = with_bit_turned(&token, bit) {
            assert!(verify(&changed).is_err(), "bit {bit}: {changed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_bit_of_any_token_counts(
        algorithm in algorithm(),
        sub in any::<String>(),
        bit in any::<Index>(),
    ) {
        let mut claims: Value = serde_json::from_str(CLAIMS).unwrap();
        claims["sub"] = json!(sub);
        let token = sign(algorithm, &header(algorithm), &claims.to_string());
        prop_assert!(verify(&token).is_ok());
        if let Some(changed) = with_bit_turned(&token, bit.index(token.len() * 8)) {
            prop_assert!(verify(&changed).is_err(), "{} became {}", token, changed);
        }
    }

    /// Signed bytes changed by more than a bit, and signatures put to other messages.
    #[test]
    fn no_signature_fits_another_message(
        algorithm in algorithm(),
        one in any::<String>(),
        other in any::<String>(),
    ) {
        prop_assume!(one != other);
        let token = |sub: &str| {
            let mut claims: Value = serde_json::from_str(CLAIMS).unwrap();
            claims["sub"] = json!(sub);
            sign(algorithm, &header(algorithm), &claims.to_string())
        };
        let (one, other) = (token(&one), token(&other));
        let (message, _) = one.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let forged = format!("{message}.{signature}");
        prop_assert_eq!(outcome(&forged), Err("bad_signature"));
    }
}

// === how the JSON is laid out changes nothing ===

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn layout_does_not_change_the_verdict(
        claims in deciding_claims(),
        parameters in deciding_parameters(),
        more_claims in unknown_members(),
        more_parameters in unknown_members(),
        order in any::<u64>(),
        choices in vec(any::<u8>(), 1..64),
    ) {
        let reference = outcome(&sign(Algorithm::EdDSA, &plain(&parameters), &plain(&claims)));
        let shuffle = |members: Members, more: Members| {
            let mut all = [members, more].concat();
            // Any order will do, as long as the seed decides it.
            let rank = |name: &str| name.bytes().fold(order, |rank, byte| {
                (rank ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
            });
            all.sort_by_key(|(name, _)| rank(name));
            Writer::object(&all, &choices)
        };
        let parameters = shuffle(parameters, more_parameters);
        let claims = shuffle(claims, more_claims);
        let token = sign(Algorithm::EdDSA, &parameters, &claims);
        prop_assert_eq!(outcome(&token), reference, "{} {}", parameters, claims);
    }
}
