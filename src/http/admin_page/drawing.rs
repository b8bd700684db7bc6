//! The timeline as SVG, in two shapes: for a desk with the names beside the bars, for a phone with the names above them. The style
//! sheet shows the one that fits.

use super::axis::Axis;
use super::html::{Html, Px};
use super::timeline::{Lane, Row, Timeline, Window};
use super::words::{short, span, utc};
use crate::issue::Stage;
use crate::jose::NumericDate;

/// Nothing that happened is too short to be seen.
const LEAST_BAR: f64 = 3.0;
/// Of a letter in a bar, generously.
const LETTER: f64 = 8.0;

/// The measures of a picture, in its own units, which are pixels where it is shown unscaled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    name: &'static str,
    width: f64,
    /// Where bars begin.
    left: f64,
    /// Above the first lane: the axis.
    head: f64,
    lane: f64,
    /// Of a bar within its lane.
    bar_top: f64,
    bar: f64,
    /// Of a name's baseline within its lane, and of the words after it.
    name_line: f64,
    words_at: (f64, f64),
    /// Between ticks.
    gap: f64,
}

pub(super) const WIDE: Shape = Shape {
    name: "wide",
    width: 960.0,
    left: 190.0,
    head: 50.0,
    lane: 46.0,
    bar_top: 11.0,
    bar: 24.0,
    name_line: 20.0,
    words_at: (0.0, 37.0),
    gap: 90.0,
};

pub(super) const NARROW: Shape = Shape {
    name: "narrow",
    width: 330.0,
    left: 2.0,
    head: 50.0,
    lane: 56.0,
    bar_top: 25.0,
    bar: 20.0,
    name_line: 17.0,
    words_at: (126.0, 17.0),
    gap: 70.0,
};

/// A rectangle: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    x: (f64, f64),
    y: (f64, f64),
}

// === impl Shape ===

impl Shape {
    fn axis(&self, window: Window) -> Axis {
        Axis::new(window, self.left, self.width - 2.0)
    }

    fn height(&self, lanes: usize) -> f64 {
        self.head + self.lane * lanes as f64 + 6.0
    }

    fn top(&self, index: usize) -> f64 {
        self.head + self.lane * index as f64
    }

    /// Where the bar of one stage is.
    fn bar(&self, axis: &Axis, index: usize, from: NumericDate, until: NumericDate) -> Place {
        let top = self.top(index) + self.bar_top;
        let (from, until) = (axis.x(from), axis.x(until));
        // At the right edge a bar grows to the left.
        let from = from.min(axis.right - LEAST_BAR);
        Place {
            x: (from, until.max(from + LEAST_BAR)),
            y: (top, top + self.bar),
        }
    }
}

// === impl Html ===

impl Html {
    /// The keys of one algorithm. What a picture says is also in a table: for a reader of the screen it is one image with a name.
    pub(super) fn timeline(&mut self, timeline: &Timeline, row: &Row, shape: &Shape) {
        let (alg, name) = (row.alg.name(), shape.name);
        let height = shape.height(row.lanes.len());
        self.add(
            "<svg class=\"timeline {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"t-{}-{} d-{}-{}\">",
            &[&name, &shape.width, &height, &alg, &name, &alg, &name],
        );
        self.add(
            "<title id=\"t-{}-{}\">Timeline of the {} keys</title>",
            &[&alg, &name, &alg],
        );
        self.add(
            "<desc id=\"d-{}-{}\">{}</desc>",
            &[&alg, &name, &description(timeline, row)],
        );
        let axis = shape.axis(timeline.window);
        self.axis(&axis, shape, height, timeline.window);
        for (index, lane) in row.lanes.iter().enumerate() {
            self.lane(&axis, shape, index, lane, timeline.window);
        }
        self.add("</svg>", &[]);
    }

