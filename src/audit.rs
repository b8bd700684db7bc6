//! The audit trail: one JSON line per event on the `keywheel::audit` tracing target.
//!
//! Strings from outside are escaped and cut; failures over a rate per reason are counted and summed into one line, so that a
//! flood cannot fill a disk. Never holds a token, a cookie or a key.

mod recent;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::Clock;
use crate::jose::NumericDate;
use crate::metrics::{AuditCounts, Metrics};
use crate::printable;
use crate::verify::Reason;

pub use recent::{Failures, LINES, MINUTES, Recent};

/// The tracing target of every audit line.
pub const TARGET: &str = "keywheel::audit";

/// Longest string from outside that a line shows, in bytes.
const MAX_STRING_BYTES: usize = 256;

/// Failures written per second and reason unless set otherwise.
pub(crate) const DEFAULT_RATE: u32 = 100;

/// What happened. The names are what people search for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Event {
    /// A token was refused.
    VerificationFailed,
    /// Events of this kind were not written, being too many.
    Suppressed,
    /// A new key was put into the published set.
    KeyAnnounced,
    /// A key began to sign.
    KeySigning,
    /// A key ceased to sign and stays published.
    KeyRetired,
    /// A key left the published set.
    KeyRemoved,
    /// A key left the published set although tokens of it may live.
    KeyRevoked,
    /// Tokens of an audience are signed by another algorithm.
    AudienceMigrated,
    /// The key set, or private keys, were given out on the command line.
    KeysExported,
    /// Private keys were sealed anew.
    KeysRewrapped,
    /// An operator overrode a rule that protects verifiers.
    Forced,
    /// A token was minted on the command line.
    TokenMinted,
    /// Somebody made an account.
    SignedUp,
    /// Somebody signed in.
    SignedIn,
    /// Somebody did not get in.
    SignInFailed,
    /// Somebody signed out.
    SignedOut,
    /// A session was ended from another one.
    SessionRevoked,
    /// Somebody changed their password.
    PasswordChanged,
    /// An operator changed an account.
    UserChanged,
    /// Lines before this one could not be written.
    LinesLost,
}

// === impl Event ===

impl Event {
    /// Every event, in the order of their numbers.
    pub const ALL: [Event; 20] = [
        Event::VerificationFailed,
        Event::Suppressed,
        Event::KeyAnnounced,
        Event::KeySigning,
        Event::KeyRetired,
        Event::KeyRemoved,
        Event::KeyRevoked,
        Event::AudienceMigrated,
        Event::KeysExported,
        Event::KeysRewrapped,
        Event::Forced,
        Event::TokenMinted,
        Event::SignedUp,
        Event::SignedIn,
        Event::SignInFailed,
        Event::SignedOut,
        Event::SessionRevoked,
        Event::PasswordChanged,
        Event::UserChanged,
        Event::LinesLost,
    ];

    /// The value of the field `event`.
    pub const fn name(self) -> &'static str {
        match self {
            Event::VerificationFailed => "verification_failed",
            Event::Suppressed => "suppressed",
            Event::KeyAnnounced => "key_announced",
            Event::KeySigning => "key_signing",
            Event::KeyRetired => "key_retired",
            Event::KeyRemoved => "key_removed",
            Event::KeyRevoked => "key_revoked",
            Event::AudienceMigrated => "audience_migrated",
            Event::KeysExported => "keys_exported",
            Event::KeysRewrapped => "keys_rewrapped",
            Event::Forced => "forced",
            Event::TokenMinted => "token_minted",
            Event::SignedUp => "signed_up",
            Event::SignedIn => "signed_in",
            Event::SignInFailed => "sign_in_failed",
            Event::SignedOut => "signed_out",
            Event::SessionRevoked => "session_revoked",
            Event::PasswordChanged => "password_changed",
            Event::UserChanged => "user_changed",
            Event::LinesLost => "lines_lost",
        }
    }
}

