//! The page of `keywheel gate`: whom it believes, and by which keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::get;

use super::frame::{Frame, is_live};
use super::html::Html;
use super::words::span;
use super::{answer, guarded};
use crate::audit::{Failures, Recent};
use crate::clock::Clock;
use crate::http::gate::Gate;
use crate::jose::NumericDate;
use crate::verify::{IssuerStatus, StatusListStatus, Updates};

#[derive(Clone)]
struct GatePage {
    gate: Gate,
    recent: Arc<Recent>,
    clock: Arc<dyn Clock>,
}

/// The page of a gate's admin listener, and what it loads; `recent` is what its verifier remembers.
pub fn gate_page(gate: Gate, recent: Arc<Recent>, clock: Arc<dyn Clock>) -> Router {
    let page = GatePage {
        gate,
        recent,
        clock,
    };
    guarded(Router::new().route("/", get(show)).with_state(page))
}

async fn show(State(page): State<GatePage>, query: RawQuery) -> Response {
    let issuers = page.gate.current().verifier.status();
    let content = IssuersPage {
        issuers: &issuers,
        now: page.clock.now(),
        failures: &page.recent.failures(page.clock.monotonic()),
        lines: &page.recent.lines(),
        live: is_live(&query),
    };
    answer(content.draw())
}

/// Everything that the page shows, at one moment.
struct IssuersPage<'a> {
    issuers: &'a [IssuerStatus],
    now: NumericDate,
    failures: &'a [Failures],
    lines: &'a [Arc<str>],
    live: bool,
}

// === impl IssuersPage ===

impl IssuersPage<'_> {
    fn draw(&self) -> Html {
        let frame = Frame {
            title: "Gate",
            of: match self.issuers {
                [only] => &only.issuer,
                _ => "several issuers",
            },
            now: self.now,
            problems: &self.problems(),
            live: self.live,
        };
        frame.around(|html| {
            self.tiles(html);
            for issuer in self.issuers {
                html.issuer(issuer);
            }
            html.failures(self.failures, "Refusals");
            html.events(self.lines, self.now);
        })
    }

    fn problems(&self) -> Vec<String> {
        let issuers = self.issuers.iter();
        issuers
            .flat_map(|issuer| issuer.problems.iter().cloned())
            .collect()
    }

    fn tiles(&self, html: &mut Html) {
        let ready = self.issuers.iter().filter(|issuer| issuer.ready).count();
        let keys: usize = self.issuers.iter().map(|issuer| issuer.kids.len()).sum();
        let pushed = self
            .issuers
            .iter()
            .filter(|issuer| issuer.updates == Updates::Push);
        let failures: u64 = self.failures.iter().map(Failures::total).sum();
        html.add(
            "<ul class=\"tiles\"><li><h2>Issuers</h2><p class=\"big\">{}</p><p>{} with keys in force</p></li>\
             <li><h2>Keys in force</h2><p class=\"big\">{}</p><p>{} of {} issuers push changes</p></li>\
             <li><h2>Refused</h2><p class=\"big\">{}</p><p>in the last hour</p></li></ul>",
            &[
                &self.issuers.len(),
                &ready,
                &keys,
                &pushed.count(),
                &self.issuers.len(),
                &failures,
            ],
        );
    }
}

// === impl Html ===

impl Html {
    fn issuer(&mut self, issuer: &IssuerStatus) {
        let state = match (issuer.ready, &issuer.last_error) {
            (true, None) => ("good", "keys in force"),
            (true, Some(_)) => ("warn", "keys in force, last fetch failed"),
            (false, _) => ("bad", "no keys"),
        };
        self.add(
            "<section class=\"issuer\"><h2>{}</h2><p class=\"state {}\">{}</p>\
             <table class=\"facts\"><caption>The keys of this issuer</caption><tbody><tr><th scope=\"row\">Keys in force</th><td>",
            &[&issuer.issuer, &state.0, &state.1],
        );
        if issuer.kids.is_empty() {
            self.add("none", &[]);
        }
        for kid in &issuer.kids {
            self.kid(kid);
            self.add(" ", &[]);
        }
        self.add("</td></tr>", &[]);
        let updates = match issuer.updates {
            Updates::Static => "never: the keys were given for good".to_owned(),
            Updates::Poll => "by asking again".to_owned(),
            Updates::Push => "at once: the issuer holds a request".to_owned(),
        };
        let ago = |age: Option<std::time::Duration>| age.map(|age| format!("{} ago", span(age)));
        let next = issuer.next_refresh.map(|left| format!("in {}", span(left)));
        let skipped = (issuer.skipped > 0).then(|| issuer.skipped.to_string());
        for (name, value) in [
            ("Confirmed", ago(issuer.age)),
            ("Changes are heard of", Some(updates)),
            ("Next fetch", next),
            ("Published keys that cannot be used", skipped),
            ("Last fetch failed", issuer.last_error.clone()),
            ("Fetched from", issuer.source.clone()),
            ("Entity tag", issuer.etag.clone()),
        ] {
            if let Some(value) = value {
                self.add(
                    "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                    &[&name, &value],
                );
            }
        }
        self.add("</tbody></table>", &[]);
        self.status_lists(&issuer.status_lists);
        self.add("</section>", &[]);
    }

    fn status_lists(&mut self, lists: &[StatusListStatus]) {
        if lists.is_empty() {
            return;
        }
        self.add(
            "<h3>Ended sessions</h3><table>\
             <caption>Status lists that tokens refer to</caption><thead><tr>\
             <th scope=\"col\">List</th><th scope=\"col\" class=\"number\">Room for</th><th scope=\"col\">Confirmed</th>\
             <th scope=\"col\">Changes</th></tr></thead><tbody>",
            &[],
        );
        for list in lists {
            let capacity = list
                .capacity
                .map_or("not in force".into(), |capacity| capacity.to_string());
            let age = list
                .age
                .map_or("never".into(), |age| format!("{} ago", span(age)));
            let updates = match list.updates {
                Updates::Static => "never",
                Updates::Poll => "by asking again",
                Updates::Push => "at once",
            };
            self.add(
                "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>",
                &[&list.uri, &capacity, &age, &updates],
            );
        }
        self.add("</tbody></table>", &[]);
    }
}
