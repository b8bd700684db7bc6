//! `GET /` of the admin listeners: what an operator wants to see first, as one page without any script.
//!
//! It is drawn anew for each request and never changes by itself unless asked to: a page that reloads under a reader of the screen
//! loses their place (WCAG F41). `/?live` asks for it, for a screen on a wall.

mod axis;
mod drawing;
mod events;
mod failures;
mod frame;
mod html;
mod issuers;
mod key_table;
mod keys;
mod plan;
mod timeline;
mod watching;
mod words;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

pub use issuers::gate_page;
pub(super) use keys::keys_page;

use super::security;
use html::Html;

const STYLE: &str = include_str!("page.css");
/// Its own style sheet and an empty icon: no script, no form, no frame, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Adds the style sheet, and the headers that keep the page to itself.
fn guarded(page: Router) -> Router {
    let style = get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE));
    page.route("/page.css", style)
        .layer(from_fn(security::no_store))
        .layer(from_fn_with_state(false, security::headers))
}

fn answer(html: Html) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, html.into_string()).into_response()
}
