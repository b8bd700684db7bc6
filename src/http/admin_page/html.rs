//! HTML in which nothing from outside is markup: templates are constants of the program, and every value is escaped.

use std::fmt::{self, Display, Write};

/// A document in the making.
#[derive(Default)]
pub(super) struct Html {
    text: String,
}

// === impl Html ===

impl Html {
    /// Adds `template` with each `{}` replaced by a value, escaped for text and for quoted attributes.
    pub(super) fn add(&mut self, template: &'static str, values: &[&dyn Display]) {
        debug_assert_eq!(template.matches("{}").count(), values.len(), "{template}");
        let mut values = values.iter();
        for (index, part) in template.split("{}").enumerate() {
            if index > 0
                && let Some(value) = values.next()
            {
                self.escaped(value);
            }
            self.text.push_str(part);
        }
    }

    fn escaped(&mut self, value: &dyn Display) {
        // A String takes everything.
        let _ = write!(Escaping(&mut self.text), "{value}");
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

/// Escapes what is written through it.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Shown, not obeyed: a control character, or one that turns the direction of what follows, could make a line
                // read as another.
                c if c.is_control() || is_directional(c) => {
                    for escaped in c.escape_unicode() {
                        self.0.push(escaped);
                    }
                }
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// The characters of Unicode's bidirectional algorithm that are no letters (UAX #9 §2).
fn is_directional(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// A length in a picture: one decimal is a tenth of a pixel.
#[derive(Clone, Copy)]
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_markup_and_none_turns_the_line() {
        let hostile = "</td><script>alert('1')</script>\" onload=x & \u{202e}\u{1b}[31m{}é";
        let mut html = Html::default();
        html.add("<td title=\"{}\">{}</td>", &[&hostile, &7]);
        let expected = "<td title=\"&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=x &amp; \
                        \\u{202e}\\u{1b}[31m{}é\">7</td>";
        assert_eq!(html.into_string(), expected);
    }
}
