//! The timeline as a table: every key of the ring, also those that no picture has room for.

use super::html::Html;
use super::words::utc;
use crate::issue::{KeyRecord, KeyRing, RotationPolicy, Stage};
use crate::jose::NumericDate;

// === impl Html ===

impl Html {
    pub(super) fn key_table(&mut self, ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) {
        self.add(
            "<details><summary>The timeline as a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"Table of all keys\"><table><caption>Keys, the newest first; times in UTC</caption><thead><tr>\
             <th scope=\"col\">Key</th><th scope=\"col\">Algorithm</th><th scope=\"col\">Stage</th>\
             <th scope=\"col\">Next</th><th scope=\"col\">Announced</th><th scope=\"col\">Signing</th>\
             <th scope=\"col\">Retired</th><th scope=\"col\">Left the set</th><th scope=\"col\">Why</th></tr></thead><tbody>",
            &[],
        );
        for key in ring.keys.iter().rev() {
            self.key(ring, key, policy, now);
        }
        self.add("</tbody></table></div></details>", &[]);
    }

    fn key(&mut self, ring: &KeyRing, key: &KeyRecord, policy: &RotationPolicy, now: NumericDate) {
        self.add(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td><span class=\"stage {}\">{}</span></td><td>",
            &[&key.kid, &key.alg.name(), &key.stage.name(), &key.stage.name()],
        );
        match (next_step(key.stage), policy.next_step_at(ring, key, now)) {
            (None, _) => self.add("–", &[]),
            _ if !key.usable => self.add("cannot be used", &[]),
            (Some(step), Some(at)) => {
                self.add("{} ", &[&step]);
                self.moment(at, now);
            }
            (_, None) => self.add("waits to be published", &[]),
        }
        let left = key.gone_at.or(key.revoked_at);
        for at in [
            Some(key.created_at),
            key.signing_since,
            key.retired_at,
            left,
        ] {
            match at {
                Some(at) => self.add(
                    "</td><td class=\"at\">{}",
                    &[&utc(at).trim_end_matches(" UTC")],
                ),
                None => self.add("</td><td>–", &[]),
            }
        }
        let cause = key.causes.get(&key.stage).map_or("", |cause| cause.name());
        self.add("</td><td>{}", &[&cause]);
        if let Some(reason) = &key.reason {
            self.add(": {}", &[reason]);
        }
        self.add("</td></tr>", &[]);
    }
}

fn next_step(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Announced => Some("signs"),
        Stage::Signing => Some("retires"),
        Stage::Retired => Some("goes"),
        Stage::Gone | Stage::Revoked => None,
    }
}
