//! Text from outside as a terminal may show it: nothing in it moves the cursor, hides, or changes the order of what is read.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would act on a character, or show nothing where there is something, or reorder what is around it.
pub(crate) fn is_hazard(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        // C1 controls: U+009B is ESC [ in one character.
        '\u{80}'..='\u{9f}'
        // Soft hyphen, and other letters without a shape.
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        // Zero width and marks of direction; the separators of lines and paragraphs; embeddings and overrides.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        // Invisible operators, isolates, and what is deprecated beside them.
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        // Invisible marks of music and shorthand, tags, and more selectors of variants.
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// On one line, with `\n`, `\t` or `\u{202e}` for every hazard.
#[cfg(any(feature = "server", test))]
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, |c, out| out.extend(c.escape_default()))
}

/// As [`line()`], but line breaks stay: for text whose layout is the program's own.
#[cfg(any(feature = "server", test))]
pub(crate) fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n', |c, out| out.extend(c.escape_default()))
}

/// A JSON document, with `\u202e` for every hazard: another spelling of the same document.
pub(crate) fn json(document: &str) -> Cow<'_, str> {
    escaped(
        document,
        |c| matches!(c, '\n' | '\t'),
        |c, out| match c {
            // JSON has no controls within strings: this is the white space between them.
            '\r' => out.push(' '),
            c => unicode(c, out),
        },
    )
}

/// A line of a log, JSON or words, with `\u202e` for every hazard that is not ASCII.
#[cfg(feature = "server")]
pub(crate) fn beyond_ascii(line: &str) -> Cow<'_, str> {
    escaped(line, |c| c.is_ascii(), unicode)
}

fn unicode(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

fn escaped<'t>(
    text: &'t str,
    stays: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'t, str> {
    let is_meant = |c: char| is_hazard(c) && !stays(c);
    let Some(first) = text.find(is_meant) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for c in rest.chars() {
        match is_meant(c) {
            true => escape(c, &mut out),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_everything_else_stays() {
        for (text, shown) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Jürgen Müller 李明 محمد 🦀", "Jürgen Müller 李明 محمد 🦀"),
            ("C:\\new", "C:\\new"),
            ("a\u{1b}[2Jb\u{7}", "a\\u{1b}[2Jb\\u{7}"),
            ("a\tb\nc\r", "a\\tb\\nc\\r"),
            ("\u{9b}31m", "\\u{9b}31m"),
            (
                "a\u{202e}b\u{2028}c\u{200b}\u{feff}\u{7f}",
                "a\\u{202e}b\\u{2028}c\\u{200b}\\u{feff}\\u{7f}",
            ),
            ("\u{e0041}", "\\u{e0041}"),
        ] {
            assert_eq!(line(text), shown);
            assert!(!line(text).chars().any(is_hazard));
        }
        assert_eq!(block("a\nb\u{1b}"), "a\nb\\u{1b}");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "a\u{202e}": "b\u{1b}\u{9b}\u{e0041}\u{2028}\tü\n🦀" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(!shown.chars().any(|c| is_hazard(c) && c != '\n'), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
        let raw = "{\"a\":1,\r\"b\":\"\u{7f}\"}";
        assert_eq!(json(raw), "{\"a\":1, \"b\":\"\\u007f\"}");
    }
}