/// What one line says besides its time; absent fields are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// A reject code, or the cause of a key's transition.
    pub reason: Option<&'a str>,
    /// What more there is to say, in words.
    pub detail: Option<&'a str>,
    /// A configured issuer.
    pub issuer: Option<&'a str>,
    /// Key identifier, as the token or the ring has it.
    pub kid: Option<&'a str>,
    /// Subject; only ever from an authentic token.
    pub sub: Option<&'a str>,
    /// Token identifier; only ever from an authentic token.
    pub jti: Option<&'a str>,
    /// Session identifier; only ever from an authentic token.
    pub sid: Option<&'a str>,
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// The route's pattern, not the path.
    pub route: Option<&'a str>,
    /// The request, as the log and the answer name it.
    pub request_id: Option<&'a str>,
}

/// Writes audit lines, and sums what would be too many.
pub struct AuditLog {
    clock: Arc<dyn Clock>,
    rate: u32,
    windows: [Window; Reason::ALL.len()],
    /// Of failed sign-ins, whatever their reason.
    sign_ins: Window,
    counts: Option<AuditCounts>,
    recent: Option<Arc<Recent>>,
}

/// One second's failures of one reason.
#[derive(Default)]
struct Window {
    /// The second in the upper half, the failures in it in the lower.
    state: AtomicU64,
    suppressed: AtomicU64,
}

// === impl AuditLog ===

impl AuditLog {
    /// Writes up to `rate` failures a second and reason.
    pub fn new(clock: Arc<dyn Clock>, rate: u32) -> Self {
        AuditLog {
            clock,
            rate,
            windows: Default::default(),
            sign_ins: Window::default(),
            counts: None,
            recent: None,
        }
    }

    /// From now on also keeps what it writes, and counts what it does not, in `recent`.
    pub fn remembering(self, recent: Arc<Recent>) -> Self {
        AuditLog {
            recent: Some(recent),
            ..self
        }
    }

    /// Counts events and lines into these metrics.
    pub fn counted(mut self, metrics: &Metrics) -> Self {
        self.counts = Some(metrics.audit_counts());
        self
    }

    /// Writes a line now, whatever the rate. Ask [`admits`](Self::admits) first for what can come in floods.
    pub fn write(&self, event: Event, fields: &Fields<'_>) {
        if let Some(counts) = &self.counts {
            counts.written(event);
        }
        let Some(recent) = &self.recent else {
            tracing::info!(target: TARGET, "{}", line(self.clock.now(), event, fields));
            return;
        };
        let line = line(self.clock.now(), event, fields);
        tracing::info!(target: TARGET, "{line}");
        recent.keep(line);
    }

    /// As [`write`](Self::write), unless too many of these have been written in this second: then it is counted, and summed up
    /// with the next that may.
    pub fn write_limited(&self, event: Event, fields: &Fields<'_>) {
        if let (Event::SignInFailed, Some(recent)) = (event, &self.recent) {
            recent.sign_in_failed(fields.reason, self.clock.monotonic());
        }
        if self.open(&self.sign_ins, event, event.name()) {
            self.write(event, fields);
        }
    }

    /// Whether a refusal for this reason may be written now; if not, it is counted, and summed up with the next that may.
    pub fn admits(&self, reason: Reason) -> bool {
        if let Some(recent) = &self.recent {
            recent.refused(reason, self.clock.monotonic());
        }
        let window = &self.windows[reason as usize];
        self.open(window, Event::VerificationFailed, reason.code())
    }

    fn open(&self, window: &Window, event: Event, name: &str) -> bool {
        if !window.admit(self.clock.monotonic(), self.rate) {
            if let Some(counts) = &self.counts {
                counts.suppressed(event);
            }
            return false;
        }
        // Relaxed: a count, which orders nothing.
        let suppressed = window.suppressed.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            let detail = format!("{suppressed} more were not written");
            let fields = Fields {
                reason: Some(name),
                detail: Some(&detail),
                ..Fields::default()
            };
            self.write(Event::Suppressed, &fields);
        }
        true
    }
}

// === impl Window ===