    fn axis(&mut self, axis: &Axis, shape: &Shape, height: f64, window: Window) {
        let now = axis.x(window.now);
        self.add(
            "<rect class=\"plan\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            &[
                &Px(now),
                &Px(shape.head - 8.0),
                &Px(axis.right - now),
                &Px(height - shape.head + 8.0),
            ],
        );
        // Under all that follows: words that reach across it stay readable.
        self.now(axis, height, window);
        for tick in axis.ticks(shape.gap) {
            self.add(
                "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>",
                &[&Px(tick.x), &Px(tick.x), &Px(shape.head - 8.0), &Px(height)],
            );
            self.add(
                "<text class=\"tick\" x=\"{}\" y=\"{}\">{}</text>",
                &[&Px(tick.x), &Px(shape.head - 14.0), &tick.label],
            );
        }
    }

    fn now(&mut self, axis: &Axis, height: f64, window: Window) {
        let now = axis.x(window.now);
        self.add(
            "<line class=\"now\" x1=\"{}\" x2=\"{}\" y1=\"18\" y2=\"{}\"/>",
            &[&Px(now), &Px(now), &Px(height)],
        );
        self.add(
            "<rect class=\"now\" x=\"{}\" y=\"0\" width=\"40\" height=\"20\" rx=\"10\"/>\
             <text class=\"now\" x=\"{}\" y=\"14.5\">now</text>\
             <text class=\"side past\" x=\"{}\" y=\"14.5\">past</text>\
             <text class=\"side\" x=\"{}\" y=\"14.5\">planned</text>",
            &[&Px(now - 20.0), &Px(now), &Px(now - 28.0), &Px(now + 28.0)],
        );
    }

    fn lane(&mut self, axis: &Axis, shape: &Shape, index: usize, lane: &Lane, window: Window) {
        let top = shape.top(index);
        if index > 0 {
            self.add(
                "<line class=\"lane\" x1=\"0\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>",
                &[&shape.width, &Px(top), &Px(top)],
            );
        }
        let (name, words) = naming(lane, window.now);
        let (words_x, words_y) = shape.words_at;
        self.add("<g><title>{}</title>", &[&lane.kid]);
        self.add(
            "<text class=\"kid\" x=\"0\" y=\"{}\">{}</text><text class=\"words\" x=\"{}\" y=\"{}\">{}</text></g>",
            &[&Px(top + shape.name_line), &name, &Px(words_x), &Px(top + words_y), &words],
        );
        for span in &lane.spans {
            let until = span.until.unwrap_or(window.until);
            if span.from < window.now && until > window.from {
                let place = shape.bar(axis, index, span.from, until.min(window.now));
                self.bar(place, span.stage, false, (span.from, span.until));
            }
            if until > window.now && span.from < window.until {
                let place = shape.bar(axis, index, span.from.max(window.now), until);
                self.bar(place, span.stage, true, (span.from, span.until));
            }
        }
        if let Some(at) = lane.revoked_at.filter(|&at| at >= window.from) {
            let (x, y) = (axis.x(at), top + shape.bar_top + shape.bar / 2.0);
            self.add(
                "<g class=\"revoked\" transform=\"translate({} {})\"><title>revoked {}</title>\
                 <circle r=\"9\"/><path d=\"M-3.5-3.5 3.5 3.5M3.5-3.5-3.5 3.5\"/></g>",
                &[&Px(x), &Px(y), &utc(at)],
            );
        }
    }

    fn bar(
        &mut self,
        place: Place,
        stage: Stage,
        planned: bool,
        (from, until): (NumericDate, Option<NumericDate>),
    ) {
        let Place { x, y } = place;
        let (width, height) = (x.1 - x.0, y.1 - y.0);
        let until = until.map_or("beyond".to_owned(), utc);
        let class = if planned { "planned" } else { "past" };
        self.add(
            "<g class=\"{} {}\"><title>{} from {} until {}</title>",
            &[&stage.name(), &class, &stage.name(), &utc(from), &until],
        );
        self.add(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
            &[&Px(x.0), &Px(y.0), &Px(width), &Px(height)],
        );
        if stage == Stage::Retired && !planned {
            self.add(
                "<rect class=\"hatch\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
                &[&Px(x.0), &Px(y.0), &Px(width), &Px(height)],
            );
        }
        if width > stage.name().len() as f64 * LETTER + 12.0 {
            self.add(
                "<text x=\"{}\" y=\"{}\">{}</text>",
                &[
                    &Px(f64::midpoint(x.0, x.1)),
                    &Px(f64::midpoint(y.0, y.1) + 4.0),
                    &stage.name(),
                ],
            );
        }
        self.add("</g>", &[]);
    }
}

/// A lane's name, and what the key is doing.
fn naming(lane: &Lane, now: NumericDate) -> (String, String) {
    match lane.stage {
        None => ("new key".into(), "not made yet".into()),
        Some((stage @ (Stage::Gone | Stage::Revoked), since)) => {
            let ago = span(now.since(since));
            (short(&lane.kid), format!("{stage} {ago} ago"))
        }
        Some((stage, since)) => {
            let age = span(now.since(since));
            (short(&lane.kid), format!("{stage} for {age}"))
        }
    }
}

fn description(timeline: &Timeline, row: &Row) -> String {
    let count = |stage| {
        let lanes = row.lanes.iter();
        lanes
            .filter(|lane| lane.stage.is_some_and(|(found, _)| found == stage))
            .count()
    };
    let stages: Vec<String> = Stage::ALL
        .into_iter()
        .filter(|&stage| count(stage) > 0)
        .map(|stage| format!("{} {stage}", count(stage)))
        .collect();
    let Window { from, until, .. } = timeline.window;
    format!(
        "From {} until {}. Keys drawn: {}. The table below says the same.",
        utc(from),
        utc(until),
        stages.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_bar_is_ever_under_a_name_or_outside_of_its_lane() {
        let now = NumericDate::from_seconds(1_790_000_000);
        let at = |seconds: i64| NumericDate::from_seconds(now.seconds() + seconds);
        let window = Window {
            from: at(-1_000),
            now,
            until: now.plus(Duration::from_secs(1_000_000)),
        };
        for shape in [WIDE, NARROW] {
            let axis = shape.axis(window);
            let moments = [
                -5_000_000, -1_000, -999, -1, 0, 1, 5, 999_999, 1_000_000, 5_000_000,
            ];
            for (index, from) in moments.into_iter().enumerate() {
                for until in moments.into_iter().filter(|&until| until >= from) {
                    let Place { x, y } = shape.bar(&axis, index, at(from), at(until));
                    assert!(x.1 - x.0 >= LEAST_BAR, "{shape:?} {from} {until}");
                    assert!(
                        x.0 >= shape.left && x.1 <= shape.width,
                        "{shape:?} {from} {until} {x:?}"
                    );
                    assert!(y.0 >= shape.top(index) && y.1 < shape.top(index + 1));
                    // Beside the bars, or above them.
                    let (_, words_y) = shape.words_at;
                    let names_end = shape.top(index) + shape.name_line.max(words_y) + 4.0;
                    assert!(shape.left >= 180.0 || names_end <= y.0, "{shape:?}");
                }
            }
        }
    }
}
