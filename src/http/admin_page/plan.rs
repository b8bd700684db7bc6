//! The next steps, as a list: what `keywheel keys plan` prints.

use super::html::Html;
use super::words::{relative, utc};
use crate::audit::Event;
use crate::issue::{Done, Moment};
use crate::jose::NumericDate;

/// Moments listed; `keywheel keys plan` has all.
const MOST: usize = 8;

// === impl Html ===

impl Html {
    pub(super) fn next_steps(
        &mut self,
        moments: &[Moment],
        foreseen: NumericDate,
        now: NumericDate,
    ) {
        self.add("<section><h2>Next steps</h2>", &[]);
        if moments.is_empty() {
            self.add(
                "<p class=\"note\">Nothing is planned until {}.</p></section>",
                &[&utc(foreseen)],
            );
            return;
        }
        self.add("<ol class=\"steps\">", &[]);
        for moment in moments.iter().take(MOST) {
            self.add(
                "<li><p class=\"when\"><strong>{}</strong> <time datetime=\"{}\">{}</time></p><ul>",
                &[
                    &relative(moment.at, now),
                    &moment.at.to_rfc3339(),
                    &utc(moment.at),
                ],
            );
            for done in &moment.done {
                self.step(done);
            }
            self.add("</ul></li>", &[]);
        }
        self.add("</ol>", &[]);
        if moments.len() > MOST {
            self.add(
                "<p class=\"note\">And {} more: <code>keywheel keys plan</code>.</p>",
                &[&(moments.len() - MOST)],
            );
        }
        self.add("</section>", &[]);
    }

    fn step(&mut self, done: &Done) {
        self.add("<li><span class=\"alg\">{}</span> ", &[&done.alg.name()]);
        // The forecast's own names for keys that are not made yet are in brackets.
        match (done.kid.starts_with('('), done.event) {
            (false, _) => self.kid(&done.kid),
            (true, Event::KeyAnnounced) => self.add("a new key", &[]),
            (true, _) => self.add("that new key", &[]),
        }
        let does = match done.event {
            Event::KeyAnnounced => "is made and announced",
            Event::KeySigning => "signs",
            Event::KeyRetired => "signs no more; its tokens live on",
            Event::KeyRemoved => "leaves the set: its last token has expired",
            _ => done.event.name(),
        };
        self.add(" {}</li>", &[&does]);
    }
}