impl Window {
    fn admit(&self, now: Duration, rate: u32) -> bool {
        let second = now.as_secs() & 0xffff_ffff;
        let mut admitted = false;
        // Relaxed: the counter stands alone; a failure too many or too few in a second is no harm.
        let _ = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                let count = if state >> 32 == second {
                    state & 0xffff_ffff
                } else {
                    0
                };
                admitted = count < u64::from(rate);
                Some(second << 32 | count.saturating_add(1).min(0xffff_ffff))
            });
        if !admitted {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

/// One line as it is written, in the order people read it.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    #[serde(flatten)]
    texts: Texts<'a>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Texts<'a>(#[serde(serialize_with = "as_map")] [(&'static str, Option<Cow<'a, str>>); 10]);

fn as_map<S: serde::Serializer>(
    texts: &[(&'static str, Option<Cow<'_, str>>); 10],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let present = texts
        .iter()
        .filter_map(|(name, text)| Some((name, text.as_ref()?)));
    serializer.collect_map(present)
}

fn line(now: NumericDate, event: Event, fields: &Fields<'_>) -> String {
    let ip = fields.ip.map(|ip| ip.to_string());
    let line = Line {
        time: rfc3339(now),
        event: event.name(),
        texts: Texts([
            ("reason", fields.reason.map(cut)),
            ("detail", fields.detail.map(cut)),
            ("issuer", fields.issuer.map(cut)),
            ("kid", fields.kid.map(cut)),
            ("sub", fields.sub.map(cut)),
            ("jti", fields.jti.map(cut)),
            ("sid", fields.sid.map(cut)),
            ("ip", ip.map(Cow::Owned)),
            ("route", fields.route.map(cut)),
            ("request_id", fields.request_id.map(cut)),
        ]),
    };
    // Strings under string keys: nothing that JSON could not hold.
    let line = serde_json::to_string(&line).unwrap_or_default();
    match printable::json(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(escaped) => escaped,
    }
}

/// The line that tells of `count` lines that were lost.
#[cfg(feature = "server")]
pub(crate) fn lines_lost(now: NumericDate, count: u64) -> String {
    let detail = format!("{count} lines of the log could not be written");
    let fields = Fields {
        detail: Some(&detail),
        ..Fields::default()
    };
    line(now, Event::LinesLost, &fields)
}

/// RFC 3339 with milliseconds, UTC.
pub(crate) fn rfc3339(now: NumericDate) -> String {
    let since_epoch = now.since(NumericDate::EPOCH);
    match SystemTime::UNIX_EPOCH.checked_add(since_epoch) {
        Some(time) if since_epoch.as_secs() < 253_402_300_800 => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        // Beyond the year 9999 RFC 3339 has no words.
        _ => now.to_string(),
    }
}

/// At most [`MAX_STRING_BYTES`], cut between characters.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_STRING_BYTES {
        return Cow::Borrowed(text);
    }
    let end = (0..=MAX_STRING_BYTES)
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_strings_are_escaped_and_cut() {
        let hostile = format!("a\n\"}}\u{1b}[31m\u{202e}\u{9b}{}", "é".repeat(1000));
        let fields = Fields {
            kid: Some(&hostile),
            ..Fields::default()
        };
        let line = line(
            NumericDate::from_seconds(1_790_000_000),
            Event::VerificationFailed,
            &fields,
        );
        assert!(!line.chars().any(printable::is_hazard), "{line}");
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(parsed["kid"].as_str().unwrap().len() <= MAX_STRING_BYTES + 3);
        assert_eq!(parsed["time"], "2026-09-21T14:13:20.000Z");
        assert_eq!(parsed["event"], "verification_failed");
    }

    #[test]
    fn a_flood_is_admitted_up_to_the_rate_each_second() {
        let window = Window::default();
        let admitted = |second| {
            (0..1000)
                .filter(|_| window.admit(Duration::from_secs(second), 100))
                .count()
        };
        assert_eq!(admitted(5), 100);
        assert_eq!(admitted(6), 100);
        assert_eq!(window.suppressed.load(Ordering::Relaxed), 1800);
    }
}
