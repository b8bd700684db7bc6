//! Every known attack on JWTs, JWS and JWKS, and the test that proves the answer to it: one row each.
//!
//! An attack that cannot arise here, or whose answer is a decision, has its row in `docs/threat-model.md` instead. The two
//! tables together have each of the 118 attacks exactly once:
//! `git grep -cE '^(    A\(|\| )[0-9]+(,| \|)' tests/attacks.rs docs/threat-model.md`.
// Helpers may panic as tests do; clippy takes them for tests by this.
#![cfg(test)]
#![cfg(feature = "server")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[path = "support/folder.rs"]
mod folder;
#[path = "support/mint.rs"]
mod mint;
#[path = "support/ports.rs"]
#[allow(dead_code, unreachable_pub)]
mod ports;
#[path = "support/waiting.rs"]
#[allow(dead_code, unreachable_pub)]
mod waiting;

#[path = "attacks/algorithm.rs"]
mod algorithm;
#[path = "attacks/claims.rs"]
mod claims;
#[path = "attacks/framing.rs"]
mod framing;
#[path = "attacks/ground.rs"]
mod ground;
#[path = "attacks/header.rs"]
mod header;
#[path = "attacks/issuer.rs"]
mod issuer;
#[path = "attacks/json.rs"]
mod json;
#[path = "attacks/key_set.rs"]
mod key_set;
#[path = "attacks/primitives.rs"]
mod primitives;
#[path = "attacks/rotation.rs"]
mod rotation;
#[path = "attacks/surroundings.rs"]
mod surroundings;
#[path = "attacks/times.rs"]
mod times;

/// Its number, its name, and the tests that answer it: `file::test` below `tests/`.
struct A(u32, &'static str, &'static str);

