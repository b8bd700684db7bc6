//! Who watches the key set, and who has the one in force.

use std::time::Duration;

use super::html::{Html, Px};
use super::words::span;
use crate::issue::WatcherStatus;

// === impl Html ===

impl Html {
    pub(super) fn watchers(&mut self, status: &WatcherStatus) {
        let WatcherStatus {
            current, behind, ..
        } = *status;
        self.add("<section><h2>Verifiers</h2>", &[]);
        let watching = current + behind;
        if watching > 0 {
            let share = current as f64 / watching as f64 * 100.0;
            self.add(
                "<svg class=\"share\" width=\"100%\" height=\"16\" role=\"img\" aria-label=\"{} of {} watchers have the set in force\">\
                 <rect class=\"rest\" width=\"100%\" height=\"16\" rx=\"4\"/><rect class=\"done\" width=\"{}%\" height=\"16\" rx=\"4\"/></svg>",
                &[&current, &watching, &Px(share)],
            );
        }
        self.add(
            "<table class=\"facts\"><caption>Who has the key set in force</caption><tbody>",
            &[],
        );
        let ago = |ms: u64| span(Duration::from_millis(ms));
        let published = format!("{} ago", ago(status.published_ms_ago));
        let back = match status.last_back_ms {
            Some(ms) => format!("{} of {}, the last after {ms} ms", status.back, status.told),
            None => format!("{} of {}", status.back, status.told),
        };
        let polls = match status.polls_current_in_ms {
            0 => format!("{}, all with the set in force", status.polls),
            ms => format!("{}, all with the set in force in {}", status.polls, ago(ms)),
        };
        for (name, value) in [
            ("Watch, with the set in force", current.to_string()),
            ("Watch, behind", behind.to_string()),
            ("Told of the last change, and back", back),
            ("Poll, at most", polls),
            ("Set in force published", published),
        ] {
            self.add(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
                &[&name, &value],
            );
        }
        self.add(
            "<tr><th scope=\"row\">Its entity tag</th><td><code>{}</code></td></tr></tbody></table></section>",
            &[&status.etag],
        );
    }
}
