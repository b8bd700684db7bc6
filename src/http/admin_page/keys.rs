//! The page of `keywheel serve`: its keys.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;

use super::axis::Axis;
use super::drawing::{NARROW, WIDE};
use super::frame::{Frame, is_live};
use super::html::Html;
use super::timeline::{Timeline, foresight};
use super::words::span;
use super::{answer, guarded};
use crate::audit::Failures;
use crate::http::admin::Admin;
use crate::issue::{Forecast, KeyRing, RotationPolicy, WatcherStatus};
use crate::jose::{Algorithm, NumericDate};

/// The page, and what it loads.
pub(in crate::http) fn keys_page(admin: Admin) -> Router {
    guarded(Router::new().route("/", get(page)).with_state(admin))
}

async fn page(State(admin): State<Admin>, query: RawQuery) -> Response {
    let problems = admin.problems().await;
    let issuer = &admin.issuer;
    let published = issuer.published();
    let lines = admin.recent.lines();
    let content = KeysPage {
        issuer: &issuer.settings().issuer,
        ring: &published.ring,
        policy: issuer.policy(),
        now: issuer.clock().now(),
        problems: &problems,
        watchers: &issuer.watchers().status(),
        failures: &admin.recent.failures(issuer.clock().monotonic()),
        lines: &lines,
        live: is_live(&query),
    };
    answer(content.draw())
}

/// Everything that the page shows, at one moment.
pub(super) struct KeysPage<'a> {
    pub(super) issuer: &'a str,
    pub(super) ring: &'a KeyRing,
    pub(super) policy: &'a RotationPolicy,
    pub(super) now: NumericDate,
    pub(super) problems: &'a [String],
    pub(super) watchers: &'a WatcherStatus,
    pub(super) failures: &'a [Failures],
    pub(super) lines: &'a [std::sync::Arc<str>],
    pub(super) live: bool,
}

// === impl KeysPage ===

impl KeysPage<'_> {
    pub(super) fn draw(&self) -> Html {
        let mut forecast = Forecast::new(self.ring, self.policy);
        let foreseen = foresight(&forecast, self.policy, self.now);
        forecast.run(self.now, foreseen);
        let frame = Frame {
            title: "Keys",
            of: self.issuer,
            now: self.now,
            problems: self.problems,
            live: self.live,
        };
        frame.around(|html| {
            self.tiles(html);
            self.timelines(html, &forecast, foreseen);
            html.add("<div class=\"columns\">", &[]);
            html.next_steps(&forecast.moments, foreseen, self.now);
            html.watchers(self.watchers);
            html.add("</div>", &[]);
            html.failures(self.failures, "Failed sign-ins");
            html.events(self.lines, self.now);
        })
    }

    fn tiles(&self, html: &mut Html) {
        html.add("<ul class=\"tiles\">", &[]);
        for &alg in &self.policy.algorithms {
            self.signer(html, alg);
        }
        let WatcherStatus {
            current, behind, ..
        } = self.watchers;
        html.add(
            "<li><h2>Watching verifiers</h2><p class=\"big\">{}</p><p>",
            &[&(current + behind)],
        );
        match behind {
            0 => html.add("none behind the set in force", &[]),
            _ => html.add(
                "<strong class=\"warn\">{} behind</strong> the set in force",
                &[behind],
            ),
        }
        html.add("</p></li>", &[]);
        let failures: u64 = self.failures.iter().map(Failures::total).sum();
        html.add(
            "<li><h2>Failed sign-ins</h2><p class=\"big\">{}</p><p>in the last hour</p></li></ul>",
            &[&failures],
        );
    }

    fn signer(&self, html: &mut Html, alg: Algorithm) {
        html.add("<li><h2>{} signer</h2>", &[&alg.name()]);
        let Some(signing) = self.ring.signing(alg) else {
            html.add(
                "<p class=\"big warn\">none</p><p>no token can be signed</p></li>",
                &[],
            );
            return;
        };
        html.add("<p class=\"big\">", &[]);
        html.kid(&signing.kid);
        let age = self
            .now
            .since(signing.signing_since.unwrap_or(signing.created_at));
        html.add("</p><p>signs for {}, ", &[&span(age)]);
        match self.policy.next_step_at(self.ring, signing, self.now) {
            _ if !signing.usable => html.add("<strong class=\"warn\">cannot be used</strong>", &[]),
            Some(at) if at > self.now => {
                html.add("next key ", &[]);
                html.moment(at, self.now);
            }
            Some(_) => html.add("next key now", &[]),
            None => html.add("no next key yet", &[]),
        }
        html.add("</p></li>", &[]);
    }

    fn timelines(&self, html: &mut Html, forecast: &Forecast, foreseen: NumericDate) {
        let timeline = Timeline::new(self.ring, &forecast.ring, self.policy, self.now, foreseen);
        html.add("<section><h2>Timeline</h2>", &[]);
        html.add(
            "<ul class=\"legend\"><li class=\"announced\">announced: published, signs nothing yet</li>\
             <li class=\"signing\">signing</li><li class=\"retired\">retired: its last tokens live on</li>\
             <li class=\"revoked\">revoked</li><li class=\"outlook\">planned</li></ul>",
            &[],
        );
        if Axis::is_split(timeline.window) {
            html.add(
                "<p class=\"note\">The past and the plan have different scales here: {} to the left of now, {} to the right.</p>",
                &[
                    &span(timeline.window.now.since(timeline.window.from)),
                    &span(timeline.window.until.since(timeline.window.now)),
                ],
            );
        }
        // For the pictures' hatching. Without a size, not hidden: a hidden pattern paints nothing.
        html.add(
            "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
             <pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <rect width=\"2.5\" height=\"7\"/></pattern></defs></svg>",
            &[],
        );
        for row in &timeline.rows {
            html.add("<h3>{}</h3>", &[&row.alg.name()]);
            if row.lanes.is_empty() {
                html.add("<p class=\"note\">No keys.</p>", &[]);
                continue;
            }
            for shape in [&WIDE, &NARROW] {
                html.timeline(&timeline, row, shape);
            }
            if row.hidden > 0 {
                html.add(
                    "<p class=\"note\">{} older keys are in the table alone.</p>",
                    &[&row.hidden],
                );
            }
        }
        html.key_table(self.ring, self.policy, self.now);
        html.add("</section>", &[]);
    }
}