#[rustfmt::skip]
const ATTACKS: &[A] = &[
    // Algorithm and key binding
    A(1, "alg none", "attacks/algorithm.rs::none_is_refused_in_every_spelling_before_any_key_is_asked_for"),
    A(2, "empty signature", "attacks/algorithm.rs::an_empty_signature_is_no_signature"),
    A(3, "signature dropped with its dot", "attacks/algorithm.rs::a_token_without_its_third_segment_is_malformed"),
    A(4, "RS to HS confusion", "attacks/algorithm.rs::an_hmac_keyed_with_anything_public_is_refused"),
    A(5, "HMAC with an empty key", "attacks/algorithm.rs::an_hmac_keyed_with_anything_public_is_refused"),
    A(6, "HMAC with an Ed25519 x or an EC point", "attacks/algorithm.rs::an_hmac_keyed_with_anything_public_is_refused"),
    A(7, "oct key in a fetched set", "attacks/algorithm.rs::a_symmetric_key_in_a_set_is_never_a_key"),
    A(8, "JWK alg is not the header's", "attacks/algorithm.rs::a_key_for_one_algorithm_refuses_its_siblings"),
    A(9, "header RS256, signature PS256", "attacks/algorithm.rs::a_signature_by_another_padding_or_hash_is_wrong"),
    A(10, "curve and alg disagree", "attacks/algorithm.rs::a_key_of_another_curve_is_no_candidate"),
    A(11, "alg outside the allow-list", "attacks/algorithm.rs::an_algorithm_outside_the_allow_list_is_refused_however_good_the_signature"),
    A(12, "alg of the wrong type, missing, in another case", "attacks/algorithm.rs::an_alg_that_is_no_registered_string_is_refused_and_none_is_assumed"),
    A(13, "allow-list of everything by default", "attacks/algorithm.rs::the_default_allow_list_is_short_and_an_empty_one_does_not_build"),
    A(14, "one kid for several keys", "attacks/algorithm.rs::a_kid_selects_its_own_key_and_no_other_is_tried"),
    A(15, "EdDSA, Ed25519, Ed448", "attacks/algorithm.rs::ed25519_by_its_other_name_passes_only_where_that_is_allowed"),
    // Signature primitives
    A(16, "Ed25519 S + L", "attacks/primitives.rs::an_s_beyond_the_order_is_refused"),
    A(17, "Ed25519 key of small order", "attacks/primitives.rs::a_key_of_small_order_is_refused"),
    A(18, "Ed25519 key not canonical", "attacks/primitives.rs::an_ed25519_key_has_one_spelling"),
    A(19, "Ed25519 lengths", "attacks/primitives.rs::ed25519_keys_and_signatures_have_exactly_their_length"),
    A(20, "double public key oracle", "attacks/primitives.rs::a_signing_key_derives_its_public_half_itself"),
    A(21, "psychic signatures", "attacks/primitives.rs::ecdsa_signatures_of_zeros_and_beyond_the_order_are_refused"),
    A(22, "ECDSA in DER, short, long", "attacks/primitives.rs::an_ecdsa_signature_is_exactly_two_numbers_of_the_curves_size"),
    A(23, "ECDSA high S", "attacks/primitives.rs::a_high_s_passes_since_jws_has_no_rule_against_it"),
    A(24, "EC point off its curve", "attacks/primitives.rs::a_point_off_its_curve_is_no_key"),
    A(25, "P-521 coordinate without its zero", "attacks/primitives.rs::a_p521_coordinate_without_its_leading_zero_is_refused"),
    A(26, "RSA signature shorter, longer, beyond n", "attacks/primitives.rs::an_rsa_signature_is_as_long_as_the_modulus_and_below_it"),
    A(27, "PKCS#1 v1.5 padding variants", "wycheproof.rs::rsa_pkcs1_signatures_are_compared_whole"),
    A(28, "RSA under 2048 bits", "attacks/primitives.rs::rsa_moduli_under_2048_bits_are_no_keys"),
    A(29, "RSA exponent 1 or even", "attacks/primitives.rs::rsa_exponents_of_one_and_even_numbers_are_no_keys"),
    A(30, "giant modulus or exponent", "attacks/primitives.rs::giant_rsa_numbers_are_no_keys"),
    A(32, "PSS salt length and MGF hash", "wycheproof.rs::rsa_pss_signatures_pass_with_the_salt_and_mask_of_their_hash_alone"),
    A(35, "error text leaks the expected signature", "attacks/primitives.rs::a_refusal_never_says_what_would_have_been_right"),
    A(36, "RSA signing timing", "attacks/primitives.rs::the_build_has_no_rsa_implementation_that_leaks_through_timing"),
    // Token framing and JSON
    A(37, "padding, other alphabet, white space, Bearer", "attacks/framing.rs::framing_has_one_spelling"),
    A(38, "non-zero unused bits", "attacks/framing.rs::unused_bits_in_a_last_character_are_refused"),
    A(39, "segment length 1 mod 4", "attacks/framing.rs::a_segment_of_one_character_beyond_whole_groups_is_refused"),
    A(40, "more segments, dots without end", "attacks/framing.rs::a_token_has_three_segments_and_not_one_dot_more"),
    A(41, "JSON serialization, polyglot", "attacks/framing.rs::json_serializations_and_polyglots_are_no_tokens"),
    A(42, "JWE", "attacks/framing.rs::an_encrypted_token_is_no_token"),
    A(43, "token over the limit", "attacks/framing.rs::a_token_over_the_limit_is_refused_before_it_is_decoded"),
    A(44, "deep nesting", "attacks/json.rs::nesting_is_bounded_at_32"),
    A(45, "huge numbers and lists", "attacks/json.rs::huge_numbers_and_lists_are_read_in_one_pass"),
    A(46, "duplicate header members", "attacks/json.rs::a_header_parameter_twice_is_refused"),
    A(47, "duplicate claims", "attacks/json.rs::a_claim_twice_is_refused_at_every_depth_and_through_escapes"),
    A(48, "no object, BOM, trailing bytes, bad UTF-8", "attacks/json.rs::what_is_no_strict_json_object_is_refused"),
    A(49, "embedded NUL", "attacks/json.rs::a_nul_is_a_character_like_any_other"),
    A(50, "sub folded or normalised", "attacks/json.rs::subjects_come_through_as_signed"),
    A(51, "signature over re-encoded JSON", "attacks/json.rs::the_bytes_received_are_what_is_verified"),
    A(52, "claims read before the signature passes", "attacks/json.rs::a_forged_token_is_refused_for_its_signature_whatever_it_claims"),
    // Header parameters
    A(53, "crit with an unknown name", "attacks/header.rs::crit_is_refused_in_every_shape_since_no_extension_is_understood"),
    A(54, "crit of any other shape", "attacks/header.rs::crit_is_refused_in_every_shape_since_no_extension_is_understood"),
    A(55, "b64", "attacks/header.rs::an_unencoded_payload_is_refused_announced_or_not"),
    A(56, "jwk in the header", "attacks/header.rs::a_key_in_the_header_is_ignored"),
    A(57, "jku, x5u", "remote/bounds.rs::headers_that_point_elsewhere_cause_0_connections_and_0_acceptances"),
    A(58, "x5c in the header", "attacks/header.rs::a_certificate_chain_in_the_header_is_ignored"),
    A(59, "kid as path, SQL, shell, URL", "attacks/header.rs::a_kid_is_a_name_and_nothing_else"),
    A(60, "kid of the wrong type, huge, with control characters", "attacks/header.rs::a_kid_that_is_no_string_is_malformed_and_a_long_one_costs_no_more_than_its_token audit_line.rs::a_hostile_kid_is_written_on_one_line_escaped_and_cut"),
    A(61, "kid compared with folding or trimming", "attacks/header.rs::kids_compare_exactly"),
    A(62, "zip", "attacks/header.rs::zip_is_never_acted_on"),
    A(63, "PBES2 cost", "attacks/header.rs::no_algorithm_costs_what_its_sender_chooses"),
    A(64, "cross-JWT confusion", "attacks/header.rs::another_kind_of_token_is_no_access_token"),
    // Claims
    A(65, "exp is now", "attacks/times.rs::a_token_ends_on_its_exp_and_not_a_moment_later"),
    A(66, "dates of the wrong type", "attacks/times.rs::a_date_that_is_no_number_is_refused_and_never_absent"),
    A(67, "dates beyond every range", "attacks/times.rs::no_date_wraps_or_becomes_for_ever_by_accident"),
    A(68, "exp missing", "attacks/times.rs::exp_is_required_unless_the_verifier_is_told_otherwise"),
    A(69, "nbf in the future", "attacks/times.rs::a_token_before_its_nbf_is_refused"),
    A(70, "iat in the future", "attacks/times.rs::an_iat_in_the_future_is_no_reason_by_itself"),
    A(71, "leeway negative or not finite", "attacks/times.rs::a_leeway_that_would_be_a_longer_life_is_refused_before_the_first_token"),
    A(72, "iss by prefix, suffix, case, slash", "attacks/claims.rs::issuers_compare_as_whole_strings"),
    A(73, "iss as an array", "attacks/claims.rs::an_issuer_that_is_no_string_is_unknown"),
    A(74, "aud of every shape", "attacks/claims.rs::an_accepted_audience_is_a_member_compared_whole"),
    A(75, "aud with scheme or slash stripped", "attacks/claims.rs::an_accepted_audience_is_a_member_compared_whole"),
    A(76, "claims matched by regex", "attacks/claims.rs::settings_are_strings_and_never_patterns"),
    A(77, "issuer mix-up", "attacks/claims.rs::a_key_of_one_issuer_signs_for_no_other"),
    A(78, "tenant template", "attacks/claims.rs::a_tenant_template_is_a_string_like_any_other"),
    A(80, "cached verdict outlives exp, its key or its text", "token_cache.rs::a_removed_key_ends_its_cached_tokens_and_a_kept_one_does_not"),
    A(81, "signer or client not checked", "attacks/claims.rs::client_id_azp_and_signer_are_there_for_policy"),
    // Key sets
    A(82, "one bad key spoils the set", "attacks/key_set.rs::a_bad_key_spoils_no_other_and_is_counted"),
    A(83, "alg, use, kid missing", "attacks/key_set.rs::a_key_without_alg_use_and_kid_serves_by_its_type"),
    A(84, "key for another purpose", "attacks/key_set.rs::a_key_for_another_purpose_is_no_candidate"),
    A(85, "duplicate kid", "attacks/key_set.rs::two_keys_under_one_kid_are_ambiguous_unless_alg_tells_them_apart"),
    A(86, "private members in a published set", "attacks/key_set.rs::private_members_in_a_set_are_neither_used_nor_shown"),
    A(87, "what is no key set", "attacks/key_set.rs::what_is_no_key_set_is_an_error"),
    A(88, "leading zeros and padding in n", "attacks/key_set.rs::padding_and_leading_zeros_of_a_jwks_numbers_do_not_matter"),
    A(89, "set of 50 MB or 10^5 keys", "attacks/key_set.rs::a_set_of_more_keys_than_the_limit_is_refused remote/bounds.rs::oversize_answers_leave_the_snapshot_unchanged"),
    A(90, "kid with / + = and UTF-8", "attacks/key_set.rs::kids_are_opaque"),
    // Key sets, transport and cache
    A(91, "unknown-kid flood", "remote/unknown_kids.rs::unknown_kid_flood_costs_one_fetch_per_cool_down"),
    A(92, "cool-down bypassed by failure", "remote/unknown_kids.rs::cool_down_counts_failed_attempts"),
    A(93, "thundering herd", "remote/promises.rs::first_tokens_1000_at_once_cost_exactly_1_request"),
    A(94, "redirects", "remote/bounds.rs::redirects_are_not_followed"),
    A(95, "key set URL on a link-local address", "attacks/surroundings.rs::key_sets_come_over_https_or_from_this_machine"),
    A(96, "slow loris, endless body", "remote/bounds.rs::slow_answers_end_at_the_deadline remote/bounds.rs::oversize_answers_leave_the_snapshot_unchanged"),
    A(97, "gzip bomb", "remote/bounds.rs::compressed_answers_are_never_inflated"),
    A(98, "errors after a good fetch", "remote/refresh.rs::an_issuer_down_for_59_min_fails_0_tokens_and_past_60_min_all"),
    A(99, "HTML with status 200", "remote/bounds.rs::bad_documents_leave_the_snapshot_unchanged"),
    A(100, "Cache-Control of every kind", "remote/refresh.rs::freshness_is_clamped"),
    A(101, "304 with and without a prior", "remote/refresh.rs::not_modified_keeps_the_set"),
    A(102, "key removed from the set", "remote/removal.rs::a_removed_key_is_refused_at_once"),
    A(103, "flapping sets", "remote/refresh.rs::flapping_sets_are_followed_at_their_own_pace"),
    A(104, "rotation race", "remote/unknown_kids.rs::an_unannounced_key_is_found_by_one_refetch"),
    A(106, "wall clock jumps", "attacks/surroundings.rs::a_jumping_wall_clock_moves_claims_and_no_fetch"),
    A(107, "kid with new key material", "attacks/key_set.rs::a_kid_with_new_material_is_another_key remote/removal.rs::a_kid_with_new_material_replaces_the_key"),
    A(108, "discovery that the attacker controls", "remote/issuers.rs::metadata_of_another_issuer_is_refused"),
    A(110, "labels from tokens", "attacks/surroundings.rs::no_token_can_make_a_time_series"),
    // Issuer
    A(111, "key signs before or after it is published", "attacks/rotation.rs::whoever_holds_a_fresh_set_can_verify_every_living_token"),
    A(112, "kid that is no thumbprint", "attacks/issuer.rs::a_kid_is_the_thumbprint_of_its_key_and_stays_so"),
    A(113, "crash between write and publish, two replicas", "attacks/issuer.rs::a_crash_before_the_ring_names_a_key_leaves_a_store_that_starts attacks/issuer.rs::replicas_on_one_store_publish_one_set_and_sign_with_one_key"),
    A(114, "key file permissions, keys in logs", "attacks/issuer.rs::private_keys_are_the_owners_alone_and_never_shown"),
    A(115, "token without exp, iat, jti, typ", "attacks/issuer.rs::every_token_has_its_times_its_id_and_its_type"),
    A(116, "claims injection", "attacks/issuer.rs::no_caller_can_set_a_claim_that_is_the_issuers"),
    A(118, "JWKS endpoint", "attacks/issuer.rs::the_key_set_is_public_halves_only_and_read_only"),
];

