//! Several tokens of which one was meant: cookies of one name, some of them old or set by somebody else.

use super::conclusion::RequestContext;
use super::look::{Accepted, Refusal};
use super::reject::Reject;
use super::verified::Token;
use super::verifier::Verifier;

// === impl Verifier ===

impl Verifier {
    /// As [`verify_and_allow`](Self::verify_and_allow), of the token among these that verifies: the one that was issued last, where
    /// several of one subject do. Tokens of two subjects are no credentials: whose they are cannot be told. One outcome is counted.
    pub(crate) async fn verify_any_and_allow(
        &self,
        tokens: &[&[u8]],
        context: RequestContext<'_>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Result<Token, Reject> {
        let mut best: Option<(&[u8], Accepted<'_>)> = None;
        let mut refused: Option<(&[u8], Refusal<'_>)> = None;
        for &token in tokens {
            match (self.look(token).await, &best) {
                (Ok(accepted), Some((_, other)))
                    if !is_same_subject(&accepted.token, &other.token) =>
                {
                    let reject = Reject::MissingToken;
                    self.no_credentials(&reject, context);
                    return Err(reject);
                }
                (Ok(accepted), Some((_, other)))
                    if other.token.issued_at() >= accepted.token.issued_at() => {}
                (Ok(accepted), _) => best = Some((token, accepted)),
                // One that could not be judged may be the good one: that is worth another try, and a refusal is not.
                (Err(refusal), _) => match &refused {
                    Some((_, other)) if !is_unjudged(&refusal) || is_unjudged(other) => {}
                    _ => refused = Some((token, refusal)),
                },
            }
        }
        let (token, outcome) = match (best, refused) {
            (Some((token, accepted)), _) => (token, Ok(accepted)),
            (None, Some((token, refusal))) => (token, Err(refusal)),
            (None, None) => return Err(Reject::MissingToken),
        };
        self.conclude_allowed(token, outcome, || context, allow)
    }
}

fn is_same_subject(one: &Token, other: &Token) -> bool {
    (one.issuer(), one.subject()) == (other.issuer(), other.subject())
}

fn is_unjudged(refusal: &Refusal<'_>) -> bool {
    matches!(
        refusal.reject,
        Reject::KeysUnavailable { .. } | Reject::StatusUnavailable { .. }
    )
}
