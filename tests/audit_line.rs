//! What a hostile token leaves behind in the audit trail. Alone in its process: tracing decides for all threads at once whether
//! anybody listens to an event.
// Helpers may panic as tests do; clippy takes them for tests by this.
#![cfg(test)]
#![cfg(feature = "server")]

use std::io;
use std::sync::mpsc::{Sender, channel};

use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, Verifier};

#[path = "support/mint.rs"]
mod mint;

/// The audit lines that `action` caused.
fn lines_of(action: impl FnOnce()) -> Vec<String> {
    let (sender, lines) = channel();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Line(sender.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, action);
    let is_audit = |line: &String| line.contains(keywheel::audit::TARGET);
    lines.into_iter().filter(is_audit).collect()
}

/// One event; tracing's formatter writes it at once.
struct Line(Sender<String>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(line).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_hostile_kid_is_written_on_one_line_escaped_and_cut() {
    let key = mint::key(Algorithm::EdDSA, "ed");
    let verifier = Verifier::builder()
        .issuer("https://issuer.example")
        .audience("api")
        .static_keys(JwkSet::parse(mint::jwks(&[&key]).as_bytes()).unwrap())
        .clock(ManualClock::new(NumericDate::from_seconds(1_790_000_000)))
        .build()
        .unwrap();
    let kid = format!("\\n{{\\u001b[31m\\\"event\\\":\\\"{}", "x".repeat(4096));
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
    let claims = r#"{"iss":"https://issuer.example","sub":"nobodys-subject"}"#;
    let well_signed = mint::token(&key, &header, claims);
    let forged = mint::compact(&header, claims, [7; 64]);
    let lines = lines_of(|| {
        for token in [well_signed, forged] {
            let refused = verifier.try_verify::<Claims>(&token);
            assert_eq!(refused.unwrap_err().code(), "unknown_key");
        }
    });
    assert_eq!(lines.len(), 2, "one line for one refusal: {lines:?}");
    for line in lines {
        assert!(line.len() < 1024, "{} bytes", line.len());
        assert!(line.contains(r#"\n{\u001b[31m\"event\":\"xxx"#), "{line}");
        // Neither the token, nor what nobody has signed as far as we know.
        assert!(!line.contains(&mint::base64url(claims)), "{line}");
        assert!(!line.contains("nobodys-subject"), "{line}");
    }
}