/// The attacks there are.
const LAST: u32 = 118;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The numbers in the rows of the threat model.
fn decided() -> Vec<u32> {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let number = |line: &str| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok();
    text.lines().filter_map(number).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are the report")]
fn every_attack_has_one_answer() {
    let tested: Vec<u32> = ATTACKS.iter().map(|A(number, ..)| *number).collect();
    let decided = decided();
    println!(
        "attacks: {} lines, {} by test, {} by decision",
        tested.len() + decided.len(),
        tested.len(),
        decided.len()
    );
    let mut all = [tested, decided].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=LAST).collect::<Vec<_>>());
}

#[test]
fn every_named_test_is_there_and_every_attack_test_is_named() {
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for A(number, name, tests) in ATTACKS {
        assert!(!tests.is_empty(), "{number} {name}");
        for test in tests.split(' ') {
            let (file, test) = test.split_once("::").unwrap();
            named.entry(file).or_default().insert(test);
        }
    }
    for (file, tests) in &named {
        let text = fs::read_to_string(root().join("tests").join(file));
        let text = text.unwrap_or_else(|error| panic!("tests/{file}: {error}"));
        let there = tests_in(&text);
        let missing: Vec<_> = tests.difference(&there).collect();
        assert!(missing.is_empty(), "tests/{file} has no {missing:?}");
        if file.starts_with("attacks/") {
            let unnamed: Vec<_> = there.difference(tests).collect();
            assert!(
                unnamed.is_empty(),
                "tests/{file}: no attack is answered by {unnamed:?}"
            );
        }
    }
}

/// The functions under a `#[test]` of any kind.
fn tests_in(text: &str) -> BTreeSet<&str> {
    let mut is_test = false;
    let mut tests = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && is_test
        {
            tests.insert(rest.split_once('(').map_or(rest, |(name, _)| name));
            is_test = false;
        }
    }
    tests
}
