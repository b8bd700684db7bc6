//! What both pages have around their content.

use axum::extract::RawQuery;

use super::html::Html;
use super::words::utc;
use crate::jose::NumericDate;

/// Seconds between two looks of a page that is live.
const LIVE_EVERY: u32 = 15;

/// What the top of a page says.
pub(super) struct Frame<'a> {
    /// What this is.
    pub(super) title: &'a str,
    /// Whose.
    pub(super) of: &'a str,
    pub(super) now: NumericDate,
    pub(super) problems: &'a [String],
    pub(super) live: bool,
}

/// Whether the query asks for a page that loads itself anew.
pub(super) fn is_live(query: &RawQuery) -> bool {
    query.0.as_deref() == Some("live")
}

// === impl Frame ===

impl Frame<'_> {
    /// The page with `content` in it.
    pub(super) fn around(&self, content: impl FnOnce(&mut Html)) -> Html {
        let mut html = Html::default();
        self.head(&mut html);
        self.header(&mut html);
        self.problems(&mut html);
        content(&mut html);
        html.add(
            "</main><footer><p>Keywheel {} · the same for machines: <a href=\"/readyz\">readiness</a>, \
             <a href=\"/metrics\">metrics</a></p></footer></body></html>\n",
            &[&env!("CARGO_PKG_VERSION")],
        );
        html
    }

    fn head(&self, html: &mut Html) {
        html.add(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">",
            &[],
        );
        if self.live {
            html.add(
                "<meta http-equiv=\"refresh\" content=\"{}\">",
                &[&LIVE_EVERY],
            );
        }
        let warning = match self.problems.len() {
            0 => String::new(),
            number => format!("({number}) "),
        };
        html.add(
            "<title>{}{}: {}</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/page.css\"></head>",
            &[&warning, &self.title, &self.of],
        );
    }

    fn header(&self, html: &mut Html) {
        html.add(
            "<body><header><div><h1>{}</h1><p class=\"of\">{}</p></div>",
            &[&self.title, &self.of],
        );
        match self.problems.len() {
            0 => html.add("<p class=\"state good\">Ready</p>", &[]),
            1 => html.add(
                "<p class=\"state bad\"><a href=\"#problems\">1 problem</a></p>",
                &[],
            ),
            number => html.add(
                "<p class=\"state bad\"><a href=\"#problems\">{} problems</a></p>",
                &[&number],
            ),
        }
        html.add(
            "<p class=\"as-of\">As of <time datetime=\"{}\">{}</time> · ",
            &[&self.now.to_rfc3339(), &utc(self.now)],
        );
        match self.live {
            true => html.add(
                "anew every {} s · <a href=\"/\">stop</a></p></header><main>",
                &[&LIVE_EVERY],
            ),
            false => html.add(
                "<a href=\"/\">look again</a> · <a href=\"/?live\">every {} s</a></p></header><main>",
                &[&LIVE_EVERY],
            ),
        }
    }

    fn problems(&self, html: &mut Html) {
        if self.problems.is_empty() {
            return;
        }
        html.add(
            "<section class=\"problems\"><h2 id=\"problems\">Problems</h2><ul>",
            &[],
        );
        for problem in self.problems {
            html.add("<li>{}</li>", &[problem]);
        }
        html.add("</ul></section>", &[]);
    }
}
