//! The project's own vectors, which are always there: every case with the exact reason.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::tally::Tally;
use crate::whole_token::{Case, ask_command_line};
use crate::{corpus, signature_layer};

fn vectors(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}

#[test]
fn our_whole_tokens_get_their_exact_reasons_from_the_library_and_the_command_line() {
    let path = vectors("claims.jsonl");
    let cases = corpus::lines::<Case>(&corpus::read(&path));
    let answers = ask_command_line(&path, &cases);
    let mut tally = Tally::new("vectors claims", &[]);
    for case in &cases {
        let ours = case.by_library();
        assert_eq!(case.by_command_line(&answers), ours, "{}", case.id);
        let expected = case.reason.as_deref().unwrap_or(&case.expect);
        tally.case(&case.id, expected, &ours, false);
    }
    tally.finish(&[]);
}

#[test]
fn our_signatures_get_their_exact_reasons() {
    #[derive(Deserialize)]
    struct Signature {
        id: String,
        jwks: Box<RawValue>,
        token: String,
        expect: String,
        reason: Option<String>,
    }

    let mut tally = Tally::new("vectors jws", &[]);
    for case in corpus::lines::<Signature>(&corpus::read(&vectors("jws.jsonl"))) {
        let ours = signature_layer::verdict(&case.token, case.jwks.get());
        let expected = case.reason.as_deref().unwrap_or(&case.expect);
        tally.case(&case.id, expected, ours, false);
    }
    tally.finish(&[]);
}
