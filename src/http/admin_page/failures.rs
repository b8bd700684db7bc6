//! Failures of the last hour by reason: numbers in a table, and beside them when they came.

use super::html::{Html, Px};
use crate::audit::{Failures, MINUTES};

/// Of a minute in the picture.
const STEP: f64 = 4.0;
const HEIGHT: f64 = 28.0;

// === impl Html ===

impl Html {
    pub(super) fn failures(&mut self, failures: &[Failures], title: &str) {
        self.add("<section><h2>{}, by reason</h2>", &[&title]);
        if failures.is_empty() {
            self.add(
                "<p class=\"note\">None within the last hour.</p></section>",
                &[],
            );
            return;
        }
        self.add(
            "<table class=\"failures\"><caption>The last 60 minutes, what was not written to the log included</caption><thead><tr>\
             <th scope=\"col\">Reason</th><th scope=\"col\" class=\"number\">Hour</th>\
             <th scope=\"col\" class=\"number\">5 min</th><th scope=\"col\">By the minute</th></tr></thead><tbody>",
            &[],
        );
        let most = failures.iter().map(Failures::total).max().unwrap_or(1);
        for failure in failures {
            let total = failure.total();
            self.add(
                "<tr><th scope=\"row\"><code>{}</code><svg class=\"amount\" width=\"100%\" height=\"4\" aria-hidden=\"true\">\
                 <rect width=\"{}%\" height=\"4\" rx=\"2\"/></svg></th><td class=\"number\">{}</td><td class=\"number\">{}</td><td>",
                &[
                    &failure.reason,
                    &Px((total as f64 / most as f64 * 100.0).max(1.0)),
                    &grouped(total),
                    &grouped(failure.last(5)),
                ],
            );
            self.minutes(failure);
            self.add("</td></tr>", &[]);
        }
        self.add("</tbody></table></section>", &[]);
    }

    /// Each row to its own scale: how much is in the numbers, when is here.
    fn minutes(&mut self, failure: &Failures) {
        let (ago, peak) = peak(failure);
        self.add(
            "<svg class=\"minutes\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"most in a minute: {}, {} min ago\">\
             <line x1=\"0\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>",
            &[
                &(STEP * MINUTES as f64),
                &HEIGHT,
                &peak,
                &ago,
                &(STEP * MINUTES as f64),
                &(HEIGHT - 0.5),
                &(HEIGHT - 0.5),
            ],
        );
        for (index, &count) in failure.minutes.iter().enumerate() {
            if count > 0 {
                let height = (count as f64 / peak as f64 * (HEIGHT - 2.0)).max(2.0);
                self.add(
                    "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    &[
                        &Px(index as f64 * STEP + 0.5),
                        &Px(HEIGHT - height),
                        &Px(STEP - 1.0),
                        &Px(height),
                    ],
                );
            }
        }
        self.add("</svg>", &[]);
    }
}

/// How many minutes ago there were most, and how many.
fn peak(failure: &Failures) -> (usize, u64) {
    let minutes = failure.minutes.iter().rev().copied().enumerate();
    minutes.max_by_key(|&(_, count)| count).unwrap_or((0, 1))
}

/// `1234567` as `1 234 567`, with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1\u{202f}000"),
            (1_234_567, "1\u{202f}234\u{202f}567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
