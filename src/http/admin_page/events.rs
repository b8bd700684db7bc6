//! The last lines of the audit trail.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::html::Html;
use super::words::short;
use crate::jose::NumericDate;

/// Shown at once; the rest on demand.
const FIRST: usize = 12;
/// What a line may say beside its time, event, reason and detail, in the order people ask.
const WHO: [&str; 7] = ["kid", "issuer", "sub", "sid", "jti", "ip", "route"];

// === impl Html ===

impl Html {
    /// `lines` are newest first.
    pub(super) fn events(&mut self, lines: &[Arc<str>], now: NumericDate) {
        self.add("<section><h2>Last events</h2>", &[]);
        if lines.is_empty() {
            self.add(
                "<p class=\"note\">None since this process started.</p></section>",
                &[],
            );
            return;
        }
        let (first, rest) = lines.split_at(lines.len().min(FIRST));
        self.event_table(
            first,
            "Newest first, of this process alone; commands write to their own log",
            now,
        );
        if !rest.is_empty() {
            self.add("<details><summary>{} older</summary>", &[&rest.len()]);
            self.event_table(rest, "Older events", now);
            self.add("</details>", &[]);
        }
        self.add("</section>", &[]);
    }

    /// On a phone the style sheet lays rows out as a grid; the roles keep them rows of a table for a reader of the screen.
    fn event_table(&mut self, lines: &[Arc<str>], caption: &str, now: NumericDate) {
        self.add(
            "<table class=\"events\" role=\"table\"><caption>{}</caption><thead role=\"rowgroup\"><tr role=\"row\">\
             <th scope=\"col\" role=\"columnheader\">When</th><th scope=\"col\" role=\"columnheader\">Event</th>\
             <th scope=\"col\" role=\"columnheader\">What it says</th></tr></thead><tbody role=\"rowgroup\">",
            &[&caption],
        );
        for line in lines {
            // The program wrote it: it is JSON.
            if let Ok(line) = serde_json::from_str(line) {
                self.event(&line, now);
            }
        }
        self.add("</tbody></table>", &[]);
    }

    fn event(&mut self, line: &Map<String, Value>, now: NumericDate) {
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        self.add("<tr role=\"row\"><td role=\"cell\">", &[]);
        match text("time").map(|time| (time, moment(time))) {
            Some((_, Some(at))) => self.moment(at, now),
            Some((time, None)) => self.add("{}", &[&time]),
            None => {}
        }
        let event = text("event").unwrap_or_default();
        let tone = match event {
            "verification_failed" | "sign_in_failed" | "suppressed" => "bad",
            "key_revoked" | "forced" => "grave",
            _ => "plain",
        };
        self.add(
            "</td><td role=\"cell\"><span class=\"event {}\">{}</span>",
            &[&tone, &event],
        );
        if let Some(reason) = text("reason") {
            self.add(" <code class=\"reason\">{}</code>", &[&reason]);
        }
        self.add("</td><td role=\"cell\">", &[]);
        if let Some(detail) = text("detail") {
            self.add("<span class=\"detail\">{}</span> ", &[&detail]);
        }
        for name in WHO {
            if let Some(value) = text(name) {
                let shown = match name {
                    "kid" | "sub" | "sid" | "jti" => short(value),
                    _ => value.to_owned(),
                };
                self.add(
                    "<span class=\"who\">{} <code title=\"{}\">{}</code></span> ",
                    &[&name, &value, &shown],
                );
            }
        }
        self.add("</td></tr>", &[]);
    }
}

fn moment(time: &str) -> Option<NumericDate> {
    let time = humantime::parse_rfc3339_weak(time).ok()?;
    let since_epoch = time
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .ok()?;
    Some(NumericDate::from_duration(since_epoch))
}
