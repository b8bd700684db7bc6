//! Every input that fuzzing has kept, put once more through what found it: no fuzzer is needed for that.

#![expect(
    clippy::unwrap_used,
    reason = "a corpus that cannot be read ends the test"
)]

use std::path::Path;

#[expect(
    unreachable_pub,
    reason = "this file is the library of the fuzz workspace, where its targets call it"
)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Runs `target` on each file of its corpus.
fn replay(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let inputs = std::fs::read_dir(folder.join(name)).unwrap();
    let mut count = 0;
    for input in inputs {
        let path = input.unwrap().path();
        // Shown only when the test fails: the last one is the culprit.
        eprintln!("{}", path.display());
        target(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{name} has no inputs");
}

#[test]
fn compact() {
    replay("compact", targets::compact);
}

#[test]
fn claims() {
    replay("claims", targets::claims);
}

#[test]
fn jwks() {
    replay("jwks", targets::jwks);
}

#[test]
fn json_vs_serde() {
    replay("json_vs_serde", targets::json_vs_serde);
}

#[test]
fn verify() {
    replay("verify", targets::verify);
}

#[test]
fn differential() {
    replay("differential", targets::differential);
}

#[test]
fn ed25519() {
    replay("ed25519", targets::ed25519);
}

#[test]
fn status_list() {
    replay("status_list", targets::status_list);
}

#[test]
fn rsa() {
    replay("rsa", targets::rsa);
}
